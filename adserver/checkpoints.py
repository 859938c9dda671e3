"""The checkpoints that are kept beside the newest: ``checkpoints/<segment>-<time>.msgpack``, of the state at
the beginning of a segment, whose last decision was made at that time (milliseconds). They lie where the
process keeps what is its own (``data``): in the data folder, or of one among several in its journal's.

The newest is where the next one goes on; of the others the first of each day is kept, for so many days. So a
replay reads a day of the journal at most, and what is kept is bounded, however long the server runs.
"""

import os
import re
from pathlib import Path
from typing import Final

from msgspec import Struct

from adserver.domain import limits
from adserver.domain.books import Position

FOLDER: Final = "checkpoints"
_NAME: Final = re.compile(r"([0-9]{8})-([0-9]{1,15})\.msgpack\Z", re.ASCII)
_DAY_MS: Final = 86_400_000


class Checkpoint(Struct, frozen=True):
    path: Path
    position: Position
    latest_ms: int


def kept(data: Path) -> list[Checkpoint]:
    """In the order of the journal."""
    found = []
    for path in (data / FOLDER).glob("*.msgpack"):
        name = _NAME.match(path.name)
        if name is not None:
            found.append(Checkpoint(path, Position(int(name[1]), 0), int(name[2])))
    return sorted(found, key=lambda checkpoint: checkpoint.position)


def last_before(data: Path, until: Position) -> Checkpoint | None:
    return next((one for one in reversed(kept(data)) if one.position <= until), None)


def keep(data: Path, position: Position, latest_ms: int, content: bytes) -> None:
    """Write another, and remove what need not be kept any more. Raises OSError."""
    (data / FOLDER).mkdir(mode=0o700, exist_ok=True)
    write(data / FOLDER / f"{position.segment:08d}-{latest_ms}.msgpack", content)
    found = kept(data)
    first: dict[int, Checkpoint] = {}
    for checkpoint in found:
        first.setdefault(checkpoint.latest_ms // _DAY_MS, checkpoint)
    days = [*first.values()][-limits.CHECKPOINT_DAYS :]
    for checkpoint in found[:-1]:
        if checkpoint not in days:
            checkpoint.path.unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """Durably and at once, whatever was there. Raises OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
