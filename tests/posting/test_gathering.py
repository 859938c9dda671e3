"""When the posting process posts: at once what comes after a rest, together what comes by the thousands."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import msgspec
import pytest
from test_clerk import Office, posted_to, with_clerk

from adserver.domain.books import Position
from adserver.posting.child import Asked
from adserver.posting.clerk import Clerk

pytestmark = pytest.mark.slow

LONG_S = 60.0


class Lines:
    """What is said to a child, which hears no end of it."""

    def __init__(self) -> None:
        self._lines = SimpleQueue[bytes]()

    def say(self, offset: int) -> None:
        self._lines.put(msgspec.json.encode(Position(1, offset)))

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self._lines.get()


def test_gathering_ends_where_nothing_more_comes() -> None:
    lines = Lines()
    asked = Asked(lines)
    gathering = Thread(target=asked.gather, args=(LONG_S,), daemon=True)
    gathering.start()
    for offset in (100, 200, 300):
        lines.say(offset)
        asked.wait(Position(1, offset - 1))
        assert gathering.is_alive()
    lines.say(300)
    gathering.join(LONG_S / 2)
    assert not gathering.is_alive()
    assert asked.until == Position(1, 300)
    lines.say(400)
    asked.wait(Position(1, 300))
    asked.gather(0.01)
    asked.gather(-1.0)


def test_thousands_are_posted_together(tmp_path: Path) -> None:
    """And few are not waited with: what is asked for alone is posted alone."""

    async def play(clerk: Clerk) -> None:
        await posted_to(clerk, office, office.sell(1))
        alone = office.sell(1500)
        clerk.ask(alone)
        while office.ledger.position < alone:
            assert await clerk.hear()
        # Sold beforehand: on a busy machine that may take as long as is gathered.
        first, last = office.sell(1), office.sell(1500)
        clerk.ask(first)
        clerk.ask(last)
        while office.ledger.position < first:
            assert await clerk.hear()
        assert office.ledger.position == last
        assert office.posted() == 1 + 1500 + 1 + 1500

    with closing(Office(tmp_path)) as office:
        with_clerk(office, play)
