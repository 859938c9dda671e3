"""Delivery reports: what was asked, checked against who asks, read of one moment, and told.

An advertiser is told its own, a publisher its placements' and what it earns, an operator everything. Whoever
asks for what is not theirs is refused, not given less: an empty number would look like a true one.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Final, Protocol

from msgspec import Struct

from adserver.domain import limits
from adserver.domain.provenance import DEVICES
from adserver.domain.reports import (
    OF_PEOPLE,
    TIMES,
    Figures,
    Scope,
)  # fmt: skip
from adserver.services.elsewhere import Elsewhere
from adserver.services.manage import Who
from adserver.services.metrics import Number, told
from adserver.services.refusals import Refused
from adserver.services.render import FindSold
from adserver.services.reportask import ReportAsk, Wanted, wanted
from adserver.services.spans import QUARTER_MS, Span, spans
from adserver.services.withholding import Withheld, withhold

_TURN: Final = 200
"""Creatives that are named in one turn of the loop."""


class Moment(Protocol):
    def figures(
        self, by: Sequence[str], scope: Scope, quarters: tuple[int, int], money: bool, requests: bool,
        people: bool,
    ) -> list[Figures]: ...  # fmt: skip


class Books(Protocol):
    """What was rolled up. ``at_once``: what is read of it is of one moment; raises TimeoutError."""

    def people_since_ms(self) -> int: ...
    def at_once(self) -> AbstractContextManager[Moment]: ...


class ReportRow(Struct, frozen=True):
    """``key``: in the order asked for, None where it is not known; ``rows``: that are withheld in it, 0 for a
    row of its own, whose key is empty then. ``currency``: empty without money."""

    key: tuple[str | None, ...]
    currency: str
    numbers: list[Number]
    rows: int = 0


class Report(Struct, frozen=True):
    """``columns``: of the rows' keys, and of their numbers."""

    wanted: Wanted
    people_min: int
    rows: list[ReportRow]

    @property
    def columns(self) -> tuple[str, ...]:
        money = ("currency",) if self.wanted.money else ()
        return (*self.wanted.group_by, *money, *self.wanted.metrics)


class Reporting:
    """``people_min``: rows about fewer people are withheld where they could point at one; ``sold`` finds the
    version of a creative."""

    def __init__(self, books: Books, sold: FindSold, people_min: int) -> None:
        self._books = books
        self._sold = sold
        self._people_min = people_min
        self._running = 0

    async def delivery(self, who: Who, ask: ReportAsk) -> Report:
        """Raises Refused: 400 for what cannot be asked, 403 and 404 for what may not, 429 beside others, 503
        for what takes too long."""
        want = wanted(who, ask)
        if self._running >= limits.REPORTS_AT_ONCE:
            raise Refused(429, "other reports are being made: try again")
        self._running += 1
        try:
            found, few = await asyncio.to_thread(self._read, want)
            names = await self._names(want, found)
            return await asyncio.to_thread(self._told, want, found, few, names, who.role)
        except TimeoutError:
            raise Refused(503, f"the report took more than {limits.REPORT_S:.0f} s: ask for less") from None
        finally:
            self._running -= 1

    def _read(self, want: Wanted) -> tuple[list[tuple[Span, Figures]], frozenset[str]]:
        """In the thread of its own: the rows, and the currencies in which all of them together are about few
        people, of a part of a day (whole days may be about anybody)."""
        since_ms = self._books.people_since_ms()
        if want.reach and want.first * QUARTER_MS < since_ms:
            since = datetime.fromtimestamp(since_ms / 1000, UTC).isoformat()
            raise Refused(400, "people are not known of that time", [("from", f"they are since {since}")])
        by = tuple(name for name in want.group_by if name not in TIMES)
        times = tuple(name for name in want.group_by if name in TIMES)
        people = want.reach or want.pointing
        rows, few = list[tuple[Span, Figures]](), frozenset[str]()
        with self._books.at_once() as moment:
            if not want.whole_days:
                quarters = want.first, want.end
                whole = moment.figures((), want.scope, quarters, want.money, want.requests, True)
                few = frozenset(one.currency for one in whole if one.crowd < self._people_min)
            for span in spans(times, want.zone, want.first, want.end):
                quarters = span.first, span.end
                found = moment.figures(by, want.scope, quarters, want.money, want.requests, people)
                rows += ((span, figures) for figures in found)
                if len(rows) > limits.REPORT_ROWS:
                    message = f"more than {limits.REPORT_ROWS} rows: ask for less time, or by less"
                    raise Refused(400, "the report is too long", [("group_by", message)])
        return rows, few

    async def _names(self, want: Wanted, found: list[tuple[Span, Figures]]) -> dict[int, str]:
        """The full ids of creatives, which the catalogue knows: a few in each turn of the loop."""
        if "creative" not in want.group_by:
            return {}
        place = [name for name in want.group_by if name not in TIMES].index("creative")
        names = dict[int, str]()
        for number, serial in enumerate({int(figures.key[place]) for _, figures in found}):
            try:
                sold = self._sold(serial)
            except Elsewhere as missing:
                await missing.bring()
                sold = self._sold(serial)
            if sold is not None:
                names[serial] = f"{sold.advertiser}/{sold.campaign}/{sold.creative.id}"
            if number % _TURN == 0:
                await asyncio.sleep(0)
        return names

    # -- telling -----------------------------------------------------------------------------------

    def _told(
        self, want: Wanted, found: list[tuple[Span, Figures]], few: frozenset[str], names: dict[int, str],
        role: str,
    ) -> Report:  # fmt: skip
        withheld = list[Withheld]()
        if want.pointing:
            found, withheld = withhold(found, lambda row: row[1], self._people_min)
        rows = [
            ReportRow(_key(want, names, *row), row[1].currency, told(row[1], want.metrics, role))
            for row in found
        ]
        for one in withheld:
            numbers = told(one.figures, want.metrics, role)
            hidden = (one.figures.currency in few or name in OF_PEOPLE for name in want.metrics)
            numbers = [None if gone else number for number, gone in zip(numbers, hidden, strict=True)]
            rows.append(ReportRow((), one.figures.currency, numbers, one.rows))
        return Report(want, self._people_min, rows)


def _key(want: Wanted, names: dict[int, str], span: Span, figures: Figures) -> tuple[str | None, ...]:
    labels, parts = iter(span.labels), iter(figures.key)
    return tuple(
        next(labels) if name in TIMES else _named(name, next(parts), names) for name in want.group_by
    )


def _named(dimension: str, part: str | int, creatives: dict[int, str]) -> str | None:
    if dimension == "creative":
        return creatives.get(int(part))
    if dimension == "device":
        return DEVICES[int(part)] or None if int(part) < len(DEVICES) else None
    return str(part) or None
