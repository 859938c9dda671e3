"""A request's head and a reply, free of any framework: the hot handlers speak these alone, so that they
run unchanged under ASGI and inside the HTTP protocol class."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final

import msgspec
from msgspec import Struct

from adserver.domain import limits
from adserver.services.refusals import Refused

Headers = Sequence[tuple[bytes, bytes]]

PROBLEM: Final = (b"content-type", b"application/problem+json")
JSON: Final = (b"content-type", b"application/json")
NO_STORE: Final = (b"cache-control", b"no-store")

_TITLES: Final = {
    400: "Bad request",
    401: "Key needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request too slow",
    412: "Precondition failed",
    413: "Body too large",
    414: "URL too long",
    415: "Unsupported media type",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    503: "Unavailable",
}

_ENCODER: Final = msgspec.json.Encoder()
_CHARSET: Final = re.compile(rb'charset\s*=\s*"?([^";\s]*)', re.IGNORECASE)


class Head(Struct):
    """``path`` is as it was sent (percent-encoding kept, without the query); header names are lower case;
    ``peer`` is the address of the socket's other end, "" if there is none."""

    method: str
    path: str
    query: bytes
    headers: Headers
    peer: str
    first: dict[bytes, bytes] | None = None
    """By name, made when first asked for."""

    def by_name(self) -> dict[bytes, bytes]:
        """The first header of each (lower-case) name."""
        if self.first is None:
            self.first = dict(reversed(self.headers))
        return self.first

    def header(self, name: bytes) -> bytes | None:
        return self.by_name().get(name)

    def text(self, name: bytes) -> str:
        """The beginning of the same as text, "" if absent; Latin-1 never fails. Bounded, because agents
        are matched against hundreds of patterns and remembered."""
        value = self.header(name)
        return "" if value is None else value[: limits.HEADER_CHARS].decode("latin-1")


class Reply(Struct):
    status: int
    headers: Headers
    body: bytes = b""


Making = Callable[[], Reply]
"""The reply, where it is known only once what it waits for is done."""


def made(reply: Reply | Making) -> Reply:
    return reply if isinstance(reply, Reply) else reply()


def problem(status: int, detail: str = "", **extra: Any) -> Reply:
    """An RFC 9457 answer; ``extra`` become its members."""
    members = {"type": "about:blank", "title": _TITLES.get(status, "Refused"), "status": status}
    if detail:
        members["detail"] = detail
    return Reply(status, (PROBLEM, NO_STORE), _ENCODER.encode(members | extra))


def refusal(refused: Refused) -> Reply:
    """The problem+json of a refusal; ``retry-after`` where trying again helps."""
    errors = [{"path": path, "message": message} for path, message in refused.errors]
    reply = problem(refused.status, refused.title, **{**refused.extra, "errors": errors})
    if refused.status in (429, 503):
        reply.headers = (*reply.headers, (b"retry-after", b"1"))
    elif refused.status == 401:
        reply.headers = (*reply.headers, (b"www-authenticate", b"Bearer"))
    return reply


def not_allowed(methods: Sequence[str], detail: str = "") -> Reply:
    """405, naming what is allowed."""
    allow = ", ".join((*methods, "OPTIONS"))
    reply = problem(405, detail or f"this path answers {allow}")
    reply.headers = (*reply.headers, (b"allow", allow.encode("ascii")))
    return reply


def declared_length(head: Head) -> int | None:
    """The ``content-length``; None where the body is chunked or there is none."""
    value = head.header(b"content-length")
    return int(value) if value is not None and value.isdigit() else None


def check_media_type(head: Head) -> None:
    """JSON in UTF-8, unencoded. ``text/plain`` is what pages send to avoid a preflight. Raises Refused."""
    encoding = head.header(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        raise Refused(415, "send the body without content-encoding")
    media = head.header(b"content-type")
    if media is None or media == b"application/json":
        return
    kind = media.partition(b";")[0].strip().lower()
    if kind not in (b"", b"application/json", b"text/plain"):
        raise Refused(415, "send application/json or text/plain")
    charset = _CHARSET.search(media)
    if charset is not None and charset[1].lower() not in (b"utf-8", b"utf8"):
        raise Refused(415, "send UTF-8")


def request_ids(prefix: str) -> Callable[[], str]:
    """Names for ``x-request-id``: unique while ``prefix`` (chance, chosen once a process) is."""
    numbers: Iterator[int] = count(1)
    return lambda: f"{prefix}-{next(numbers):x}"
