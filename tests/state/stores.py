"""One face for every store of what people have seen, as a decision and what becomes of it ask it: memory, one
Redis, a Redis Cluster. In the latter, several workers ask in turn, so that none of them alone knows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, Protocol

from remote import Remote
from test_feeds import RECEIPTS, answer, ask

from adserver.domain import ids
from adserver.domain.admission import Full, Granted
from adserver.domain.caps import BoundCap, counted
from adserver.domain.decision import Decision, EventKind
from adserver.domain.feeds import Answered
from adserver.services.repeats import Repeat, Repeats
from adserver.state.feeds import FeedAccounts
from adserver.state.memory import MemoryState
from adserver.state.shared.keys import Who
from adserver.state.shared.person import Known

Clock = Callable[[], int]
Caps = tuple[BoundCap, ...]
ANNA, BEN = b"anna" * 4, b"ben." * 4
MORNING, EVENING = b"morn" * 4, b"even" * 4
RENDER_MS = 900
KEEP_MS = 5000


class Store(Protocol):
    def full(self, cap: BoundCap, who: bytes, session: bytes) -> bool: ...
    def outstanding(self, who: bytes) -> int: ...
    def grant(self, ident: bytes, who: bytes, session: bytes, caps: Caps, knowing: bool = True) -> bool:
        """Ask for one exposure under these caps. ``knowing``: what there is of the person; else by somebody
        who takes them for a stranger."""
        ...

    def confirm(self, ident: bytes, who: bytes, caps: Caps) -> None: ...
    def click(self, ident: bytes, who: bytes, caps: Caps) -> None: ...
    def release(self, ident: bytes) -> bool: ...
    def repeat(self, who: bytes, request: bytes, answer: bytes, knowing: bool = True) -> bytes:
        """Answer a request id; what it was answered."""
        ...

    def answer(self, page: int, account: bytes) -> Answered:
        """Lay out a feed page. A page is of whom its account is named after."""
        ...

    def turn(self, page: int, account: bytes, receipt: str | None = None) -> Any: ...
    def restart(self) -> None: ...
    def forget(self) -> None: ...


class Wish:
    """A slate of one line item, which wants one ad."""

    def __init__(self, ident: bytes, caps: Caps, now_ms: int) -> None:
        self.caps, self.granted = caps, False
        ends_ms = now_ms + RENDER_MS
        self._grant = Granted(ident, counted(caps, "impression"), ends_ms, ends_ms + KEEP_MS, caps)
        self._over = False

    def open(self) -> bool:
        return not self._over

    def remaining(self) -> Sequence["Wish"]:
        return () if self._over else (self,)

    def take(self, candidate: "Wish", full: Full) -> Granted:
        self._over = self.granted = True
        return self._grant

    def capped(self, candidate: "Wish", cap: BoundCap) -> None:
        self._over = True

    def limited(self) -> None:
        self._over = True

    leave = limited


class Memory:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state, self._feeds, self._repeats = MemoryState(), FeedAccounts(), Repeats()
        self._answers: dict[bytes, bytes] = {}

    def full(self, cap: BoundCap, who: bytes, session: bytes) -> bool:
        self._state.sweep(self._clock())
        return self._state.full(cap, who, session, self._clock())

    def outstanding(self, who: bytes) -> int:
        self._state.sweep(self._clock())
        return self._state.outstanding(who)

    def grant(self, ident: bytes, who: bytes, session: bytes, caps: Caps, knowing: bool = True) -> bool:
        wish = Wish(ident, caps, self._clock())
        self._state.admit(who, session, [wish], self._clock())
        return wish.granted

    def confirm(self, ident: bytes, who: bytes, caps: Caps) -> None:
        self._state.confirm(ident, who, counted(caps, "impression"), self._clock())

    def click(self, ident: bytes, who: bytes, caps: Caps) -> None:
        self._state.move(ident, EventKind.CLICK, who, counted(caps, "click"), self._clock())

    def release(self, ident: bytes) -> bool:
        return self._state.release(ident)

    def repeat(self, who: bytes, request: bytes, answer: bytes, knowing: bool = True) -> bytes:
        found = self._repeats.find(request, self._clock())
        if found is None:
            found = Repeat(Decision(ids.mint(self._clock(), len(self._answers), 0), 1, 1, ()), who)
            self._answers[found.decision.request_id] = answer
            self._repeats.keep(request, found)
        return self._answers[found.decision.request_id]

    def answer(self, page: int, account: bytes) -> Answered:
        return answer(self._feeds, page, account, self._clock())[0]

    def turn(self, page: int, account: bytes, receipt: str | None = None) -> Any:
        return self._feeds.turn(ask(page, account, receipt), self._clock(), RECEIPTS.standing)

    def restart(self) -> None:
        dumped = self._state.dump()
        self._state = MemoryState()
        self._state.load(dumped)

    def forget(self) -> None:
        self._state.forget(self._clock())


class Shared:
    """What becomes of an ad is told to the worker that granted it."""

    def __init__(self, workers: Sequence[Remote], clock: Clock) -> None:
        self.workers = workers
        self._clock = clock
        self._next = cycle(workers)
        self._owners: dict[bytes, Remote] = {}

    def look(self, who: Who, asked: Any = None) -> tuple[Remote, Known]:
        worker = next(self._next)
        for one in self.workers:
            one.settled()
        return worker, worker.run(worker.state.look_at(who, asked, self._clock()))

    def full(self, cap: BoundCap, who: bytes, session: bytes) -> bool:
        _, known = self.look(Who(who, session))
        return known.exposures.full(cap, who, session, self._clock())

    def outstanding(self, who: bytes) -> int:
        _, known = self.look(Who(who, None))
        return known.exposures.outstanding(who)

    def grant(self, ident: bytes, who: bytes, session: bytes, caps: Caps, knowing: bool = True) -> bool:
        worker, known = self.look(Who(who, session))
        if not knowing:
            known = worker.stranger(Who(who, session))
        wish = Wish(ident, caps, self._clock())
        known.exposures.admit(who, session, [wish], self._clock())
        if wish.granted and worker.run(worker.state.propose(known, b"")) is not None:
            assert not knowing, "refused what nobody else decided on meanwhile"
            return False
        worker.call(worker.state.keep, known)
        self._owners[ident] = worker
        return wish.granted

    def confirm(self, ident: bytes, who: bytes, caps: Caps) -> None:
        self._owners[ident].confirm(ident, who, counted(caps, "impression"), self._clock())

    def click(self, ident: bytes, who: bytes, caps: Caps) -> None:
        self._owners[ident].move(ident, EventKind.CLICK, who, counted(caps, "click"), self._clock())

    def release(self, ident: bytes) -> bool:
        return self._owners[ident].release(ident)

    def repeat(self, who: bytes, request: bytes, answer: bytes, knowing: bool = True) -> bytes:
        worker, known = self.look(Who(who, None, request))
        if knowing and known.answer:
            return known.answer
        instead = worker.run(worker.state.propose(known, answer))
        return answer if instead is None else instead.answer

    def answer(self, page: int, account: bytes) -> Answered:
        worker, known = self.look(Who(account, None), ask(page, account))
        found = answer(known.feeds, page, account, self._clock())[0]
        assert worker.run(worker.state.propose(known, b"")) is None
        worker.call(worker.state.keep, known)
        return found

    def turn(self, page: int, account: bytes, receipt: str | None = None) -> Any:
        asked = ask(page, account, receipt)
        _, known = self.look(Who(account, None), asked)
        return known.feeds.turn(asked, self._clock(), RECEIPTS.standing)

    def restart(self) -> None:
        for worker in self.workers:
            worker.restart()

    def forget(self) -> None:
        for worker in self.workers:
            worker.sweep(self._clock())
            worker.forget(self._clock())


@contextmanager
def shared(url: str, clock: Clock, workers: int = 2) -> Iterator[Shared]:
    asking = [Remote(url, number, clock, workers) for number in range(workers)]
    try:
        yield Shared([worker.wait() for worker in asking], clock)
    finally:
        for worker in asking:
            worker.close()
