"""Tokens: one spelling, one purpose, nothing to forge or alter, two live keys."""

import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from adserver.domain import ids
from adserver.domain.decision import EventKind
from adserver.tokens import (
    CHARS,
    FLAG_GDPR_NO,
    FLAG_GDPR_YES,
    FLAG_PERSONALISED,
    FLAG_TEST,
    BadToken,
    Signer,
    Token,
)

KEYS = {0: b"old." * 8, 1: b"new." * 8}
MASK = b"mask" * 8
SIGNER = Signer(KEYS, 1, MASK)
LETTERS = string.ascii_letters + string.digits + "-_"
FLAGS = st.sampled_from(
    (0, FLAG_TEST, FLAG_PERSONALISED, FLAG_GDPR_NO | FLAG_TEST, FLAG_GDPR_YES | FLAG_PERSONALISED)
)
TOKENS = st.builds(
    Token,
    event_id=st.binary(min_size=16, max_size=16),
    line_item=st.integers(0, 2**32 - 1),
    creative=st.integers(0, 2**32 - 1),
    placement=st.integers(0, 2**32 - 1),
    render_s=st.integers(0, 2**24 - 1),
    day=st.integers(0, 2**16 - 1),
    price_nanos=st.integers(0, 2**64 - 1),
    model=st.integers(0, 4),
    flags=FLAGS,
    subject=st.none() | st.binary(min_size=16, max_size=16),
    country=st.sampled_from(("", "FR", "ZZ")),
    device=st.integers(0, 255),
)
ONE = Token(
    ids.mint(1_780_315_200_000, 7, 1), 1, 2, 3, 900, 20605, 4_200_000, 1, FLAG_TEST, b"anna" * 4, "FR", 3
)


SIGNED = tuple(kind for kind in EventKind if kind not in (EventKind.FEE, EventKind.CONVERSION))


def test_a_conversion_has_no_url() -> None:
    (text,) = SIGNER.sign(ONE, (EventKind.CONVERSION,))
    for kind in (None, EventKind.CONVERSION):
        with pytest.raises(BadToken):
            SIGNER.open(text, kind)


@given(TOKENS, st.sampled_from(SIGNED), st.sampled_from((0, 1, None)))
def test_what_was_signed_is_what_is_read(token: Token, kind: EventKind, key_id: int | None) -> None:
    (text,) = SIGNER.sign(token, (kind,), key_id)
    assert len(text) == CHARS and set(text) <= set(LETTERS)
    assert SIGNER.open(text) == SIGNER.open(text, kind) == (kind, token)
    assert SIGNER.sign(token, (kind,), key_id) == [text]


@given(TOKENS, st.sampled_from(SIGNED), st.sampled_from(SIGNED))
def test_a_token_is_for_one_purpose(token: Token, kind: EventKind, other: EventKind) -> None:
    (text,) = SIGNER.sign(token, (kind,))
    if kind is not other:
        with pytest.raises(BadToken):
            SIGNER.open(text, other)


def test_every_other_letter_anywhere_is_refused() -> None:
    """Every flipped bit of the 78 bytes, and so every other spelling of the same bytes, of which there is
    none: 104 letters of 6 bits are 78 bytes exactly."""
    (text,) = SIGNER.sign(ONE, (EventKind.IMPRESSION,))
    for place in range(CHARS):
        for letter in LETTERS:
            if letter != text[place]:
                with pytest.raises(BadToken):
                    SIGNER.open(text[:place] + letter + text[place + 1 :])


def test_other_spellings_are_refused() -> None:
    (text,) = SIGNER.sign(ONE, (EventKind.CLICK,))
    tail = text[1:]
    for other in (
        text.upper(),
        text.lower(),
        text + "=",
        text[:-1],
        text + "\n",
        " " + tail,
        "",
        "é" + tail,
        text * 2,
    ):
        with pytest.raises(BadToken):
            SIGNER.open(other)


@given(st.text(LETTERS, min_size=CHARS - 4, max_size=CHARS))
def test_noise_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        SIGNER.open(text)


