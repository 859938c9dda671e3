"""What the parent and its workers tell each other, a line of JSON each, over a worker's standard input and
output."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from adserver.building.child import Told
from adserver.domain.workers import Peer
from adserver.settings import Settings
from adserver.telemetry.families import Family

LINE_BYTES: Final = 4 * 2**20
"""Of the longest line, which is all numbers of a worker."""


# -- to a worker -------------------------------------------------------------------------------------


class Begin(Struct, frozen=True, tag=True):
    """Its first line: who it is, of how many, and with which listening sockets (inherited descriptors, one
    for each worker). ``settings``: as ``Settings``. ``door``: another such socket, where ``peers`` of other
    machines than this ``machine`` bring events."""

    number: int
    workers: int
    settings: dict[str, Any]
    sockets: tuple[int, ...]
    door: int | None = None
    machine: str = ""
    peers: tuple[Peer, ...] = ()


class Joined(Struct, frozen=True, tag=True):
    """All processes of all machines, as they are by now."""

    peers: tuple[Peer, ...]


class Built(Struct, frozen=True, tag=True):
    """An image is in force, or why there is no newer one."""

    told: Told


class Listen(Struct, frozen=True, tag=True):
    """Accept on the sockets of these workers and on no others: its own, and those of who is away."""

    numbers: tuple[int, ...]


class Leave(Struct, frozen=True, tag=True):
    """Accept nothing more, answer what there is, and end."""


class Count(Struct, frozen=True, tag=True):
    """Tell all your numbers (``Counted``)."""


class Summed(Struct, frozen=True, tag=True):
    """The numbers of all workers, for who asked (``Sum``)."""

    families: tuple[Family, ...]


# -- to the parent -----------------------------------------------------------------------------------


class Loaded(Struct, frozen=True, tag=True):
    """The program is read; nothing of the data folder is touched before ``Begin``."""


class Opened(Struct, frozen=True, tag=True):
    """Journal and books are open: what the folder lacked is there."""


class Serving(Struct, frozen=True, tag=True):
    """Ready for connections."""


class Unfit(Struct, frozen=True, tag=True):
    """It cannot serve; for the operator."""

    message: str


class Took(Struct, frozen=True, tag=True):
    """An image is mapped and live; ``stores``: files that it refers to."""

    image: str
    stores: tuple[str, ...]


class Unmapped(Struct, frozen=True, tag=True):
    """The image in force cannot be mapped."""

    image: str
    reason: str


class Look(Struct, frozen=True, tag=True):
    """The catalogue was changed."""


class Counted(Struct, frozen=True, tag=True):
    families: tuple[Family, ...]


class Sum(Struct, frozen=True, tag=True):
    """Somebody asks for the numbers of all."""


ToWorker = Begin | Joined | Built | Listen | Leave | Count | Summed
ToParent = Loaded | Opened | Serving | Unfit | Took | Unmapped | Look | Counted | Sum

_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)
to_worker: Final[Callable[[bytes], ToWorker]] = msgspec.json.Decoder(ToWorker).decode
to_parent: Final[Callable[[bytes], ToParent]] = msgspec.json.Decoder(ToParent).decode


def line(message: ToWorker | ToParent) -> bytes:
    return _ENCODER.encode(message) + b"\n"


def settings_of(begin: Begin) -> Settings:
    return msgspec.convert(begin.settings, Settings, dec_hook=_from_text)


def told_of(settings: Settings) -> dict[str, Any]:
    """As ``Begin`` has them."""
    told = msgspec.to_builtins(settings, enc_hook=str)
    assert isinstance(told, dict)
    return told


def _from_text(kind: type, value: Any) -> Any:
    if kind is not Path:
        raise NotImplementedError(kind)
    return Path(value)
