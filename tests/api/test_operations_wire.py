"""Health, metrics and the documentation, which must say what is served and nothing else."""

import json
import re
from typing import Any

import pytest
from small_server import USER_AGENT, Wire, World, served

from adserver.api.messages import Head, Reply

NOWHERE = ("http://", "https://", "<script", "src=", "@import", "url(")


@pytest.fixture
def document(server: Wire) -> dict[str, Any]:
    answer = server.ask("GET", "/openapi.json")
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


def test_alive_and_ready(server: Wire) -> None:
    assert server.ask("GET", "/healthz").status == 200
    assert server.ask("GET", "/readyz").status == 200
    assert server.ask("HEAD", "/healthz").status == 200
    server.world.ready = False
    assert server.ask("GET", "/healthz").status == 200
    assert server.ask("GET", "/readyz").status == 503
    assert server.ask("POST", "/healthz", b"").status == 405


def test_metrics_count_what_was_answered(server: Wire) -> None:
    server.decide({"placements": [{"id": "a"}]})
    server.decide(b"{")
    server.ask("GET", server.tracking("impression"), None, USER_AGENT)
    server.ask("GET", "/i/forged")
    server.ask("GET", "/nowhere/u-123")
    answer = server.ask("GET", "/metrics")
    text = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain")
    for line in (
        "adserver_decision_seconds_count 1.0",
        'adserver_refused_requests_total{route="/v1/decisions",status="400"} 1.0',
        'adserver_refused_requests_total{route="/i/{token}",status="404"} 1.0',
        'adserver_refused_requests_total{route="(none)",status="404"} 1.0',
        'adserver_events_total{kind="impression",verdict="accepted"} 1.0',
        'adserver_events_total{kind="impression",verdict="invalid"} 1.0',
        'adserver_billed_events_total{kind="impression"} 1.0',
    ):
        assert line in text
    assert "u-123" not in text and "forged" not in text


def test_every_refusal_is_one_line_of_the_log_without_what_was_sent(server: Wire) -> None:
    server.decide(b'{"placements":[{"id":"a"}],"user":{"id":["CANARY"]}}')
    server.ask("GET", "/i/CANARY")
    server.ask("GET", "/CANARY")
    lines = server.lines()
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/v1/decisions", 400), ("/i/{token}", 404), ("(none)", 404),
    ]  # fmt: skip
    assert "CANARY" not in json.dumps(lines) and "127.0.0.1" not in json.dumps(lines)


def test_every_documented_operation_is_served(server: Wire, document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        real = re.sub(r"\{\w+\}", "x", path)
        for method, operation in methods.items():
            body = b"{}" if "requestBody" in operation else None
            answer = server.ask(method.upper(), real, body, {"authorization": "Bearer adk_op"})
            assert answer.status != 405, (method, path)
            assert str(answer.status) in operation["responses"], (method, path, answer.status)
            assert answer.status != 404 or "no such path" not in answer.body.decode(), path
            if "security" in operation:
                assert server.ask(method.upper(), real, body).status == 401, (method, path)


def test_every_served_operation_is_documented(server: Wire, document: dict[str, Any]) -> None:
    app = server.world.app()
    pages = [route.endpoint for route in app._rest.routes if hasattr(route.endpoint, "operations")]  # type: ignore[attr-defined]
    served = {(page.path, method.lower()) for page in pages for method in page.operations}
    served |= {(route.name, method.lower()) for route in app.hot.all() for method in route.methods}
    documented = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert len(pages) > 15
    assert served == documented


def test_methods_that_are_not_documented_are_405(server: Wire, document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        real = re.sub(r"\{\w+\}", "x", path)
        for method in {"get", "post", "put", "delete"} - set(methods):
            answer = server.ask(method.upper(), real, b"")
            assert answer.status == 405 and method.upper() not in answer.headers["allow"].split(", "), (
                method,
                path,
            )


def test_references_of_the_document_resolve(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in schemas
    names = [
        operation["operationId"] for methods in document["paths"].values() for operation in methods.values()
    ]
    assert len(names) == len(set(names))
    assert schemas["Ask"]["required"] == ["placements"]


def test_the_docs_are_one_page_that_fetches_nothing(server: Wire, document: dict[str, Any]) -> None:
    answer = server.ask("GET", "/docs")
    page = answer.body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page
    assert not [word for word in NOWHERE if word in page]


def test_the_auction_is_served_once_there_is_one(world: World) -> None:
    def auction(head: Head, body: bytes) -> Reply:
        return Reply(204 if body == b"{}" else 400, ())

    with served(world, auction=auction) as server:
        assert server.ask("POST", "/openrtb2/auction", b"{}").status == 204
        answer = server.ask("POST", "/openrtb2/auction", b"")
        assert (answer.status, answer.body, answer.headers["content-length"]) == (400, b"", "0")
        documented = server.ask("GET", "/openapi.json").json["paths"]["/openrtb2/auction"]["post"]
        assert "content" not in documented["responses"]["400"]
