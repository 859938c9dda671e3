"""What a crowd's counts must not pass over."""

from typing import Any

from loadtests.crowds import CAP, Got, differences


def answer(*capped: str, page: str = "page-1", no_fill: str | None = None) -> dict[str, Any]:
    ads = [{"line_item": "capped", "event_id": event_id} for event_id in capped]
    feed = [{"line_item": "rest", "event_id": page}]
    return {"decisions": [{"ads": ads}, {"ads": feed, "no_fill": no_fill}]}


def got(*answers: dict[str, Any]) -> Got:
    found = Got()
    for one in answers:
        found.take(one)
    return found


def test_as_many_as_the_cap_says_once_each_are_right() -> None:
    right = got(*(answer(f"ad-{number % CAP}") for number in range(50)))
    assert differences(right, dies=False) == []


def test_one_more_and_one_fewer_are_seen() -> None:
    more = got(*(answer(f"ad-{number}") for number in range(CAP + 1)))
    fewer = got(*(answer(f"ad-{number}") for number in range(CAP - 1)))
    assert differences(more, dies=False) == [f"{CAP + 1} of what is capped at {CAP}"]
    assert differences(more, dies=True) == differences(more, dies=False)
    assert differences(fewer, dies=False) == [f"{CAP - 1} of what is capped at {CAP}"]
    assert differences(fewer, dies=True) == []


def test_two_pages_are_seen_and_pages_that_were_not_known_are_none() -> None:
    full = [answer(f"ad-{number}") for number in range(CAP)]
    assert differences(got(*full, answer(page="page-2")), dies=False) == ["2 different first pages of a feed"]
    unknown = answer(page="page-2", no_fill="state_unavailable")
    assert differences(got(*full, unknown), dies=False) == []
    assert differences(got(), dies=True) == ["no answer at all"]
