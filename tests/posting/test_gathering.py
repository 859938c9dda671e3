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
from adserver.ledger.poster import BATCH_RECORDS
from adserver.posting.child import Asked, full
from adserver.posting.clerk import Clerk

pytestmark = pytest.mark.slow

LONG_S = 60.0
FAR = Position(2, 0)


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
    gathering = Thread(target=asked.gather, args=(FAR, LONG_S), daemon=True)
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
    asked.gather(FAR, 0.01)
    asked.gather(FAR, -1.0)


def test_gathering_ends_with_what_fills_a_batch() -> None:
    lines = Lines()
    asked = Asked(lines)
    gathering = Thread(target=asked.gather, args=(Position(1, 300), LONG_S), daemon=True)
    gathering.start()
    for offset in (100, 299):
        lines.say(offset)
        asked.wait(Position(1, offset - 1))
        assert gathering.is_alive()
    lines.say(300)
    gathering.join(LONG_S / 2)
    assert not gathering.is_alive()


@pytest.mark.parametrize(
    ("begun", "posted", "records", "offset"),
    [
        (Position(1, 64), Position(1, 64 + 1000 * 110), 1000, 64 + 1000 * 110 + BATCH_RECORDS * 110),
        (Position(1, 900_000), Position(2, 5000), 1000, 5000),
    ],
)
def test_a_batch_is_full_by_the_last_ones_measure(
    begun: Position, posted: Position, records: int, offset: int
) -> None:
    assert full(begun, posted, records) == Position(posted.segment, offset)


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
