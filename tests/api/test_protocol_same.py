"""The answers of the fast path and of ASGI are the same bytes, request ids aside: for every kind of hot
request by itself, against uvicorn's own protocol class, and for random pipelines cut at random places."""

import contextlib
import itertools
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_server import Wire, World, served

from adserver.api.messages import Head, Reply
from adserver.api.protocol import protocol
from adserver.api.wire import CONTINUE
from adserver.domain import limits

AGENT = b"user-agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0\r\n"
ASK = json.dumps({"publisher": "lumen", "placements": [{"id": "a"}, {"id": "b"}], "session": "s"}).encode()
WALLED = ASK.replace(b"lumen", b"walled")
AHEAD = json.dumps({"placements": [{"id": "a", "feed": {"page": 3, "organic_count": 5}}]}).encode()


def request(
    method: bytes, path: bytes, body: bytes | None = None, *lines: bytes, version: bytes = b"1.1"
) -> bytes:
    head = [method + b" " + path + b" HTTP/" + version, b"host: x", AGENT.strip(), *lines]
    if body is not None:
        head.append(b"content-length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + (body or b"")


def chunked(method: bytes, path: bytes, body: bytes, size: int, *lines: bytes) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return request(method, path, None, b"transfer-encoding: chunked", *lines) + coded


def hot_requests(wire: Wire) -> dict[str, bytes]:
    """One of every kind, by name."""
    i, v, c, h, p = (
        wire.tracking(kind).encode() for kind in ("impression", "viewable", "click", "hide", "report")
    )
    decide, events = b"/v1/decisions", b"/v1/events"
    batch = [{"token": wire.token("impression"), "type": "impression"}, {"token": "x", "type": "click"}]
    release = {"tokens": [wire.token("release"), "x"]}
    big = b" " * limits.REQUEST_BYTES + b"x"
    json_type = b"content-type: application/json"
    return {
        "decision": request(b"POST", decide, ASK, json_type),
        "decision with a query": request(b"POST", decide + b"?a=b", ASK),
        "decision at an absolute target": request(b"POST", b"http://x" + decide, ASK),
        "decision with a fragment": request(b"POST", decide + b"#a", ASK),
        "decision by another spelling": request(b"POST", b"/v1/decision%73", ASK),
        "decision chunked": chunked(b"POST", decide, ASK, 7, json_type),
        "decision expected": request(b"POST", decide, ASK, b"expect: 100-continue"),
        "decision of 1.0": request(b"POST", decide, ASK, version=b"1.0"),
        "decision of 1.0 kept": request(b"POST", decide, ASK, b"connection: keep-alive", version=b"1.0"),
        "decision and close": request(b"POST", decide, ASK, b"connection: close"),
        "decision upgraded": request(b"POST", decide, None, b"connection: upgrade", b"upgrade: h2c"),
        "decision from a page": request(b"POST", decide, WALLED, b"origin: https://walled.example"),
        "decision from a stranger's page": request(b"POST", decide, WALLED, b"origin: https://o.example"),
        "decision ahead": request(b"POST", decide, AHEAD),
        "decision without a body": request(b"POST", decide),
        "decision with an empty body": request(b"POST", decide, b""),
        "decision with a broken body": request(b"POST", decide, b"{"),
        "decision at the bound": request(b"POST", decide, ASK + b" " * (limits.REQUEST_BYTES - len(ASK))),
        "decision beyond the bound": request(b"POST", decide, big),
        "decision beyond the bound, chunked": chunked(b"POST", decide, big, 5000),
        "decision of another type": request(b"POST", decide, ASK, b"content-type: text/xml"),
        "decision zipped": request(b"POST", decide, ASK, b"content-encoding: gzip"),
        "decision with a bad key": request(b"POST", decide, ASK, b"authorization: Bearer adk_gone"),
        "decision by GET": request(b"GET", decide),
        "decision by HEAD": request(b"HEAD", decide),
        "decision by PUT": request(b"PUT", decide, ASK),
        "decision by PUT, chunked": chunked(b"PUT", decide, ASK, 10),
        "preflight": request(b"OPTIONS", decide, None, b"origin: https://o.example"),
        "preflight with a body": request(b"OPTIONS", events, b"abc"),
        "preflight of an event": request(b"OPTIONS", i),
        "preflight of a page": request(b"OPTIONS", b"/healthz"),
        "impression": request(b"GET", i),
        "impression again": request(b"GET", i),
        "impression with a query": request(b"GET", i + b"?x=1&y=%00"),
        "impression by HEAD": request(b"HEAD", wire.tracking("impression").encode()),
        "impression by POST": request(b"POST", wire.tracking("impression").encode(), b"{}"),
        "impression by POST, chunked": chunked(b"POST", wire.tracking("impression").encode(), b"{}", 1),
        "impression by DELETE": request(b"DELETE", i),
        "impression without an agent": request(b"GET", i).replace(AGENT, b""),
        "impression prefetched": request(
            b"GET", wire.tracking("impression").encode(), None, b"purpose: prefetch"
        ),
        "impression of 1.0": request(b"GET", wire.tracking("impression").encode(), version=b"1.0"),
        "viewable": request(b"GET", v),
        "click": request(b"GET", c),
        "click by HEAD": request(b"HEAD", c),
        "click and close": request(b"GET", wire.tracking("click").encode(), None, b"connection: close"),
        "hide": request(b"POST", h, b""),
        "report": request(b"POST", p),
        "forged": request(b"GET", i[:-1]),
        "forged by HEAD": request(b"HEAD", b"/c/x"),
        "for another purpose": request(b"GET", b"/c" + i[2:]),
        "batch": request(b"POST", events, json.dumps({"events": batch}).encode()),
        "batch, empty": request(b"POST", events, b'{"events": []}'),
        "batch, expected": request(
            b"POST", events, json.dumps({"events": batch}).encode(), b"expect: 100-Continue"
        ),
        "release": request(b"POST", b"/v1/release", json.dumps(release).encode()),
        "receipts": request(b"POST", b"/v1/receipts:verify", b'{"receipts": []}'),
        "auction": request(b"POST", b"/openrtb2/auction", b'{"id": "1"}'),
        "auction, no bid": request(b"POST", b"/openrtb2/auction", b"{}"),
        "health": request(b"GET", b"/healthz"),
        "nowhere": request(b"GET", b"/nowhere"),
        "management": request(b"GET", b"/v1/advertisers", None, b"authorization: Bearer adk_op"),
        "a page's body": request(b"PUT", b"/v1/advertisers/q", b"{", b"authorization: Bearer adk_op"),
    }  # fmt: skip


def auction(head: Head, body: bytes) -> Reply:
    return Reply(200, ((b"content-type", b"application/json"),), body) if b"id" in body else Reply(204, ())


FINAL = request(b"GET", b"/i/last", None, b"connection: close")


def exchanged(wire: Wire, octets: bytes, cuts: tuple[int, ...] = ()) -> bytes:
    """All that came until the server closed, request ids blotted out."""
    received = b""
    with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        edges = [0, *sorted(cut for cut in cuts if cut < len(octets)), len(octets)]
        with contextlib.suppress(OSError):
            for begin, end in itertools.pairwise(edges):
                client.sendall(octets[begin:end])
                time.sleep(0.002 if cuts else 0)
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(1 << 20):
                received += part
    return re.sub(rb"x-request-id: [0-9a-f]+-[0-9a-f]+", b"x-request-id: ?", received)


@contextlib.contextmanager
def three(folder: Path) -> Iterator[tuple[Wire, Wire, Wire]]:
    """The fast path, the same class with everything left to ASGI, and uvicorn's own class."""
    worlds = []
    for name in ("fast", "asgi", "own"):
        (folder / name).mkdir()
        worlds.append(World(folder / name))
    with (
        served(worlds[0], auction=auction) as fast,
        served(worlds[1], auction=auction, http=lambda app: protocol(app, fast=False)) as asgi,
        served(worlds[2], auction=auction, http=lambda app: "httptools") as own,
    ):
        yield fast, asgi, own
    for world in worlds:
        world.store.close()


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Wire, Wire]]:
    with three(tmp_path_factory.mktemp("same")) as wires:
        yield wires


