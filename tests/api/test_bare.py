"""What needs no parser is what the parser would tell: for requests of all kinds, and with bytes changed."""

from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adserver.api import framing
from adserver.api.hot import HotRoute, HotRoutes
from adserver.api.messages import Reply
from adserver.api.turn import bare

octets = pytest.importorskip("adserver._octets", reason="built without a compiler")

PLAIN = b"GET /i/abc HTTP/1.1\r\nHost: x\r\nUser-Agent: Mozilla/5.0 (X11)\r\nAccept: */*\r\n\r\n"
LINES = (
    b"host: x", b"Host: x", b"host: y", b"user-agent: Mozilla/5.0", b"accept: */*", b"a:b", b"a:  b",
    b"a: b ", b"a: ", b"a:", b"a : b", b" a: b", b"a_b: c", b"", b"connection: keep-alive",
    b"Connection: Keep-Alive", b"connection: close", b"connection: keep-alive, upgrade",
    b"content-length: 0", b"Content-Length: 5",
    b"transfer-encoding: chunked", b"expect: 100-continue", b"upgrade: h2c", b"proxy-connection: close",
    b"x-forwarded-for: 192.0.2.1", b"X-Forwarded-For: 192.0.2.2", b"cookie: a=b; c=\"d\"", b"a: \xe9",
    b"a: b\tc", b"a: b\x00c", b"a: b\x7fc", b"x" * 64 + b": y", b"x" * 65 + b": y", b"a: b\nc: d", b"a: b\r",
)  # fmt: skip
TARGETS = (
    b"/", b"/i/abc", b"/i/%41", b"/i/a?b=c", b"/i/a#b", b"i/abc", b"http://x/i/abc", b"*", b"/i/\xe9",
    b"/i/a b", b"/i/\"<>^{}|~", b"//x", b"", b"/i/\x7f",
)  # fmt: skip


class Told:
    """Of the first request in some bytes, as the parser tells it."""

    def __init__(self, received: bytes) -> None:
        self.url, self.headers, self.body = b"", list[tuple[bytes, bytes]](), b""
        self.complete = 0
        self.stays = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(received)
        self.method, self.version = self._parser.get_method(), self._parser.get_http_version()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1
        self.stays = self._parser.should_keep_alive() and not self._parser.should_upgrade()


def check(received: bytes) -> bool:
    """Whether it needs no parser; what is then told is true."""
    found = octets.bare(received)
    if found is None:
        return False
    path, headers, first = found
    told = Told(received)
    assert (told.method, told.version, told.complete, told.body) == (b"GET", "1.1", 1, b"")
    assert told.stays and not framing.expects("1.1", told.headers, False)
    assert (path.encode("ascii"), b"") == framing.target(told.url)
    assert headers == told.headers and first == dict(reversed(headers))
    return True


@given(
    st.sampled_from((b"GET", b"GET", b"GET", b"get", b"HEAD", b"POST", b"OPTIONS")),
    st.sampled_from(TARGETS),
    st.sampled_from((b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"", b"  HTTP/1.1")),
    st.lists(st.sampled_from(LINES), max_size=6),
    st.sampled_from((b"\r\n", b"\r\n", b"\n")),
    st.sampled_from((b"", b"", b"x", b"\r\n", PLAIN)),
)
def test_what_needs_no_parser_is_told_as_by_it(
    method: bytes, target: bytes, version: bytes, lines: list[bytes], end: bytes, more: bytes
) -> None:
    head = [method + b" " + target + version, b"host: x", *lines]
    check(b"".join(line + end for line in head) + end + more)


@given(st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_with_any_byte_changed_it_is_told_as_by_it(changes: list[tuple[int, int]]) -> None:
    received = bytearray(PLAIN)
    for place, value in changes:
        received[place] = value
    check(bytes(received))


@given(st.integers(0, len(PLAIN)), st.binary(max_size=30))
@example(len(PLAIN), b"")
def test_half_a_request_is_none(size: int, more: bytes) -> None:
    assert check(PLAIN[:size] + more) == (PLAIN[:size] + more == PLAIN)


@pytest.mark.parametrize("target", TARGETS)
def test_a_path_and_nothing_else(target: bytes) -> None:
    good = target in (b"/", b"/i/abc", b"/i/%41", b'/i/"<>^{}|~', b"//x")
    assert check(b"GET " + target + b" HTTP/1.1\r\nhost: x\r\n\r\n") is good


@pytest.mark.parametrize("line", LINES)
def test_no_header_that_says_how_to_read_on(line: bytes) -> None:
    plain = {b"Host: x", b"user-agent: Mozilla/5.0", b"accept: */*", b"connection: keep-alive", b"host: x",
             b"Connection: Keep-Alive", b"cookie: a=b; c=\"d\"", b"host: y"}  # fmt: skip
    own = line if line.lower().startswith(b"host") else b"host: x\r\n" + line
    good = line in plain or line[:2].lower() == b"x-" or line == b"x" * 64 + b": y"
    assert check(b"GET /i/abc HTTP/1.1\r\n" + own + b"\r\n\r\n") is good


def test_every_request_has_one_host_and_an_end() -> None:
    begin = b"GET /i/abc HTTP/1.1\r\n"
    assert not check(begin + b"\r\n") and not check(begin) and not check(b"")
    assert not check(begin + b"host: x\r\nhost: x\r\n\r\n")
    for size in (8192, 8193):
        filled = begin + b"host: x\r\ncookie: " + b"c" * (size - len(begin) - 21) + b"\r\n\r\n"
        assert len(filled) == size and check(filled) is (size == 8192)


def test_only_what_a_hot_path_needs_no_body_for() -> None:
    def now(head: Any, body: bytes) -> Reply:
        return Reply(204, ())

    routes = HotRoutes(
        [HotRoute("/r", ("POST",), "", {}, now=now)], lambda head, body: (now(head, body), None)
    )
    turn = bare(PLAIN, routes, "192.0.2.1")
    assert turn is not None and turn.ready and turn.keep_alive and not turn.expects
    assert (turn.head.path, turn.head.peer, turn.head.query) == ("/i/abc", "192.0.2.1", b"")
    assert turn.head.header(b"user-agent") == b"Mozilla/5.0 (X11)"
    assert bare(PLAIN, None, "") is None and bare(PLAIN.replace(b"/i/abc", b"/metrics"), routes, "") is None
    refused = bare(PLAIN.replace(b"/i/abc", b"/r"), routes, "")
    assert refused is not None and refused.route is not None and refused.route.methods == ("POST",)
