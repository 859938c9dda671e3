"""The hostile inputs of ``bad_inputs.py`` that concern the wire, against a server that really listens.

Over every row: never a 5xx, an answer within 250 ms, nothing of ours in the body, one line in the log at
most, no event accepted. Rows that are proved elsewhere are named with the place; a row that is neither
run nor named fails the last test, so none is forgotten.
"""

import base64
import gzip
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live
from small_server import USER_AGENT, Answer, Wire
from whole_server import WholeWire

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "bad_inputs.py"
SURFACES = ("click", "beacon", "decision", "consent", "api", "raw")
ELSEWHERE = {
    "clk09": "expiry is the recorder's: tests/services",
    "imp03": "what a token may still do is the recorder's: tests/services",
    "imp13": "test_one_event_asked_for_at_once_is_accepted_once, and the fault tests",
    "raw15": "deadlines: test_protocol_live and test_protocol_limits",
    "raw17": "deadlines: test_protocol_live and test_protocol_limits",
    "raw19": "test_protocol_live",
}
LEAKS = (
    b"Traceback",
    b"SELECT ",
    b'File "',
    b"site-packages",
    b"sqlite",
    str(Path(__file__).parents[2]).encode(),
)


def rows() -> dict[str, tuple[Any, ...]]:
    if not SOURCE.exists():
        return {}
    spec = importlib.util.spec_from_file_location("bad_inputs", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {row[0]: row for row in module.CASES if row[1] in SURFACES or row[2] in ("json", "dest")}


ROWS = rows()
pytestmark = pytest.mark.skipif(not ROWS, reason="shared/data/bad_inputs.py is not beside this checkout")


def of(*surfaces: str, how: tuple[str, ...] = ()) -> list[Any]:
    found = [
        r for r in ROWS.values() if r[1] in surfaces and r[0] not in ELSEWHERE and (not how or r[2] in how)
    ]
    return [pytest.param(row, id=row[0]) for row in found] or [pytest.param(None, id="absent")]


PROMPT_S = 1.0
"""Of processor time: the rows say 0.25 s of a machine that does nothing else, and tests share theirs. Who
waits for something else instead is not waited for by ``Wire.ask``."""


class Watched:
    """A server whose every answer is held against the rules above."""

    def __init__(self, server: Wire) -> None:
        self.server = server
        self.accepted = server.accepted()

    def ask(self, allowed: set[int], method: str, path: str, *more: Any) -> Answer:
        lines, before_s = len(self.server.lines()), self.server.busy_s()
        answer = self.server.ask(method, path, *more)
        assert self.server.busy_s() - before_s < PROMPT_S
        assert answer.status in allowed and answer.status < 500, (answer.status, answer.body)
        assert not [leak for leak in LEAKS if leak in answer.body]
        told = len(self.server.lines()) - lines
        assert told <= 1 and (told == (answer.status >= 400) or not self.server.every_line)
        return answer

    def done(self) -> None:
        assert self.server.accepted() == self.accepted


@pytest.fixture(scope="module")
def whole_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeWire]:
    with Live(tmp_path_factory.mktemp("whole") / "data") as live:
        yield WholeWire(live)


