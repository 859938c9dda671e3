"""The trial balance and what moved one account, for operators: JSON, or CSV where that is asked for."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from adserver.api import tables
from adserver.api.management import who
from adserver.api.messages import JSON, NO_STORE, Reply
from adserver.api.pages import Asked, Operation
from adserver.domain import limits
from adserver.domain.accounts import BOOKS, Account, Movement, sums
from adserver.services.accounting import Accounting
from adserver.services.refusals import Refused

_ENCODER: Final = msgspec.json.Encoder()
_MOST: Final = 50


class AccountRow(Struct, frozen=True):
    """``booked_as``: the name in the books, with numbers for ids. Amounts are nanos of the currency ``unit``,
    or a number of ``events``; ``balance`` is debits less credits."""

    account: str
    booked_as: str
    book: str
    unit: str
    debits: int
    credits: int
    balance: int


class Sum(Struct, frozen=True):
    """Of one book in one unit: ``balance`` is 0."""

    book: str
    unit: str
    debits: int
    credits: int
    balance: int


class MovementRow(Struct, frozen=True):
    """``at`` is null of what is told as it is now; ``other``: the account it came from or went to."""

    at: str | None
    what: str
    reference: str
    other: str
    debits: int
    credits: int


class TrialBalance(Struct, frozen=True):
    accounts: list[AccountRow]
    sums: list[Sum]


class MovedAccount(Struct, frozen=True):
    """``more``: there are older ones."""

    account: AccountRow
    movements: list[MovementRow]
    more: bool


def operations(accounting: Accounting) -> list[Operation]:
    async def balance(asked: Asked) -> Reply:
        told = trial_balance(await accounting.balance(who(asked)))
        return _reply(asked, AccountRow, told.accounts, told)

    async def movements(asked: Asked) -> Reply:
        name, most = asked.query.get("account"), _most(asked.query.get("most"))
        if not name:
            raise Refused(400, "no account", [("account", "is missing: `/v1/accounts` tells their names")])
        account, moved = await accounting.account(who(asked), name, most + 1)
        told = moved_account(account, moved, most)
        return _reply(asked, MovementRow, told.movements, told)

    late = {403: "not an operator's key", 503: "the books cannot be read now, or not in time"}
    said = {200: MovedAccount, 400: "what is wrong", 404: "absent", **late}
    query = {
        "account": "by its name, with ids or with numbers",
        "most": f"so many of the newest, at most {limits.MOVEMENTS_TOLD} (default {_MOST})",
    }
    summary, moved = "Every account with its debits and credits; also as text/csv", "What moved one account"
    return [
        Operation(
            "GET", "/v1/accounts", summary, "operators", balance, {200: TrialBalance, **late}, None, True
        ),
        Operation("GET", "/v1/movements", moved, "operators", movements, said, None, True, query),
    ]


def _most(text: str | None) -> int:
    if text is None:
        return _MOST
    if text.isascii() and text.isdigit() and 0 < int(text[:9]) <= limits.MOVEMENTS_TOLD:
        return int(text)
    raise Refused(400, "not a number", [("most", f"is 1 to {limits.MOVEMENTS_TOLD}")])


def _reply(asked: Asked, kind: type[Struct], rows: Sequence[Struct], told: Struct) -> Reply:
    if tables.wants_csv(asked.head.text(b"accept")):
        return Reply(200, (tables.CSV, NO_STORE), spelled(kind, rows))
    return Reply(200, (JSON, NO_STORE), _ENCODER.encode(told))


def spelled(kind: type[Struct], rows: Iterable[Struct]) -> bytes:
    """As CSV: a line each, after one of names."""
    return tables.csv([kind.__struct_fields__, *map(msgspec.structs.astuple, rows)])


def trial_balance(accounts: Iterable[Account]) -> TrialBalance:
    found = list(accounts)
    added = sorted(sums(found).items(), key=lambda one: (BOOKS.index(one[0][0]), one[0][1]))
    return TrialBalance(
        [_row(account) for account in found],
        [Sum(book, unit, debits, credits, debits - credits) for (book, unit), (debits, credits) in added],
    )


def moved_account(account: Account, moved: Sequence[Movement], most: int) -> MovedAccount:
    """``moved``: one more than are told, if there are."""
    rows = [
        MovementRow(_instant(m.at_ms), m.what, m.reference, m.other, m.debits, m.credits)
        for m in moved[:most]
    ]
    return MovedAccount(_row(account), rows, len(moved) > most)


def _row(a: Account) -> AccountRow:
    return AccountRow(a.title, a.name, a.book, a.unit, a.debits, a.credits, a.balance)


def _instant(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
