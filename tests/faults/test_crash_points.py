"""kill -9 at named places, from the journal's bytes to the recovery of it: after each, everything that was
acknowledged is in the books once, nothing else is that was not told, and the audit finds no difference."""

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import pytest
from crash_lives import BROWSER, Life, Word, settings_of
from crash_points import CrashPoint
from kills import campaign, publisher, world

from adserver import recovery
from adserver.app import App
from adserver.domain import ids
from adserver.domain.decision import EventKind
from adserver.ledger.disk import EXIT_IO_ERROR
from adserver.ledger.verify import verify
from adserver.services.calls import Call

HERE = Path(__file__).resolve().parent
NOW_MS = 1_800_000_000_000
KILLED = -9
ENDS = {CrashPoint.SYNC_FAILS: EXIT_IO_ERROR, CrashPoint.NO_ROOM: 0}
WORDS = msgspec.json.Decoder(Word)
ITEMS = (
    {"id": "shown", "pricing": {"model": "cpm", "amount": "5.00"}, "budget": {"lifetime": "0.60"},
     "frequency_caps": [{"limit": 3, "per": "1d"}]},
    {"id": "seen", "pricing": {"model": "vcpm", "amount": "6.00"}},
    {"id": "clicked", "pricing": {"model": "cpc", "amount": "0.10"}, "budget": {"lifetime": "2.00"}},
)  # fmt: skip

SOME = (
    CrashPoint.FRAME_HALF_WRITTEN, CrashPoint.SYNC_UNBEGUN, CrashPoint.WAITERS_UNANSWERED,
    CrashPoint.SEGMENT_SEALED, CrashPoint.ROWS_WRITTEN, CrashPoint.BATCH_COMMITTED,
    CrashPoint.CHECKPOINT_UNNAMED, CrashPoint.TAIL_UNCUT,
)  # fmt: skip
"""One of each stage; the others are slow together."""

Key = tuple[str, int]


class Told:
    """What was told and heard over the lives of one server. ``asked``: events that may be in the books;
    ``answered``: the verdict on those of which there must be one."""

    def __init__(self) -> None:
        self.asked: dict[Key, str] = {}
        self.answered: dict[Key, set[str]] = {}
        self.billed: set[Key] = set()
        self.reversing: set[str] = set()
        self.reversed: set[Key] = set()
        self.refused: set[Key] = set()
        self.synced: tuple[int, int] | None = None

    def hear(self, word: Word) -> None:
        key = word.event_id, word.kind
        if word.said == "asked":
            self.asked[key] = word.token
        elif word.said == "answered":
            self.answered.setdefault(key, set()).add(word.verdict)
            if word.billed:
                assert key not in self.billed, "billed twice"
                self.billed.add(key)
        elif word.said == "refused":
            self.refused.add(key)
        elif word.said == "synced":
            self.synced = word.kind, word.code
        elif word.said == "reversing":
            self.reversing.add(word.event_id)
        elif word.said == "reversed":
            assert key not in self.reversed, "taken back twice"
            self.reversed.add(key)


class Nursery:
    """Lives servers one after the other (``crash_lives``)."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "crash_lives.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def live(self, life: Life, told: Told) -> int:
        """How it ended: an exit code, or minus a signal."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(msgspec.json.encode(life) + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            word = WORDS.decode(line)
            if word.said == "ended":
                return word.code
            told.hear(word)
        raise AssertionError("the nursery ended")


