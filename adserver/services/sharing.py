"""Serve ads where what people have seen is shared with other processes, and asked over a network.

What this process itself knows of the person is taken for all there is, or the store is asked; then everything
is as in ``serve``, decided by the same code from that, with nothing awaited; and what it came to is
*proposed*: the store says that it is so now, in one step with asking every cap and the feed's account again,
or what there is instead, and it is decided once more. Only then does the journal hear of it. So a decision is
exact whoever else decides meanwhile, and costs one round trip or two; holds in budgets are this process' own
and stand in between.

What it has already, a page or an answer to the request's id, is given only where whoever decided it says that
it was given before (``vouching``); what was nobody's is taken back.

Where the store does not answer (``Away``), nobody is served what is capped and feeds answer nothing new; the
rest goes on.
"""

from typing import Any, Final, Protocol, TypeVar

import msgspec

from adserver.domain import limits
from adserver.domain.admission import Away
from adserver.domain.decision import Decision, NoFill
from adserver.domain.errands import Repeated, digest_of
from adserver.domain.ids import minted_ms
from adserver.domain.request import FeedAsk, Request
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.deciding import Deciding
from adserver.services.kept import Feeds, Kept, State
from adserver.services.rehearsal import Rehearse
from adserver.services.repeats import Repeat
from adserver.services.serve import Decisions, Look, Outcome, without_ads
from adserver.services.vouching import Vouching
from adserver.services.world import Serving

_OF_TMAX: Final = 2
"""All questions of a request may take half of the time it has; the other half is for deciding without an
answer, and for the way."""
_REPEATS: Final = msgspec.msgpack.Decoder(Repeat)
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class _Unsure(Away):
    """Whether an answer was given: another may not be."""


class Known(Protocol):
    """Of one person. ``exposures`` and ``feeds`` are as they would be in a server that is alone; ``answer``:
    to the request's id, empty where there is none; ``guessed``: the store was not asked; ``in_doubt``: there
    may be more than this."""

    @property
    def exposures(self) -> State: ...
    @property
    def feeds(self) -> Feeds: ...
    @property
    def answer(self) -> bytes: ...
    @property
    def guessed(self) -> bool: ...
    @property
    def in_doubt(self) -> bool: ...
    def again(self) -> Repeated | None:
        """The page asked for, where it was laid out before and the journal here does not have it."""
        ...

    def last(self, since_ms: int) -> Repeated | None:
        """The last page of the account in the same way, where nobody asked for any since."""
        ...


K = TypeVar("K", bound=Known)


class Shared(Protocol[K]):
    def guess(self, request: Request, ask: FeedAsk | None) -> K | None:
        """What is known here; None: it may well be wrong. Raises Away."""
        ...

    async def look(self, request: Request, ask: FeedAsk | None, until_ms: int | None) -> K:
        """``until_ms``: by the clock, when an answer is of no use any more, where the store's own deadline
        would be later. Raises Away."""
        ...

    async def propose(self, known: K, answer: bytes, until_ms: int | None) -> K | None:
        """What was granted and committed to ``known`` since, and the answer to its request's id: None if it
        is so now, else what there is instead. Raises Away."""
        ...

    def keep(self, known: K) -> None:
        """It stands in the journal now."""
        ...

    async def forget(self, known: K, until_ms: int | None) -> K:
        """What there is without the answer to its request's id, which was given to nobody. Raises Away."""
        ...

    async def unsay(self, known: K, page: int, until_ms: int | None) -> K:
        """The same without this page of its feed. Raises Away, too, where it is not the last any more."""
        ...

    def withdraw(self, known: K, answer: bytes) -> None:
        """It does not: what was proposed is taken back."""
        ...


