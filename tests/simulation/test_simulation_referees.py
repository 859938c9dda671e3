"""The referees of a run: what they say of a small one, and that each of them bites."""

from collections import Counter
from copy import deepcopy
from pathlib import Path

import pytest
from msgspec.structs import replace

from adserver.simulation import referees, summary
from adserver.simulation.config import read_config
from adserver.simulation.referees import Verdict
from adserver.simulation.run import Found, simulate

pytestmark = pytest.mark.slow

SMALL = Path(__file__).parent / "small.yaml"


@pytest.fixture(scope="module")
def ran() -> Found:
    return simulate(read_config(SMALL), lambda line: None)


@pytest.fixture
def found(ran: Found) -> Found:
    """A copy whose counts may be spoiled."""
    days = {key: deepcopy(totals) for key, totals in ran.days.items()}
    return replace(ran, days=days)


def verdict(found: Found, what: str) -> Verdict:
    return next(one for one in referees.verdicts(found) if one.what.startswith(what))


@pytest.mark.slow
def test_a_small_run_keeps_what_it_is_judged_by(found: Found) -> None:
    assert [one.what for one in referees.verdicts(found) if one.kept is False] == []
    assert verdict(found, "Unspent").kept and verdict(found, "Paced").kept, "and somebody was judged"
    page = summary.to_markdown(found)
    assert "## Referees" in page and "NOT KEPT" not in page and page.count("| kept |") == 5


def test_what_stays_unspent_is_found(found: Found) -> None:
    """Of every line item a tenth less."""
    for totals in found.days.values():
        totals.billed_nanos, totals.impressions = totals.billed_nanos * 9 // 10, totals.impressions * 9 // 10
    assert verdict(found, "Unspent").kept is False
    assert verdict(found, "Paced").kept is False


def test_a_day_above_its_plan_is_found(found: Found) -> None:
    for totals in found.days.values():
        totals.billed_nanos = totals.billed_nanos * 12 // 10
    assert verdict(found, "Paced").kept is False


def test_what_was_free_is_found(found: Found) -> None:
    serial, billed = next((key[0], one.billed_nanos) for key, one in found.days.items() if key[1] == -1)
    assert billed > 0
    whole = sum(one.billed_nanos for (_, day), one in found.days.items() if day == -1)
    found.days[serial, -1].free_nanos += whole // 50
    assert verdict(found, "Free").kept is False


def test_places_left_empty_though_there_was_demand_are_found(found: Found) -> None:
    record = found.play.record
    feeds, lacking = record.feeds.copy(), record.lacking.copy()
    try:
        record.feeds.update({("gazette/feed", 0): Counter(items=10_000, sponsored=100, allowed=600)})
        assert verdict(found, "Sponsored").kept is False
        record.lacking["server"] += 600
        assert verdict(found, "Sponsored").kept is False
        record.lacking["demand"] += 600
        assert verdict(found, "Sponsored").kept is True, "there was none"
        record.lacking = lacking + Counter(paced=600)
        assert verdict(found, "Sponsored").kept is True, "who let them pass spent his budget elsewhere"
        for totals in found.days.values():
            totals.billed_nanos, totals.impressions = totals.billed_nanos // 2, totals.impressions // 2
        assert verdict(found, "Sponsored").kept is False, "who let them pass has it still"
    finally:
        record.feeds.clear()
        record.feeds.update(feeds)
        record.lacking = lacking


def test_a_budget_overrun_is_found(found: Found) -> None:
    offences = found.play.offences[3]
    offences.append("too much")
    try:
        assert verdict(found, "Billed above").kept is False
    finally:
        offences.pop()