def former(token: Token, kind: EventKind, key: bytes = KEYS[1], key_id: int = 1) -> str:
    """What version 2 signed: written down once more, for URLs that are out."""
    flags = (
        token.flags
        | (token.model & 3) << 6
        | (token.model & 4) << 3
        | (16 if token.subject is not None else 0)
    )
    numbers = (token.line_item, token.creative, token.placement)
    said = b"".join(number.to_bytes(4, "big") for number in numbers)
    said += token.render_s.to_bytes(3, "big") + token.day.to_bytes(2, "big") + bytes((flags,))
    pad = blake2b(token.event_id, digest_size=24, key=MASK).digest()
    hidden = token.price_nanos.to_bytes(8, "big") + (token.subject or bytes(16))
    body = token.event_id + said + bytes(a ^ b for a, b in zip(hidden, pad, strict=True))
    part, place = divmod(kind - 1, 4)
    macs = blake2b(bytes((2 << 4 | key_id, part)) + body, digest_size=60, key=key).digest()
    return urlsafe_b64encode(bytes((2 << 4 | key_id, kind)) + body + macs[place * 15 :][:15]).decode()


@given(TOKENS, st.sampled_from(SIGNED), st.sampled_from(SIGNED))
def test_tokens_of_version_2_are_still_opened(token: Token, kind: EventKind, other: EventKind) -> None:
    text = former(token, kind)
    nowhere = structs.replace(token, country="", device=0)
    assert len(text) == 100
    assert SIGNER.open(text) == SIGNER.open(text, kind) == (kind, nowhere)
    if kind is not other:
        with pytest.raises(BadToken):
            SIGNER.open(text, other)


def test_every_other_letter_of_version_2_is_refused() -> None:
    text = former(ONE, EventKind.CLICK)
    for place in range(len(text)):
        for letter in LETTERS:
            if letter != text[place]:
                with pytest.raises(BadToken):
                    SIGNER.open(text[:place] + letter + text[place + 1 :])
    for other in (text + "AAAA", text[:-4], former(ONE, EventKind.CLICK, b"evil" * 8)):
        with pytest.raises(BadToken):
            SIGNER.open(other)


def test_two_keys_live_through_a_rotation() -> None:
    before = Signer({0: KEYS[0]}, 0, MASK)
    after = Signer({1: KEYS[1], 2: b"next" * 8}, 2, MASK)
    (old,) = before.sign(ONE, (EventKind.CLICK,))
    (new,) = SIGNER.sign(ONE, (EventKind.CLICK,))
    assert old != new
    assert SIGNER.open(old) == SIGNER.open(new) == (EventKind.CLICK, ONE)
    assert after.open(new) == (EventKind.CLICK, ONE)
    with pytest.raises(BadToken):
        after.open(old)
    assert SIGNER.sign(ONE, (EventKind.CLICK,), 0) == [old]
    assert after.sign(ONE, (EventKind.CLICK,), 0) == after.sign(ONE, (EventKind.CLICK,))


def test_another_servers_key_under_the_same_number_is_refused() -> None:
    (text,) = Signer({1: b"evil" * 8}, 1, MASK).sign(ONE, (EventKind.CLICK,))
    with pytest.raises(BadToken):
        SIGNER.open(text)


def test_urls_of_one_person_look_unrelated() -> None:
    """The pseudonym is nowhere to be seen, and masked otherwise in every ad."""
    texts = [
        SIGNER.sign(Token(ids.mint(1, seed, 1), 1, 2, 3, 900, 1, 1, subject=b"anna" * 4), (EventKind.CLICK,))[
            0
        ]
        for seed in (1, 2)
    ]
    masked = [urlsafe_b64decode(text)[-31:-15] for text in texts]
    assert masked[0] != masked[1]
    assert b"anna" not in masked[0] + masked[1]


def test_lives_of_tokens() -> None:
    hour = 3600_000
    expires = ONE.decided_ms + 900_000
    assert ONE.expires_ms == expires
    lives = {kind: ONE.accepted_until_ms(kind) - expires for kind in SIGNED}
    assert lives == {
        EventKind.IMPRESSION: 0, EventKind.VIEWABLE: hour, EventKind.CLICK: 24 * hour,
        EventKind.RELEASE: 24 * hour, EventKind.HIDE: 24 * hour, EventKind.REPORT: 24 * hour,
    }  # fmt: skip
