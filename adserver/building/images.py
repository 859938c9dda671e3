"""The folder of snapshot images: ``<revision>-<digest>.image``, one in service and perhaps the next.

The digest is of what the catalogue holds and of the program, so a file of the right name is the right
snapshot, also after a restart or a restored backup. A file is written under another name and renamed; it is
not fsynced, for it can always be built again: what an earlier process left is read through before it is
trusted, so what a power cut made of it is refused.
"""

from collections.abc import Iterable
from hashlib import blake2b
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

from adserver import __version__

FOLDER: Final = "snapshots"
_SUFFIX: Final = ".image"


class Images:
    """Those of the data folder ``data``."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER

    def name(self, revision: int, digest: str) -> str:
        """What the image of a catalogue is called; ``digest``: of all it holds."""
        named = blake2b(f"{__version__} {digest}".encode(), digest_size=8).hexdigest()
        return f"{revision}-{named}{_SUFFIX}"

    def _path(self, name: str) -> Path:
        return self._folder / name

    def write(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """All of it or nothing; makes the folder anew if somebody removed it. Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        temporary = self._path(f"{name}.partial")
        try:
            with temporary.open("wb", buffering=0) as file:
                for piece in pieces:
                    left = memoryview(piece)
                    while left:
                        left = left[file.write(left) :]
            temporary.replace(self._path(name))
        finally:
            temporary.unlink(missing_ok=True)

    def open(self, name: str) -> memoryview:
        """The image, mapped for as long as anybody has a view of it. Raises OSError, and ValueError for an
        empty file."""
        with self._path(name).open("rb") as file:
            return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))

    def remove(self, name: str) -> None:
        """Who has it mapped keeps it."""
        self._path(name).unlink(missing_ok=True)

    def clear(self, kept: str) -> None:
        """Make the folder if need be, and remove all but the one named ``kept``; before anybody writes.
        Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.iterdir():
            if path.name != kept:
                path.unlink(missing_ok=True)
