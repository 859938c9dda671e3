"""Replaces a catalogue's line items a few at a time, when told to, as another process of its owner would.

``python -m loadtests.replacing DATA --line-items 100000``: says ``ready``, and then takes lines ``BATCHES
SECONDS`` on standard input: so many batches of ``filling.BATCH`` campaigns, evenly over so long (or as fast
as they go, where that is longer). After each it says how many there were and the last one's revision.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from adserver.catalog.store import Store
from adserver.domain.campaign import Campaign
from loadtests import filling


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.replacing", description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--line-items", type=int, default=100_000)
    asked = parser.parse_args()
    # In life this is a machine of somebody else's: it may have what the server and its clients leave over.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    store = filling.open_store(asked.data)
    batches = replacements(store, filling.catalogue(asked.line_items))
    print("ready", flush=True)
    for line in sys.stdin:
        number, seconds = line.split()
        replaced, revision = replace(batches, int(number), float(seconds))
        print(replaced, revision, flush=True)
    store.close()


def replacements(store: Store, campaigns: tuple[Campaign, ...]) -> Iterator[int]:
    """Replaces a batch whenever it is asked for the next revision; begins again when all were replaced."""
    for version in count(int(time.time())):
        for revision, _ in filling.fill(store, campaigns, version):
            yield revision


def replace(batches: Iterator[int], number: int, seconds: float) -> tuple[int, int]:
    """(batches replaced, the revision of the last)."""
    began, revision = time.monotonic(), 0
    for done in range(number):
        time.sleep(max(0.0, began + done * seconds / number - time.monotonic()))
        revision = next(batches)
    return number, revision


if __name__ == "__main__":
    main()
