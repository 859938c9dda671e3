"""Events of ads that another worker decided: brought to it, and judged by it as if they had come there.

Holds, duplicates and caps of an ad are known where it was decided, and nowhere else at once; so an event goes
home, whoever received it, and its verdict comes back when it is durable there. What was brought and not
answered is brought again to the worker's successor: an event is recorded once, however often it is told.

What its home must look up in a database (``elsewhere``) it judges later than what came after it, as it would
had a client told it: nothing else waits for that, and no more than ``limits.DATABASE_ASKED`` do.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol

from adserver.domain import limits
from adserver.domain.books import JournalClosed
from adserver.domain.changes import Unread
from adserver.domain.decision import EventKind
from adserver.domain.errands import Errand, Event, Happened, Shown
from adserver.domain.records import Status
from adserver.domain.told import Heard, Told
from adserver.domain.verdicts import Passed, Verdict
from adserver.domain.workers import Worker
from adserver.services.calls import Call
from adserver.services.elsewhere import Elsewhere
from adserver.services.events import EventRecorder
from adserver.services.impressions import Impressions
from adserver.services.ports import Durable
from adserver.services.refusals import Refused
from adserver.tokens import BadToken, Signer, Token, token_of

Taken = tuple[Verdict | Passed, Durable]
_INVALID = Verdict(Status.INVALID)
_UNRECORDED = Verdict(Status.UNRECORDED)


class Others(Protocol):
    """The other workers."""

    def bring(
        self, home: int | None, errand: Errand, passed: Passed, alone: bool = False,
        within_s: float = limits.PASSED_WAITS_S,
    ) -> asyncio.Future[None] | None:  # fmt: skip
        """To the worker with this number; done when ``passed`` has its verdict. ``alone``: nothing else is
        to wait with it, nor it for longer than ``within_s``. None: too much waits, or nobody is known whose
        it is; it was given up."""
        ...


class Near(Protocol):
    """What this process has of catalog and ledger (``elsewhere.Foreknown``)."""

    @property
    def is_here(self) -> Callable[[Told], bool]: ...
    @property
    def is_prompt(self) -> Callable[[Token, EventKind], bool]: ...


class Passing:
    """Of one ``worker`` among several. ``recorder`` and ``impressions``: its own."""

    def __init__(
        self, worker: Worker, signer: Signer, recorder: EventRecorder, impressions: Impressions,
        others: Others, near: Near,
    ) -> None:  # fmt: skip
        self._worker = worker
        self._signer = signer
        self._recorder = recorder
        self._impressions = impressions
        self._others = others
        self._near = near
        self._looking = set[asyncio.Task[None]]()

    # -- what clients tell -------------------------------------------------------------------------

    def tell(self, token_text: str, kind: EventKind, call: Call) -> Taken:
        """As ``EventRecorder.tell``; the verdict may be another's."""
        return self._taken(token_text, kind, call, peek=False)

    def peek(self, token_text: str, kind: EventKind, call: Call) -> Taken:
        """As ``EventRecorder.peek``."""
        return self._taken(token_text, kind, call, peek=True)

    def _taken(self, text: str, kind: EventKind, call: Call, peek: bool) -> Taken:
        _, token = self._signer.open(text, kind)
        home = self._worker.home(token.event_id)
        if home == self._worker.number:
            if peek:
                return self._recorder.peek(text, kind, call)
            return self._recorder.tell_token(token, kind, call)
        errand = Happened(
            text, kind, peek, call.user_agent, call.ip, call.method, call.prefetch, call.publisher_key,
            call.batched,
        )  # fmt: skip
        passed = Passed(self._location(token) if kind is EventKind.CLICK else None)
        return passed, self._others.bring(home, errand, passed, not self._near.is_prompt(token, kind))

    def _location(self, token: Token) -> str | None:
        """As far as it can be had here. Raises Elsewhere, BadToken."""
        try:
            return self._recorder.location(token)
        except Unread:
            return None

    def shown(self, row: Sequence[Heard]) -> list[Taken]:
        """As ``Impressions.tell``, in order."""
        heard = [(self._worker.home(told[0]), told, ip) for told, ip in row]
        own = self._worker.number
        mine = iter(self._impressions.tell([(told, ip) for home, told, ip in heard if home == own]))
        return [next(mine) if home == own else self._brought(home, told, ip) for home, told, ip in heard]

    def _brought(self, home: int | None, told: Told, ip: str) -> Taken:
        passed = Passed()
        alone = self._worker.is_left(told[0])
        return passed, self._others.bring(home, Shown(told, ip), passed, alone)

    # -- what others bring -------------------------------------------------------------------------

    def judge(self, errands: Sequence[Event]) -> list[Taken]:
        """The verdicts, in order, and what each is not to be told before. What must be looked up elsewhere
        is judged when it is here: its verdict is there once what it waits for is done."""
        judged = list[Taken]()
        for plain, run in groupby(errands, self._is_plain):
            if plain:
                judged += self._impressions.tell([(e.told, e.ip) for e in run if isinstance(e, Shown)])
            else:
                judged += [self._judged(errand) for errand in run]
        return judged

    def _is_plain(self, errand: Event) -> bool:
        return isinstance(errand, Shown) and self._keeps(errand.told[0]) and self._near.is_here(errand.told)

    def _keeps(self, event_id: bytes) -> bool:
        """Whoever brought it may have heard of an earlier time: nobody judges what another knows of."""
        return self._worker.home(event_id) == self._worker.number

    def _judged(self, errand: Event) -> Taken:
        try:
            return self._told(errand)
        except Elsewhere as missing:
            return self._later(errand, missing)

    def _later(self, errand: Event, missing: Elsewhere) -> Taken:
        if len(self._looking) >= limits.DATABASE_ASKED:
            return _UNRECORDED, None
        passed = Passed()
        task = asyncio.get_running_loop().create_task(self._look(errand, missing, passed))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)
        return passed, task

    async def _look(self, errand: Event, missing: Elsewhere, passed: Passed) -> None:
        """``passed`` has its verdict, durable, when this ends."""
        while True:
            await missing.bring()
            try:
                verdict, durable = self._told(errand)
                break
            except Elsewhere as more:
                missing = more
        if durable is not None:
            await asyncio.shield(durable)
        passed.verdict = verdict

    def _told(self, errand: Event) -> tuple[Verdict, Durable]:
        """Raises Elsewhere, and then nothing has moved."""
        try:
            if isinstance(errand, Shown):
                if not self._keeps(errand.told[0]):
                    return _UNRECORDED, None
                call = Call(errand.told[15], errand.ip)
                return self._recorder.tell_token(token_of(errand.told), EventKind.IMPRESSION, call)
            kind, call = EventKind(errand.kind), _call_of(errand)
            _, token = self._signer.open(errand.token, kind)
            if not self._keeps(token.event_id):
                return _UNRECORDED, None
            if errand.peek:
                return self._recorder.peek(errand.token, kind, call)
            return self._recorder.tell_token(token, kind, call)
        except BadToken:
            return _INVALID, None
        except (JournalClosed, Refused, Unread):
            return _UNRECORDED, None


def _call_of(errand: Happened) -> Call:
    return Call(
        errand.user_agent, errand.ip, errand.method, errand.prefetch, errand.publisher_key, errand.batched
    )


async def said(others: Others, number: int | None, errand: Errand) -> bytes:
    """What the worker with this number says to an errand that is no event. Raises Refused (503) where it says
    nothing."""
    passed = Passed()
    done = others.bring(number, errand, passed, True)
    if done is not None:
        await asyncio.shield(done)
    if not passed.said:
        raise Refused(503, "not every worker answers now: nothing is lost, ask again")
    return passed.said


class PassingRows:
    """Plain impressions in rows, as ``Impressions`` takes them."""

    def __init__(self, passing: Passing, impressions: Impressions) -> None:
        self.read = impressions.read
        self.tell = passing.shown
