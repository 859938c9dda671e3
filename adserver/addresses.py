"""What is made of a caller's address: whether it is a data centre's, and a name to count it under.

The list of data centres is a file of the operator's. It is read again when it changes; a file that cannot be
read or is not what it should be leaves the last good one in use. Names are keyed hashes of one process: an
address is kept nowhere.
"""

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from adserver.networks import Networks, packed

_LINES_IN_A_ROW: Final = 500
"""Read without a pause: about a millisecond, in which nobody else gets on."""
_PAUSE_S: Final = 0.0005
_FILE_BYTES: Final = 256 * 1024 * 1024

_SHARED: Final = Networks(
    ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
     "192.168.0.0/16", "::/64", "fc00::/7", "fe80::/10")
)  # fmt: skip
"""Of no one household: our own machines, a proxy in front of them that is not trusted, an office."""
_NONE: Final = Networks()
_SHARED_BEGIN: Final = frozenset((0, 10, 100, 127, 169, 172, 192, 0xFC, 0xFD, 0xFE))
"""Their first bytes: most others are told by these."""
_SHARED_WHOLE: Final = frozenset((10, 127))
"""Of IPv4, and these are told by it too."""


class BadList(Exception):
    """A file of networks that cannot be used; the message says which, where and why."""


class Addresses:
    """``path``: the file of data centres, None: none are known. Raises BadList."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._salt = secrets.token_bytes(16)
        self._centres = _NONE
        self._seen = self._read = _stamp(path)
        if path is not None:
            self._centres = _networks(path)

    @property
    def listed(self) -> int:
        """Networks of data centres in use."""
        return len(self._centres)

    def hosted(self, ip: str) -> bool:
        """Whether it is a data centre's."""
        if self._centres is _NONE:
            return False
        address = packed(ip)
        return address is not None and address in self._centres

    def name(self, ip: str) -> int | None:
        """Under which its events are counted: of IPv6 the /64, which is one customer's. None for no address,
        and for those that stand for nobody in particular."""
        address = packed(ip)
        if address is None or (address[0] in _SHARED_BEGIN and _is_shared(address)):
            return None
        return hash(self._salt + address[:8])

    def look(self) -> bool:
        """Whether the file changed, and has stood as it is since the last look: what is being written is left
        alone."""
        stamp = _stamp(self._path)
        settled, self._seen = stamp == self._seen, stamp
        return settled and stamp != self._read

    def reload(self) -> None:
        """Read it again; takes a while, and may run in a thread. Raises BadList, once a change."""
        assert self._path is not None
        self._read = self._seen
        self._centres = _networks(self._path)


def _is_shared(address: bytes) -> bool:
    return (len(address) == 4 and address[0] in _SHARED_WHOLE) or address in _SHARED


def _stamp(path: Path | None) -> tuple[int, ...] | None:
    """Changes when the file does; None where there is none."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _networks(path: Path) -> Networks:
    try:
        found = Networks(_lines(path))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise BadList(f"{path}: {why}") from error
    if not found:
        raise BadList(f"{path}: it lists no network")
    return found


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        if os.fstat(file.fileno()).st_size > _FILE_BYTES:
            raise ValueError(f"larger than {_FILE_BYTES} bytes")
        for number, line in enumerate(file):
            if number % _LINES_IN_A_ROW == 0:
                time.sleep(_PAUSE_S)
            yield line
