"""Several processes and sudden ends: a change is there whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from hashlib import blake2b
from pathlib import Path
from typing import IO

import pytest

from adserver.catalog.store import Store
from adserver.databases import Database, Place

CHILD = """
import sys
from hashlib import blake2b
from pathlib import Path
from adserver.databases import Database
from adserver.catalog.folder import read_folder
from adserver.catalog.store import Store

url, _, schema = sys.argv[1].partition(" ")
place = Database(url, schema) if schema else Path(url)
store = Store(place, lambda space, user: blake2b(user.encode(), digest_size=16).digest())
{work}
"""
APPLY = """
folder = Path(sys.argv[2])
for level in range(1, 1000):
    for path in folder.glob("*/c*.yaml"):
        text = path.read_text()
        head, _, tail = text.partition("level: ")
        path.write_text(head + f"level: {1 + level % 10}" + tail[tail.index("\\n"):])
    print("begin", flush=True)
    store.apply(read_folder(folder))
    print("done", flush=True)
"""
PUT = """
name = sys.argv[2]
print("begin", flush=True)
for number in range(20):
    campaign = f"{name}{number}"
    line = {"id": "l", "priority": "house", "pricing": {"model": "cpm", "amount": "0.00"}}
    body = {"currency": "EUR", "line_items": [line]}
    store.put("campaign", f"voyages/{campaign}", body)
"""
TURNS = 12
CAMPAIGN = """advertiser: voyages
campaign: {name}
currency: EUR
line_items:
  - id: only
    priority: house
    level: 5
    pricing: {{model: cpm, amount: "0.00"}}
"""


def pseudonymise(_space: str, user: str) -> bytes:
    return blake2b(user.encode(), digest_size=16).digest()


def start(work: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD.replace("{work}", work), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def until(lines: IO[str], said: str) -> None:
    for line in lines:
        if line == f"{said}\n":
            return


def told(place: Place) -> str:
    """For the child, in one argument."""
    return f"{place.url} {place.schema}" if isinstance(place, Database) else str(place)


@pytest.mark.slow
def test_processes_write_at_once_and_give_each_serial_once(place: Place) -> None:
    store = Store(place, pseudonymise)
    children = [start(PUT, told(place), name) for name in ("a", "b")]
    assert [child.wait(60) for child in children] == [0, 0]
    for child in children:
        assert child.stdout is not None
        child.stdout.close()
    catalogue = store.load()
    assert catalogue.revision == store.revision() == 40
    assert len({campaign.serial for campaign in catalogue.campaigns}) == 40
    assert len({campaign.line_items[0].serial for campaign in catalogue.campaigns}) == 40
    store.close()


@pytest.mark.slow
def test_a_kill_in_the_middle_of_apply_leaves_all_or_nothing(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "campaigns"
    (folder / "voyages").mkdir(parents=True)
    for number in range(60):
        name = f"c{number}"
        (folder / "voyages" / f"{name}.yaml").write_text(CAMPAIGN.format(name=name), encoding="utf-8")
    seen = set()
    for turn in range(TURNS):
        child = start(APPLY, told(place), folder)
        assert child.stdout is not None
        until(child.stdout, "begin")
        if turn:
            # The moment is spread over the length of an apply, by turn and not by chance.
            began = time.monotonic()
            until(child.stdout, "done")
            took_s = time.monotonic() - began
            until(child.stdout, "begin")
            time.sleep(took_s * turn / TURNS)
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        store = Store(place, pseudonymise)
        catalogue = store.load()
        levels = {campaign.line_items[0].level for campaign in catalogue.campaigns}
        assert (len(catalogue.campaigns), len(levels)) in ((0, 0), (60, 1))
        seen.add(catalogue.revision)
        store.close()
    assert len(seen) > 1
