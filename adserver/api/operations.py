"""What operators and machines ask: is it alive, is it ready, what are its numbers, what does it answer."""

from typing import Final

import msgspec

from adserver.api import answers, docs, openapi
from adserver.api.hot import HotRoutes
from adserver.api.messages import JSON, NO_STORE, Reply, problem
from adserver.api.pages import Asked, Operation
from adserver.api.ports import Services

_OK: Final = msgspec.json.encode(answers.Health("ok"))
_HTML: Final = (b"content-type", b"text/html; charset=utf-8")
_POLICY: Final = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")


def operations(services: Services, hot: HotRoutes, others: list[Operation]) -> list[Operation]:
    """Section 4. ``others``: the operations that stand beside these in the documentation."""
    pages = _Pages(services)
    own = [
        Operation("GET", "/healthz", "The process lives", "operators", pages.healthz, {200: answers.Health}),
        Operation("GET", "/readyz", "A snapshot is live", "operators", pages.readyz, _READY),
        Operation(
            "GET",
            "/metrics",
            "Prometheus metrics",
            "operators",
            pages.metrics,
            {200: "text exposition", 503: "the numbers of all workers could not be had"},
        ),
        Operation("GET", "/openapi.json", "This document", "operators", pages.openapi, {200: "OpenAPI 3.1"}),
        Operation("GET", "/docs", "The same for people", "operators", pages.docs, {200: "HTML"}),
    ]
    document = openapi.document(hot, [*others, *own])
    pages.document = msgspec.json.encode(document)
    pages.html = docs.page(document).encode()
    return own


_READY: Final = {200: answers.Health, 503: "no snapshot yet"}


class _Pages:
    document: bytes
    html: bytes

    def __init__(self, services: Services) -> None:
        self._services = services

    async def healthz(self, asked: Asked) -> Reply:
        return Reply(200, (JSON, NO_STORE), _OK)

    async def readyz(self, asked: Asked) -> Reply:
        if not self._services.ready():
            reply = problem(503, "no snapshot is live yet")
            reply.headers = (*reply.headers, (b"retry-after", b"1"))
            return reply
        return Reply(200, (JSON, NO_STORE), _OK)

    async def metrics(self, asked: Asked) -> Reply:
        media_type, body = self._services.metrics.exposition()
        if self._services.sums is not None:
            try:
                body = await self._services.sums.exposition()
            except TimeoutError:
                return problem(503, "the numbers of all workers could not be had")
        return Reply(200, ((b"content-type", media_type), NO_STORE), body)

    async def openapi(self, asked: Asked) -> Reply:
        return Reply(200, (JSON,), self.document)

    async def docs(self, asked: Asked) -> Reply:
        return Reply(200, (_HTML, _POLICY), self.html)
