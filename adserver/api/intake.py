"""Bodies, bounded while they are read."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from adserver.api.messages import Head, declared_length
from adserver.services.refusals import Refused

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_DRAIN_BYTES: Final = 1 << 20
"""An unread body longer than this is not waited for: the connection is closed instead."""

_UNREAD: Final = frozenset((401, 405, 413))
"""What is answered before a body was read to its end."""

_TOLD: Final = frozenset((b"content-length", b"transfer-encoding"))
"""Headers of a request with a body."""


class Disconnected(Exception):
    """The client went away before it had sent its body."""


async def read_body(head: Head, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises Refused (413) as soon as it is known to exceed ``limit`` bytes, and holds no
    more than that; raises Disconnected."""
    declared = declared_length(head)
    if declared is not None and declared > limit:
        raise too_large(limit)
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts) if len(parts) > 1 else part


def too_large(limit: int) -> Refused:
    return Refused(413, f"a body here has at most {limit} bytes")


def closes(head: Head, limit: int, status: int) -> bool:
    """Whether the connection ends with this answer: a body was left unread, and what is yet to come of it
    is long or of unknown length."""
    if limit and status not in _UNREAD:
        return False
    # Nearly all that is answered so has no body, and says nothing of one.
    if head.by_name().keys().isdisjoint(_TOLD):
        return False
    declared = declared_length(head)
    if declared is None:
        return head.header(b"transfer-encoding") is not None
    return declared > limit + _DRAIN_BYTES
