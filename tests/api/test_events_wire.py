"""Tracking URLs, batches and releases as they are on the wire."""

import json
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from small_server import LANDING, USER_AGENT, Wire

from adserver.api.answers import ReceiptVerdict
from adserver.domain import limits

PIXELS = ("impression", "viewable", "hide", "report", "release")


def told(answer: object) -> tuple[str, str]:
    headers = answer.headers  # type: ignore[attr-defined]
    return headers["x-adserver-event"], headers["x-adserver-billed"]


@pytest.mark.parametrize("kind", PIXELS)
def test_get_is_a_pixel_and_post_is_empty(server: Wire, kind: str) -> None:
    answer = server.ask("GET", server.tracking(kind), None, USER_AGENT)
    assert (answer.status, answer.headers["content-type"], len(answer.body)) == (200, "image/gif", 43)
    assert told(answer) == ("accepted", "true" if kind == "impression" else "false")
    assert answer.headers["cache-control"] == "no-store"
    answer = server.ask("POST", server.tracking(kind), b"", USER_AGENT)
    assert (answer.status, answer.body) == (204, b"") and told(answer)[0] == "accepted"


def test_a_click_is_redirected_whatever_the_verdict(server: Wire) -> None:
    path = server.tracking("click")
    for verdict in ("accepted", "duplicate"):
        answer = server.ask("GET", path, None, USER_AGENT)
        assert (answer.status, answer.headers["location"]) == (302, LANDING)
        assert told(answer) == (verdict, "false")
    assert server.ask("GET", path).headers["location"] == LANDING
    assert told(server.ask("GET", path))[0] == "filtered"


def test_parameters_that_clients_add_are_ignored(server: Wire) -> None:
    path = server.tracking("click") + "?dest=https://evil.example/&url=//evil.example"
    assert server.ask("GET", path, None, USER_AGENT).headers["location"] == LANDING


def test_head_counts_nothing(server: Wire) -> None:
    impression, click = server.tracking("impression"), server.tracking("click")
    answer = server.ask("HEAD", impression, None, USER_AGENT)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "43")
    answer = server.ask("HEAD", click, None, USER_AGENT)
    assert (answer.status, answer.headers["location"]) == (302, LANDING)
    assert server.world.recorder.recorded == []
    assert told(server.ask("GET", impression, None, USER_AGENT)) == ("accepted", "true")


def test_prefetch_and_a_missing_agent_are_filtered_and_use_nothing_up(server: Wire) -> None:
    path = server.tracking("impression")
    for name, value in (
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
    ):
        assert told(server.ask("GET", path, None, {**USER_AGENT, name: value}))[0] == "filtered"
    assert told(server.ask("GET", path))[0] == "filtered"
    assert told(server.ask("GET", path, None, USER_AGENT)) == ("accepted", "true")


def test_a_publishers_key_comes_along(server: Wire) -> None:
    keyed = {**USER_AGENT, "authorization": "Bearer adk_lumen"}
    server.ask("GET", server.tracking("impression"), None, keyed)
    server.ask("GET", server.tracking("impression"), None, USER_AGENT)
    assert [call.publisher_key for _, _, call in server.world.recorder.recorded] == ["lumen", None]


def test_forged_altered_or_misused_tokens_are_404_without_redirect(server: Wire) -> None:
    token = server.token("click")
    paths = [f"/{letter}/{token}" for letter in "ivrhp"]
    paths += [
        f"/c/{token[:-1]}",
        f"/c/{token}A",
        f"/c/{token}=",
        f"/c/{token}/",
        f"/c/%{ord(token[0]):x}{token[1:]}",
    ]
    altered = ("B" if letter == "A" else "A" for letter in token)
    paths += [f"/c/{token[:i]}{other}{token[i + 1 :]}" for i, other in enumerate(altered) if i % 7 == 0]
    paths += ["/c/", "/c/x", f"/c/{'x' * 8192}", "/c/?t=&dest=https://evil.example/", f"/x/{token}"]
    for path in paths:
        answer = server.ask("GET", path, None, USER_AGENT)
        assert answer.status == 404 and "location" not in answer.headers, path
    assert server.world.recorder.recorded == []


def test_other_methods_are_405(server: Wire) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        answer = server.ask(method, server.tracking("click"), b"", USER_AGENT)
        assert answer.status == 405 and "GET" in answer.headers["allow"]


