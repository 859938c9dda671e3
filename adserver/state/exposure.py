"""An exposure, and how all of them are dumped for a checkpoint."""

from typing import Final

import msgspec
from msgspec import Struct

from adserver.domain.caps import Counted
from adserver.state.windows import Window

Counters = dict[bytes, dict[str, list[int]]]
"""Person or session -> name -> counter."""


class Exposure(Struct, array_like=True, gc=False):
    """An ad admitted for a person. ``kept_ms``: when the record itself may be forgotten."""

    subject: bytes | None
    session: bytes | None
    counts: tuple[Counted, ...]
    expires_ms: int
    kept_ms: int
    outstanding: bool = True


class Dump(Struct, array_like=True):
    """``untold``: what others may not have heard of it (``shared.mirror``); ``subjects``: nothing now."""

    counters: Counters
    known: dict[bytes, Exposure]
    keeps: dict[str, int]
    promised: dict[str, Window]
    subjects: dict[bytes, bytes] = {}
    untold: bytes = b""


DUMPS: Final = msgspec.msgpack.Decoder(Dump)
