"""Where the journals of a data folder lie: one for each serving process, numbered from 0.

An embedded server has number 0 and is alone. Whoever else serves from the same ledger has a journal of its
own, its own place in the books (a *consumer*), and its own leases on the budgets (``leases``). An event is
recorded in the journal in which its ad was decided: there its reservation stands, and there it is known
whether it came before.
"""

from pathlib import Path
from typing import Final

from adserver.ledger.ledger import CONSUMER
from adserver.ledger.reader import JOURNAL

_MORE: Final = "journals"


def folder_of(data: Path, number: int) -> Path:
    """Of the process with this number."""
    return data / _MORE / str(number) if number else data / JOURNAL


def home_of(data: Path, number: int) -> Path:
    """Where the process with this number keeps its checkpoints."""
    return data / _MORE / str(number) if number else data


def consumer_of(number: int) -> str:
    """The name under which the ledger keeps how far this journal is posted."""
    return f"{CONSUMER}:{number}" if number else CONSUMER


def numbers_in(data: Path) -> list[int]:
    """The journals there are, the embedded server's too where there is none yet."""
    return written_in(data) or [0]


def written_in(data: Path) -> list[int]:
    """The journals that somebody wrote in: of a machine among several the first need not be there."""
    more = (data / _MORE).glob("[1-9]*")
    numbers = sorted(int(path.name) for path in more if path.name.isdecimal() and path.is_dir())
    return [0, *numbers] if (data / JOURNAL).is_dir() else numbers
