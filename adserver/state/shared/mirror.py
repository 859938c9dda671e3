"""What this process itself has granted, in memory and from its journal as in a server that is alone.

Others' exposures are not in it, so it admits nobody; Redis does. It is what events find when they come (they
come to the process that decided the ad), what is told to Redis of them (``tell``), and what this process adds
where Redis has lost its memory: exposures are of one process each, so what all of them add is all there is.

After a kill it is not known how much was told: what the journal has of the last ``RETOLD_MS`` is told again,
and Redis knows what it has heard (``scripts/settle.lua``). Where it had not even heard what was before that,
everything is told anew (``agreement``).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from adserver.domain import limits
from adserver.domain.caps import Counted
from adserver.domain.decision import EventKind
from adserver.state.exposure import Dump, Exposure
from adserver.state.memory import MemoryState
from adserver.state.shared.apart import counted_apart
from adserver.state.shared.keys import Who
from adserver.state.shared.person import Person

RETOLD_MS: Final = 3_600_000
"""Redis knows what it heard for twice as long, for to start again takes its time."""
_IMPRESSION: Final = int(EventKind.IMPRESSION)


class Settled(Struct, frozen=True):
    """What became of an ad: ``what`` is ``confirm``, ``count`` or ``release``."""

    who: Who
    what: str
    event_id: bytes
    kind: int = 0
    at_ms: int = 0
    counts: tuple[Counted, ...] = ()


class Touched(Struct, frozen=True):
    """A feed account lives on; ``told_ms``: when the journal was last told so."""

    who: Who
    account: bytes
    at_ms: int
    told_ms: int


class Unsaid(Struct, frozen=True):
    """A feed page that was agreed on was not answered: the account stands where it stood."""

    who: Who
    account: bytes
    page: int
    answered: bytes


class Unanswered(Struct, frozen=True):
    """An answer to a request id that was agreed on did not leave: the id is as good as new."""

    who: Who
    answer: bytes


Told = Settled | Touched | Unsaid | Unanswered


class Share(Struct, frozen=True):
    """What one process knows of a person: counters (name, keep, whether of the session, times), and
    outstanding exposures by event id."""

    who: Who
    counters: list[tuple[str, int, bool, list[int]]]
    outstanding: dict[bytes, Exposure]


class Pieces(Struct):
    """Where a mirror has something of a person: subjects and sessions with counters, and event ids."""

    counted: list[bytes]
    shown: list[bytes]


class _Untold(Struct, array_like=True):
    """Of a dump. ``missed``: others will not hear of everything, unless all is told anew; ``forgotten_ms``:
    as of ``Mirror``."""

    missed: bool
    settled: list[Settled]
    forgotten_ms: int = 0


_UNTOLD: Final = msgspec.msgpack.Decoder(_Untold)


class Mirror(MemoryState):
    """``tell`` is given what becomes of ads; where there is none, what the last ``RETOLD_MS`` had is kept.
    ``forgotten_ms``: what was until then is not told again."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten_ms = 0
        self._untold: deque[Settled] = deque()
        self._missed = False
        self._latest_ms = 0
        self._tell: Callable[[Settled], None] | None = None

    def begin(self, tell: Callable[[Settled], None], now_ms: int) -> bool:
        """False: Redis may have missed something that it cannot be told of by itself any more. It knows for
        ``RETOLD_MS`` what it has heard; what was told longer ago would count twice."""
        self._tell = tell
        untold, self._untold = self._untold, deque()
        # Of several nodes, so not in order.
        oldest_ms = min((one.at_ms for one in untold), default=now_ms)
        if self._missed or oldest_ms < now_ms - RETOLD_MS:
            self._missed = False
            return False
        for settled in untold:
            tell(settled)
        return True

    def end(self, untold: Iterable[Told], missed: bool) -> None:
        """What was not heard stands in the next dump."""
        self._tell, self._missed, self.forgotten_ms = None, missed, 0
        self._untold = deque(one for one in untold if isinstance(one, Settled))

    def _dumped(self) -> Dump:
        found = super()._dumped()
        found.untold = msgspec.msgpack.encode(_Untold(self._missed, list(self._untold), self.forgotten_ms))
        return found

    def _load(self, found: Dump) -> None:
        """One of a server that was alone: nobody has heard of it."""
        super()._load(found)
        untold = _UNTOLD.decode(found.untold) if found.untold else _Untold(True, [])
        self._missed, self._untold = untold.missed, deque(untold.settled)
        self.forgotten_ms = untold.forgotten_ms
        self._latest_ms = max((one.at_ms for one in untold.settled), default=0)

    def confirm(
        self, event_id: bytes, subject: bytes | None, counts: tuple[Counted, ...], at_ms: int
    ) -> None:
        if event_id not in self.known:
            self._told(subject, None, "confirm", event_id, _IMPRESSION, at_ms, counts)
        super().confirm(event_id, subject, counts, at_ms)

    def _confirm(self, event_id: bytes, exposure: Exposure, at_ms: int) -> None:
        counts = exposure.counts
        self._told(exposure.subject, exposure.session, "confirm", event_id, _IMPRESSION, at_ms, counts)
        super()._confirm(event_id, exposure, at_ms)

    def move(
        self, event_id: bytes, kind: int, subject: bytes | None, counts: Sequence[Counted], at_ms: int
    ) -> None:
        if counts:
            self._told(subject, self.session_of(event_id), "count", event_id, kind, at_ms, counts)
        super().move(event_id, kind, subject, counts, at_ms)

    def release(self, event_id: bytes) -> bool:
        exposure = self.known.get(event_id)
        if exposure is not None and exposure.outstanding:
            subject, session = exposure.subject, exposure.session
            self._told(subject, session, "release", event_id, counts=exposure.counts)
        return super().release(event_id)

    def person(self, who: Who, now_ms: int) -> Person:
        """What is known of somebody."""
        subject, session = who.subject, who.session
        self.sweep(now_ms)
        person = Person(self.windows)
        for one in (subject, session):
            counters = None if one is None else self._counters.get(one)
            if one is not None and counters:
                person.take_up(one, {name: [*counter] for name, counter in counters.items()})
        person.bound(subject, self.outstanding(subject))
        return person

    def everybody(self) -> dict[bytes, "Pieces"]:
        """Everybody of whom anything is known, by root, and where it is found."""
        found = dict[bytes, Pieces]()
        for who in self._counters:
            _of(found, who).counted.append(who)
        for event_id, exposure in self.known.items():
            if exposure.outstanding and (exposure.subject or exposure.session):
                for whose, _ in counted_apart(_who(exposure), exposure.counts):
                    _of(found, whose.root).shown.append(event_id)
        return found

    def shares(self, root: bytes, pieces: "Pieces") -> Iterator[Share]:
        """What is known of somebody now: as a person, and as a session."""
        found = dict[Who, Share]()
        for who in pieces.counted:
            for name, (_, *times) in self._counters.get(who, {}).items():
                # Somebody without a name is their session, and has counters of both kinds in one place.
                session = name.startswith("session:")
                if times:
                    share = _share(found, Who(root, root if session else None))
                    share.counters.append((name, self._keeps.get(name, 0), session, times))
        for event_id in pieces.shown:
            exposure = self.known.get(event_id)
            if exposure is None or not exposure.outstanding:
                continue
            for whose, counts in counted_apart(_who(exposure), exposure.counts):
                if whose.root == root:
                    share = _share(found, Who(root, None if whose.session is None else root))
                    share.outstanding[event_id] = msgspec.structs.replace(exposure, counts=counts)
        yield from found.values()

    def _told(
        self, subject: bytes | None, session: bytes | None, what: str, event_id: bytes,
        kind: int = 0, at_ms: int = 0, counts: Sequence[Counted] = (),
    ) -> None:  # fmt: skip
        if subject is None and session is None:
            return
        self._latest_ms = max(self._latest_ms, at_ms)
        for whose, own in counted_apart(Who(subject, session), counts):
            if own or what != "count":
                counts = () if what == "release" else own
                self._settled(Settled(whose, what, event_id, kind, at_ms or self._latest_ms, counts))

    def _settled(self, settled: Settled) -> None:
        if self._tell is not None:
            self._tell(settled)
            return
        self._untold.append(settled)
        while self._untold[0].at_ms < self._latest_ms - RETOLD_MS:
            self.forgotten_ms = max(self.forgotten_ms, self._untold.popleft().at_ms)
        if len(self._untold) > limits.STATE_UNTOLD:
            self._missed = True
            self._untold.popleft()


def _who(exposure: Exposure) -> Who:
    return Who(exposure.subject, exposure.session)


def _of(found: dict[bytes, Pieces], root: bytes) -> Pieces:
    pieces = found.get(root)
    if pieces is None:
        pieces = found[root] = Pieces([], [])
    return pieces


def _share(found: dict[Who, Share], whose: Who) -> Share:
    share = found.get(whose)
    if share is None:
        share = found[whose] = Share(whose, [], {})
    return share
