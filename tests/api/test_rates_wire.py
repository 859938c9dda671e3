"""``/v1/rates`` against a real server: operators', live within 2 s."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from live import LIVE_S, Live
from world import campaign, filled_campaign, filled_publisher, publisher

pytestmark = pytest.mark.slow

PATH = "/v1/rates"
_DAYS = [time.strftime("%Y-%m-%d", time.gmtime(time.time() + ahead * 86_400)) for ahead in (-1, 0, 1)]
"""Tomorrow too: it may be midnight before they are asked for."""
TODAY = _DAYS[1]
RATES: dict[str, Any] = {"base": "EUR", "rates": {day: {"USD": "1.25"} for day in _DAYS}}


def test_rates_by_upload(tmp_path: Path) -> None:
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/a.json": filled_campaign(campaign("acme/a", currency="USD")),
    }
    for name, document in documents.items():
        (tmp_path / "campaigns" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "campaigns" / name).write_text(json.dumps(document))
    with Live(tmp_path / "data", tmp_path / "campaigns") as server:
        ask = {"placements": [{"id": "top"}]}
        assert server.decide(ask)["decisions"][0]["no_fill"] == "currency"
        operator = f"Bearer {server.key()}"
        for owner in ("advertiser", "publisher"):
            name = "acme" if owner == "advertiser" else "gazette"
            other = f"Bearer {server.key(owner, f'--{owner}', name)}"
            assert server.call("PUT", PATH, RATES, authorization=other).status == 404
            assert server.get(PATH, authorization=other).status == 404
        assert server.get(PATH, authorization=operator).status == 404
        wrong = {"base": "EUR", "rates": {TODAY: {"USD": 1.25}}}
        answer = server.call("PUT", PATH, wrong, authorization=operator)
        assert (answer.status, answer.json()["errors"][0]["path"]) == (400, f"rates.{TODAY}.USD")
        assert server.call("PUT", PATH, RATES, authorization=operator).status == 201
        assert server.get(PATH, authorization=operator).json() == RATES
        until = time.monotonic() + LIVE_S
        while not server.decide(ask)["decisions"][0]["ads"]:
            assert time.monotonic() < until
        assert server.call("DELETE", PATH, authorization=operator).status == 204
        while server.decide(ask)["decisions"][0]["no_fill"] != "currency":
            assert time.monotonic() < until + LIVE_S
