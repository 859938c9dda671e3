"""The posting process: follows the journal into the ledger.

``python -m adserver.posting.child DATA DAYS NUMBER [HOLDER]``, started by ``clerk``: the journal is that of
the process with this number, and what is billed comes out of the leases of that holder, if it is one; where
the ledger is in a database, its URL is in the environment. A line on its standard input is a position of the
journal up to which everything is on disk (``Position`` as JSON), and which it posts to; the input's end,
however it came, ends the process at once: what is half posted is rolled back, since a batch and the position
behind it are one transaction. How far it is, and what went wrong, it tells on standard output, a line each
(``Told``). What cannot be posted now (a full disk, a locked or damaged file, a database that is away) is
tried again.

What comes after a rest is posted at once. While events keep coming by the thousands they are gathered for
two seconds, or until they fill a batch: the more are posted together, the fewer rows that they share are
written anew.

Between batches the first of them removes from the ledger who saw ads decided more than so many days ago.
"""

import os
import signal
import sys
from collections.abc import Iterable
from math import inf
from pathlib import Path
from threading import Condition, Thread
from time import monotonic, sleep
from typing import Final, NoReturn

import msgspec
from msgspec import Struct
from sqlalchemy.exc import DBAPIError

from adserver import collector
from adserver.clock import WallClock
from adserver.databases import AWAY, TOLD, Place, Unusable, reason
from adserver.domain.books import Position
from adserver.domain.changes import Unread
from adserver.ledger import journals
from adserver.ledger.place import place_of
from adserver.ledger.poster import BATCH_RECORDS, Poster
from adserver.ledger.reader import Reader
from adserver.ledger.segments import Damage
from adserver.ledger.writer import LedgerWriter
from adserver.telemetry import logs

RETRY_S: Final = 1.0
FORGET_S: Final = 3600.0
GATHER_S: Final = 2.0
"""From one batch to the next, at most, while there is much to post and less than fills one."""
_MUCH: Final = 1_000
"""Records of a batch, behind which more are gathered."""
DAY_MS: Final = 86_400_000
_NICENESS: Final = 5
_POSITIONS: Final = msgspec.json.Decoder(Position)


class Told(Struct, frozen=True):
    """How far everything is posted; how many events were refused to be billed since the last word; why it
    gets no further, if so."""

    position: Position
    refused: int = 0
    error: str = ""


class Asked:
    """How far is to be posted: the last of these ``lines``. Their end ends the process."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self._until = Position()
        self._rests = False
        self._changed = Condition()
        Thread(target=self._listen, daemon=True).start()

    @property
    def until(self) -> Position:
        return self._until

    def wait(self, posted: Position, seconds: float | None = None) -> None:
        """Until more is asked for than this, or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._until > posted, seconds)

    def gather(self, enough: Position, seconds: float) -> None:
        """Until so much is asked for, or no more than the last time, or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._rests or self._until >= enough, seconds)

    def _listen(self) -> None:
        try:
            for line in self._lines:
                with self._changed:
                    until = _POSITIONS.decode(line)
                    self._rests = until <= self._until
                    self._until = max(self._until, until)
                    self._changed.notify_all()
        finally:
            # Also behind half a line, in the midst of which the server was killed.
            os._exit(0)


def post(
    data: Path, people_days: int, url: str | None = None, number: int = 0, holder: int | None = None
) -> NoReturn:
    """Post until standard input ends. The first word is said whatever there is to post: another process may
    have posted all of it."""
    asked, told = Asked(sys.stdin.buffer), Position()
    ledger = _open(place_of(data, url), number, holder)
    poster = Poster(Reader(journals.folder_of(data, number)), ledger, lambda: asked.until)
    now_ms, forget_at = WallClock(), inf if number else monotonic()
    collector.work_in_batches()
    began_s, posted, begun = monotonic(), 0, told
    while True:
        asked.wait(told, None if forget_at == inf else max(forget_at - monotonic(), 0))
        if posted >= _MUCH:
            asked.gather(full(begun, told, posted), began_s + GATHER_S - monotonic())
        refused, error, began_s, posted = ledger.refused, "", monotonic(), 0
        begun = told
        try:
            posted = poster.step()
            if monotonic() >= forget_at:
                more = ledger.forget_people(now_ms() - people_days * DAY_MS)
                forget_at = monotonic() + (RETRY_S if more else FORGET_S)
        except (OSError, DBAPIError, *AWAY, Damage) as wrong:
            error = reason(wrong)
        told = ledger.position
        _tell(Told(told, ledger.refused - refused, error))
        if error:
            asked.wait(Position(sys.maxsize), RETRY_S)


def full(begun: Position, posted: Position, records: int) -> Position:
    """Up to where the next batch is full, if its records are as long as these between two positions. Where
    a segment ended between them nothing is gathered, for once."""
    mean_bytes = max(posted.offset - begun.offset, 0) // records
    return Position(posted.segment, posted.offset + BATCH_RECORDS * mean_bytes)


def _open(place: Place, number: int, holder: int | None) -> LedgerWriter:
    """As soon as it can be had: a database may be away for now."""
    while True:
        try:
            return LedgerWriter(place, journals.consumer_of(number), holder)
        except (DBAPIError, *AWAY, Unusable, Unread) as wrong:
            if isinstance(place, Path):
                raise
            _tell(Told(Position(), 0, reason(wrong)))
            sleep(RETRY_S)


def _tell(told: Told) -> None:
    os.write(1, msgspec.json.encode(told) + b"\n")


if __name__ == "__main__":
    # Whoever ends the server may tell all its processes: it has the rest posted yet, and closes our input.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    logs.configure("warning")
    given = [int(text) for text in sys.argv[2:]]
    post(Path(sys.argv[1]), given[0], os.environ.get(TOLD), *given[1:])
