"""The builder's process: follows the catalog's file and writes an image of every new revision.

``python -m adserver.building.child DATA [IMAGE]``, started by ``builder``; where the catalog is in a
database, its URL is in the environment. It is kept, for what it knows of
the last revision (of what each advertiser's block was made, and in which order everything is) is what makes
the next one cheap; the blocks outlive it (``blockfiles``). A line on its standard input means "look now"; the
input's end, however it came, ends the process at once. What it writes there is told on standard output, a
line each (``Told``).
"""

import gc
import os
import signal
import sys
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Final, NoReturn

import msgspec
from msgspec import Struct
from sqlalchemy.exc import DBAPIError

from adserver.building.images import Images
from adserver.catalog.opening import place_of
from adserver.catalog.source import Source, State
from adserver.databases import TOLD, Unusable
from adserver.domain.changes import Invalid, Unread
from adserver.engine.blocks import campaigns_of
from adserver.engine.compile import Assembler
from adserver.engine.rows import block
from adserver.engine.values import Values
from adserver.telemetry import logs

FOLLOW_S: Final = 0.3
"""How often it looks unasked, for changes made by other processes."""
RETRY_S: Final = 5.0
"""After a failure that may pass by itself, such as a full disk."""
AWAY_S: Final = 1.0
"""After one of a database, which may be back by then."""
_REST: Final = 10
_REST_MAX_S: Final = 1.0
"""A change that comes alone is built at once. In a storm of them builds begin so many times their own length
apart, at most so long: each costs decisions a little (the first by a new snapshot find less kept), and
changes are live within 2 s all the same."""
_NICENESS: Final = 5
"""Decisions come first; and yet changes go live within 2 s on a machine that is busy with other things. At 10
they did not."""
_BATCH_BYTES: Final = 16 * 2**20
"""Of blocks, written together."""
_SAID_CHARS: Final = 4000


class Told(Struct, frozen=True):
    """An image that was written, or why none could be."""

    revision: int
    image: str = ""
    error: str = ""


class Building:
    """``in_service``: the name of the image that need not be written again; ``url``: of the catalog's
    database, if it is in no file."""

    def __init__(self, data: Path, in_service: str, url: str | None = None) -> None:
        self._source = Source(place_of(data, url))
        self._images = Images(data)
        self._blocks = self._images.blocks()
        self._assembler = Assembler()
        self._in_service = in_service
        self._tried = -1
        self._again_s: float | None = None
        self._told_away = ""
        self._log = logs.Log("adserver.building")

    def look(self) -> Told | None:
        """Build the newest revision if it is another than the last that was tried."""
        revision = self._tried
        try:
            revision = self._source.revision()
            due = self._again_s is not None and monotonic() >= self._again_s
            if revision == self._tried and not due:
                return None
            self._again_s = None
            self._tried = revision
            return self._build()
        # Whatever the catalogue holds or the disk lacks, the next revision may be better.
        except Exception as error:
            if isinstance(error, OSError | DBAPIError):
                self._again_s = monotonic() + RETRY_S
            if isinstance(error, Unread):
                self._again_s = monotonic() + AWAY_S
                self._tried = revision
                return self._away(str(error))
            self._told_away = ""
            self._log.failure("a snapshot could not be built", error, revision=revision)
            return Told(revision, error=_said(error)[:_SAID_CHARS])

    def _away(self, why: str) -> Told | None:
        """Said once."""
        known, self._told_away = self._told_away, why
        return None if known else Told(self._tried, error=why[:_SAID_CHARS])

    def _build(self) -> Told | None:
        with self._source.state() as state:
            self._tried = state.rest.revision
            self._hold(state)
        blocks, stored = self._blocks.in_order()
        image = self._assembler.assemble(blocks, state.rest, stored)
        name = self._images.name(state.rest.revision, state.rest.digest)
        self._told_away = ""
        if name == self._in_service:
            return None
        self._images.write(name, image.pieces)
        self._in_service = name
        return Told(state.rest.revision, image=name)

    def _hold(self, state: State) -> None:
        """The blocks of this state and no others: those there were, those left by an earlier process, and
        the rest made now."""
        files, wanted = self._blocks, {key: owner for owner, key in state.owners.items()}
        if not files.held:
            files.take_up(wanted, state.lineages)
        if not files.whole:
            files.gather(*state.lineage())
        before = [files.held[key].block for key in files.held.keys() - wanted.keys()]
        known = {block.advertiser.name.decode(): campaigns_of(block) for block in before}
        missing = [owner for key, owner in wanted.items() if key not in files.held]
        values, made = Values(), dict[str, memoryview]()
        for one in state.documents({owner: known.get(owner, {}) for owner in missing}):
            given = block(values, one.advertiser, one.campaigns, one.etags)
            made[state.owners[one.advertiser.id]] = given.sections.whole
            if sum(map(len, made.values())) > _BATCH_BYTES:
                files.add(made, *state.lineage())
                made = {}
        if made:
            files.add(made, *state.lineage())
        files.keep(wanted)

    def tidy(self) -> None:
        """When there is time: if files are mostly of no use, write one anew, and be ready for it."""
        if not self._blocks.wasteful:
            return
        try:
            with self._source.state() as state:
                self._blocks.gather(*state.lineage())
        except (OSError, DBAPIError, Unread) as error:
            self._log.failure("the files of blocks could not be written anew", error)
            return
        blocks, stored = self._blocks.in_order()
        self._assembler.assemble(blocks, state.rest, stored)


def _said(error: Exception) -> str:
    """For the operator."""
    if isinstance(error, Invalid):
        return "; ".join(f"{one.document}: {one.path} {one.message}" for one in error.problems)
    return f"{type(error).__name__} {error if isinstance(error, OSError) else ''}".strip()


def build(data: Path, in_service: str, url: str | None) -> NoReturn:
    """Build until standard input ends."""
    asked = Event()
    Thread(target=_listen, args=(asked,), daemon=True).start()
    # Reading the catalogue makes millions of objects that stay; walking them again finds nothing.
    gc.disable()
    building = _begun(data, in_service, url)
    while True:
        asked.clear()
        began = monotonic()
        told = building.look()
        if told is not None:
            rest_s = min(_REST * (monotonic() - began), _REST_MAX_S)
            os.write(1, msgspec.json.encode(told) + b"\n")
            gc.freeze()
            gc.enable()
            building.tidy()
            sleep(max(0.0, began + rest_s - monotonic()))
        asked.wait(FOLLOW_S)


def _begun(data: Path, in_service: str, url: str | None) -> Building:
    """As soon as it can be: a database may be away for now."""
    while True:
        try:
            return Building(data, in_service, url)
        except Unusable as error:
            if not url:
                raise
            os.write(1, msgspec.json.encode(Told(-1, error=str(error))) + b"\n")
            sleep(AWAY_S)


def _listen(asked: Event) -> None:
    try:
        while os.read(0, 4096):
            asked.set()
    finally:
        # The server is gone, perhaps in the midst of our work: nothing here needs an orderly end.
        os._exit(0)


if __name__ == "__main__":
    # Whoever ends the server may tell all its processes: we end with it, which closes our input.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    logs.configure("warning")
    build(Path(sys.argv[1]), sys.argv[2], os.environ.get(TOLD))
