"""Touches are what a plain list of events would say, in little memory, however they come and are reloaded."""

import random
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import recorded, request, reversed_, terms

from adserver.domain import limits
from adserver.domain.attribution import Touch, last_touch
from adserver.domain.decision import EventKind
from adserver.domain.records import Recorded, Status
from adserver.domain.told import Accepted, Told
from adserver.state import touches as module
from adserver.state.touches import Touches

HOUR_MS = 3600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_800_000_000_000
CLICK_MS, VIEW_MS = 30 * HOUR_MS, 3 * HOUR_MS
TERMS = msgspec.structs.replace(terms(), click_window_ms=CLICK_MS, view_window_ms=VIEW_MS)
KINDS = (EventKind.IMPRESSION, EventKind.IMPRESSION, EventKind.VIEWABLE, EventKind.CLICK)


def event(chance: random.Random, number: int, at_ms: int) -> Recorded:
    status = chance.choice((Status.ACCEPTED,) * 5 + (Status.EXPIRED,))
    found = recorded(request(number, START_MS + number), kind=chance.choice(KINDS), status=status)
    return msgspec.structs.replace(
        found, at_ms=at_ms, test=chance.random() < 0.1, country=chance.choice(("", "FR")), device=2,
        conversion_nanos=chance.choice((0, 10**12)),
    )  # fmt: skip


class Plain:
    """Everything that ever happened, and the rule read off the contract."""

    def __init__(self) -> None:
        self.events: list[tuple[bytes | None, Recorded]] = []
        self.gone: set[tuple[bytes, int]] = set()

    def owed(self, events: list[Recorded], happened_ms: int) -> Recorded | None:
        for kind, window_ms in ((EventKind.CLICK, CLICK_MS), (EventKind.IMPRESSION, VIEW_MS)):
            standing = [
                one for one in events
                if one.kind == kind and one.status == Status.ACCEPTED and not one.test
                and one.at_ms <= happened_ms < one.at_ms + window_ms
                and (one.event_id, one.kind) not in self.gone
            ]  # fmt: skip
            if standing:
                return max(standing, key=lambda one: (one.at_ms, one.event_id))
        return None

    def of(self, subject: bytes, happened_ms: int) -> Recorded | None:
        return self.owed([one for who, one in self.events if who == subject], happened_ms)

    def click(self, event_id: bytes, happened_ms: int) -> Recorded | None:
        named = [one for _, one in self.events if one.event_id == event_id and one.kind == EventKind.CLICK]
        return self.owed(named, happened_ms)


def same(touch: Touch | None, expected: Recorded | None) -> None:
    names = (
        "event_id", "kind", "at_ms", "line_item", "creative", "placement", "day", "conversion_nanos",
        "country", "device",
    )  # fmt: skip
    assert (touch is None) == (expected is None)
    for name in names if touch is not None else ():
        assert getattr(touch, name) == getattr(expected, name), name


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_owed_to_whom_a_plain_list_says(chance: random.Random) -> None:
    touches, plain, now_ms = Touches(), Plain(), START_MS
    people = [bytes([number]) * 16 for number in range(3)]
    for number in range(1, chance.randrange(2, 60)):
        now_ms += chance.choice((0, 1, 1000, HOUR_MS, 20 * HOUR_MS))
        what = chance.random()
        if what < 0.7:
            who, found = chance.choice([*people, None]), event(chance, number, now_ms)
            touches.recorded(found, who, TERMS)
            plain.events.append((who, found))
        elif what < 0.8 and plain.events:
            _, found = chance.choice(plain.events)
            touches.taken_back(reversed_(found))
            plain.gone.add((found.event_id, found.kind))
        elif what < 0.9:
            touches.sweep(now_ms)
        else:
            dumped = touches.dump()
            touches = Touches()
            touches.load(dumped)
    for happened_ms in (now_ms, *(now_ms - chance.randrange(limits.CONVERSION_LATE_MS) for _ in range(20))):
        for who in people:
            same(last_touch(touches.of(who), happened_ms), plain.of(who, happened_ms))
        for _, found in plain.events:
            named = last_touch(touches.click(found.event_id), happened_ms)
            same(named, plain.click(found.event_id, happened_ms))


@given(st.randoms(use_true_random=False))
def test_their_order_does_not_matter(chance: random.Random) -> None:
    touches = Touches()
    for number in range(1, 12):
        touches.recorded(event(chance, number, START_MS + chance.randrange(3)), b"p" * 16, TERMS)
    found = touches.of(b"p" * 16)
    expected = last_touch(found, START_MS + 2)
    chance.shuffle(found)
    assert last_touch(found, START_MS + 2) == expected


