"""A frame: its length in four bytes, then MessagePack."""

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any, Final

import msgspec

from adserver.domain import limits

_LENGTH: Final = Struct(">I")
_ENCODER: Final = msgspec.msgpack.Encoder()
_FOLDER: Final = "run"


class Broken(ValueError):
    """Not a frame of ours."""


def framed(message: Any) -> bytes:
    body = _ENCODER.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """What was received and is no whole frame yet. ``most``: bytes of a frame."""

    def __init__(self, most: int = limits.FRAME_BYTES) -> None:
        self.most = most
        self._left = bytearray()

    def received(self, data: bytes) -> Iterator[bytes]:
        """The frames that are whole by now. Raises Broken."""
        self._left += data
        while len(self._left) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._left)
            if size > self.most:
                raise Broken(f"a frame of {size} bytes")
            end = _LENGTH.size + size
            if len(self._left) < end:
                return
            frame = bytes(self._left[_LENGTH.size : end])
            del self._left[:end]
            yield frame


class Sockets:
    """Where they lie. A path of a socket is short (108 bytes), that of a data folder need not be: so they
    are named from the open folder."""

    def __init__(self, data: Path) -> None:
        folder = data / _FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def path(self, number: int) -> str:
        return f"/proc/self/fd/{self._fd}/{number}.sock"

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
