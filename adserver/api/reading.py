"""Reading requests from one connection: bounds while a head comes in, deadlines, what ends it.

One phase at a time: IDLE (between requests), HEAD, BODY. Each has its deadline, which runs only while we
listen. A head is counted header by header as the parser gives them; what it holds back (a line that does not
end) by what it was fed in vain: nothing grows without bound, nothing that is allowed is refused.
"""

import asyncio
from math import inf
from typing import Any, ClassVar, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from adserver.api.framing import Refusal
from adserver.api.service import Service
from adserver.api.turn import Turn
from adserver.domain import limits

IDLE: Final = 0
HEAD: Final = 1
BODY: Final = 2


class Reading(HttpToolsProtocol):
    """The half of the protocol that listens; the other half answers."""

    service: ClassVar[Service]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.turn: Turn | None = None
        """The request whose body is being read."""
        self.phase = IDLE
        self.sealed = False
        """No further request is taken."""
        self.deaf = False
        """What comes is not even parsed: it is no HTTP."""
        self.ended = False
        """Our side is closed, or about to be."""
        self.leaving = False
        """The next answer is the last."""
        self.feeding = False
        self.held = b""
        """Received and not parsed yet; while there is any we do not listen."""
        self.spent = 0
        """Answers given in this turn of the loop."""
        self.deadline_s = inf
        self._stalled_s = 0.0
        self._begun = 0
        self._blank = False
        self._head_bytes = 0
        self._vain_bytes = 0
        self._moved = False
        self._body_bytes = 0
        self._body_s = 0.0

    # -- what the other half does --------------------------------------------------------------------

    def take(self) -> None:
        """A head is complete. Raises Refusal."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Decide what can be decided now."""
        raise NotImplementedError

    def refuse(self, status: int, detail: str) -> None:
        """Answer this when all that is owed was answered, then end."""
        raise NotImplementedError

    def end(self) -> None:
        """Nothing is owed any more; close."""
        raise NotImplementedError

    def waiting(self) -> int:
        """Requests whose answer is owed."""
        raise NotImplementedError

    # -- the transport ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.service.watch.add(self, self.loop)
        self.deadline_s = self.loop.time() + self.service.deadlines.first_byte_ms / 1000

    def data_received(self, data: bytes) -> None:
        self.spent = 0
        if self.held:
            self.held += data
        elif len(data) <= limits.PARSED_AT_ONCE:
            self._parse(data)
        else:
            self.parse_held(data)

    def parse_held(self, data: bytes) -> None:
        """A quarter of a mebibyte may come at once, and hold ten thousand requests: piece by piece, and not
        on while many wait. What is held back is parsed when the queue is short again."""
        self.held, at = b"", 0
        while at < len(data) and not (self.deaf or self.ended):
            if self.waiting() >= limits.PIPELINED:
                self.held = data[at:]
                return
            self._parse(data[at : at + limits.PARSED_AT_ONCE])
            at += limits.PARSED_AT_ONCE

    def _parse(self, data: bytes) -> None:
        if self.deaf or self.ended:
            return
        before, begun = self.phase, self._begun
        self.feeding, self._moved = True, False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We stay with what we speak; what follows is in neither language for sure.
            self.sealed = self.deaf = True
        except httptools.HttpParserError as error:
            self._broken(error)
        finally:
            self.feeding = False
        if not (self.deaf or self.ended):
            self._measure(len(data), before, begun)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Who has said all may still listen: then the connection stays for the answers owed."""
        self.sealed = True
        return self.waiting() > 0 and self.phase == IDLE and not self.ended

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_s = self.loop.time()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.go_on()

    def _broken(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else None
        if cause is None:
            self.refuse(400, f"not HTTP as it should be: {error}")
        elif isinstance(cause, Refusal):
            self.refuse(cause.status, cause.detail)
        elif isinstance(cause, Exception):
            self.service.application.guard.failed("a connection failed", cause)
            self.refuse(500, "")
        else:
            raise cause

    # -- bounds and deadlines ------------------------------------------------------------------------

    def _measure(self, size: int, before: int, begun: int) -> None:
        """``size`` bytes were read; the connection was in phase ``before`` with ``begun`` requests."""
        fresh = self.phase != before or self._begun != begun
        if self.phase == IDLE:
            if fresh:
                self.rest()
                return
            # Blank lines before a request are allowed, but not for ever.
            self.phase, self._blank, fresh = HEAD, True, True
        if fresh:
            self._begin_phase()
        self._vain_bytes = 0 if self._moved or fresh else self._vain_bytes + size
        if self._vain_bytes > limits.HEAD_BYTES:
            self.refuse(431, f"a head has at most {limits.HEAD_BYTES} bytes")

    def _begin_phase(self) -> None:
        deadlines, now_s = self.service.deadlines, self.loop.time()
        if self.phase == HEAD:
            self.deadline_s = now_s + deadlines.head_ms / 1000
        else:
            self._body_s = now_s
            self.deadline_s = now_s + deadlines.body_ms / 1000

    def listen_again(self) -> None:
        """While we did not listen nobody was late."""
        if self.phase != IDLE:
            self._begin_phase()

    def rest(self) -> None:
        """Between requests: patience for the next begins when nothing is owed any more."""
        if self.phase == IDLE:
            keep_alive_s = self.service.deadlines.keep_alive_ms / 1000
            self.deadline_s = inf if self.waiting() else self.loop.time() + keep_alive_s

    def linger(self) -> None:
        """Our side has ended; longer where the client has yet to read what we said."""
        deadlines = self.service.deadlines
        unread = self.transport.get_write_buffer_size() > 0
        wait_ms = deadlines.stall_ms if unread else deadlines.linger_ms
        self.deadline_s = self.loop.time() + wait_ms / 1000

    def look(self, now_s: float) -> None:
        """End what is late."""
        if self.flow.write_paused and now_s - self._stalled_s > self.service.deadlines.stall_ms / 1000:
            self.transport.abort()
        elif now_s >= self.deadline_s:
            self._late(now_s)

    def _late(self, now_s: float) -> None:
        deadlines = self.service.deadlines
        if self.ended:
            self.transport.abort()
        elif self.deaf:
            self.deadline_s = inf
        elif self.flow.read_paused:
            # It is we who do not listen: nobody is late.
            self.deadline_s = now_s + deadlines.head_ms / 1000
        elif self.phase == BODY:
            self._late_body(now_s)
        elif self.phase == HEAD and not self._blank:
            self.refuse(408, f"a head comes within {deadlines.head_ms} ms")
        elif self.waiting():
            self.deadline_s = inf
        else:
            self.transport.close()

    def _late_body(self, now_s: float) -> None:
        """A long body may take longer, at a pace."""
        body_ms = self.service.deadlines.body_ms
        allowed_s = self._body_s + body_ms / 1000 + self._body_bytes / limits.BODY_BYTES_PER_S
        if now_s < allowed_s:
            self.deadline_s = allowed_s
        elif self.turn is None or self.turn.paid:
            self.end()
        else:
            self.refuse(408, f"a body comes within {body_ms} ms, or at {limits.BODY_BYTES_PER_S} bytes/s")

    # -- the parser ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.phase, self._blank, self.turn = HEAD, False, None
        self._begun += 1
        self._head_bytes = self._body_bytes = 0
        self.url = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > limits.TARGET_BYTES:
            raise Refusal(414, f"a URL has at most {limits.TARGET_BYTES} bytes")
        self._head_bytes = len(self.url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > limits.HEAD_BYTES:
            raise Refusal(431, f"a head has at most {limits.HEAD_BYTES} bytes")
        # What follows a body (trailers) would pass for a header that something before us has checked.
        if self.phase == HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.phase = BODY
        if not self.sealed:
            self.take()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        self._body_bytes += len(body)
        turn = self.turn
        if turn is None or turn.paid:
            return
        if turn.cycle is not None:
            turn.cycle.body += body
            if len(turn.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            turn.cycle.message_event.set()
        elif turn.keep(body):
            self.go_on()

    def on_message_complete(self) -> None:
        self.phase = IDLE
        turn, self.turn = self.turn, None
        if turn is None or turn.paid:
            return
        if turn.cycle is not None:
            turn.cycle.more_body = False
            turn.cycle.message_event.set()
        elif turn.complete():
            self.go_on()
