"""The server's secrets: one small file beside the books, readable by its owner alone. Servers that share a
database share secrets: one row of it, of which each data folder has a copy.

Losing it makes every tracking URL, pseudonym and receipt given so far worthless, so a damaged file is an
error and never replaced. It is made by writing a temporary file and *linking* it into place, which fails
where another process was faster: all processes then read the one file.

The row is written once too, under the lock of who changes the catalogue: the file of the first server, or new
secrets. A folder whose file says otherwise is of other servers: what its journal holds was told under other
pseudonyms, and its URLs are signed by other keys.
"""

import os
import secrets
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import select

from adserver.catalog.opening import open_place, writing
from adserver.catalog.tables import SECRETS
from adserver.databases import Database, Place

FILE: Final = "secrets.json"
_Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class _Written(Struct, frozen=True, forbid_unknown_fields=True):
    signing: dict[str, _Hex]
    current: Annotated[int, Meta(ge=0, le=15)]
    mask: _Hex
    pseudonym: _Hex
    receipt: _Hex


class Secrets(Struct, frozen=True):
    """``signing``: key id (0 to 15) -> 32 bytes, ``current`` the one that signs; the others 32 bytes."""

    signing: dict[int, bytes]
    current: int
    mask: bytes
    pseudonym: bytes
    receipt: bytes


class BadSecrets(Exception):
    """The file is there and cannot be used; the message says why."""


def load(folder: Path, place: Place | None = None) -> Secrets:
    """The secrets in ``folder``, made (mode 0600) if there are none; or those of the catalog at ``place``, if
    that is in a database. Raises BadSecrets; Unusable."""
    path = folder / FILE
    try:
        if isinstance(place, Database):
            return _shared(path, place)
        if not path.exists():
            create(path, _made())
        return _read(path)
    except OSError as error:
        raise BadSecrets(f"{path} cannot be used: {error.strerror}") from error


def _shared(path: Path, database: Database) -> Secrets:
    own = _read(path) if path.exists() else None
    engine = open_place(database)
    try:
        with writing(engine) as connection:
            document: str | None = connection.execute(select(SECRETS.c.document)).scalar()
            if document is None:
                document = (_made() if own is None else path.read_bytes()).decode()
                connection.execute(SECRETS.insert().values(number=1, document=document))
    finally:
        engine.dispose()
    if own is None:
        create(path, document.encode())
        own = _read(path)
    if own != _parsed(document.encode(), str(database)):
        raise BadSecrets(f"{path} is not what {database} holds: folder and database are of different servers")
    return own


def _read(path: Path) -> Secrets:
    return _parsed(path.read_bytes(), str(path))


def _parsed(document: bytes, path: str) -> Secrets:
    try:
        written = msgspec.json.decode(document, type=_Written)
        signing = {int(name): bytes.fromhex(key) for name, key in written.signing.items()}
    except (msgspec.DecodeError, ValueError) as error:
        raise BadSecrets(f"{path} is damaged ({error}); restore it from a backup") from error
    if written.current not in signing or any(not 0 <= name <= 15 for name in signing):
        raise BadSecrets(f"{path} is damaged (current names no signing key); restore it from a backup")
    return Secrets(
        signing=signing,
        current=written.current,
        mask=bytes.fromhex(written.mask),
        pseudonym=bytes.fromhex(written.pseudonym),
        receipt=bytes.fromhex(written.receipt),
    )


def _made() -> bytes:
    written = _Written({"1": _fresh()}, 1, _fresh(), _fresh(), _fresh())
    return msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n"


def create(path: Path, document: bytes) -> None:
    """A file that is whole or not there, and its owner's alone; who was faster wrote it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(document)
            file.flush()
            os.fsync(file.fileno())
        _link(temporary, path)
    finally:
        temporary.unlink()


def _link(temporary: Path, path: Path) -> None:
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _fresh() -> str:
    return secrets.token_hex(32)
