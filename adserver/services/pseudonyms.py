"""Keyed names for people and sessions: what the server stores instead of ids (DESIGN, "The walk")."""

from hashlib import blake2b


class Pseudonyms:
    """16 bytes of keyed BLAKE2b each; ``person`` keeps the purposes apart. Text parts are joined with NUL,
    which no id contains, so that no two different lists make the same name."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def person(self, user_space: str, user_id: str) -> bytes:
        return self._name(b"person", user_space, user_id)

    def session(self, publisher: str, session: str) -> bytes:
        return self._name(b"session", publisher, session)

    def test(self, name: bytes) -> bytes:
        """The same person in test mode: counted apart, so tests use up nobody's caps."""
        return blake2b(name, digest_size=16, key=self._key, person=b"test").digest()

    def repeat(self, publisher: str, request_id: str, mode: str) -> bytes:
        return self._name(b"repeat", publisher, request_id, mode)

    def feed(self, publisher: str, placement: str, feed_id: str, *who: bytes) -> bytes:
        """The name of a feed account."""
        parts = "\0".join((publisher, placement, feed_id)).encode()
        return blake2b(parts + b"\0" + b"".join(who), digest_size=16, key=self._key, person=b"feed").digest()

    def _name(self, purpose: bytes, *parts: str) -> bytes:
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16, key=self._key, person=purpose).digest()
