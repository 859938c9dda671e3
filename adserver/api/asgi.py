"""The ASGI app: hot paths go to plain functions, everything else to a Starlette app behind them."""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adserver.api import (
    accounts,
    conversions,
    credits,
    diagnosis,
    invalidations,
    management,
    operations,
    reports,
    statements,
)
from adserver.api.answers import DecisionAnswer, ReceiptVerdict
from adserver.api.decisions import Decisions
from adserver.api.envelope import measured, preflight, stamped
from adserver.api.events import EventBatch, Events, Release, Results
from adserver.api.hot import HotRoute, HotRoutes
from adserver.api.intake import Disconnected, read_body
from adserver.api.messages import Head, Reply, made, not_allowed, problem, request_ids
from adserver.api.pages import Guard, head_of, pages, send_reply
from adserver.api.peer import Peers
from adserver.api.ports import Log, Services
from adserver.api.telling import Telling
from adserver.api.turn import brought
from adserver.domain import limits
from adserver.services.ask import Ask
from adserver.services.elsewhere import Elsewhere


def build(
    services: Services,
    trusted_proxies: Iterable[str] = (),
    prefix: str | None = None,
    ticks: Callable[[], float] = perf_counter,
) -> "Application":
    """The app. ``trusted_proxies``: CIDR networks whose ``x-forwarded-for`` is believed; ``prefix``: what
    this process's request ids begin with (by default chance); ``ticks``: seconds of a clock that only
    measures. ValueError for a network that is none."""
    peers = Peers(trusted_proxies)
    hot = hot_routes(services, peers, ticks)
    guard = Guard(services.metrics, services.log)
    managed = management.operations(services.manage)
    if services.diagnosis is not None:
        managed += diagnosis.operations(services.diagnosis)
    if services.invalidation is not None:
        managed += invalidations.operations(services.invalidation)
    if services.conversions is not None:
        managed += conversions.operations(services.conversions, services.metrics)
    if services.statements is not None:
        managed += statements.operations(services.statements)
    if services.accounting is not None:
        managed += accounts.operations(services.accounting)
    if services.reporting is not None:
        managed += reports.operations(services.reporting)
    if services.crediting is not None and services.wallets is not None:
        managed += credits.operations(services.crediting, services.wallets)
    served = [*managed, *operations.operations(services, hot, managed)]
    rest = pages(served, management.VERBS, management.UNBUILT, services.extra, guard, services.find_key)
    named = request_ids(secrets.token_hex(4) if prefix is None else prefix)
    told = services.impressions
    telling = None if told is None else Telling(told, peers, services.metrics, guard)
    return Application(hot, rest, guard, services.log, named, telling)


def hot_routes(services: Services, peers: Peers, ticks: Callable[[], float] = perf_counter) -> HotRoutes:
    """The hot paths tied to their use cases; the HTTP protocol class will serve these by itself."""
    decisions = Decisions(services.server, services.find_key, peers, services.metrics, ticks)
    events = Events(services.recorder, services.receipts, services.find_key, peers, services.metrics)
    post = ("POST",)
    routes = [
        HotRoute(
            "/v1/decisions", post, "Which ads, here, now, for this person", _DECISION, Ask,
            now=None if services.waits else decisions.decide,
            later=decisions.decide_later if services.waits else None,
            unbuilt={"GET": "GET is not built yet: use POST"},
        ),
        HotRoute("/v1/events", post, "Events in a batch", _RESULTS, EventBatch, later=events.batch),
        HotRoute(
            "/v1/release", post, "Ads that will not be shown", _RESULTS, Release,
            limits.RELEASE_BYTES, later=events.release,
        ),
        HotRoute(
            "/v1/receipts:verify", post, "Check a session's feed receipts", {200: ReceiptVerdict},
            dict[str, Any], limits.RECEIPTS_BYTES, later=events.verify,
        ),
    ]  # fmt: skip
    if services.auction is not None:
        routes.append(
            HotRoute(
                "/openrtb2/auction", post, "OpenRTB 2.6 bid request", _BID, dict[str, Any],
                limits.AUCTION_BYTES,
                now=None if services.waits else services.auction,
                later=services.auction.later if services.waits else None,
            )
        )  # fmt: skip
    return HotRoutes(routes, events.tracked)


_DECISION: Final = {200: DecisionAnswer, 409: "a feed page ahead of the next: see `expected_page`"}
_RESULTS: Final = {200: Results, 503: "no room to record them, try again"}
_BID: Final = {200: dict[str, Any], 204: "no bid", 400: None}


class Application:
    """ASGI 3. Whatever goes wrong, the client gets one answer and the log one line."""

    def __init__(
        self, hot: HotRoutes, rest: ASGIApp, guard: Guard, log: Log, name: Callable[[], str],
        telling: Telling | None = None,
    ) -> None:  # fmt: skip
        self.hot = hot
        self._rest = rest
        self.guard = guard
        self._log = log
        self.name = name
        self.telling = telling

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        request_id = self.name()
        head = head_of(scope)
        route = self.hot.find(head.path)
        if head.method == "OPTIONS":
            reply = preflight()
        elif route is None:
            await self._pass_on(scope, receive, send, request_id)
            return
        else:
            act = _act(route, head, receive)
            try:
                reply = await self.guard.answer(route.name, head, route.limit, act, request_id)
            except Disconnected:
                return
        await send_reply(send, reply, stamped(measured(reply), request_id))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        """To Starlette, putting on its answer what every answer carries."""
        scope.setdefault("state", {})["request_id"] = request_id
        begun = False

        async def stamping(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = list(stamped(message["headers"], request_id))
            await send(message)

        try:
            await self._rest(scope, receive, stamping)
        # Pages guard themselves; this is for what goes wrong around them.
        except Exception as error:
            self._log.failure("a page failed", error, request_id=request_id)
            if not begun:
                reply = problem(500)
                await send_reply(send, reply, stamped(measured(reply), request_id))


async def _act(route: HotRoute, head: Head, receive: Receive) -> Reply:
    if head.method not in route.methods:
        return not_allowed(route.methods, route.unbuilt.get(head.method, ""))
    body = await read_body(head, receive, route.limit) if route.limit else b""
    if route.later is not None:
        return await route.later(head, body)
    try:
        reply, durable = route.answer(head, body)
    except Elsewhere as missing:
        return await brought(partial(route.answer, head, body), missing)
    if durable is not None:
        await asyncio.shield(durable)
    return made(reply)
