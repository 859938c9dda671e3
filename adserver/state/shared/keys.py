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
        self._head = b"s%b{%b}" % (generation.encode(), tag(who.root))
        self._session = b"-" if who.session is None else tag(who.session)

    def exposures(self) -> list[bytes]:
        """KEYS 1 to 4 of every script."""
        head = self._head
        return [head + b"c", head + b"n" + self._session, head + b"o", head + b"x"]

    def told(self) -> bytes:
        return self._head + b"t"

    def account(self, account: bytes | None) -> bytes:
        return self._head + b"f" + (b"-" if account is None else tag(account))

    def request(self, repeat_key: bytes | None) -> bytes:
        return self._head + b"r" + (b"-" if repeat_key is None else tag(repeat_key))


class Record:
    """What a node and those who share it agree on: the generation, the run of the server that it is of, who
    has added what they know to one and who began to, and when each was last there. ``home``: a hash tag of a
    slot of the node; empty where it is alone."""

    __slots__ = ("_head", "generation", "run")

    def __init__(self, home: bytes = b"") -> None:
        self._head = b"adserver:{%b}:" % home if home else b"adserver:"
        self.generation = self._head + b"generation"
        self.run = self._head + b"run"

    def added(self, generation: str) -> bytes:
        return self._head + b"added:" + generation.encode()

    def begun(self, generation: str) -> bytes:
        return self._head + b"adding:" + generation.encode()

    def seen(self, worker: int) -> bytes:
        return self._head + b"seen:%d" % worker


def tag(pseudonym: bytes) -> bytes:
    """As it stands in keys."""
    return b2a_base64(pseudonym, newline=False).rstrip(b"=")
