"""Reading the journal again gives the state that lived through it:
whole, or from a checkpoint in its middle."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from edits import CAMPAIGNS, SHORTEST_MS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_edits import FORMER, EditedSession
from random_session import Session
from world import World

from adserver import recovery
from adserver.domain.books import Position
from adserver.ledger.reader import Reader
from adserver.recovery import States
from adserver.services.hot import HotState
from adserver.state.frequency import Exposures

BEGINNING = Position()


def content(states: States, now_ms: int) -> dict[str, Any]:
    """All that decisions and events depend on, once swept; what differs without mattering is left out
    (empty counters, the order of dictionaries, how long de-duplication remembers what is over anyway)."""
    states.hot.sweep(now_ms)
    found = dict(money(states))
    found["exposures"] = exposures(states.exposures)
    found["counters"] = counters(states.exposures, now_ms)
    found["feeds"] = live_feeds(states, now_ms)
    found["repeats"] = live_repeats(states.hot, now_ms)
    found["traffic"] = states.traffic.dump()
    found["touches"] = touches(states)
    found["fees"] = sorted(msgspec.msgpack.decode(states.hot.fees.dump(), strict=False)[0])
    return found


def touches(states: States) -> list[Any]:
    kept, *events = msgspec.msgpack.decode(states.touches.dump())
    return [kept, *(sorted(msgspec.msgpack.decode(dumped)) for dumped in events)]


def remembers(replayed: States, lived: States) -> bool:
    """Of de-duplication: all that was lived is known again (perhaps for longer)."""
    return all(
        set(times(getattr(lived, name))) <= set(times(getattr(replayed, name)))
        for name in ("seen", "filtered", "released")
    )


def times(memory: Any) -> dict[bytes, int]:
    return {key: until_ms for until_ms, key in msgspec.msgpack.decode(memory.dump())}


def exposures(state: Exposures) -> dict[bytes, Any]:
    return {
        ident: (e.subject, e.session, frozenset(e.counts), e.expires_ms, e.kept_ms, e.outstanding)
        for ident, e in state.known.items()
    }


def counters(state: Exposures, now_ms: int) -> dict[bytes, dict[str, list[int]]]:
    """What still counts: of times beyond a counter's longest window, some are forgotten sooner."""

    def counting(name: str, counter: list[int]) -> list[int]:
        since_ms = now_ms - state._keeps[name]
        return [counter[0], *(at_ms for at_ms in counter[1:] if at_ms > since_ms)]

    kept = {
        who: {name: left for name, counter in mine.items() if (left := counting(name, counter)) != [0]}
        for who, mine in state._counters.items()
    }
    return {who: mine for who, mine in kept.items() if mine}


def live_feeds(states: States, now_ms: int) -> dict[bytes, Any]:
    """Without when they were last touched: of that, a restart may forget the last minute."""
    accounts = msgspec.msgpack.decode(states.feeds.dump())[1]
    return {key: (a[0], a[1], a[2], a[4]) for key, a in accounts if now_ms - a[3] <= a[4] - 60_000}


def money(states: States) -> Iterator[tuple[str, Any]]:
    budgets = states.budgets
    yield "holds", dict(budgets._holds)
    accounts = budgets._accounts._accounts
    yield "outstanding", {serial: n for serial, bound in budgets._bound.items() if (n := bound.outstanding)}
    yield "held", {key: account.held_nanos for key, account in accounts.items() if account.held_nanos}
    yield "terms", list(states.hot.terms.items())


def live_repeats(hot: HotState, now_ms: int) -> dict[bytes, Any]:
    return {key: kept for key, kept in hot.repeats.dump() if kept.decision.now_ms + 60_000 > now_ms}


def whole(world: World, start: States | None = None, position: Position = BEGINNING) -> States:
    """Reads the journal from ``position`` on into ``start``."""
    states = start or recovery.fresh()
    with closing(Reader(world.app.settings.data / "journal")) as reader:
        for _, record, personal in reader.read(position):
            states.hot.apply(record, personal)
    return states


