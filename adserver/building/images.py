"""The folder of snapshot images: ``<revision>-<digest>.image``, one in service and perhaps the next; beside
them files of blocks, which images share (``blockfiles``).

The digest is of what the catalogue holds and of the program, so a file of the right name is the right
snapshot, also after a restart or a restored backup. A file is written under another name and renamed; it is
not fsynced, for it can always be built again: what an earlier process left is read through before it is
trusted, so what a power cut made of it is refused.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Final

from adserver import __version__
from adserver.building.blockfiles import SUFFIX, BlockFiles, mapped, number_of
from adserver.engine.entries import Decoded
from adserver.engine.places import Store
from adserver.engine.snapshot import SHAPE, Snapshot

FOLDER: Final = "snapshots"
_SUFFIX: Final = ".image"


class Images:
    """Those of the data folder ``data``."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER
        self._stores: dict[str, tuple[int, Store]] = {}
        """Inode and file, by name: what is mapped keeps its inode, so no other file has that one."""
        self._numbers = count(1)
        self._decoded = Decoded()

    def blocks(self) -> BlockFiles:
        """The files of blocks, for who writes them."""
        return BlockFiles(self._folder, f"{__version__} {SHAPE.hex()}")

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

    def open(self, name: str, checked: bool = True) -> Snapshot:
        """Of the image of this name, mapped for as long as anybody has a view of it; ``checked``: not every
        byte needs to be read first. Raises OSError, and ValueError for what is no image."""
        before, self._stores = self._stores, {}
        image = mapped(self._path(name))
        return Snapshot.open(image, checked, lambda store: self._store(store, before), self._decoded)

    def _store(self, name: str, before: Mapping[str, tuple[int, Store]]) -> Store:
        """A file of blocks; mapped as it was for the last snapshot unless it grew, so that a process has not
        all pages to find again."""
        state = self._path(name).stat()
        inode, store = before.get(name, (0, None))
        if store is None or inode != state.st_ino:
            store = Store(next(self._numbers), mapped(self._path(name)))
        elif store.given.nbytes != state.st_size:
            store = Store(store.number, mapped(self._path(name)))
        self._stores[name] = state.st_ino, store
        return store

    def remove(self, name: str) -> None:
        """Who has it mapped keeps it."""
        self._path(name).unlink(missing_ok=True)

    def sweep(self, used: tuple[str, ...]) -> None:
        """Remove files of blocks older than the newest in use, but for those ``used``; a newer one may be of
        the next image."""
        newest = max((number_of(self._path(name)) for name in used), default=0)
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path.name not in used and number_of(path) < newest:
                path.unlink(missing_ok=True)

    def clear(self, kept: str) -> None:
        """Make the folder if need be, and remove all images but the one named ``kept``; before anybody
        writes. Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.iterdir():
            if path.name != kept and not number_of(path):
                path.unlink(missing_ok=True)
