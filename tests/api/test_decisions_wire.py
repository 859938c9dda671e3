"""``POST /v1/decisions`` as it is on the wire."""

import json

import msgspec
import pytest
from small_server import Wire

from adserver.api import bodies
from adserver.api.answers import DecisionAnswer
from adserver.domain import limits
from adserver.services.ask import DECODER
from adserver.services.refusals import Refused

ASK = {"publisher": "lumen", "placements": [{"id": "home-top"}]}


def test_an_ask_is_answered_and_the_answer_is_what_is_documented(server: Wire) -> None:
    answer = server.decide(ASK)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert msgspec.json.decode(answer.body, type=DecisionAnswer).decisions[0].placement == "home-top"


def test_every_answer_says_who_may_read_it_and_has_an_id(server: Wire) -> None:
    named = set()
    for answer in (server.decide(ASK), server.decide(b"{"), server.ask("GET", "/nowhere")):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["timing-allow-origin"] == "*"
        assert "x-adserver-event" in answer.headers["access-control-expose-headers"]
        named.add(answer.headers["x-request-id"])
    assert len(named) == 3


def test_a_preflight_is_answered_for_a_day(server: Wire) -> None:
    asked = {"origin": "https://news.example", "access-control-request-method": "POST"}
    for path in ("/v1/decisions", "/v1/events", "/v1/publishers/lumen"):
        answer = server.ask("OPTIONS", path, None, asked)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["access-control-max-age"] == "86400"
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "content-type" in answer.headers["access-control-allow-headers"]


def test_a_publisher_that_lists_origins_is_asked_from_these_alone(server: Wire) -> None:
    ask = {**ASK, "publisher": "walled"}
    answer = server.decide(ask, origin="https://walled.example")
    assert (answer.status, answer.headers["vary"]) == (200, "origin")
    assert answer.headers["access-control-allow-origin"] == "https://walled.example"
    asked = len(server.world.server.asked)
    assert server.decide(ask, origin="https://else.example").status == 403
    assert len(server.world.server.asked) == asked
    assert server.decide(ask).status == 200


@pytest.mark.parametrize("media", ["application/json", "text/plain", "Text/Plain; charset=UTF-8", None])
def test_json_is_read_under_these_types(server: Wire, media: str | None) -> None:
    headers = {} if media is None else {"content-type": media}
    assert server.ask("POST", "/v1/decisions", json.dumps(ASK).encode(), headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/xml"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-7"},
        {"content-type": "text/plain;charset=utf-16"},
        {"content-encoding": "gzip"},
        {"content-encoding": "br"},
    ],
)
def test_other_types_and_encodings_are_415(server: Wire, headers: dict[str, str]) -> None:
    answer = server.ask("POST", "/v1/decisions", json.dumps(ASK).encode(), headers)
    assert answer.status == 415
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_is_bounded_at_the_limit(server: Wire) -> None:
    raw = json.dumps(ASK).encode()
    at_limit = raw + b" " * (limits.REQUEST_BYTES - len(raw))
    assert server.ask("POST", "/v1/decisions", at_limit).status == 200
    answer = server.ask("POST", "/v1/decisions", at_limit + b" ")
    assert (answer.status, answer.json["status"]) == (413, 413)


def test_a_chunked_body_is_bounded_while_it_comes(server: Wire) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    head = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    received = server.raw(head + chunk * 6)
    assert received.startswith(b"HTTP/1.1 413") and b"connection: close" in received


def test_methods_and_paths(server: Wire) -> None:
    answer = server.ask("GET", "/v1/decisions")
    assert (
        answer.status == 405
        and "POST" in answer.headers["allow"]
        and "not built yet" in answer.json["detail"]
    )
    assert server.ask("DELETE", "/v1/decisions").json["detail"] == "this path answers POST, OPTIONS"
    for path in ("/v1/decisions/", "/v1/decision", "/", "//v1/decisions", "/V1/decisions"):
        answer = server.ask("POST", path, b"{}")
        assert answer.status == 404 and answer.headers["content-type"] == "application/problem+json", path


def test_a_wrong_type_is_named_with_its_place(server: Wire) -> None:
    answer = server.decide({"placements": [{"id": "a"}, {"id": 7}]})
    assert answer.status == 400
    assert answer.json["errors"][0]["path"] == "placements[1].id"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"placements":[{"id":"a"}],"publisher":"a","publisher":"b"}', "publisher"),
        (b'{"placements":[{"id":"a","id":"b"}]}', "id"),
        (b'{"placements": [{"id": "a"}], "unknown": {"x" : 1, "x": 2}}', "x"),
        (b'{"placements":[{"id":"a"}],"user":{"id":"a\\u0000b"}}', "user.id"),
        (b'{"placements":[{"id":"a"}],"unknown":["\\u0000"]}', "unknown[0]"),
    ],
)
def test_repeated_keys_and_nul_are_refused(server: Wire, body: bytes, path: str) -> None:
    answer = server.decide(body)
    assert answer.status == 400
    assert answer.json["errors"][0]["path"] == path


