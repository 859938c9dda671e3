"""Replay: a journalled decision made once more, offline, by the very code that made it (laws 5 and 6).

All it depended on is in the journal or named there: counters, budgets, feed accounts and hints are the state
at the record before it (``recovery.reread``), rates are learned again from the events up to the position they
are named by, the request was kept with the decision (``services.asked``), the snapshot is that of its
revision. Deciding then gives the same bytes, or law 5 is broken; where an input is gone, it says which.

Who shares budgets with others decides by leases, by what others delivered, and by what others showed somebody
(in Redis), and its journal tells none of it; where such a decision comes out otherwise, that is what is gone.

A feed account may have been read since the journal was last told (``state.feeds``): that it went on at this
page is the decision's own word for it.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NoReturn

from msgspec import Struct

from adserver import checkpoints, recovery
from adserver.building.history import snapshot_at
from adserver.catalog import secrets
from adserver.checkpoints import Checkpoint
from adserver.domain import ids
from adserver.domain.books import JournalClosed, Position
from adserver.domain.catalogue import Gone
from adserver.domain.decision import Decision
from adserver.domain.records import ENCODER, Decided, Personal
from adserver.domain.request import Request
from adserver.engine.rates import Rates, learn
from adserver.engine.snapshot import Snapshot
from adserver.ledger import journals
from adserver.ledger.files import segment_numbers, segment_path
from adserver.ledger.reader import Reader
from adserver.recovery import Reread
from adserver.services.asked import Unreadable, request_of
from adserver.services.deciding import Deciding
from adserver.services.kept import Kept
from adserver.services.receipts import Receipts
from adserver.services.refusals import Refused
from adserver.services.terms import InForce
from adserver.services.world import Serving

Outcome = Literal["identical", "differs", "gone", "erased"]
SnapshotAt = Callable[[Path, int], Snapshot]


class Unknown(Exception):
    """The journal has no decision with this id."""


class Found(Struct, frozen=True):
    """A decision in the journal of the process with this ``number``, and the position ``before`` its
    record."""

    record: Decided
    person: Personal | None
    before: Position
    number: int


class Replayed(Struct, frozen=True):
    """``again``: the decision as it was made once more; ``reason``: which input is gone; ``difference``:
    the first place that differs, with what stands there; ``names``: of line items, by serial, where known."""

    outcome: Outcome
    decision: Decision
    again: Decision | None = None
    reason: str = ""
    difference: tuple[str, Any, Any] | None = None
    names: dict[int, str] = {}

    @property
    def digest(self) -> str:
        return digest(self.decision)


def digest(decision: Decision) -> str:
    """Of the bytes in the journal."""
    return blake2b(ENCODER.encode(decision), digest_size=16).hexdigest()


def replay(data: Path, minted: bytes, snapshots: SnapshotAt = snapshot_at, shared: bool = False) -> Replayed:
    """``minted``: the id of the request, or of one of its ads; ``shared``: other data folders serve from the
    same ledger. Only reads. Raises Unknown, Damage, OSError."""
    found = find(data, minted)
    decision = found.record.decision
    if found.person is None:
        return Replayed("erased", decision, reason="the personal part of its record was erased")
    try:
        snapshot = snapshots(data, decision.revision)
        request = request_of(decision, found.person, snapshot)
        reread = _reread(data, found)
        reread.states.budgets.follow(InForce(snapshot))
        again = _decided(found, request, _serving(snapshot, reread, found), _kept(data, reread, found))
    except Gone as gone:
        return Replayed("gone", decision, reason=str(gone))
    except Unreadable as unreadable:
        return Replayed("gone", decision, reason=str(unreadable))
    names = {serial: terms.full_id for serial, terms in reread.states.hot.terms.items()}
    if ENCODER.encode(again) == ENCODER.encode(decision):
        return Replayed("identical", decision, again, names=names)
    if reread.erased:
        reason = f"what was counted by records before it that were erased ({reread.erased})"
        return Replayed("gone", decision, again, reason, names=names)
    if shared or len(journals.numbers_in(data)) > 1:
        reason = "what it was leased of shared budgets, and what others had delivered or shown to whom"
        return Replayed("gone", decision, again, reason, names=names)
    return Replayed("differs", decision, again, difference=_difference(decision, again), names=names)


# -- what it depended on ---------------------------------------------------------------------------


def find(data: Path, minted: bytes) -> Found:
    """Raises Unknown, Damage."""
    # Ids of before there were several tell of no process: what is not in its own is in the first journal.
    owner, numbers = ids.owner_of(minted), journals.numbers_in(data)
    for number in dict.fromkeys((owner, numbers[0])) if owner in numbers else numbers[:1]:
        found = _find_in(data, number, minted)
        if found is not None:
            return found
    told = "" if owner in numbers else f" (if there is one, process {owner} made it, of another data folder)"
    raise Unknown(f"the journal has no decision or ad {ids.encode(minted)}{told}")


def _find_in(data: Path, number: int, minted: bytes) -> Found | None:
    wanted, made_ms = ids.request_of(minted), ids.minted_ms(minted)
    kept = checkpoints.kept(journals.home_of(data, number))
    starts = [one.position for one in reversed(kept) if one.latest_ms < made_ms][:1]
    # A clock that was set back between two processes makes times tell nothing.
    oldest = next(iter(segment_numbers(journals.folder_of(data, number))), 1)
    for start in (*starts, Position(oldest)):
        found = _look_for(data, number, wanted, start)
        index = ids.index_of(minted)
        if found is not None:
            ads = (
                ad.index for slot in found.record.decision.slots if slot.repeated is None for ad in slot.ads
            )
            if index and index not in ads:
                break
            return found
    return None


def _look_for(data: Path, number: int, request_id: bytes, start: Position) -> Found | None:
    before = start
    with closing(Reader(journals.folder_of(data, number))) as reader:
        for behind, record, person in reader.read(start):
            if isinstance(record, Decided) and record.decision.request_id == request_id:
                return Found(record, person, before, number)
            before = behind
    return None


def _reread(data: Path, found: Found) -> Reread:
    """The state before the decision, with the counts its rates were learned from."""
    learned = found.record.decision.rates
    for start in _starts(journals.home_of(data, found.number), found.before, learned):
        if start is None and not segment_path(journals.folder_of(data, found.number), 1).exists():
            break
        try:
            return recovery.reread(data, start, found.before, learned, found.number)
        except ValueError:
            # A checkpoint is a cache: an earlier one, or the journal's beginning, knows as much.
            continue
    raise Gone("the beginning of the journal is no longer kept, nor a checkpoint before it and its rates")


def _starts(data: Path, before: Position, learned: int) -> Iterator[Checkpoint | None]:
    for one in reversed(checkpoints.kept(data)):
        if one.position <= before and (not learned or one.position.number <= learned):
            yield one
    yield None


def _serving(snapshot: Snapshot, reread: Reread, found: Found) -> Serving:
    number = found.record.decision.rates
    serving = Serving(snapshot, learn(number, reread.recount.shown()) if number else Rates())
    hot = reread.states.hot
    serving.worth.weigh(hot.multipliers)
    hot.hint(found.record)
    for position, reason in hot.left_out.items():
        serving.live.clear(position, reason)
    return serving


def _kept(data: Path, reread: Reread, found: Found) -> Kept:
    decision, states = found.record.decision, reread.states
    for slot in decision.slots:
        page = slot.feed
        if page is not None and (slot.repeated is not None or (page.page and not page.continued)):
            states.feeds.lived_on(page.account, decision.now_ms)
    return Kept(
        states.exposures, states.feeds, states.budgets, _Journal(), _receipts(data, decision), states.repeats,
        states.traffic, states.hot.tally, states.hot.fees, states.hot.allotment,
    )  # fmt: skip


def _receipts(data: Path, decision: Decision) -> Receipts:
    """The key that signs pages: needed by feeds alone."""
    if not any(slot.feed is not None for slot in decision.slots):
        return Receipts(b"")
    if not (data / secrets.FILE).exists():
        raise Gone(f"{data / secrets.FILE}, by which pages of feeds are signed")
    try:
        return Receipts(secrets.load(data).receipt)
    except secrets.BadSecrets as error:
        raise Gone(str(error)) from error


class _Journal:
    """What a decision that was journalled found."""

    open = True

    def append(self, record: object, personal: object = None) -> NoReturn:
        raise JournalClosed("replay writes nothing")

    def synced(self) -> NoReturn:
        raise JournalClosed("replay writes nothing")


# -- the decision once more ------------------------------------------------------------------------


def _decided(found: Found, request: Request, serving: Serving, kept: Kept) -> Decision:
    try:
        return Deciding(request, serving, kept, found.record.decision.key_id).run()
    except Refused as refused:
        raise Gone(f"a page of the feed account that the journal was never told of ({refused})") from refused


def _difference(one: Decision, other: Decision) -> tuple[str, Any, Any]:
    """The first place where they differ, as ``slots[0].ads[1].line_item``."""
    return next(_differences("", one, other))


def _differences(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, Struct) and type(one) is type(other):
        for name in one.__struct_fields__:
            yield from _differences(f"{path}.{name}".lstrip("."), getattr(one, name), getattr(other, name))
    elif isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        for number, both in enumerate(zip(one, other, strict=True)):
            yield from _differences(f"{path}[{number}]", *both)
    elif one != other:
        yield path, one, other
