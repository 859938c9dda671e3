"""HTTP: the server and the empty endpoint side by side, in alternating rounds, medians of them.

Both run all the time, on one core; the client is on another where there is one. Whoever is not asked has
next to nothing to do. Events are told in rounds of seconds, so that posting goes on meanwhile (``events``).
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec import Struct

from adserver.bench import client
from adserver.bench.calls import IMPRESSION_URL
from adserver.bench.catalogue import SEED, Shape
from adserver.bench.events import CONNECTIONS, Rate, Teller
from adserver.bench.servers import READY_S, Pace, Server, Speed, nginx, serving
from adserver.bench.stores import Store, store

_MOST: Final = 30_000
"""Requests of a round at most; made before."""
_EVENT_ROUNDS: Final = 5
_GATHER_S: Final = 2.0
_OVERLOADED: Final = b'"overloaded"'
_UNKNOWN: Final = b'"state_unavailable"'
_OPEN_SHARE: Final = 0.7
"""Of what the server answered in the closed loop: the rate of the open one."""
_OPEN_ROUNDS: Final = 3


class Shared(Struct, frozen=True):
    """State in Redis: decisions, and Redis' own processor time for each (None: not known); ``unknown``:
    answers that were made without it."""

    decisions: Speed
    redis_us: float | None
    unknown: int


class Beside(Struct, frozen=True):
    """``failed``: answers that were no 200; ``overloaded``: answers without ads for want of time, among those
    looked at. ``nginx``: of the same requests answered by ``return 200``, None where it is not installed;
    ``paced``, ``empty_paced``: the open loop. ``impressions``: with posting on a core of its own,
    ``apart``: beside the client, ``together``: on the server's core; ``told``, ``accepted``: how many in
    all."""

    line_items: int
    rounds: int
    seconds: float
    pinned: bool
    decisions: Speed
    empty_decisions: Speed
    impressions: Rate
    apart: Rate
    together: Rate
    empty_impressions: Speed
    event_rounds: int
    told: int
    accepted: int
    nginx: Speed | None
    paced: Pace
    empty_paced: Pace
    failed: int
    overloaded: int
    shared: Shared | None = None


def beside(
    line_items: int, reply_bytes: int, rounds: int, seconds: float, events: int, redis: str = ""
) -> Beside:
    """``events``: of a round. ``redis``: where state is kept by a third server (``stores``), empty: by none.
    Raises OSError where a server does not come up."""
    cores = sorted(os.sched_getaffinity(0))
    pinned = len(cores) > 1
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="adserver-bench-")))
        ours, empty = (
            stack.enter_context(serving(kind, folder, line_items, reply_bytes, cores[0]))
            for kind in ("adserver", "empty")
        )
        shared = None
        if redis:
            kept = stack.enter_context(store(folder, redis, cores[-1]))
            asking = serving("shared", folder, line_items, reply_bytes, cores[0], kept.url)
            shared = _Sharing(stack.enter_context(asking), kept)
        fastest = stack.enter_context(nginx(folder, reply_bytes, cores[0]))
        if pinned:
            stack.enter_context(_on({cores[1]}, set(cores)))
        sides = _Sides(ours, empty, fastest, shared, _Tellers(ours, cores[0], cores[pinned]))
        sides.warm_up()
        for number in range(rounds):
            sides.round(number * _MOST // rounds, seconds)
        for number in range(_OPEN_ROUNDS):
            sides.open_round(number * _MOST // _OPEN_ROUNDS, seconds)
        # Last: what they leave behind, in memory and to be upkept, is in no other figure.
        for number in range(min(rounds, _EVENT_ROUNDS)):
            sides.tell(number * _MOST // _EVENT_ROUNDS, events)
    tellers = sides.tellers
    return Beside(
        line_items, rounds, seconds, pinned,
        ours.speed("decisions"), empty.speed("decisions"),
        tellers.alone.rate(), tellers.apart.rate(), tellers.together.rate(), empty.speed("impressions"),
        min(rounds, _EVENT_ROUNDS), tellers.told, tellers.accepted,
        fastest.speed("decisions") if fastest is not None else None,
        ours.pace(), empty.pace(),
        ours.failed + empty.failed + (shared.server.failed if shared else 0), sides.overloaded,
        shared.found() if shared is not None else None,
    )  # fmt: skip


class _Sharing:
    """The server that asks Redis."""

    def __init__(self, server: Server, kept: Store) -> None:
        self.server = server
        self._kept = kept
        self._decisions = self._unknown = 0
        self._used_s = 0.0

    def play(self, requests: list[bytes], seconds: float) -> None:
        before = self._kept.processor_s()
        found = self.server.play("decisions", requests, seconds, kept=_MOST)
        self._used_s += self._kept.processor_s() - before
        self._decisions += found.requests
        self._unknown += sum(_UNKNOWN in answer for answer in found.answers)

    def found(self) -> Shared:
        known = self._kept.pid is not None
        redis_us = round(self._used_s / self._decisions * 1e6, 1) if known else None
        return Shared(self.server.speed("decisions"), redis_us, self._unknown)


class _Tellers:
    """Who tells our events: posted on a core of its own, on the client's, and on ours."""

    def __init__(self, ours: Server, core: int, clients: int) -> None:
        self.alone = Teller(ours, clients, held=True)
        self.apart = Teller(ours, clients)
        self.together = Teller(ours, core)
        self._all = (self.alone, self.apart, self.together)

    @property
    def told(self) -> int:
        return sum(teller.told for teller in self._all)

    @property
    def accepted(self) -> int:
        return sum(teller.accepted for teller in self._all)


