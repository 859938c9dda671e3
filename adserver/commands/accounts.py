"""``adserver accounts``: the trial balance, and what moved one account, read off the ledger."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from rich.table import Table
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from adserver.api.accounts import (
    AccountRow,
    MovedAccount,
    MovementRow,
    Sum,
    TrialBalance,
    moved_account,
    spelled,
    trial_balance,
)
from adserver.commands.shown import plain, show_table
from adserver.databases import Place, Unusable, reason
from adserver.domain import money
from adserver.domain.accounts import EVENTS, named
from adserver.ledger import schema
from adserver.ledger.audit_ledger import reading
from adserver.ledger.movements import Unnamed, read_movements
from adserver.ledger.place import place_of
from adserver.ledger.trial_balance import earliest_day, is_readable, read_accounts
from adserver.options import Failed, Wrong
from adserver.settings import Settings

_AMOUNTS: Final = ("debits", "credits", "balance")


def accounts(settings: Settings, name: str, most: int, form: str, now_ms: int) -> None:
    """All, or the last movements of the one with this ``name``; ``form``: table, csv or json. Raises Wrong,
    and Failed where they do not add up."""
    place = place_of(settings.data, settings.database)
    if isinstance(place, Path) and not place.exists():
        raise Wrong(f"there is no ledger: {place}")
    try:
        with reading(place) as connection:
            told = _read(connection, place, name, most, now_ms)
    except (Unusable, Unnamed) as error:
        raise Wrong(str(error)) from error
    except DBAPIError as error:
        raise Wrong(f"the ledger cannot be read: {reason(error)}") from error
    _tell(told, form)


def _read(
    connection: Connection, place: Place, name: str, most: int, now_ms: int
) -> TrialBalance | MovedAccount:
    if not schema.has(connection, schema.EVENTS):
        # Whoever makes it is at it, or was killed at it.
        raise Wrong(f"there is no ledger yet: {place}")
    if not is_readable(connection):
        raise Wrong(f"{place} is of an earlier version: a server of this one brings it up")
    found = read_accounts(connection, earliest_day(now_ms))
    if not name:
        return trial_balance(found)
    account = named(found, name)
    if account is None:
        raise Wrong(
            f"nothing ever moved an account {plain(name[:128])}: `adserver accounts` tells their names"
        )
    return moved_account(account, read_movements(connection, account.name, most + 1), most)


def _tell(told: TrialBalance | MovedAccount, form: str) -> None:
    if form == "json":
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
    elif isinstance(told, TrialBalance):
        _write(AccountRow, told.accounts) if form == "csv" else _show_all(told)
    else:
        _write(MovementRow, told.movements) if form == "csv" else _show_one(told)
    if isinstance(told, TrialBalance):
        _add_up(told.sums)


def _write(kind: type[Struct], rows: Sequence[Struct]) -> None:
    sys.stdout.write(spelled(kind, rows).decode())


def _add_up(sums: Sequence[Sum]) -> None:
    wrong = [f"{one.balance} ({one.book}, {one.unit})" for one in sums if one.balance]
    if wrong:
        raise Failed(f"the accounts do not add up: {', '.join(wrong)}; adserver verify says why")


def _show_all(told: TrialBalance) -> None:
    """A table for each book and unit, and its sums."""
    if not told.accounts:
        print("nothing has moved yet")
    for one in told.sums:
        table = _table(one.book, *_AMOUNTS, left=("",))
        for row in told.accounts:
            if (row.book, row.unit) == (one.book, one.unit):
                table.add_row(plain(row.account), *_amounts(row), row.unit)
        table.add_row("all", *_amounts(one), one.unit)
        show_table(table)
        print()


def _show_one(told: MovedAccount) -> None:
    row = told.account
    sides = ", ".join(f"{name} {text}" for name, text in zip(_AMOUNTS, _amounts(row), strict=True))
    print(f"{plain(row.account)} ({row.booked_as}): {sides} {row.unit}")
    table = _table("at", "debits", "credits", left=("what", "reference", "other"))
    for moved in told.movements:
        amounts = [_amount(nanos, row.unit) if nanos else "" for nanos in (moved.debits, moved.credits)]
        table.add_row(moved.at or "now", *amounts, moved.what, plain(moved.reference), plain(moved.other))
    show_table(table)
    if told.more:
        print("and older ones (--most)")


def _table(first: str, *amounts: str, left: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in amounts:
        # A number cut short would be another number.
        table.add_column(name, justify="right", no_wrap=True)
    for name in left:
        table.add_column(name, overflow="fold")
    return table


def _amounts(row: AccountRow | Sum) -> list[str]:
    return [_amount(amount, row.unit) for amount in (row.debits, row.credits, row.balance)]


def _amount(amount: int, unit: str) -> str:
    return str(amount) if unit == EVENTS else money.format_nanos(amount)
