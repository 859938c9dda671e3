"""The whole server in a process of its own, spoken to as the small one is."""

import io
import json
import os
import time
from pathlib import Path
from typing import Any

from live import LIVE_S, Live
from small_server import LETTERS, Wire

PUBLISHER = {
    "currency": "EUR",
    "timezone": "Europe/Paris",
    "placements": [{"id": "home-top", "surface": "page", "formats": ["native"]}],
}
CREATIVE = {
    "id": "a",
    "format": "native",
    "advertiser_domain": "good.example",
    "landing_url": "https://good.example/",
    "assets": {"title": "t", "body": "b"},
}
LINE_ITEM = {
    "id": "a",
    "priority": "house",
    "pricing": {"model": "cpm", "amount": "0.00"},
    "targeting": {"placements": ["lumen/home-top"]},
    "creatives": [CREATIVE],
}
CAMPAIGN = {"currency": "EUR", "timezone": "Europe/Paris", "line_items": [LINE_ITEM]}


class WholeWire(Wire):
    """Over a server just started: uploads what tokens can be made of. Its log holds repeats back."""

    def __init__(self, live: Live) -> None:
        super().__init__(live.port, None, io.StringIO(), live.key())  # type: ignore[arg-type]
        self.live = live
        self.every_line = False
        for path, body in (
            ("/v1/publishers/lumen", PUBLISHER),
            ("/v1/advertisers/acme", {"currency": "EUR", "timezone": "Europe/Paris"}),
            ("/v1/advertisers/acme/campaigns/ads", CAMPAIGN),
        ):
            answer = live.call("PUT", path, body, authorization=f"Bearer {self.operator_key}")
            assert answer.status == 201, answer.body
        self.acme_key = live.key("advertiser", "--advertiser", "acme")
        self.lumen_key = live.key("publisher", "--publisher", "lumen")
        deadline = time.monotonic() + 3 * LIVE_S
        while not self._ads():
            assert time.monotonic() < deadline, "what was uploaded is not live"
            time.sleep(0.02)

    def token(self, kind: str) -> str:
        [ad] = self._ads()
        urls = {**ad, **{f"{name}_url": url for name, url in ad["events"].items()}}
        path = urls[f"{kind}_url"].partition(f"/{LETTERS[kind]}/")
        return str(path[2])

    def busy_s(self) -> float:
        stat = Path(f"/proc/{self.live.pid}/stat").read_text(encoding="ascii")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.live.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.live.log.read_text().splitlines()]

    def _ads(self) -> list[dict[str, Any]]:
        ask = {"publisher": self.publisher, "placements": [{"id": self.placement}], "session": "s"}
        while (slot := self.decide(ask).json["decisions"][0])["no_fill"] == "overloaded":
            pass  # the machine has other things to do
        ads: list[dict[str, Any]] = slot["ads"]
        return ads
