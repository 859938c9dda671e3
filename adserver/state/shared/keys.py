"""The keys of one person: the one place that knows how they are spelled.

All keys of a person carry one hash tag, so they lie in one slot of a cluster and one script may touch them
all. A person is the subject, else the session, else what a request with an id is known by.

    s7{<tag>}c             counters of the subject
    s7{<tag>}n<session>    counters of a session, in its own slot (``apart``)
    s7{<tag>}o             exposures outstanding, by expiry
    s7{<tag>}x             what they count in
    s7{<tag>}t             events told of lately
    s7{<tag>}f<account>    a feed account
    s7{<tag>}r<request>    the answer to a request id

``7``: the generation (``agreement``). Tags and the like are 22 characters of base64. What a node has beside
people is its ``Record``.
"""

from binascii import b2a_base64
from typing import Final

from msgspec import Struct


class Who(Struct, frozen=True):
    """Pseudonyms of 16 bytes, as everywhere; one of them at least is there."""

    subject: bytes | None
    session: bytes | None
    request: bytes | None = None

    @property
    def root(self) -> bytes:
        """Whose slot it is."""
        found = self.subject or self.session or self.request
        assert found is not None, "nobody has no keys"
        return found


class Keys:
    """Of one person in one generation."""

    __slots__ = ("_head", "_session")

    def __init__(self, who: Who, generation: str) -> None:
        self._head = b"s%b{%b}" % (generation.encode(), _text(who.root))
        self._session = b"-" if who.session is None else _text(who.session)

    def exposures(self) -> list[bytes]:
        """KEYS 1 to 4 of every script."""
        head = self._head
        return [head + b"c", head + b"n" + self._session, head + b"o", head + b"x"]

    def told(self) -> bytes:
        return self._head + b"t"

    def account(self, account: bytes | None) -> bytes:
        return self._head + b"f" + (b"-" if account is None else _text(account))

    def request(self, repeat_key: bytes | None) -> bytes:
        return self._head + b"r" + (b"-" if repeat_key is None else _text(repeat_key))


class Record:
    """What a node and those who share it agree on: the generation, the run of the server that it is of, who
    has added what they know to one and who began to, and when each was last there."""

    generation: Final = b"adserver:generation"
    run: Final = b"adserver:run"

    def added(self, generation: str) -> bytes:
        return b"adserver:added:" + generation.encode()

    def begun(self, generation: str) -> bytes:
        return b"adserver:adding:" + generation.encode()

    def seen(self, worker: int) -> bytes:
        return b"adserver:seen:%d" % worker


def _text(pseudonym: bytes) -> bytes:
    return b2a_base64(pseudonym, newline=False).rstrip(b"=")
