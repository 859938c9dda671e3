"""Invalid traffic as it comes: marked with a reason, never dropped, kept out of money, caps and learning.

What the Media Rating Council calls general invalid traffic: prefetches, declared robots, agents that are no
browser's, data centres, activity that no person keeps up. What cannot be judged is let through: an address
says nothing of people where a publisher's server or an app's tells the events, a machine's test has no
tempo, and an impression told in a batch was shown some time before. Whoever is found out later is taken back
(``invalidating``).

Which impressions there were is in the journal, so that rule holds over restarts; tempo and the times of the
latest impressions begin anew with each process.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from adserver.domain.decision import EventKind
from adserver.domain.invalid import Invalid
from adserver.domain.records import Status
from adserver.domain.told import Heard
from adserver.services import agents
from adserver.services.calls import Call
from adserver.services.ports import Ledger
from adserver.services.world import World
from adserver.tokens import FLAG_TEST, Token

_IMPRESSION: Final = bytes((EventKind.IMPRESSION,))
_NOT_SHOWN: Final = (None, Status.FILTERED)


class Recorded(Protocol):
    def __contains__(self, key: bytes, /) -> bool: ...


class Addresses(Protocol):
    def hosted(self, ip: str) -> bool:
        """Whether it is a data centre's."""
        ...

    def name(self, ip: str) -> int | None:
        """Under which its events are counted, None where they are not."""
        ...


class Tempo(Protocol):
    def exceeds(self, key: bytes | int, now_ms: int, counts: bool) -> bool:
        """Whether this event comes too fast; ``counts``: it is a new one."""
        ...

    def exceeding(self, keys: Iterable[bytes | int | None], now_ms: int) -> list[int]:
        """The places of new events, one after the other, that do. None is nobody."""
        ...


class Times(Protocol):
    def get(self, key: bytes) -> int | None: ...
    def put(self, key: bytes, value: int, now_ms: int) -> None: ...
    def put_all(self, keys: Iterable[bytes], value: int, now_ms: int) -> None: ...


class Tempos(Struct, frozen=True):
    """Of one kind of event; None: without a limit."""

    user: Tempo | None = None
    address: Tempo | None = None
    placement: Tempo | None = None