class Village:
    """One server's folder, and what was told and heard of it."""

    def __init__(self, nursery: Nursery, folder: Path, seed: int) -> None:
        self.nursery, self.told = nursery, Told()
        self.data, self.campaigns = folder / "data", folder / "world"
        self.lives, self._seed = 0, seed
        if not self.campaigns.exists():
            world(self.campaigns, publisher(), campaign("spring", ITEMS))

    def live(self, point: str, passage: int, steps: int = 0) -> int:
        self.lives += 1
        self.told.synced = None
        now_ms = NOW_MS + self.lives * 60_000
        life = Life(
            str(self.data), str(self.campaigns), point, passage, self._seed * 1000 + self.lives, now_ms, steps
        )
        return self.nursery.live(life, self.told)

    def cut_power(self) -> None:
        """Of the journal nothing is left but what a sync had brought to the disk."""
        if self.told.synced is None:
            return
        number, offset = self.told.synced
        for path in (self.data / "journal").glob("*.seg"):
            if int(path.stem) > number:
                path.unlink()
            elif int(path.stem) == number:
                size = path.stat().st_size
                os.truncate(path, offset)
                os.truncate(path, size)

    def judge(self) -> None:
        """Opened again and posted: 0 lost, 0 double, 0 phantom."""
        now_ms = NOW_MS + self.lives * 60_000 + 30_000
        app = App(settings_of(self.data), clock=lambda: now_ms)
        try:
            assert app.refused == 0, "billed by the journal, refused by the books"
            app.build()
            self._tell_again(app)
            app.post()
        finally:
            app.close()
        self._compare()
        found: list[str] = []
        assert verify(self.data, report=found.append) == [], found

    def _tell_again(self, app: App) -> None:
        """What was acknowledged is still known."""
        told = [key for key, verdicts in self.told.answered.items() if recorded(key, verdicts)][-20:]

        async def again() -> list[Any]:
            call = Call(user_agent=BROWSER)
            tokens = [(self.told.asked[key], EventKind(key[1])) for key in told]
            return [await app.recorder.record(token, kind, call) for token, kind in tokens]

        verdicts = asyncio.run(again())
        assert {verdict.status.name for verdict in verdicts} <= {"DUPLICATE"}

    def _compare(self) -> None:
        told = self.told
        with closing(sqlite3.connect(self.data / "ledger.sqlite")) as database:
            found = list(database.execute("SELECT event_id, kind, billed_nanos > 0 FROM events"))
            events = {(ids.encode(row[0]), row[1]): bool(row[2]) for row in found}
            rows = database.execute("SELECT event_id, kind, reason FROM filtered")
            filtered = {(ids.encode(row[0]), row[1]): row[2] for row in rows}
            rows = database.execute("SELECT event_id, kind FROM reversals")
            reversals = [(ids.encode(row[0]), row[1]) for row in rows]
        assert len(events) == len(found) and len(set(reversals)) == len(reversals), "double"
        must = {key for key, verdicts in told.answered.items() if recorded(key, verdicts)}
        assert must <= events.keys(), "lost"
        assert told.billed <= {key for key, billed in events.items() if billed}, "a bill was lost"
        for key, verdicts in told.answered.items():
            if recorded(key, verdicts) and key not in told.billed and "ACCEPTED" in verdicts:
                assert not events[key], "billed, and told otherwise"
        assert {key for key, verdicts in told.answered.items() if "FILTERED" in verdicts} <= filtered.keys()
        assert all(filtered.values()), "a reason was lost"
        assert events.keys() | filtered.keys() <= told.asked.keys(), "phantom"
        assert told.reversed <= set(reversals)
        assert {event_id for event_id, _ in reversals} <= told.reversing


def recorded(key: Key, verdicts: set[str]) -> bool:
    return key[1] != EventKind.RELEASE and bool(verdicts & {"ACCEPTED", "EXPIRED", "DUPLICATE"})


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nursery, Path, Told]]:
    """A folder with some history, as its server left it when it was killed in the middle of a frame."""
    folder = tmp_path_factory.mktemp("used")
    with Nursery() as nursery:
        village = Village(nursery, folder, 1)
        assert village.live("", 0, steps=40) == 0
        assert village.live(CrashPoint.FRAME_HALF_WRITTEN.name, 100) == KILLED
        yield nursery, folder, village.told


def die(used: tuple[Nursery, Path, Told], folder: Path, point: CrashPoint, kills: int, seed: int) -> None:
    nursery, history, told = used
    shutil.copytree(history, folder, dirs_exist_ok=True)
    village, chance = Village(nursery, folder, seed), random.Random(f"{point.name} {seed}")
    village.told = deepcopy(told)
    village.lives = 2
    for kill in range(kills):
        passage = chance.randint(1, point.value.most)
        if point is CrashPoint.STATE_HALF_READ:
            # Which spares it nearly all of it.
            (village.data / recovery.FILE).unlink(missing_ok=True)
        code = village.live(point.name, passage, steps=80 if point is CrashPoint.NO_ROOM else 0)
        assert code == ENDS.get(point, KILLED), f"it did not end there, at passage {passage}"
        if kill % 2:
            village.cut_power()
        village.judge()
    assert bool(village.told.refused) is (point is CrashPoint.NO_ROOM), "refused, and honestly so"


def test_there_are_twenty_and_more() -> None:
    assert len({point.value for point in CrashPoint}) == len(CrashPoint) >= 20


@pytest.mark.parametrize("point", SOME, ids=lambda point: point.name.lower())
def test_killed_and_cut_off(used: tuple[Nursery, Path, Told], tmp_path: Path, point: CrashPoint) -> None:
    die(used, tmp_path, point, 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("point", CrashPoint, ids=lambda point: point.name.lower())
def test_killed_five_times(used: tuple[Nursery, Path, Told], tmp_path: Path, point: CrashPoint) -> None:
    die(used, tmp_path, point, 5, 2)