def view(number: int, at_ms: int) -> Recorded:
    return msgspec.structs.replace(recorded(request(number, at_ms)), at_ms=at_ms)


def accepted(found: Recorded, who: bytes | None) -> Accepted:
    told: Told = (
        found.event_id, b"", 0, 0, found.line_item, found.creative, found.placement, 0, found.day, 0, 0, 0,
        who, found.country, found.device, "", None,
    )  # fmt: skip
    return told, 0, found.unbilled, found.conversion_nanos, b""


@mock.patch.object(module, "_MOST_BYTES", 5 * 58)
@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([12, 40, limits.TOUCHES_KEPT]))
def test_a_run_of_views_is_what_they_are_one_by_one(chance: random.Random, most: int) -> None:
    """In C, without it, and told alone; also where some have to go, for want of room or of time."""
    people = [bytes([number]) * 16 for number in range(3)]
    promised = {1: TERMS, 2: msgspec.structs.replace(TERMS, view_window_ms=0), 3: TERMS}
    alike, now_ms = [Touches(most) for _ in range(3)], START_MS
    for step in range(chance.randrange(1, 40)):
        now_ms += chance.choice((0, 1, HOUR_MS, 3 * HOUR_MS, VIEW_MS + limits.CONVERSION_LATE_MS))
        run = [
            (
                msgspec.structs.replace(
                    view(100 * step + number, START_MS), at_ms=now_ms, line_item=chance.randint(1, 4),
                    country=chance.choice(("", "FR")), device=chance.randrange(256),
                    conversion_nanos=chance.choice((0, 10**12)), day=chance.choice((0, 65_535)),
                ),
                chance.choice((*people, None)),
            )
            for number in range(chance.randint(1, 16))
        ]  # fmt: skip
        told = [accepted(found, who) for found, who in run]
        alike[0].viewed(told, now_ms, promised)
        with mock.patch.object(module, "compiled", None):
            alike[1].viewed(told, now_ms, promised)
        for found, who in run:
            alike[2].recorded(found, who, promised.get(found.line_item))
        assert len({(kept.dump(), kept.dropped) for kept in alike}) == 1


def test_forgotten_once_nothing_can_be_owed_to_them() -> None:
    """Told as late as can be, a conversion finds them; a bucket later nobody keeps them."""
    touches, who = Touches(), b"p" * 16
    touches.recorded(view(1, START_MS), who, TERMS)
    until_ms = START_MS + VIEW_MS + limits.CONVERSION_LATE_MS
    touches.sweep(until_ms)
    assert touches.of(who)
    touches.sweep(until_ms + HOUR_MS)
    assert not touches.of(who)
    assert touches.dump() == Touches().dump()
    assert touches.dropped == 0


def test_beyond_the_bound_the_oldest_go_and_are_counted() -> None:
    most = 160
    touches = Touches(most)
    people = [number.to_bytes(16, "big") for number in range(1000)]
    for number, who in enumerate(people):
        touches.recorded(view(number, START_MS + number * 60_000), who, TERMS)
        known = [bool(touches.of(one)) for one in people[: number + 1]]
        assert known == sorted(known), "the older are gone"
        assert known.count(False) == touches.dropped
        assert most - most // 16 <= known.count(True) <= most or not touches.dropped
    again = Touches(most)
    again.load(touches.dump())
    for kept in (touches, again):
        kept.recorded(view(5000, START_MS), b"x" * 16, TERMS)
    assert [again.of(who) for who in people] == [touches.of(who) for who in people]


def test_of_one_person_so_many_and_no_more() -> None:
    touches, who, most = Touches(), b"p" * 16, limits.TOUCHES_PER_PERSON
    for number in range(most):
        touches.recorded(view(number, START_MS + number), who, TERMS)
    assert (len(touches.of(who)), touches.dropped) == (most, 0)
    touches.recorded(view(most, START_MS + most), who, TERMS)
    kept = touches.of(who)
    assert (len(kept), touches.dropped) == (most, 1)
    assert min(touch.at_ms for touch in kept) == START_MS + 1


def test_a_checkpoint_of_before_there_were_any() -> None:
    touches = Touches()
    touches.load(b"")
    assert touches.dump() == Touches().dump()


def test_nothing_is_owed_to_what_nobody_promised() -> None:
    touches, who = Touches(), b"p" * 16
    touches.recorded(view(1, START_MS), who, None)
    touches.recorded(view(2, START_MS), None, TERMS)
    touches.recorded(view(3, START_MS), who, msgspec.structs.replace(TERMS, view_window_ms=0))
    assert touches.dump() == Touches().dump()
