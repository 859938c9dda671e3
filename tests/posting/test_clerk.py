"""The posting child and the server's end of it, with real processes over a real journal and ledger."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from ledger_samples import NOW_MS, PRICE, budget, decided, person, placement, recorded, request, terms
from processes import alive

from adserver.domain.books import Position
from adserver.ledger.journal import Journal
from adserver.ledger.ledger import Ledger
from adserver.ledger.place import LEDGER, place_of
from adserver.ledger.poster import Poster
from adserver.ledger.reader import JOURNAL, Reader
from adserver.ledger.verify import verify
from adserver.ledger.writer import LedgerWriter
from adserver.posting import clerk as clerks
from adserver.posting.clerk import Clerk, NotPosted

pytestmark = pytest.mark.slow

WITHIN_S = 120.0
"""A busy machine takes its time to start a process."""


class Office:
    """A journal with terms in it, its ledger, and how much is sold."""

    def __init__(self, data: Path, url: str | None = None) -> None:
        self.data, self.url = data, url
        self.place = place_of(data, url)
        self.journal = Journal(data / JOURNAL, 1 << 16)
        LedgerWriter(self.place).close()
        self.ledger = Ledger(self.place)
        self.sold = 0
        self.journal.append(terms(1, (budget("line_item:1", 10**6 * PRICE),)))
        self.journal.append(placement())

    def sell(self, number: int = 1) -> Position:
        """So many impressions more, on disk up to there."""
        for _ in range(number):
            self.sold += 1
            mine = request(self.sold, NOW_MS + self.sold)
            self.journal.append(decided(mine), person())
            self.journal.append(recorded(mine))
        self.journal.sync()
        return self.journal.synced_position

    def posted(self) -> int:
        return sum(total.impressions for total in self.ledger.totals())

    def close(self) -> None:
        self.journal.close()
        self.ledger.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    opened = Office(tmp_path)
    yield opened
    opened.close()


def with_clerk(
    office: Office, play: Callable[[Clerk], Awaitable[Any]], seconds: Callable[[], float] = time.monotonic
) -> Any:
    async def whole() -> Any:
        clerk = Clerk(office.data, office.ledger, seconds, url=office.url or "")
        try:
            return await asyncio.wait_for(play(clerk), WITHIN_S)
        finally:
            await clerk.end()

    return uvloop.run(whole())


async def posted_to(clerk: Clerk, office: Office, until: Position) -> None:
    """Asked and heard until everything up to there is posted; deaths are got over."""
    await posted_by(clerk, office.ledger, until)


async def posted_by(clerk: Clerk, ledger: Ledger, until: Position) -> None:
    hearing = asyncio.create_task(listening(clerk))
    while ledger.position < until:
        clerk.ask(until)
        await asyncio.sleep(0.02)
    hearing.cancel()
    await asyncio.wait([hearing])


async def listening(clerk: Clerk) -> None:
    heard = True
    while heard:
        with suppress(NotPosted):
            heard = await clerk.hear()


def pid_of(clerk: Clerk) -> int:
    pid = clerk._child.pid
    assert pid is not None
    return pid


def test_it_posts_what_it_is_asked_for_and_no_further(office: Office) -> None:
    async def play(clerk: Clerk) -> None:
        first = office.sell(100)
        office.sell(50)
        await posted_to(clerk, office, first)
        assert (office.posted(), office.ledger.position) == (100, first), "what follows was not asked for"
        await posted_to(clerk, office, office.sell())
        assert (office.posted(), clerk.refused, clerk.failing) == (151, 0, "")

    with_clerk(office, play)
    assert verify(office.data, report=lambda line: None) == []


def test_the_position_is_the_journals_own_though_marks_stand_behind(office: Office) -> None:
    """What is swept only when everything is posted waits for exactly this."""

    async def play(clerk: Clerk) -> None:
        for _ in range(5):
            await posted_to(clerk, office, office.sell(3))
            # The mark of the batch before, and nothing else.
            office.journal.sync()
            until = office.journal.synced_position
            await posted_to(clerk, office, until)
            assert office.ledger.position == until

    with_clerk(office, play)
    assert verify(office.data, report=lambda line: None) == []


@pytest.mark.slow
def test_killed_at_any_time_it_posts_everything_once(office: Office) -> None:
    async def play(clerk: Clerk) -> None:
        for number in range(6):
            until = office.sell(2000)
            await clerk.begin()
            clerk.ask(until)
            hearing = asyncio.create_task(clerk.hear())
            await asyncio.wait([hearing], timeout=0.2 * number)
            clerk._child.kill()
            with suppress(NotPosted):
                await hearing
        await posted_to(clerk, office, until)

    with_clerk(office, play)
    assert office.posted() == office.sold == 12_000
    assert verify(office.data, report=lambda line: None) == []


def test_a_child_that_hangs_is_replaced(office: Office) -> None:
    now = [0.0]

    async def play(clerk: Clerk) -> None:
        await posted_to(clerk, office, office.sell(10))
        hung = pid_of(clerk)
        os.kill(hung, signal.SIGSTOP)
        now[0] += clerks.HUNG_S + 1
        clerk.ask(office.ledger.position)
        assert alive(hung), "it had nothing to say"
        until = office.sell(10)
        clerk.ask(until)
        now[0] += clerks.HUNG_S - 1
        clerk.ask(until)
        assert alive(hung), "it may be slow"
        now[0] += 2
        clerk.ask(until)
        with pytest.raises(NotPosted, match="ended with -9"):
            await clerk.hear()
        await posted_to(clerk, office, until)
        assert pid_of(clerk) != hung

    with_clerk(office, play, lambda: now[0])
    assert office.posted() == 20


def test_a_book_that_cannot_be_written_is_told_once_and_tried_again(office: Office) -> None:
    async def play(clerk: Clerk) -> None:
        await posted_to(clerk, office, office.sell(10))
        with closing(sqlite3.connect(office.data / LEDGER, isolation_level=None)) as other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )
            until = office.sell(10)
            clerk.ask(until)
            with pytest.raises(NotPosted, match="no room"):
                await clerk.hear()
            assert await clerk.hear(), "the second time it is no news"
            assert (clerk.failing, office.posted()) == ("no room", 10)
            with pytest.raises(NotPosted, match="no room"):
                heard = asyncio.create_task(posted_to(clerk, office, until))
                try:
                    await clerk.finish(until)
                finally:
                    heard.cancel()
                    await asyncio.wait([heard])
            other.execute("DROP TRIGGER full")
        await posted_to(clerk, office, until)
        assert clerk.failing == ""

    with_clerk(office, play)
    assert office.posted() == 20


def test_what_the_books_refuse_is_told_over_deaths(office: Office) -> None:
    """Events that the journal billed and nobody can pay."""

    async def play(clerk: Clerk) -> None:
        for number in (1, 2):
            office.journal.append(recorded(request(900 + number), line_item=5))
            await posted_to(clerk, office, office.sell())
            assert clerk.refused == number
            clerk._child.kill()

    with_clerk(office, play)


def test_two_post_everything_once(office: Office) -> None:
    """A server that was killed may leave a child at work for a moment, or stopped."""

    async def play(clerk: Clerk) -> None:
        other = Clerk(office.data, ledger := Ledger(office.data / LEDGER))
        try:
            for _ in range(5):
                until = office.sell(1000)
                both = (posted_to(clerk, office, until), posted_by(other, ledger, until))
                await asyncio.gather(*both)
        finally:
            await other.end()
            ledger.close()

    with_clerk(office, play)
    assert office.posted() == 5000
    assert verify(office.data, report=lambda line: None) == []


def test_what_somebody_else_has_posted_is_told(office: Office) -> None:
    """A child that died before it told how far it was: the next finds nothing left to post."""
    until = office.sell(10)

    async def play(clerk: Clerk) -> None:
        ledger, reader = LedgerWriter(office.data / LEDGER), Reader(office.data / JOURNAL)
        with closing(ledger), closing(reader):
            Poster(reader, ledger, lambda: until).drain()
        assert office.ledger.position < until
        await posted_to(clerk, office, until)
        assert office.ledger.position == until

    with_clerk(office, play)


def test_a_killed_server_leaves_no_child(office: Office) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from adserver.domain.books import Position\n"
        "from adserver.ledger.ledger import Ledger\n"
        "from adserver.posting.clerk import Clerk\n"
        "async def main():\n"
        "    data, until = Path(sys.argv[1]), Position(int(sys.argv[2]), int(sys.argv[3]))\n"
        "    clerk = Clerk(data, Ledger(data / 'ledger.sqlite'))\n"
        "    heard = asyncio.create_task(clerk.hear())\n"
        "    while not heard.done():\n"
        "        clerk.ask(until)\n"
        "        await asyncio.sleep(0.02)\n"
        "    print(clerk._child.pid, flush=True)\n"
        "    await clerk.hear()\n"
        "asyncio.run(main())\n"
    )
    until = office.sell(10)
    command = [sys.executable, "-c", program, str(office.data), str(until.segment), str(until.offset)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert alive(pid)
        server.kill()
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline, "the child outlived its server"
        time.sleep(0.02)
    assert office.posted() == 10


def test_it_forgets_old_people(office: Office) -> None:
    """And nobody else, nor anything that was counted of them."""
    now_ms = int(time.time() * 1000)
    old, young = request(1, now_ms - 2 * 86_400_000), request(2, now_ms)
    for mine in (old, young):
        office.journal.append(decided(mine), person())
        office.journal.append(recorded(mine), person())
    office.journal.sync()
    ledger = LedgerWriter(office.data / LEDGER)
    with closing(Reader(office.data / JOURNAL)) as reader:
        Poster(reader, ledger).drain()
    ledger.close()

    def people() -> set[bytes]:
        with closing(sqlite3.connect(office.data / LEDGER)) as connection:
            return {row[0][:6] for row in connection.execute("SELECT event_id FROM people")}

    async def play() -> None:
        clerk = Clerk(office.data, office.ledger, people_days=1)
        try:
            await clerk.begin()
            while (known := people()) != {young[:6]}:
                assert known == {old[:6], young[:6]}
                await asyncio.sleep(0.02)
        finally:
            await clerk.end()

    asyncio.run(asyncio.wait_for(play(), WITHIN_S))
    assert office.posted() == 2
    assert verify(office.data, report=lambda line: None) == []
