"""Tables as CSV (RFC 4180): nothing in them may act as a formula where they are opened."""

from collections.abc import Iterable, Sequence
from typing import Final

CSV: Final = (b"content-type", b"text/csv; charset=utf-8; header=present")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_QUOTED: Final = frozenset(',"\r\n')

Cell = str | int | float | None


def csv(rows: Iterable[Sequence[Cell]]) -> bytes:
    """The first row is the header. None is an empty cell; a text that a spreadsheet might run gets an
    apostrophe before it."""
    return "".join([",".join(map(_cell, row)) + "\r\n" for row in rows]).encode()


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    text = f"'{value}" if value.startswith(_FORMULA) else value
    return '"' + text.replace('"', '""') + '"' if not _QUOTED.isdisjoint(text) else text


def wants_csv(accept: str) -> bool:
    """Whether an ``accept`` header names CSV, and before JSON."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return next((kind for kind in kinds if kind in ("text/csv", "application/json")), "") == "text/csv"
