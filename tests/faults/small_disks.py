"""Disks that fill up under a server, and a world to serve from them."""

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kills import campaign, line_item, publisher, world
from live import Live

DEADLINE_S = 10.0


@contextmanager
def mounted(path: Path, size: str) -> Iterator[None]:
    """A file system of so many bytes at ``path``; skips where that is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small file system here; the limit on file sizes covers the rest")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def grow(path: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(path)], check=True)


def bound(server: Live, size: int) -> None:
    """No file of the server's grows beyond ``size`` bytes from now on."""
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def until(done: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def small_world(folder: Path) -> Path:
    house = {"id": "house", "priority": "house", "pricing": {"model": "cpm", "amount": "0.00"}}
    house["creatives"] = [{**line_item(id="house")["creatives"][0], "size": "728x90"}]
    paid = {"id": "paid", "frequency_caps": [{"limit": 200, "per": "1d"}]}
    owner = publisher()
    owner[1]["placements"] += [{"id": "bare", "surface": "page", "formats": ["image"], "sizes": ["300x250"]}]
    others = [(f"a{n}/c.json", {**campaign("c", [{"id": "x"}])[1], "advertiser": f"a{n}"}) for n in range(5)]
    return world(folder, owner, campaign("paid", [paid]), campaign("ours", [house]), *others)
