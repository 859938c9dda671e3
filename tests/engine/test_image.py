"""The image: whatever was compiled before, and wherever it lies, it is the same snapshot; what is no whole
image of this version is refused."""

import gc
import mmap
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_samples import (
    campaign,
    catalogue,
    context,
    creative,
    line_item,
    of_items,
    placement,
    random_ask,
    random_catalogue,
    random_line_item,
    random_request,
)
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adserver.domain import limits
from adserver.domain.campaign import Advertiser, Campaign, FrequencyCap
from adserver.domain.catalogue import Catalogue
from adserver.domain.inventory import Audience
from adserver.domain.targeting import Clause, Targeting
from adserver.engine import compile as compiling
from adserver.engine import groups, index, names, rules, values
from adserver.engine import image as images
from adserver.engine import order as orders
from adserver.engine import snapshot as snapshots
from adserver.engine.compile import Compiler, compile_snapshot
from adserver.engine.image import Image, ImageError, Sections
from adserver.engine.live import Live
from adserver.engine.postings import Posting
from adserver.engine.shortlist import Walk
from adserver.engine.snapshot import Snapshot


def edited(given: Catalogue, chance: random.Random, serials: Iterator[int]) -> Catalogue:
    """With one document changed, added, removed, or put elsewhere."""
    campaigns = list(given.campaigns)
    place = chance.randrange(len(campaigns)) if campaigns else 0
    kind = chance.choice(
        ("item", "item", "remove", "add", "add", "order", "advertiser", "publisher", "people")
    )
    if kind == "add" or not campaigns:
        serial = next(serials)
        owner = chance.choice([advertiser.id for advertiser in given.advertisers])
        mine = (random_line_item(chance, serial), random_line_item(chance, next(serials)))
        campaigns.insert(place, campaign(serial, *mine, advertiser=owner, labels=("beer",)))
    elif kind == "item":
        old = campaigns[place]
        items = (*old.line_items[1:], random_line_item(chance, next(serials)))
        campaigns[place] = replace(old, line_items=items)
    elif kind == "remove":
        del campaigns[place]
    elif kind == "order":
        chance.shuffle(campaigns)
    elif kind == "people":
        audience = f"acme/{chance.randrange(3)}"
        people = {chance.randbytes(16): (audience,) for _ in range(3)}
        return replace(given, members={**given.members, **people})
    elif kind == "publisher":
        owner = given.publishers[0]
        places = (*owner.placements, replace(owner.placements[0], id=f"p{place}", serial=next(serials)))
        return replace(given, publishers=(replace(owner, placements=places),))
    else:
        new = Advertiser(f"new{next(serials)}", next(serials))
        changed = replace(given.advertisers[0], legal_name=chance.choice("abc"))
        return replace(given, advertisers=(changed, *given.advertisers[1:], new))
    return replace(given, revision=given.revision + 1, campaigns=tuple(campaigns))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forgotten", "share"), [(compiling._FORGOTTEN, 8), (compiling._FORGOTTEN, 0), (-100, 0)]
)
def test_an_image_made_by_edits_is_the_image_made_at_once(
    forgotten: int, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte; with -100, for a compiler that begins anew now and then as well; with a share of 0,
    where nothing is sorted anew but what was put in order before goes on, however much is new."""
    monkeypatch.setattr(compiling, "_FORGOTTEN", forgotten)
    monkeypatch.setattr(orders, "_MERGED_SHARE", share)
    for seed in range(25):
        chance, serials = random.Random(seed), iter(range(1000, 10**6))
        given, compiler = random_catalogue(seed, 30), Compiler()
        for step in range(8):
            assert bytes(compiler.compile(given)) == bytes(Compiler().compile(given)), f"{seed}, {step}"
            given = edited(given, chance, serials)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given_by(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=6), max_size=6),
    st.sampled_from((1, 32)),
)
def test_advertisers_come_and_go_and_change(changes: list[list[tuple[int, int]]], sparse_bits: int) -> None:
    """From nothing to nothing, several at once: each step is (advertiser, which of its states; 0 is none).
    States share values, bids, a required name and caps, and have some of their own. With a share of 1 all
    postings are sparse, of which the order shows."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(orders, "_MERGED_SHARE", 0)
        patched.setattr(limits, "NAMES_INDEXED", 1)
        patched.setattr(groups, "_SPARSE_BITS", sparse_bits)
        compiler, there = Compiler(), dict[int, tuple[Advertiser, list[Campaign]]]()
        for number, step in enumerate([*changes, [(owner, 0) for owner in range(6)]]):
            there |= {owner: state_of(owner, state) for owner, state in step}
            there = {owner: both for owner, both in there.items() if both[1]}
            owners, campaigns = (
                [both[0] for both in there.values()],
                [c for _, some in there.values() for c in some],
            )
            whole = Catalogue(number, tuple(owners), tuple(campaigns))
            assert bytes(compiler.compile(whole)) == bytes(Compiler().compile(whole))


def state_of(owner: int, state: int) -> tuple[Advertiser, list[Campaign]]:
    chance = random.Random(state)
    items = []
    for number in range(state):
        serial = 1000 * owner + 100 * state + number
        texts = (f'a = "{number}"', f'b = "{state}" and a = "1"', f'c = "{owner}"', "")
        clauses = {
            "segments": Clause(any=("s", "s", f"s{state}"), none=("n",)),
            "os": Clause(all=(f"o{owner}",)),
        }
        targeting = Targeting(dict(list(clauses.items())[: number % 3]), custom=texts[number % 4])
        bid = chance.choice((1_000_000, 2_000_000))
        items.append(line_item(serial, bid, targeting=targeting, frequency_caps=some_caps(chance)))
    name = f"brand-{owner}"
    made = [campaign(10 * owner + 1, *items, advertiser=name, labels=("x", f"l{state}"))] if state else []
    return Advertiser(name, owner + 1), made


def test_unchanged_advertisers_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    block = compiling.made

    def counting(values: Any, advertiser: Advertiser, campaigns: Any) -> Any:
        made.append(advertiser.id)
        return block(values, advertiser, campaigns)

    monkeypatch.setattr(compiling, "made", counting)
    owners = ("acme", "bolt", "corn")
    given = catalogue([campaign(n, line_item(n), advertiser=owner) for n, owner in enumerate(owners, 1)])
    compiler = Compiler()
    compiler.compile(given)
    changed = replace(given.campaigns[1], labels=("cars",))
    compiler.compile(replace(given, campaigns=(given.campaigns[0], changed, given.campaigns[2])))
    assert made == ["acme", "bolt", "corn", "bolt"]


def test_a_mapped_file_is_the_same_snapshot_and_is_let_go(tmp_path: Path) -> None:
    given = random_catalogue(11)
    image = Compiler().compile(given)
    path = tmp_path / "a.image"
    with path.open("wb") as file:
        file.writelines(image.pieces)
    assert path.stat().st_size == image.size
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    whole, other = Snapshot.open(memoryview(mapped)), Snapshot.open(bytes(image))
    told = [decided(one) for one in (whole, other)]
    assert told[0] == told[1] and told[0]
    gc.disable()
    try:
        del whole
        mapped.close()  # BufferError if anything still held a piece of it
    finally:
        gc.enable()


def decided(whole: Snapshot) -> list[Any]:
    """Of some requests: who is shortlisted, in which order, and what drops them."""
    told: list[Any] = []
    for seed in range(20):
        asked = context(whole, random_request(seed), random_ask(seed))
        found = Walk(whole, Live(len(whole.entries)).chunks, asked, lambda entry, now_ms: 1.0, 0).entries()
        told += [(e.position, e.line_item, rules.drop_of_request(e, asked)) for e in found]
    return told


# -- refused ---------------------------------------------------------------------------------------


def test_what_is_no_whole_image_of_this_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = bytes(Compiler().compile(of_items(line_item(1))))
    Snapshot.open(good)
    wrong = {
        "0 bytes are no image": b"",
        "31 bytes are no image": good[:31],
        "no image of a snapshot": b"PK" + good[2:],
        "version 16777217": good[:8] + b"\1\0\0\1" + good[12:],
        f"has {len(good) - 1} of its {len(good)} bytes": good[:-1],
        f"has {len(good) + 1} of its": good + b"\0",
        "damaged": good[:50] + bytes([good[50] ^ 1]) + good[51:],
    }
    for message, given in wrong.items():
        with pytest.raises(ImageError, match=message):
            Snapshot.open(given)
    monkeypatch.setattr(images, "VERSION", images.VERSION + 1)
    with pytest.raises(ImageError, match="this program reads version"):
        Snapshot.open(good)


def test_an_image_of_other_documents_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with a new field must not read what one without it wrote, nor the other way around."""
    good = bytes(Compiler().compile(of_items(line_item(1))))
    monkeypatch.setattr(snapshots, "SHAPE", b"abcd")
    with pytest.raises(ImageError, match="documents of another version"):
        Snapshot.open(good)


def test_the_shape_of_documents_is_the_same_in_every_process() -> None:
    asked = "from adserver.engine.snapshot import SHAPE; print(SHAPE.hex())"
    told = {
        subprocess.run(
            [sys.executable, "-c", asked],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {f"{snapshots.SHAPE.hex()}\n"}


def test_a_section_that_is_not_there_is_named() -> None:
    with pytest.raises(ImageError, match="no section shape"):
        Snapshot.open(bytes(Image({"a": b"1"})))


def test_sections_come_back_as_they_were() -> None:
    given = {"none": b"", "odd": b"abc", "pieces": [b"a", bytearray(b"bc"), b""], "last": b"x" * 100}
    sections = Sections(bytes(Image(given)))
    assert [bytes(sections.bytes(name)) for name in given] == [b"", b"abc", b"abc", b"x" * 100]


@pytest.mark.parametrize(
    ("count", "offset"), [(1, 10**6), (10**6, 0), (-1, 10**6), (-1, -1), (-2, 0), (1, -1)]
)
def test_a_posting_outside_the_image_is_refused(count: int, offset: int) -> None:
    items = [line_item(serial) for serial in range(1, 100)]
    whole = compile_snapshot(of_items(*items))
    with pytest.raises(ImageError, match="outside the image"):
        Posting(whole.index.arrays, count, offset)


# -- what is asked of it ---------------------------------------------------------------------------


def test_documents_come_back_as_they_were() -> None:
    for seed in range(20):
        given = random_catalogue(seed)
        whole = compile_snapshot(given)
        assert dict(whole.campaigns) == {f"{c.advertiser}/{c.id}": c for c in given.campaigns}
        assert dict(whole.advertisers) == {one.id: one for one in given.advertisers}
        assert dict(whole.publishers) == {one.id: one for one in given.publishers}
        items = {item.serial: (item, c) for c in given.campaigns for item in c.line_items}
        assert {serial: entry.line_item for serial, entry in whole.by_serial.items()} == {
            serial: item for serial, (item, _) in items.items()
        }
        for entry in whole.entries:
            owner = replace(items[entry.line_item.serial][1], line_items=())
            assert entry.campaign == owner
        creatives = {c.serial: (c, item.serial) for item, _ in items.values() for c in item.creatives}
        found = {serial: (c, e.line_item.serial) for serial, (c, e) in whole.creatives.items()}
        assert found == creatives
        assert whole.by_serial.get(10**9) is None and whole.by_serial.get(-1) is None
        assert whole.campaigns.get("acme/none") is None


def test_placements_are_found_by_id_and_by_serial() -> None:
    places = [placement(), replace(placement(), id="side", serial=7), replace(placement(), id="up", serial=3)]
    whole = compile_snapshot(catalogue([], *places))
    assert [view.placement for view in whole.views("gazette")] == places
    assert {serial: v.placement.id for serial, v in whole.placements_by_serial.items()} == {
        1: "top", 3: "up", 7: "side",
    }  # fmt: skip
    assert whole.view("gazette", "none") is None and whole.view("none", "top") is None
    assert whole.view("gazette", "top") is whole.view("gazette", "top")
    assert list(whole.views("none")) == []


def test_people_and_audiences() -> None:
    chance = random.Random(4)
    heads = [chance.randbytes(8) for _ in range(5)]
    people = {
        chance.choice(heads) + chance.randbytes(8): (f"a/{n % 3}", "b/x")[: 1 + n % 2] for n in range(99)
    }
    audiences = (
        Audience("x", "b", "publisher", 1, "b"),
        Audience("0", "a", "advertiser", 2, "a", {"industry": ("x",)}),
    )
    whole = compile_snapshot(Catalogue(1, audiences=audiences, members=people))
    assert dict(whole.members) == people
    assert whole.members.get(bytes(16)) is None and whole.members.get(heads[0] + bytes(8), ()) == ()
    assert dict(whole.facets) == {"a/0": {"industry": ("x",)}}
    assert dict(whole.audience_publishers) == {"b/x": "b"}


def test_runs_are_neighbours_whose_order_chance_decides() -> None:
    for seed in range(50):
        whole = compile_snapshot(random_catalogue(seed))
        entries = list(whole.entries)
        for entry in entries:
            first, end = whole.entries.run_of(entry.position)
            assert {e.position for e in entries if e.run == entry.run} == set(range(first, end))


def test_caps_on_a_counter_and_whom_they_bind() -> None:
    for seed in range(50):
        chance, given = random.Random(seed), random_catalogue(seed)
        campaigns = tuple(
            replace(c, line_items=tuple(replace(i, frequency_caps=some_caps(chance)) for i in c.line_items))
            for c in given.campaigns
        )
        whole = compile_snapshot(replace(given, campaigns=campaigns))
        wanted: dict[str, dict[Any, set[int]]] = {}
        for entry in whole.entries:
            for cap in entry.caps:
                wanted.setdefault(cap.counter, {}).setdefault(cap, set()).add(entry.position)
        for counter, caps in wanted.items():
            assert {cap: set(positions(bits)) for cap, bits in whole.capped(counter)} == caps
        for nobody in ("line_item:99999", "campaign:99999/click", "creative:1", "session:advertiser:9"):
            assert whole.capped(nobody) == ()


def some_caps(chance: random.Random) -> tuple[FrequencyCap, ...]:
    return tuple(
        FrequencyCap(
            chance.randint(1, 3), chance.choice((1000, 2000)),
            chance.choice(("line_item", "campaign", "advertiser", "creative")),
            chance.choice(("impression", "click")), chance.random() < 0.3,
        )
        for _ in range(chance.choice((0, 0, 1, 3)))
    )  # fmt: skip


def positions(bits: Any) -> Iterator[int]:
    for chunk, mask in bits.items():
        yield from (chunk * 4096 + bit for bit in range(mask.bit_length()) if mask >> bit & 1)


def test_names_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "kernel", None)  # which has a hash of its own
    given = random_catalogue(11)
    before = decided(compile_snapshot(given))
    assert before
    for module in (names, values):
        monkeypatch.setattr(module, "hash_of", lambda name: len(name) % 2)
    whole = compile_snapshot(given)
    assert dict(whole.campaigns) == {f"{c.advertiser}/{c.id}": c for c in given.campaigns}
    assert decided(whole) == before


def test_a_creative_of_an_unknown_format_is_shown_nowhere() -> None:
    whole = compile_snapshot(of_items(line_item(1, creatives=(creative(1, format="video"),))))
    assert decided(whole) == []
