"""The index finds exactly what a plain scan finds: random catalogues and requests, with chunks so small
that most catalogues fill several."""

import random
import re
from array import array
from math import acos, cos, radians, sin

import pytest
from engine_samples import (
    VALUES,
    campaign,
    catalogue,
    line_item,
    of_items,
    placement,
    random_ask,
    random_catalogue,
    random_clause,
    random_request,
    request,
)
from engine_samples import context as context_of
from msgspec.structs import replace
from targeting_strategies import in_range

from adserver.domain import expressions, limits
from adserver.domain.decision import NoFill
from adserver.domain.places import Circle
from adserver.domain.request import PlacementAsk, Request
from adserver.domain.targeting import Clause, Targeting
from adserver.engine import index, live, localtime, postings, rules, snapshot
from adserver.engine.compile import compile_snapshot
from adserver.engine.entries import Entries
from adserver.engine.index import NOWHERE, Selector
from adserver.engine.live import Live
from adserver.engine.masks import Masks
from adserver.engine.postings import DENSE
from adserver.engine.rules import Context
from adserver.engine.shortlist import Walk
from adserver.engine.snapshot import Entry, Snapshot

CATALOGUES = 1000


@pytest.fixture(params=[8, 64, 4096, "compiled"], ids=lambda chunk: f"chunk{chunk}")
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The index in Python with chunks of any size; and with the kernel, whose chunks are of 4096."""
    if request.param == "compiled":
        if index.kernel is None:
            pytest.skip("built without a compiler")
        return 4096
    monkeypatch.setattr(index, "kernel", None)
    for module in (index, live, postings, snapshot):
        monkeypatch.setattr(module, "CHUNK", request.param)
    return int(request.param)


@pytest.fixture(params=["python", "compiled"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index's inner loops."""
    if request.param == "python":
        monkeypatch.setattr(index, "kernel", None)
    elif index.kernel is None:
        pytest.skip("built without a compiler")


def passes(clause: Clause, values: tuple[str, ...], name: str = "") -> bool:
    """API.md, section 5, as sets: written down here once more on purpose. A ``*`` is any run."""
    facts = set(values)
    if name == "os_versions":
        wanted = {*clause.any, *clause.all, *clause.none}
        facts |= {one for one in wanted if values and in_range(one, values[0])}
    for pattern in (*clause.any, *clause.all, *clause.none):
        regular = ".*".join(re.escape(piece) for piece in pattern.split("*"))
        facts |= {pattern} if any(re.fullmatch(regular, value) for value in values) else set()
    any_of, all_of, none_of = set(clause.any), set(clause.all), set(clause.none)
    return (not any_of or bool(any_of & facts)) and all_of <= facts and not none_of & facts


def scan(entries: Entries, context: Context) -> list[int]:
    """Every line item asked, one by one, in rank order."""
    found = []
    for entry in entries:
        item, campaign, view = entry.line_item, entry.campaign, context.view
        blocked = view.publisher.blocked
        if (
            (item.status, campaign.status, campaign.currency) == ("active", "active", "EUR")
            and campaign.advertiser not in blocked.advertisers
            and not set(campaign.labels) & blocked.labels
            and all(
                passes(clause, context.facts.get(name, ()), name)
                for name, clause in item.targeting.clauses.items()
            )
            and passes_hours(entry, context)
            and holds_for(entry, context)
            and within(entry, context)
            and any(shown(context, entry))
        ):
            found.append(entry.position)
    return found


def passes_hours(entry: Entry, context: Context) -> bool:
    hours, zone = entry.line_item.targeting.hours, entry.campaign.timezone
    return hours is None or localtime.hour_of_week(zone, context.request.now_ms) in hours


def holds_for(entry: Entry, context: Context) -> bool:
    """The expression, asked of everybody: the index must not leave out where it holds."""
    custom = entry.line_item.targeting.custom
    return not custom or expressions.holds(expressions.parse(custom), context.said.look)


def within(entry: Entry, context: Context) -> bool:
    """Circles, by the spherical law of cosines: another formula on the same sphere."""
    area, point = entry.line_item.targeting.radius, context.request.point
    if point is None:
        return not area.any

    def inside(circle: Circle) -> bool:
        lat, other = radians(circle.lat), radians(point.lat)
        angle = sin(lat) * sin(other) + cos(lat) * cos(other) * cos(radians(circle.lon - point.lon))
        return acos(max(-1.0, min(1.0, angle))) * 6_371_008.8 <= circle.metres

    return (not area.any or any(map(inside, area.any))) and not any(map(inside, area.none))


