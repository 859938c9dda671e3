"""Redis in every trouble there is, under load. No decision fails or waits for long; caps and feeds hold, and
nobody is held for more than they were shown; what was acknowledged counts once; and it is used again."""

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from kills import world
from live import Live
from passers import CLIENTS, DOCUMENTS, Passers, pass_through
from servers.proxy import FAIR, Proxy, Weather
from servers.redis_server import Redis
from servers.server import ground
from test_shared_state import known, soon

pytestmark = pytest.mark.slow


def missed(server: Live) -> float:
    """Questions that were not answered in time."""
    found = re.search(rb'missed_deadlines_total{whose="server"} (\S+)', server.get("/metrics").body)
    assert found is not None
    return float(found[1])


NOT_WAITED_S = 0.5
"""Twenty times the deadline, and nothing beside a hang that goes on until it is ended."""


class Trouble:
    """``server``: Redis, as asked by way of ``network``."""

    def __init__(self, server: Redis, network: Proxy) -> None:
        self.server = server
        self.network = network
        self.others: list[Redis] = []

    def killed(self, passers: Passers) -> None:
        self.server.kill9()
        passers.wait(100)
        self.server.start()

    def hung(self, passers: Passers) -> None:
        """Nobody waits for it. How many milliseconds the deadline makes of it on a quiet machine is measured
        by ``loadtests.bench_hanging``."""
        tries = [self.hang(passers) for _ in range(3)]
        assert min(tries) < NOT_WAITED_S, tries

    def hang(self, passers: Passers) -> float:
        """How much longer decisions take as it begins to hang than while it does: p99s, in seconds."""
        soon(lambda: known(passers.server))
        before = missed(passers.server)
        self.server.pause()
        struck = self.p99_s(passers, 300)
        assert missed(passers.server) - before <= 2 * CLIENTS, "whoever asked then, and nobody again"
        above = struck - self.p99_s(passers, 300)
        self.server.resume()
        return above

    def p99_s(self, passers: Passers, requests: int) -> float:
        """Of the next ones; a hundredth of them are fewer than there are clients."""
        before = len(passers.took_s)
        passers.wait(requests)
        took_s = sorted(passers.took_s[before:])
        return took_s[len(took_s) * 99 // 100 - 1]

    def slow(self, passers: Passers) -> None:
        self.during(passers, Weather(delay_s=0.015))

    def too_slow(self, passers: Passers) -> None:
        self.during(passers, Weather(delay_s=0.04))

    def late_now_and_then(self, passers: Passers) -> None:
        for _ in range(5):
            self.network.weather = Weather(delay_s=0.06)
            passers.wait(20)
            self.network.weather = FAIR
            passers.wait(60)

    def swallowing(self, passers: Passers) -> None:
        self.during(passers, Weather(swallow=5), 300)

    def cut(self, passers: Passers) -> None:
        for _ in range(5):
            self.network.cut()
            passers.wait(60)

    def dark(self, passers: Passers) -> None:
        self.during(passers, Weather(dark=True))

    def refused(self, passers: Passers) -> None:
        self.network.weather = Weather(refuse=True)
        self.network.cut()
        passers.wait(100)
        self.network.weather = FAIR

    def flushed(self, passers: Passers) -> None:
        for _ in range(3):
            self.server.ask("FLUSHALL")
            passers.wait(100)

    def emptied(self, passers: Passers) -> None:
        self.server.kill9()
        self.server.empty()
        self.server.start()

    def lost_the_end(self, passers: Passers) -> None:
        """As of some time ago: what an append-only file may be after a power cut."""
        folder = self.server.folder
        shutil.copytree(folder, folder.with_name("before"))
        passers.wait(200)
        self.server.kill9()
        self.server.empty()
        folder.with_name("before").rename(folder)
        self.server.start()

    def failed_over(self, passers: Passers) -> None:
        """To a replica that had not heard the last."""
        replica = Redis(self.server.folder.with_name("replica")).start()
        self.others.append(replica)
        with Proxy(self.server.port) as between:
            replica.follow(between.port)
            between.weather = Weather(dark=True)
            passers.wait(200)
            self.server.kill9()
            replica.promote()
        self.network.target = replica.port
        self.network.cut()

    def full(self, passers: Passers) -> None:
        self.server.configure("maxmemory", "1")
        passers.wait(200)
        self.server.configure("maxmemory", "0")

    def without_scripts(self, passers: Passers) -> None:
        self.server.ask("SCRIPT", "FLUSH")

    def during(self, passers: Passers, weather: Weather, requests: int = 150) -> None:
        self.network.weather = weather
        passers.wait(requests)
        self.network.weather = FAIR


@pytest.fixture
def trouble() -> Iterator[Trouble]:
    with ground() as path, Redis(path / "redis") as server, Proxy(server.port) as network:
        found = Trouble(server, network)
        try:
            yield found
        finally:
            for other in found.others:
                other.kill9()


Befalls = Callable[[Trouble, Passers], None]
TROUBLES: dict[str, list[Befalls]] = {
    "network": [Trouble.slow, Trouble.too_slow, Trouble.late_now_and_then, Trouble.dark, Trouble.refused],
    "answers": [Trouble.swallowing, Trouble.cut, Trouble.without_scripts, Trouble.full],
    "hung": [Trouble.hung],
    "memory": [Trouble.killed, Trouble.flushed, Trouble.emptied, Trouble.lost_the_end, Trouble.failed_over],
}


@pytest.mark.parametrize("name", TROUBLES)
def test_everybody_is_shown_what_their_caps_say(tmp_path: Path, trouble: Trouble, name: str) -> None:
    folder = world(tmp_path / "world", *DOCUMENTS)
    url = f"redis://127.0.0.1:{trouble.network.port}/0"
    with Live(tmp_path / "data", folder, None, "--redis", url) as server:
        pass_through(server, [partial(befall, trouble) for befall in TROUBLES[name]])
