"""Totals and what was shown, counted from judged events."""

from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.ledger.audit_books import ALL_DAYS
from adserver.ledger.audit_rows import Array, Groups

COLUMN: Final = {
    EventKind.IMPRESSION: 0,
    EventKind.VIEWABLE: 1,
    EventKind.CLICK: 2,
    EventKind.CONVERSION: 3,
}

Mask = NDArray[np.bool_]


def totals_of(live: Array, filtered: Array, reversals: Array) -> dict[tuple[int, int], tuple[int, ...]]:
    """Per line item and day, and over all days; test events count nowhere."""
    totals: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * 13)
    live, filtered = live[live["test"] == 0], filtered[filtered["test"] == 0]
    accepted = live["status"] == Status.ACCEPTED
    ones = {column: live["kind"] == kind for kind, column in COLUMN.items()}
    sums: list[tuple[Array, int, Array | int, Mask | None]] = [
        *((live, column, 1, accepted & mask) for column, mask in ones.items()),
        (live, 5, 1, ~accepted),
        (live, 6, live["billed"], accepted),
        (live, 7, live["free"], accepted),
        (filtered, 4, 1, None),
        *((reversals, 8 + column, 1, reversals["kind"] == kind) for kind, column in COLUMN.items()),
        (reversals, 12, reversals["billed"], None),
    ]
    groups = {id(rows): Groups(rows["line_item"], rows["day"]) for rows in (live, filtered, reversals)}
    for rows, column, values, where in sums:
        group = groups[id(rows)]
        for (line_item, day), total in zip(group.keys, group.sums(values, where), strict=True):
            for period in (ALL_DAYS, day):
                totals[line_item, period][column] += total
    return {key: tuple(counts) for key, counts in totals.items()}


def shown_of(live: Array, reversals: Array) -> dict[tuple[int, int, int], tuple[int, ...]]:
    shown: defaultdict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0] * 4)
    accepted = live[(live["test"] == 0) & (live["status"] == Status.ACCEPTED)]
    for rows, sign in ((accepted, 1), (reversals, -1)):
        for kind, column in COLUMN.items():
            mine = rows[rows["kind"] == kind]
            groups = Groups(mine["line_item"], mine["placement"], mine["creative"])
            for key, count in zip(groups.keys, groups.sums(1), strict=True):
                shown[key][column] += sign * count
    return {key: tuple(counts) for key, counts in shown.items()}
