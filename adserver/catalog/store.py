"""The catalog: what advertisers and publishers own, in a file of SQLite or a schema of
PostgreSQL (``opening``).

Questions are answered from there, object by object (``objects``); a change is examined and written in
one transaction (``accepting``). Only who loads the whole catalogue, to compile it, keeps it in memory
(``shelf``). Any number of processes may open the same one, any number of threads use the same store.
"""

from collections.abc import Set
from threading import Lock

from sqlalchemy import Connection, select

from adserver.catalog import dialects, former
from adserver.catalog.accepting import Acceptance, Billed, applied
from adserver.catalog.drafts import Draft, Key, read
from adserver.catalog.folder import Folder, name_files
from adserver.catalog.linking import unpack
from adserver.catalog.marks import digest_of_all
from adserver.catalog.members import Membership, Pseudonymise
from adserver.catalog.objects import Objects, Row
from adserver.catalog.opening import open_place, reading, writing
from adserver.catalog.serials import Serials
from adserver.catalog.shelf import Shelf
from adserver.catalog.tables import (
    APPLIED,
    BILLED,
    CREATIVES,
    LINE_ITEMS,
    SERIALS,
    newest,
)
from adserver.catalog.whole import placed
from adserver.databases import Place
from adserver.domain.campaign import Creative, LineItem
from adserver.domain.catalogue import Catalogue
from adserver.domain.changes import Applied, Conflict, Invalid, Kind, Mismatch, Problem, Stored

__all__ = ["Applied", "Conflict", "Invalid", "Kind", "Mismatch", "Problem", "Store", "Stored"]


