"""A thousand budgets, drained by eight clients at once in two processes: nothing overspent, next to nothing
left, also with processes killed in between; and the audit of both journals finds no difference."""

import json
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pytest
from selling import stock
from sqlalchemy import text
from till import Shelf

from adserver.ledger.dialects import read_database
from adserver.ledger.place import place_of
from adserver.ledger.verify import verify

COUNT = 1000
QUIET_S, QUIET_TURNS = 8.0, 80
"""Nothing could be sold anywhere for so long, in which the leases of both had so many turns: it is over.
Turns too, for a busy machine lets nobody sell for as long."""


class Process:
    """Of one number; may be killed and begun again."""

    def __init__(self, data: Path, number: int, url: str | None) -> None:
        self.number = number
        self._command = [
            sys.executable,
            str(Path(__file__).parents[1] / "selling.py"),
            str(data),
            str(number),
            str(COUNT),
            *([] if url is None else [url]),
        ]
        self.begin()

    def begin(self) -> None:
        self.child = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        self.port = int(self.child.stdout.readline())

    def kill(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> int:
        """By the end of its standard input, if it is still there."""
        with self.child:
            pass
        return self.child.returncode


class Client(Thread):
    """Sells whatever there is at one process, shows all of it, and goes on until nobody has sold anything for
    a while. What is not answered (the process was killed) is shown again."""

    def __init__(self, process: Process, seed: int, over: "Quiet") -> None:
        super().__init__(daemon=True)
        self._process, self._chance, self._over = process, random.Random(seed), over
        self._unsure: list[Any] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while not self._over():
                try:
                    connection = socket.create_connection(("127.0.0.1", self._process.port), 30)
                    with connection, connection.makefile("rwb") as stream:
                        while not self._over():
                            self._round(stream)
                except (OSError, EOFError):
                    time.sleep(0.1)
        except Exception as error:
            self.error = error

    def _round(self, stream: Any) -> None:
        if not self._unsure:
            number, port = self._process.number, self._process.port
            serials = self._chance.sample(range(1, COUNT + 1), 40)
            self._unsure, turns = _ask(stream, {"sell": serials})
            self._over.saw(number, port, turns, bool(self._unsure))
        if self._unsure:
            _ask(stream, {"show": self._unsure})
            self._unsure = []


def _ask(stream: Any, asked: Any) -> Any:
    stream.write(json.dumps(asked).encode() + b"\n")
    stream.flush()
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line)


def achievable(shelf: Shelf, limits: dict[tuple[str, str], int]) -> int:
    """The most that can be spent of all budgets."""
    campaigns: dict[tuple[int, int], int] = {}
    for item in shelf.items.values():
        key = item.advertiser, item.campaign
        campaigns[key] = campaigns.get(key, 0) + limits[f"line_item:{item.serial}", "lifetime"]
    advertisers: dict[int, int] = {}
    for (advertiser, campaign), nanos in campaigns.items():
        least = min(nanos, limits.get((f"campaign:{campaign}", "day"), nanos))
        advertisers[advertiser] = advertisers.get(advertiser, 0) + least
    return sum(
        min(nanos, limits.get((f"advertiser:{advertiser}", "lifetime"), nanos))
        for advertiser, nanos in advertisers.items()
    )


class Quiet:
    """Whether nothing was sold for a while, though it was tried."""

    def __init__(self) -> None:
        self._last_s, self._lock = time.monotonic(), Lock()
        # Of each number: the port of who lives, and the turns of its leases at the first and the last try.
        self._turns: dict[int, tuple[int, int, int]] = {}

    def saw(self, number: int, port: int, turns: int, sold: bool) -> None:
        with self._lock:
            if sold:
                self._last_s = time.monotonic()
                self._turns.clear()
            else:
                known, first, last = self._turns.get(number, (port, turns, turns))
                self._turns[number] = (
                    (port, first, max(last, turns)) if known == port else (port, turns, turns)
                )

    def __call__(self) -> bool:
        with self._lock:
            tried = sum(last - first >= QUIET_TURNS for _, first, last in self._turns.values())
            return tried == 2 and time.monotonic() - self._last_s > QUIET_S


def drain(data: Path, kills: int, url: str | None = None) -> list[Process]:
    processes = [Process(data, number, url) for number in (1, 2)]
    quiet, done = Quiet(), Event()
    clients = [Client(processes[number % 2], number, quiet) for number in range(8)]
    for client in clients:
        client.start()
    for kill in range(kills):
        done.wait(1.0)
        processes[kill % 2].kill()
        processes[kill % 2].begin()
    for client in clients:
        client.join(240)
        assert not client.is_alive() and client.error is None, client.error
    return processes


@pytest.mark.slow
@pytest.mark.parametrize(("store", "kills"), [("sqlite", 0), ("sqlite", 4), ("postgresql", 4)])
def test_a_thousand_budgets_in_two_processes(
    request: pytest.FixtureRequest, tmp_path: Path, store: str, kills: int
) -> None:
    url = request.getfixturevalue("database") if store == "postgresql" else None
    place = place_of(tmp_path, url)
    processes = drain(tmp_path, kills, url)
    assert [process.end() for process in processes] == [0, 0]
    shelf = stock(COUNT)
    limits = shelf.limits
    engine = read_database(place)
    with engine.connect() as books:
        billed = {
            (account, "lifetime" if day < 0 else "day"): nanos
            for account, day, nanos in books.execute(text("SELECT account, day, billed_nanos FROM budgets"))
        }
        free = books.execute(text("SELECT sum(free_nanos) FROM totals WHERE day = -1")).scalar_one()
    engine.dispose()
    over = {
        key: nanos - limits[key] for key, nanos in billed.items() if key in limits and nanos > limits[key]
    }
    assert over == {}
    most = achievable(shelf, limits)
    spent = sum(nanos for (name, period), nanos in billed.items() if name[:4] == "adve" and period != "day")
    assert free == 0
    assert 0 <= most - spent <= most // 100, f"{(most - spent) / most:.4%} unspent"
    assert verify(tmp_path, lambda line: None, place) == []
    print(f"unspent {(most - spent) / most:.4%} of {most}, {kills} kills")
