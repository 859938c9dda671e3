from typing import Final

from adserver.domain.records import LineItemTerms
from adserver.domain.told import Accepted, Told

CONTRACT: Final[int]

def prepared(key: bytes, size: int) -> bytes:
    """BLAKE2b's state (64 bytes) behind a key of 1 to 64 bytes, for hashes of ``size`` bytes. ValueError."""

def spell(
    macs: bytes, pad: bytes, first: int, kinds: bytes, between: tuple[bytes, ...], event_id: bytes,
    line_item: int, creative: int, placement: int, render_s: int, day: int, flags: int, device: int,
    country: str, price_nanos: int, subject: bytes | None, /,
) -> bytes:  # fmt: skip
    """``tokens.Signer.spell``: each token behind its text of ``between``. ``macs`` and ``pad`` are prepared;
    ``first`` is a token's first byte; ``flags`` are its whole byte. ValueError, OverflowError."""

def named(
    parts: tuple[bytes, ...], macs: bytes, pad: bytes, first: int, kinds: bytes, between: tuple[bytes, ...],
    event_id: bytes, line_item: int, creative: int, placement: int, render_s: int, day: int, flags: int,
    device: int, country: str, price_nanos: int, subject: bytes | None, /,
) -> bytes:  # fmt: skip
    """``tokens.Signer.named``: the first of ``parts``, the event id's text, the second, what ``spell`` gives,
    and the others. As ``spell``; TypeError for less than two parts."""

def name(minted: bytes, /) -> str:
    """``ids.encode``. ValueError."""

def open(
    text: str, kind: int, macs: tuple[bytes | None, ...], pad: bytes, /
) -> tuple[int, bytes, int, int, int, int, int, int, int, int, bytes | None, str, int] | int:
    """``tokens.Signer.open``: (kind, a ``Token``'s fields), or the number of what is wrong. ``kind`` 0: any;
    ``macs``: prepared, for each of the 16 key ids, None where there is none; ``pad``: prepared. ValueError,
    TypeError."""

def bare(received: bytes, /) -> tuple[str, list[tuple[bytes, bytes]], dict[bytes, bytes]] | None:
    """Of one whole GET request without a query and a body: path, headers by lower-case name, and the first of
    each name. None for whatever is not that for sure; it is then the parser's."""

def told(received: bytes, macs: tuple[bytes | None, ...], pad: bytes, /) -> Told | None:
    """Of one whole plain request for an impression, with a token of ours and nothing in its head that needs
    thought: a tuple of a ``Told``'s fields. None for whatever is not that for sure. ``macs``, ``pad``: as in
    ``open``. ValueError, TypeError."""

def recorded(row: list[Accepted], at_ms: int, seed: int, /) -> tuple[bytes, bytes]:
    """``ledger.segments.encode_row``: the frames of at most 64 records, and what of them the chain covers.
    TypeError, ValueError, OverflowError."""

def booked(
    raw: bytes, at: int, stop: int, most: int, seed: int, /
) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """A ``ledger.rows.Told`` of the frames from ``raw[at]`` on. TypeError, OverflowError."""

def touched(
    run: list[Accepted], at_ms: int, terms: dict[int, LineItemTerms], buckets: dict[int, dict[bytes, bytes]],
    width_ms: int, late_ms: int, most: int, /,
) -> tuple[int, int]:  # fmt: skip
    """``state.touches.Touches.viewed``, with at most so many bytes of a person in a bucket: (how many touches
    were put to those there are, how many took the place of another). TypeError, ValueError, OverflowError."""

def frame(record: bytes, secret: bytes, seed: int, /) -> tuple[bytes, bytes]:
    """``ledger.segments.encode_frame``, from encoded parts; ``secret`` empty: there is no personal part.
    ValueError for parts too long."""

def is_plain(body: bytes, /) -> bool:
    """Whether this is for sure JSON, but for the UTF-8 within its texts, without a key twice in an object;
    False for much that is good, too."""
