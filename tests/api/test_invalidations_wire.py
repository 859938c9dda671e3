"""``POST /v1/invalidations`` and ``adserver invalidate`` against a real server."""

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from live import LIVE_S, Live, written
from test_cli import run, wrong
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.api.invalidations import InvalidationReport, Refund

pytestmark = pytest.mark.slow

PATH = "/v1/invalidations"
UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("invalidations")
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/a.json": filled_campaign(campaign("acme/a", {"id": "l"})),
    }
    with Live(folder / "data", written(folder / "campaigns", documents)) as live:
        yield live


def ask(server: Live, body: object, *role: str) -> Any:
    return server.post(PATH, body, authorization=f"Bearer {server.key(*role)}")


def shown(server: Live) -> str:
    ad = server.decide({"placements": [{"id": "top"}]})["decisions"][0]["ads"][0]
    assert server.get(ad["impression_url"]).headers["x-adserver-billed"] == "true"
    event_id: str = ad["event_id"]
    return event_id


def test_taken_back_once_it_is_posted(server: Live) -> None:
    event_id, until = shown(server), time.monotonic() + LIVE_S
    while True:
        answer = ask(server, {"events": [event_id, UNKNOWN], "reason": "a farm"})
        assert answer.status == 200
        report = msgspec.json.decode(answer.body, type=InvalidationReport)
        assert [result.event_id for result in report.results] == [event_id, UNKNOWN]
        if report.results[0].invalidated:
            break
        assert time.monotonic() < until
    assert (report.results[0].invalidated, report.results[1].invalidated) == (["impression"], [])
    assert report.refunded == [Refund("EUR", 1000)]
    again = ask(server, {"events": [event_id], "reason": "a farm"}).json()
    assert again == {"results": [{"event_id": event_id, "invalidated": []}], "refunded": []}


@pytest.mark.parametrize(
    ("body", "role", "status"),
    [
        ({"events": [UNKNOWN], "reason": "a farm"}, ("advertiser", "--advertiser", "acme"), 403),
        ({"events": ["no id"], "reason": "a farm"}, ("operator",), 400),
        ({"events": [], "reason": "a farm"}, ("operator",), 400),
        ({"events": [UNKNOWN] * 1000, "reason": "a" * 200}, ("operator",), 200),
        ({"events": [UNKNOWN] * 1001, "reason": "a farm"}, ("operator",), 400),
        ({"events": [UNKNOWN], "reason": ""}, ("operator",), 400),
        ({"events": [UNKNOWN], "reason": "a" * 201}, ("operator",), 400),
        ({"events": [UNKNOWN]}, ("operator",), 400),
        ({"events": [UNKNOWN], "reason": "a farm", "kinds": ["click"]}, ("operator",), 400),
        (b"{", ("operator",), 400),
    ],
)
def test_who_may_and_how(server: Live, body: object, role: tuple[str, ...], status: int) -> None:
    assert ask(server, body, *role).status == status


def test_the_command(server: Live) -> None:
    def told(*more: object) -> "subprocess.CompletedProcess[str]":
        return run("invalidate", *more, "--reason", "a farm", "--url", server.url, ADSERVER_KEY=server.key())

    event_id, until = shown(server), time.monotonic() + LIVE_S
    while (done := told(event_id, UNKNOWN)).stdout.startswith(f"{event_id} nothing"):
        assert time.monotonic() < until
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{event_id} impression",
        f"{UNKNOWN} nothing to take back",
        "taken back: 1 impression; refunded: 0.001 EUR",
    ]


def test_wrong_input() -> None:
    assert "is not an event id" in wrong("invalidate", "x", "--reason", "y", ADSERVER_KEY="k")
    assert "no event ids" in wrong("invalidate", "", "--reason", "y", ADSERVER_KEY="k")
    assert "a key is needed" in wrong("invalidate", UNKNOWN, "--reason", "y")
    assert "--reason" in wrong("invalidate", UNKNOWN, ADSERVER_KEY="k")
