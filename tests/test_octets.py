"""What is compiled gives, byte for byte, what Python gives; and it never says of a body more than is true."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adserver import tokens
from adserver.api import bodies
from adserver.domain import ids
from adserver.domain.decision import EventKind
from adserver.domain.records import Unbilled
from adserver.domain.told import Told
from adserver.ledger import segments
from adserver.services.ask import DECODER
from adserver.services.refusals import Refused
from adserver.tokens import BadToken, Signer, Token
from tests.test_tokens import LETTERS, MASK, SIGNED, former

octets = pytest.importorskip("adserver._octets", reason="built without a compiler")

KEYS = st.binary(min_size=1, max_size=64)
KINDS = st.lists(st.sampled_from(EventKind).filter(bool), max_size=8)
BITS = {"line_item": 32, "creative": 32, "placement": 32, "render_s": 24, "day": 16, "price_nanos": 64,
        "device": 8}  # fmt: skip
EVENTS = st.binary(min_size=16, max_size=16)
TOKENS = st.builds(
    Token, event_id=EVENTS, model=st.integers(0, 7), flags=st.integers(0, 15), subject=st.none() | EVENTS,
    country=st.sampled_from(("", "FR", "AZ")),
    **{name: st.sampled_from((0, 2**bits - 1)) | st.integers(0, 2**bits - 1) for name, bits in BITS.items()},
)  # fmt: skip
ONE = Token(b"event-id" * 2, 1, 2, 3, 900, 20605, 4_200_000, 1, 8, None, "FR", 1)


def spelled_by_both(
    signer: Signer, token: Token, kinds: Sequence[EventKind], key_id: int, between: tuple[bytes, ...] = ()
) -> tuple[bytes, bytes]:
    compiled = signer.spell(token, kinds, key_id, between)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "compiled", None)
        return compiled, signer.spell(token, kinds, key_id, between)


@given(TOKENS, KINDS, KEYS, KEYS, st.integers(0, 15), st.data())
def test_tokens_are_spelled_as_python_spells_them(
    token: Token, kinds: list[EventKind], key: bytes, mask_key: bytes, key_id: int, data: st.DataObject
) -> None:
    signer = Signer({key_id: key}, key_id, mask_key)
    between = data.draw(st.tuples(*[st.binary(max_size=40)] * len(kinds)))
    for told in ((), between):
        compiled, plain = spelled_by_both(signer, token, kinds, key_id, told)
        assert compiled == plain


@given(TOKENS, st.lists(st.binary(max_size=40), min_size=2, max_size=6), st.integers(0, 15))
def test_ads_are_joined_as_python_joins_them(token: Token, parts: list[bytes], key_id: int) -> None:
    signer, kinds = Signer({key_id: b"k" * 32}, key_id, MASK), (EventKind.CLICK, EventKind.IMPRESSION)
    asked = tuple(parts), token, kinds, key_id, (b"one:", b"")
    compiled = signer.named(*asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "compiled", None)
        assert compiled == signer.named(*asked)
    assert compiled == parts[0] + ids.encode(token.event_id).encode() + parts[1] + signer.spell(
        token, kinds, key_id, asked[4]
    ) + b"".join(parts[2:])


@given(EVENTS)
@example(bytes(16))
@example(b"\xff" * 16)
def test_ids_are_spelled_as_python_spells_them(minted: bytes) -> None:
    assert octets.name(minted) == tokens.name_of(minted) == ids.encode(minted)


@pytest.mark.parametrize(
    "given",
    [((b"", b""),), ((b"",), *range(16)), ([b"", b""], *range(16)), ((b"", b""), *range(17))],
)
def test_what_is_joined_is_checked(given: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="two parts"):
        octets.named(*given)
    with pytest.raises(TypeError):
        octets.named((b"", "text"), *(b"m" * 64, b"p" * 64, 49, b"\1", (b"",), *_fields()))
    with pytest.raises(ValueError, match="16 bytes"):
        octets.name(b"i" * 15)


def _fields() -> tuple[Any, ...]:
    return (b"i" * 16, 1, 2, 3, 900, 20605, 0, 1, "FR", 4_200_000, None)


@pytest.mark.parametrize("name", BITS)
def test_a_number_too_large_or_too_small_is_no_token(name: str) -> None:
    signer = Signer({1: b"k" * 32}, 1, b"m" * 32)
    for value in (1 << BITS[name], -1):
        with pytest.raises((OverflowError, ValueError)):
            signer.spell(msgspec.structs.replace(ONE, **{name: value}), (EventKind.CLICK,))


@pytest.mark.parametrize("country", ["F", "fr", "FRA", "F1", "É", "  "])
def test_a_country_that_is_none_is_no_token(country: str) -> None:
    for told in (octets, None):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="two letters"):
            patch.setattr(tokens, "compiled", told)
            Signer({1: b"k" * 32}, 1, b"m" * 32).spell(
                msgspec.structs.replace(ONE, country=country), (EventKind.CLICK,)
            )


@pytest.mark.parametrize(
    "change",
    [
        {0: b"short"}, {1: b"m" * 65}, {2: 256}, {3: b"\0"}, {3: b"\x09"}, {4: ()}, {4: ("text",)},
        {4: [b""]}, {5: b"id"}, {11: 256}, {12: 256}, {13: "F"}, {13: "fr"}, {13: "FRA"}, {13: "É"},
        {13: b"FR"}, {14: "1"}, {15: b"who"},
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(change: dict[int, Any]) -> None:
    given = [b"m" * 64, b"p" * 64, 33, b"\1", (b"",), b"e" * 16, 1, 2, 3, 4, 5, 6, 7, "FR", 8, None]
    assert len(octets.spell(*given)) == tokens.CHARS
    with pytest.raises((ValueError, OverflowError, TypeError)):
        octets.spell(*[change.get(number, value) for number, value in enumerate(given)])
    with pytest.raises(TypeError):
        octets.spell(*given[:-1])


def opened_by_both(signer: Signer, text: str, kind: EventKind | None) -> list[Any]:
    """What is read, or what is wrong."""
    told = list[Any]()
    for using in (octets, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tokens, "compiled", using)
            try:
                told.append(signer.open(text, kind))
            except BadToken as error:
                told.append(str(error))
    return told


@given(
    TOKENS,
    st.sampled_from(SIGNED),
    st.none() | st.sampled_from(EventKind).filter(bool),
    st.integers(0, 15),
    st.data(),
)
def test_tokens_are_opened_as_python_opens_them(
    token: Token, kind: EventKind, wanted: EventKind | None, key_id: int, data: st.DataObject
) -> None:
    """Also those that somebody changed, cut, or signed with another key, and those of version 2."""
    keys = {3: b"c" * 32, key_id: b"k" * 32}
    signer, other = Signer(keys, key_id, MASK), Signer({key_id: b"o" * 32}, key_id, MASK)
    texts = [
        *signer.sign(token, (kind,)),
        *other.sign(token, (kind,)),
        former(token, kind, b"k" * 32, key_id),
    ]
    text = data.draw(st.sampled_from(texts))
    compiled, plain = opened_by_both(signer, text, wanted)
    assert compiled == plain and (text == texts[1] or wanted not in (None, kind) or plain[0] is kind)
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from(LETTERS) | st.characters())
    for changed in (
        text[:place] + letter + text[place + 1 :],
        text[:place],
        text + letter,
        text + letter * 4,
    ):
        compiled, plain = opened_by_both(signer, changed, wanted)
        assert compiled == plain
        assert isinstance(plain, str) or changed == text


@given(
    st.binary(min_size=78, max_size=78),
    st.sampled_from((75, 78)),
    st.integers(0, 15),
    st.integers(0, 9),
)
def test_whatever_is_signed_is_opened_alike(raw: bytes, size: int, key_id: int, kind: int) -> None:
    """Any body with a MAC of ours, also for a kind that is none: nothing in it is left to chance."""
    version, country = (2, b"") if size == 75 else (3, b"AZ")
    part, place = divmod(max(kind - 1, 0), 4)
    body = raw[: size - 2 - 15 - 24 - len(country)] + country + raw[-24:]
    key = b"k" * 32
    said = bytes((version << 4 | key_id, part)) + body
    mac = blake2b(said, digest_size=60, key=key).digest()[place * 15 :][:15]
    text = urlsafe_b64encode(bytes((version << 4 | key_id, kind)) + body + mac).decode()
    compiled, plain = opened_by_both(Signer({key_id: key}, key_id, MASK), text, None)
    assert compiled == plain and (plain[0] == kind if 1 <= kind <= 6 else isinstance(plain, str))


@pytest.mark.parametrize(
    "change", [{0: b"text"}, {0: 1}, {1: "1"}, {2: [None] * 16}, {2: (None,) * 15}, {2: (b"m" * 63,) * 16},
               {2: ("m" * 64,) * 16}, {3: b"p" * 63}, {3: "p" * 64}]
)  # fmt: skip
def test_what_cannot_be_opened_is_a_mistake(change: dict[int, Any]) -> None:
    (text,) = Signer({1: b"k" * 32}, 1, MASK).sign(ONE, (EventKind.CLICK,))
    given = [text, 0, (b"m" * 64,) * 16, b"p" * 64]
    assert octets.open(*given) == 1
    with pytest.raises((ValueError, TypeError)):
        octets.open(*[change.get(number, value) for number, value in enumerate(given)])
    with pytest.raises(TypeError):
        octets.open(*given[:-1])


def test_half_a_character_is_no_letter() -> None:
    signer = Signer({1: b"k" * 32}, 1, MASK)
    assert opened_by_both(signer, "\ud800" + "A" * 103, None) == ["not the spelling of a token"] * 2


SIZES = st.sampled_from((0, 1, 127, 128, 129, 256, 4095)) | st.integers(0, 4095)


@given(
    st.binary(max_size=300),
    SIZES.flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    st.integers(0, 2**32 - 1),
)
@example(b"r" * 70_000, b"s" * 4095, 2**32 - 1)
def test_frames_are_made_as_python_makes_them(record: bytes, secret: bytes, seed: int) -> None:
    assert octets.frame(record, secret, seed) == segments.framed(record, secret, seed)


@pytest.mark.parametrize(
    "given", [("text", b"", 0), (b"", "text", 0), (b"", b"", "1"), (b"", b"", -1), (b"", b"", 2**32),
              (b"", b""), (b"", bytes(4096), 0), (bytes(0x100000), b"", 0), (bytes(0xFFFF8), b"s", 0)]
)  # fmt: skip
def test_what_is_no_frame_is_refused(given: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        octets.frame(*given)


@pytest.mark.parametrize(("key", "size"), [(b"", 1), (b"k" * 65, 1), (b"k", 0), (b"k", 65)])
def test_what_no_hash_can_be_keyed_with_is_refused(key: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        octets.prepared(key, size)


# -- bodies ----------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [*'{}[],:"\\ \t\n\r\v\f-+.eE0123456789', "true", "false", "null", '"a"', '"b"', '"a":', '{"a":1', "1.5",
     "nul", "\0", "ÿ", "01", "-", "1e5", "[[[[", '"a" : "\\u0061"']
)  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='\\"'), max_size=6)
LEAVES = st.none() | st.booleans() | st.integers(-(10**14), 10**14) | TEXTS | st.just(1.25)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4)
)


def is_good(raw: bytes) -> bool:
    try:
        bodies._look_through(raw)
    except (Refused, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


@given(st.lists(PIECES, max_size=14).map("".join))
@example('{"a":1,"a":2}')
@example('{"a":{"b":1},"b":{"b":2,"b":3}}')
@example('[{"a":1},{"a":1}]')
def test_plain_is_never_said_of_what_is_refused(text: str) -> None:
    raw = text.encode()
    assert not octets.is_plain(raw) or is_good(raw)


@given(VALUES, st.sampled_from([(",", ":"), (" ,\n", "\t: ")]))
def test_what_is_plain_is_found_plain(value: Any, between: tuple[str, str]) -> None:
    raw = json.dumps(value, separators=between, ensure_ascii=False).encode()
    assert octets.is_plain(raw)
    for end in range(len(raw)):
        assert not octets.is_plain(raw[:end]) or is_good(raw[:end])


@given(st.dictionaries(TEXTS, LEAVES, min_size=1, max_size=5), st.data())
def test_a_repeated_key_is_never_plain(value: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    twice = json.dumps(value, ensure_ascii=False)[:-1] + f",{json.dumps(key, ensure_ascii=False)}:0}}"
    assert not octets.is_plain(f'[{{"z":{twice}}}]'.encode())


@pytest.mark.parametrize("depth", [1, 15, 16, 17, 10_000])
def test_deep_and_wide_bodies_are_left_to_others(depth: int) -> None:
    deep = b"[" * depth + b"1" + b"]" * depth
    assert octets.is_plain(deep) is (depth <= 16)
    wide = json.dumps({str(number): 0 for number in range(depth)}).encode()
    assert octets.is_plain(wide) is (depth <= 128)


def test_an_odd_number_or_escape_is_left_to_others() -> None:
    odd = (b"1e5", b"01", b"1.", b".5", b"-", b"1" * 16, b'"\\n"', b'"\n"', b"+1", b"NaN", b"", b" ", b"1 1")
    assert not any(map(octets.is_plain, odd))
    with pytest.raises(TypeError):
        octets.is_plain("1")


def test_a_body_that_is_not_utf_8_is_refused_all_the_same() -> None:
    """Where the typed decoder does not look."""
    raw = b'{"placements":[{"id":"a"}],"unknown":"\xff"}'
    assert octets.is_plain(raw) and DECODER.decode(raw)
    with pytest.raises(Refused, match="UTF-8"):
        bodies.decode(DECODER, raw)


def test_the_hash_is_blake2b() -> None:
    """The MAC of a token, made by hand."""
    text = Signer({1: b"k" * 32}, 1, b"m" * 32).spell(ONE, (EventKind.CLICK,))
    raw = tokens.urlsafe_b64decode(text)
    said = bytes((raw[0], 0)) + raw[2:-15]
    assert blake2b(said, digest_size=60, key=b"k" * 32).digest()[30:45] == raw[-15:]


# -- impressions told in a row -----------------------------------------------------------------------------

ACCEPTED = st.tuples(
    TOKENS, st.integers(0, 2**63), st.sampled_from(Unbilled), st.integers(0, 2**63),
    st.binary(min_size=8, max_size=8),
)  # fmt: skip


def told_of(token: Token) -> Told:
    """As the wire tells it."""
    return (
        token.event_id, token.event_id + b"\1", token.decided_ms, token.expires_ms, token.line_item,
        token.creative, token.placement, token.render_s, token.day, token.price_nanos, token.model,
        token.flags, token.subject, token.country, token.device, "", None,
    )  # fmt: skip


@given(st.lists(ACCEPTED, max_size=16), st.integers(0, 2**48), st.integers(0, 2**32 - 1))
def test_rows_are_framed_as_python_frames_them(row: list[Any], at_ms: int, seed: int) -> None:
    accepted = [(told_of(token), *rest) for token, *rest in row]
    compiled = octets.recorded(accepted, at_ms, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "compiled", None)
        assert segments.encode_row(accepted, at_ms, seed) == compiled


@pytest.mark.parametrize(
    "change", [{0: b"short"}, {4: -1}, {4: 2**64}, {4: "1"}, {8: None}, {12: b"short"}, {12: "text"},
               {13: "FRA"}, {13: b"FR"}, {14: None}]
)  # fmt: skip
def test_what_was_not_told_is_not_framed(change: dict[int, Any]) -> None:
    good = [*told_of(ONE)]
    bad = tuple(change.get(number, value) for number, value in enumerate(good))
    for row in ([(bad, 0, 0, 0, bytes(8))], [(tuple(good[:-1]), 0, 0, 0, bytes(8))], [(tuple(good), 0, 0, 0)],
                [(tuple(good), 0, 0, 0, bytes(7))], [(tuple(good), -1, 0, 0, bytes(8))],
                [(tuple(good), 0, 0, 0, bytes(8))] * 65, [good], (), None):  # fmt: skip
        with pytest.raises((ValueError, TypeError, OverflowError)):
            octets.recorded(row, 1, 1)


HEADS = st.lists(
    st.sampled_from((
        b"host: x", b"user-agent: Mozilla/5.0", b"User-Agent: curl", b"x-forwarded-for: 192.0.2.1, ::1",
        b"accept: */*", b"authorization: Bearer a", b"purpose: prefetch", b"Sec-Purpose: x", b"x-moz: y",
        b"x-purpose: preview", b"content-length: 0", b"connection: close", b"a: b",
        b"user-agent: " + b"a" * 512, b"user-agent: " + b"a" * 513,
    )),
    max_size=4,
)  # fmt: skip


@given(TOKENS, st.sampled_from(SIGNED), HEADS, st.booleans(), st.integers(0, 200), st.binary(max_size=1))
def test_what_is_told_is_what_the_head_and_the_token_say(
    token: Token, kind: EventKind, lines: list[bytes], whole: bool, place: int, change: bytes
) -> None:
    signer = Signer({1: b"k" * 32}, 1, MASK)
    (text,) = signer.sign(token, (kind,))
    received = b"\r\n".join([b"GET /i/%b HTTP/1.1" % text.encode(), b"host: x", *lines, b"", b""])
    if not whole:
        received = received[:place] + change + received[place + 1 :]
    told, plain = signer.told(received), octets.bare(received)
    try:
        opened = None if plain is None else signer.open(plain[0][3:], EventKind.IMPRESSION)[1]
    except BadToken:
        opened = None
    first = {} if plain is None else plain[2]
    thoughtful = {b"authorization", b"purpose", b"sec-purpose", b"x-purpose", b"x-moz"} & first.keys()
    forwarded = [] if plain is None else [v for n, v in plain[1] if n == b"x-forwarded-for"]
    agent = first.get(b"user-agent", b"").decode()
    if opened is None or thoughtful or len(forwarded) > 1 or len(agent) > 512 or plain[0][:3] != "/i/":
        assert told is None
    else:
        assert told == (*told_of(opened)[:-2], agent, forwarded[0] if forwarded else None)
        assert tokens.token_of(told) == opened


def test_what_cannot_be_told_is_a_mistake() -> None:
    (text,) = Signer({1: b"k" * 32}, 1, MASK).sign(ONE, (EventKind.IMPRESSION,))
    received = f"GET /i/{text} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    for given_ in ((received, (b"m",) * 16, b"p" * 64), (received, [], b"p" * 64),
                   ("text", (None,) * 16, b""), (received, (None,) * 16)):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            octets.told(*given_)
    assert octets.told(received, (None,) * 16, b"p" * 64) is None
