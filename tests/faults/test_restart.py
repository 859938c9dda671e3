"""What a restart finds: everything answered, whether the server was stopped, killed, or had a checkpoint."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kills import campaign, line_item, publisher, request, world
from live import LIVE_S, Live

from adserver import recovery
from adserver.domain.books import Position
from adserver.ledger.verify import verify

CAPPED = [
    {"id": "capped", "frequency_caps": [{"limit": 3, "per": "1d"}]},
    {"id": "rest", "pricing": {"model": "cpm", "amount": "1.00"}, "budget": {"lifetime": "2.00"}},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    owner = publisher()
    other = campaign("other", [{"id": "elsewhere", "pricing": {"model": "cpm", "amount": "0.50"}}])
    return world(tmp_path / "world", owner, campaign("capped", CAPPED), other)


def feed(page: int, session: str = "s-1") -> dict:
    entry = {"id": "feed", "feed": {"id": "main", "page": page, "organic_count": 20}}
    return {"placements": [entry], "session": session}


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill9", "stop"])
def test_caps_pages_repeats_and_spend_survive(tmp_path: Path, folder: Path, end: str) -> None:
    with Live(tmp_path / "data", folder) as server:
        shown = [ad for _ in range(2) for ad in server.decide(request("u-1"))["decisions"][0]["ads"]]
        assert [ad["line_item"] for ad in shown] == ["capped", "capped"]
        assert server.get(shown[0]["impression_url"]).headers["x-adserver-event"] == "accepted"
        pages = [server.decide(feed(page))["decisions"][0] for page in range(3)]
        server.decide({**request("u-2"), "id": "once"})
        asked_once = server.post("/v1/decisions", {**request("u-2"), "id": "once"}).body
        key = server.key()
        path = "/v1/advertisers/brook/campaigns/capped/delivery"
        delivered = server.get(path, authorization=f"Bearer {key}").json()

        getattr(server, end)()
        server.start()

        assert server.get(path, authorization=f"Bearer {key}").json() == delivered
        assert server.get(shown[0]["impression_url"]).headers["x-adserver-event"] == "duplicate"
        assert server.get(shown[1]["impression_url"]).headers["x-adserver-event"] == "accepted"
        third, fourth = (server.decide(request("u-1"))["decisions"][0]["ads"] for _ in range(2))
        assert [ad["line_item"] for ad in (*third, *fourth)] == ["capped", "rest"]
        assert [server.decide(feed(page))["decisions"][0] for page in range(3)] == pages
        assert server.post("/v1/decisions", feed(5)).status == 409
        assert server.post("/v1/decisions", {**request("u-2"), "id": "once"}).body == asked_once
        server.stop()
    assert verify(tmp_path / "data", report=lambda line: None) == []


@pytest.mark.slow
def test_a_checkpoint_is_renewed_while_serving_and_holds_what_the_journal_holds(
    tmp_path: Path, folder: Path
) -> None:
    data = tmp_path / "data"
    with Live(data, folder, None, "--segment-bytes", "65536") as server:
        for number in range(600):
            server.decide(request(f"u-{number % 50}"))
        deadline = time.monotonic() + 30
        while not (data / recovery.FILE).exists():
            assert time.monotonic() < deadline, "no checkpoint was written"
            time.sleep(0.05)
        server.kill9()
        whole, _ = _without_checkpoint(data)
        behind, trouble = recovery.recover(data, Position(1 << 30))
        assert trouble is None
        for states in (whole, behind):
            states.hot.sweep(2**62)
        assert whole.exposures.dump() == behind.exposures.dump()
        assert whole.budgets.dump() == behind.budgets.dump()
        server.start()
        # u-1 has had its three of the capped one, and gets no fourth.
        assert server.decide(request("u-1"))["decisions"][0]["ads"][0]["line_item"] == "rest"


def _without_checkpoint(data: Path) -> tuple[recovery.States, Exception | None]:
    kept = (data / recovery.FILE).read_bytes()
    (data / recovery.FILE).unlink()
    try:
        return recovery.recover(data, Position(1 << 30))
    finally:
        (data / recovery.FILE).write_bytes(kept)


@pytest.mark.slow
def test_a_useless_checkpoint_costs_time_only(tmp_path: Path, folder: Path) -> None:
    with Live(tmp_path / "data", folder) as server:
        for _ in range(3):
            server.decide(request("u-1"))
        server.stop()
        (tmp_path / "data" / recovery.FILE).write_bytes(b"not a checkpoint")
        server.start()
        assert server.decide(request("u-1"))["decisions"][0]["ads"][0]["line_item"] == "rest"


def becomes_live(is_live: Callable[[], bool]) -> None:
    """Asked now and then, for the builder needs the same processors."""
    deadline = time.monotonic() + LIVE_S
    while not is_live():
        assert time.monotonic() < deadline, "the change was not live in time"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_change_is_live_soon_and_survives_a_restart(tmp_path: Path, folder: Path) -> None:
    with Live(tmp_path / "data", folder) as server:
        bearer = f"Bearer {server.key()}"

        def shown() -> str:
            line_item: str = server.decide(request(None))["decisions"][0]["ads"][0]["line_item"]
            return line_item

        document = campaign("late", [line_item(id="late", pricing={"model": "cpm", "amount": "9.00"})])[1]
        put = server.call("PUT", "/v1/advertisers/brook/campaigns/late", document, authorization=bearer)
        assert put.status == 201
        becomes_live(lambda: shown() == "late")
        server.restart()
        assert shown() == "late"
        gone = server.call("DELETE", "/v1/advertisers/brook/campaigns/late", authorization=bearer)
        assert gone.status == 204
        becomes_live(lambda: shown() != "late")
        # The file was not changed since it was applied, so a start with it brings nothing back.
        server.restart()
        assert shown() != "late"
