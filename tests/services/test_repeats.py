"""Request ids are answered again for 60 seconds, and forgotten then."""

from adserver.domain import ids
from adserver.domain.decision import Decision
from adserver.services.repeats import Repeat, Repeats


def repeat(at_ms: int) -> Repeat:
    return Repeat(Decision(ids.mint(at_ms, 1, 0), 1, 1, ()), None)


def test_for_sixty_seconds_and_not_longer() -> None:
    repeats = Repeats()
    repeats.keep(b"a", repeat(1000))
    assert repeats.find(b"a", 60_999) == repeat(1000)
    assert repeats.find(b"a", 61_000) is None
    assert repeats.dump() == []


def test_the_old_go_first_and_a_dump_is_in_order() -> None:
    repeats = Repeats()
    for number in range(100):
        repeats.keep(bytes([number]), repeat(number * 1000))
    assert repeats.find(b"\0", 70_000) is None
    assert [key for key, _ in repeats.dump()] == [bytes([n]) for n in range(11, 100)]
    again = Repeats()
    for key, kept in repeats.dump():
        again.keep(key, kept)
    assert again.find(bytes([50]), 80_000) == repeat(50_000)


def test_answered_anew_after_the_window_it_lives_from_then() -> None:
    repeats = Repeats()
    repeats.keep(b"a", repeat(0))
    assert repeats.find(b"a", 60_000) is None
    repeats.keep(b"a", repeat(60_000))
    assert repeats.find(b"a", 119_999) == repeat(60_000)
