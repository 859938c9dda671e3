"""Rollups, audited: each cell made again from the events the journal tells, and compared.

What an event moves is packed as rows (cell, column, amount) of 29 bytes; these are added up and compared with
the ledger some quarters of an hour at a time, so that neither side is ever in memory as a whole.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, text

from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.ledger.audit_books import Tell
from adserver.ledger.audit_rows import Array
from adserver.ledger.dialects import dialect_of

KEYS: Final = ("quarter", "line_item", "creative", "placement", "whence")
NUMBERS: Final = (
    "impressions", "viewable", "clicks", "conversions", "filtered", "expired", "billed_nanos", "free_nanos",
    "invalid_impressions", "invalid_viewable", "invalid_clicks", "invalid_conversions", "refunded_nanos",
    "earned_nanos",
)  # fmt: skip
"""In the order of the ledger's columns."""
_KINDS: Final = {EventKind.IMPRESSION: 0, EventKind.VIEWABLE: 1, EventKind.CLICK: 2, EventKind.CONVERSION: 3}
_FILTERED, _EXPIRED, _BILLED, _FREE, _INVALID, _REFUNDED, _EARNED = 4, 5, 6, 7, 8, 12, 13
_MOVE: Final = np.dtype([*((name, "<u4") for name in KEYS), ("column", "u1"), ("amount", "<i8")])
_QUARTER_MS: Final = 900_000
_MOVES: Final = 500_000
"""Added up at a time, and some more: a quarter of an hour is not divided."""
_EVER: Final = 1 << 40


class Cells:
    """What the ledger's rollups must hold."""

    def __init__(self) -> None:
        self._moves: list[Array] = []

    def add(self, live: Array, filtered: Array, reversed_events: Array) -> None:
        """Events that agree with their decisions: recorded, filtered, and those taken back."""
        live, filtered = live[live["test"] == 0], filtered[filtered["test"] == 0]
        accepted = live[live["status"] == Status.ACCEPTED]
        self._count(live[live["status"] != Status.ACCEPTED], _EXPIRED, 1)
        self._count(filtered, _FILTERED, 1)
        for kind, column in _KINDS.items():
            self._count(accepted[accepted["kind"] == kind], column, 1)
            self._count(reversed_events[reversed_events["kind"] == kind], _INVALID + column, 1)
        self._count(accepted, _BILLED, accepted["billed"])
        self._count(accepted, _FREE, accepted["free"])
        self._count(reversed_events, _REFUNDED, reversed_events["billed"])

    def earn(self, rows: Array, nanos: Array) -> None:
        """What publishers got for these events; negative where it was taken back."""
        self._count(rows, _EARNED, nanos)

    def _count(self, rows: Array, column: int, amounts: Array | int) -> None:
        moves = np.zeros(len(rows), _MOVE)
        moves["quarter"] = quarters_of(rows)
        for name in KEYS[1:]:
            moves[name] = rows[name]
        moves["column"], moves["amount"] = column, amounts
        self._moves.append(moves[moves["amount"] != 0])

    def parts(self) -> Iterator[tuple[int, int, Array]]:
        """(first quarter, the one behind the last, rows of keys and numbers), all of time."""
        moves = np.concatenate(self._moves or [np.zeros(0, _MOVE)])
        self._moves = [moves]
        moves = moves[np.argsort(moves["quarter"], kind="stable")]
        low, start = -_EVER, 0
        while start < len(moves):
            last = moves["quarter"][min(start + _MOVES, len(moves)) - 1]
            end = int(np.searchsorted(moves["quarter"], last, "right"))
            high = int(last) + 1 if end < len(moves) else _EVER
            yield low, high, _added_up(moves[start:end])
            low, start = high, end
        if low < _EVER:
            yield low, _EVER, _added_up(moves[:0])


def quarters_of(rows: Array) -> Array:
    """Of the decisions of these events."""
    raw = np.ascontiguousarray(rows["id"]).view(np.uint8).reshape(-1, 16)[:, :6].astype(np.int64)
    return (raw @ (1 << np.arange(40, -8, -8, dtype=np.int64))) // _QUARTER_MS


def _added_up(moves: Array) -> Array:
    """A row a cell, in order: its keys, then its numbers."""
    moves = moves[np.lexsort([moves[name] for name in reversed(KEYS)])]
    new = np.ones(len(moves), np.bool_)
    new[1:] = False
    for name in KEYS:
        new[1:] |= moves[name][1:] != moves[name][:-1]
    rows = np.zeros((int(new.sum()), len(KEYS) + len(NUMBERS)), np.int64)
    for place, name in enumerate(KEYS):
        rows[:, place] = moves[name][new]
    np.add.at(rows, (np.cumsum(new) - 1, len(KEYS) + moves["column"].astype(np.int64)), moves["amount"])
    return rows


def compare_cells(connection: Connection, cells: Cells, tell: Tell) -> int:
    """Tell every cell that differs; how many the ledger has."""
    posted = 0
    columns = ", ".join((*KEYS[:-1], dialect_of(connection).WHENCE, *NUMBERS))
    found = text(f"SELECT {columns} FROM rollups WHERE quarter >= :low AND quarter < :high")
    for low, high, expected in cells.parts():
        rows = connection.execute(found, {"low": low, "high": high}).all()
        posted += len(rows)
        match_cells(f"rollup of {', '.join(KEYS)}", rows, expected, len(KEYS), tell)
    return posted


def match_cells(what: str, posted: Iterable[Any], expected: Array, keys: int, tell: Tell) -> None:
    """Rows of as many keys, then numbers; those of the ledger may hold anything."""
    ours = {tuple(row[:keys]): tuple(row[keys:]) for row in expected.tolist() if any(row[keys:])}
    for row in posted:
        key, numbers = tuple(row[:keys]), tuple(row[keys:])
        expects = ours.pop(key, None)
        if expects is None:
            if any(numbers):
                tell(f"{what} {_name(key)}: the ledger says {numbers}, the journal knows nothing of it")
        elif numbers != expects:
            tell(f"{what} {_name(key)}: the ledger says {numbers}, the journal {expects}")
    for key, numbers in ours.items():
        tell(f"{what} {_name(key)}: missing in the ledger, the journal says {numbers}")


def _name(key: tuple[Any, ...]) -> str:
    *rest, whence = key
    return ", ".join(map(str, (*rest, *told_whence(whence))))


def told_whence(whence: int) -> tuple[str, int]:
    """(country, device)."""
    letters, device = divmod(whence, 256)
    country = letters.to_bytes(2, "big").decode("latin-1") if 0 < letters < 1 << 16 else ""
    return country or "''", device
