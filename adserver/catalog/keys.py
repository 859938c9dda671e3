"""Access keys: who may manage what. Only a hash is kept; a key is shown once, when it is made.

``adk_<id>_<secret>``: the id finds the row, the secret has 256 bits, so a plain hash is enough (there is
nothing to guess, and nothing to slow down). The prefix lets scanners recognise a leaked key.
"""

import re
import secrets
from hashlib import blake2b
from hmac import compare_digest
from threading import Lock
from typing import Final, Literal, cast

from msgspec import Struct
from sqlalchemy import select, update

from adserver.catalog.opening import open_place, reading, writing
from adserver.catalog.tables import KEYS
from adserver.databases import Place

ROLES: Final = ("operator", "advertiser", "publisher")
Role = Literal["operator", "advertiser", "publisher"]

CACHED_MS: Final = 1000
"""How long a found key is believed without looking: a revoked one works at most this long."""

_CACHED_KEYS: Final = 10_000
_SHAPE: Final = re.compile(r"adk_([0-9a-f]{16})_[0-9A-Za-z_-]{43}\Z", re.ASCII)


class Key(Struct, frozen=True):
    """``owner``: the advertiser or publisher it belongs to, empty for operators."""

    id: str
    role: Role
    owner: str = ""
    read_prices: bool = False
    created_ms: int = 0
    revoked: bool = False


class Keys:
    """The keys in the catalog at ``place``. Chance comes from the operating system: keys are secrets."""

    def __init__(self, place: Place) -> None:
        self._engine = open_place(place)
        self._lock = Lock()
        self._found: dict[bytes, tuple[int, Key]] = {}

    def close(self) -> None:
        self._engine.dispose()

    def create(self, role: Role, owner: str, now_ms: int, read_prices: bool = False) -> tuple[str, str]:
        """(id, the key's text), the only time the text is known."""
        key_id = secrets.token_hex(8)
        text = f"adk_{key_id}_{secrets.token_urlsafe(32)}"
        row = KEYS.insert().values(
            id=key_id,
            digest=_digest(text),
            role=role,
            owner=owner,
            read_prices=read_prices,
            created_ms=now_ms,
            revoked=False,
        )
        with writing(self._engine) as connection:
            connection.execute(row)
        return key_id, text

    def find(self, text: str, now_ms: int) -> Key | None:
        """The key with this text, None if there is none or it was revoked."""
        match = _SHAPE.match(text)
        if match is None:
            return None
        digest = _digest(text)
        with self._lock:
            at_ms, key = self._found.get(digest, (-CACHED_MS, None))
            if key is not None and 0 <= now_ms - at_ms < CACHED_MS:
                return key
            key = self._look(match[1], digest)
            self._found.pop(digest, None)
            if key is not None:
                if len(self._found) >= _CACHED_KEYS:
                    self._found.clear()
                self._found[digest] = (now_ms, key)
            return key

    def revoke(self, key_id: str) -> bool:
        """False if there is no such key, or it was revoked before."""
        statement = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked.is_(False)).values(revoked=True)
        with writing(self._engine) as connection:
            done = connection.execute(statement).rowcount > 0
        with self._lock:
            self._found.clear()
        return done

    def list(self) -> tuple[Key, ...]:
        """Every key ever made, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(KEYS).order_by(KEYS.c.created_ms, KEYS.c.id)).all()
        return tuple(_key(row) for row in rows)

    def valid(self) -> dict[str, tuple[bytes, Key]]:
        """id -> (digest, key) of all that were not revoked."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(KEYS).where(KEYS.c.revoked.is_(False))).all()
        return {row.id: (row.digest, _key(row)) for row in rows}

    def _look(self, key_id: str, digest: bytes) -> Key | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(KEYS).where(KEYS.c.id == key_id)).first()
        if row is None or row.revoked or not compare_digest(row.digest, digest):
            return None
        return _key(row)


class KnownKeys:
    """All keys there are, in memory: for who may not wait for a database, and has it asked beside
    (``follow``), every ``CACHED_MS``. While it is away, the last ones known go on."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known = dict[str, tuple[bytes, Key]]()
        self.follow()

    def follow(self) -> None:
        """Blocking. Raises Unread."""
        self._known = self._keys.valid()

    def find(self, text: str) -> Key | None:
        """As of ``Keys``."""
        match = _SHAPE.match(text)
        found = None if match is None else self._known.get(match[1])
        if found is None or not compare_digest(found[0], _digest(text)):
            return None
        return found[1]


def _key(row: object) -> Key:
    values = {name: getattr(row, name) for name in Key.__struct_fields__}
    return Key(**cast(dict[str, str], values))  # type: ignore[arg-type]


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=32, person=b"adserver-key").digest()
