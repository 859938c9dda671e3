"""Hours and days of a time zone, also where the clocks change and where offsets are odd."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.services.spans import QUARTER_MS, instant_ms, spans

HOUR = 4


def quarter(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000) // QUARTER_MS


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Paris", "2026-03-29", 23), ("Europe/Paris", "2026-10-25", 25),
     ("Europe/Paris", "2026-06-01", 24),
     ("America/Havana", "2026-03-08", 23), ("America/Havana", "2026-11-01", 25),
     ("Asia/Kathmandu", "2026-01-01", 24),
     ("Australia/Lord_Howe", "2026-04-05", 24.5), ("America/Santiago", "2026-09-06", 23)],
)  # fmt: skip
def test_a_day_has_its_hours(zone: str, day: str, hours: float) -> None:
    place = ZoneInfo(zone)
    first, end = (instant_ms(day, place, through) // QUARTER_MS for through in (False, True))
    (found,) = spans(("day",), place, first, end)
    assert (found.labels, found.first, found.end) == ((day,), first, end)
    assert end - first == hours * HOUR
    by_hour = spans(("hour", "day"), place, first, end)
    assert [one.first for one in by_hour[1:]] == [one.end for one in by_hour[:-1]]
    assert {one.labels[1] for one in by_hour} == {day}
    assert len({one.labels for one in by_hour}) == len(by_hour) == int(hours)


def test_an_hour_that_comes_twice_is_two() -> None:
    paris = ZoneInfo("Europe/Paris")
    found = spans(
        ("hour",), paris, quarter("2026-10-25T00:00:00+00:00"), quarter("2026-10-25T03:00:00+00:00")
    )
    assert [one.labels[0] for one in found] == [
        "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00",
    ]  # fmt: skip


@given(
    st.sampled_from(("UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham", "America/St_Johns")),
    st.integers(1_700_000, 1_990_000), st.integers(1, 400),
    st.sampled_from(((), ("hour",), ("day",), ("day", "hour"))),
)  # fmt: skip
def test_every_quarter_is_in_one_span(zone: str, first: int, size: int, by: tuple[str, ...]) -> None:
    place = ZoneInfo(zone)
    found = spans(by, place, first, first + size)
    assert [one for span in found for one in range(span.first, span.end)] == list(range(first, first + size))
    for span in found:
        for at in range(span.first, span.end):
            local = datetime.fromtimestamp(at * QUARTER_MS / 1000, UTC).astimezone(place)
            for name, label in zip(by, span.labels, strict=True):
                assert label.startswith(local.strftime("%Y-%m-%d" if name == "day" else "%Y-%m-%dT%H"))


@pytest.mark.parametrize(
    "text", ["", "2026", "yesterday", "2026-13-01", "2026-01-01T25:00", "２０２６-01-01"]
)
def test_what_is_no_day_or_instant(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        instant_ms(text, ZoneInfo("UTC"), through=False)


def test_an_instant_without_an_offset_is_local() -> None:
    paris = ZoneInfo("Europe/Paris")
    assert instant_ms("2026-06-01T00:00", paris, through=False) == instant_ms(
        "2026-06-01", paris, through=False
    )
    assert (
        instant_ms("2026-06-01T00:00Z", paris, False) - instant_ms("2026-06-01", paris, False) == 2 * 3600_000
    )
