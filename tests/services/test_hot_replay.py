"""Reading the journal again gives the state that lived through it:
whole, or from a checkpoint in its middle."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
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
    found["feeds"] = dict(msgspec.msgpack.decode(states.feeds.dump())[1])
    found["repeats"] = live_repeats(states.hot, now_ms)
    return found


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
        for ident, e in state._exposures.items()
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


def play(tmp_path: Path, seed: int, steps: int) -> None:
    with World(tmp_path / str(seed)) as world:
        session = Session(world, seed)
        checkpoint = world.app.states.hot.dump(world.app.journal.position)
        for number in range(1, steps + 1):
            session.step()
            if number % 5 == 0:
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
    assert content(again, now_ms) == told
    position = later.hot.load(checkpoint)
    assert content(whole(world, later, position), now_ms) == told
    assert remembers(again, lived) and remembers(later, lived)
    return told


def reopened(world: World, told: dict[str, Any], now_ms: int) -> None:
    """And so does the server itself: its books too are what they were."""
    names = ("acme/caps", "acme/shared", "bolt/two", "corn/house")
    before = [world.delivery(name) for name in names]
    for clean in (False, True):
        world.restart(clean)
        assert content(world.app.states, now_ms) == told
        assert [world.delivery(name) for name in names] == before


@pytest.mark.parametrize("seed", range(4))
def test_replay_is_what_was_lived(tmp_path: Path, seed: int) -> None:
    play(tmp_path, seed, 150)


@pytest.mark.slow
def test_replay_of_many_sessions(tmp_path: Path) -> None:
    for seed in range(100, 115):
        play(tmp_path, seed, 200)
