"""Former versions of objects: what the catalogue was can be told as long as they are kept.

A log of what to undo. Of a version that is superseded is kept how to make it from its successor: the part
where the two bodies differ, compressed with the successor's as dictionary, for people change one line item
of a long document, or the bids of all in a short one. Walking the log back from the newest revision undoes
change after change, down to any revision whose changes are all still there. Keeping one appends a row,
whatever was kept before.

When a version was superseded is not written with it, so that a change needs no clock: every hour it is noted
which revision it is, and what was superseded up to a revision noted long enough ago is removed, oldest first.
"""

import zlib
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection, delete, func, select, update

from adserver.catalog.drafts import Key
from adserver.catalog.objects import Objects, Row
from adserver.catalog.tables import CATALOGUE, FORMER, NOTED, newest
from adserver.domain import limits
from adserver.domain.catalogue import Gone
from adserver.domain.changes import Kind

_READ_AT_ONCE: Final = 500
_LEVEL: Final = 1
"""Of compression: the change waits for it."""
_WINDOW_BYTES: Final = 32 * 1024
"""As far as zlib looks back."""


class Former(Struct, frozen=True):
    """What an object was before revision ``until``. Its body begins with the first ``head`` bytes of its
    successor's and ends with the last ``tail``; ``middle`` is what it has between, packed."""

    kind: Kind
    full_id: str
    until: int
    etag: str
    archived: bool
    revision: int
    head: int
    tail: int
    middle: bytes

    @property
    def key(self) -> Key:
        return (self.kind, self.full_id)

    @classmethod
    def of(cls, before: Row, after: Row) -> "Former":
        head = _shared(before.body, after.body)
        tail = _shared(before.body[head:][::-1], after.body[head:][::-1])
        return cls(
            kind=before.kind,
            full_id=before.full_id,
            until=after.revision,
            etag=before.etag,
            archived=before.archived,
            revision=before.revision,
            head=head,
            tail=tail,
            middle=_packed(_between(before.body, head, tail), _between(after.body, head, tail)),
        )

    def made_of(self, after: Row) -> Row:
        middle = _unpacked(self.middle, _between(after.body, self.head, self.tail))
        body = after.body[: self.head] + middle + after.body[len(after.body) - self.tail :]
        return Row(self.kind, self.full_id, body, self.etag, self.archived, self.revision)


def keep(connection: Connection, superseded: Iterable[tuple[Row, Row]]) -> None:
    """``superseded``: versions, each with its successor, in the transaction that writes the latter."""
    rows = [asdict(Former.of(before, after)) for before, after in superseded]
    if rows:
        connection.execute(FORMER.insert(), rows)


def undone(connection: Connection, revision: int) -> dict[Key, Row]:
    """What the objects that changed after ``revision`` were at it, those that were there. Raises Gone."""
    columns = [FORMER.c[name] for name in Former.__struct_fields__]
    objects = Objects(connection)
    found: dict[Key, Row] = {}
    newest_first = select(*columns).order_by(FORMER.c.id.desc()).execution_options(yield_per=_READ_AT_ONCE)
    with connection.execute(newest_first) as log:
        for rows in log.partitions(_READ_AT_ONCE):
            undoing = [former for former in (Former(*row) for row in rows) if former.until > revision]
            objects.fetch(former.key for former in undoing)
            for former in undoing:
                after = found.get(former.key) or objects.row(former.key)
                found[former.key] = former.made_of(_known(former, after))
            if len(undoing) < len(rows):
                break
    return found


def _known(former: Former, after: Row | None) -> Row:
    if after is None or after.revision != former.until:
        raise Gone(
            f"what became of the {former.kind} {former.full_id} at revision {former.until} is not kept"
        )
    return after


def is_due(connection: Connection, now_ms: int) -> bool:
    """Whether ``forget`` has anything to do."""
    return _is_to_note(connection, now_ms) or _portion(connection, _long_ago(connection, now_ms)) is not None


def forget(connection: Connection, now_ms: int) -> None:
    """Note which revision it is, and remove a portion of what was superseded long ago."""
    if _is_to_note(connection, now_ms):
        connection.execute(NOTED.insert().values(revision=newest(connection), at_ms=now_ms))
    old = _long_ago(connection, now_ms)
    last = _portion(connection, old)
    if last is not None:
        connection.execute(delete(FORMER).where(FORMER.c.id <= last.id))
        moved = update(CATALOGUE).where(CATALOGUE.c.kept_from < last.until).values(kept_from=last.until)
        connection.execute(moved)
    connection.execute(delete(NOTED).where(NOTED.c.revision < old))


def _is_to_note(connection: Connection, now_ms: int) -> bool:
    last = connection.execute(select(NOTED).order_by(NOTED.c.revision.desc()).limit(1)).first()
    if last is None:
        return True
    # A clock may have been wrong, either way.
    return bool(last.revision != newest(connection) and abs(now_ms - last.at_ms) >= limits.NOTED_MS)


def _long_ago(connection: Connection, now_ms: int) -> int:
    """The newest revision of which it is known to have been there so long ago."""
    noted = select(func.max(NOTED.c.revision)).where(NOTED.c.at_ms <= now_ms - limits.HISTORY_MS)
    return connection.execute(noted).scalar_one() or 0


def _portion(connection: Connection, old: int) -> Any:
    """The last of the oldest versions that one turn removes, if any was superseded up to ``old``."""
    query = select(FORMER.c.id, FORMER.c.until, func.length(FORMER.c.middle).label("size"))
    last, left = None, limits.FORGOTTEN_BYTES
    with connection.execute(query.order_by(FORMER.c.id).limit(limits.FORGOTTEN_AT_ONCE)) as oldest:
        for row in oldest:
            if row.until > old or left <= 0:
                break
            last, left = row, left - row.size
    return last


def _between(body: bytes, head: int, tail: int) -> bytes:
    return body[head : len(body) - tail]


def _packed(own: bytes, other: bytes) -> bytes:
    packing = zlib.compressobj(_LEVEL, zdict=other[:_WINDOW_BYTES])
    return packing.compress(own) + packing.flush()


def _unpacked(packed: bytes, other: bytes) -> bytes:
    return zlib.decompressobj(zdict=other[:_WINDOW_BYTES]).decompress(packed)


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
