"""Files of blocks, ``<number>.blocks`` beside the images that speak of them.

A block is made of one advertiser's documents and depends on nothing else, so it is written once and named by
their digest: images share it, and the next process takes it up instead of reading documents. A file is a run
of batches, each a table of contents and then its blocks. Who writes has a file of its own and only appends,
so what others have mapped never changes; what an earlier process left, perhaps torn, is checked block by
block before it is trusted, and else made anew. Files that are mostly of no use any more are written anew.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from adserver.engine.blocks import Block, opened
from adserver.engine.compile import Stored
from adserver.engine.image import Image, ImageError, Sections

SUFFIX: Final = ".blocks"

_MAPPED_BYTES: Final = 8 * 2**20
"""A batch of so many bytes is mapped once it is written; of smaller ones the memory is kept."""
_WASTED_BYTES: Final = 64 * 2**20
"""Beside half of all: so much may be of no use."""
_FILES_MAX: Final = 8


class Batch(Struct, frozen=True, array_like=True):
    """What follows, in order: digests of the documents, and sizes. ``program``: who made it; ``lineage``:
    the digest of all serials up to the row ``last``, by which it was made."""

    program: str
    last: int
    lineage: str
    keys: tuple[str, ...]
    sizes: tuple[int, ...]


class Lying(Struct, frozen=True, eq=False):
    """A block, the number of its file, and where in it."""

    block: Block
    file: int
    at: int


_BATCH: Final = msgspec.msgpack.Decoder(Batch)
_Place = tuple[int, int, int, Batch]
"""Number of the file, where in it, how many bytes, of which batch."""


class BlockFiles:
    """Those in ``folder``, by the ``program`` of this name. ``held``: what is kept, by its digest."""

    def __init__(self, folder: Path, program: str) -> None:
        self.held: dict[str, Lying] = {}
        self._folder = folder
        self._program = program
        self._numbers: dict[int, int] = {}
        """Of files that hold something of use: how many bytes they are."""
        self._file: int | None = None
        self._number = max(map(number_of, folder.glob(f"*{SUFFIX}")), default=0)

    # -- taking up -------------------------------------------------------------------------------

    def take_up(self, wanted: Iterable[str], lineages: Callable[[Iterable[int]], Mapping[int, str]]) -> None:
        """Hold those of the wanted that earlier processes left whole; ``lineages``: rows of serials -> the
        digests up to them."""
        files: dict[int, memoryview] = {}
        places: dict[str, _Place] = {}
        for path in self._folder.glob(f"*{SUFFIX}"):
            if number := number_of(path):
                with suppress(FileNotFoundError):  # the server may just have removed it
                    files[number] = given = mapped(path)
                    places |= {key: (number, *place) for key, place in self._listed(given)}
        right = lineages({batch.last for *_, batch in places.values()})
        for key in wanted:
            place = places.get(key)
            if place is not None and right.get(place[3].last) == place[3].lineage:
                number, at, size, _ = place
                self._take(key, number, at, files[number][at : at + size])
                self._numbers[number] = files[number].nbytes

    def _take(self, key: str, number: int, at: int, given: memoryview) -> None:
        try:
            self.held[key] = Lying(opened(given, checked=False), number, at)
        except (ImageError, msgspec.DecodeError):
            pass  # torn by a kill, or another version's: made anew, as all are where there are no files

    def _listed(self, given: memoryview) -> Iterable[tuple[str, tuple[int, int, Batch]]]:
        """Digest -> place, as far as the file goes."""
        at = 0
        while at < given.nbytes:
            try:
                contents = Sections.first(given[at:])
                contents.check()
                batch = _BATCH.decode(contents.bytes("batch"))
            except (ImageError, msgspec.DecodeError):
                return
            at += contents.whole.nbytes
            for key, size in zip(batch.keys, batch.sizes, strict=True):
                if batch.program == self._program:
                    yield key, (at, size, batch)
                at += size

    # -- writing ---------------------------------------------------------------------------------

    def add(self, made: Mapping[str, memoryview], last: int, lineage: str) -> None:
        """Write new blocks, by their digests, and hold them, all or none. Raises OSError."""
        sizes = tuple(map(len, made.values()))
        batch = Batch(self._program, last, lineage, tuple(made), sizes)
        contents = bytes(Image({"batch": msgspec.msgpack.encode(batch)}))
        number, at = self._begun()
        with self._path(number).open("r+b", buffering=0) as file:
            # Behind what is of use: an earlier attempt may have been cut short by a full disk.
            file.seek(at)
            for left in (memoryview(contents), *made.values()):
                while left:
                    left = left[file.write(left) :]
        at += len(contents)
        end = at + sum(sizes)
        whole = mapped(self._path(number), end) if end - at >= _MAPPED_BYTES else None
        for key, given in made.items():
            lies = given if whole is None else whole[at : at + len(given)]
            self.held[key] = Lying(opened(lies), number, at)
            at += len(given)
        self._numbers[number] = end

    def _begun(self) -> tuple[int, int]:
        """The file of this process, begun if need be, and where to go on in it. Makes the folder anew if
        somebody removed it."""
        if self._file is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._number += 1
            os.close(os.open(self._path(self._number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._file, self._numbers[self._number] = self._number, 0
        return self._file, self._numbers[self._file]

    # -- what is of use --------------------------------------------------------------------------

    def keep(self, wanted: Iterable[str]) -> None:
        """Forget all but these, which are held."""
        self.held = {key: self.held[key] for key in wanted}
        used = {lying.file for lying in self.held.values()}
        if self._file is not None:
            used.add(self._file)
        self._numbers = {number: size for number, size in self._numbers.items() if number in used}

    def in_order(self) -> tuple[list[Block], Stored]:
        """All that are held, by serial."""
        lying = sorted(self.held.values(), key=lambda one: one.block.serial)
        numbers = sorted({one.file for one in lying})
        places = [(numbers.index(one.file), one.at) for one in lying]
        names = tuple(self._path(number).name for number in numbers)
        return [one.block for one in lying], Stored(names, np.array(places, np.int64).reshape(-1, 2))

    @property
    def whole(self) -> bool:
        """Whether all files are still there, which somebody may have removed."""
        return all(self._path(number).exists() for number in self._numbers)

    @property
    def wasteful(self) -> bool:
        used = sum(one.block.sections.whole.nbytes for one in self.held.values())
        return len(self._numbers) > _FILES_MAX or sum(self._numbers.values()) > 2 * used + _WASTED_BYTES

    def gather(self, last: int, lineage: str) -> None:
        """Write all that are held into a new file. Raises OSError."""
        before = self._file, self._numbers.copy()
        self._file = None
        try:
            self.add({key: one.block.sections.whole for key, one in self.held.items()}, last, lineage)
        except OSError:
            self._path(self._number).unlink(missing_ok=True)
            self._file, self._numbers = before
            raise
        assert self._file is not None
        self._numbers = {self._file: self._numbers[self._file]}

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}{SUFFIX}"


def number_of(path: Path) -> int:
    """Of a file of blocks; 0: it is none."""
    return int(path.stem) if path.suffix == SUFFIX and path.stem.isdecimal() else 0


def mapped(path: Path, size: int = 0) -> memoryview:
    """For as long as anybody has a view of it; nothing of an empty file."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap(file.fileno(), size, access=ACCESS_READ))
