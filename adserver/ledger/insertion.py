"""An insert of many rows, to be spelled by each dialect in its own fastest way."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, compress, repeat
from typing import Any, Final

from sqlalchemy import Table


class Insertion:
    """Into ``columns`` of a ``table``, and so many ``zeros`` into others; ``behind``: what follows ``ON
    CONFLICT``, empty where there is none. The rows of one call that may change a row (``DO UPDATE``) have
    different keys."""

    def __init__(self, table: Table, columns: Sequence[str], behind: str, zeros: Sequence[str] = ()) -> None:
        self.table: Final = table
        self.columns: Final = tuple(columns)
        self.head: Final = f"INSERT INTO {table.name} ({', '.join((*columns, *zeros))})"
        self.zeros: Final = ", 0" * len(zeros)
        self.tail: Final = f" ON CONFLICT {behind}" if behind else ""


def once(table: Table, columns: Sequence[str] | None = None) -> Insertion:
    """Rows that are there already are left alone; all but these ``columns`` are 0."""
    told = table.c.keys() if columns is None else columns
    return Insertion(
        table, told, "DO NOTHING", [column.name for column in table.c if column.name not in told]
    )


def changing(table: Table, changes: str) -> Insertion:
    """``changes``: of a row with the same primary key."""
    return Insertion(table, table.c.keys(), _change(table, changes))


def replacing(table: Table) -> Insertion:
    return changing(table, ", ".join(f"{name} = excluded.{name}" for name in _numbers(table)))


class Adding:
    """Numbers to be added to those of a table, or to some ``columns`` of it; its key comes first. Most rows
    of a batch leave most columns as they are: only those are told that one of them adds to."""

    def __init__(self, table: Table, columns: Sequence[str] | None = None) -> None:
        self._table = table
        self._columns = _numbers(table) if columns is None else columns
        self._insertions = dict[tuple[bool, ...], Insertion]()

    def of(self, rows: Mapping[Any, Sequence[int]]) -> tuple[Insertion, Iterable[tuple[Any, ...]]]:
        """The insertion of these rows, by key, and what it is told."""
        keys = sorted(rows)
        return self.told(keys, map(rows.__getitem__, keys))

    def told(
        self, keys: Sequence[Any], rows: Iterable[Sequence[int]]
    ) -> tuple[Insertion, Iterable[tuple[Any, ...]]]:
        """The same of rows that are sorted by key."""
        width = len(self._columns)
        # Column by column out of one list: rows lie anywhere in memory, and most numbers are 0.
        flat = list(chain.from_iterable(rows))
        columns = [flat[place::width] for place in range(width)]
        moved = tuple(map(any, columns))
        if moved not in self._insertions:
            self._insertions[moved] = self._insertion(list(compress(self._columns, moved)))
        numbers = zip(*compress(columns, moved), strict=True) if any(moved) else repeat(())
        return self._insertions[moved], ((*key, *told) for key, told in zip(keys, numbers, strict=False))

    def _insertion(self, moved: Sequence[str]) -> Insertion:
        table = self._table
        keys = [column.name for column in table.primary_key]
        sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in moved)
        still = [name for name in _numbers(table) if name not in moved]
        return Insertion(table, [*keys, *moved], _change(table, sums) if moved else "DO NOTHING", still)


def _change(table: Table, changes: str) -> str:
    keys = ", ".join(column.name for column in table.primary_key)
    return f"({keys}) DO UPDATE SET {changes}"


def _numbers(table: Table) -> list[str]:
    return [column.name for column in table.c if not column.primary_key]