def test_every_hot_request_by_itself(wires: tuple[Wire, Wire, Wire]) -> None:
    fast, asgi, own = wires
    for name, octets in hot_requests(fast).items():
        answer = exchanged(fast, octets + FINAL)
        assert answer.startswith(b"HTTP/1.1 "), name
        assert answer == exchanged(asgi, octets + FINAL), name
        if name not in NOT_COMPARED:
            assert answer == exchanged(own, octets + FINAL), name


NOT_COMPARED = {
    "decision upgraded": "uvicorn loses what follows and leaves the connection open",
    "decision beyond the bound, chunked": "uvicorn closes over unread bytes, which may reset its answer away",
}


@pytest.mark.parametrize("trouble", ["broken", "full"])
def test_trouble_is_told_the_same_way(wires: tuple[Wire, Wire, Wire], trouble: str) -> None:
    for wire in wires:
        wire.world.server.broken = trouble == "broken"
        wire.world.recorder.full = trouble == "full"
    requests = hot_requests(wires[0])
    for name in ("decision", "decision expected", "impression", "click", "batch", "impression by POST"):
        answers = {exchanged(wire, requests[name] + FINAL) for wire in wires}
        assert len(answers) == 1, name
        if (trouble, name) in (("broken", "decision"), ("full", "impression")):
            assert answers.pop()[9:12] == (b"500" if trouble == "broken" else b"503")
    for wire in wires:
        wire.world.server.broken = wire.world.recorder.full = False


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_random_pipelines_cut_anywhere(wires: tuple[Wire, Wire, Wire], choice: st.DataObject) -> None:
    requests = hot_requests(wires[0])
    names = choice.draw(st.lists(st.sampled_from(sorted(requests)), min_size=1, max_size=8))
    octets = b"".join(requests[name] for name in names) + FINAL
    cuts = tuple(choice.draw(st.lists(st.integers(1, min(len(octets), 3000)), max_size=4)))
    # A body that is there already needs no leave: that depends on what arrived when.
    fast, asgi = (exchanged(wire, octets, cuts).replace(CONTINUE, b"") for wire in wires[:2])
    assert fast == asgi, names
