"""Events of ads that another worker decided: brought to it, and judged by it as if they had come there.

Holds, duplicates and caps of an ad are known where it was decided, and nowhere else at once; so an event goes
home, whoever received it, and its verdict comes back when it is durable there. What was brought and not
answered is brought again to the worker's successor: an event is recorded once, however often it is told.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol

from adserver.domain.books import JournalClosed
from adserver.domain.changes import Unread
from adserver.domain.decision import EventKind
from adserver.domain.errands import Errand, Happened, Shown
from adserver.domain.records import Status
from adserver.domain.told import Told
from adserver.domain.verdicts import Passed, Verdict
from adserver.domain.workers import Worker
from adserver.services.calls import Call
from adserver.services.elsewhere import Elsewhere
from adserver.services.events import EventRecorder
from adserver.services.impressions import Heard, Impressions
from adserver.services.ports import Durable
from adserver.services.refusals import Refused
from adserver.tokens import BadToken, Signer

Taken = tuple[Verdict | Passed, Durable]
_INVALID = Verdict(Status.INVALID)
_UNRECORDED = Verdict(Status.UNRECORDED)


class Others(Protocol):
    """The other workers."""

    def bring(self, home: int, errand: Errand, passed: Passed) -> asyncio.Future[None] | None:
        """To the worker with this number; done when ``passed`` has its verdict. None where too much waits
        already: it was given up."""
        ...


class Passing:
    """Of one ``worker`` among several. ``recorder`` and ``impressions``: its own."""

    def __init__(
        self, worker: Worker, signer: Signer, recorder: EventRecorder, impressions: Impressions,
        others: Others,
    ) -> None:  # fmt: skip
        self._worker = worker
        self._signer = signer
        self._recorder = recorder
        self._impressions = impressions
        self._others = others

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
        passed = Passed(self._recorder.location(token) if kind is EventKind.CLICK else None)
        return passed, self._others.bring(home, errand, passed)

    def shown(self, row: Iterable[Heard]) -> list[Taken]:
        """As ``Impressions.tell``, in order."""
        heard = [(self._worker.home(told[0]), told, ip) for told, ip in row]
        own = self._worker.number
        mine = iter(self._impressions.tell([(told, ip) for home, told, ip in heard if home == own]))
        return [next(mine) if home == own else self._brought(home, told, ip) for home, told, ip in heard]

    def _brought(self, home: int, told: Told, ip: str) -> Taken:
        passed = Passed()
        return passed, self._others.bring(home, Shown(told, ip), passed)

    # -- what others bring -------------------------------------------------------------------------

    def judge(self, errands: Sequence[Errand]) -> list[tuple[Verdict, Durable]]:
        """The verdicts, in order, and what each is not to be told before."""
        judged = list[tuple[Verdict, Durable]]()
        for plain, run in groupby(errands, lambda errand: isinstance(errand, Shown)):
            if plain:
                judged += self._impressions.tell([(e.told, e.ip) for e in run if isinstance(e, Shown)])
            else:
                judged += [self._judged(errand) for errand in run if isinstance(errand, Happened)]
        return judged

    def _judged(self, errand: Happened) -> tuple[Verdict, Durable]:
        kind = EventKind(errand.kind)
        call = Call(
            errand.user_agent, errand.ip, errand.method, errand.prefetch, errand.publisher_key,
            errand.batched,
        )  # fmt: skip
        try:
            if errand.peek:
                return self._recorder.peek(errand.token, kind, call)
            return self._recorder.tell(errand.token, kind, call)
        except BadToken:
            return _INVALID, None
        except (JournalClosed, Refused, Elsewhere, Unread):
            return _UNRECORDED, None


class PassingRows:
    """Plain impressions in rows, as ``Impressions`` takes them."""

    def __init__(self, passing: Passing, impressions: Impressions) -> None:
        self.read = impressions.read
        self.tell = passing.shown
