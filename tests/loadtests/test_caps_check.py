"""Law 2's check raises no false alarm on what the server's own counters admit, whatever the delays of the
network, and misses nothing where the window is longer than the run."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from told import START_MS, WORLD, ad, answered, event

from adserver.domain.caps import BoundCap, counted
from adserver.state.exposure import Exposure
from adserver.state.frequency import Exposures
from loadtests import caps
from loadtests.records import Ad, Decision, Event

CAPS = (BoundCap("short", 2, 2_000), BoundCap("short", 9, 86_400_000))
"""Those of ``brise/capped/short``."""
PERSON = b"p"
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(("ask", "ask", "ask", "impression", "release", "wait")),
        st.integers(0, 900),
        st.integers(0, 400),
        st.integers(0, 400),
        st.integers(0, 50),
    ),
    min_size=10,
    max_size=60,
)


def violations(decisions: list[Decision], events: list[Event]) -> list[str]:
    return caps.check(decisions, events, WORLD).violations


def play(
    actions: list[tuple[str, int, int, int, int]], admits_all: bool
) -> tuple[list[Decision], list[Event]]:
    """One person asks, looks and gives back at random; calls take ``before`` + ``after`` ms on the way."""
    state, now_ms = Exposures(), START_MS
    decisions: list[Decision] = []
    events: list[Event] = []
    shown: list[Ad] = []
    for action, pause_ms, before_ms, after_ms, which in actions:
        now_ms += pause_ms
        state.sweep(now_ms)
        span = {"sent_ms": now_ms - before_ms, "received_ms": now_ms + after_ms}
        if action == "ask":
            if admits_all or not any(state.full(cap, PERSON, None, now_ms) for cap in CAPS):
                given_ad = ad("brise/capped/short", "story", now_ms)
                counts = counted(CAPS, "impression")
                state.grant(
                    given_ad.event_id.encode(), Exposure(PERSON, None, counts, given_ad.expires_ms, 0)
                )
                shown.append(given_ad)
                decisions.append(replaced(answered("story", [given_ad], now_ms), span))
        elif shown and action == "impression":
            given_ad = shown.pop(which % len(shown))
            verdict = "accepted" if now_ms <= given_ad.expires_ms else "expired"
            state.confirm(given_ad.event_id.encode(), PERSON, counted(CAPS, "impression"), now_ms)
            events.append(replaced(event(given_ad, "impression", now_ms, verdict), span))
        elif shown and action == "release":
            given_ad = shown.pop(which % len(shown))
            state.release(given_ad.event_id.encode())
            events.append(replaced(event(given_ad, "release", now_ms), span))
        elif action == "wait":
            now_ms += which * 10_000
    return decisions, events


def replaced(record: Decision, span: dict[str, int]) -> Decision:
    return type(record)(**{name: getattr(record, name) for name in record.__struct_fields__} | span)


@pytest.mark.slow
@settings(max_examples=300)
@given(ACTIONS)
def test_no_false_alarm(actions: list[tuple[str, int, int, int, int]]) -> None:
    decisions, events = play(actions, admits_all=False)
    assert violations(decisions, events) == []


@given(st.integers(1, 14), st.integers(0, 14))
def test_nothing_is_missed_in_a_long_window(exposures: int, rendered: int) -> None:
    """9 a day: the tenth is found, whatever was rendered before it."""
    actions = [("ask", 2_500, 5, 5, 0)] * exposures + [("impression", 1, 5, 5, 0)] * rendered
    found = violations(*play([*actions, ("ask", 10_000, 5, 5, 0)], admits_all=True))
    assert any("9 impression per 86400 s" in v for v in found) == (exposures + 1 > 9)


def test_short_window_is_checked_with_instants_that_are_known() -> None:
    asks = [("ask", 300, 5, 5, 0)] * 3
    assert any("2 impression per 2 s" in v for v in violations(*play(asks, True)))


def test_sessions_scopes_and_people_are_told_apart() -> None:
    def twice(line_item: str, **second: object) -> list[str]:
        first = answered("banner", [ad(line_item, "banner")])
        later = START_MS + 500
        return violations([first, answered("banner", [ad(line_item, "banner", later)], later, **second)], [])

    assert any("line_item brise/capped/once" in v for v in twice("brise/capped/once"))
    assert twice("brise/capped/once", user="u-2") == []
    assert twice("brise/capped/once", personalised=False) == []
    assert any("per session" in v for v in twice("brise/capped/visit"))
    assert any("per session" in v for v in twice("brise/capped/visit", user="u-2"))
    assert twice("brise/capped/visit", session="s-2") == []
    assert any("creative brise/capped/each-1" in v for v in twice("brise/capped/each"))


def test_a_cap_binds_all_of_its_advertiser() -> None:
    """20 a day of ``galet``, said by one line item of one campaign."""
    decisions = [
        answered("banner", [ad("galet/house/own", "banner", START_MS + n)], START_MS + n) for n in range(21)
    ]
    assert violations(decisions[:20], []) == []
    assert any("advertiser galet" in v for v in violations(decisions, []))


def test_viewable_caps_bind_what_is_decided_after() -> None:
    first, later = ad("brise/capped/seen", "banner"), START_MS + 1000
    seen = event(first, "viewable", START_MS + 500)
    decisions = [
        answered("banner", [first]),
        answered("banner", [ad("brise/capped/seen", "banner", later)], later),
    ]
    assert any("1 viewable" in v for v in violations(decisions, [seen]))
    assert violations(decisions, []) == []
    assert violations(decisions, [event(first, "viewable", later)]) == []


def test_a_decision_told_outside_its_call_is_found() -> None:
    late = ad("galet/house/own", "banner", START_MS + 5000)
    assert any("outside its call" in v for v in violations([answered("banner", [late])], []))
