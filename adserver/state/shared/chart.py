"""What a member of a Redis Cluster says of who has which slots (CLUSTER NODES).

All keys of a person lie in one slot, by CRC16 of their hash tag
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
"""

from binascii import crc_hqx
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import blake2b
from itertools import count
from typing import Final

from msgspec import Struct

from adserver.state.shared.keys import tag

SLOTS: Final = 16_384
_LEAVES: Final = "->-"
_COMES: Final = "-<-"


class Member(Struct, frozen=True):
    """``name``: for good, whatever its address; ``epoch``: of two who say that a slot is theirs the one with
    the greater is right; ``ranges``: its slots, and those on their way to another, as they were told."""

    name: str
    host: str
    port: int
    master: bool
    myself: bool
    epoch: int
    ranges: tuple[str, ...]

    @property
    def leads(self) -> bool:
        """Whether it is a master of anything, and where is known."""
        return self.master and bool(self.ranges) and bool(self.port)

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(_numbers(self.ranges))

    @property
    def held(self) -> frozenset[int]:
        """Those of them that are not on their way: of which it has everything."""
        return self.owned - {int(one[1:].split(_LEAVES)[0]) for one in self.ranges if _LEAVES in one}

    @property
    def digest(self) -> str:
        """Another wherever its slots, or their way here, were others."""
        text = " ".join((str(self.epoch), *self.ranges))
        return blake2b(text.encode(), digest_size=9).hexdigest()


def members(chart: str, asked: str) -> list[Member]:
    """``asked``: the host that said it, which need not know its own. Raises ValueError for no chart."""
    found = [_member(line.split(), asked) for line in chart.splitlines() if line]
    if sum(one.myself for one in found) != 1:
        raise ValueError("nobody says that it is they who say it")
    return found


def slot_of(root: bytes) -> int:
    """Of a person."""
    return crc_hqx(tag(root), 0) % SLOTS


def home_of(slot: int) -> bytes:
    """A hash tag of that slot, the same to everybody."""
    return _homes()[slot]


@cache
def _homes() -> dict[int, bytes]:
    """The least number of each."""
    found = dict[int, bytes]()
    for number in count():
        text = b"%d" % number
        found.setdefault(crc_hqx(text, 0) % SLOTS, text)
        if len(found) == SLOTS:
            break
    return found


def _member(words: list[str], asked: str) -> Member:
    """Name, address, flags, master, pinged, answered, epoch, link, then slots."""
    name, where, flags, _, _, _, epoch, _, *slots = words
    address, _, names = where.partition(",")
    host, _, port = address.partition("@")[0].rpartition(":")
    told = flags.split(",")
    ranges = tuple(one for one in slots if _COMES not in one)
    host = names.split(",")[0] or host or asked
    reached = 0 if "noaddr" in told or "handshake" in told else int(port)
    return Member(name, host, reached, "master" in told, "myself" in told, int(epoch), ranges)


def _numbers(ranges: Iterable[str]) -> Iterator[int]:
    for one in ranges:
        if not one.startswith("["):
            low, _, high = one.partition("-")
            yield from range(int(low), int(high or low) + 1)
