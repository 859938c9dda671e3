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
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from adserver import checkpoints
from adserver.checkpoints import Checkpoint
from adserver.domain.books import Position
from adserver.domain.records import Decided, Recorded
from adserver.engine import localtime
from adserver.ledger import journals
from adserver.ledger.accounts import LASTING_DAYS, Shared
from adserver.ledger.budgets import Budgets
from adserver.ledger.files import segment_path
from adserver.ledger.ledger import Ledger
from adserver.ledger.reader import Reader
from adserver.ledger.segments import Damage
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
    data: Path, written: Position, until: Position | None = None, number: int = 0,
    begun: Callable[[], States] = fresh,
) -> tuple[States, Exception | None]:  # fmt: skip
    """The state at the end of the journal of this ``number`` (or at ``until``), and why a checkpoint was of
    no use, if one was there. ``written``: the journal's end; a checkpoint behind it is of a journal that lost
    its tail. ``begun`` makes that with which it begins."""
    states, start, trouble = _from_checkpoint(journals.home_of(data, number) / FILE, written, begun)
    with closing(Reader(journals.folder_of(data, number))) as reader:
        for behind, record, personal in reader.read(start):
            if until is not None and behind > until:
                break
            states.hot.apply(record, personal)
    return states, trouble


def _from_checkpoint(
    path: Path, written: Position, begun: Callable[[], States]
) -> tuple[States, Position, Exception | None]:
    states = begun()
    try:
        position = states.hot.load(path.read_bytes())
    except FileNotFoundError:
        return states, Position(), None
    except (OSError, ValueError, KeyError) as error:
        return begun(), Position(), error
    if position > written:
        return begun(), Position(), ValueError("the checkpoint is of a longer journal")
    return states, position, None


def belong(written: Position, posted: Position) -> None:
    """A journal that ends before what its ledger has of it was put back alone, or is another's: what is
    written from there on would be taken for posted and never be. Raises Damage."""
    if posted > written:
        raise Damage(
            written.segment, written.offset,
            f"the journal ends here, and the ledger was posted up to segment {posted.segment} offset "
            f"{posted.offset}: they are not of one time; put back a whole copy",
        )  # fmt: skip


def take_books(
    states: States, ledger: Ledger, since_day: int, billed: Iterable[tuple[str, int, int]] | None = None
) -> None:
    """What was delivered and billed: of days, those from ``since_day`` on, and of line items sold per
    conversion more; or what is known to be ``billed`` already."""
    if billed is None:
        older = ledger.billed_days(list(states.budgets.lasting), since_day - LASTING_DAYS, since_day)
        billed = [*ledger.billed_accounts(since_day), *older]
    states.budgets.load(ledger.totals(), billed)
    states.budgets.paid_in(ledger.paid_in())
    states.budgets.forget_days(since_day)


def save(data: Path, hot: HotState, position: Position, number: int = 0) -> None:
    """Replace the checkpoint, durably and at once. Raises OSError."""
    checkpoints.write(journals.home_of(data, number) / FILE, hot.dump(position))


def reread(
    data: Path, start: Checkpoint | None, until: Position, learned: int | None = None, number: int = 0,
    begun: Callable[[], States] = fresh,
) -> Reread:  # fmt: skip
    """The state at ``until`` with all that was delivered, from a checkpoint kept before (None: from the
    beginning). What was shown is counted as far as the journal position of number ``learned``. Raises Damage,
    OSError, ValueError for a checkpoint that cannot be read."""
    states = begun()
    recount, position, erased = Recount(states.budgets), Position(), 0
    if start is not None:
        position, delivered = states.hot.load(start.path.read_bytes()), states.hot.delivered
        if delivered is None or position != start.position:
            raise ValueError(f"{start.path.name} is not what its name says")
        recount.load(delivered)
    with closing(Reader(journals.folder_of(data, number))) as reader:
        for behind, record, personal in reader.read(position, until):
            states.hot.apply(record, personal)
            recount.apply(record, learned is None or behind.number <= learned)
            erased += personal is None and isinstance(record, Decided | Recorded)
    return Reread(states, recount, erased)


def renew(data: Path, segment: int, number: int = 0, begun: Callable[[], States] = fresh) -> None:
    """Renew the checkpoint to the beginning of ``segment``: all before it is sealed."""
    until, home = Position(segment, 0), journals.home_of(data, number)
    start = checkpoints.last_before(home, until)
    if start is None and not segment_path(journals.folder_of(data, number), 1).exists():
        # Somebody took the journal's beginning away: no more is known than the checkpoint of the state.
        states, _ = recover(data, until, until, number, begun)
        delivered = None
    else:
        states, recount = _reread_anyhow(data, start, until, number, begun)
        delivered = recount.dump()
    hot = states.hot
    hot.sweep(hot.latest_ms)
    states.seen.sweep(hot.latest_ms)
    dumped = hot.dump(until, delivered)
    if delivered is not None:
        checkpoints.keep(home, until, hot.latest_ms, dumped)
    checkpoints.write(home / FILE, dumped)


def _reread_anyhow(
    data: Path, start: Checkpoint | None, until: Position, number: int, begun: Callable[[], States]
) -> tuple[States, Recount]:
    """From the journal's beginning where the checkpoint is an earlier version's."""
    try:
        states, recount, _ = reread(data, start, until, None, number, begun)
    except ValueError:
        states, recount, _ = reread(data, None, until, None, number, begun)
    return states, recount


def renewing(data: Path, segment: int, number: int = 0, mirrored: bool = False) -> list[str]:
    """The command of the child that renews."""
    command = [sys.executable, "-m", "adserver.recovery", str(data), str(segment), str(number)]
    return [*command, _MIRRORED] if mirrored else command


if __name__ == "__main__":
    os.nice(10)
    as_served = partial(fresh, mirrored=_MIRRORED in sys.argv[4:])
    renew(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), as_served)
