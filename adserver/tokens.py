"""Signed tokens: what a tracking URL carries, so that posting an event looks nothing up.

Layout (78 bytes, 104 characters of base64url without padding; a multiple of three, so every token has
exactly one spelling):

    version and key id 1 | kind 1 | event id 16 | line item 4 | creative 4 | placement 4 | render 3 |
    day 2 | flags 1 | device 1 | country 2 | price 8 and subject 16, masked | MAC 15

Version 2 had neither device nor country; URLs with it may be out for two days after an update and are opened.

The MAC is a part of its own, for each kind, of a keyed BLAKE2b over all before it but the kind: a token for
one purpose is worthless for another, and two hashes sign all that an ad needs (parts of one output of a
keyed hash tell nothing of each other). Subject (a pseudonym) and price are masked with a keyed hash of the
event id: two URLs of one person look unrelated to everybody else, and nobody reads a price that is not for
them. Two keys are live: the current one signs, both are accepted.
"""

import re
import struct
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from msgspec import Struct

from adserver.domain import ids, limits
from adserver.domain.decision import EventKind
from adserver.domain.told import Told
from adserver.octets import compiled

VERSION: Final = 3
CHARS: Final = 104
MAC_BYTES: Final = 15

FLAG_TEST: Final = 1
FLAG_PERSONALISED: Final = 2
FLAG_GDPR_NO: Final = 4
FLAG_GDPR_YES: Final = 8
FLAG_SUBJECT: Final = 16
_MODEL_SHIFT: Final = 6
_MODEL_HIGH: Final = 32
"""The third bit of the model, which older tokens never have."""
_MODEL_BITS: Final = tuple((model & 3) << _MODEL_SHIFT | (model & 4) << 3 for model in range(8))

