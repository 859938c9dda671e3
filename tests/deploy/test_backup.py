"""What the runbook says of copies and keys, done to a server that is asked for ads meanwhile."""

import json
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from live import BROWSER, REPOSITORY, Live
from visitors import CAMPAIGNS, Load, question

from adserver.catalog.keys import Keys
from adserver.catalog.secrets import load
from adserver.ledger.writer import LedgerWriter

pytestmark = pytest.mark.slow

BACKUP = REPOSITORY / "deploy" / "backup"


def run(*command: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(data: Path, copy: Path) -> str:
    """The one line that is said."""
    done = subprocess.run([sys.executable, BACKUP, data, copy], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr


def test_a_copy_of_a_running_server_is_whole(tmp_path: Path) -> None:
    copies = [tmp_path / f"copy-{number}" for number in range(3)]
    with Live(tmp_path / "data", CAMPAIGNS, None, "--segment-bytes", "65536") as server:
        with Load(server.port, 4) as load:
            for number, copy in enumerate(copies, 1):
                load.until(number * 500)
                run(BACKUP, server.data, copy)
        assert not load.failed
        assert len([*copies[-1].glob("journal/*.seg")]) >= 3
    for copy in copies:
        assert "no differences" in run("-m", "adserver", "verify", "--data", copy)
        assert copy.stat().st_mode & 0o077 == 0


def test_a_copy_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """Whatever ends it before, also on a folder that is no server's, and whoever else copies there."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    LedgerWriter(data / "ledger.sqlite").close()
    assert "unable to open" in refused(data, copy), "there is no catalogue"
    assert not copy.exists()
    (tmp_path / "copy.partial").mkdir()
    assert "copy.partial" in refused(data, copy), "another one is at it"
    (tmp_path / "copy.partial").rmdir()
    Keys(data / "catalog.sqlite").close()
    load(data)
    run(BACKUP, data, copy)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "copy"}
    assert "is there already" in refused(data, copy)


def test_a_copy_serves_and_knows_what_was_shown_before(tmp_path: Path) -> None:
    with Live(tmp_path / "data", CAMPAIGNS) as server:
        [shown, waiting, *_] = [ad for each in server.decide(question())["decisions"] for ad in each["ads"]]
        assert server.get(shown["impression_url"]).headers["x-adserver-event"] == "accepted"
        run(BACKUP, server.data, tmp_path / "copy")
    with Live(tmp_path / "copy", CAMPAIGNS) as server:
        told = {
            name: server.get(ad["impression_url"]).headers
            for name, ad in (("shown", shown), ("waiting", waiting))
        }
        assert told["shown"]["x-adserver-event"] == "duplicate"
        assert told["waiting"]["x-adserver-event"] == "accepted"
        assert server.stop() == 0
    assert "no differences" in run("-m", "adserver", "verify", "--data", tmp_path / "copy")


def test_a_journal_that_is_older_than_its_ledger_is_refused(tmp_path: Path) -> None:
    with Live(tmp_path / "data", CAMPAIGNS) as server:
        with Load(server.port, 1) as load:
            load.until(10)
        run(BACKUP, server.data, tmp_path / "older")
        with Load(server.port, 1) as load:
            load.until(10)
        assert server.stop() == 0
        run(BACKUP, server.data, tmp_path / "newer")
    shutil.copy(tmp_path / "newer" / "ledger.sqlite", tmp_path / "older")
    refused = pytest.raises(RuntimeError, match="they are not of one time; put back a whole copy")
    with refused, Live(tmp_path / "older", CAMPAIGNS):
        pass


def test_a_new_signing_key_and_the_old_urls(tmp_path: Path) -> None:
    with Live(tmp_path / "data", CAMPAIGNS) as server:
        [first, second, *_] = [ad for each in server.decide(question())["decisions"] for ad in each["ads"]]
        path = server.data / "secrets.json"
        kept = json.loads(path.read_text())
        assert kept["current"] == 1

        kept["signing"]["2"], kept["current"] = secrets.token_hex(32), 2
        path.write_text(json.dumps(kept))
        assert server.stop() == 0
        server.start()
        assert server.get(first["impression_url"]).headers["x-adserver-event"] == "accepted"

        del kept["signing"]["1"]
        path.write_text(json.dumps(kept))
        assert server.stop() == 0
        server.start()
        assert server.get(second["impression_url"], user_agent=BROWSER).status == 404