class Store:
    """The catalog at ``place``, made if absent. ``pseudonymise``: (user space, user id) -> 16 bytes;
    ``billed``: (kind, full id) of a campaign or publisher -> whether something was billed, beside what
    ``mark_billed`` was told.
    Raises Unusable. What asks raises Unread, what changes Unwritten, where the database is away."""

    def __init__(self, place: Place, pseudonymise: Pseudonymise, billed: Billed | None = None) -> None:
        self._engine = open_place(place)
        self._pseudonymise = pseudonymise
        self._billed = billed
        self._lock = Lock()
        self._serials = Serials()
        self._shelf = Shelf(self._serials)
        self._membership = Membership()
        self._marked: set[int] = set()

    def close(self) -> None:
        self._engine.dispose()

    # -- reading ---------------------------------------------------------------------------------

    def revision(self) -> int:
        """The newest revision; moves with every accepted change, whoever made it."""
        with reading(self._engine) as connection:
            return newest(connection)

    def content(self) -> tuple[int, str]:
        """The newest revision, and the digest of all the catalogue holds at it."""
        with reading(self._engine) as connection:
            return newest(connection), digest_of_all(connection)

    def load(self) -> Catalogue:
        """Everything that is not archived, at one revision. What did not change since the last time is not
        read again, and is the same value."""
        with self._lock, reading(self._engine) as connection:
            shelf = self._shelf
            self._serials.refresh(connection)
            shelf.catch_up(connection)
            audiences = shelf.audiences.values()
            etags = [shelf.audiences.etags[audience.full_id] for audience in audiences]
            return shelf.catalogue(self._membership.read(connection, zip(audiences, etags, strict=True)))

    def creative(self, serial: int) -> tuple[Creative, LineItem, str] | None:
        """Any version of a creative that ever was, the last version of the line item it stood in, and the
        full id of its campaign."""
        query = (
            select(CREATIVES.c.body, LINE_ITEMS.c.body.label("line_item"), CREATIVES.c.campaign)
            .join(LINE_ITEMS, LINE_ITEMS.c.serial == CREATIVES.c.line_item)
            .where(CREATIVES.c.serial == serial)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        creative, line_item = unpack(row.body, row.line_item)
        return creative, line_item, row.campaign

    def get(self, kind: Kind, full_id: str) -> Stored | None:
        """An object, archived or not; None if there never was one."""
        with reading(self._engine) as connection:
            objects = Objects(connection)
            row = objects.row((kind, full_id))
            return None if row is None else objects.stored(row)

    def list(self, kind: Kind, owner: str | None, after: str | None, limit: int) -> list[Stored]:
        """Up to ``limit`` objects that are not archived, in the order of their full ids, behind ``after``
        (a full id); ``owner`` narrows to those of one advertiser or publisher."""
        with reading(self._engine) as connection:
            objects = Objects(connection)
            rows = [*objects.active(kind, owner, after or "", limit)]
            return [objects.stored(row) for row in rows]

    # -- changing --------------------------------------------------------------------------------

    def put(
        self,
        kind: Kind,
        full_id: str,
        body: dict[str, object],
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Create or replace an object; the whole catalogue must stay valid. ``body`` may leave out the ids
        its address names. A publisher's ``placements`` replace the set (the others are archived), and stay
        as they are where the body does not mention them; so do an audience's ``users``. Putting an archived
        object brings it back under its serial.
        Raises Invalid (every problem), Mismatch (``if_match`` is the etag the caller believes in, ``*`` for
        any; ``if_none_match``: there must be none) or Conflict."""
        drafts, problems = read(kind, full_id, self._owned(kind, full_id, body))
        if problems:
            raise Invalid(problems)
        with writing(self._engine) as connection:
            objects = Objects(connection)
            _check_state(objects, (kind, full_id), if_match, if_none_match)
            dropped = _dropped(objects, kind, full_id, body, drafts)
            try:
                outcomes = self._acceptance(connection, objects).accept(drafts, dropped)
            except Invalid as refusal:
                raise Invalid(placed(refusal.problems, f"{kind} {full_id}")) from None
            return Objects(connection).stored(outcomes[0].row, outcomes[0].created)

    def archive(self, kind: Kind, full_id: str, if_match: str | None = None) -> bool:
        """Archive an object and what belongs to it; False if there is none. Its counters and serials stay.
        Raises Mismatch, or Conflict while a campaign targets an audience that would go."""
        with writing(self._engine) as connection:
            objects = Objects(connection)
            row = objects.active_row((kind, full_id))
            if row is None:
                return False
            _check_state(objects, row.key, if_match, False)
            try:
                self._acceptance(connection, objects).accept([], [row, *_belongings(objects, row)])
            except Invalid as refusal:
                users = ", ".join(sorted({problem.document for problem in refusal.problems}))
                raise Conflict(f"the {kind} {full_id} is in use by: {users}") from None
        return True

    def apply(self, folder: Folder) -> Applied:
        """Create or replace the objects whose file changed since it was last applied; the others are left
        alone, whatever they are now, and nothing is archived. All or nothing. Raises Invalid (problems
        name files) or Conflict."""
        if folder.problems:
            raise Invalid([*folder.problems, *folder.dangling])
        with writing(self._engine) as connection:
            before = {(row.kind, row.full_id): row.digest for row in connection.execute(select(APPLIED))}
            drafts = [draft for draft in folder.drafts if before.get(draft.key) != draft.digest]
            try:
                outcomes = self._acceptance(connection, Objects(connection)).accept(drafts)
            except Invalid as refusal:
                raise Invalid(name_files(refusal.problems, folder.files)) from None
            values = [
                {"kind": draft.kind, "full_id": draft.full_id, "digest": draft.digest} for draft in drafts
            ]
            if values:
                statement = dialects.insert(connection, APPLIED)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["kind", "full_id"], set_={"digest": statement.excluded.digest}
                    ),
                    values,
                )
        return applied(folder.drafts, outcomes)

    def mark_billed(self, campaigns: Set[int]) -> None:
        """Something of the campaigns with these serials was billed: their currency and zone are fixed."""
        with self._lock:
            fresh = campaigns - self._marked
            if fresh:
                rows = [{"campaign": campaign} for campaign in fresh]
                with writing(self._engine) as connection:
                    connection.execute(dialects.insert(connection, BILLED).on_conflict_do_nothing(), rows)
                self._marked |= fresh

    def forget(self, now_ms: int) -> None:
        """A turn of forgetting what the catalogue was before the last ``limits.HISTORY_MS``: bounded work,
        and nothing is written where there is none."""
        with reading(self._engine) as connection:
            if not former.is_due(connection, now_ms):
                return
        with writing(self._engine) as connection:
            former.forget(connection, now_ms)

    # -- within ----------------------------------------------------------------------------------

    def _acceptance(self, connection: Connection, objects: Objects) -> Acceptance:
        def billed(kind: str, full_id: str) -> bool:
            told = self._billed is not None and self._billed(kind, full_id)
            return told or (kind == "campaign" and _is_marked(connection, full_id))

        return Acceptance(connection, objects, self._pseudonymise, billed)

    def _owned(self, kind: Kind, full_id: str, body: dict[str, object]) -> dict[str, object]:
        """An audience's body with its owner, whose kind the address does not tell."""
        if kind != "audience" or "advertiser" in body or "publisher" in body:
            return body
        owner = full_id.partition("/")[0]
        with reading(self._engine) as connection:
            is_publisher = Objects(connection).row(("publisher", owner)) is not None
        return body | {"publisher" if is_publisher else "advertiser": owner}


def _is_marked(connection: Connection, campaign: str) -> bool:
    serial = select(SERIALS.c.serial).where(SERIALS.c.space == "campaign", SERIALS.c.name == campaign)
    query = select(BILLED.c.campaign).where(BILLED.c.campaign == serial.scalar_subquery())
    return connection.execute(query).first() is not None


def _check_state(objects: Objects, key: Key, if_match: str | None, if_none_match: bool) -> None:
    row = objects.active_row(key)
    if if_none_match and row is not None:
        raise Mismatch(f"the {key[0]} {key[1]} exists already")
    if if_match is None:
        return
    etag = None if row is None else objects.stored(row).etag
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")]
    if etag is None or (etag not in tags and "*" not in tags):
        raise Mismatch(f"the {key[0]} {key[1]} is not what it was")


def _dropped(
    objects: Objects, kind: Kind, full_id: str, body: dict[str, object], drafts: list[Draft]
) -> list[Row]:
    """The placements that a publisher's body no longer names."""
    if kind != "publisher" or "placements" not in body:
        return []
    named = {draft.full_id for draft in drafts}
    return [row for row in objects.active("placement", full_id) if row.full_id not in named]


def _belongings(objects: Objects, row: Row) -> list[Row]:
    owned: dict[Kind, tuple[Kind, ...]] = {
        "advertiser": ("campaign", "audience"),
        "publisher": ("placement", "audience"),
    }
    return [own for kind in owned.get(row.kind, ()) for own in objects.active(kind, row.full_id)]
