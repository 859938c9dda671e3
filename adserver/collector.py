"""Python's cycle collector, told what need not be walked."""

import gc
from typing import Final

_YOUNG: Final = (700, 10)
"""As Python has them: what one request makes in circles goes with the next few."""
_BATCHES: Final = 500_000
_NEVER: Final = 1_000_000


def settle() -> None:
    """What was loaded so far lives as long as the process: the collector need not walk it again."""
    gc.collect()
    gc.freeze()
    # Nor what decisions leave behind: exposures and counters end by their reference counts. Walking all
    # of them whenever they had grown by a quarter stood still for 60 ms; a day's rest is walked at night.
    gc.set_threshold(*_YOUNG, _NEVER)


def work_in_batches() -> None:
    """Of a process whose objects live as long as a batch of thousands, in no circles: the collector walks
    once in some batches what it would walk dozens of times in each."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_BATCHES, 10, _NEVER)