class _Sides:
    """What is compared, and what all are asked. ``overloaded``: how many of our answers said so."""

    def __init__(
        self, ours: Server, empty: Server, fastest: Server | None, shared: _Sharing | None,
        tellers: _Tellers,
    ) -> None:  # fmt: skip
        self._ours = ours
        self._shared = shared
        self._empty = empty
        self._fastest = fastest
        self.tellers = tellers
        self.overloaded = 0
        shape = Shape(SEED + 3)
        self._asked = [
            client.post("/v1/decisions", msgspec.json.encode(shape.request())) for _ in range(_MOST)
        ]

    def warm_up(self) -> None:
        """The first answer comes when the catalogue is compiled."""
        asked = (self._ours, self._empty, *([self._shared.server] if self._shared else []))
        for server in asked:
            client.play(server.port, self._asked[:1], READY_S, connections=1)
            client.play(server.port, self._asked[:500], 10)

    def round(self, start: int, seconds: float) -> None:
        """Requests from another start each round, so that people do not come back within a round."""
        mine = [*self._asked[start:], *self._asked[:start]]
        if self._fastest is not None:
            self._fastest.play("decisions", mine, seconds / 2)
        self._empty.play("decisions", mine, seconds)
        found = self._ours.play("decisions", mine, seconds, kept=_MOST)
        self.overloaded += sum(_OVERLOADED in answer for answer in found.answers)
        if self._shared is not None:
            self._shared.play(mine, seconds)

    def tell(self, start: int, number: int) -> None:
        """Impressions of decisions made before: two fifths to who has a core, as many beside the client, and
        a fifth where all of it shares one."""
        found = self._gathered([*self._asked[start:], *self._asked[:start]], number)
        part = len(found) // 5
        mine, others, last = found[: 2 * part], found[2 * part : 4 * part], found[4 * part :]
        self._empty.play("impressions", mine, READY_S, connections=CONNECTIONS)
        self.tellers.alone.tell(mine)
        self.tellers.apart.tell(others)
        self.tellers.together.tell(last)

    def _gathered(self, requests: list[bytes], number: int) -> list[bytes]:
        """So many impressions of as many decisions as it takes, or all there are to be had."""
        events = list[bytes]()
        while len(events) < number:
            found = client.play(self._ours.port, requests, _GATHER_S, kept=_MOST)
            more = _impressions(found)
            if not more:
                break
            events += more
            requests = requests[found.requests :] + requests[: found.requests]
        return events[:number]

    def open_round(self, start: int, seconds: float) -> None:
        """Both at the rate that is a share of what ours took in the closed loop."""
        mine = [*self._asked[start:], *self._asked[:start]]
        per_second = _OPEN_SHARE * self._ours.speed("decisions").per_second
        for server in (self._empty, self._ours):
            server.play_paced(mine, per_second, 2 * seconds)


def _impressions(found: client.Round) -> list[bytes]:
    """Of all ads that were answered."""
    paths = [path.decode() for answer in found.answers for path in IMPRESSION_URL.findall(answer)]
    return [client.get(path) for path in paths]


@contextmanager
def _on(cores: set[int], before: set[int]) -> Iterator[None]:
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