_BODY: Final = struct.Struct(">16sIIIBHHBB2s24s")
_FORMER: Final = 2
_FORMER_BODY_BYTES: Final = 58
_VERSIONS: Final = {_BODY.size: VERSION, _FORMER_BODY_BYTES: _FORMER}
_HIDDEN: Final = struct.Struct(">Q16s")
_SPELLING: Final = re.compile(r"[A-Za-z0-9_-]{100}(?:[A-Za-z0-9_-]{4})?\Z", re.ASCII)
_NOBODY: Final = bytes(16)
_NOWHERE: Final = bytes(2)
_COUNTRY: Final = re.compile(r"(?:[A-Z]{2})?\Z", re.ASCII)
_KINDS: Final = {int(kind): kind for kind in EventKind if kind not in (EventKind.FEE, EventKind.CONVERSION)}
"""What tokens are for: conversions are told with a key, fees by nobody."""
_PARTS: Final = 4
"""Kinds whose MACs one hash gives (BLAKE2b has 64 bytes at most)."""
_EXTRA_MS: Final = dict.fromkeys(EventKind, limits.CLICK_EXTRA_MS) | {
    EventKind.IMPRESSION: 0,
    EventKind.VIEWABLE: limits.VIEWABLE_EXTRA_MS,
}
_HASHES: Final = -(-len(EventKind) // _PARTS)
_HEADS: Final = [
    [bytes((VERSION << 4 | key_id, n)) for n in range(len(EventKind) + 1)] for key_id in range(16)
]
"""[key id][kind, or the number of the hash]."""
_WRONG: Final = ("not the spelling of a token", "not signed by this server", "a token for another purpose")


_Asked = tuple[
    bytes, bytes, int, bytes, tuple[bytes, ...], bytes, int, int, int, int, int, int, int, str, int,
    bytes | None,
]  # fmt: skip


class BadToken(ValueError):
    """Not a token of ours, or not for this purpose."""


class Token(Struct, frozen=True):
    """What an ad's URLs say. ``render_s``: seconds from the decision to ``expires_at``; ``day``: the
    decision's day in the campaign's time zone (days since the epoch); ``model`` numbers
    ``campaign.MODELS``; ``country`` is two capital letters or empty, ``device`` numbers
    ``provenance.DEVICES``."""

    event_id: bytes
    line_item: int
    creative: int
    placement: int
    render_s: int
    day: int
    price_nanos: int
    model: int = 0
    flags: int = 0
    subject: bytes | None = None
    country: str = ""
    device: int = 0

    @property
    def decided_ms(self) -> int:
        return ids.minted_ms(self.event_id)

    @property
    def expires_ms(self) -> int:
        return self.decided_ms + self.render_s * 1000

    def accepted_until_ms(self, kind: EventKind) -> int:
        """Viewable tokens live 1 h longer than the ad, clicks and complaints 24 h longer."""
        return self.expires_ms + _EXTRA_MS[kind]


def token_of(told: Told) -> Token:
    """The token that was told."""
    return Token(told[0], *told[4:15])


class Signer:
    """Signs and opens tokens. ``keys``: key id (0 to 15) -> 32 secret bytes; ``current`` signs."""

    def __init__(self, keys: Mapping[int, bytes], current: int, mask_key: bytes) -> None:
        # A copy of a prepared hash costs less than to give the key each time.
        self._macs = {
            key_id: blake2b(digest_size=_PARTS * MAC_BYTES, key=key) for key_id, key in keys.items()
        }
        self._pad = blake2b(digest_size=_HIDDEN.size, key=mask_key)
        self.current = current
        self._prepared: dict[int, bytes] = {}
        if compiled is not None:
            self._prepared = {n: compiled.prepared(key, _PARTS * MAC_BYTES) for n, key in keys.items()}
            self._prepared_pad = compiled.prepared(mask_key, _HIDDEN.size)
            self._by_id = tuple(self._prepared.get(n) for n in range(16))

    def sign(self, token: Token, kinds: Sequence[int], key_id: int | None = None) -> list[str]:
        """The token's text for each of ``kinds``, signed with ``key_id`` (default: the current key)."""
        texts = self.spell(token, kinds, key_id).decode("ascii")
        return [texts[at : at + CHARS] for at in range(0, len(texts), CHARS)]

    def spell(
        self, token: Token, kinds: Sequence[int], key_id: int | None = None,
        between: tuple[bytes, ...] = (),
    ) -> bytes:  # fmt: skip
        """The same texts as ``sign`` gives, ``CHARS`` letters each, one behind the other; before each its own
        of ``between``, unless that is empty."""
        key_id, between = self._known(key_id), between or (b"",) * len(kinds)
        if compiled is None:
            return self._spelled(token, kinds, key_id, between)
        return compiled.spell(*self._asked(token, kinds, key_id, between))

    def named(
        self, parts: tuple[bytes, ...], token: Token, kinds: Sequence[int], key_id: int,
        between: tuple[bytes, ...],
    ) -> bytes:  # fmt: skip
        """The first of ``parts``, the event id's text, the second, what ``spell`` gives, and the others."""
        key_id = self._known(key_id)
        if compiled is not None:
            return compiled.named(parts, *self._asked(token, kinds, key_id, between))
        before, shown, *behind = parts
        texts = self._spelled(token, kinds, key_id, between)
        return b"".join((before, ids.encode(token.event_id).encode(), shown, texts, *behind))

    def _known(self, key_id: int | None) -> int:
        return self.current if key_id is None or key_id not in self._macs else key_id

    def _asked(self, token: Token, kinds: Sequence[int], key_id: int, between: tuple[bytes, ...]) -> _Asked:
        """For what is compiled."""
        subject = token.subject
        flags = token.flags | _MODEL_BITS[token.model] | (FLAG_SUBJECT if subject is not None else 0)
        return (
            self._prepared[key_id], self._prepared_pad, VERSION << 4 | key_id, bytes(kinds), between,
            token.event_id, token.line_item, token.creative, token.placement, token.render_s, token.day,
            flags, token.device, token.country, token.price_nanos, subject,
        )  # fmt: skip

    def _spelled(self, token: Token, kinds: Sequence[int], key_id: int, between: tuple[bytes, ...]) -> bytes:
        """Whole triples of bytes, so all are encoded in one call."""
        body, heads, parts = self._pack(token), _HEADS[key_id], list[bytes]()
        keyed = self._macs[key_id]
        macs = b"".join([_digest(keyed, heads[number] + body) for number in range(_HASHES)])
        for kind in kinds:
            parts += (heads[kind], body, macs[(kind - 1) * MAC_BYTES : kind * MAC_BYTES])
        texts = b2a_base64(b"".join(parts), newline=False).replace(b"+", b"-").replace(b"/", b"_")
        ends = range(CHARS, len(texts) + 1, CHARS)
        return b"".join(
            [before + texts[end - CHARS : end] for before, end in zip(between, ends, strict=True)]
        )

    def open(self, text: str, kind: EventKind | None = None) -> tuple[EventKind, Token]:
        """Check and read a token; ``kind``: the only purpose allowed here. Raises BadToken."""
        if compiled is None:
            return self._opened(text, kind)
        found = compiled.open(text, kind or 0, self._by_id, self._prepared_pad)
        if isinstance(found, int):
            raise BadToken(_WRONG[found])
        return _KINDS[found[0]], Token(*found[1:])

    def told(self, received: bytes) -> Told | None:
        """What a plain request for an impression says. None: it is no such request for sure."""
        return None if compiled is None else compiled.told(received, self._by_id, self._prepared_pad)

    def _opened(self, text: str, kind: EventKind | None) -> tuple[EventKind, Token]:
        if not _SPELLING.match(text):
            raise BadToken(_WRONG[0])
        raw = urlsafe_b64decode(text)
        found, body = _KINDS.get(raw[1]), raw[2:-MAC_BYTES]
        keyed = self._macs.get(raw[0] & 15) if raw[0] >> 4 == _VERSIONS.get(len(body)) else None
        if found is None or keyed is None:
            raise BadToken(_WRONG[1])
        number, part = divmod(found - 1, _PARTS)
        macs = _digest(keyed, bytes((raw[0], number)) + body)
        if not compare_digest(raw[-MAC_BYTES:], macs[part * MAC_BYTES : (part + 1) * MAC_BYTES]):
            raise BadToken(_WRONG[1])
        if kind is not None and found is not kind:
            raise BadToken(_WRONG[2])
        return found, self._unpack(body)

    def _pack(self, token: Token) -> bytes:
        flags = token.flags | _MODEL_BITS[token.model] | (FLAG_SUBJECT if token.subject is not None else 0)
        hidden = self._mask(token.event_id, _HIDDEN.pack(token.price_nanos, token.subject or _NOBODY))
        return _BODY.pack(
            token.event_id, token.line_item, token.creative, token.placement,
            token.render_s >> 16, token.render_s & 0xFFFF, token.day, flags, token.device,
            _letters(token.country), hidden,
        )  # fmt: skip

    def _unpack(self, body: bytes) -> Token:
        if len(body) == _FORMER_BODY_BYTES:
            body = body[: -_HIDDEN.size] + bytes(1) + _NOWHERE + body[-_HIDDEN.size :]
        (
            event_id, line_item, creative, placement, high, low, day, flags, device, letters, hidden,
        ) = _BODY.unpack(body)  # fmt: skip
        price, who = _HIDDEN.unpack(self._mask(event_id, hidden))
        subject = who if flags & FLAG_SUBJECT else None
        return Token(
            event_id, line_item, creative, placement, high << 16 | low, day, price,
            flags >> _MODEL_SHIFT | (flags & _MODEL_HIGH) >> 3, flags & _MODEL_HIGH - 1 & ~FLAG_SUBJECT,
            subject,
            "" if letters == _NOWHERE else letters.decode("ascii"), device,
        )  # fmt: skip

    def _mask(self, event_id: bytes, hidden: bytes) -> bytes:
        """Its own inverse: a pad used for one event id only."""
        pad = _digest(self._pad, event_id)
        return (int.from_bytes(hidden, "big") ^ int.from_bytes(pad, "big")).to_bytes(_HIDDEN.size, "big")


def name_of(minted: bytes) -> str:
    """The text of an id."""
    return ids.encode(minted) if compiled is None else compiled.name(minted)


def _letters(country: str) -> bytes:
    if not _COUNTRY.match(country):
        raise ValueError(f"{country!r} is no country of two letters")
    return country.encode("ascii") or _NOWHERE


def _digest(keyed: blake2b, said: bytes) -> bytes:
    copy = keyed.copy()
    copy.update(said)
    return copy.digest()