def shown(context: Context, entry: Entry) -> list[bool]:
    """Per creative: is it of the placement's formats and sizes, as this request narrows them? (What blocks
    of domains and categories leave of the creatives is asked of candidates.)"""
    placement, ask = context.view.placement, context.ask
    formats = {f for f in placement.formats if not ask.formats or f in ask.formats}
    sizes = set(placement.sizes or ask.sizes) & set(ask.sizes or placement.sizes)
    if (placement.sizes or ask.sizes) and not sizes:
        formats = set()
    return [
        creative.status == "active"
        and creative.format in formats
        and (not sizes or creative.size == "fluid" or creative.size in sizes)
        for creative in entry.line_item.creatives
    ]


def found(whole: Snapshot, context: Context, common: Masks | None = None) -> list[int]:
    bits = Live(len(whole.entries)).chunks
    walk = Walk(whole, bits, context, lambda entry, now_ms: 1.0, 0, common)
    return [entry.position for entry in walk.entries()]


def common_of(whole: Snapshot, request: Request) -> Masks:
    """What the placements of a request share."""
    return whole.index.common(rules.everywhere(request, whole.zones, whole.required))


@pytest.mark.slow
def test_index_equals_scan(chunk: int) -> None:
    matched = 0
    for seed in range(CATALOGUES // 4):
        whole = compile_snapshot(random_catalogue(chunk * CATALOGUES + seed))
        for turn in range(2):
            asked = random_request(seed + turn * 7919)
            common = common_of(whole, asked)
            for number in range(2):
                context = context_of(whole, asked, random_ask(seed + turn + number * 31))
                matches = scan(whole.entries, context)
                assert sorted(found(whole, context)) == matches, f"seed {seed}, turn {turn}"
                assert sorted(found(whole, context, common)) == matches, f"seed {seed}, turn {turn}, shared"
                matched += len(matches)
    assert matched > CATALOGUES // 2


@pytest.mark.slow
def test_explanations_tell_what_the_index_did(chunk: int) -> None:
    """Law 6: ``first_drop`` says None exactly for what the decision would let pass."""
    for seed in range(200):
        whole = compile_snapshot(random_catalogue(seed))
        context = context_of(whole, random_request(seed), random_ask(seed))
        passed = {p for p in found(whole, context) if not rules.drop_of_request(whole.entries[p], context)}
        told = {e.position for e in whole.entries if rules.first_drop(e, context) is None}
        assert passed == told, f"seed {seed}"


def of_clauses(clauses: list[dict[str, Clause]]) -> Snapshot:
    """Equal bids, hence in an order that is nobody's: ``clauses`` by serial."""
    items = (line_item(serial, targeting=Targeting(given)) for serial, given in enumerate(clauses))
    return compile_snapshot(catalogue([campaign(1, *items)]))


@pytest.mark.slow
def test_more_line_items_than_a_chunk(chunk: int) -> None:
    """Sparse postings and bitmaps of several chunks, and of the last one that is not full."""
    chance = random.Random(5)
    clauses = [{"countries": random_clause(chance)} if chance.random() < 0.9 else {} for _ in range(9000)]
    for number, value in enumerate(("rare", "few", "few", "some")):
        for serial in chance.sample(range(9000), (1, 12, 13, 250)[number]):
            clauses[serial] = {"countries": Clause(any=(value, "b", value))}
    whole = of_clauses(clauses)
    counts = {value: whole.index.postings("countries", value)[0].count for value in ("rare", "some", "a")}
    assert counts == {"rare": 1, "some": 250, "a": DENSE}
    for values in ((), ("a",), ("b", "c"), VALUES, ("rare",), ("some",), ("few", "rare"), ("nobody",)):
        selectors = whole.index.selectors({"countries": values})

        def wants(position: int, values: tuple[str, ...] = values) -> bool:
            return all(passes(c, values) for c in clauses[whole.entries.serials[position]].values())

        found = [p for p in whole.index.matches([Live(9000).chunks], selectors) if wants(p)]
        assert found == [p for p in range(9000) if wants(p)]
        common = whole.index.common({"countries": values})
        assert found == [p for p in whole.index.matches([Live(9000).chunks, common], ()) if wants(p)]


def test_placements_alike_share_what_they_show_and_not_what_they_are(chunk: int) -> None:
    """Same formats and sizes, other ids and surfaces; what is kept of one is not told of the other."""
    clauses = [
        {},
        {"placements": Clause(any=("gazette/top",))},
        {"placements": Clause(none=("gazette/top",)), "countries": Clause(any=("a", "b"))},
        {"surfaces": Clause(any=("story",)), "countries": Clause(none=("a",))},
        {"publishers": Clause(any=("gazette",)), "formats": Clause(all=("image",))},
    ]
    items = (line_item(serial, targeting=Targeting(given)) for serial, given in enumerate(clauses))
    alike = (placement(), replace(placement(), id="side", serial=2, surface="story"))
    whole = compile_snapshot(catalogue([campaign(1, *items)], *alike))
    told = set()
    for country in ("a", "b", "c"):
        asked = request(facts={"countries": (country,)})
        common = common_of(whole, asked)
        for name in ("top", "side"):
            context = context_of(whole, asked, PlacementAsk(name))
            matches = scan(whole.entries, context)
            assert sorted(found(whole, context, common)) == matches
            told.add(tuple(matches))
    assert len(told) > 3


def test_nothing_at_all() -> None:
    whole = compile_snapshot(of_items())
    assert found(whole, context_of(whole)) == []


def test_live_bits_hide_and_show_again() -> None:
    whole = compile_snapshot(of_items(*(line_item(serial) for serial in range(1, 6))))
    bits = Live(5)
    bits.clear(2, NoFill.BUDGET_EXHAUSTED)
    context = context_of(whole)

    def positions() -> list[int]:
        return sorted(
            e.position for e in Walk(whole, bits.chunks, context, lambda e, now_ms: 1.0, 0).entries()
        )

    assert positions() == [0, 1, 3, 4]
    bits.look_again()
    assert positions() == [0, 1, 2, 3, 4]
    bits.clear(3, NoFill.PACED, until_ms=1000)
    bits.look_again()
    bits.wake(999)
    assert positions() == [0, 1, 2, 4]
    bits.wake(1000)
    assert positions() == [0, 1, 2, 3, 4]
    assert not bits.cleared


def test_those_that_are_out_are_tried_again_a_few_at_a_time() -> None:
    bits, many = Live(5000), 2 * limits.LOOKED_AT_AGAIN + 1
    for position in range(many):
        bits.clear(position, NoFill.PACED, until_ms=10)
        bits.clear(many + position, NoFill.BUDGET_EXHAUSTED)
    left = []
    for _ in range(3):
        bits.wake(10)
        bits.look_again()
        left.append(len(bits.cleared))
    assert left == [2 * limits.LOOKED_AT_AGAIN + 2, 2, 0]


def test_the_index_looks_at_a_chunk_only_when_asked_for_more(
    loops: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The early stop: the cost of the best candidates does not grow with the number of line items."""
    looked: list[int] = []
    make = Selector.mask

    def counting(self: Selector, chunk: int) -> int:
        looked.append(chunk)
        return make(self, chunk)

    monkeypatch.setattr(Selector, "mask", counting)
    index = of_clauses([{"countries": Clause(any=("FR",))}] * (4096 * 5)).index
    bits = Live(4096 * 5).chunks
    matches = index.matches([bits], index.selectors({"countries": ("FR",)}))
    assert [next(matches) for _ in range(100)] == list(range(100))
    assert looked == [0]


def run(program: list[int], words: memoryview, sparse: memoryview, size: int) -> set[int]:
    """A selector's program, carried out position by position."""
    wildcard, includes, excludes, free, required, *rest = program
    spans = [rest[n : n + 2] for n in range(0, len(rest), 2)]
    assert len(spans) == includes + excludes + required

    def bitmap(offset: int) -> set[int]:
        return {p for p in range(size) if words[offset + p // 64] >> p % 64 & 1}

    def listed(span: list[int]) -> set[int]:
        assert span == sorted(set(span)), "positions ascend, each once"
        return set(span)

    def union(some: list[list[int]]) -> set[int]:
        each = (bitmap(at) if n == DENSE else listed(sparse[at : at + n].tolist()) for n, at in some)
        return set().union(*each)

    everybody = set(range(size))
    found = everybody if wildcard == NOWHERE else bitmap(wildcard)
    found = (found | union(spans[:includes])) - union(spans[includes : includes + excludes])
    needs = union(spans[includes + excludes :])
    return found & (everybody if free == NOWHERE else bitmap(free) | needs)


def test_a_program_says_what_the_mask_says(loops: None) -> None:
    """What the kernel goes by is what Python goes by."""
    for seed in range(100):
        whole = compile_snapshot(random_catalogue(seed))
        arrays, size = whole.index.arrays, len(whole.entries)
        facts = context_of(whole, random_request(seed)).facts
        for selector in whole.index.selectors(facts):
            found = run(array("q", selector.program).tolist(), arrays.words.cast("Q"), arrays.sparse, size)
            assert found == {p for p in range(size) if selector.mask(0) >> p & 1}, f"seed {seed}"
