"""Keyed names for people and sessions: what the server stores instead of ids (DESIGN, "The walk")."""

from hashlib import blake2b


class Pseudonyms:
    """16 bytes of keyed BLAKE2b each; ``person`` keeps the purposes apart. Text parts are joined with NUL,
    which no id contains, so that no two different lists make the same name."""

    def __init__(self, key: bytes) -> None:
        # A copy of a prepared hash costs less than to give key and purpose each time.
        self._keyed = {
            purpose: blake2b(digest_size=16, key=key, person=purpose)
            for purpose in (b"person", b"session", b"test", b"repeat", b"feed", b"conversion")
        }

    def person(self, user_space: str, user_id: str) -> bytes:
        return self._name(b"person", user_space, user_id)

    def session(self, publisher: str, session: str) -> bytes:
        return self._name(b"session", publisher, session)

    def test(self, name: bytes) -> bytes:
        """The same person in test mode: counted apart, so tests use up nobody's caps."""
        return self._hashed(b"test", name)

    def repeat(self, publisher: str, request_id: str, mode: str) -> bytes:
        return self._name(b"repeat", publisher, request_id, mode)

    def conversion(self, advertiser: int, conversion_id: str) -> bytes:
        """What keeps an advertiser's conversions apart, by its own ids of them."""
        return self._name(b"conversion", str(advertiser), conversion_id)

    def feed(self, publisher: str, placement: str, feed_id: str, *who: bytes) -> bytes:
        """The name of a feed account."""
        parts = "\0".join((publisher, placement, feed_id)).encode()
        return self._hashed(b"feed", parts + b"\0" + b"".join(who))

    def _name(self, purpose: bytes, *parts: str) -> bytes:
        return self._hashed(purpose, "\0".join(parts).encode("utf-8", "surrogatepass"))

    def _hashed(self, purpose: bytes, said: bytes) -> bytes:
        copy = self._keyed[purpose].copy()
        copy.update(said)
        return copy.digest()