def test_a_batch_has_a_verdict_each_in_order(server: Wire) -> None:
    impression, click = server.token("impression"), server.token("click")
    events = [
        {"token": impression, "type": "impression", "at": "2026-06-01T12:00:00Z"},
        {"token": impression, "type": "impression"},
        {"token": click, "type": "viewable"},
        {"token": "forged", "type": "click"},
        {"token": click, "type": "click"},
    ]
    answer = server.ask("POST", "/v1/events", _json({"events": events}), USER_AGENT)
    assert answer.status == 200
    verdicts = [(result["event"], result["billed"]) for result in answer.json["results"]]
    assert verdicts == [
        ("accepted", True), ("duplicate", False), ("invalid", False), ("invalid", False), ("accepted", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "field", "one", "limit"),
    [
        ("/v1/events", "events", {"token": "x" * 100, "type": "click"}, limits.EVENTS_PER_BATCH),
        ("/v1/release", "tokens", "x" * 100, limits.TOKENS_PER_RELEASE),
    ],
)
def test_batches_are_bounded(server: Wire, path: str, field: str, one: object, limit: int) -> None:
    answer = server.ask("POST", path, _json({field: [one] * limit}), USER_AGENT)
    assert answer.status == 200 and len(answer.json["results"]) == limit
    answer = server.ask("POST", path, _json({field: [one] * (limit + 1)}), USER_AGENT)
    assert answer.status == 400 and answer.json["errors"][0]["path"] == field
    assert server.ask("POST", path, _json({field: []}), USER_AGENT).status == 400


@pytest.mark.parametrize(
    "event", [{"token": "x"}, {"token": 1, "type": "click"}, {"token": "x", "type": "release"},
              {"token": "x", "type": "click", "at": "yesterday"}, {"token": "x" * 600, "type": "click"}],
)  # fmt: skip
def test_what_is_not_an_event_is_named(server: Wire, event: object) -> None:
    answer = server.ask("POST", "/v1/events", _json({"events": [event]}), USER_AGENT)
    assert answer.status == 400 and answer.json["errors"][0]["path"].startswith("events[0]")


def test_releases_are_idempotent(server: Wire) -> None:
    token = server.token("release")
    for _ in range(2):
        answer = server.ask("POST", "/v1/release", _json({"tokens": [token, "forged"]}))
        assert [result["event"] for result in answer.json["results"]] == ["accepted", "invalid"]


def test_receipts(server: Wire) -> None:
    feeds = [{"page": 0, "receipt": "forged"}]
    asked = _json({"publisher": "lumen", "placement": "news-feed", "feeds": feeds})
    verdict = server.ask("POST", "/v1/receipts:verify", asked)
    told = msgspec.json.decode(verdict.body, type=ReceiptVerdict)
    assert not told.valid and told.offence is not None and told.offence.index == 0
    answer = server.ask("POST", "/v1/receipts:verify", _json({}))
    assert answer.status == 400 and "required" in answer.json["errors"][0]["message"]
    assert server.ask("POST", "/v1/receipts:verify", b"[]").status == 400


def test_a_full_disk_refuses_events_and_redirects_clicks(server: Wire) -> None:
    server.world.recorder.full = True
    for method in ("GET", "POST"):
        answer = server.ask(method, server.tracking("impression"), None, USER_AGENT)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert told(answer) == ("unrecorded", "false")
        assert answer.headers["content-type"] == "application/problem+json"
    batch = _json({"events": [{"token": server.token("impression"), "type": "impression"}]})
    assert server.ask("POST", "/v1/events", batch, USER_AGENT).status == 503
    answer = server.ask("GET", server.tracking("click"), None, USER_AGENT)
    assert (answer.status, answer.headers["location"], told(answer)[0]) == (302, LANDING, "unrecorded")


def test_a_body_sent_to_a_tracking_url_is_not_read(server: Wire) -> None:
    path = server.tracking("impression").encode()
    head = (
        b"POST %b HTTP/1.1\r\nhost: x\r\nuser-agent: Mozilla/5.0\r\ncontent-length: 1073741824\r\n\r\n" % path
    )
    received = server.raw(head + b"x" * 100_000, silence=0.3)
    assert received.startswith(b"HTTP/1.1 204")


def test_one_event_asked_for_at_once_is_accepted_once(server: Wire) -> None:
    path = server.tracking("impression")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.ask("GET", path, None, USER_AGENT), range(64)))
    verdicts = [told(answer)[0] for answer in answers]
    assert verdicts.count("accepted") == 1 and verdicts.count("duplicate") == 63


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