class Screen:
    """``seen``: events recorded and not yet forgotten, by event id and kind; ``shown_at``: when the latest
    ads were shown; ``fastest_click_ms``: 0: no click is too fast; ``called`` is told of each filtered
    call, ``marked`` of each event so marked; ``left``: whether an ad was decided by a process that is no
    more."""

    def __init__(
        self, world: World, seen: Recorded, ledger: Ledger, addresses: Addresses,
        tempos: dict[EventKind, Tempos], shown_at: Times, fastest_click_ms: int,
        called: Callable[[Invalid], None], marked: Callable[[int, int, Invalid], None],
        left: Callable[[bytes], bool],
    ) -> None:  # fmt: skip
        self._world = world
        self._seen = seen
        self._ledger = ledger
        self._addresses = addresses
        # By number: enums are slow to hash.
        self._tempos: list[Tempos | None] = [None] * (max(EventKind) + 1)
        for kind, of_kind in tempos.items():
            self._tempos[kind] = of_kind
        self._shown_at = shown_at
        self._fastest_click_ms = fastest_click_ms
        self.called = called
        self.marked = marked
        self._left = left

    def judge(self, token: Token, kind: EventKind, call: Call, now_ms: int, counts: bool) -> Invalid | None:
        """Why an event is filtered, None: it is not. ``counts``: it was not recorded before, so it is
        traffic; else nothing moves."""
        found = self._of_caller(token, call)
        if found is None and kind is EventKind.CLICK:
            found = self._of_click(token, call, now_ms)
        if found is not None or token.flags & FLAG_TEST:
            return found
        tempos = self._tempos[kind]
        if tempos is not None:
            found = self._of_tempo(tempos, token.placement, token.subject, call.ip, now_ms, counts, call)
        notes = kind is EventKind.IMPRESSION and self._fastest_click_ms and not call.batched
        if notes and counts and found is None:
            self._shown_at.put(token.event_id, now_ms, now_ms)
        return found

    def is_browser(self, agent: str, ip: str) -> bool:
        """Whether nothing speaks against a plain call from there."""
        return (
            agent.startswith("Mozilla/") and not agents.is_crawler(agent) and not self._addresses.hosted(ip)
        )

    def shown(self, row: Sequence[Heard], now_ms: int) -> dict[int, Invalid]:
        """``judge`` of browsers' impressions that are new, one after the other: why some are filtered, by
        their place. Only their tempo may tell against them."""
        tempos = self._tempos[EventKind.IMPRESSION]
        found = {} if tempos is None else self._of_tempos(tempos, row, now_ms)
        if self._fastest_click_ms:
            # Also of those that are filtered: nobody asks when they were shown, for they count as never.
            self._shown_at.put_all([told[0] for told, _ in row], now_ms, now_ms)
        return found

    def _of_caller(self, token: Token, call: Call) -> Invalid | None:
        """API, section 2, and data centres."""
        agent = call.user_agent
        if call.prefetch:
            return Invalid.PREFETCH
        if not agent:
            return Invalid.NO_AGENT
        if agents.is_crawler(agent):
            return Invalid.CRAWLER
        browser = agent.startswith("Mozilla/")
        if browser and not self._addresses.hosted(call.ip):
            return None
        if self._vouched(token.placement, call):
            return None
        return Invalid.DATA_CENTRE if browser else Invalid.NO_BROWSER

    def _of_click(self, token: Token, call: Call, now_ms: int) -> Invalid | None:
        if not self._is_shown(token, now_ms):
            return Invalid.NO_IMPRESSION
        shown_ms = self._shown_at.get(token.event_id)
        if shown_ms is None or now_ms - shown_ms >= self._fastest_click_ms or token.flags & FLAG_TEST:
            return None
        return None if self._vouched(token.placement, call) else Invalid.FAST_CLICK

    def _is_shown(self, token: Token, now_ms: int) -> bool:
        """Shown too late counts: the click will be expired. Impressions are forgotten before clicks are over,
        and then the ledger has them; as it has those of processes that are no more."""
        if token.event_id + _IMPRESSION in self._seen:
            return True
        if now_ms <= token.accepted_until_ms(EventKind.IMPRESSION) and not self._left(token.event_id):
            return False
        return self._ledger.status(token.event_id, EventKind.IMPRESSION) not in _NOT_SHOWN

    def _of_tempo(
        self, tempos: Tempos, placed: int, subject: bytes | None, ip: str, now_ms: int, counts: bool,
        call: Call,
    ) -> Invalid | None:  # fmt: skip
        """All are counted, whichever is exceeded."""
        found: Invalid | None = None
        placement, address, user = tempos.placement, tempos.address, tempos.user
        if placement is not None and placement.exceeds(placed, now_ms, counts):
            found = Invalid.PLACEMENT_RATE
        if address is not None:
            name = self._addresses.name(ip)
            vouched = name is None or self._vouched(placed, call)
            if name is not None and not vouched and address.exceeds(name, now_ms, counts):
                found = Invalid.ADDRESS_RATE
        if user is not None and subject is not None and user.exceeds(subject, now_ms, counts):
            found = Invalid.USER_RATE
        return found

    def _of_tempos(self, tempos: Tempos, row: Sequence[Heard], now_ms: int) -> dict[int, Invalid]:
        """``_of_tempo`` of each, one tempo after the other: none of them looks at another."""
        placement, address, user = tempos.placement, tempos.address, tempos.user
        found = dict[int, Invalid]()
        if placement is not None:
            fast = placement.exceeding([told[6] for told, _ in row], now_ms)
            found |= dict.fromkeys(fast, Invalid.PLACEMENT_RATE)
        if address is not None:
            fast = address.exceeding([self._counted(ip, told[6]) for told, ip in row], now_ms)
            found |= dict.fromkeys(fast, Invalid.ADDRESS_RATE)
        if user is not None:
            fast = user.exceeding([told[12] for told, _ in row], now_ms)
            found |= dict.fromkeys(fast, Invalid.USER_RATE)
        return found

    def _counted(self, ip: str, placed: int) -> int | None:
        """Under which name an address' events are counted, None: they are not."""
        name = self._addresses.name(ip)
        return None if name is None or self._vouched(placed, None) else name

    def _vouched(self, placed: int, call: Call | None) -> bool:
        """An app's or a server's own client has no browser's name and may tell for many, and so may whoever
        has the publisher's key."""
        view = self._world.serving.view(placed)
        if view is None:
            return False
        publisher = view.publisher
        return publisher.kind in ("app", "server") or (
            call is not None and call.publisher_key == publisher.id
        )
