"""What every answer carries, whoever gives it: a request id, CORS, timing, its length."""

from typing import Final

from adserver.api.messages import Headers, Reply

_ANY_ORIGIN: Final = (b"access-control-allow-origin", b"*")
_ALWAYS: Final = (
    (b"access-control-expose-headers", b"x-request-id, x-adserver-event, x-adserver-billed, etag, location"),
    (b"timing-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
)
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, if-match, if-none-match, idempotency-key",
    ),
    (b"access-control-max-age", b"86400"),
)


def preflight() -> Reply:
    """A day's leave for any page: what may be read is decided by the answer itself."""
    return Reply(204, _PREFLIGHT)


def measured(reply: Reply) -> Headers:
    """A reply's own headers and its length (an answer without a body has none)."""
    if reply.status in (204, 304):
        return reply.headers
    return (*reply.headers, (b"content-length", b"%d" % len(reply.body)))


def stamped(own: Headers, request_id: str) -> Headers:
    """What every answer carries; any origin may read it, unless it names one."""
    headers = [*own, (b"x-request-id", request_id.encode("ascii")), *_ALWAYS]
    if not any(name == b"access-control-allow-origin" for name, _ in own):
        headers.append(_ANY_ORIGIN)
    return headers
