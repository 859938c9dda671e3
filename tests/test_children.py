"""A child that is kept, as the server hears it."""

import asyncio
from pathlib import Path

import pytest

from adserver.children import Child, Died


def test_all_a_child_said_is_heard_and_that_it_died_though_it_died_before(tmp_path: Path) -> None:
    """Nobody listened meanwhile: the next one is started behind that, not instead."""
    (tmp_path / "says_two_words.py").write_text("print('one\\ntwo'); raise SystemExit(3)\n")

    async def play() -> None:
        child = Child("says_two_words", lambda: (), 0.0, {"PYTHONPATH": str(tmp_path)})
        await child.begin()
        pids = set[int | None]()
        for _ in range(2):
            assert await child.heard() == b"one\n"
            pids.add(child.pid)
            process = child._process
            assert process is not None
            await process.wait()
            assert await child.heard() == b"two\n"
            with pytest.raises(Died, match="ended with 3"):
                await child.heard()
        assert len(pids) == 2
        await child.end()
        assert await child.heard() is None

    asyncio.run(asyncio.wait_for(play(), 60))
