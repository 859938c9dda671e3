"""The catalog: what advertisers and publishers own, in one SQLite file (``tables``).

Reads are answered from memory, which follows the file (``shelf``); a change is examined and written in
one transaction (``accepting``). Any number of processes may open the same file; a lock makes one store
usable from several threads.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import RLock

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from adserver.catalog.accepting import Acceptance, Billed, Outcome, applied
from adserver.catalog.drafts import Draft, Key, read
from adserver.catalog.folder import Folder, name_files
from adserver.catalog.linking import unpack
from adserver.catalog.members import Membership, Pseudonymise
from adserver.catalog.serials import Serials
from adserver.catalog.shelf import Shelf
from adserver.catalog.tables import (
    APPLIED,
    BILLED,
    CATALOGUE,
    CREATIVES,
    LINE_ITEMS,
    open_file,
    reading,
    writing,
)
from adserver.catalog.whole import placed
from adserver.domain.campaign import Creative, LineItem
from adserver.domain.catalogue import Catalogue
from adserver.domain.changes import Applied, Conflict, Invalid, Kind, Mismatch, Problem, Stored, Unwritten

Objects = list[Stored]
Drafts = list[Draft]
Outcomes = list[Outcome]
Keys = list[Key]

__all__ = ["Applied", "Conflict", "Invalid", "Kind", "Mismatch", "Problem", "Store", "Stored"]


class Store:
    """The catalog at ``path``, made if absent. ``pseudonymise``: (user space, user id) -> 16 bytes;
    ``billed``: (kind, full id) of a campaign or publisher -> whether something was billed, beside what
    ``mark_billed`` was told.
    Raises ``tables.Unusable`` for a file of another version."""

    def __init__(self, path: Path, pseudonymise: Pseudonymise, billed: Billed | None = None) -> None:
        self._engine = open_file(path)
        self._pseudonymise = pseudonymise
        self._billed = billed
        self._lock = RLock()
        self._shelf = Shelf()
        self._serials = Serials()
        self._membership = Membership()
        self._marked: set[int] = set()

    def close(self) -> None:
        self._engine.dispose()

    # -- reading ---------------------------------------------------------------------------------

    def revision(self) -> int:
        """The newest revision; moves with every accepted change, whoever made it."""
        with reading(self._engine) as connection:
            return int(connection.execute(select(CATALOGUE.c.revision)).scalar_one())

    def load(self) -> Catalogue:
        """Everything that is not archived, at one revision."""
        with self._reading() as connection:
            audiences = self._shelf.audiences(self._serials)
            etags = [entry.etag for entry in self._shelf.active("audience")]
            return Catalogue(
                revision=self._shelf.revision,
                advertisers=self._shelf.advertisers(self._serials),
                campaigns=self._shelf.campaigns(self._serials),
                publishers=self._shelf.publishers(self._serials),
                audiences=audiences,
                members=self._membership.read(connection, zip(audiences, etags, strict=True)),
            )

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
        with self._reading():
            entry = self._shelf.entry((kind, full_id))
            return None if entry is None else self._shelf.stored(entry)

    def list(self, kind: Kind, owner: str | None, after: str | None, limit: int) -> Objects:
        """Up to ``limit`` objects that are not archived, in the order of their full ids, behind ``after``
        (a full id); ``owner`` narrows to those of one advertiser or publisher."""
        with self._reading():
            entries = islice(self._shelf.active(kind, owner, after or ""), limit)
            return [self._shelf.stored(entry) for entry in entries]

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
        with self._writing() as (connection, outcomes):
            self._check_state((kind, full_id), if_match, if_none_match)
            dropped = self._dropped(kind, full_id, body, drafts)
            try:
                outcomes += self._acceptance(connection).accept(drafts, dropped)
            except Invalid as refusal:
                raise Invalid(placed(refusal.problems, f"{kind} {full_id}")) from None
        with self._lock:
            return self._shelf.stored(outcomes[0].entry, outcomes[0].created)

    def archive(self, kind: Kind, full_id: str, if_match: str | None = None) -> bool:
        """Archive an object and what belongs to it; False if there is none. Its counters and serials stay.
        Raises Mismatch, or Conflict while a campaign targets an audience that would go."""
        with self._writing() as (connection, outcomes):
            entry = self._shelf.entry((kind, full_id))
            if entry is None or entry.held.archived:
                return False
            self._check_state((kind, full_id), if_match, False)
            keys = [(kind, full_id), *self._belongings(kind, full_id)]
            try:
                outcomes += self._acceptance(connection).accept([], keys)
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
        with self._writing() as (connection, outcomes):
            before = {(row.kind, row.full_id): row.digest for row in connection.execute(select(APPLIED))}
            drafts = [draft for draft in folder.drafts if before.get(draft.key) != draft.digest]
            try:
                outcomes += self._acceptance(connection).accept(drafts)
            except Invalid as refusal:
                raise Invalid(name_files(refusal.problems, folder.files)) from None
            for draft in drafts:
                values = {"kind": draft.kind, "full_id": draft.full_id, "digest": draft.digest}
                connection.execute(
                    insert(APPLIED)
                    .values(values)
                    .on_conflict_do_update(index_elements=["kind", "full_id"], set_={"digest": draft.digest})
                )
        return applied(folder.drafts, outcomes)

    def mark_billed(self, campaign: int) -> None:
        """Something of the campaign with this serial was billed: its currency and zone are fixed."""
        with self._lock:
            if campaign in self._marked:
                return
            with writing(self._engine) as connection:
                connection.execute(insert(BILLED).values(campaign=campaign).on_conflict_do_nothing())
            self._marked.add(campaign)

    # -- within ----------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._lock, reading(self._engine) as connection:
            self._catch_up(connection)
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[tuple[Connection, Outcomes]]:
        """A write transaction, and a list for what was accepted in it: once committed it is placed on the
        shelf, so the next reading compiles nothing. After a failure what memory learnt is forgotten."""
        outcomes: Outcomes = []
        with self._lock:
            try:
                with writing(self._engine) as connection:
                    self._catch_up(connection)
                    yield connection, outcomes
            except BaseException as error:
                if isinstance(error, Unwritten) or not isinstance(error, Invalid | Conflict | Mismatch):
                    self._shelf, self._serials = Shelf(), Serials()
                raise
            for outcome in outcomes:
                if outcome.changed:
                    self._shelf.place(outcome.entry)
                    self._shelf.revision = outcome.entry.revision

    def _catch_up(self, connection: Connection) -> None:
        self._shelf.catch_up(connection)
        self._serials.refresh(connection)

    def _acceptance(self, connection: Connection) -> Acceptance:
        def billed(kind: str, full_id: str) -> bool:
            told = self._billed is not None and self._billed(kind, full_id)
            return told or (kind == "campaign" and self._is_marked(connection, full_id))

        return Acceptance(connection, self._shelf, self._serials, self._pseudonymise, billed)

    def _is_marked(self, connection: Connection, campaign: str) -> bool:
        serial = self._serials.of("campaign", campaign)
        query = select(BILLED.c.campaign).where(BILLED.c.campaign == serial)
        return connection.execute(query).first() is not None

    def _check_state(self, key: Key, if_match: str | None, if_none_match: bool) -> None:
        entry = self._shelf.entry(key)
        there = entry is not None and not entry.held.archived
        if if_none_match and there:
            raise Mismatch(f"the {key[0]} {key[1]} exists already")
        if if_match is None:
            return
        etag = self._shelf.stored(entry).etag if there and entry is not None else None
        tags = [tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")]
        if etag is None or (etag not in tags and "*" not in tags):
            raise Mismatch(f"the {key[0]} {key[1]} is not what it was")

    def _owned(self, kind: Kind, full_id: str, body: dict[str, object]) -> dict[str, object]:
        """An audience's body with its owner, whose kind the address does not tell."""
        if kind != "audience" or "advertiser" in body or "publisher" in body:
            return body
        owner = full_id.partition("/")[0]
        with self._reading():
            is_publisher = ("publisher", owner) in self._shelf.held
        return body | {"publisher" if is_publisher else "advertiser": owner}

    def _dropped(self, kind: Kind, full_id: str, body: dict[str, object], drafts: Drafts) -> Keys:
        if kind != "publisher" or "placements" not in body:
            return []
        named = {draft.full_id for draft in drafts}
        placements = [entry.held.draft.key for entry in self._shelf.placements(full_id)]
        return [key for key in placements if key[1] not in named]

    def _belongings(self, kind: Kind, full_id: str) -> Keys:
        owned: Mapping[Kind, tuple[Kind, ...]] = {
            "advertiser": ("campaign", "audience"),
            "publisher": ("placement", "audience"),
        }
        return [
            entry.held.draft.key
            for below in owned.get(kind, ())
            for entry in self._shelf.active(below, full_id)
        ]
