"""The snapshot builder under a real server: killed, without room, stopped, given what it cannot read. The
last good snapshot serves on, and the server says so; what was changed becomes live when it can."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from kills import campaign, publisher, request, world
from live import REPOSITORY, Live
from processes import alive, workers_of
from servers.disks import grow, mounted
from servers.server import free_port
from small_disks import until

pytestmark = pytest.mark.slow

SWAP = "/v1/advertisers/brook/campaigns/swap"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return world(tmp_path / "world", publisher(), campaign("swap", [{"id": "v0"}]))


def put(server: Live, name: str) -> None:
    """Replace the line item by one of this name."""
    document = campaign("swap", [{"id": name}])[1]
    answer = server.call("PUT", SWAP, document, authorization=f"Bearer {server.key()}")
    assert answer.status == 200, answer.body


def shown(server: Live) -> str:
    (ad,) = server.decide({**request(None), "mode": "dry_run"})["decisions"][0]["ads"]
    name: str = ad["line_item"]
    return name


def shows(server: Live, name: str) -> Callable[[], bool]:
    return lambda: shown(server) == name


def failures(server: Live) -> float:
    lines = server.get("/metrics").body.decode().splitlines()
    (line,) = [line for line in lines if line.startswith("adserver_snapshot_build_failures_total ")]
    return float(line.split()[1])


def child_of(server: Live) -> int:
    """The builder's process, once there is one."""
    found = list[int]()
    until(lambda: found.extend(workers_of(server.pid, "adserver.building.child")) or found, "nobody builds")
    return found[0]


def test_a_builder_killed_again_and_again_loses_no_change(tmp_path: Path, folder: Path) -> None:
    with Live(tmp_path / "data", folder) as server:
        for number in range(1, 4):
            os.kill(child_of(server), signal.SIGSTOP)
            put(server, f"v{number}")
            assert shown(server) == f"v{number - 1}", "the last good snapshot serves on"
            os.kill(child_of(server), signal.SIGKILL)
            until(shows(server, f"v{number}"), "the change was lost with the builder")
        assert failures(server) >= 3
        assert server.stop() == 0


def test_a_disk_without_room_for_the_next_image(tmp_path: Path, folder: Path) -> None:
    data = tmp_path / "data"
    with mounted(data / "snapshots", "256k"), Live(data, folder) as server:
        ballast = data / "snapshots" / "ballast.partial"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4096)
        put(server, "v1")
        until(lambda: failures(server) > 0, "nobody said that there is no room")
        assert shown(server) == "v0"
        assert "no new snapshot" in server.log.read_text()
        grow(data / "snapshots", "64m")
        # Nobody changes anything: room alone must bring it back.
        until(shows(server, "v1"), "the change was given up")
        assert server.stop() == 0


def test_a_document_of_another_version_in_the_file(tmp_path: Path, folder: Path) -> None:
    data = tmp_path / "data"
    with Live(data, folder) as server:
        with closing(sqlite3.connect(data / "catalog.sqlite")) as file, file:
            file.execute("UPDATE catalogue SET revision = revision + 1")
            file.execute(
                "UPDATE objects SET body = ?, etag = 'other', "
                "revision = (SELECT revision FROM catalogue) WHERE kind = 'campaign'",
                (b'{"hologram":true}',),
            )
        until(lambda: failures(server) > 0, "nobody said that it cannot be built")
        assert shown(server) == "v0"
        server.kill9()
        with pytest.raises(RuntimeError, match="cannot be served: campaign brook/swap"):
            server.start()


def test_a_server_that_stops_while_it_builds(tmp_path: Path, folder: Path) -> None:
    with Live(tmp_path / "data", folder) as server:
        for end in ("stop", "kill9"):
            pid = child_of(server)
            put(server, f"last-{end}")
            if end == "stop":
                # As if it built for ever.
                os.kill(pid, signal.SIGSTOP)
                began = time.monotonic()
                assert server.stop() == 0
                assert time.monotonic() - began < 20, "it was waited for"
            else:
                server.kill9()
            until(lambda pid=pid: not alive(pid), "the builder outlived its server")
            server.start()
            assert shown(server) == f"last-{end}"


def test_a_server_that_waits_for_its_first_snapshot_can_be_stopped(folder: Path, tmp_path: Path) -> None:
    """A first build of a large catalogue takes a while; here it takes for ever."""
    for_ever = tmp_path / "for-ever"
    for_ever.write_text('#!/bin/sh\necho $$ > "$0.pid"\nexec sleep 600\n')
    for_ever.chmod(0o700)
    program = (
        "import sys, types; from adserver import children; from adserver.cli import main; "
        f"children.sys = types.SimpleNamespace(executable={str(for_ever)!r}); main()"
    )
    command = [sys.executable, "-c", program, "serve", "--campaigns", str(folder)]
    command += ["--data", str(tmp_path / "data"), "--port", str(free_port())]
    server = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        told = Path(f"{for_ever}.pid")
        until(lambda: told.is_file() and told.read_text().strip(), "no builder was started")
        builder = int(told.read_text())
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
    assert not Path(f"/proc/{builder}").exists()
