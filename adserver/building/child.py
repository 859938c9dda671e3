"""The builder's process: follows the catalog's file and writes an image of every new revision.

``python -m adserver.building.child DATA [IMAGE]``, started by ``builder``. It is kept, for what it knows of
the last revision (every document read, every row compiled) is what makes the next one cheap. A line on its
standard input means "look now"; the input's end, however it came, ends the process at once. What it writes
there is told on standard output, a line each (``Told``).
"""

import gc
import os
import signal
import sys
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Final, NoReturn

import msgspec
from msgspec import Struct
from sqlalchemy.exc import DBAPIError

from adserver.building.images import Images
from adserver.catalog.store import Store
from adserver.catalog.tables import FILE
from adserver.domain.changes import Invalid
from adserver.engine.compile import Compiler
from adserver.telemetry import logs

FOLLOW_S: Final = 0.3
"""How often it looks unasked, for changes made by other processes."""
RETRY_S: Final = 5.0
"""After a failure that may pass by itself, such as a full disk."""
_NICENESS: Final = 5
"""Until something is in service; from then on twice that, for then it takes processors from decisions. That
leaves it a tenth of one that somebody else wants, so changes go live on a busy machine too."""
_SAID_CHARS: Final = 4000


class Told(Struct, frozen=True):
    """An image that was written, or why none could be."""

    revision: int
    image: str = ""
    error: str = ""


class Building:
    """``in_service``: the name of the image that need not be written again."""

    def __init__(self, data: Path, in_service: str) -> None:
        self._store = Store(data / FILE, _nobody)
        self._images = Images(data)
        self._compiler = Compiler()
        self._in_service = in_service
        self._tried = -1
        self._again_s: float | None = None
        self._log = logs.Log("adserver.building")

    def look(self) -> Told | None:
        """Build the newest revision if it is another than the last that was tried."""
        revision = self._tried
        try:
            revision = self._store.revision()
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
            self._log.failure("a snapshot could not be built", error, revision=revision)
            return Told(revision, error=_said(error)[:_SAID_CHARS])

    def _build(self) -> Told | None:
        catalogue = self._store.load()
        self._tried = catalogue.revision
        image = self._compiler.compile(catalogue)
        name = self._images.name(catalogue.revision, catalogue.digest)
        if name == self._in_service:
            return None
        self._images.write(name, image.pieces)
        self._in_service = name
        return Told(catalogue.revision, image=name)


def _said(error: Exception) -> str:
    """For the operator."""
    if isinstance(error, Invalid):
        return "; ".join(f"{one.document}: {one.path} {one.message}" for one in error.problems)
    return f"{type(error).__name__} {error if isinstance(error, OSError) else ''}".strip()


def build(data: Path, in_service: str) -> NoReturn:
    """Build until standard input ends."""
    asked = Event()
    Thread(target=_listen, args=(asked,), daemon=True).start()
    # Reading the catalogue makes millions of objects that stay; walking them again finds nothing.
    gc.disable()
    building = Building(data, in_service)
    served = bool(in_service)
    while True:
        asked.clear()
        told = building.look()
        if told is not None:
            os.write(1, msgspec.json.encode(told) + b"\n")
            if not served and told.image:
                served = os.nice(_NICENESS) > 0
            gc.freeze()
            gc.enable()
        asked.wait(FOLLOW_S)


def _listen(asked: Event) -> None:
    while os.read(0, 4096):
        asked.set()
    # The server is gone, perhaps in the midst of our work: nothing here needs an orderly end.
    os._exit(0)


def _nobody(space: str, user: str) -> bytes:
    """Pseudonyms are made where people are named, which is not here."""
    raise AssertionError("the builder writes nothing")


if __name__ == "__main__":
    # Ctrl-C means the server, which tells us by closing our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(2 * _NICENESS if sys.argv[2] else _NICENESS)
    logs.configure("warning")
    build(Path(sys.argv[1]), sys.argv[2])
