"""``adserver bench``: every part in turn, each in processes of its own, and what came of it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from adserver.bench import plots
from adserver.bench.beside import Beside, beside
from adserver.bench.goals import LARGE, SIZE, Found, goals
from adserver.bench.measure import machine
from adserver.bench.report import Report, to_json, to_markdown
from adserver.bench.sized import Built, Server, Sized, Worst

T = TypeVar("T")


class Plan(Struct, frozen=True):
    """``number``: requests timed by a part, ``worst``: of the worst; ``server_size``: line items of the
    server and of HTTP; ``events``: of a round, at 30 000/s seconds of them; ``each_s``: how long a part may
    take, ``whole_s``: all of them."""

    sizes: tuple[int, ...]
    number: int
    worst: int
    server_size: int
    rounds: int
    round_s: float
    events: int
    each_s: float
    whole_s: float


QUICK: Final = Plan((1000, 10_000), 2000, 10, 10_000, 5, 0.6, 50_000, 60, 110)
FULL: Final = Plan((1000, 10_000, SIZE, LARGE), 5000, 20, SIZE, 7, 1.5, 150_000, 200, 460)


class Bench:
    """One run of a plan. ``say`` gets a line of progress; ``redis``: as for ``beside``."""

    def __init__(self, plan: Plan, say: Callable[[str], None], redis: str = "") -> None:
        self._plan = plan
        self._redis = redis
        self._say = say
        self._began = monotonic()
        self._missing: list[str] = []

    def run(self) -> Report:
        """What could be measured; what could not is named in it."""
        before, plan = machine(), self._plan
        *usual, largest = plan.sizes
        sizes = [self._size(size) for size in usual]
        worst = self._child(Worst, "worst", plan.server_size, plan.worst)
        server = self._child(Server, "server", plan.server_size, plan.number)
        http = self._beside(server.reply_bytes if server is not None else 3000)
        # Last, with what time is left.
        sizes.append(self._size(largest))
        found = Found(
            tuple(one for one, _ in sizes if one is not None),
            tuple(one for _, one in sizes if one is not None),
            worst, server, http, tuple(self._missing),
        )  # fmt: skip
        return Report(
            machine=before,
            settings={
                "requests": plan.number, "worst requests": plan.worst,
                "line items of server and HTTP": plan.server_size, "rounds": plan.rounds,
                "seconds a round": plan.round_s, "events a round": plan.events,
            },
            found=found,
            goals=goals(found),
            load_after=round(os.getloadavg()[0], 2),
            seconds=round(monotonic() - self._began, 1),
        )  # fmt: skip

    def _size(self, line_items: int) -> tuple[Built | None, Sized | None]:
        """What it takes to build, and what it is to serve from it."""
        with TemporaryDirectory(prefix="adserver-bench-") as folder:
            image = ("--image", str(Path(folder) / "image"))
            built = self._child(Built, "built", line_items, 0, *image)
            if built is None:
                return None, None
            return built, self._child(Sized, "sized", line_items, self._plan.number, *image)

    def _left_s(self) -> float:
        return self._plan.whole_s - (monotonic() - self._began)

    def _child(self, kind: type[T], what: str, line_items: int, number: int, *more: str) -> T | None:
        name = f"{what}, {line_items:,} line items"
        seconds = min(self._plan.each_s, self._left_s())
        self._say(name)
        command = [
            sys.executable, "-m", "adserver.bench", what,
            "--line-items", str(line_items), "--number", str(number), *more,
        ]  # fmt: skip
        if seconds <= 0:
            self._missing.append(f"{name}: not measured, no time was left")
            return None
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds, check=True)
        except subprocess.TimeoutExpired:
            self._missing.append(f"{name}: not measured, it took longer than {seconds:.0f} s")
            return None
        except subprocess.CalledProcessError as error:
            told = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
            self._missing.append(f"{name}: not measured, {''.join(told)}")
            return None
        return msgspec.json.decode(done.stdout, type=kind)

    def _beside(self, reply_bytes: int) -> Beside | None:
        plan = self._plan
        self._say(f"HTTP, {plan.server_size:,} line items, {plan.rounds} rounds")
        try:
            return beside(plan.server_size, reply_bytes, plan.rounds, plan.round_s, plan.events, self._redis)
        except (OSError, TimeoutError) as error:
            self._missing.append(f"HTTP: not measured, {error or 'no server came up in time'}")
            return None


def bench(
    plan: Plan, json: Path | None, markdown: Path | None, pictures: Path | None, redis: str = ""
) -> None:
    """Run it, print the page, and write what was asked for. Raises OSError where a file cannot be written."""
    report = Bench(plan, lambda line: print(line, file=sys.stderr, flush=True), redis).run()
    page = to_markdown(report)
    print(page, end="")
    if json is not None:
        json.write_bytes(to_json(report))
    if markdown is not None:
        markdown.write_text(page, encoding="utf-8")
    if pictures is not None:
        print(plots.draw(report.found, pictures), file=sys.stderr)
