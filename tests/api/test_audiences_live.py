"""Retargeting and suppression: who is in an audience changes while the server serves."""

import time
from pathlib import Path
from typing import Any

import pytest
from live import LIVE_S, Live
from whole_server import CAMPAIGN, LINE_ITEM, PUBLISHER


@pytest.mark.slow
def test_who_joins_and_leaves_an_audience_is_known_at_once(tmp_path: Path) -> None:
    with Live(tmp_path / "data") as server:
        operator = f"Bearer {server.key()}"

        def put(path: str, body: Any) -> None:
            answer = server.call("PUT", path, body, authorization=operator)
            assert answer.status in (200, 201), answer.body

        def serving(user: str, consent: bool = True) -> set[str] | None:
            """None while the publisher itself is not live yet."""
            ask = {"publisher": "lumen", "placements": [{"id": "home-top", "count": 5}],
                   "user": {"id": user}, "consent": {"personalised": consent}}  # fmt: skip
            answer = server.post("/v1/decisions", ask)
            if answer.status == 400 and answer.json()["detail"] == "unknown publisher":
                return None
            return {ad["line_item"] for ad in answer.json()["decisions"][0]["ads"]}

        def becomes(user: str, wanted: set[str]) -> None:
            deadline = time.monotonic() + LIVE_S
            while serving(user) != wanted:
                assert time.monotonic() < deadline, (serving(user), wanted)
                time.sleep(0.02)

        buyers = "/v1/advertisers/acme/audiences/buyers"
        put("/v1/publishers/lumen", PUBLISHER)
        put("/v1/advertisers/acme", {"currency": "EUR", "timezone": "Europe/Paris"})
        put(buyers, {"user_space": "lumen", "users": ["u-1"]})
        again = {**LINE_ITEM, "id": "again", "targeting": {"audiences": ["buyers"]}}
        new = {**LINE_ITEM, "id": "new", "targeting": {"audiences": {"none": ["buyers"]}}}
        put("/v1/advertisers/acme/campaigns/ads", {**CAMPAIGN, "line_items": [again]})
        put("/v1/advertisers/acme/campaigns/others", {**CAMPAIGN, "line_items": [new]})

        becomes("u-1", {"again"})
        becomes("u-2", {"new"})
        put(buyers, {"user_space": "lumen", "users": ["u-2"]})
        becomes("u-1", {"new"})
        becomes("u-2", {"again"})
        put(buyers, {"user_space": "lumen", "users": []})
        becomes("u-2", {"new"})
        assert serving("u-2", consent=False) == {"new"}, "nobody is recognised, so nobody is left out"
