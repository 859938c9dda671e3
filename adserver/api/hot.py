"""The hot paths: found by a dictionary, answered by plain functions of (head, body)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from adserver.api.events import KINDS
from adserver.api.messages import Head, Making, Reply
from adserver.domain import limits
from adserver.domain.decision import EventKind
from adserver.domain.invalid import Invalid
from adserver.services.ports import Durable

Now = Callable[[Head, bytes], Reply]
"""Answers within the same turn of the loop."""

Soon = Callable[[Head, bytes], tuple[Reply | Making, Durable]]
"""The same, but the reply is not to leave before it is durable: no task, only a place in the queue."""

Later = Callable[[Head, bytes], Awaitable[Reply]]
"""Waits as it likes, in a task of its own."""

TRACKING_METHODS: Final = ("GET", "HEAD", "POST")
_TOLD: Final = (
    "`x-adserver-event` says how it was taken. Invalid traffic is `filtered`, and recorded once with its "
    f"reason: {', '.join(Invalid)}"
)


class HotRoute(Struct, frozen=True):
    """``name`` is the metric's label and the path template of the documentation, which is made of
    ``summary``, ``request`` (the body's type) and ``answers`` (status -> type, a text, or None: no
    body). ``limit``: the body's bound in bytes; 0: the body is not read at all. Exactly one of ``now``,
    ``soon`` and ``later`` is there. ``unbuilt``: what a 405 says of methods that the contract reserves."""

    name: str
    methods: tuple[str, ...]
    summary: str
    answers: Mapping[int, Any]
    request: Any = None
    limit: int = limits.REQUEST_BYTES
    now: Now | None = None
    soon: Soon | None = None
    later: Later | None = None
    unbuilt: Mapping[str, str] = {}

    def answer(self, head: Head, body: bytes) -> tuple[Reply | Making, Durable]:
        """Of a path that needs no task. Raises Refused, and whatever goes wrong."""
        if self.soon is not None:
            return self.soon(head, body)
        assert self.now is not None
        return self.now(head, body), None


class HotRoutes:
    """``tracked`` answers every tracking URL; ``routes`` the paths without a token."""

    def __init__(self, routes: list[HotRoute], tracked: Soon) -> None:
        self._exact = {route.name: route for route in routes}
        self._tracking = {f"/{letter}/": _tracking(letter, kind, tracked) for letter, kind in KINDS.items()}

    def find(self, path: str) -> HotRoute | None:
        """The route of a path as it was sent, None if it is not a hot one."""
        route = self._exact.get(path)
        return self._tracking.get(path[:3]) if route is None else route

    def all(self) -> list[HotRoute]:
        return [*self._exact.values(), *self._tracking.values()]


def _tracking(letter: str, kind: EventKind, tracked: Soon) -> HotRoute:
    if kind is EventKind.CLICK:
        answers: dict[int, str] = {302: f"to the landing page; {_TOLD}", 410: "the creative was withdrawn"}
    else:
        answers = {
            200: f"a transparent pixel; {_TOLD}",
            204: "for POST",
            503: "no room to record it, try again",
        }
    answers[404] = "not a URL of this server, or for another purpose"
    summary = f"{kind.name.capitalize()}: counted; HEAD counts nothing"
    path = f"/{letter}/{{token}}"
    return HotRoute(path, TRACKING_METHODS, summary, answers, limit=0, soon=tracked)
