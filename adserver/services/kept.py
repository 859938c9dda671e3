"""What a decision is kept in: the state it reads and moves, as the outer rooms provide it."""

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from adserver.domain.admission import Slate
from adserver.domain.caps import BoundCap
from adserver.domain.feeds import Answered, Standing, Track
from adserver.domain.request import FeedAsk
from adserver.engine.snapshot import Entry, Snapshot
from adserver.services import fees, plans
from adserver.services.ports import Journal
from adserver.services.receipts import Receipts
from adserver.services.repeats import Repeats
from adserver.services.tally import Tally


class State(Protocol):
    """Hot state: people's exposures."""

    def admit(
        self, subject: bytes | None, session: bytes | None, slates: list[Slate[Entry]], now_ms: int
    ) -> None: ...
    def full(self, cap: BoundCap, subject: bytes | None, session: bytes | None, now_ms: int) -> bool: ...
    def sweep(self, now_ms: int) -> None: ...
    def capped_out(
        self, subject: bytes | None, session: bytes | None, now_ms: int, catalogue: Snapshot
    ) -> Mapping[int, int]: ...
    def take_back(self, event_id: bytes) -> None: ...


class Feeds(Protocol):
    def turn(
        self, ask: FeedAsk, now_ms: int, open_receipt: Callable[[FeedAsk], Standing | None] | None = None
    ) -> Answered | Standing: ...
    def commit(self, answered: Answered, track: Track, now_ms: int, idle_ms: int) -> None: ...
    def touch(self, account: bytes, now_ms: int) -> bool: ...
    def answered(self, account: bytes, page: int, now_ms: int) -> Answered | None: ...


class Holds(plans.Accounts, fees.Holds, Protocol):
    def reserve(
        self, event_id: bytes, line_item: int, amount_nanos: int, now_ms: int, expires_ms: int,
        firm: bool = True,
    ) -> bool: ...  # fmt: skip
    def sweep(self, now_ms: int) -> None: ...


class Traffic(plans.Traffic, Protocol):
    def count(self, at_ms: int, placements: int) -> None: ...


class Kept(Struct, frozen=True):
    """What a decision was kept in. ``allotment``: the plan by which guaranteed line items are drawn
    (``planning``)."""

    state: State
    feeds: Feeds
    holds: Holds
    journal: Journal
    receipts: Receipts
    repeats: Repeats
    traffic: Traffic
    tally: Tally
    fees: fees.Fees
    allotment: Mapping[int, int] = {}