def play(tmp_path: Path, seed: int, steps: int, every: int = 5) -> None:
    """``every``: so many steps all of it is read again, and compared."""
    with World(tmp_path / str(seed)) as world:
        session = Session(world, seed)
        checkpoint = world.app.states.hot.dump(world.app.journal.position)
        for number in range(1, steps + 1):
            session.step()
            if number % every == 0:
                told = compare(world, checkpoint)
            if number == steps // 2:
                checkpoint = world.app.states.hot.dump(world.app.journal.position)
        assert {"ACCEPTED", "DUPLICATE", "EXPIRED", "FILTERED"} <= set(session.verdicts)
        reopened(world, told, world.clock.ms)


def compare(world: World, checkpoint: bytes) -> dict[str, Any]:
    """What lived, what is read from the beginning, and what is read behind a checkpoint."""
    now_ms, lived = world.clock.ms, world.app.states
    told = content(lived, now_ms)
    again, later = whole(world), recovery.fresh()
    agree(content(again, now_ms), told, now_ms)
    position = later.hot.load(checkpoint)
    agree(content(whole(world, later, position), now_ms), told, now_ms)
    assert remembers(again, lived) and remembers(later, lived)
    return told


def agree(replayed: dict[str, Any], lived: dict[str, Any], now_ms: int) -> None:
    """Of counters, what is read again may know more: what no window reached any more when a longer one was
    set had been forgotten."""
    assert {**replayed, "counters": None} == {**lived, "counters": None}
    again, once = flat(replayed["counters"]), flat(lived["counters"])
    for key in again.keys() | once.keys():
        (outstanding, *found), (expected, *known) = again.get(key, [0]), once.get(key, [0])
        assert outstanding == expected
        assert not Counter(known) - Counter(found), "a restart forgets nothing"
        assert all(at_ms <= now_ms - SHORTEST_MS for at_ms in Counter(found) - Counter(known))


def flat(counters: dict[bytes, dict[str, list[int]]]) -> dict[tuple[bytes, str], list[int]]:
    return {(who, name): counter for who, mine in counters.items() for name, counter in mine.items()}


def reopened(world: World, told: dict[str, Any], now_ms: int, names: Sequence[str] = FORMER) -> None:
    """And so does the server itself: its books too are what they were."""
    before = [delivered(world, name) for name in names]
    for clean in (False, True):
        world.restart(clean)
        again = content(world.app.states, now_ms)
        # Of a line item that is gone, what binds it by now may be told at the start.
        agree({**again, "terms": None}, {**told, "terms": None}, now_ms)
        assert [delivered(world, name) for name in names] == before


def delivered(world: World, campaign: str) -> list[dict[str, Any]]:
    """What its line items delivered: those that did."""
    numbers = (
        "impressions",
        "viewable",
        "clicks",
        "conversions",
        "filtered",
        "expired",
        "reserved",
        "spend_micros",
    )
    items = (world.delivery(campaign) or {"line_items": ()})["line_items"]
    return sorted(
        (item for item in items if any(item[name] for name in numbers)), key=lambda item: str(item["id"])
    )


@pytest.mark.parametrize("seed", range(2))
def test_replay_is_what_was_lived(tmp_path: Path, seed: int) -> None:
    play(tmp_path, seed, 150)


@pytest.mark.slow
def test_replay_of_many_sessions(tmp_path: Path) -> None:
    for seed in range(100, 110):
        play(tmp_path, seed, 200, every=25)


# -- the catalogue changes between a decision and its events -----------------------------------------


def play_edited(chance: Random, steps: int, every: int = 5) -> None:
    with TemporaryDirectory() as folder, World(Path(folder) / "world") as world:
        session = EditedSession(world, chance)
        checkpoint = world.app.states.hot.dump(world.app.journal.position)
        for number in range(1, steps + 1):
            session.step()
            if number % every == 0:
                compare(world, checkpoint)
            if number == steps // 2:
                checkpoint = world.app.states.hot.dump(world.app.journal.position)
        reopened(world, compare(world, checkpoint), world.clock.ms, CAMPAIGNS)


# Whole servers: few examples, for as long as they find nothing new; what failed once is kept and tried first.
@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_replay_is_what_was_lived_whatever_was_edited_meanwhile(chance: Random) -> None:
    play_edited(chance, 30)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 6, 9, 20])
def test_replay_of_edited_sessions(seed: int) -> None:
    """Those that found something once."""
    play_edited(Random(seed), 130)


@pytest.mark.slow
def test_replay_of_many_edited_sessions() -> None:
    for seed in range(100, 114):
        play_edited(Random(seed), 200, every=25)
