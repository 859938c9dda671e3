"""Answers joined from bytes are those that encoding objects gives, to the byte."""

import json

import answers_as_objects
from hypothesis import example, given
from hypothesis import strategies as st

from adserver.domain import ids
from adserver.domain.campaign import Creative, LineItem, Pricing
from adserver.domain.catalogue import Catalogue
from adserver.domain.decision import Ad, Decision, FeedPage, NoFill, Origin, Slot
from adserver.domain.inventory import Placement, Publisher
from adserver.domain.targeting import Targeting
from adserver.engine.compile import compile_snapshot
from adserver.services.macros import NAMES
from adserver.services.render import Renderer, Sold
from adserver.services.world import Serving
from adserver.services.writing import Asked, Writer, instant
from adserver.tokens import Signer

SIGNER = Signer({0: b"o" * 32, 3: b"n" * 32}, 3, b"m" * 32)
NOW_MS = 1_780_315_200_123
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PIECE = st.one_of(
    ANY,
    st.sampled_from([f"{{{name}}}" for name in NAMES]),
    st.sampled_from(["{", "}", '"', "\\", "{\\", "\n"]),
)
TEXT = st.lists(PIECE, max_size=5).map("".join)
ASSETS = st.dictionaries(
    st.sampled_from(["html", "title", "body{click_id}", '"']),
    TEXT
    | st.integers(-(2**63), 2**63 - 1)
    | st.none()
    | st.lists(st.dictionaries(ANY, TEXT, max_size=2), max_size=2),
)
CREATIVES = st.builds(
    Creative, id=TEXT, serial=st.just(7), identity=st.just(7), format=ANY, size=ANY,
    advertiser_domain=TEXT, landing_url=st.just(""), categories=st.lists(ANY, max_size=2).map(tuple),
    language=ANY, assets=ASSETS, impression_trackers=st.lists(TEXT, max_size=2).map(tuple),
    viewable_trackers=st.lists(TEXT, max_size=2).map(tuple),
)  # fmt: skip
SEED = st.integers(0, 2**64 - 1)
ADS = st.builds(
    Ad, index=st.integers(1, 2**16 - 1), line_item=st.integers(1, 9), creative=st.sampled_from((7, 7, 7, 8)),
    price_nanos=st.integers(0, 2**63), hold_nanos=st.just(0), rate_micros=st.integers(0, 10**15),
    position=st.integers(-1, 300), model=st.integers(0, 2),
)  # fmt: skip
PAGES = st.builds(
    FeedPage, account=st.just(b"a" * 16), feed_id=ANY, page=st.integers(0, 9), start=st.just(0),
    next=st.just(21), organic=st.just(20), sponsored=st.just(1), receipt=ANY, max_share=st.just("0.06"),
)  # fmt: skip
ORIGINS = st.builds(
    Origin, SEED.map(lambda seed: ids.mint(NOW_MS - 5000, seed, 0)), st.integers(0, 3), st.integers(0, 15)
)
SLOTS = st.builds(
    Slot, placement=st.sampled_from((1, 1, 1, 9)), placement_id=ANY, ads=st.lists(ADS, max_size=3).map(tuple),
    unfilled=st.integers(0, 40), no_fill=st.sampled_from((None, NoFill.NO_MATCH, "feed_cap")),
    expires_ms=st.integers(NOW_MS, NOW_MS + 10**6), feed=st.none() | PAGES, repeated=st.none() | ORIGINS,
)  # fmt: skip
DECISIONS = st.builds(
    Decision, SEED.map(lambda seed: ids.mint(NOW_MS, seed, 0)), st.integers(1, 10**6), st.just(1),
    st.lists(SLOTS, max_size=3).map(tuple), st.integers(0, 2), st.sampled_from((0, 3, 5)), st.booleans(),
    st.integers(0, 2),
)  # fmt: skip
ASKED = st.builds(Asked, st.none() | st.binary(min_size=16, max_size=16), st.booleans(), ANY)
URLS = st.sampled_from(("https://ads.example", 'http://q"uote.example/{x}/\\'))
EXPLAINED = st.none() | st.lists(st.dictionaries(ANY, ANY, max_size=2), max_size=2)


PUBLISHER = Publisher("lumen", 1, "EUR", placements=(Placement("top", "lumen", 1, "page", ("image",)),))
SNAPSHOT = compile_snapshot(Catalogue(revision=1, publishers=(PUBLISHER,)))
"""With one placement, of serial 1."""


def sold_as(creative: Creative) -> Sold:
    item = LineItem("a", "acme/c/a", 1, "auction", Pricing("cpm", 1), (creative,), Targeting())
    return Sold(creative, item, "acme", "c", "Europe/Helsinki")


MACROS = Creative(
    "x", 7, 7, "html", "fluid", "", "",
    assets={"html": '<a href="{click_url}">{creative}', "title": "{click_id}", "x": {"html": "{creative}"}},
    impression_trackers=("https://t.example/{event_id}?{click_url_enc}",), viewable_trackers=("{gdpr}{no}",),
)  # fmt: skip
AD = Ad(1, 1, 7, 4_200_000, 0, 4200, 3)
SLOT = Slot(1, "top", (AD,), 2, "feed_cap", NOW_MS + 900_000)
AGAIN = Slot(1, "top", (AD,), expires_ms=NOW_MS + 9000, repeated=Origin(ids.mint(NOW_MS - 5000, 9, 0), 0, 3))


@given(CREATIVES, DECISIONS, ASKED, URLS, EXPLAINED)
@example(MACROS, Decision(ids.mint(NOW_MS, 8, 0), 3, 1, (SLOT, AGAIN), 0, 3, True, 2), Asked(b"a" * 16, True),
         'http://q"uote.example', None)  # fmt: skip
@example(MACROS, Decision(ids.mint(NOW_MS, 8, 0), 3, 1, (SLOT, AGAIN), 2), Asked(None, False), "http://a", [])
def test_the_bytes_are_those_of_the_obvious_way(
    creative: Creative, decision: Decision, asked: Asked, public_url: str, explain: object
) -> None:
    find, serving = {7: sold_as(creative)}.get, Serving(SNAPSHOT)
    wanted = answers_as_objects.answer(Renderer(SIGNER, public_url, find), decision, SNAPSHOT, asked, explain)
    writer = Writer(SIGNER, public_url, find)
    for _ in ("the template is made", "and used again"):
        assert writer.answer(decision, serving, asked, explain) == wanted
    json.loads(wanted)


@given(st.integers(0, 4_000_000_000_000))
def test_instants_are_written_as_python_writes_them(at_ms: int) -> None:
    assert instant(at_ms).decode() == answers_as_objects._instant(at_ms)
