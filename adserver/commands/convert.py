"""``adserver convert``: tell a running server of the conversions in a file, a thousand a call."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from adserver.commands.remote import Remote
from adserver.domain import limits
from adserver.options import Wrong

_PATH: Final = "/v1/conversions"
_NUMBERS: Final = ("value_micros",)
_TOLD_OF: Final = ("late", "invalid")


def convert(file: Path, remote: Remote) -> bool:
    """``.csv`` with a line of names, else NDJSON; what is wrong with one is told with its line, then the
    sums. Telling the same file again counts nothing twice. Whether all were good. Raises Wrong, Failed."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            counts = _tell(_rows(text) if file.suffix == ".csv" else _lines(text), remote)
    except OSError as error:
        raise Wrong(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Wrong(f"{file} is not UTF-8 text: {error.reason}") from None
    print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no conversions")
    return not any(counts[status] for status in _TOLD_OF)


def _tell(conversions: Iterator[tuple[int, Any]], remote: Remote) -> Counter[str]:
    counts = Counter[str]()
    while part := list(islice(conversions, limits.CONVERSIONS_PER_BATCH)):
        answer = remote.post(_PATH, {"conversions": [one for _, one in part]})
        for (line, _), result in zip(part, answer["results"], strict=True):
            counts[result["status"]] += 1
            if result["status"] in _TOLD_OF:
                why = f": {result['message']}" if "message" in result else ""
                print(f"line {line}: {result['id']} is {result['status']}{why}", file=sys.stderr)
    return counts


def _lines(text: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise Wrong(f"line {number} is not JSON: {error}") from None


def _rows(text: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """An empty cell says nothing; one that no name stands above is a comma too many before it."""
    rows = csv.DictReader(text, strict=True)
    try:
        for row in rows:
            if None in row:
                raise Wrong(f"line {rows.line_num} has more cells than the line of names")
            given: dict[str, Any] = {name: cell for name, cell in row.items() if name and cell}
            for name in _NUMBERS:
                if given.get(name, "").isascii() and given.get(name, "").isdigit():
                    given[name] = int(given[name])
            yield rows.line_num, given
    except csv.Error as error:
        raise Wrong(f"line {rows.line_num} is not CSV: {error}") from None
