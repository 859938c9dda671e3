"""Campaigns replaced while visitors are served: one every second, in turn, each with new bids.

Bids move by millionths of the currency, so the world stays what it is and every answer still tells under
which version it was decided. Right behind each change a *probe* is put, a campaign of a publisher of its
own, and that placement is asked (dry runs) until it answers the probe's new text: catalog changes take
effect in order, so then the change before it is live too.
"""

import threading
import time
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

from adserver.domain import money
from loadtests.records import Book, Change, now_ms, now_ms_up
from loadtests.server import Broken, Server
from loadtests.terms import World

EVERY_S: Final = 1.0
_GIVE_UP_MS: Final = 5000
_POLL_S: Final = 0.02
_PROBE: Final = "loadtest-probe"
_PUBLISHER: Final = "loadtest-probe-pages"
_ASK: Final = {"publisher": _PUBLISHER, "placements": [{"id": "probe"}], "mode": "dry_run"}
_STEPS: Final = 100


class Changes(threading.Thread):
    """``start`` it, and ``end`` it before the server ends. ``failed``: probes that were not answered."""

    def __init__(self, server: Server, key: str, world: World, records: Path) -> None:
        super().__init__(name="changes", daemon=True)
        self.failed: list[str] = []
        self._server = server
        self._key = key
        self._world = world
        self._book = Book(records, "changes")
        self._ended = threading.Event()

    def prepare(self) -> None:
        """The probe's publisher and advertiser; returns when decisions know them."""
        placement = {"id": "probe", "surface": "page", "formats": ["text"]}
        publisher = {"publisher": _PUBLISHER, "currency": "EUR", "placements": [placement]}
        advertiser = {"advertiser": _PROBE, "currency": "EUR"}
        self._accepted(f"/v1/publishers/{_PUBLISHER}", publisher)
        self._accepted(f"/v1/advertisers/{_PROBE}", advertiser)
        until_ms = now_ms() + _GIVE_UP_MS
        while self._server.call("POST", "/v1/decisions", _ASK)[0] != 200:
            if now_ms() > until_ms:
                raise Broken(f"publisher {_PUBLISHER} is not live")
            time.sleep(_POLL_S)

    def end(self) -> None:
        self._ended.set()
        self.join()
        self._book.close()

    def run(self) -> None:
        names = [name for name, campaign in self._world.campaigns.items() if _is_sold(campaign)]
        bodies = {name: self._body(name) for name in names}
        for number, name in zip(count(1), cycle(names), strict=False):
            began = time.monotonic()
            self._book.write(self._change(number, name, bodies[name]))
            if self._ended.wait(max(0.0, began + EVERY_S - time.monotonic())):
                return

    def _change(self, number: int, name: str, body: dict[str, Any]) -> Change:
        advertiser, _, campaign = name.partition("/")
        changed, rates = _rebid(name, body, number % _STEPS)
        sent_ms = now_ms()
        try:
            status, answer = self._put(f"/v1/advertisers/{advertiser}/campaigns/{campaign}", changed)
            received_ms = now_ms_up()
            live_ms = self._seen_live(f"change {number}", received_ms) if status in (200, 201) else None
        except (OSError, Broken) as error:
            return Change(sent_ms, now_ms_up(), 0, name, rates, None, repr(error))
        return Change(sent_ms, received_ms, status, name, rates, live_ms, "" if live_ms else str(answer))

    def _seen_live(self, text: str, since_ms: int) -> int | None:
        """When the probe answered ``text`` for the first time; None: not soon."""
        self._accepted(f"/v1/advertisers/{_PROBE}/campaigns/probe", _probe(text))
        while now_ms() - since_ms < _GIVE_UP_MS:
            status, answer = self._server.call("POST", "/v1/decisions", _ASK)
            if status != 200:
                self.failed.append(f"a decision was answered {status} while campaigns changed: {answer}")
                return None
            ads = answer["decisions"][0]["ads"]
            if ads and ads[0]["creative"]["assets"]["title"] == text:
                return now_ms_up()
            time.sleep(_POLL_S)
        return None

    def _body(self, name: str) -> dict[str, Any]:
        advertiser, _, campaign = name.partition("/")
        path = f"/v1/advertisers/{advertiser}/campaigns/{campaign}"
        body: dict[str, Any] = self._server.call("GET", path, key=self._key)[1]
        return body

    def _accepted(self, path: str, body: dict[str, Any]) -> None:
        status, answer = self._put(path, body)
        if status not in (200, 201):
            raise Broken(f"PUT {path} was answered {status}: {answer}")

    def _put(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return self._server.call("PUT", path, body, self._key)


def _is_sold(campaign: Any) -> bool:
    """Whether a change of its bids can be seen."""
    return campaign.status == "active" and any(item.pricing.amount_micros for item in campaign.line_items)


def _rebid(name: str, body: dict[str, Any], step: int) -> tuple[dict[str, Any], dict[str, int]]:
    """The campaign with every bid (but those of 0) ``step`` millionths higher, and the new bids."""
    rates: dict[str, int] = {}
    items = []
    for item in body["line_items"]:
        pricing = item["pricing"]
        amount = money.parse_amount(pricing["amount"])
        if amount:
            pricing = {**pricing, "amount": money.format_micros(amount + step)}
            rates[f"{name}/{item['id']}"] = amount + step
        items.append({**item, "pricing": pricing})
    return {**body, "line_items": items}, rates


def _probe(text: str) -> dict[str, Any]:
    creative = {
        "id": "text", "format": "text", "size": "fluid", "advertiser_domain": "probe.example",
        "assets": {"title": text}, "landing_url": "https://probe.example/",
    }  # fmt: skip
    line_item = {
        "id": "probe", "priority": "house", "pricing": {"model": "cpm", "amount": "0.00"},
        "targeting": {"placements": [f"{_PUBLISHER}/probe"]}, "creatives": [creative],
    }  # fmt: skip
    return {"advertiser": _PROBE, "campaign": "probe", "currency": "EUR", "line_items": [line_item]}
