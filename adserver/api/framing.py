"""What of an HTTP request is refused before anybody looks at what it asks.

The parser (llhttp, strict) refuses malformed syntax. Here stands what it lets through and a server behind
or before this one might read otherwise (request smuggling): two hosts, lengths in odd spellings, transfer
codings that we do not undo, versions that we do not speak.
"""

from typing import Final
from urllib.parse import unquote

import httptools

from adserver.api.messages import Headers

_VERSIONS: Final = ("1.1", "1.0")
_TOLD: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))


class Refusal(Exception):
    """The request is answered with ``status`` and the connection ends."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(detail)


def expects(version: str, headers: Headers, upgrade: bool) -> bool:
    """Whether the client waits for ``100 Continue``; names are lower case. Raises Refusal."""
    if version not in _VERSIONS:
        raise Refusal(400, "this server speaks HTTP/1.1")
    told = [header for header in headers if header[0] in _TOLD]
    hosts = sum(name == b"host" for name, _ in told)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise Refusal(400, "a request has one Host header")
    if len(told) == hosts:
        return False
    expected = False
    for name, value in told:
        if name == b"expect":
            expected = version == "1.1" and value.lower() == b"100-continue"
        elif name != b"host":
            _check_length(version, name, value)
            if upgrade and value != b"0":
                raise Refusal(400, "a request for an upgrade has no body here")
    return expected


def _check_length(version: str, name: bytes, value: bytes) -> None:
    if name == b"content-length":
        if not value.isdigit():
            raise Refusal(400, "Content-Length is a number of bytes")
    elif version == "1.0":
        raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
    elif value.lower() != b"chunked":
        raise Refusal(400, "of the transfer codings only chunked is known")


def target(url: bytes) -> tuple[bytes, bytes]:
    """(path, query) of a request's target, both as they were sent. Raises Refusal."""
    if url[:1] == b"/" and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path, query
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError as error:
        raise Refusal(400, "no such target") from error
    if parsed.path is None:
        raise Refusal(400, "the target has no path")
    return parsed.path, parsed.query or b""


def decoded(path: bytes) -> str:
    """The path without its percent-encoding. Raises Refusal."""
    try:
        text = path.decode("ascii")
    except UnicodeDecodeError as error:
        raise Refusal(400, "the path is not ASCII") from error
    return unquote(text) if "%" in text else text
