"""Requests that are odd, broken or hostile: three are 400, and nothing else is ever anybody's fault."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import REPOSITORY
from openrtb_checks import DATA, Exchange
from openrtb_world import ASSETS, BOX, CARD, PLAYER, request
from world import World

from adserver.api import openrtb_countries
from adserver.api.openrtb_reading import decode, flag, number, plain, text, whole
from adserver.catalog.folder import read_folder

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.0, 1.5, -0.5, 1e-320, 1e308, "", "0", "1", "x",
    "\u0000", "é\u2028", "x" * 20_000, [], [None], [[]], [{}], ["x"] * 2000, {}, {"id": None},
    {"ext": {"gdpr": []}},
]  # fmt: skip


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """The sample world: something of every kind to bid."""
    with World(tmp_path_factory.mktemp("hostile")) as world:
        world.app.store.apply(read_folder(REPOSITORY / "campaigns"))
        world.app.build()
        yield Exchange(world)


MALFORMED = [
    b"", b" ", b"{", b"nonsense", b"\xff\xfe", b'{"id":"\xff","imp":[{}]}', b"NaN", b"[]", b"7", b"null",
    b'"x"', b"{}", b'{"id":"1"}', b'{"id":"1","imp":null}', b'{"id":"1","imp":[]}', b'{"id":"1","imp":{}}',
    b'{"imp":[{"id":"1"}]}', b'{"id":null,"imp":[{"id":"1"}]}', b'{"id":"","imp":[{"id":"1"}]}',
    b'{"id":"1","imp":[{}]}x', b'{"id":"1","imp":[{"a":NaN}]}', b"[" * 100_000, b'{"a":' * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_request_is_400_without_a_body(sample: Exchange, body: bytes) -> None:
    reply = sample.raw(body)
    assert (reply.status, reply.body) == (400, b"")


@pytest.mark.parametrize(
    "imp",
    [
        b"7", b"null", b'"x"', b"[]", b"{}", b'{"id":{}}', b'{"id":"1"}', b'{"id":"1","banner":7}',
        b'{"id":"1","banner":{"format":7,"w":"x","h":{}}}',
        b'{"id":"1","banner":{"format":[7,null,{"w":1e99,"h":1}]}}',
        b'{"id":"1","video":[]}', b'{"id":"1","native":"x"}',
        b'{"id":"1","banner":{"w":300,"h":250},"bidfloor":1e999}',
        b'{"id":"1","banner":{"w":300,"h":250},"bidfloor":1e99999999999999999999}',
        b'{"id":"\\ud800","banner":{"w":300,"h":250}}', b'{"id":true,"banner":{"w":300,"h":250}}',
    ],
)  # fmt: skip
def test_an_imp_that_cannot_be_understood_is_not_bid_on(sample: Exchange, imp: bytes) -> None:
    assert sample.raw(b'{"id":"1","imp":[' + imp + b"]}").status == 204
    good = b'{"id":"good","banner":{"w":300,"h":250}}'
    reply = sample.raw(b'{"id":"1","imp":[' + imp + b"," + good + b"]}")
    assert reply.status == 200 and b'"impid":"good"' in reply.body


def test_what_the_grammar_allows_is_read(sample: Exchange) -> None:
    """Lone surrogates, numbers without end, repeated keys: JSON, if not good manners."""
    imp = b'{"id":"1","banner":{"w":300,"h":250}}'
    for odd in (
        b'"\\ud800"',
        b"9" * 5000,
        b"1" + b"0" * 5000 + b".5",
        b'"a","user":"b"',
        b'{"id":"\\ud800"}',
    ):
        assert sample.raw(b'{"id":"1","imp":[' + imp + b'],"user":' + odd + b"}").status == 200, odd


def test_of_two_imps_with_one_id_the_first_counts(sample: Exchange) -> None:
    twice = request({**BOX, "id": "a"}, {**PLAYER, "id": "a"}, {**CARD, "id": "b"})
    reply = sample.raw(json.dumps(twice).encode())
    bids = json.loads(reply.body)["seatbid"][0]["bid"]
    assert [(bid["impid"], bid["mtype"]) for bid in bids] == [("a", 1), ("b", 4)]


FULL: dict[str, Any] = {
    "test": 0, "at": 1, "tmax": 120, "cur": ["USD"], "bcat": ["IAB25"], "badv": ["x.example"],
    "site": {"id": "s", "domain": "n.example", "page": "https://n.example/", "ref": "", "cat": ["IAB1"],
             "keywords": "a,b", "publisher": {"id": "p", "domain": "p.example"},
             "content": {"cat": ["IAB1"]}},
    "app": {"id": "a", "domain": "a.example", "publisher": {"id": "p"}},
    "device": {"ua": "Mozilla/5.0", "ip": "192.0.2.1", "ipv6": "2001:db8::1", "dnt": 0, "lmt": 0, "ifa": "i",
               "os": "iOS", "osv": "18", "model": "m", "language": "en", "devicetype": 4, "connectiontype": 2,
               "geo": {"country": "USA", "region": "NY", "city": "c", "zip": "z", "lat": 1.5, "lon": 2}},
    "user": {"id": "u", "buyeruid": "b", "consent": "", "geo": {}, "ext": {},
             "data": [{"segment": [{"id": "s"}]}]},
    "regs": {"coppa": 0, "gdpr": 0, "gpp": "", "gpp_sid": [], "us_privacy": "", "ext": {"gdpr": 0}},
    "source": {}, "ext": {},
}  # fmt: skip


def full() -> dict[str, Any]:
    both = {**BOX, **PLAYER, "tagid": "t", "bidfloor": 0.1, "bidfloorcur": "USD", "secure": 1, "exp": 30,
            "instl": 0, "pmp": {"private_auction": 0, "deals": [{
                "id": "d", "bidfloor": 0.2, "bidfloorcur": "USD", "at": 1, "wseat": [], "wadomain": ["x"],
            }]}}  # fmt: skip
    tracked = {"ver": "1.2", "assets": ASSETS, "eventtrackers": [{"event": 1, "methods": [1]}]}
    return copy.deepcopy(request(both, {"native": {"request": tracked}, "tagid": None}, **FULL))


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, the whole excepted."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from paths(part, (*path, key))


def put(value: Any, path: tuple[Any, ...], part: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = part


def well_answered(asked: Exchange, body: dict[str, Any]) -> None:
    """400 exactly where the contract says so."""
    status = asked.raw(json.dumps(body).encode()).status
    ident, imp = body.get("id"), body.get("imp")
    named = (isinstance(ident, str) and ident) or (type(ident) is int and abs(ident) < 10**18)
    if named and isinstance(imp, list) and imp:
        assert status in (200, 204)
    else:
        assert status == 400


@pytest.mark.slow
def test_any_field_may_be_anything(sample: Exchange) -> None:
    """Every field of a full request, one at a time, replaced by every odd value."""
    assert len(sample.bids(full())) == 2
    for path in paths(full()):
        for odd in ODD:
            body = full()
            put(body, path, odd)
            well_answered(sample, body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_JSON)
def test_any_json_is_answered(sample: Exchange, value: Any) -> None:
    if isinstance(value, dict):
        well_answered(sample, value)
    assert sample.raw(json.dumps(value).encode()).status in (200, 204, 400)
    assert sample.raw(json.dumps({"id": "1", "imp": [value]}).encode()).status in (200, 204)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason=f"NOT RUN: the recorded bid requests ({DATA}) are absent")
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_recorded_requests_are_answered(sample: Exchange, data: st.DataObject) -> None:
    lines = _recorded()
    body = json.loads(lines[data.draw(st.integers(0, len(lines) - 1))])["request"]
    other = json.loads(lines[data.draw(st.integers(0, len(lines) - 1))])["request"]
    for _ in range(data.draw(st.integers(1, 4))):
        places = list(paths(body))
        if not places:
            break
        path = data.draw(st.sampled_from(places))
        part = data.draw(
            st.sampled_from(ODD) | _JSON | st.sampled_from([_at(other, p) for p in paths(other)])
        )
        put(body, path, copy.deepcopy(part))
    well_answered(sample, body)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


_LINES: list[str] = []


def _recorded() -> list[str]:
    if not _LINES:
        _LINES.extend(Path(DATA).read_text().splitlines())
    return _LINES


# -- the readers by themselves ----------------------------------------------------------------------


def test_numbers_are_read_as_they_were_written() -> None:
    values = decode(b'[1, 1.0, 1.5, "12", "1.5", 1e2, 1e400, true, null, 1e99999999999999999999, -3]')
    assert [whole(value) for value in values] == [1, 1, None, 12, None, 100, None, None, None, None, -3]
    assert [str(number(value)) for value in values] == [
        "1", "1.0", "1.5", "12", "1.5", "1E+2", "1E+400", "None", "None", "None", "-3",
    ]  # fmt: skip


def test_flags_are_on_in_doubt() -> None:
    assert [flag(value) for value in (None, 0, "0", False, "")] == [None, False, False, False, False]
    assert all(flag(value) for value in (1, "1", True, "yes", [], {}, 2, -1))


def test_texts_are_bounded_and_clean() -> None:
    assert [text(value) for value in ("a", 7, True, "", None, "x" * 1025, "\ud800")] == [
        "a",
        "7",
        *[None] * 5,
    ]
    assert [plain(value) for value in ("a b", "é", "a\x00", "a\nb")] == ["a b", "é", None, None]


def test_countries_are_those_of_the_standard() -> None:
    assert len(openrtb_countries._ALPHA2) == len(set(openrtb_countries._ALPHA2.values())) == 249
    codes = ("USA", "fra", "GBR", "us", "ROU", "QQQ", "", None, "U1", "USAA")
    assert [openrtb_countries.alpha2(code) for code in codes] == [
        "US", "FR", "GB", "US", "RO", None, None, None, None, None,
    ]  # fmt: skip
