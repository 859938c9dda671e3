"""The decision once more, keeping nothing of it: as it is, or with one thing about a line item changed.

It is the deciding code itself, on the same request, time, counters and chance (law 5), and every exposure
and hold is taken back before it returns. The index does not know the line item as it would be, so that one
is asked the very rules the index is tested against, and stands among the candidates where its tier, score
and draw put it. Chance among equal bids is not counted on: there it comes last.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct

from adserver.domain.campaign import Creative
from adserver.domain.decision import NoFill
from adserver.domain.request import PlacementAsk, Request
from adserver.engine import draw, ranking, rules
from adserver.engine.live import Live
from adserver.engine.postings import CHUNK
from adserver.engine.shortlist import Walk, share_of
from adserver.engine.snapshot import Entry, View
from adserver.services.deciding import Deciding
from adserver.services.kept import Kept
from adserver.services.world import Serving

T = TypeVar("T")


class Limited(Protocol):
    """An account with a limit."""

    limit_nanos: int | None


class Raised(Struct, frozen=True):
    """An account that would have a higher limit."""

    account: Limited
    limit_nanos: int


class Change(Struct, frozen=True):
    """What is otherwise: the line item itself (``entry``, at its old position), what that means for others
    of its owner (``others``), a budget of any level (``raised``)."""

    entry: Entry
    others: Callable[[Entry], Entry] | None = None
    raised: Raised | None = None


class Otherwise(rules.Context, frozen=True, kw_only=True):
    """A placement for which one line item is otherwise."""

    mine: Entry

    def fits(self, entry: Entry) -> tuple[Creative, ...]:
        if entry.position == self.mine.position:
            return self.view.fit.fitting(self.mine.line_item.creatives)
        return super().fits(entry)


class Rehearsal(Deciding):
    """A decision nothing is kept of. ``slates`` tell how it went."""

    def __init__(
        self, request: Request, serving: Serving, kept: Kept, change: Change | None, away: bool = False,
        in_doubt: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(request, serving, kept, 0, away, in_doubt)
        self.fleeting = True
        # What is decided after the rehearsal finds everything as it was.
        self.claims.live = None
        self.change = change

    def play(self, look: Callable[["Rehearsal"], T]) -> T:
        """What ``look`` says of it, asked while the change still holds. Raises Refused."""
        with _held(self.change, self.serving.live, self.request.now_ms):
            try:
                self.fill()
            finally:
                self.undo()
            try:
                return look(self)
            finally:
                # The slates ask it back: a circle would keep its snapshot until somebody collects.
                self.slates.clear()

    def _open_chunks(self) -> Sequence[int]:
        """The line item itself is never left out beforehand; nobody is where the change is others' too."""
        chunks = super()._open_chunks()
        if self.change is None or not self.capped:
            return chunks
        if self.change.others is not None:
            self.capped = {}
            return self.serving.live.chunks
        chunk, bit = divmod(self.change.entry.position, CHUNK)
        chunks = list(chunks)
        chunks[chunk] |= 1 << bit
        return chunks

    def _context(self, ask: PlacementAsk, view: View) -> rules.Context:
        context = super()._context(ask, view)
        if self.change is None:
            return context
        context = msgspec.structs.replace(context, plain=False)
        return Otherwise(*msgspec.structs.astuple(context), mine=self.change.entry)

    def _candidates(self, walk: Walk, context: rules.Context, number: int) -> Iterator[Entry]:
        found = super()._candidates(walk, context, number)
        return found if self.change is None else self._changed(found, self.change, context, number)

    def _changed(
        self, found: Iterator[Entry], change: Change, context: rules.Context, number: int
    ) -> Iterator[Entry]:
        """The candidates with the changed line item among them, where it passes what candidates passed."""
        mine, others = change.entry, change.others
        seed = draw.mix(self.request.seed, number)
        waits = rules.candidate_drop(mine, context) is None
        for entry in found:
            own = entry.position == mine.position
            if waits and (own or self._ahead(mine, entry, context, seed)):
                waits = False
                yield mine
            if not own:
                yield entry if others is None else others(entry)
        if waits and not share_of(mine):
            yield mine

    def _ahead(self, mine: Entry, other: Entry, context: rules.Context, seed: int) -> bool:
        """Whether it comes before: tier, then bid or draw. A goal of share is drawn before all others of
        its tier or not at all, so there it takes the place it had or none."""
        if share_of(mine):
            return False
        if mine.tier != other.tier:
            return mine.tier < other.tier
        if ranking.is_auction(mine.tier):
            return context.score(mine) > context.score(other)
        return not share_of(other) and self._arrival(mine, seed) < self._arrival(other, seed)

    def _arrival(self, entry: Entry, seed: int) -> tuple[float, int]:
        return draw.arrival(entry.position, self.claims.need(entry, self.request.now_ms), seed)


class Rehearse(Struct, frozen=True):
    """Rehearse one request, as it is or with a change, and look at how it went; ``away`` and ``in_doubt`` as
    there."""

    request: Request
    serving: Serving
    kept: Kept
    away: bool = False
    in_doubt: bool = False

    def __call__(self, look: Callable[[Rehearsal], T], change: Change | None = None) -> T:
        """Raises Refused."""
        args = self.request, self.serving, self.kept, change, self.away, self.in_doubt
        return Rehearsal(*args).play(look)


@contextmanager
def _held(change: Change | None, live: Live, now_ms: int) -> Iterator[None]:
    """While the change holds: a budget is raised, and a line item left out for want of it is looked at."""
    if change is None:
        yield
        return
    position, raised = change.entry.position, change.raised
    reason, before = live.cleared.get(position), raised.account.limit_nanos if raised else None
    live.set(position)
    if raised is not None:
        raised.account.limit_nanos = raised.limit_nanos
    try:
        yield
    finally:
        if raised is not None:
            raised.account.limit_nanos = before
        if reason is not None:
            live.clear(position, reason, now_ms if reason is NoFill.PACED else None)