@pytest.fixture(params=["small", pytest.param("whole", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> Wire:
    """The wire over small use cases, and (slow) the whole server in a process of its own."""
    found: Wire = request.getfixturevalue("small_server" if request.param == "small" else "whole_server")
    return found


@pytest.fixture
def watched(server: Wire) -> Watched:
    server.ask("GET", "/healthz")
    return Watched(server)


def valid(server: Wire) -> dict[str, Any]:
    return {"publisher": server.publisher, "placements": [{"id": server.placement}]}


@pytest.mark.parametrize("row", of("decision"))
def test_decisions(watched: Watched, row: Any) -> None:
    _, _, how, value, allowed, _ = row
    kind = {"content-type": "application/json"}
    body = json.dumps(valid(watched.server)).encode()
    if how == "body":
        watched.ask(allowed, "POST", "/v1/decisions", value, kind)
        # The same inside an otherwise good request.
        if value.startswith(b'{"') and value.endswith(b"}"):
            watched.ask(allowed | {200}, "POST", "/v1/decisions", body[:-1] + b"," + value[1:], kind)
    elif how == "json":
        watched.ask(allowed, "POST", "/v1/decisions", json.dumps(value).encode(), kind)
        merged = {**valid(watched.server), **value}
        watched.ask(allowed | {200}, "POST", "/v1/decisions", json.dumps(merged).encode(), kind)
    elif how == "ctype":
        xml = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
        watched.ask({415}, "POST", "/v1/decisions", xml, {"content-type": "application/xml"})
    elif how == "encoding":
        bomb = gzip.compress(bytes(10 << 20))
        watched.ask({415}, "POST", "/v1/decisions", bomb, {**kind, "content-encoding": "gzip"})
    else:
        assert how == "charset"
        watched.ask({415}, "POST", "/v1/decisions", body, {"content-type": value})
    watched.done()


@pytest.mark.parametrize("row", of("consent"))
def test_consent_strings(watched: Watched, row: Any) -> None:
    ask = {**valid(watched.server), "consent": {"tcf": row[3], "personalised": True}, "user": {"id": "u"}}
    watched.ask(row[4], "POST", "/v1/decisions", json.dumps(ask).encode())
    watched.done()


def test_clk01_queries_do_not_redirect(watched: Watched) -> None:
    _, _, _, value, allowed, _ = ROWS["clk01"]
    for path in ("/c", "/c/"):
        answer = watched.ask(allowed, "GET", f"{path}?t={value['t']}&dest={value['dest']}", None, USER_AGENT)
        assert "location" not in answer.headers
    watched.done()


@pytest.mark.slow
def test_clk03_every_flipped_bit_is_noticed(watched: Watched) -> None:
    raw = base64.urlsafe_b64decode(watched.server.token("click"))
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        text = base64.urlsafe_b64encode(flipped).decode()
        answer = watched.ask(ROWS["clk03"][4], "GET", f"/c/{text}", None, USER_AGENT)
        assert "location" not in answer.headers
    watched.done()


def test_clk05_only_one_spelling_is_accepted(watched: Watched) -> None:
    token = watched.server.token("click")
    spellings = [token + "A" * more for more in range(1, 17)]
    spellings += [
        token + "=",
        token + "==",
        token + "%00",
        token + "%20",
        token + "/",
        token.upper(),
        "%41" + token[1:],
    ]
    spellings += [
        token.replace("_", "/").replace("-", "+") + "+",
        f" {token}".replace(" ", "%20"),
        token + ".gif",
    ]
    for text in spellings:
        watched.ask(ROWS["clk05"][4], "GET", f"/c/{text}", None, USER_AGENT)
    watched.done()


def test_clk07_a_token_has_one_purpose(watched: Watched) -> None:
    letters = {"impression": "i", "viewable": "v", "click": "c", "release": "r", "hide": "h", "report": "p"}
    for kind in letters:
        token = watched.server.token(kind)
        for other in set(letters.values()) - {letters[kind]}:
            answer = watched.ask(ROWS["clk07"][4], "GET", f"/{other}/{token}", None, USER_AGENT)
            assert "location" not in answer.headers
    watched.done()


@pytest.mark.parametrize("row", of("click", how=("dest",)))
def test_landing_pages_are_refused_at_upload(watched: Watched, row: Any) -> None:
    creative = {
        "id": "a", "format": "native", "advertiser_domain": "good.example", "landing_url": row[3],
        "assets": {"title": "t", "body": "b"},
    }  # fmt: skip
    body = campaign(creatives=[creative])
    key = {"authorization": f"Bearer {watched.server.operator_key}"}
    path = "/v1/advertisers/acme/campaigns/bad"
    answer = watched.ask({400}, "PUT", path, json.dumps(body).encode(), key)
    assert "line_items[0].creatives[0].landing_url" in [error["path"] for error in answer.json["errors"]]
    creative["landing_url"] = "https://good.example/"
    answer = watched.server.ask("PUT", path, json.dumps(body).encode(), key)
    assert answer.status in (200, 201), answer.body


def campaign(**of_line_item: Any) -> dict[str, Any]:
    item = {"id": "a", "priority": "house", "pricing": {"model": "cpm", "amount": "0.00"}, **of_line_item}
    return {"currency": "EUR", "timezone": "Europe/Paris", "line_items": [item]}


@pytest.mark.parametrize("row", of("upload", how=("json",)))
def test_uploads(watched: Watched, row: Any) -> None:
    if isinstance(row[3], str):
        pytest.skip("not a document: sizes are tested in test_management_wire")
    key = {"authorization": f"Bearer {watched.server.operator_key}"}
    path = "/v1/advertisers/acme/campaigns/bad"
    for body in (row[3], {**campaign(), **row[3]}, campaign(**row[3])):
        watched.ask(row[4], "PUT", path, json.dumps(body).encode(), key)


def test_clk23_head_counts_nothing(watched: Watched) -> None:
    watched.ask(ROWS["clk23"][4], "HEAD", watched.server.tracking("click"), None, USER_AGENT)
    watched.done()


@pytest.mark.parametrize("name", ["imp01", "imp05"])
def test_queries_of_beacons(watched: Watched, name: str) -> None:
    [(field, value)] = ROWS[name][3].items()
    for path in ("/i", "/i/", "/i/x"):
        watched.ask(ROWS[name][4], "GET", f"{path}?{field}={value}", None, USER_AGENT)
    watched.done()


@pytest.mark.parametrize("name", ["imp07", "imp09", "imp11"])
def test_headers_of_beacons(watched: Watched, name: str) -> None:
    headers = {key.lower(): value for key, value in ROWS[name][3].items()}
    answer = watched.ask(ROWS[name][4], "GET", watched.server.tracking("impression"), None, headers)
    if answer.status == 200:
        assert answer.headers["x-adserver-billed"] == "false"
    watched.done()


def test_imp15_a_huge_body_is_not_buffered(server: Wire) -> None:
    before, chunk = server.rss_bytes(), bytes(1 << 20)
    for path in (server.tracking("impression"), "/v1/decisions"):
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {1 << 30}\r\n\r\n".encode()
        received = server.raw(head + chunk * 8, timeout=0.3)
        assert received == b"" or received.startswith((b"HTTP/1.1 2", b"HTTP/1.1 413"))
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        received = server.raw(head + (b"100000\r\n" + chunk + b"\r\n") * 8, timeout=0.3)
        assert received == b"" or received.startswith((b"HTTP/1.1 2", b"HTTP/1.1 413"))
    assert server.rss_bytes() - before < 64 << 20
    assert server.ask("GET", "/healthz").status == 200


def test_aut02_unknown_keys(watched: Watched) -> None:
    for text in ("adk_gone", "adk_0123456789abcdef_" + "A" * 43, "'; DROP TABLE keys; --", "x" * 5000):
        watched.ask(ROWS["aut02"][4], "GET", "/v1/advertisers", None, {"authorization": f"Bearer {text}"})


def test_aut04_every_operation_with_somebody_elses_id(watched: Watched) -> None:
    """Generated from the server's own document."""
    server = watched.server
    document = server.ask("GET", "/openapi.json").json
    swept = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "security" not in operation or "{" not in path:
                continue
            real = path.replace("{owner}", "acme" if "advertisers" in path else "lumen").replace(
                "{id}", "acme"
            )
            stranger = server.lumen_key if "advertisers" in path else server.acme_key
            key = {"authorization": f"Bearer {stranger}"}
            body = b"{}" if "requestBody" in operation else None
            watched.ask(ROWS["aut04"][4], method.upper(), real, body, key)
            swept += 1
    assert swept >= 20


def test_aut06_nothing_moves_to_another_parent(watched: Watched) -> None:
    key = {"authorization": f"Bearer {watched.server.acme_key}"}
    body = {**campaign(), "advertiser": "rival", "campaign": "x"}
    watched.ask({400}, "PUT", "/v1/advertisers/acme/campaigns/x", json.dumps(body).encode(), key)
    watched.ask(ROWS["aut06"][4], "PUT", "/v1/advertisers/rival/campaigns/x", json.dumps(body).encode(), key)


@pytest.mark.parametrize("row", of("raw", how=("bytes",)))
def test_raw(server: Wire, row: Any) -> None:
    received = server.raw(row[3], silence=0.3)
    assert received.startswith(b"HTTP/1.1 4") and int(received[9:12]) in row[4]
    assert server.ask("GET", "/healthz").status == 200


@pytest.mark.slow
def test_no_row_is_forgotten() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    generic = {param.id for group in (of("decision"), of("consent"), of("raw")) for param in group}
    generic |= {param.id for param in of("click", how=("dest",)) + of("upload", how=("json",))}
    missing = [
        name for name in ROWS if name not in generic and name not in ELSEWHERE and f"{name}" not in text
    ]
    assert missing == []