def test_an_escaped_backslash_before_u0000_is_not_nul(server: Wire) -> None:
    assert server.decide(rb'{"placements":[{"id":"a"}],"session":"\\u0000"}').status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"{}x",
        b"[" * 30_000 + b"]" * 30_000,
        b'{"placements":[{"id":"a"}],"z":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"placements":[{"id":"a"}],"properties":{"a":' + b'{"a":' * 9000 + b"1" + b"}" * 9000 + b"}}",
        b'{"placements":[{"id":"a"}],"z":NaN}',
        b'{"placements":[{"id":"a"}],"z":Infinity}',
        b'{"placements":[{"id":"a"}],"z":"\xff"}',
        b'{"placements":[{"id":"a"}],"user":{"id":"\\ud800"}}',
        b'{"placements":[{"id":"a"}],"z":"\\ud800"}',
        b'{"placements":[{"id":"a"}],"z":"\\udc00\\ud800"}',
        b'{"placements":[{"id":"a"}],"tmax_ms":-5}',
        b'{"placements":[{"id":"a"}],"geo":{"lat":1e999}}',
        b'{"placements":[{"id":"a","count":0}]}',
        b'{"placements":[{"id":"a","count":1e0}]}',
        b'{"placements":[{"id":"a"}],"properties":{"a":' + b"9" * 60_000 + b"}}",
    ],
)  # fmt: skip
def test_what_is_not_an_ask_is_400(server: Wire, body: bytes) -> None:
    answer = server.decide(body)
    assert answer.status == 400, answer.body
    assert answer.json["errors"][0]["message"]


def test_force_is_not_built_yet(server: Wire) -> None:
    answer = server.decide({**ASK, "force": {"line_item": "a/b/c"}})
    assert answer.status == 400 and "not built yet" in answer.json["errors"][0]["message"]
    assert server.decide({**ASK, "force": {}}).status == 200


def test_what_the_ad_server_refuses_is_told_in_full(server: Wire) -> None:
    ask = {"placements": [{"id": "f", "feed": {"id": "main", "page": 3, "organic_count": 5}}], "session": "s"}
    answer = server.decide(ask)
    assert (answer.status, answer.json["expected_page"]) == (409, 0)
    assert answer.json["errors"] == [{"path": "placements[0].feed.page", "message": "too far"}]


def test_a_fault_of_ours_is_500_and_tells_nothing(server: Wire) -> None:
    server.world.server.broken = True
    answer = server.decide(ASK)
    assert (answer.status, answer.json["status"]) == (500, 500)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert b"SECRET" not in answer.body and b"KeyError" not in answer.body
    [line] = server.lines()
    assert line["error"] == "builtins.KeyError" and line["frames"] and "SECRET" not in json.dumps(line)
    assert line["request_id"] == answer.headers["x-request-id"]


def test_a_page_speaks_for_itself_and_a_publishers_server_for_its_reader(server: Wire) -> None:
    device = {"ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (theirs)"}
    ask = {**ASK, "device": device}
    server.decide(ask, user_agent="Mozilla/5.0 (mine)")
    server.decide(ask, user_agent="python", authorization="Bearer adk_lumen")
    server.decide({**ask, "publisher": "other"}, user_agent="python", authorization="bearer adk_lumen")
    server.decide({**ask, "device": {"ip": "999.1.1.1"}}, authorization="Bearer adk_lumen")
    seen = [(asker.ip, asker.user_agent, asker.owner) for _, asker, _ in server.world.server.asked]
    assert seen[0] == ("127.0.0.1", "Mozilla/5.0 (mine)", None)
    assert seen[1] == ("203.0.113.7", "Mozilla/5.0 (theirs)", "lumen")
    assert seen[2] == ("127.0.0.1", "python", "lumen")
    assert seen[3][0] == ""


@pytest.mark.parametrize("value", ["Bearer nope", "Basic eDp5", "Bearer ", "Bearer " + "x" * 9000])
def test_a_key_that_is_not_good_is_refused(server: Wire, value: str) -> None:
    answer = server.decide(ASK, authorization=value)
    assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"


def test_pipelined_asks_are_answered_in_order(server: Wire) -> None:
    def one(name: str, close: bool) -> bytes:
        body = json.dumps({"placements": [{"id": name}]}).encode()
        last = b"connection: close\r\n" if close else b""
        return b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b" % (
            last,
            len(body),
            body,
        )

    received = server.raw(one("a", False) + one("b", False) + one("c", True))
    assert [part for part in (b'"a"', b'"b"', b'"c"') if part in received] == [b'"a"', b'"b"', b'"c"']
    assert received.index(b'"a"') < received.index(b'"b"') < received.index(b'"c"')


def test_spaces_between_tokens_do_not_matter() -> None:
    compact = json.dumps(ASK, separators=(",", ":")).encode()
    for body in (compact, json.dumps(ASK, indent=3).encode(), json.dumps(ASK).encode()):
        assert bodies.decode(DECODER, body).placements[0].id == "home-top"
    with pytest.raises(Refused):
        bodies.decode(DECODER, compact.replace(b'"publisher"', b'"publisher":"x","publisher"'))
