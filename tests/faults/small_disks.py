"""Disks that fill up under a server, and a world to serve from them."""

import resource
import time
from collections.abc import Callable
from pathlib import Path

from kills import campaign, line_item, publisher, world
from live import Live

DEADLINE_S = 60.0


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
