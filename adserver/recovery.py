"""Hot state from the journal: at start-up, and in a short-lived child that renews the checkpoint.

A checkpoint is the state at a position of the journal. Since state is a pure function of the journal, the
child needs nothing of the serving process: whenever a segment was sealed it reads the last checkpoint,
applies the sealed segments behind it, and writes the next one, on another core. So a restart reads one
segment or two, however long the server ran; without any checkpoint it reads them all.

The child's own line of checkpoints (``checkpoints``) holds besides what events delivered and billed, which a
server has from its ledger: replay begins with one of them. Some are kept, the first of each day.
"""

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from adserver import checkpoints
from adserver.checkpoints import Checkpoint
from adserver.domain.books import Position
from adserver.domain.records import Decided, Recorded
from adserver.engine import localtime
from adserver.ledger.accounts import LASTING_DAYS, Shared
from adserver.ledger.budgets import Budgets
from adserver.ledger.files import segment_path
from adserver.ledger.ledger import Ledger
from adserver.ledger.reader import Reader
from adserver.services.delivered import Recount
from adserver.services.hot import HotState
from adserver.services.repeats import Repeats
from adserver.services.traffic import Traffic
from adserver.state.feeds import FeedAccounts
from adserver.state.memory import MemoryState
from adserver.state.seen import Seen
from adserver.state.shared.mirror import Mirror
from adserver.state.shared.paging import Paging
from adserver.state.touches import Touches

FILE = "checkpoint.msgpack"
_MIRRORED = "mirrored"


class States(Struct, frozen=True):
    """The embedded server's hot state, part by part and as a whole."""

    exposures: MemoryState
    budgets: Budgets
    feeds: FeedAccounts
    repeats: Repeats
    seen: Seen
    filtered: Seen
    released: Seen
    traffic: Traffic
    touches: Touches
    hot: HotState


def fresh(shared: Shared | None = None, mirrored: bool = False) -> States:
    """Nothing happened yet. ``shared``: where budgets are shared with other processes; ``mirrored``: what
    people have seen is, and here is what this process adds to it."""
    exposures, feeds = (Mirror(), Paging()) if mirrored else (MemoryState(), FeedAccounts())
    budgets, repeats = Budgets(localtime.day_span, shared), Repeats()
    seen, filtered, released, traffic, touches = Seen(), Seen(), Seen(), Traffic(), Touches()
    hot = HotState(exposures, budgets, feeds, repeats, seen, filtered, released, traffic, touches)
    return States(exposures, budgets, feeds, repeats, seen, filtered, released, traffic, touches, hot)


class Reread(NamedTuple):
    """``erased``: how many of the records read are no longer whole."""

    states: States
    recount: Recount
    erased: int


def recover(
    data: Path, written: Position, until: Position | None = None, mirrored: bool = False
) -> tuple[States, Exception | None]:
    """The state at the end of the journal (or at ``until``), and why a checkpoint was of no use, if one
    was there. ``written``: the journal's end; a checkpoint behind it is of a journal that lost its tail."""
    states, start, trouble = _from_checkpoint(data / FILE, written, mirrored)
    with closing(Reader(data / "journal")) as reader:
        for behind, record, personal in reader.read(start):
            if until is not None and behind > until:
                break
            states.hot.apply(record, personal)
    return states, trouble


def _from_checkpoint(
    path: Path, written: Position, mirrored: bool
) -> tuple[States, Position, Exception | None]:
    states = fresh(mirrored=mirrored)
    try:
        position = states.hot.load(path.read_bytes())
    except FileNotFoundError:
        return states, Position(), None
    except (OSError, ValueError, KeyError) as error:
        return fresh(mirrored=mirrored), Position(), error
    if position > written:
        return fresh(mirrored=mirrored), Position(), ValueError("the checkpoint is of a longer journal")
    return states, position, None


def take_books(states: States, ledger: Ledger, since_day: int) -> None:
    """What was delivered and billed: of days, those from ``since_day`` on, and of line items sold per
    conversion more."""
    older = ledger.billed_days(list(states.budgets.lasting), since_day - LASTING_DAYS, since_day)
    states.budgets.load(ledger.totals(), [*ledger.billed_accounts(since_day), *older])
    states.budgets.paid_in(ledger.paid_in())
    states.budgets.forget_days(since_day)


def save(data: Path, hot: HotState, position: Position) -> None:
    """Replace the checkpoint, durably and at once. Raises OSError."""
    checkpoints.write(data / FILE, hot.dump(position))


def reread(
    data: Path, start: Checkpoint | None, until: Position, learned: int | None = None, mirrored: bool = False
) -> Reread:
    """The state at ``until`` with all that was delivered, from a checkpoint kept before (None: from the
    beginning). What was shown is counted as far as the journal position of number ``learned``. Raises Damage,
    OSError, ValueError for a checkpoint that cannot be read."""
    states = fresh(mirrored=mirrored)
    recount, position, erased = Recount(states.budgets), Position(), 0
    if start is not None:
        position, delivered = states.hot.load(start.path.read_bytes()), states.hot.delivered
        if delivered is None or position != start.position:
            raise ValueError(f"{start.path.name} is not what its name says")
        recount.load(delivered)
    with closing(Reader(data / "journal")) as reader:
        for behind, record, personal in reader.read(position, until):
            states.hot.apply(record, personal)
            recount.apply(record, learned is None or behind.number <= learned)
            erased += personal is None and isinstance(record, Decided | Recorded)
    return Reread(states, recount, erased)


def renew(data: Path, segment: int, mirrored: bool = False) -> None:
    """Renew the checkpoint to the beginning of ``segment``: all before it is sealed."""
    until = Position(segment, 0)
    start = checkpoints.last_before(data, until)
    if start is None and not segment_path(data / "journal", 1).exists():
        # Somebody took the journal's beginning away: no more is known than the checkpoint of the state.
        states, _ = recover(data, until, until, mirrored)
        delivered = None
    else:
        states, recount = _reread_anyhow(data, start, until, mirrored)
        delivered = recount.dump()
    hot = states.hot
    hot.sweep(hot.latest_ms)
    states.seen.sweep(hot.latest_ms)
    dumped = hot.dump(until, delivered)
    if delivered is not None:
        checkpoints.keep(data, until, hot.latest_ms, dumped)
    checkpoints.write(data / FILE, dumped)


def _reread_anyhow(
    data: Path, start: Checkpoint | None, until: Position, mirrored: bool
) -> tuple[States, Recount]:
    """From the journal's beginning where the checkpoint is an earlier version's."""
    try:
        states, recount, _ = reread(data, start, until, mirrored=mirrored)
    except ValueError:
        states, recount, _ = reread(data, None, until, mirrored=mirrored)
    return states, recount


def renewing(data: Path, segment: int, mirrored: bool = False) -> list[str]:
    """The command of the child that renews."""
    command = [sys.executable, "-m", "adserver.recovery", str(data), str(segment)]
    return [*command, _MIRRORED] if mirrored else command


if __name__ == "__main__":
    os.nice(10)
    renew(Path(sys.argv[1]), int(sys.argv[2]), _MIRRORED in sys.argv[3:])
