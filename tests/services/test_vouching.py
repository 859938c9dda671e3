"""Whether something was given: what a life of a process says of it, and whom another asks, for how long."""

import asyncio
from typing import Any

import msgspec
import pytest

from adserver.domain import ids, limits
from adserver.domain.admission import Away
from adserver.domain.decision import Decision
from adserver.domain.errands import GIVEN, NOBODYS, UNSURE, Repeated, digest_of
from adserver.domain.verdicts import Passed
from adserver.domain.workers import Fleet, Peer, Worker
from adserver.services.lives import Life
from adserver.services.repeats import Repeat, Repeats
from adserver.services.vouching import Vouching
from adserver.state.feeds import FeedAccounts

BEGAN_MS = 1_000_000
HOUR_MS = 3_600_000
KEY = b"k" * 16


def minted(at_ms: int, owner: int = 0) -> bytes:
    return ids.mint(at_ms, owner << ids.OWNER_SHIFT, 0)


def asked(at_ms: int, owner: int = 0, page: int | None = None) -> Repeated:
    return Repeated(minted(at_ms, owner), KEY, page, HOUR_MS, digest_of(answer(at_ms, owner)))


def answer(at_ms: int, owner: int = 0) -> Repeat:
    return Repeat(Decision(minted(at_ms, owner), 1, 1, ()), None)


def life(*given: int) -> Life:
    repeats = Repeats()
    for at_ms in given:
        repeats.keep(KEY, answer(at_ms))
    return Life(FeedAccounts(), repeats, BEGAN_MS)


@pytest.mark.parametrize(
    ("made_ms", "lived_ms", "now_ms", "says"),
    [
        (BEGAN_MS - 1, (), BEGAN_MS, NOBODYS),
        (BEGAN_MS, (), BEGAN_MS, UNSURE),
        (BEGAN_MS + 5, (BEGAN_MS + 9,), BEGAN_MS + 9, UNSURE),
        # The clock was set back over the restart, or since.
        (BEGAN_MS + 5, (BEGAN_MS + 4,), BEGAN_MS + 4, NOBODYS),
        (BEGAN_MS - 5, (BEGAN_MS - 9, BEGAN_MS + 1), BEGAN_MS + 1, UNSURE),
        (BEGAN_MS - 9, (BEGAN_MS - 5,), BEGAN_MS - 5, NOBODYS),
        # It may be forgotten by now, or may have been by a clock that was set back since.
        (BEGAN_MS - 1, (), BEGAN_MS + HOUR_MS - 2, NOBODYS),
        (BEGAN_MS - 1, (), BEGAN_MS + HOUR_MS - 1, UNSURE),
        (BEGAN_MS - 1, (BEGAN_MS + HOUR_MS, BEGAN_MS + 1), BEGAN_MS + 1, UNSURE),
    ],
)
def test_of_what_is_not_found(made_ms: int, lived_ms: tuple[int, ...], now_ms: int, says: bytes) -> None:
    found = life()
    for at_ms in lived_ms:
        found.lives(at_ms)
    for page in (None, 0):
        assert found.says(asked(made_ms, page=page), now_ms) == says


def test_of_what_is_found_as_it_was_alone() -> None:
    found = life(BEGAN_MS - 5)
    assert found.says(asked(BEGAN_MS - 5), BEGAN_MS) == GIVEN
    assert found.says(asked(BEGAN_MS - 4), BEGAN_MS) == NOBODYS
    other = msgspec.structs.replace(asked(BEGAN_MS - 5), digest=b"of another")
    assert found.says(other, BEGAN_MS) == UNSURE, "something was given under this id"
    assert found.says(asked(BEGAN_MS - 5), BEGAN_MS - 5 + limits.REPEAT_WINDOW_MS) == NOBODYS


class Others:
    """They say these, one after the other; None: nothing."""

    def __init__(self, *say: bytes | None) -> None:
        self.say = list(say)
        self.heard: list[tuple[int | None, float]] = []

    def bring(
        self, home: int | None, errand: Any, passed: Passed, alone: bool = False, within_s: float = 9.0
    ) -> asyncio.Future[None] | None:
        assert alone
        self.heard.append((home, within_s))
        said = self.say.pop(0)
        passed.said = said or b""
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done if said else None


def is_given(others: Others | None, worker: Worker, owner: int, until_ms: int | None = None) -> bool:
    vouching = Vouching(worker, life(BEGAN_MS - 5), others, 0.05, lambda: BEGAN_MS)
    return asyncio.run(vouching.is_given(asked(BEGAN_MS - 5, owner), until_ms))


TWO = Worker(0, 2)


def test_whoever_minted_it_is_asked_until_it_is_sure() -> None:
    assert is_given(others := Others(UNSURE, UNSURE, GIVEN), TWO, 1)
    assert [home for home, _ in others.heard] == [1, 1, 1]
    assert all(0 < within_s <= 0.05 for _, within_s in others.heard)
    assert not is_given(Others(NOBODYS), TWO, 1)
    assert is_given(Others(), TWO, 0), "its own"


def test_nobody_is_asked_for_longer_than_there_is_time() -> None:
    others = Others(*[UNSURE] * 100)
    with pytest.raises(Away):
        is_given(others, TWO, 1)
    assert 1 < len(others.heard) <= 0.05 / limits.VOUCHED_AGAIN_S + 1
    with pytest.raises(Away):
        is_given(others := Others(UNSURE), TWO, 1, BEGAN_MS + 1)
    assert [within_s <= 0.001 for _, within_s in others.heard] == [True]


GONE = Fleet("here", [Peer(0, "here"), Peer(1, "there", gone=True), Peer(2, "here", serves=False)])


@pytest.mark.parametrize(
    ("others", "worker", "owner"),
    [
        (Others(None), TWO, 1),
        (Others(), TWO, 2),
        (None, Worker(), 1),
        (Others(), Worker(0, 1, GONE), 1),
        (Others(), Worker(0, 1, GONE), 2),
        (Others(), Worker(0, 1, GONE), 3),
    ],
    ids=["silent", "left", "alone", "gone", "served", "unheard of"],
)
def test_where_nobody_can_tell_it_is_as_if_the_store_were_away(
    others: Others | None, worker: Worker, owner: int
) -> None:
    with pytest.raises(Away):
        is_given(others, worker, owner)


def test_nobody_speaks_for_another() -> None:
    vouching = Vouching(TWO, life(BEGAN_MS - 5), None, 0.05, lambda: BEGAN_MS)
    said = [passed.said for passed, _ in vouching.judge([asked(BEGAN_MS - 5), asked(BEGAN_MS - 5, 1)])]  # type: ignore[union-attr]
    assert said == [GIVEN, UNSURE]
