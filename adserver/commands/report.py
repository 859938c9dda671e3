"""``adserver report``: a delivery report of a running server, as a table or as CSV."""

import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from rich.table import Table
from rich.text import Text

from adserver.commands.remote import Remote
from adserver.commands.shown import plain, show_table
from adserver.domain.money import format_micros

_PATH: Final = "/v1/reports/delivery"
_UNKNOWN: Final = "-"


def report(asked: Mapping[str, str], remote: Remote, csv: bool) -> None:
    """``asked``: the query, empty where it was not given. Raises Wrong, Failed."""
    path = f"{_PATH}?{urlencode({name: value for name, value in asked.items() if value})}"
    if csv:
        sys.stdout.write(remote.text(path, "text/csv"))
        return
    found = remote.get(path)
    show_table(_table(found))
    for held in found["withheld"]:
        many = (
            f"{held['rows']} rows, told as their sum: some are about fewer than {found['people_min']} people"
        )
        print(f"withheld: {many}")


def _table(found: Any) -> Table:
    group_by, metrics = found["group_by"], found["metrics"]
    money = ["currency"] if any("currency" in row for row in (*found["rows"], *found["withheld"])) else []
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (*group_by, *money):
        table.add_column(name)
    for name in metrics:
        table.add_column(name.removesuffix("_micros"), justify="right")
    for row in found["rows"]:
        table.add_row(*(_cell(name, row[name]) for name in (*group_by, *money, *metrics)))
    for held in found["withheld"]:
        keys = ["withheld", *[""] * len(group_by)][: len(group_by)]
        table.add_row(*keys, *(_cell(name, held[name]) for name in (*money, *metrics)), style="dim")
    return table


def _cell(name: str, value: Any) -> Text:
    if value is None:
        return Text(_UNKNOWN)
    if isinstance(value, list):
        return Text(" ".join(map(str, value)))
    return Text(format_micros(value) if name.endswith("_micros") else plain(str(value)))
