"""``adserver export``: events as Parquet, a folder a day and hour, as every other engine reads them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from adserver.databases import Unusable
from adserver.domain.bills import CLOSINGS, Closing, Exported
from adserver.ledger.export import EventRow, closings_posted, events
from adserver.ledger.journals import folder_of, written_in
from adserver.ledger.place import place_of
from adserver.ledger.segments import Damage
from adserver.options import Failed, Wrong

ROWS_PER_GROUP: Final = 65_536
HOURS_OPEN: Final = 3
"""Files written at a time: events come in order but for a clock that was set back."""
_HOUR_MS: Final = 3_600_000
_PARTIAL: Final = ".partial"
_FILE: Final = "events-{number:03d}.parquet"


def export(
    data: Path, folder: Path, from_ms: int, to_ms: int, database: str = "", others: Sequence[Path] = ()
) -> int:
    """Write the events recorded in [from, to) into ``folder`` (empty or not there yet); how many there were.
    ``database``: the URL of the ledger's, if it is in no file; ``others``: data folders, or copies, of other
    machines that share it. Raises Wrong, Failed."""
    journals = _journals((data, *others))
    parquet, written, closings = _parquet(), 0, list[Closing]()
    try:
        with _claimed(folder) as last:
            with _Hours(folder, parquet) as hours:
                stood = closings_posted(place_of(data, database))
                for row in events(journals, from_ms, to_ms, closings, stood):
                    hours.add(row)
                    written += 1
            last.write_bytes(msgspec.json.encode(Exported(from_ms, to_ms, closings)))
    except Unusable as error:
        raise Failed(f"not everything was exported: {error}") from error
    except Damage as error:
        raise Failed(f"not everything was exported: the journal is damaged: {error}") from error
    except OSError as error:
        told = f"{error.filename or folder}: {error.strerror or error}"
        raise Failed(f"not everything was exported: {told}") from error
    return written


def _journals(data_dirs: Sequence[Path]) -> list[Path]:
    """All of them, by their numbers, each once. Raises Wrong."""
    found = dict[int, Path]()
    for data in data_dirs:
        numbers = written_in(data)
        if not numbers:
            raise Wrong(f"{data} is not a data folder")
        for number in numbers:
            if number in found:
                raise Wrong(f"{folder_of(data, number)} and {found[number]} are the same journal")
            found[number] = folder_of(data, number)
    return [found[number] for number in sorted(found)]


@contextmanager
def _claimed(folder: Path) -> Iterator[Path]:
    """A file that keeps other exports away and is the last to be whole; what was killed before has none.
    After a fault, what is not whole is removed. Raises Wrong."""
    partial = (folder / CLOSINGS).with_suffix(_PARTIAL)
    refused = Wrong(
        f"{folder} is not an empty folder, or another export writes into it: one is written whole"
    )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise refused
    folder.mkdir(parents=True, exist_ok=True)
    try:
        partial.touch(exist_ok=False)
    except FileExistsError:
        raise refused from None
    if [*folder.iterdir()] != [partial]:
        partial.unlink()
        raise refused
    try:
        yield partial
        partial.replace(folder / CLOSINGS)
    finally:
        for left in folder.rglob(f"*{_PARTIAL}"):
            left.unlink()


class _Hours:
    """One open file for each of the last hours; an hour that comes again later begins another file."""

    def __init__(self, folder: Path, parquet: Any) -> None:
        self._folder = folder
        self._parquet = parquet
        self._open: dict[int, _File] = {}
        self._begun: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After a fault, nothing more is written."""
        try:
            while self._open and error is None:
                self._end(min(self._open))
        finally:
            for file in self._open.values():
                file.abandon()

    def add(self, row: EventRow) -> None:
        hour = row.at_ms // _HOUR_MS
        file = self._open.get(hour)
        if file is None:
            if len(self._open) == HOURS_OPEN:
                self._end(min(self._open))
            file = self._open[hour] = self._begin(hour)
        file.add(row)

    def _end(self, hour: int) -> None:
        self._open[hour].close()
        del self._open[hour]

    def _begin(self, hour: int) -> "_File":
        number = self._begun[hour] = self._begun.get(hour, 0) + 1
        at = datetime.fromtimestamp(hour * 3600, UTC)
        folder = self._folder / f"day={at:%Y-%m-%d}" / f"hour={at:%H}"
        folder.mkdir(parents=True, exist_ok=True)
        return _File(folder / _FILE.format(number=number), self._parquet)


class _File:
    """One Parquet file, under another name until it is whole."""

    def __init__(self, path: Path, parquet: Any) -> None:
        self._path = path
        self._partial = path.with_suffix(_PARTIAL)
        self._parquet = parquet
        self._schema = _schema()
        self._writer = parquet.ParquetWriter(self._partial, self._schema, compression="zstd")
        self._rows: list[EventRow] = []

    def add(self, row: EventRow) -> None:
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.table(_columns(self._rows), self._schema))
        self._rows.clear()

    def abandon(self) -> None:
        with suppress(OSError):
            self._writer.close()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()
        self._partial.replace(self._path)


def _columns(rows: Iterable[EventRow]) -> Mapping[str, list[object]]:
    rows = list(rows)
    return {name: [getattr(row, name) for row in rows] for name in EventRow.__struct_fields__}


def _schema() -> Any:
    """Instants as such, days as dates; what repeats much as dictionaries."""
    import pyarrow

    named, instant = pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), pyarrow.timestamp("ms", tz="UTC")
    kinds = {"at_ms": instant, "decided_ms": instant, "day": pyarrow.date32(), "test": pyarrow.bool_()}
    kinds |= {"event_id": pyarrow.string(), "creative": pyarrow.int64()}
    kinds |= {name: pyarrow.int64() for name in ("billed_nanos", "free_nanos", "place")}
    return pyarrow.schema([(name, kinds.get(name, named)) for name in EventRow.__struct_fields__])


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise Wrong("export needs pyarrow: install adserver[export]") from None
    return pyarrow.parquet
