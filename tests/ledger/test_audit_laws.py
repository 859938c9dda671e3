"""The audits of laws 1 and 2 see each rule broken, and nothing in what is right."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import (
    EXPIRES_AFTER_MS,
    NOW_MS,
    decided,
    page,
    person,
    placement,
    recorded,
    request,
    terms,
)

from adserver.domain.decision import EventKind, Origin
from adserver.domain.records import CapTerms, Personal, Record, Released, Status
from adserver.ledger import audit_caps
from adserver.ledger.audit_caps import CapAudit
from adserver.ledger.audit_feeds import FeedAudit

MINUTE_MS = 60_000


# -- law 1 -------------------------------------------------------------------------------------------


def feed(records: list[Record], **policy: int) -> list[str]:
    found: list[str] = []
    audit = FeedAudit(found.append)
    rules = {"share_num": 1, "share_den": 4, "account_idle_ms": 10 * MINUTE_MS, **policy}
    for record in [placement(**rules), terms(1), terms(2, advertiser=21), *records]:
        audit.take(record)
    return found


def pages(*ads: tuple[tuple[int, int], ...], items: int = 8) -> list[Record]:
    """Pages of 8 items one after the other, with these ads."""
    return [
        page(request(number + 1, NOW_MS + number * 1000), number, number * items, items, shown)
        for number, shown in enumerate(ads)
    ]


def test_what_the_law_allows() -> None:
    assert feed(pages(((3, 1), (7, 1)), ((11, 1), (15, 2)))) == []
    assert feed(pages(((7, 1),), ((12, 1), (15, 1)))) == []
    assert feed(pages(((2, 1),)), head_start=1) == []
    assert feed(pages((), ((8, 1), (12, 1)))) == []


RULES = {
    "a prefix": (pages(((2, 1),)), {}, "max_share allows 0"),
    "a prefix with head start": (pages(((1, 1),)), {"head_start": 1}, "max_share allows 0"),
    "a later prefix": (pages(((3, 1), (6, 1))), {}, "2 sponsored in the first 7 items, max_share allows 1"),
    "a burst": (pages((), (), ((20, 1), (21, 1))), {}, "max_burst allows 1"),
    "a longer burst": (
        pages((), (), (), ((24, 1), (27, 1), (30, 1))), {"max_burst": 1}, "3 sponsored in 7 items from 24",
    ),
    "first_position": (pages(((3, 1),)), {"first_position": 4}, "before first_position 4"),
    "min_gap": (pages((), ((10, 1), (14, 1))), {"min_gap": 4}, "min_gap 4"),
    "advertiser_gap": (pages(((4, 1),), ((9, 2), (13, 1))), {"advertiser_gap": 9}, "advertiser_gap 9"),
    "max_per_page": (pages((), ((8, 1), (13, 2))), {"max_per_page": 1}, "max_per_page 1"),
    "a hole between pages": ([*pages(()), page(request(9), 1, 9, 8, ())], {}, "begins at position 9 where 8"),
    "an overlap": ([*pages(()), page(request(9), 1, 7, 8, ())], {}, "begins at position 7 where 8"),
    "an overlap told of": (
        [*pages(()), page(request(9), 1, 7, 8, (), continued=True)], {}, "begins at position 7 where 8",
    ),
    "a burst around pages of nobody": (
        [*pages(((7, 1),)), page(request(9), 2, 9, 8, ((9, 1),), continued=True)], {}, "max_burst allows 1",
    ),
    "min_gap around them": (
        [*pages(((7, 1),)), page(request(9), 2, 12, 8, ((12, 1),), continued=True)], {"min_gap": 5},
        "min_gap 5",
    ),
    "begun anew too early": ([*pages(()), page(request(9), 0, 0, 8, ())], {}, "begins anew"),
    "an ad outside its page": ([page(request(9), 0, 0, 8, ((8, 1),))], {}, "outside 0 to 7"),
    "ads out of order": (pages((), (), ((23, 1), (19, 2))), {}, "out of order"),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_each_rule_broken_is_seen(name: str) -> None:
    records, policy, expected = RULES[name]
    found = feed(records, **policy)
    assert any(expected in offence for offence in found), found


def test_at_the_very_edge_of_each_rule_nothing_is_seen() -> None:
    assert feed(pages(((4, 1),)), first_position=4) == []
    assert feed(pages((), ((10, 1), (15, 1))), min_gap=4) == []
    assert feed(pages(((3, 1),), ((9, 2), (13, 1))), advertiser_gap=9) == []
    assert feed(pages((), ((8, 1), (13, 2))), max_per_page=2) == []


def test_numbers_of_a_page_that_do_not_add_up() -> None:
    record = page(request(9), 0, 0, 8, ((4, 1),))
    (slot,) = record.decision.slots
    assert slot.feed is not None
    wrong = msgspec.structs.replace(slot.feed, sponsored=0)
    slot = msgspec.structs.replace(slot, feed=wrong)
    decision = msgspec.structs.replace(record.decision, slots=(slot,))
    assert "do not fill positions" in feed([msgspec.structs.replace(record, decision=decision)])[0]


def again(record: Record, **changes: object) -> Record:
    (slot,) = record.decision.slots  # type: ignore[union-attr]
    origin = Origin(record.decision.request_id, 0, 0)  # type: ignore[union-attr]
    slot = msgspec.structs.replace(slot, repeated=origin, **changes)
    decision = msgspec.structs.replace(record.decision, request_id=request(77), slots=(slot,))  # type: ignore[union-attr]
    return msgspec.structs.replace(record, decision=decision)  # type: ignore[type-var]


def test_a_page_answered_again() -> None:
    first, second = pages(((3, 1),), ((11, 1),))
    assert feed([first, again(first), second, again(first), again(second)]) == []
    other = page(request(5), 0, 0, 8, ((4, 1),)).decision.slots[0].ads
    assert "answered again with other ads" in feed([first, again(first, ads=other)])[0]


def test_an_idle_account_begins_anew_or_goes_on() -> None:
    later = request(50, NOW_MS + 11 * MINUTE_MS)
    assert feed([*pages(((3, 1),)), page(later, 0, 0, 8, ((3, 1),))]) == []
    assert feed([*pages(((3, 1),)), page(later, 1, 8, 8, ((8, 1),))]) == []


def test_a_receipt_continues_an_account_the_journal_does_not_know() -> None:
    known = page(request(9), 4, 100, 8, ((100, 1), (101, 1)), continued=True)
    found = feed([known])
    assert len(found) == 1 and "max_burst" in found[0], "prefixes are unknown, bursts are not"
    assert feed([page(request(9), 4, 100, 8, ((100, 1),), continued=True)]) == []
    shown = page(request(9), 1, 16, 8, ((16, 1),), continued=True)
    assert feed([*pages(((7, 1),)), shown]) == [], "one that was nobody's lies in between"
    assert feed([*pages(((7, 1),)), shown, page(request(10), 2, 24, 8, ((24, 1),))]) == []
    assert "begins at position 100 where 0" in feed([page(request(9), 4, 100, 8, ((100, 1),))])[0]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(5, 9), st.integers(1, 3),
    st.integers(0, 2), st.integers(0, 4),
)  # fmt: skip
def test_the_audit_agrees_with_the_law_word_for_word(
    items: list[bool], num: int, den: int, burst: int, head_start: int, gap: int
) -> None:
    """All prefixes and all windows of a feed laid out at random; True is an ad."""
    ads = tuple((at, 1) for at, sponsored in enumerate(items) if sponsored)
    record = page(request(1), 0, 0, len(items), ads)
    rules = {"share_num": num, "share_den": den, "max_burst": burst, "head_start": head_start, "min_gap": gap}
    broken = any(
        sum(items[:k]) > num * (k + head_start) // den for k in range(1, len(items) + 1)
    ) or any(
        sum(items[i:j]) > num * (j - i) // den + burst
        for i in range(len(items)) for j in range(i + 1, len(items) + 1)
    ) or any(b - a - 1 < gap for (a, _), (b, _) in pairwise(ads))  # fmt: skip
    assert bool(feed([record], **rules)) == broken


# -- law 2 -------------------------------------------------------------------------------------------

Step = tuple[Record, Personal | None]


def caps(records: list[Step], *bound: CapTerms) -> list[str]:
    found: list[str] = []
    audit = CapAudit(found.append)
    for record, personal in [(terms(1, caps=bound), None), *records]:
        audit.take(record, personal)
    return found


def exposures(*times_ms: int, first: int = 1, who: int = 1) -> list[Step]:
    return [
        (decided(request(number, NOW_MS + at_ms)), person(who))
        for number, at_ms in enumerate(times_ms, first)
    ]


HOUR = CapTerms("line_item:1", 2, 60 * MINUTE_MS, "impression")


def shown(number: int, decided_ms: int, at_ms: int, status: Status = Status.ACCEPTED) -> Step:
    return recorded(request(number, NOW_MS + decided_ms), status=status, after_ms=at_ms - decided_ms), None


def test_outstanding_exposures_count_up_to_the_limit() -> None:
    assert caps(exposures(0, 1), HOUR) == []
    (offence,) = caps(exposures(0, 1, 2), HOUR)
    assert "the cap line_item:1 allows 2 (impression) in 3600000 ms, and 2 counted already" in offence
    assert caps([*exposures(0, 1), *exposures(2, first=9, who=2)], HOUR) == []


def test_an_expired_exposure_is_free_a_confirmed_one_is_not() -> None:
    later = EXPIRES_AFTER_MS + 1
    assert caps(exposures(0, 0, later), HOUR) == []
    assert caps(exposures(0, 0, EXPIRES_AFTER_MS), HOUR) != []
    seen = [*exposures(0, 0), shown(1, 0, 500), shown(2, 0, 600)]
    assert caps([*seen, *exposures(later, first=3)], HOUR) != []
    assert caps([*seen, *exposures(60 * MINUTE_MS + 500, first=3)], HOUR) == [], "(t - per, t] is half-open"
    assert caps([*seen, *exposures(60 * MINUTE_MS + 499, first=3)], HOUR) != []


def test_a_late_impression_counts_from_then_on() -> None:
    late = EXPIRES_AFTER_MS + 100
    steps = [*exposures(0, 0), shown(1, 0, late, Status.EXPIRED)]
    assert caps([*steps, *exposures(late + 1, first=3)], HOUR) == []
    assert caps([*steps, *exposures(late + 1, late + 2, first=3)], HOUR) != []


def test_a_released_exposure_is_free() -> None:
    release = Released(recorded(request(1, NOW_MS)).event_id, NOW_MS + 5, 1)
    assert caps([*exposures(0, 0), (release, None), *exposures(10, first=3)], HOUR) == []
    assert caps([*exposures(0, 0), (release, None), *exposures(10, 11, first=3)], HOUR) != []


def test_filtered_events_confirm_nothing() -> None:
    steps = [*exposures(0, 0), shown(1, 0, 500, Status.FILTERED)]
    assert caps([*steps, *exposures(EXPIRES_AFTER_MS + 1, first=3)], HOUR) == []


def test_ads_of_one_request_count_too() -> None:
    assert caps([(decided(request(1), (1, 1)), person())], HOUR) == []
    assert caps([(decided(request(1), (1, 1, 1)), person())], HOUR) != []


def test_caps_of_clicks_bound_what_is_decided_after() -> None:
    cap = CapTerms("line_item:1", 1, 60 * MINUTE_MS, "click")
    click: Step = recorded(request(1, NOW_MS), kind=EventKind.CLICK, billed=0, after_ms=10), None
    assert caps(exposures(0, 1, 2, 3), cap) == []
    assert caps([*exposures(0), click, *exposures(60 * MINUTE_MS + 10, first=2)], cap) == []
    assert caps([*exposures(0), click, *exposures(60 * MINUTE_MS + 9, first=2)], cap) != []


def test_caps_per_session_count_sessions() -> None:
    cap = CapTerms("session:line_item:1", 1, 60 * MINUTE_MS, "impression")
    steps: list[Step] = [
        (decided(request(number)), person(number, session)) for number, session in ((1, 5), (2, 6), (3, 5))
    ]
    assert caps(steps[:2], cap) == []
    assert len(caps(steps, cap)) == 1


def test_caps_of_creatives_count_only_that_creative() -> None:
    """Line item 1 shows version 101 of creative 201."""
    assert caps(exposures(0, 1), CapTerms("creative:999", 1, MINUTE_MS, "impression")) == []
    assert caps(exposures(0, 1), CapTerms("creative:201", 1, MINUTE_MS, "impression")) != []


def test_scopes_count_across_line_items() -> None:
    cap = CapTerms("advertiser:20", 1, 60 * MINUTE_MS, "impression")
    steps: list[Step] = [(terms(2, caps=(cap,)), None), *exposures(0)]
    other: Step = decided(request(7), (2,)), person()
    assert caps(steps, cap) == []
    assert len(caps([*steps, other], cap)) == 1


def test_a_cap_counts_only_from_when_it_was_first_in_force() -> None:
    again: Step = (terms(1, caps=(HOUR,), revision=2), None)
    assert caps([*exposures(0, 0, 0, 0), again, *exposures(1, 2, first=9)]) == []
    assert caps([*exposures(0, 0, 0, 0), again, *exposures(1, 2, 3, first=9)]) != []


def test_test_decisions_and_repeated_pages_expose_nobody() -> None:
    tests: list[Step] = [(decided(request(number), mode=1), person()) for number in range(1, 9)]
    assert caps(tests, HOUR) == []
    first = page(request(1), 0, 0, 8, ((4, 1), (6, 1)))
    assert caps([(first, person()), (again(first), person()), (again(first), person())], HOUR) == []


_DAY_MS = 24 * 60 * MINUTE_MS


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4 * 24), st.sampled_from(["shown", "late", "released", "nothing"])),
        min_size=1,
        max_size=40,
    )
)
def test_what_counts_no_more_is_forgotten_and_nothing_else(plan: list[tuple[int, str]]) -> None:
    """With the lists thinned at every exposure, and never."""
    cap = CapTerms("line_item:1", 3, 30 * 60 * MINUTE_MS, "impression")
    steps: list[tuple[int, Step]] = []
    for number, (hour, what) in enumerate(sorted(plan), 1):
        at_ms, mine = hour * 60 * MINUTE_MS, request(number, NOW_MS + hour * 60 * MINUTE_MS)
        steps.append((at_ms, (decided(mine), person())))
        if what == "shown":
            steps.append((at_ms + 1, shown(number, at_ms, at_ms + 1)))
        elif what == "late":
            late = at_ms + 2 * _DAY_MS
            steps.append((late, shown(number, at_ms, late, Status.EXPIRED)))
        elif what == "released":
            steps.append((at_ms + 1, (Released(recorded(mine).event_id, NOW_MS + at_ms + 1, 1), None)))
    records = [step for _, step in sorted(steps, key=lambda step: step[0])]
    found = []
    for every in (1, 1 << 40):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(audit_caps, "_THINNED", every)
            found.append(caps(records, cap))
    assert found[0] == found[1]
