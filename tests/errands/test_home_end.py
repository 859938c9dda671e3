"""The end of the door at which others bring what is theirs to be judged."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from adserver.domain import limits
from adserver.domain.errands import Brought, Errand, Reversing
from adserver.domain.records import Status
from adserver.domain.verdicts import Verdict
from adserver.errands.frames import Sockets, framed
from adserver.errands.home import Home, Judged


def unexpected(what: str, error: Exception) -> None:
    raise AssertionError(what) from error


def test_it_waits_for_no_verdict_longer_than_who_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not durable by then was told again, or refused: who waits for it is gone."""
    monkeypatch.setattr(limits, "PASSED_WAITS_S", 0.05)

    async def play() -> None:
        taken = asyncio.Event()

        def judge(errands: Sequence[Errand]) -> list[Judged]:
            taken.set()
            return [(Verdict(Status.ACCEPTED), asyncio.get_running_loop().create_future())]

        with closing(Sockets(tmp_path)) as sockets:
            home = Home(sockets, 0, judge, unexpected)
            await home.begin()
            guests = [await asyncio.open_unix_connection(sockets.path(0)) for _ in range(2)]
            for _, writer in guests:
                taken.clear()
                writer.write(framed(Brought(1, [Reversing([], "")])))
                await asyncio.wait_for(taken.wait(), 20)
            await asyncio.wait_for(home.end(), 20)
            for reader, writer in guests:
                assert await asyncio.wait_for(reader.read(), 20) == b"", "nobody is told what is not durable"
                writer.close()

    asyncio.run(play())
