"""Plain impressions of a row, told together: read by one call each, judged by one for all, answered from the
same few replies. What is not plain is the other routes' (``events``), which give the same answers."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Final

from adserver.api.events import answer
from adserver.api.messages import Head, Making, Reply
from adserver.api.pages import Guard
from adserver.api.peer import Peers
from adserver.api.ports import Impressions, Metrics
from adserver.api.turn import Turn
from adserver.api.wire import Standing
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.domain.told import Heard
from adserver.domain.verdicts import Passed, Verdict
from adserver.services.ports import Durable

_ROUTE: Final = "/i/{token}"


class Telling:
    """Of one application."""

    def __init__(self, impressions: Impressions, peers: Peers, metrics: Metrics, guard: Guard) -> None:
        self.read = impressions.read
        self._tell = impressions.tell
        self._peers = peers
        self._metrics = metrics
        self._guard = guard
        self._replies = dict[tuple[Status, bool], Standing]()

    def answered(self, turns: Sequence[Turn]) -> list[tuple[Reply | Making, Durable]]:
        """The answers, whatever goes wrong, and what each is to wait for."""
        try:
            judged = self._tell(self._heard(turns))
        # The last resort, as everywhere.
        except Exception as error:
            return [(self._guard.blamed(_ROUTE, error, turn.request_id), None) for turn in turns]
        answers = list[tuple[Reply | Making, Durable]]()
        for (verdict, durable), same in groupby(judged):
            number = len(list(same))
            if isinstance(verdict, Passed):
                answers.append((partial(self._made, turns[len(answers)], verdict), durable))
                continue
            reply = self._replies.get((verdict.status, verdict.billed)) or self._standing(verdict)
            if reply.status >= 400:
                for turn in turns[len(answers) : len(answers) + number]:
                    self._guard.note(_ROUTE, reply.status, turn.request_id)
            self._metrics.event(EventKind.IMPRESSION, verdict.status, verdict.billed, number)
            answers += [(reply, durable)] * number
        return answers

    def _made(self, turn: Turn, passed: Passed) -> Reply:
        """Where the verdict is another worker's."""
        verdict = passed.verdict
        reply = self._replies.get((verdict.status, verdict.billed)) or self._standing(verdict)
        if reply.status >= 400:
            self._guard.note(_ROUTE, reply.status, turn.request_id)
        self._metrics.event(EventKind.IMPRESSION, verdict.status, verdict.billed)
        return reply

    def _standing(self, verdict: Verdict) -> Standing:
        """The reply to all with this verdict."""
        made = answer(EventKind.IMPRESSION, "GET", verdict)
        reply = Standing(made.status, made.headers, made.body)
        self._replies[verdict.status, verdict.billed] = reply
        return reply

    def _heard(self, turns: Sequence[Turn]) -> list[Heard]:
        heard = list[Heard]()
        for turn in turns:
            told, peer = turn.told, turn.head.peer
            assert told is not None
            if told[16] is not None:
                forwarded = Head("GET", "", b"", ((b"x-forwarded-for", told[16]),), peer)
                peer = self._peers.address(forwarded)
            heard.append((told, peer))
        return heard
