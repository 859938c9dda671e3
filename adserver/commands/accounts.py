"""``adserver accounts``: the trial balance, and what moved one account, read off the ledger."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.table import Table
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from adserver.api.tables import csv
from adserver.commands.shown import plain, show_table
from adserver.databases import Place, Unusable, reason
from adserver.domain import money
from adserver.ledger.audit_ledger import reading
from adserver.ledger.movements import Movement, Unnamed, read_movements
from adserver.ledger.place import place_of
from adserver.ledger.titles import Titles
from adserver.ledger.trial_balance import (
    BOOKS,
    EVENTS,
    Account,
    earliest_day,
    is_readable,
    read_accounts,
    sums,
)
from adserver.options import Failed, Wrong
from adserver.settings import Settings

_AMOUNTS: Final = ("debits", "credits", "balance")
_BALANCE: Final = ("account", "booked_as", "book", "unit", *_AMOUNTS)
_MOVED: Final = ("at", "what", "reference", "other", "debits", "credits")


def accounts(settings: Settings, name: str, most: int, form: str, now_ms: int) -> None:
    """All, or the last movements of the one with this ``name``; ``form``: table, csv or json. Raises Wrong,
    and Failed where they do not add up."""
    place = place_of(settings.data, settings.database)
    if isinstance(place, Path) and not place.exists():
        raise Wrong(f"there is no ledger: {place}")
    try:
        with reading(place) as connection:
            _tell(connection, place, name, most, form, now_ms)
    except (Unusable, Unnamed) as error:
        raise Wrong(str(error)) from error
    except DBAPIError as error:
        raise Wrong(f"the ledger cannot be read: {reason(error)}") from error


def _tell(connection: Connection, place: Place, name: str, most: int, form: str, now_ms: int) -> None:
    if not is_readable(connection):
        raise Wrong(f"{place} is of an earlier version: a server of this one brings it up")
    titles, found = Titles(connection), read_accounts(connection, earliest_day(now_ms))
    if not name:
        _tell_all(found, titles, form)
        return
    named = {told: account for account in found for told in (account.name, titles.of(account.name))}
    if name not in named:
        raise Wrong(
            f"nothing ever moved an account {plain(name[:128])}: `adserver accounts` tells their names"
        )
    account = named[name]
    moved = read_movements(connection, account.name, most + 1)
    _tell_one(account, moved[:most], len(moved) > most, titles, form)


# -- the trial balance -----------------------------------------------------------------------------------


def _tell_all(found: Sequence[Account], titles: Titles, form: str) -> None:
    rows, added = [_row(account, titles) for account in found], _sums(found)
    if form == "csv":
        _write_csv(_BALANCE, rows)
    elif form == "json":
        _write_json({"accounts": rows, "sums": added})
    else:
        _show_all(rows, added)
    wrong = [f"{one['balance']} ({one['book']}, {one['unit']})" for one in added if one["balance"]]
    if wrong:
        raise Failed(f"the accounts do not add up: {', '.join(wrong)}; adserver verify says why")


def _row(account: Account, titles: Titles) -> dict[str, Any]:
    """Amounts in nanos, where the unit is a currency."""
    return {
        "account": titles.of(account.name),
        "booked_as": account.name,
        "book": account.book,
        "unit": account.unit,
        **{name: getattr(account, name) for name in _AMOUNTS},
    }


def _sums(found: Sequence[Account]) -> list[dict[str, Any]]:
    return [
        {"book": book, "unit": unit, "debits": debits, "credits": credits, "balance": debits - credits}
        for (book, unit), (debits, credits) in sorted(sums(found).items(), key=_in_order)
    ]


def _in_order(one: tuple[tuple[str, str], Any]) -> tuple[int, str]:
    (book, unit), _ = one
    return BOOKS.index(book), unit


def _show_all(rows: Sequence[dict[str, Any]], added: Sequence[dict[str, Any]]) -> None:
    if not rows:
        print("nothing has moved yet")
    for one in added:
        table = _table(one["book"], *_AMOUNTS, "")
        mine = [row for row in rows if (row["book"], row["unit"]) == (one["book"], one["unit"])]
        for row in (*mine, {**one, "account": "all"}):
            amounts = (_amount(row[name], row["unit"]) for name in _AMOUNTS)
            table.add_row(plain(row["account"]), *amounts, row["unit"])
        show_table(table)
        print()


# -- one account -----------------------------------------------------------------------------------------


def _tell_one(account: Account, moved: Sequence[Movement], more: bool, titles: Titles, form: str) -> None:
    rows = [
        {
            "at": None if one.at_ms is None else _instant(one.at_ms),
            "what": one.what,
            "reference": one.reference,
            "other": titles.of(one.other),
            "debits": one.debits,
            "credits": one.credits,
        }
        for one in moved
    ]
    if form == "csv":
        _write_csv(_MOVED, rows)
    elif form == "json":
        _write_json({**_row(account, titles), "movements": rows, "more": more})
    else:
        _show_one(_row(account, titles), rows, more)


def _show_one(told: dict[str, Any], rows: Sequence[dict[str, Any]], more: bool) -> None:
    amounts = ", ".join(f"{name} {_amount(told[name], told['unit'])}" for name in _AMOUNTS)
    print(f"{plain(told['account'])} ({told['booked_as']}): {amounts} {told['unit']}")
    table = _table("at", "debits", "credits", left=("what", "reference", "other"))
    for row in rows:
        sides = (_amount(row[name], told["unit"]) if row[name] else "" for name in ("debits", "credits"))
        table.add_row(row["at"] or "now", *sides, row["what"], plain(row["reference"]), plain(row["other"]))
    show_table(table)
    if more:
        print("and older ones (--most)")


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


# -- forms -----------------------------------------------------------------------------------------------


def _table(first: str, *amounts: str, left: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in amounts:
        # A number cut short would be another number.
        table.add_column(name, justify="right", no_wrap=True)
    for name in left:
        table.add_column(name, overflow="fold")
    return table


def _amount(amount: int, unit: str) -> str:
    return str(amount) if unit == EVENTS else money.format_nanos(amount)


def _write_csv(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    sys.stdout.write(csv([names, *([row[name] for name in names] for row in rows)]).decode())


def _write_json(told: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(told)).decode())
