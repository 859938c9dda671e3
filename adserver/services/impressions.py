"""Impressions told in a row: what nearly all of them are, in a few calls; the rest the long way (``events``).

Idea: nearly every impression is the first of its ad, in time, told by a browser, and its price is held. The
verdict on such a one depends on nothing that another of the row moves. So a run of them is judged first, then
journalled in one write, and only then does anything move: what ``EventRecorder`` moves, noun by noun.
Whatever is not so plain ends the run and is told the long way, as if it had come alone.

Invariant: what is told the long way has moved nothing here, and what finds no room nothing but tempo, as
there. Cost: docs/PERFORMANCE.md.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from adserver.clock import Clock
from adserver.domain.books import JournalClosed, LineItemTotals
from adserver.domain.counted import BILLED, CPA, FLAT
from adserver.domain.decision import EventKind
from adserver.domain.invalid import Invalid
from adserver.domain.records import Status, Unbilled
from adserver.domain.told import Accepted, Heard, Told
from adserver.domain.verdicts import Verdict
from adserver.services.calls import Call
from adserver.services.elsewhere import Elsewhere
from adserver.services.events import SEEN_EXTRA_MS, EventRecorder
from adserver.services.moved import Exposed, Memory, Spending
from adserver.services.ports import Durable, Rows
from adserver.services.refusals import Refused
from adserver.tokens import FLAG_TEST, token_of

_IMPRESSION: Final = EventKind.IMPRESSION
_BILLS: Final = tuple(billed is _IMPRESSION for billed in BILLED)
_BILLED: Final = Unbilled.NONE
_FREE: Final = Unbilled.FREE
_NOT_BILLABLE: Final = Unbilled.NOT_BILLABLE
_PAID: Final = Verdict(Status.ACCEPTED, True)
_UNPAID: Final = Verdict(Status.ACCEPTED)
_UNRECORDED: Final = Verdict(Status.UNRECORDED)

Judged = tuple[Verdict, Durable]


class Browsers(Protocol):
    def is_browser(self, agent: str, ip: str) -> bool: ...
    def shown(self, row: Sequence[Heard], now_ms: int) -> dict[int, Invalid]: ...


Touched = Callable[[list[Accepted], int], None]
"""(what was accepted, when)."""


class Impressions:
    """The use case. ``read``: of a whole request; ``long``: the way of all others; the rest as there."""

    def __init__(
        self, read: Callable[[bytes], Told | None], long: EventRecorder, screen: Browsers,
        exposures: Exposed, budgets: Spending, journal: Rows, seen: Memory, released: Memory, clock: Clock,
        chance: Callable[[], bytes], happened: Callable[[list[Accepted]], None], touched: Touched,
    ) -> None:  # fmt: skip
        self.read = read
        self._long = long
        self._screen = screen
        self._exposures = exposures
        self._budgets = budgets
        self._journal = journal
        self._seen = seen
        self._released = released
        self._clock = clock
        self._chance = chance
        self._happened = happened
        self._touched = touched

    def tell(self, row: Sequence[Heard]) -> list[Judged]:
        """The verdicts, in order, and what each is not to be told before."""
        now_ms = self._clock()
        self._exposures.sweep(now_ms)
        judged = list[Judged]()
        while len(judged) < len(row):
            plain = self._plain(row[len(judged) :], now_ms)
            if plain:
                self._screened(plain, now_ms, judged)
            else:
                judged.append(self._told(*row[len(judged)]))
        return judged

    def _plain(self, row: Sequence[Heard], now_ms: int) -> list[Heard]:
        """The first ones, as many as there are against which only their tempo may speak. Moves nothing."""
        seen, known, released = self._seen.keys, self._exposures.known, self._released.keys
        is_held, is_browser = self._budgets.is_held, self._screen.is_browser
        plain, keys = list[Heard](), set[bytes]()
        for heard in row:
            told, ip = heard
            event_id, key, price, model = told[0], told[1], told[9], told[10]
            if (
                told[3] < now_ms
                or told[11] & FLAG_TEST
                or model == FLAT
                or key in seen
                or key in keys
                or event_id not in known
                or event_id in released
                or (price and _BILLS[model] and not is_held(event_id, price))
                or not is_browser(told[15], ip)
            ):
                break
            keys.add(key)
            plain.append(heard)
        return plain

    def _screened(self, plain: list[Heard], now_ms: int, judged: list[Judged]) -> None:
        """Those that came too fast are filtered, and the others accepted, in order."""
        marked = self._screen.shown(plain, now_ms)
        chance, begin = self._chance, 0
        run = [_priced(told, chance()) for told, _ in plain]
        for place, found in sorted(marked.items()):
            self._accept(run[begin:place], now_ms, judged)
            judged.append(self._filtered(plain[place][0], now_ms, found))
            begin = place + 1
        self._accept(run[begin:], now_ms, judged)

    def _accept(self, run: list[Accepted], now_ms: int, judged: list[Judged]) -> None:
        """Journal a run and move what moves with it. Where not all of it finds room, some of it may."""
        if not run:
            return
        try:
            self._journal.append_row(run, now_ms)
            durable = self._journal.synced()
        except JournalClosed:
            if len(run) == 1:
                judged.append((_UNRECORDED, None))
                return
            for accepted in run:
                self._accept([accepted], now_ms, judged)
            return
        self._move(run, now_ms)
        paid, unpaid = (_PAID, durable), (_UNPAID, durable)
        judged += [paid if accepted[1] else unpaid for accepted in run]

    def _move(self, run: list[Accepted], now_ms: int) -> None:
        """One noun after the other, each for the whole run: none of them looks at another."""
        self._touched(run, now_ms)
        self._seen.shown(run, SEEN_EXTRA_MS)
        self._exposures.shown(run, now_ms)
        post, rendered = self._budgets.post, self._rendered
        for told, billed, unbilled, _, _ in run:
            if unbilled is _NOT_BILLABLE:
                totals = rendered(told[0], told[4])
            else:
                totals = post(told[0], told[4], billed, told[2])
            if totals is not None:
                totals.impressions += 1
        self._happened(run)

    def _rendered(self, event_id: bytes, line_item: int) -> LineItemTotals | None:
        self._budgets.rendered(event_id)
        known = self._budgets.totals(line_item)
        return None if known is None else known[0]

    # -- the long way ------------------------------------------------------------------------------

    def _told(self, told: Told, ip: str) -> Judged:
        try:
            return self._long.tell_token(token_of(told), _IMPRESSION, Call(told[15], ip))
        except (Refused, Elsewhere):
            # Elsewhere only if it became so since it was read: who tells it again is told more.
            return _UNRECORDED, None

    def _filtered(self, told: Told, now_ms: int, found: Invalid) -> Judged:
        try:
            return self._long.filtered(token_of(told), _IMPRESSION, now_ms, found)
        except JournalClosed:
            return _UNRECORDED, None


def _priced(told: Told, salt: bytes) -> Accepted:
    price, model = told[9], told[10]
    conversion_nanos = price if model == CPA else 0
    if not _BILLS[model]:
        return told, 0, _NOT_BILLABLE, conversion_nanos, salt
    return told, price, _BILLED if price else _FREE, conversion_nanos, salt
