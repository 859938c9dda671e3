"""HTTP/1.1 on one connection: the hot paths answered by plain functions, everything else by ASGI.

What is hot is answered by plain functions, in a row with what else came in that turn of the loop (``row``);
all other requests go to ASGI as always. Both stand in one queue, as they were asked. The invariants:

* only the first of the queue is decided: answers leave in order, and nothing is decided whose answer may
  never leave, because one before it ends the connection;
* nothing is decided while the transport is paused: for a client that does not read nobody works;
* an event's answer keeps its place until the event is durable;
* what ends the connection waits until nothing is owed, unless an answer says ``connection: close``.

An end in the middle of a request lingers: our side is closed, and what still comes is thrown away for a
while. A socket closed over unread bytes is reset, and the reset may overtake the answer.

Cost: docs/PERFORMANCE.md. Source: uvicorn's own class, whose request cycle serves what goes to ASGI.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from adserver.api import framing
from adserver.api.asgi import Application
from adserver.api.deadlines import DEADLINES, Deadlines, Watch
from adserver.api.envelope import preflight
from adserver.api.hearing import Hearing
from adserver.api.messages import Head, Reply, made, problem
from adserver.api.outlet import cycle_of
from adserver.api.reading import IDLE
from adserver.api.row import Row
from adserver.api.service import Service
from adserver.api.turn import Turn, answered, brought, needs_no_body
from adserver.api.wire import CONTINUE, Dated, Standing, sent
from adserver.domain import limits
from adserver.services.elsewhere import Elsewhere

_REFUSED = "(http)"  # the route of what never became a request, in logs and metrics


def protocol(
    application: Application, deadlines: Deadlines = DEADLINES, fast: bool = True
) -> type["HttpProtocol"]:
    """The class to give to uvicorn as ``http``. ``fast`` False: every path goes to ASGI."""

    class Bound(HttpProtocol):
        service = Service(
            application,
            application.hot if fast else None,
            deadlines,
            Watch(deadlines.look_ms),
            Row(application.guard, application.telling if fast else None),
        )

    return Bound


class HttpProtocol(Hearing):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._called = False
        self._dated = Dated()

    # -- into the queue --------------------------------------------------------------------------------

    def take(self) -> None:
        """A head is complete: a place in the queue. Raises Refusal."""
        parser = self.parser
        version, upgrade = parser.get_http_version(), parser.should_upgrade()
        expects = framing.expects(version, self.headers, upgrade)
        path, query = framing.target(self.url)
        head = Head(
            parser.get_method().decode("ascii"), path.decode("latin-1"), query, self.headers,
            self.client[0] if self.client else "",
        )  # fmt: skip
        routes = self.service.routes
        route = None if routes is None else routes.find(head.path)
        keep_alive = version == "1.1" and not upgrade and parser.should_keep_alive() and not self.leaving
        turn = Turn(head, route, keep_alive, expects)
        if route is None:
            turn.cycle = cycle_of(self, turn, version, partial(self._passed, turn))
        else:
            turn.ready = needs_no_body(turn)
        self.sealed = not keep_alive
        self.turn = turn
        self.owed.append(turn)
        if len(self.owed) > 1:
            self.flow.pause_reading()
        elif turn.cycle is not None or turn.ready or expects:
            self.go_on()

    def refuse(self, status: int, detail: str) -> None:
        """This instead of the answer to what is being read, or, where that is none or it was answered,
        after what is owed; then the end."""
        turn, self.turn = self.turn, None
        self.deaf = True
        if turn is None or turn.paid or (turn.running and turn.cycle is None):
            if self.sealed or turn is not None:
                self.sealed = True
                if not self.owed:
                    self.end()
                return
            turn = Turn(Head("", "", b"", (), ""), None, False, False)
            self.owed.append(turn)
        elif turn.running and turn.cycle is not None:
            turn.running, turn.cycle.disconnected = False, True
            turn.cycle.message_event.set()
            if turn.cycle.response_started:
                self.end()
                return
        self.sealed, turn.keep_alive, turn.expects = True, False, False
        turn.request_id = self.service.application.name()
        turn.reply = problem(status, detail)
        self.service.application.guard.note(_REFUSED, status, turn.request_id)
        self.go_on()

    # -- out of the queue ------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Decide what is first, as long as something is and nothing is in the way."""
        if not self.feeding:
            self.spent = 0
        while self.owed and not self.ended and not self.flow.write_paused:
            turn = self.owed[0]
            if turn.running:
                return
            if turn.reply is None and turn.cycle is None and not turn.ready:
                if turn.expects:
                    turn.expects = False
                    self.transport.write(CONTINUE)
                break
            if self.spent >= limits.ANSWERS_PER_TURN:
                self._call_again()
                return
            self.spent += 1
            self._decide(turn)
        self._listen()

    def _listen(self) -> None:
        """Read on, unless more is there than we work at."""
        if self.ended or self.flow.write_paused or len(self.owed) > 1:
            return
        if self.held:
            if not self.feeding:
                self._call_again()
            return
        cycle = self.owed[0].cycle if self.owed else None
        if self.flow.read_paused and (cycle is None or len(cycle.body) <= HIGH_WATER_LIMIT):
            self.flow.resume_reading()
            self.listen_again()
        if not self.feeding:
            self.rest()

    def _call_again(self) -> None:
        """Others want the loop too."""
        if not self._called:
            self._called = True
            self.loop.call_soon(self._again)

    def _again(self) -> None:
        self._called = False
        self.spent = 0
        if self.held and len(self.owed) <= 1:
            self.parse_held(self.held)
        self.go_on()

    def _decide(self, turn: Turn) -> None:
        if turn.reply is not None:
            self._pay(turn, turn.reply)
        elif turn.cycle is not None:
            turn.running = True
            turn.cycle.keep_alive = turn.keep_alive
            self._start_asgi_task(turn.cycle, self.app)
        else:
            turn.request_id = self.service.application.name()
            if turn.head.method == "OPTIONS":
                self._pay(turn, preflight())
            else:
                self._ask(turn)

    def _ask(self, turn: Turn) -> None:
        """Of the hot path's own function."""
        route = turn.route
        assert route is not None
        if turn.too_large or turn.head.method not in route.methods:
            return self._pay(turn, made(answered(turn, self.service.application.guard)[0]))
        turn.running = True
        if route.later is None:
            return self.service.row.join(self, turn, self.loop)
        self._begin(turn, route.later(turn.head, turn.body))

    def bring(self, turn: Turn, missing: Elsewhere) -> None:
        assert turn.route is not None
        self._begin(turn, brought(partial(turn.route.answer, turn.head, turn.body), missing))

    def _begin(self, turn: Turn, act: Awaitable[Reply]) -> None:
        self.tasks.add(task := self.loop.create_task(self._wait(turn, act)))
        task.add_done_callback(self.tasks.discard)

    def settle(self, turn: Turn, reply: Reply) -> None:
        """What was waited for is done. Whoever asked may be gone."""
        if self.ended:
            return
        if not isinstance(reply, Standing) or self.sealed:
            self._pay(turn, reply)
        else:
            # Not by ``_paid``: what is settled is decided no more, and its turn may be another's.
            self.owed.popleft()
            self.server_state.total_requests += 1
            self.transport.write(reply.octets(turn.request_id, self.server_state.default_headers))
            if not (self.owed or self.held or self.flow.read_paused):
                return self.rest()
        self.go_on()

    async def _wait(self, turn: Turn, act: Awaitable[Reply]) -> None:
        """Its answer keeps its place until then."""
        route, guard = turn.route, self.service.application.guard
        assert route is not None
        try:
            reply = await guard.answer(route.name, turn.head, route.limit, act, turn.request_id)
        except BaseException:
            # Only an end of the server comes here: no answer would be true.
            self.transport.abort()
            raise
        self.settle(turn, reply)

    def _paid(self, turn: Turn) -> None:
        self.owed.popleft()
        turn.paid, turn.running = True, False
        self.server_state.total_requests += 1

    def _pay(self, turn: Turn, reply: Reply) -> None:
        self._paid(turn)
        last = not turn.keep_alive or (self.sealed and not self.owed)
        bodiless = turn.head.method == "HEAD"
        dated, guard = self._dated.lines(self.server_state.default_headers), self.service.application.guard
        octets, last = sent(reply, turn.request_id, dated, bodiless, last, guard)
        self.transport.write(octets)
        if last:
            self.end()

    def _passed(self, turn: Turn) -> None:
        """ASGI has answered."""
        self.server_state.total_requests += 1
        turn.paid, turn.running = True, False
        if self.ended or not self.owed or self.owed[0] is not turn:
            return
        self.owed.popleft()
        if self.sealed and not self.owed:
            self.end()
        else:
            self.go_on()

    # -- the end ---------------------------------------------------------------------------------------

    def end(self) -> None:
        if self.ended:
            return
        self.ended = self.sealed = True
        self.owed.clear()
        if self.transport.is_closing():
            return
        self.linger()
        if (self.deaf or self.phase != IDLE) and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """What is owed is answered, nothing else is taken."""
        self.sealed = True
        if self.owed:
            self.seal(self.owed[-1])
        else:
            self.ended = True
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self.service.watch.discard(self)
        self.ended = self.sealed = True
        for turn in self.owed:
            if turn.cycle is not None:
                turn.cycle.disconnected = True
                turn.cycle.message_event.set()
        self.owed.clear()
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]
