"""People's exposures in a real Redis, asked as the embedded ones are: a worker's mirror, its connection and
its loop, in a thread of its own."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from adserver.domain.admission import Granted
from adserver.domain.caps import BoundCap, Counted
from adserver.domain.request import FeedAsk
from adserver.state.exposure import Exposure
from adserver.state.shared.keys import Who
from adserver.state.shared.mirror import Mirror
from adserver.state.shared.paging import Paging
from adserver.state.shared.person import Known, known
from adserver.state.shared.store import SharedState

T = TypeVar("T")
PATIENCE_S = 60.0


class Counts(Counter[str]):
    """What is counted of asking."""

    def took(self, seconds: float) -> None:
        self["took"] += 1

    def missed(self, whose: str) -> None:
        self[f"missed {whose}"] += 1

    def again(self, because: str) -> None:
        self[f"again {because}"] += 1


class Refused(AssertionError):
    """The script did not let it be so."""


class Remote:
    """One of ``workers``. ``now``: its clock."""

    def __init__(
        self, url: str, worker: int = 0, now: Callable[[], int] = lambda: 10_000, workers: int = 1,
        deadline_s: float = 5.0, clocks: bool = False,
    ) -> None:  # fmt: skip
        self._url, self._worker, self._now = url, worker, now
        self._workers, self._deadline_s, self._clocks = range(workers), deadline_s, clocks
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.mirror, self.paging = Mirror(), Paging()
        self.told: list[str] = []
        self.counts = Counts()
        self.begin()

    def begin(self) -> None:
        self.state = self.run(self._open())

    async def _open(self) -> SharedState:
        state = SharedState(
            self._url,
            self.mirror,
            self.paging,
            self._worker,
            self._workers,
            self._deadline_s,
            self._now,
            self.told.append,
            self.counts,
            clocks=self._clocks,
        )
        self._task = asyncio.create_task(state.stay())
        return state

    def wait(self, there: bool = True, patience_s: float = PATIENCE_S) -> "Remote":
        """Until the state is there, or away."""

        async def wait() -> None:
            async with asyncio.timeout(patience_s):
                while self.state.there is not there:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

        self.run(wait())
        return self

    def run(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result(PATIENCE_S)

    def begin_to(self, asked: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(asked, self._loop)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        async def called() -> T:
            return function(*args)

        return self.run(called())

    def settled(self) -> None:
        """Until Redis has heard everything."""

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while self.state.untold:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

        self.run(wait())

    def restart(self) -> None:
        """As a clean end and a start from the checkpoint."""
        self.settled()
        self.stop()
        dumped, self.mirror = self.mirror.dump(), Mirror()
        self.mirror.load(dumped)
        self.begin()
        self.wait()

    def stop(self) -> None:
        async def cancel() -> None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

        self.run(cancel())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- as Exposures ------------------------------------------------------------------------------

    def look(self, who: bytes | None, session: bytes | None) -> Known:
        self.settled()
        return self.run(self.state.look_at(Who(who, session), None, self._now()))

    def guess(self, who: bytes | None, session: bytes | None, asked: FeedAsk | None = None) -> Known | None:
        self.settled()
        return self.call(self.state._guessing.guess, Who(who, session), asked, self._now())

    def sweep(self, now_ms: int) -> None:
        self.call(self.mirror.sweep, now_ms)

    def full(self, cap: BoundCap, who: bytes | None, session: bytes | None, now_ms: int) -> bool:
        return self.look(who, session).exposures.full(cap, who, session, now_ms)

    def grant(self, ident: bytes, exposure: Exposure, caps: Sequence[BoundCap] = ()) -> None:
        """Raises Refused where a cap stands against it now."""
        nobody = self.unknown(ident, exposure, caps)
        if self.run(self.state.propose(nobody, b"")) is not None:
            raise Refused
        self.call(self.state.keep, nobody)

    def unknown(self, ident: bytes, exposure: Exposure, caps: Sequence[BoundCap]) -> Known:
        """Somebody of whom nothing is known, granted this."""
        found = self.stranger(Who(exposure.subject, exposure.session))
        granted = Granted(ident, exposure.counts, exposure.expires_ms, exposure.kept_ms, tuple(caps))
        found.exposures.give(granted, exposure)
        return found

    def stranger(self, who: Who) -> Known:
        return known((0, (), (), (), b""), who, None, self.mirror.windows, self._now(), self.paging)

    def confirm(self, ident: bytes, who: bytes | None, counts: tuple[Counted, ...], at_ms: int) -> None:
        self.call(self.mirror.confirm, ident, who, counts, at_ms)

    def move(self, ident: bytes, kind: int, who: bytes | None, counts: Sequence[Counted], at_ms: int) -> None:
        self.call(self.mirror.move, ident, kind, who, counts, at_ms)

    def release(self, ident: bytes) -> bool:
        return self.call(self.mirror.release, ident)

    def forget(self, now_ms: int) -> None:
        self.call(self.mirror.forget, now_ms)
