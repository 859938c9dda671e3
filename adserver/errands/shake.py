"""Two machines make sure of each other before anything is brought.

Who is at home says a number that it never said before; who comes answers with one of its own, and both show
that they know the key, which the machines of one database share. Each proof is of both numbers, of who gives
it, and of whose door it is: none can be said again, turned round or used elsewhere. So nobody without the key
is heard or told anything. What is said afterwards is neither signed nor encrypted: that is the network's.
"""

import secrets
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from adserver.errands.frames import Broken

_SIZE: Final = 32
_HOST: Final = b"host"
_VISITOR: Final = b"visitor"


class Stranger(Broken):
    """Does not know the key."""


def key_of(secret: bytes) -> bytes:
    """Of the machines that share this secret."""
    return blake2b(key=secret, person=b"errands", digest_size=_SIZE).digest()


class Host:
    """The worker with this ``number``, at its door; ``greeting``: what it says first."""

    def __init__(self, key: bytes, number: int) -> None:
        self.greeting = secrets.token_bytes(_SIZE)
        self._key, self._number = key, number

    def let_in(self, answer: bytes) -> bytes:
        """What a visitor is told who answered right. Raises Stranger."""
        both = self.greeting + answer[:_SIZE]
        if not compare_digest(answer[_SIZE:], _proof(self._key, _VISITOR, self._number, both)):
            raise Stranger("somebody at the door does not know the secrets of this database")
        return _proof(self._key, _HOST, self._number, both)


class Visitor:
    """Before the door of the worker with this ``number``."""

    def __init__(self, key: bytes, number: int) -> None:
        self._key, self._number = key, number
        self._both = b""

    def hear(self, said: bytes) -> bytes | None:
        """The answer to a greeting; None: it is whom it should be. Raises Stranger."""
        if not self._both:
            nonce = secrets.token_bytes(_SIZE)
            self._both = said + nonce
            return nonce + _proof(self._key, _VISITOR, self._number, self._both)
        if not compare_digest(said, _proof(self._key, _HOST, self._number, self._both)):
            raise Stranger(f"whoever listens at the door of worker {self._number} is not that one")
        return None


def _proof(key: bytes, who: bytes, number: int, both: bytes) -> bytes:
    said = number.to_bytes(2, "big") + len(both).to_bytes(2, "big") + both
    return blake2b(said, key=key, person=who, digest_size=_SIZE).digest()
