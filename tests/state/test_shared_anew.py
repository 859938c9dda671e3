"""Somebody whose session is another master's than they are: the two do not answer at once, and the first may
have begun another generation before the second has answered. What it granted is not in that."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from test_shared_halves import ANNA, BOTH, ENDS_MS, SESSION

from adserver.domain.admission import Away, Granted
from adserver.domain.caps import counted
from adserver.state.exposure import Exposure
from adserver.state.shared.keys import Who
from adserver.state.shared.mirror import Mirror, Settled, Told
from adserver.state.shared.paging import Paging
from adserver.state.shared.person import known
from adserver.state.shared.store import SharedState

COUNTS = counted(BOTH, "impression")


class Master:
    """It says yes; ``then`` is what happens meanwhile."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.there, self.in_doubt, self.generation = True, False, "g"
        self.then = then

    async def ask(self, words: Any) -> list[int]:
        self.then()
        return [1]


class Two:
    def __init__(self) -> None:
        self.person, self.session = Master(), Master()
        self.told: list[Told] = []

    def of(self, root: bytes) -> Master:
        return self.person if root == ANNA else self.session

    def tell(self, told: Told) -> None:
        self.told.append(told)


def nothing(two: Two) -> None: ...


def begun(two: Two) -> None:
    two.person.generation = "another"


def away(two: Two) -> None:
    two.person.there = False


def moved(two: Two) -> None:
    two.person = Master()


@pytest.mark.parametrize("meanwhile", [nothing, begun, away, moved])
def test_what_the_first_granted_is_taken_back(meanwhile: Callable[[Two], None]) -> None:
    two = Two()
    two.session.then = lambda: meanwhile(two)
    state = SharedState("redis://nobody", Mirror(), Paging(), 0, (0,), 1.0, lambda: 1, lambda why: None)
    state._nodes = two  # type: ignore[assignment]
    found = known((0, (), (), (), b""), Who(ANNA, SESSION), None, Mirror().windows, 1, Paging())
    exposure = Exposure(ANNA, SESSION, COUNTS, ENDS_MS, ENDS_MS)
    found.exposures.give(Granted(b"a" * 16, COUNTS, ENDS_MS, ENDS_MS, BOTH), exposure)
    if meanwhile is nothing:
        assert asyncio.run(state.propose(found, b"")) is None
        assert two.told == []
    else:
        with pytest.raises(Away, match="anew"):
            asyncio.run(state.propose(found, b""))
        assert two.told == [
            Settled(Who(ANNA, None), "release", b"a" * 16), Settled(Who(None, SESSION), "release", b"a" * 16)
        ]  # fmt: skip
