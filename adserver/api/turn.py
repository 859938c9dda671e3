"""A request's place in the queue of its connection."""

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from adserver.api.hot import HotRoute
from adserver.api.intake import too_large
from adserver.api.messages import Head, Reply, declared_length, not_allowed
from adserver.api.pages import Guard
from adserver.services.ports import Durable


class Turn:
    """A request whose answer is owed. ``ready``: it can be decided, its body is there or not needed;
    ``running``: it is being decided; ``paid``: it was answered. ``cycle``: of what goes to ASGI; ``reply``:
    the answer, where it is known beforehand (a refusal)."""

    __slots__ = (
        "_parts", "_size", "body", "cycle", "expects", "head", "keep_alive", "paid", "ready", "reply",
        "request_id", "route", "running", "too_large",
    )  # fmt: skip

    def __init__(self, head: Head, route: HotRoute | None, keep_alive: bool, expects: bool) -> None:
        self.head = head
        self.route = route
        self.keep_alive = keep_alive
        self.expects = expects
        self.cycle: RequestResponseCycle | None = None
        self.body = b""
        self.too_large = False
        self._parts: list[bytes] = []
        self._size = 0
        self.ready = False
        self.running = False
        self.paid = False
        self.reply: Reply | None = None
        self.request_id = ""

    def keep(self, part: bytes) -> bool:
        """A part of the body, for a hot path; True if that makes it known that the whole is too large."""
        if self.ready or self.route is None:
            return False
        self._size += len(part)
        self._parts.append(part)
        if self._size <= self.route.limit:
            return False
        self._parts.clear()
        self.ready = self.too_large = True
        return True

    def complete(self) -> bool:
        """The body is; True if that makes it ready."""
        if self.ready:
            return False
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self.ready = True
        return True


def needs_no_body(turn: Turn) -> bool:
    """Whether the answer is known, or sought, without the body."""
    route = turn.route
    assert route is not None
    if turn.head.method == "OPTIONS" or turn.head.method not in route.methods or not route.limit:
        return True
    declared = declared_length(turn.head)
    turn.too_large = declared is not None and declared > route.limit
    return turn.too_large


def answered(turn: Turn, guard: Guard) -> tuple[Reply, Durable]:
    """The answer, whatever goes wrong, and what it is to wait for."""
    route, durable = turn.route, None
    assert route is not None
    try:
        if turn.head.method not in route.methods:
            reply = not_allowed(route.methods, route.unbuilt)
        elif turn.too_large:
            raise too_large(route.limit)
        else:
            reply, durable = route.answer(turn.head, turn.body)
    # The last resort, as everywhere: a fault of ours in one request must not become everybody's.
    except Exception as error:
        reply = guard.blamed(route.name, error, turn.request_id)
    return guard.settled(route.name, turn.head, route.limit, reply, turn.request_id), durable
