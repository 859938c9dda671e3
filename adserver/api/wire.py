"""An answer as bytes."""

from functools import lru_cache
from typing import Final

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE

from adserver.api.envelope import measured, stamped
from adserver.api.messages import Headers, Reply, problem
from adserver.api.pages import Guard

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"connection: close\r\n"
_HERE: Final = "<here the request's id>"


class _Template(Struct, frozen=True):
    """An answer's headers around its length and its request id. ``closes``: they end the connection."""

    before: bytes
    between: bytes
    after: bytes
    closes: bool
    bodiless: bool


@lru_cache(maxsize=1024)
def _template(status: int, own: Headers) -> _Template:
    """Made by the same code as the answers of ASGI, once for all replies with these headers. ValueError for
    what would break the framing."""
    parts = [b"", b"", b""]
    at, closes, bodiless = 0, False, True
    for name, value in stamped(measured(Reply(status, own)), "?"):
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            raise ValueError("a header that cannot be sent")
        if name == b"content-length":
            parts[0] += b"content-length: "
            at, bodiless = 1, False
            parts[at] = b"\r\n"
        elif name == b"x-request-id":
            parts[at] += b"x-request-id: "
            at = 2
            parts[at] = b"\r\n"
        else:
            closes = closes or (name == b"connection" and b"close" in value.lower())
            parts[at] += name + b": " + value + b"\r\n"
    return _Template(parts[0], parts[1], parts[2], closes, bodiless)


def rendered(reply: Reply, request_id: str, dated: bytes, bodiless: bool, last: bool) -> tuple[bytes, bool]:
    """The whole answer, and whether the connection ends with it: by ``last``, or because the reply says so.
    ``dated``: the lines the server puts on everything; ``bodiless``: to HEAD. ValueError for headers that
    cannot be sent."""
    template = _template(reply.status, tuple(reply.headers))
    octets = b"".join(
        (
            STATUS_LINE[reply.status],
            dated,
            template.before,
            b"" if template.bodiless else b"%d" % len(reply.body),
            template.between,
            request_id.encode("ascii"),
            template.after,
            _CLOSE if last and not template.closes else b"",
            b"\r\n",
            b"" if bodiless or template.bodiless else reply.body,
        )
    )
    return octets, last or template.closes


class Standing(Reply):
    """A reply that many are given, most of it made beforehand."""

    told: list[tuple[bytes, bytes]] | None = None
    before: bytes = b""
    after: bytes = b""

    def octets(self, request_id: str, told: list[tuple[bytes, bytes]]) -> bytes:
        """As ``rendered``, where the connection stays. ``told``: see ``Dated``."""
        if told is not self.told:
            self.told, dated = told, Dated().lines(told)
            self.before, self.after = rendered(self, _HERE, dated, False, False)[0].split(_HERE.encode())
        return b"".join((self.before, request_id.encode(), self.after))


def sent(
    reply: Reply, request_id: str, dated: bytes, bodiless: bool, last: bool, guard: Guard
) -> tuple[bytes, bool]:
    """The same; where it cannot be sent, that something went wrong, and the end of the connection."""
    try:
        return rendered(reply, request_id, dated, bodiless, last)
    except ValueError as error:
        guard.failed("an answer could not be sent", error)
        return rendered(problem(500), request_id, dated, bodiless, True)


class Dated:
    """The lines that the server puts on every answer; it makes a new list of them every second."""

    def __init__(self) -> None:
        self._lines = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            self._lines = b"".join([b"%b: %b\r\n" % header for header in headers])
            self._headers = headers
        return self._lines
