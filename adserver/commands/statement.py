"""``adserver statement``: a month's statement of a running server, as a table, CSV or JSON."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from rich.table import Table

from adserver.commands.credit import balance
from adserver.commands.remote import Remote
from adserver.commands.shown import plain, show_table
from adserver.domain import money
from adserver.domain.statements import UNITS, parse_month
from adserver.options import Wrong

_TOLD: Final = ("month", "status")


def statement(remote: Remote, advertiser: str, publisher: str, month: str, form: str, close: bool) -> None:
    """``form``: table, csv or json. Raises Wrong, Failed."""
    if bool(advertiser) == bool(publisher):
        raise Wrong("whose statement? name an advertiser, or a publisher with --publisher")
    try:
        parse_month(month)
    except ValueError as error:
        raise Wrong(f"--month {month[:64] or 'is missing'}: {error}") from None
    whose = f"publishers/{quote(publisher, safe='')}" if publisher else quote(advertiser, safe="")
    path = f"/v1/statements/{whose}"
    if close:
        remote.post(f"{path}:close", {"month": month})
    if form == "table":
        _show(remote.get(f"{path}?month={month}"))
        if advertiser:
            balance(remote, advertiser)
    else:
        media = "text/csv" if form == "csv" else "application/json"
        print(remote.text(f"{path}?month={month}", media), end="" if form == "csv" else "\n")


def _show(told: dict[str, Any]) -> None:
    owner = told.get("advertiser") or told["publisher"]
    print(f"{owner}, {told['month']}: {told['status']}")
    named = [name for name in ("placement", "campaign", "line_item", "model", "rate") if _any(told, name)]
    counted = [name for name in (*UNITS, "refunded") if any(line[name] for line in told["lines"])]
    moved = [name for name in ("carried", "adjusted") if any(line[f"{name}_nanos"] for line in told["lines"])]
    table = Table(box=None, pad_edge=False)
    for name in named:
        table.add_column(name, overflow="fold")
    for name in (*counted, *moved, "amount"):
        # A number cut short would be another number.
        table.add_column(name, justify="right", no_wrap=name == "amount", overflow="fold")
    for line in told["lines"]:
        table.add_row(*_row(line, [*named, *counted], moved))
    if told["lines"]:
        show_table(table)
    for credit in told.get("credits", ()):
        amount = money.format_micros(-credit["micros"])
        kind = credit["kind"].replace("_", "-")
        print(f"{kind} {credit['id']}: {amount} {credit['currency']} ({plain(credit['reason'])})")
    for total in told["totals"]:
        print(f"total: {total['amount']} {total['currency']}")
    if not told["totals"]:
        print("total: nothing")


def _any(told: dict[str, Any], name: str) -> bool:
    return any(line.get(name) for line in told["lines"])


def _row(line: dict[str, Any], named: Sequence[str], moved: Sequence[str]) -> list[str]:
    nanos = [money.format_nanos(line[f"{name}_nanos"]) for name in moved]
    amount = f"{money.format_micros(line['micros'])} {line['currency']}"
    return [*(str(line[name]) for name in named), *nanos, amount]