class SharedDecisions(Decisions):
    """``shared`` is the store and ``vouching`` who says what was given, set before anything is asked;
    ``kept`` is what this process itself granted."""

    shared: Shared[Any]
    vouching: Vouching

    async def decide_later(self, ask: Ask, asker: Asker, terms: Terms, look: Look | None = None) -> Outcome:
        """As ``decide``. Raises Refused."""
        serving = self.world.serving
        request = self._normaliser.request(ask, asker, terms, serving.snapshot, self._clock())
        found = self._at_once(request, serving, ask.tmax_ms)
        if found is not None:
            return found
        exactly = look is not None or request.mode == "dry_run" or _compares(request, serving)
        until_ms = None if ask.tmax_ms is None else request.now_ms + -(-ask.tmax_ms // _OF_TMAX)
        try:
            known = await self._known(request, exactly, until_ms)
        except Away:
            return self._unshared(request, serving, look, away=True)
        if known is None:
            return self._unshared(request, serving, look, away=False)
        return await self._agreed(request, serving, known, look, until_ms)

    async def _known(self, request: Request, exactly: bool, until_ms: int | None) -> Known | None:
        """None of nobody."""
        if request.subject is None and request.session is None and request.repeat_key is None:
            return None
        feed = next((ask.feed for ask in request.placements if ask.feed is not None), None)
        found: Known | None = None if exactly else self.shared.guess(request, feed)
        return await self.shared.look(request, feed, until_ms) if found is None else found

    def _unshared(self, request: Request, serving: Serving, look: Look | None, away: bool) -> Outcome:
        if look is not None:
            look(Rehearse(request, serving, self._kept, away))
        deciding = Deciding(request, serving, self._kept, self._key_id(), away)
        return self._done(deciding, deciding.run())

    async def _agreed(
        self, request: Request, serving: Serving, known: Known, look: Look | None, until_ms: int | None
    ) -> Outcome:
        """Decided as often as something else was so meanwhile; who asks why is told of the last."""
        for _ in range(limits.DECIDED_AGAIN + known.guessed):
            try:
                if known.answer:
                    repeat = _REPEATS.decode(known.answer)
                    if await self._is_given(request, repeat, until_ms):
                        return Outcome(repeat.decision, request, serving, repeat.subject)
                    known = await self.shared.forget(known, until_ms)
                    continue
                orphan = await self._orphan(known, until_ms)
                if orphan is not None:
                    known = await self.shared.unsay(known, orphan, until_ms)
                    continue
            except _Unsure:
                return self._unanswered(request, serving, NoFill.STATE_UNAVAILABLE)
            except Away:
                break
            kept = self._kept_in(known)
            if look is not None:
                look(Rehearse(request, serving, kept, in_doubt=known.in_doubt))
            deciding = Deciding(request, serving, kept, self._key_id(), in_doubt=known.in_doubt)
            decision = deciding.run()
            if deciding.fleeting:
                return self._done(deciding, decision)
            try:
                instead = await self._proposed(deciding, decision, known, until_ms)
            except Away:
                break
            if instead is None:
                return self._so(deciding, decision, known)
            known = instead
        return self._unshared(request, serving, look, away=True)

    async def _is_given(self, request: Request, repeat: Repeat, until_ms: int | None) -> bool:
        """Whether it is to be given again. Raises _Unsure."""
        minted, key = repeat.decision.request_id, request.repeat_key
        # The store forgets by its own clock, a little later.
        if key is None or minted_ms(minted) + limits.REPEAT_WINDOW_MS <= request.now_ms:
            return False
        try:
            asked = Repeated(minted, key, None, limits.REPEAT_WINDOW_MS, digest_of(repeat))
            return await self.vouching.is_given(asked, until_ms)
        except Away as away:
            raise _Unsure from away

    async def _orphan(self, known: Known, until_ms: int | None) -> int | None:
        """The page asked for, or the last, where that is nobody's. Raises Away where that is not known of the
        page asked for. Of the last, another's is not asked about: to go on from it is to count ads that
        nobody may have seen, and errs towards fewer."""
        if known.in_doubt:
            # Then pages are not the store's to say.
            return None
        page = known.again()
        if page is not None:
            return None if await self.vouching.is_given(page, until_ms) else page.page
        last = known.last(self.vouching.life.began_ms)
        return last.page if last is not None and self.vouching.is_own_orphan(last) else None

    async def _proposed(
        self, deciding: Deciding, decision: Decision, known: Known, until_ms: int | None
    ) -> Known | None:
        """What there is instead, if it cannot be: then, as whatever else happens, nothing is held for it."""
        if not deciding.paid:
            deciding.undo()
        deciding.commit_pages(decision, journalled=deciding.paid)
        self.vouching.life.lives(deciding.request.now_ms)
        instead: Known | None = None
        agreed = False
        try:
            instead = await self.shared.propose(known, self._answer(deciding.request, decision), until_ms)
            agreed = instead is None
        finally:
            if not agreed:
                deciding.undo()
        return instead

    def _so(self, deciding: Deciding, decision: Decision, known: Known) -> Outcome:
        """The store has it; now the journal. What moved among the ``live`` bits meanwhile is told with it."""
        deciding.moved = len(deciding.serving.live.moved)
        request, kept = deciding.request, self._kept
        if not deciding.paid:
            self._remember(deciding, decision, journalled=False)
            kept.tally.count(decision, journalled=False)
            self.shared.keep(known)
        elif self._keep(deciding, decision):
            self.shared.keep(known)
        else:
            self.shared.withdraw(known, self._answer(request, decision))
            deciding.undo()
            decision = without_ads(decision)
            kept.tally.count(decision)
        slates = tuple(deciding.slates)
        deciding.slates.clear()
        return Outcome(decision, request, deciding.serving, request.subject, slates)

    def _remember(self, deciding: Deciding, decision: Decision, journalled: bool) -> None:
        """The pages of a shared one are the store's to keep."""
        if deciding.kept is self._kept:
            super()._remember(deciding, decision, journalled)
        elif deciding.request.repeat_key is not None:
            repeat = Repeat(decision, deciding.request.subject)
            self._kept.repeats.keep(deciding.request.repeat_key, repeat)

    def _kept_in(self, known: Known) -> Kept:
        return msgspec.structs.replace(self._kept, state=known.exposures, feeds=known.feeds)

    @staticmethod
    def _answer(request: Request, decision: Decision) -> bytes:
        return b"" if request.repeat_key is None else _ENCODE(Repeat(decision, request.subject))


def _compares(request: Request, serving: Serving) -> bool:
    """Whether what is paid depends on somebody who may be capped and was not asked for: the runner-up."""
    views = (serving.snapshot.view(request.publisher, ask.id) for ask in request.placements)
    return any(view is not None and view.placement.auction == "second_price" for view in views)
