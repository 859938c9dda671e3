"""What moved an account of the trial balance: bills, reversals, bookings, grants and leases, newest first.

What comes of an ad is told under the instant of its decision, with which event ids begin, so the tables are
read from their end and only as far as it takes; reversals, bookings and grants under their own. A lease is
told as it is now: what was given back of it nobody keeps.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, text

from adserver.domain import ids, money
from adserver.domain.accounts import BUDGETARY, EVENTS, OWED, Movement
from adserver.domain.credits import accounts
from adserver.domain.decision import EventKind
from adserver.ledger.grants import Grants
from adserver.ledger.schema import LIFETIME
from adserver.ledger.titles import Titles
from adserver.ledger.trial_balance import day_of


class Unnamed(Exception):
    """There can be no account of this name; the message says why."""


def read_movements(connection: Connection, name: str, most: int) -> list[Movement]:
    """At most so many of an account. Raises Unnamed."""
    head, *rest = name.split(":")
    if head in OWED and len(rest) == (1 if head in ("operator", "cash") else 2):
        found = _owed(connection, name, head, rest, most)
    elif head in BUDGETARY and len(rest) in (3, 4):
        found = _budgetary(connection, head, rest, most)
    elif head in _MARKED and len(rest) == (2 if rest[:1] == ["operator"] else 3):
        found = _marked(connection, head, rest, most)
    else:
        raise Unnamed(f"no account has a name such as {name[:64]}")
    newest = sorted(found, key=lambda one: (one.at_ms is None, one.at_ms), reverse=True)[:most]
    titles = Titles(connection)
    return [msgspec.structs.replace(one, other=titles.of(one.other)) for one in newest]


# -- owed ------------------------------------------------------------------------------------------------

_PAID: Final = """
SELECT event_id, kind, {other}, amount_nanos FROM entries
WHERE reversal IN ({parts}) AND {mine} = :name ORDER BY event_id DESC, kind DESC, reversal DESC LIMIT :most"""
_TAKEN_BACK: Final = """
SELECT e.event_id, e.kind, e.{other}, e.amount_nanos, r.at_ms FROM reversals r
JOIN entries e ON e.event_id = r.event_id AND e.kind = r.kind AND e.reversal IN ({parts})
WHERE e.{mine} = :name ORDER BY r.at_ms DESC, e.event_id DESC, e.kind DESC, e.reversal DESC LIMIT :most"""
_PARTS: Final = {"advertiser": ("0, 2", "1, 3"), "publisher": ("0", "1"), "operator": ("2", "3")}
"""Of entries (``schema.REVERSAL``, ``OPERATORS``): of bills, and of reversals."""


def _owed(connection: Connection, name: str, head: str, rest: list[str], most: int) -> Iterator[Movement]:
    if head in _PARTS:
        owes, (paid, back) = head == "advertiser", _PARTS[head]
        sides = {"mine": "debit", "other": "credit"} if owes else {"mine": "credit", "other": "debit"}
        asked = {"name": name, "most": most}
        for ident, kind, other, nanos in connection.execute(text(_PAID.format(parts=paid, **sides)), asked):
            yield _event(ident, kind, other, nanos, owes)
        sides = {"mine": sides["other"], "other": sides["mine"]}
        for *row, at_ms in connection.execute(text(_TAKEN_BACK.format(parts=back, **sides)), asked):
            yield _reversal(row[0], row[1], row[2], row[3], not owes, at_ms)
    if head != "advertiser":
        yield from _booked(connection, name, rest[-1])


def _booked(connection: Connection, name: str, currency: str) -> Iterator[Movement]:
    """Few: operators book them one by one."""
    found = text("SELECT kind, advertiser, id, amount_micros, at_ms FROM credits WHERE currency = :currency")
    for kind, advertiser, credit, micros, at_ms in connection.execute(found, {"currency": currency}):
        debited, credited = accounts(kind, advertiser, currency)
        if name in (debited, credited):
            owes, other = name == debited, credited if name == debited else debited
            yield _moved(at_ms, kind, credit, other, money.nanos(micros), owes)


# -- what is owed by nobody ------------------------------------------------------------------------------

_OF: Final = {
    "line_item": "e.line_item = :serial",
    "campaign": "i.campaign = :serial",
    "advertiser": "i.advertiser = :serial",
    "publisher": "coalesce(p.publisher, 0) = :serial",
    "operator": "1 = 1",
}
_FOUND: Final = """
SELECT e.event_id, e.kind, {amount}, i.advertiser, e.line_item, coalesce(p.publisher, 0), {at}
FROM {table} e {reversed}
JOIN line_items i ON i.serial = e.line_item
LEFT JOIN placements p ON p.serial = e.placement
WHERE {of} AND {where}{more} ORDER BY {order}e.event_id DESC, e.kind DESC LIMIT :most"""
_REVERSED: Final = {
    "table": "events",
    "reversed": "JOIN reversals r ON r.event_id = e.event_id AND r.kind = e.kind",
    "amount": "r.amount_nanos",
    "at": "r.at_ms",
    "order": "r.at_ms DESC, ",
}
_PLAIN: Final = {"table": "events", "reversed": "", "at": "0", "order": ""}
_BILLS: Final = {**_PLAIN, "amount": "e.billed_nanos", "where": "e.billed_nanos > 0"}
_REFUNDS: Final = {**_REVERSED, "where": "r.amount_nanos > 0"}
_MARKED: Final = {
    "free": {**_PLAIN, "amount": "e.free_nanos", "where": "e.free_nanos > 0 AND e.status = 1 AND e.test = 0"},
    "invalid": _REFUNDS,
    "filtered": {**_PLAIN, "table": "filtered", "amount": "1", "where": "e.test = 0"},
}
_OTHER: Final = {
    "line_item": "operator", "operator": "line_item", "advertiser": "publisher", "publisher": "advertiser",
}  # fmt: skip


def _marked(connection: Connection, head: str, rest: list[str], most: int) -> Iterator[Movement]:
    party, unit = rest[0], rest[-1]
    asked, on = dict[str, Any](most=most), ""
    if party not in _OTHER:
        raise Unnamed(f"{head} has accounts of line items, advertisers, publishers and the operator")
    if party != "operator":
        asked["serial"] = _serial(rest[1])
    if unit != EVENTS:
        asked["currency"], on = unit, " AND i.currency = :currency"
    for ident, kind, amount, *serials, at_ms in _find(connection, _MARKED[head], party, asked, on):
        of = dict(zip(("advertiser", "line_item", "publisher"), serials, strict=True))
        met = _OTHER[party]
        other = f"{head}:{met}:{unit}" if met == "operator" else f"{head}:{met}:{of[met]}:{unit}"
        owes = party in ("line_item", "advertiser")
        if head == "invalid":
            yield _reversal(ident, kind, other, amount, owes, at_ms)
        else:
            yield _event(ident, kind, other, amount, owes)


def _budgetary(connection: Connection, head: str, rest: list[str], most: int) -> Iterator[Movement]:
    level, number, *dated, currency = rest
    if level not in ("line_item", "campaign", "advertiser"):
        raise Unnamed(f"{head} has accounts of line items, campaigns and advertisers")
    serial, day = _serial(number), _day(dated[0]) if dated else LIFETIME
    account, behind = f"{level}:{serial}", ":".join(rest)
    other = {met: f"{met if head == 'budget' else 'budget'}:{behind}" for met in BUDGETARY}
    if head in ("granted", "budget"):
        for step in Grants(connection, account).steps(account, currency, day) or ():
            grows = (step.nanos > 0) == (head == "budget")
            yield _moved(step.at_ms, step.what, "", other["granted"], abs(step.nanos), grows)
    if head in ("reserved", "budget"):
        for holder, nanos in _leases(connection, account, day):
            yield _moved(None, "lease", f"worker {holder}", other["reserved"], nanos, head == "reserved")
    if head in ("used", "budget"):
        asked, on = {"serial": serial, "most": most}, ""
        if day != LIFETIME:
            asked["day"], on = day, " AND e.day = :day"
        for ident, kind, nanos, *_ in _find(connection, _BILLS, level, asked, on):
            yield _event(ident, kind, other["used"], nanos, head == "used")
        for ident, kind, nanos, *_, at_ms in _find(connection, _REFUNDS, level, asked, on):
            yield _reversal(ident, kind, other["used"], nanos, head != "used", at_ms)


def _find(
    connection: Connection, said: Mapping[str, str], level: str, asked: Mapping[str, Any], more: str
) -> Iterable[Any]:
    return connection.execute(text(_FOUND.format(of=_OF[level], more=more, **said)), asked)


def _leases(connection: Connection, account: str, day: int) -> Iterable[Any]:
    found = text(
        "SELECT holder, granted_nanos - spent_nanos FROM leases WHERE account = :account AND day = :day "
        "AND granted_nanos <> spent_nanos ORDER BY holder"
    )
    return connection.execute(found, {"account": account, "day": day})


def _serial(told: str) -> int:
    if not (told.isascii() and told.isdigit() and len(told) < 19):
        raise Unnamed(f"{told[:64]} is nobody's number")
    return int(told)


def _day(told: str) -> int:
    try:
        return day_of(told)
    except ValueError:
        raise Unnamed(f"{told[:64]} is no day, such as 2026-11-30") from None


# -- told ------------------------------------------------------------------------------------------------


def _event(ident: bytes, kind: int, other: str, amount: int, debited: bool) -> Movement:
    return _moved(ids.minted_ms(ident), _kind(kind), ids.encode(ident), other, amount, debited)


def _reversal(ident: bytes, kind: int, other: str, amount: int, debited: bool, at_ms: int) -> Movement:
    return _moved(at_ms, f"reversal of {_kind(kind)}", ids.encode(ident), other, amount, debited)


def _kind(kind: int) -> str:
    return EventKind(kind).name.lower()


def _moved(at_ms: int | None, what: str, reference: str, other: str, amount: int, debited: bool) -> Movement:
    return Movement(at_ms, what, reference, other, amount if debited else 0, 0 if debited else amount)
