"""``POST /v1/conversions`` against a real server: by whom, one by one, many at once, and after a kill."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from live import Live, written
from test_cli import run
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.api.conversions import ConversionResults
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow

PATH = "/v1/conversions"
ACME = ("advertiser", "--advertiser", "acme")
CPA = {"model": "cpa", "amount": "2.00"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("conversions")
    with started(folder) as live:
        yield live


def started(folder: Path) -> Live:
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/a.json": filled_campaign(campaign("acme/a", {"id": "l", "pricing": CPA})),
        "bolt/b.json": filled_campaign(campaign("bolt/b", {"id": "l", "status": "paused"})),
    }
    return Live(folder / "data", written(folder / "campaigns", documents))


def ask(server: Live, body: object, *role: str) -> Any:
    return server.post(PATH, body, authorization=f"Bearer {server.key(*(role or ACME))}")


def tell(server: Live, *told: dict[str, Any], role: tuple[str, ...] = ACME) -> list[Any]:
    answer = ask(server, {"conversions": list(told)}, *role)
    assert answer.status == 200, answer.body
    return list(msgspec.json.decode(answer.body, type=ConversionResults).results)


def clicked(server: Live, user: str | None = None) -> str:
    request: dict[str, Any] = {"placements": [{"id": "top"}]}
    if user is not None:
        request["user"] = {"id": user}
    ad = server.decide(request)["decisions"][0]["ads"][0]
    for name in ("impression_url", "click_url"):
        assert server.get(ad[name]).headers["x-adserver-event"] == "accepted"
    event_id: str = ad["event_id"]
    return event_id


def test_told_of_a_click(server: Live) -> None:
    shown = clicked(server)
    sale = {"id": "o-1", "type": "purchase", "click_id": shown, "value_micros": 59_000_000, "currency": "EUR"}
    answer = ask(server, {"conversions": [sale]}).json()
    event_id = answer["results"][0].pop("event_id")
    assert len(event_id) == 26
    assert answer == {
        "results": [{"id": "o-1", "status": "attributed", "campaign": "a", "touch": "click", "billed": True}]
    }
    assert ask(server, {"conversions": [sale]}).json() == {"results": [{"id": "o-1", "status": "duplicate"}]}


def test_each_is_told_of_by_itself(server: Live) -> None:
    shown, now = clicked(server, "u-1"), datetime.now(UTC)
    told: list[tuple[dict[str, Any], str, str]] = [
        ({"id": "e-1", "user": "u-1", "at": now.isoformat()}, "attributed", ""),
        ({"id": "e-1", "user": "u-1"}, "duplicate", ""),
        ({"id": "e-2", "user": "u-2"}, "unattributed", ""),
        ({"id": "e-3", "user": "u-2", "at": (now - timedelta(days=8)).isoformat()}, "late", ""),
        ({"id": "e-4", "user": "u-2", "at": (now + timedelta(hours=1)).isoformat()}, "invalid", "future"),
        ({"id": "e-5", "user": "u-2", "at": "2026-11-22T10:00:00"}, "invalid", "at: "),
        ({"id": "e-6"}, "invalid", "one of click_id, user and email_sha256"),
        ({"id": "e-7", "click_id": "of another server"}, "unattributed", ""),
        ({"id": "e-8", "click_id": "of another server", "user": "u-1", "currency": None}, "attributed", ""),
        ({"id": "e-9", "email_sha256": "a@b.example"}, "invalid", "64 hexadecimal digits"),
        ({"id": "e-a", "email_sha256": "AB" * 32}, "unattributed", ""),
        ({"id": "e-b", "user": "u-1", "value_micros": 1}, "invalid", "currency"),
        ({"id": "e-c", "user": "u-1", "value_micros": 1.5, "currency": "EUR"}, "invalid", "value_micros: "),
        ({"id": "e-d", "user": "u-1", "value_micros": -1, "currency": "EUR"}, "invalid", "value_micros: "),
        ({"id": "e-e", "user": "u-1", "currency": "euro"}, "invalid", "three letters"),
        ({"id": "e-f", "user": "u-1", "user_space": "nobodys"}, "invalid", "user_space"),
        ({"id": "e-g", "user": "u-1", "user_space": "gazette", "order_id": "7"}, "attributed", ""),
        ({"id": "e-h\n", "user": "u-1"}, "invalid", "control characters"),
        ({"id": "", "user": "u-1"}, "invalid", "id: "),
        ({"id": "x" * 129, "user": "u-1"}, "invalid", "id: "),
        ({"id": "e-i", "user": "u-1", "vlaue_micros": 5}, "invalid", "unknown field `vlaue_micros`"),
        ({"user": "u-1"}, "invalid", "missing required field `id`"),
    ]  # fmt: skip
    results = tell(server, *(one for one, _, _ in told))
    assert [result.status for result in results] == [status for _, status, _ in told]
    for result, (one, _, said) in zip(results, told, strict=True):
        assert result.id == one.get("id", "")[:128]
        assert said in (result.message or ""), result
    assert shown


def test_what_is_not_even_an_object_is_told_of_too(server: Live) -> None:
    answer = ask(server, {"conversions": [7, {"id": "n-1", "user": "u-9"}]}).json()
    assert [one["status"] for one in answer["results"]] == ["invalid", "unattributed"]


def test_others_are_owed_nothing(server: Live) -> None:
    named = {"id": "i-1", "click_id": clicked(server)}
    (other,) = tell(server, named, role=("advertiser", "--advertiser", "bolt"))
    assert (other.status, other.campaign) == ("unattributed", None)
    assert tell(server, named)[0].status == "attributed"


@pytest.mark.parametrize(
    ("body", "role", "status"),
    [
        ({"conversions": [{"id": "w", "user": "u"}]}, ("operator",), 403),
        ({"conversions": [{"id": "w", "user": "u"}]}, ("publisher", "--publisher", "gazette"), 403),
        ({"conversions": [{"id": "w", "user": "u"}]}, ("advertiser", "--advertiser", "nobody"), 404),
        ({"conversions": []}, ACME, 400),
        ({"conversions": [{"id": "w", "user": "u"}] * 1000}, ACME, 200),
        ({"conversions": [{"id": "w", "user": "u"}] * 1001}, ACME, 400),
        ({}, ACME, 400),
        ({"conversions": [{"id": "w", "user": "u"}], "dry_run": True}, ACME, 400),
        (b"{", ACME, 400),
    ],
)
def test_who_may_and_how(server: Live, body: object, role: tuple[str, ...], status: int) -> None:
    assert ask(server, body, *role).status == status


def test_without_a_key(server: Live) -> None:
    assert server.post(PATH, {"conversions": [{"id": "w", "user": "u"}]}).status == 401


def test_it_is_documented_and_measured(server: Live) -> None:
    documented = server.get("/openapi.json").json()["paths"][PATH]["post"]
    assert {"200", "400", "403", "404", "503"} <= documented["responses"].keys()
    told = {"id": "measured", "click_id": clicked(server)}
    tell(server, told)
    tell(server, told)
    exposition = server.get("/metrics").body.decode()
    assert 'adserver_conversions_total{status="duplicate"}' in exposition
    assert "adserver_touches_dropped 0.0" in exposition


def test_the_command(server: Live, tmp_path: Path) -> None:
    def told(name: str, text: str) -> "subprocess.CompletedProcess[str]":
        file = tmp_path / name
        file.write_text(text)
        return run("convert", file, "--url", server.url, ADSERVER_KEY=server.key(*ACME))

    shown = clicked(server)
    lines = [{"id": f"c-{number}", "click_id": shown} for number in range(1001)]
    done = told("sales.ndjson", "\n".join(map(json.dumps, lines)) + "\n\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1001 attributed\n", "")
    rows = f"id,click_id,user,value_micros,currency\nc-1,{shown},,,\nd-1,,u-9,5000000,EUR\nd-2,,,x,EUR\n"
    done = told("sales.csv", rows)
    assert (done.returncode, done.stdout) == (1, "1 duplicate, 1 invalid, 1 unattributed\n")
    assert done.stderr.startswith("line 4: d-2 is invalid: ")
    done = told("shifted.csv", "id,user,user_space\ne-1,Smith, John,lumen\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "line 2 has more cells than the line of names" in done.stderr
    assert "line 1 is not JSON" in told("sales.ndjson", "{").stderr
    assert "cannot be read" in run("convert", tmp_path / "none.csv", ADSERVER_KEY="k").stderr


def test_told_by_many_at_once_and_again_after_a_kill(tmp_path: Path) -> None:
    """Each is counted once: by the answers, by the books, and whoever is asked later."""
    server = started(tmp_path)
    with server:
        shown = [clicked(server) for _ in range(10)]
        told = [{"id": f"o-{number}", "click_id": shown[number % 10]} for number in range(50)]
        with ThreadPoolExecutor(8) as threads:
            batches = threads.map(lambda _: tell(server, *told), range(16))
            counts = Counter(result.status for batch in batches for result in batch)
        assert counts == {"attributed": 50, "duplicate": 15 * 50}
        server.restart()
        assert {result.status for result in tell(server, *told)} == {"duplicate"}
    assert verify(tmp_path / "data", lambda line: None) == []
