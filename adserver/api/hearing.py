"""What comes plain and whole while nothing is owed needs no parser; a plain impression not even a head."""

from collections import deque
from math import inf
from typing import Any

from adserver.api.messages import Head, Reply
from adserver.api.reading import IDLE, Reading
from adserver.api.turn import Turn, bare
from adserver.domain.told import Told
from adserver.services.elsewhere import Elsewhere


class Hearing(Reading):
    """The queue of a connection, and the short ways into it."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.owed: deque[Turn] = deque()
        self._plain: Turn | None = None

    def waiting(self) -> int:
        return len(self.owed)

    def settle(self, turn: Turn, reply: Reply) -> None:
        """What was waited for is done: answer."""
        raise NotImplementedError

    def bring(self, turn: Turn, missing: Elsewhere) -> None:
        """What it needs is not here: answer once it is."""
        raise NotImplementedError

    def leave(self) -> None:
        """End where no request can be lost: with the next answer, which says ``connection: close``, and not
        before. Who asks nothing more is let go when it would be anyway, so no request meets a connection
        that is just being closed."""
        self.leaving = True
        turn = self.owed[-1] if self.owed else None
        if turn is not None and (turn.cycle is None or not turn.cycle.response_started):
            self.seal(turn)

    def seal(self, last: Turn) -> None:
        """Its answer ends the connection."""
        self.sealed, last.keep_alive = True, False
        if last.cycle is not None:
            last.cycle.keep_alive = False

    def data_received(self, data: bytes) -> None:
        busy = self.owed or self.phase != IDLE or self.held or self.sealed or self.leaving
        if busy or not data.startswith(b"GET /"):
            super().data_received(data)
            return
        telling = self.service.row.telling
        told = telling.read(data) if telling is not None and not self.flow.write_paused else None
        if told is not None:
            self._hear(told)
            return
        turn = bare(data, self.service.routes, self._peer())
        if turn is None:
            super().data_received(data)
            return
        self.owed.append(turn)
        self.rest()
        self.go_on()

    def _hear(self, told: Told) -> None:
        """An impression: judged with its row. One turn serves all of a connection, one at a time."""
        turn = self._plain
        if turn is None:
            head = Head("GET", "", b"", (), self._peer())
            turn = self._plain = Turn(head, None, True, False, ready=True, running=True)
        if turn.paid:
            turn.running, turn.paid = True, False
        turn.told = told
        turn.request_id = self.service.application.name()
        self.owed.append(turn)
        self.deadline_s = inf
        self.service.row.join(self, turn, self.loop)

    def _peer(self) -> str:
        return self.client[0] if self.client else ""
