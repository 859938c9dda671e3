"""Two machines whose clocks are an hour apart share one Redis: whose is wrong grants nothing, and ends
nothing of the other's."""

import time
from collections.abc import Iterator

import pytest
from remote import Refused, Remote
from servers.redis_server import Redis
from test_shared_losses import ANNA, CAP

from adserver.domain import limits
from adserver.domain.admission import Away
from adserver.domain.caps import BoundCap, counted
from adserver.state.exposure import Exposure
from adserver.state.shared.timing import Timing

HOUR_MS = 3_600_000
ONCE = BoundCap("line_item:1", 1, 24 * HOUR_MS)
RENDER_MS = 900_000


class Wall:
    """This machine's clock, and how far it is ahead."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def machines(redis_server: Redis, wall: Wall) -> Iterator[tuple[Remote, Remote]]:
    """The second has the clock that may be wrong."""
    found = [Remote(redis_server.url, n, clock, 2, clocks=True) for n, clock in enumerate((Wall(), wall))]
    try:
        yield found[0].wait(), found[1].wait()
    finally:
        for one in found:
            one.close()


def exposure(now_ms: int) -> Exposure:
    ends_ms = now_ms + RENDER_MS
    return Exposure(ANNA, None, counted((ONCE,), "impression"), ends_ms, ends_ms)


@pytest.mark.parametrize("ahead_ms", [HOUR_MS, -HOUR_MS], ids=["ahead", "behind"])
def test_whose_clock_is_wrong_grants_nothing(
    machines: tuple[Remote, Remote], wall: Wall, ahead_ms: int
) -> None:
    right, wrong = machines
    right.grant(b"a" * 16, exposure(Wall()()), (ONCE,))
    # At once, before anybody has looked at clocks again.
    wall.ahead_ms = ahead_ms
    with pytest.raises(Away, match="by more than 15 s"):
        wrong.grant(b"b" * 16, exposure(wall()), (ONCE,))
    wrong.wait(there=False)
    assert ("ahead of" if ahead_ms > 0 else "behind") in wrong.told[-1]
    told = len(wrong.told)
    with pytest.raises(TimeoutError):
        wrong.wait(patience_s=0.5)
    assert len(wrong.told) == told, "it is said once"
    with pytest.raises(Refused):
        right.grant(b"c" * 16, exposure(Wall()()), (ONCE,))

    wall.ahead_ms = 0
    assert wrong.wait().full(ONCE, ANNA, None, wall())
    with pytest.raises(Refused):
        wrong.grant(b"d" * 16, exposure(wall()), (ONCE,))


def test_where_nobody_asks_it_is_noticed_too(machines: tuple[Remote, Remote], wall: Wall) -> None:
    wall.ahead_ms = HOUR_MS
    machines[1].wait(there=False)
    with pytest.raises(TimeoutError):
        machines[1].wait(patience_s=0.5)


def test_one_machine_is_its_own_judge(redis_server: Redis) -> None:
    """Redis' clock may be any."""
    alone = Remote(redis_server.url, now=lambda: 10_000)
    try:
        alone.wait().grant(b"a" * 16, exposure(10_000), (CAP,))
    finally:
        alone.close()


@pytest.mark.parametrize("ahead_ms", [limits.CLOCK_APART_MS, limits.CLOCK_APART_MS + 1])
def test_clocks_may_be_so_far_apart(ahead_ms: int) -> None:
    for sign in (1, -1):
        passed = iter((5.0, 12.0))
        timing = Timing(lambda sign=sign: 1_007_000 + sign * ahead_ms, lambda passed=passed: next(passed))
        assert timing.wrong == "", "nothing was heard"
        timing.hear((b"1000", b"0"))
        assert bool(timing.wrong) is (ahead_ms > limits.CLOCK_APART_MS)
