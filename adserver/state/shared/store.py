"""The state of people in Redis, as this process asks and tells it.

    known = await state.look(request, feed)     what there is of a person; or, often enough, ...
    known = state.guess(request, feed)          what this process knows of them
    ... decided from it, nothing awaited ...
    instead = await state.propose(known, answer)     None: it is so now; else what there is instead
    state.keep(known)     the journal has it

The laws are the script's (``scripts/admit.lua``): whatever was known, nothing is granted that a cap, the
bound on what is outstanding or the feed's account forbids then. What becomes of ads (``tell``) is not waited
for: it leaves in order, is kept until Redis said that it heard, and is told again on a new connection.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from time import perf_counter
from typing import Any, Final, TypeVar

import msgspec

from adserver.domain.admission import Away, Late
from adserver.domain.request import FeedAsk, Request
from adserver.state.shared import commands
from adserver.state.shared.apart import apart, parts, proposed_apart
from adserver.state.shared.cluster import Cluster
from adserver.state.shared.dialling import Address, seeds
from adserver.state.shared.guessing import Guessing
from adserver.state.shared.keys import Keys, Who
from adserver.state.shared.meter import UNCOUNTED, Meter
from adserver.state.shared.mirror import Mirror, Settled, Told, Touched, Unanswered, Unsaid
from adserver.state.shared.node import Node
from adserver.state.shared.nodes import Nodes, One
from adserver.state.shared.paging import Paging
from adserver.state.shared.person import Known, Proposal
from adserver.state.shared.person import known as _known
from adserver.state.shared.worker import Worker

K = TypeVar("K", Known, Known | None)
_NO_PAGE: Final = -1
_LAWFUL: Final = 1
_PATIENCE_MS: Final = 2000
_LOOK_S: Final = 0.01


class SharedState:
    """``mirror`` and ``paging``: what this process granted itself; ``worker``: its number among ``workers``,
    all that share the state, also those that are not there now; ``told``: as ``Node`` says it;
    ``in_doubt``: whether to ask a generation that others have still to add to; ``clocks``: whether some of
    the workers have another clock than this one (``timing``);
    ``until_ms``: by the clock, when an answer is of no use any more; None: the deadline counts alone."""

    def __init__(
        self, url: str, mirror: Mirror, paging: Paging, worker: int, workers: Collection[int],
        deadline_s: float, clock: Callable[[], int], told: Callable[[str], None],
        meter: Meter = UNCOUNTED, in_doubt: bool = False, clocks: bool = False,
    ) -> None:  # fmt: skip
        self._mirror = mirror
        self._paging = paging
        self._clock = clock
        self._meter = meter
        self._deadline_s = deadline_s
        self._nodes = _nodes(
            url, Worker(worker, workers, mirror, paging, deadline_s, clock, in_doubt, clocks), told
        )
        self._guessing = Guessing(mirror, paging)

    @property
    def there(self) -> bool:
        """Whether it would be asked now."""
        return self._nodes.there

    @property
    def untold(self) -> int:
        """How much waits to be heard."""
        return self._nodes.waiting

    async def stay(self) -> bool:
        """Connect and stay connected, until it is left; then it is over."""
        if not self._mirror.begin(self.tell, self._clock()):
            self._nodes.doubt()
        await self._nodes.keep()
        return False

    async def leave(self) -> None:
        """Once Redis has heard everything, or is away: what it did not hear stands in the next dump of the
        mirror. ``stay`` returns."""
        until = self._clock() + _PATIENCE_MS
        while self.untold and self.there and self._clock() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        self._nodes.end()
        self._mirror.end(self._nodes.untold, self._nodes.doubted)

    # -- a decision --------------------------------------------------------------------------------

    def guess(self, request: Request, ask: FeedAsk | None) -> Known | None:
        """The same without asking; None: look. Raises Away."""
        who = Who(request.subject, request.session, request.repeat_key)
        if not all(self._nodes.of(part.root).there for part in parts(who)):
            raise Away("not connected")
        return self._doubted(self._guessing.guess(who, ask, request.now_ms), who)

    async def look(self, request: Request, ask: FeedAsk | None, until_ms: int | None = None) -> Known:
        """What is known of the person of a request, and of the feed page and the request id asked about.
        Raises Away."""
        who = Who(request.subject, request.session, request.repeat_key)
        return await self.look_at(who, ask, request.now_ms, until_ms)

    async def look_at(self, who: Who, ask: FeedAsk | None, now_ms: int, until_ms: int | None = None) -> Known:
        """The same of anybody."""
        person, session = apart(who)
        asked = [self._look(person, ask, now_ms, until_ms)]
        if session is not None:
            asked.append(self._look(session, None, now_ms, until_ms))
        reply, *own = await _together(asked)
        found = _known(reply, who, ask, self._mirror.windows, now_ms, self._paging)
        for _, _, counters, _, _ in own:
            found.exposures.know(who.session, counters)
        return self._doubted(found, who)

    async def _look(self, who: Who, ask: FeedAsk | None, now_ms: int, until_ms: int | None) -> Any:
        node = self._nodes.of(who.root)
        words = commands.look(Keys(who, node.generation), who, *_asked(ask), now_ms)
        return await self._reply(node, words, until_ms)

    async def propose(self, known: Known, answer: bytes, until_ms: int | None = None) -> Known | None:
        """None: what was granted and committed to ``known``, and the answer to its request's id, is so now.
        Else nothing of it is, and what there is was not what it was decided from. Raises Away: then what it
        granted is taken back as soon as Redis hears again."""
        who, ask, now_ms = known.who, known.ask, known.now_ms
        proposal = known.proposal(answer)
        if proposal.empty:
            return None
        asked = proposed_apart(who, proposal)
        try:
            stand = [(node := self._nodes.of(part.root), node.generation) for part, _ in asked]
            replies = await _together([self._admit(known, *part, until_ms) for part in asked])
            self._stand(asked, stand)
        except (Away, asyncio.CancelledError):
            self._meter.again("away")
            self.withdraw(known, answer)
            raise
        if all(reply[0] == _LAWFUL for reply in replies):
            return None
        self._meter.again("guessed" if known.guessed else "moved")
        if known.guessed:
            self._guessing.wrong(who.root)
        if len(replies) == 1:
            found = _known(replies[0][1], who, ask, self._mirror.windows, now_ms, self._paging)
            return self._doubted(found, who)
        for part, reply in zip(asked, replies, strict=True):
            if reply[0] == _LAWFUL:
                self._take_back(known, *part)
        return await self.look_at(who, ask, now_ms, until_ms)

    def _stand(self, asked: list[tuple[Who, Proposal]], nodes: list[tuple[Node, str]]) -> None:
        """Two nodes of a cluster do not answer at once, and what the first granted is nowhere but there.
        Raises Away where it may have begun another generation without that."""
        for (who, _), (node, generation) in zip(asked, nodes, strict=True):
            if self._nodes.of(who.root) is not node or not node.there or node.generation != generation:
                raise Away("it has begun anew")

    async def _admit(self, known: Known, who: Who, proposal: Proposal, until_ms: int | None) -> Any:
        node = self._nodes.of(who.root)
        ask = known.ask if who.root == known.who.root else None
        words = commands.admit(
            Keys(who, node.generation), who, *_asked(ask), proposal, self._mirror.windows, known.now_ms
        )
        return await self._reply(node, words, until_ms)

    async def unsay(self, known: Known, page: int, until_ms: int | None = None) -> Known:
        """This page of its feed was given to nobody; what there is without it. Raises Away, too, where others
        went on from it: then it cannot be taken back."""
        person, _ = apart(known.who)
        account = known.feeds.find_any(known.ask.account) if known.ask is not None else None
        if known.ask is None or account is None or page != account.next_page - 1:
            raise Away("the feed went on from a page that was given to nobody")
        self.tell(Unsaid(person, known.ask.account, page, account.pages[page]))
        return await self.look_at(known.who, known.ask, known.now_ms, until_ms)

    async def forget(self, known: Known, until_ms: int | None = None) -> Known:
        """The answer to its request's id was given to nobody; what there is without it."""
        person, _ = apart(known.who)
        self.tell(Unanswered(person, known.answer))
        return await self.look_at(known.who, known.ask, known.now_ms, until_ms)

    def keep(self, known: Known) -> None:
        """What was agreed on stands in the journal now: from here on it is this process's to tell of."""
        for granted, exposure in known.exposures.granted.values():
            self._mirror.grant(granted.event_id, exposure)
        page = known.page()
        if page is not None:
            self._paging.follow(known.who.root, page, known.now_ms)
        elif known.ask is not None and (account := known.feeds.find_any(known.ask.account)) is not None:
            self.tell(Touched(known.who, known.ask.account, account.touched_ms, account.told_ms))
            self._paging.lived_on(known.ask.account, account.touched_ms)

    def withdraw(self, known: Known, answer: bytes) -> None:
        """What was proposed is not to be: it may have been agreed on or not."""
        for part in proposed_apart(known.who, known.proposal(answer)):
            self._take_back(known, *part)

    def _take_back(self, known: Known, who: Who, proposal: Proposal) -> None:
        if proposal.answer:
            self.tell(Unanswered(who, proposal.answer))
        for granted, _ in proposal.grants:
            self.tell(Settled(who, "release", granted.event_id))
        page = proposal.page
        if page is not None:
            self.tell(Unsaid(who, page.account, page.number, page.answered))

    async def _reply(self, node: Node, words: commands.Words, until_ms: int | None) -> Any:
        began = perf_counter()
        try:
            if until_ms is None:
                reply = await node.ask(words)
            else:
                reply = await self._in_time(node, words, (until_ms - self._clock()) / 1000)
        except Late:
            self._meter.missed("server")
            raise
        self._meter.took(perf_counter() - began)
        return reply

    async def _in_time(self, node: Node, words: commands.Words, within_s: float) -> Any:
        """Who is in a hurry goes without it, and nobody else."""
        if within_s >= self._deadline_s:
            return await node.ask(words)
        try:
            async with asyncio.timeout(within_s):
                return await node.ask(words)
        except TimeoutError:
            self._meter.missed("request")
            raise Away("it did not answer in the time this request had for it") from None

    def _doubted(self, known: K, who: Who) -> K:
        if known is not None and any(self._nodes.of(part.root).in_doubt for part in parts(who)):
            return msgspec.structs.replace(known, in_doubt=True)
        return known

    # -- what becomes of ads -----------------------------------------------------------------------

    def tell(self, told: Told) -> None:
        self._nodes.tell(told)


async def _together(asked: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All of them leave in one turn of the loop. Raises what the first of them does."""
    return [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)


def _nodes(url: str, worker: Worker, told: Callable[[str], None]) -> Nodes:
    found = seeds(url)
    return Cluster(found, worker, told) if found else One(Address(url), worker, told)


def _asked(ask: FeedAsk | None) -> tuple[bytes | None, int]:
    return (None, _NO_PAGE) if ask is None else (ask.account, ask.page)
