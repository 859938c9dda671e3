"""Check the laws after a load test, from what visitors saw and the delivery numbers alone.

``python loadtests/check.py --campaigns DIR --records DIR --delivery FILE``; exit code 1 for any violation,
and where a law was not put to the test. ``run.py`` calls it; by hand it repeats the check of a kept run.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from loadtests import budgets, caps, feeds, live, repeats, terms
from loadtests.findings import Findings
from loadtests.records import Seen, read
from loadtests.terms import World

_SHOWN: Final = 20
"""Violations printed of each law."""


def check(seen: Seen, delivery: budgets.Delivery, world: World) -> list[Findings]:
    """Every law over one run. ``delivery``: full id of a campaign -> its delivery numbers."""
    found = [
        feeds.check(seen.decisions, world),
        caps.check(seen.decisions, seen.events, world),
        budgets.check(seen.decisions, seen.events, delivery, world),
        repeats.check(seen.decisions),
    ]
    if seen.changes:
        found.append(live.check(seen.changes, seen.decisions, world))
    return found


def show(found: list[Findings], console: Console) -> bool:
    """Print a table per law and every violation (the first few of each); whether all hold."""
    for one in found:
        table = Table(
            title=f"Law {one.law}: {'holds' if one.holds else 'BROKEN'}", title_justify="left", box=None
        )
        table.add_column("checked", justify="right")
        table.add_column("what", overflow="fold")
        for what, number in one.checked.items():
            table.add_row(f"{number:,}", what)
        table.add_row(f"{len(one.violations):,}", "violations")
        console.print(table)
        for violation in one.violations[:_SHOWN]:
            console.print(f"  violated: {violation}", soft_wrap=True, markup=False, highlight=False)
        if len(one.violations) > _SHOWN:
            console.print(f"  ... and {len(one.violations) - _SHOWN:,} more")
        for what in one.empty:
            console.print(f"  not put to the test: no {what}", highlight=False)
        console.print()
    return all(one.holds for one in found)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the laws after a load test.")
    parser.add_argument("--campaigns", type=Path, required=True, help="the world that was served")
    parser.add_argument("--records", type=Path, required=True, help="what visitors saw")
    parser.add_argument("--delivery", type=Path, required=True, help="delivery numbers, JSON by campaign")
    asked = parser.parse_args()
    delivery = msgspec.json.decode(asked.delivery.read_bytes())
    found = check(read(asked.records), delivery, terms.read(asked.campaigns))
    return 0 if show(found, Console()) else 1


if __name__ == "__main__":
    sys.exit(main())
