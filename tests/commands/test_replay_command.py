"""``adserver replay`` beside a real server: what it prints, its exit codes, and wrong input."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Live, written
from test_cli import run, wrong
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.domain import ids
from adserver.ledger import segments
from adserver.ledger.cursor import Cursor
from adserver.ledger.files import segment_path

pytestmark = pytest.mark.slow

REQUEST = {"placements": [{"id": "top"}], "user": {"id": "u-1"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("replay")
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/a.json": filled_campaign(
            campaign("acme/a", {"id": "l", "pricing": {"model": "cpm", "amount": "3.00"}})
        ),
    }
    with Live(folder / "data", written(folder / "campaigns", documents)) as live:
        yield live


def test_beside_a_running_server(server: Live) -> None:
    answer = server.post("/v1/decisions", REQUEST).json()
    (ad,) = answer["decisions"][0]["ads"]
    done = run("replay", ad["event_id"], "--data", server.data)
    assert (done.returncode, done.stderr) == (0, "")
    head, place, sold, outcome = done.stdout.splitlines()
    assert head.startswith(f"{answer['request_id']}: revision ")
    assert place == "  top: 1 served"
    assert sold == "    acme/a/l at 0.003 (cpm)"
    assert outcome.startswith("identical ")


def test_as_json_and_by_the_id_of_the_request(server: Live) -> None:
    answer = server.post("/v1/decisions", REQUEST).json()
    done = run("replay", answer["request_id"], "--data", server.data, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["outcome"]) == (0, "identical")
    (ad,) = told["placements"][0]["ads"]
    assert ad["event_id"] == answer["decisions"][0]["ads"][0]["event_id"]


def test_an_erased_one_is_told(server: Live) -> None:
    answer = server.post("/v1/decisions", {**REQUEST, "user": {"id": "u-2"}}).json()
    erase_last(server.data / "journal")
    done = run("replay", answer["request_id"], "--data", server.data)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1].startswith("erased ")
    assert "the personal part of its record was erased" in done.stdout


def erase_last(journal: Path) -> None:
    cursor = Cursor(journal, 1)
    frame = [frame for frame in cursor.frames() if frame.secret][-1]
    cursor.close()
    with segment_path(journal, 1).open("r+b") as file:
        file.seek(frame.start + segments.FRAME_HEAD_BYTES)
        file.write(bytes(len(frame.secret)))


def test_an_id_that_the_journal_does_not_have(server: Live) -> None:
    nobody = ids.encode(ids.mint(1_780_315_200_000, 1, 1))
    assert f"the journal has no decision or ad {nobody}" in wrong("replay", nobody, "--data", server.data)


def test_an_id_in_lower_case_is_the_same(server: Live) -> None:
    answer = server.post("/v1/decisions", REQUEST).json()
    assert run("replay", answer["request_id"].lower(), "--data", server.data).returncode == 0


def test_wrong_input_is_one_line(server: Live, tmp_path: Path) -> None:
    assert "Missing argument 'EVENT_ID'" in wrong("replay")
    assert "is not a letter of an id" in wrong("replay", "U" * 26, "--data", server.data)
    assert "has no journal" in wrong("replay", "0" * 26, "--data", tmp_path)
