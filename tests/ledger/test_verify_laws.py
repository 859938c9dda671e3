"""The verification finds laws broken in the journal itself: each seen."""

from pathlib import Path

import msgspec
import pytest
from ledger_samples import NOW_MS, PRICE, budget, decided, placement, recorded, request, terms
from verified_samples import differences, keep, sound

from adserver.domain.records import LineItemTerms, Record, Recorded, Status, Unbilled


def broken(change: object) -> list[Record]:
    records = sound()
    change(records)  # type: ignore[operator]
    return records


def event_of(records: list[Record], **wanted: object) -> int:
    return next(
        at
        for at, record in enumerate(records)
        if isinstance(record, Recorded)
        and all(getattr(record, name) == value for name, value in wanted.items())
    )


def change_event(**changes: object) -> object:
    def change(records: list[Record]) -> None:
        at = event_of(records, status=1, kind=1, test=False)
        records[at] = msgspec.structs.replace(records[at], **changes)  # type: ignore[type-var]

    return change


def repeat_event(records: list[Record]) -> None:
    records.append(records[event_of(records, status=1, kind=1, test=False)])


def bill_twice(records: list[Record]) -> None:
    at = event_of(records, status=1, kind=1, test=False)
    records.append(msgspec.structs.replace(records[at], kind=2))  # type: ignore[type-var]


def forget_decision(records: list[Record]) -> None:
    del records[4]


def decide_twice(records: list[Record]) -> None:
    records.append(records[4])


def overspend(period: str) -> object:
    def change(records: list[Record]) -> None:
        small = (budget("advertiser:20", 3 * PRICE, period),)
        for at, record in enumerate(records):
            if isinstance(record, LineItemTerms):
                records[at] = msgspec.structs.replace(record, budgets=small)

    return change


BROKEN = {
    "recorded twice": (repeat_event, "recorded twice in the journal"),
    "billed twice": (bill_twice, "the ad was billed before"),
    "billed for the wrong kind": (bill_twice, "which it must not be under cpm"),
    "no decision": (forget_decision, "no decision in the journal"),
    "an id twice": (decide_twice, "decided twice"),
    "another price": (change_event(billed_nanos=PRICE + 1), f"billed {PRICE + 1} nanos, decided was {PRICE}"),
    "not billed for no reason": (change_event(billed_nanos=0), "not billed, with reason 0"),
    "another line item": (change_event(line_item=2), "decided was (1, 101, 7, False)"),
    "another creative": (change_event(creative=5), "(line item, creative, placement, test)"),
    "another placement": (change_event(placement=9), "(line item, creative, placement, test)"),
    "another day": (change_event(day=5), "day 5, its decision's was"),
    "accepted after expiry": (change_event(at_ms=NOW_MS + 10**7), "expired at"),
    "a test billed": (change_event(test=True), "which it must not be"),
    "lifetime overspent": (overspend("lifetime"), f"lifetime billed {4 * PRICE} of {3 * PRICE}"),
    "a day overspent": (overspend("day"), f"billed {4 * PRICE} of {3 * PRICE}"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_journal_that_breaks_a_law(tmp_path: Path, name: str) -> None:
    change, expected = BROKEN[name]
    found = differences(keep(tmp_path, broken(change)))
    assert any(expected in difference for difference in found), found


def test_a_promise_made_under_a_higher_budget_is_no_overspending(tmp_path: Path) -> None:
    """In ``sound`` line item 1 is lowered to 5 with 24 promised; decided after that, a sixth would be."""
    late = request(950, NOW_MS + 40_000)
    found = differences(keep(tmp_path, [*sound(), decided(late), recorded(late)]))
    assert any("line_item:1 lifetime billed" in difference for difference in found)


@pytest.mark.parametrize("later", ["vcpm", "cpc"])
def test_what_is_billed_is_what_was_sold_whatever_is_sold_by_now(tmp_path: Path, later: str) -> None:
    """Sold per impression; then the line item is sold otherwise; then the ad is seen, viewed and clicked."""
    early = request(950, NOW_MS + 20_000)
    unbilled = {"unbilled": Unbilled.NOT_BILLABLE, "billed": 0}
    events = [recorded(early), *(recorded(early, kind=kind, **unbilled) for kind in (2, 3))]  # type: ignore[arg-type]
    records = [terms(), placement(), decided(early), terms(revision=2, model=later), *events]
    assert differences(keep(tmp_path / "sound", records)) == []
    unfair = [*records[:-3], recorded(early, unbilled=Unbilled.NOT_BILLABLE, billed=0), *events[1:]]
    found = differences(keep(tmp_path / "unfair", unfair))
    assert any("not billed, with reason" in difference for difference in found)


def test_a_day_is_that_of_the_time_zone_in_force_at_the_decision(tmp_path: Path) -> None:
    """Nothing was billed yet, so it may move; who comes late belongs to the day it was decided on."""
    early = request(950)
    moved = msgspec.structs.replace(terms(revision=2), timezone="Pacific/Kiritimati")
    late = recorded(early, status=Status.EXPIRED, unbilled=Unbilled.EXPIRED, after_ms=10**6)
    assert differences(keep(tmp_path, [terms(), placement(), decided(early), moved, late])) == []


def test_events_the_ledger_refused_are_differences(tmp_path: Path) -> None:
    records = broken(overspend("lifetime"))
    found = differences(keep(tmp_path, records))
    assert any(difference.startswith("event ") and "the ledger says" in difference for difference in found)
