"""Who belongs to which audience: pseudonyms of 16 bytes, never the ids people are known by elsewhere."""

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b

from sqlalchemy import Connection, delete, select

from adserver.catalog import dialects
from adserver.catalog.tables import MEMBERS
from adserver.domain.inventory import Audience

Pseudonymise = Callable[[str, str], bytes]
"""(user space, user id) -> 16 bytes."""


def pseudonyms(users: Iterable[str], space: str, pseudonymise: Pseudonymise) -> list[bytes]:
    """Each person once, in byte order: people's, not the file's, order goes into the digest."""
    return sorted({pseudonymise(space, user) for user in users})


def digest(people: Iterable[bytes]) -> bytes:
    content = blake2b(digest_size=12)
    for person in people:
        content.update(person)
    return content.digest()


def of_audience(connection: Connection, serial: int) -> list[bytes]:
    """The members of an audience, in byte order."""
    rows = connection.execute(
        select(MEMBERS.c.pseudonym).where(MEMBERS.c.audience == serial).order_by(MEMBERS.c.pseudonym)
    )
    return list(rows.scalars())


def replace_all(connection: Connection, serial: int, people: list[bytes]) -> None:
    """Make ``people`` the members of an audience."""
    connection.execute(delete(MEMBERS).where(MEMBERS.c.audience == serial))
    if people:
        connection.exec_driver_sql(dialects.of(connection).members, [(serial, person) for person in people])


class Membership:
    """The mapping person -> audiences, read again only when an audience changed."""

    def __init__(self) -> None:
        self._of: frozenset[tuple[int, str]] | None = None
        self._members: Mapping[bytes, tuple[str, ...]] = {}

    def read(
        self, connection: Connection, audiences: Iterable[tuple[Audience, str]]
    ) -> Mapping[bytes, tuple[str, ...]]:
        """``audiences``: those that count, with their etags."""
        listed = list(audiences)
        wanted = frozenset((audience.serial, etag) for audience, etag in listed)
        if wanted != self._of:
            self._members = _read(connection, {audience.serial: audience.full_id for audience, _ in listed})
            self._of = wanted
        return self._members


def _read(connection: Connection, names: dict[int, str]) -> dict[bytes, tuple[str, ...]]:
    """One tuple serves all people of the same audiences, so memory grows by a pointer per person."""
    members: dict[bytes, tuple[str, ...]] = {}
    joined: dict[tuple[tuple[str, ...], str], tuple[str, ...]] = {}
    for serial in sorted(names, key=names.__getitem__):
        name = names[serial]
        rows = connection.execute(select(MEMBERS.c.pseudonym).where(MEMBERS.c.audience == serial))
        for person in rows.scalars():
            before = members.get(person, ())
            after = joined.get((before, name))
            if after is None:
                after = joined[before, name] = (*before, name)
            members[person] = after
    return members
