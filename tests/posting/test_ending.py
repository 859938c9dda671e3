"""The end of posting is bounded: whatever the child says, and whatever it was being told."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from adserver.domain import limits
from adserver.domain.books import Position
from adserver.ledger.ledger import Ledger
from adserver.ledger.place import place_of
from adserver.ledger.writer import LedgerWriter
from adserver.posting.child import Told
from adserver.posting.clerk import Clerk, NotPosted

FAR = Position(1, 1 << 20)


def test_a_child_that_gets_nowhere_and_says_nothing_wrong_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "POSTED_S", 0.1)
    LedgerWriter(place_of(tmp_path, None)).close()
    ledger = Ledger(place_of(tmp_path, None))

    async def play() -> None:
        clerk = Clerk(tmp_path, ledger)

        async def say() -> None:
            for _ in range(100_000):
                clerk._take(Told(Position(1, 100)))
                await asyncio.sleep(0)

        saying = asyncio.create_task(say())
        with pytest.raises(NotPosted, match=r"more .* than there is time for"):
            await clerk.finish(FAR)
        saying.cancel()
        await asyncio.wait([saying])

    asyncio.run(play())
    ledger.close()


@pytest.mark.slow
@pytest.mark.parametrize("module", ["posting", "building"])
def test_a_child_ends_behind_half_a_line(tmp_path: Path, module: str) -> None:
    """In the midst of saying it the server was killed."""
    arguments = {"posting": ["396", "0"], "building": [""]}[module]
    command = [sys.executable, "-m", f"adserver.{module}.child", str(tmp_path), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        try:
            child.communicate(b'{"segment":1,"of', timeout=20)
        finally:
            child.kill()
    assert child.returncode == 0
