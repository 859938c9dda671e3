"""A request's place in the queue of its connection."""

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from adserver.api.hot import HotRoute, HotRoutes
from adserver.api.intake import too_large
from adserver.api.messages import Head, Making, Reply, declared_length, made, not_allowed
from adserver.api.pages import Guard
from adserver.domain.told import Told
from adserver.octets import compiled
from adserver.services.elsewhere import Elsewhere
from adserver.services.ports import Durable


class Turn(Struct, eq=False):
    """A request whose answer is owed. ``ready``: it can be decided, its body is there or not needed;
    ``running``: it is being decided; ``paid``: it was answered. ``cycle``: of what goes to ASGI; ``reply``:
    the answer, where it is known beforehand (a refusal); ``told``: a plain impression, which has no head but
    its peer."""

    head: Head
    route: HotRoute | None
    keep_alive: bool
    expects: bool
    cycle: RequestResponseCycle | None = None
    body: bytes = b""
    too_large: bool = False
    ready: bool = False
    running: bool = False
    paid: bool = False
    reply: Reply | None = None
    request_id: str = ""
    told: Told | None = None
    parts: list[bytes] = []
    size: int = 0

    def keep(self, part: bytes) -> bool:
        """A part of the body, for a hot path; True if that makes it known that the whole is too large."""
        if self.ready or self.route is None:
            return False
        self.size += len(part)
        self.parts.append(part)
        if self.size <= self.route.limit:
            return False
        self.parts.clear()
        self.ready = self.too_large = True
        return True

    def complete(self) -> bool:
        """The body is; True if that makes it ready."""
        if self.ready:
            return False
        self.body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.ready = True
        return True


def bare(received: bytes, routes: HotRoutes | None, peer: str) -> Turn | None:
    """The request that came, where it is whole and plain and its hot path needs no body: then it needs no
    parser. None: it is the parser's."""
    if compiled is None or routes is None:
        return None
    found = compiled.bare(received)
    if found is None:
        return None
    path, headers, first = found
    route = routes.find(path)
    if route is None:
        return None
    turn = Turn(Head("GET", path, b"", headers, peer, first), route, True, False)
    turn.ready = needs_no_body(turn)
    return turn if turn.ready else None


def needs_no_body(turn: Turn) -> bool:
    """Whether the answer is known, or sought, without the body."""
    route = turn.route
    assert route is not None
    if turn.head.method == "OPTIONS" or turn.head.method not in route.methods or not route.limit:
        return True
    declared = declared_length(turn.head)
    turn.too_large = declared is not None and declared > route.limit
    return turn.too_large


async def brought(act: Callable[[], tuple[Reply | Making, Durable]], missing: Elsewhere) -> Reply:
    """What ``act`` answers once what was missing for it is here, or what is left to be done of it. Raises
    Refused, and whatever goes wrong."""
    while True:
        await missing.bring()
        act = missing.again or act
        try:
            reply, durable = act()
        except Elsewhere as more:
            missing = more
            continue
        if durable is not None:
            await asyncio.shield(durable)
        return made(reply)


def answered(turn: Turn, guard: Guard) -> tuple[Reply | Making, Durable]:
    """The answer, whatever goes wrong, and what it is to wait for. Raises Elsewhere."""
    route, durable = turn.route, None
    reply: Reply | Making
    assert route is not None
    try:
        if turn.head.method not in route.methods:
            reply = not_allowed(route.methods, route.unbuilt.get(turn.head.method, ""))
        elif turn.too_large:
            raise too_large(route.limit)
        else:
            reply, durable = route.answer(turn.head, turn.body)
    except Elsewhere:
        raise
    # The last resort, as everywhere: a fault of ours in one request must not become everybody's.
    except Exception as error:
        reply = guard.blamed(route.name, error, turn.request_id)
    if isinstance(reply, Reply):
        return guard.settled(route.name, turn.head, route.limit, reply, turn.request_id), durable
    return partial(_made, turn, guard, reply), durable


def _made(turn: Turn, guard: Guard, making: Making) -> Reply:
    """The same, once what it waits for is done."""
    route = turn.route
    assert route is not None
    try:
        reply = making()
    except Exception as error:
        reply = guard.blamed(route.name, error, turn.request_id)
    return guard.settled(route.name, turn.head, route.limit, reply, turn.request_id)
