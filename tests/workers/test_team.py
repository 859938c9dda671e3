"""Workers that die, are renewed and ended, in real processes behind real sockets. Their app is small."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from leading import PROGRAM, Kept, Load, Parent, until
from live import LIVE_S
from processes import alive
from world import filled_publisher, publisher

from adserver.catalog.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def crew(data: Path) -> Iterator[Parent]:
    # A client that a busy machine holds up must not find its connection closed meanwhile.
    with Parent(data, 3, keep_alive_s=5) as crew:
        yield crew


def test_all_serve_on_one_port_and_all_end(crew: Parent) -> None:
    pids = crew.pids()
    assert len(pids) == 3
    seen = set()
    until(lambda: seen.add(crew.answering()) or seen == pids)
    assert crew.end() == 0
    assert not any(map(alive, pids))


def test_a_worker_that_is_killed_fails_what_it_had_in_hand_and_no_more(crew: Parent) -> None:
    before = crew.pids()
    with Load(crew.port, 12) as load:
        until(lambda: load.pids == before and load.answers > 500)
        (victim, *_) = before
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(load.pids) == 4)
        until(lambda: len(crew.up()) == 3)
    assert {pid for pid, _ in load.failures} <= {victim, 0}
    assert len(load.failures) <= 12, "each client had one request on its way at most"
    assert len(crew.pids() & before) == 2


def test_renewing_all_loses_no_request(crew: Parent) -> None:
    before = crew.pids()
    with Kept(crew.port) as idle, Load(crew.port, 12) as load:
        idle.ask()
        until(lambda: load.pids == before)
        crew.process.send_signal(signal.SIGHUP)
        until(lambda: len(load.pids) == 6 and not crew.pids() & before)
        until(lambda: len(crew.up()) == 3)
    assert load.failures == []
    assert "all workers were renewed" in crew.log.read_text()


def test_a_program_that_cannot_be_read_replaces_nobody(crew: Parent) -> None:
    before = crew.pids()
    (crew.data / "unread").touch()
    crew.process.send_signal(signal.SIGHUP)
    until(lambda: "all serve on as before" in crew.log.read_text())
    assert crew.pids() == before
    (crew.data / "unread").unlink()
    crew.process.send_signal(signal.SIGHUP)
    until(lambda: "all workers were renewed" in crew.log.read_text())
    assert not crew.pids() & before


def test_a_worker_that_cannot_begin_again_is_tried_until_it_can(crew: Parent) -> None:
    (crew.data / "unfit-1").write_text("the disk is gone")
    for pid in crew.pids():
        os.kill(pid, signal.SIGKILL)
    until(lambda: crew.up() == [0, 2] and "the disk is gone" in crew.log.read_text())
    assert {crew.answering() for _ in range(30)} <= crew.pids()
    (crew.data / "unfit-1").unlink()
    until(lambda: crew.up() == [0, 1, 2])


def test_workers_do_not_outlive_their_parent(crew: Parent) -> None:
    pids = crew.pids()
    crew.process.kill()
    until(lambda: not any(map(alive, pids)), within_s=10)


def test_ctrl_c_ends_them_in_order(crew: Parent) -> None:
    """A terminal tells every process."""
    for pid in crew.pids():
        os.kill(pid, signal.SIGINT)
    assert crew.end(signal.SIGINT) == 0
    assert crew.log.read_text().count("Finished server process") == 3
    assert "ended" not in crew.log.read_text(), "nobody was missed"


def test_any_worker_tells_the_numbers_of_all(crew: Parent) -> None:
    pids, asked = set[int](), 0
    while len(pids) < 3 or asked < 20:
        pids.add(crew.answering())
        asked += 1
    assert [crew.decisions() for _ in range(10)] == [asked] * 10
    asked += len([crew.answering() for _ in range(10)])
    crew.process.send_signal(signal.SIGHUP)
    until(lambda: "all workers were renewed" in crew.log.read_text())
    assert crew.decisions() == asked, "who ends in order tells all it has counted"
    for pid in crew.pids():
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(crew.up()) == 3)
    assert crew.decisions() == asked, "what was shown is not taken back"
    crew.answering()
    found = crew.metrics()
    assert found["adserver_decision_seconds_count"] == asked + 1
    assert [found[f'adserver_worker_starts_total{{worker="{k}"}}'] for k in range(3)] == [3, 3, 3]


def test_a_change_is_live_in_all_and_in_who_comes_after(crew: Parent) -> None:
    with closing(Store(crew.data / "catalog.sqlite", lambda space, user: bytes(16))) as store:
        revision = store.put("publisher", "gazette", filled_publisher(publisher())).revision
    live, before = set[int](), crew.pids()

    def asked() -> bool:
        with Kept(crew.port) as kept:
            pid, found = kept.ask()
        if found == revision:
            live.add(pid)
        return before <= live

    until(asked, LIVE_S)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(crew.up()) == 3)
    with Kept(crew.port) as kept:
        assert kept.ask()[1] == revision


@pytest.mark.parametrize("number", [0, 2])
def test_one_that_cannot_serve_at_all_ends_them_with_its_reason(data: Path, number: int) -> None:
    (data / f"unfit-{number}").write_text("the books are closed")
    crew = Parent(data, 3)
    crew.start()
    assert crew.process.wait(30) == 1
    assert crew.log.read_text().endswith("adserver: the books are closed\n")
    assert crew.pids() == set()


def test_damaged_secrets(data: Path) -> None:
    (data / "secrets.json").write_text("{")
    crew = Parent(data, 2)
    crew.start()
    assert crew.process.wait(30) == 1
    assert "secrets.json is damaged" in crew.log.read_text()


def test_a_port_in_use(crew: Parent, tmp_path: Path) -> None:
    """Also by another that would share it."""
    other = tmp_path / "other"
    arguments = [str(other), str(crew.port), "2", "75", "", "fake_worker"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert done.stderr.endswith(f"127.0.0.1:{crew.port} cannot be used: Address already in use\n")
    assert not other.exists()
