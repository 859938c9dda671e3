"""Accepting changes: one write transaction in which drafts are examined against everything the catalog
holds, and then written all together or not at all.

What is accepted moves the revision once. An object whose content stays the same is not written and does
not move it, so applying a folder again, or repeating a PUT, changes nothing and reloads no server.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, Table, update
from sqlalchemy.dialects.sqlite import insert

from adserver.catalog import members
from adserver.catalog.drafts import Draft, Key, canonical, digest_of, read
from adserver.catalog.linking import (
    link_campaign,
    pack_creative,
    pack_line_item,
    wanted_identities,
    wanted_versions,
)
from adserver.catalog.serials import Serials
from adserver.catalog.shelf import Entry, Shelf, kept
from adserver.catalog.tables import CATALOGUE, CREATIVES, LINE_ITEMS, OBJECTS
from adserver.catalog.whole import Held, affected, examine, missing_advertisers
from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.changes import Applied, Conflict, Invalid, Problem
from adserver.domain.inventory import Audience, Publisher

Billed = Callable[[str, str], bool]
"""(kind, full id): whether anything of this campaign, or on this publisher, was ever billed."""

_FIXED: Final = ("currency", "timezone")


class Outcome(Struct, frozen=True):
    """What became of one draft. ``before`` is None or archived where the object was not there."""

    entry: Entry
    before: Entry | None
    changed: bool

    @property
    def created(self) -> bool:
        return self.before is None or self.before.held.archived

    @property
    def label(self) -> str:
        return " ".join(self.entry.held.draft.key)


def applied(drafts: Sequence[Draft], outcomes: Sequence[Outcome]) -> Applied:
    """What became of a folder's ``drafts``, of which ``outcomes`` are those whose file changed."""
    changed = [outcome for outcome in outcomes if outcome.changed]
    touched = {outcome.label for outcome in changed}
    labels = [f"{draft.kind} {draft.full_id}" for draft in drafts]
    return Applied(
        created=tuple(outcome.label for outcome in changed if outcome.created),
        replaced=tuple(outcome.label for outcome in changed if not outcome.created),
        unchanged=tuple(label for label in labels if label not in touched),
    )


class Acceptance:
    """One change, within the write transaction of ``connection``; ``shelf`` and ``serials`` are caught up
    with it. The shelf is not touched: who commits places the outcomes."""

    def __init__(
        self,
        connection: Connection,
        shelf: Shelf,
        serials: Serials,
        pseudonymise: members.Pseudonymise,
        billed: Billed,
    ) -> None:
        self._connection = connection
        self._shelf = shelf
        self._serials = serials
        self._pseudonymise = pseudonymise
        self._billed = billed
        self._people: dict[Key, list[bytes]] = {}

    def accept(self, drafts: Sequence[Draft], dropped: Iterable[Key] = ()) -> list[Outcome]:
        """Take ``drafts`` and archive ``dropped``. Raises Invalid or Conflict; then nothing was written."""
        drafts = [*drafts, *self._implied(drafts)]
        before = self._shelf.held
        gone = {key: Held(before[key].draft, archived=True) for key in dropped}
        # Laid over what is there, not copied: a catalogue may hold 100 000 documents.
        merged = ChainMap(gone, {draft.key: Held(draft) for draft in drafts}, before)
        changed = [*gone, *(draft.key for draft in drafts)]
        problems = examine(merged, affected(changed, before))
        if problems:
            raise Invalid(problems)
        for draft in drafts:
            self._refuse_fixed(draft)
        revision = self._shelf.revision + 1
        outcomes = [self._outcome(draft, merged, revision) for draft in drafts]
        outcomes += [self._gone(held, revision) for held in gone.values()]
        self._write([outcome for outcome in outcomes if outcome.changed], revision)
        return outcomes

    def _implied(self, drafts: Sequence[Draft]) -> list[Draft]:
        names = missing_advertisers(drafts, self._shelf.held)
        return [read("advertiser", name, {})[0][0] for name in names]

    def _gone(self, held: Held, revision: int) -> Outcome:
        before = self._shelf.entry(held.draft.key)
        assert before is not None
        changed = not before.held.archived
        return Outcome(Entry(held, before.etag, revision if changed else before.revision), before, changed)

    def _outcome(self, draft: Draft, merged: Mapping[Key, Held], revision: int) -> Outcome:
        body, etag = draft.body, draft.digest
        if isinstance(draft.subject, Audience):
            draft, body, etag = self._audience(draft, draft.subject, merged)
        before = self._shelf.entry(draft.key)
        if before is not None and not before.held.archived and before.etag == etag:
            return Outcome(before, before, changed=False)
        return Outcome(Entry(Held(kept(draft, body)), etag, revision), before, changed=True)

    # -- audiences -------------------------------------------------------------------------------

    def _audience(
        self, draft: Draft, audience: Audience, merged: Mapping[Key, Held]
    ) -> tuple[Draft, dict[str, object], str]:
        """The audience with its user space and the number of its members; their digest is in the etag."""
        space = audience.user_space
        if not space:
            publisher = merged["publisher", audience.owner].draft.subject
            assert isinstance(publisher, Publisher)
            space = publisher.user_space
        people = self._members(draft, space)
        body = draft.body | {"user_space": space, "members": len(people)}
        rebuilt = read("audience", draft.full_id, body, kept=True)[0][0]
        return rebuilt, body, digest_of(body, members.digest(people))

    def _members(self, draft: Draft, space: str) -> list[bytes]:
        before = self._shelf.entry(draft.key)
        if draft.users is not None:
            people = members.pseudonyms(draft.users, space, self._pseudonymise)
            self._people[draft.key] = people
            return people
        if before is None:
            return []
        earlier = before.held.draft.subject
        assert isinstance(earlier, Audience)
        people = members.of_audience(self._connection, self._serials.of("audience", draft.full_id))
        if people and earlier.user_space != space:
            message = f"changes from {earlier.user_space}, whose ids the members were; name the users again"
            raise Invalid([Problem("user_space", message, f"audience {draft.full_id}")])
        return people

    # -- what is fixed once something was billed -------------------------------------------------

    def _refuse_fixed(self, draft: Draft) -> None:
        before = self._shelf.held.get(draft.key)
        if before is None or not isinstance(draft.subject, Advertiser | Campaign | Publisher):
            return
        changed = [name for name in _FIXED if _changes(name, before.draft, draft)]
        if changed and self._was_billed(draft):
            raise Conflict(
                f"the {changed[0]} of the {draft.kind} {draft.full_id} cannot change any more: "
                "something was billed in it"
            )

    def _was_billed(self, draft: Draft) -> bool:
        if draft.kind in ("campaign", "publisher"):
            return self._billed(draft.kind, draft.full_id)
        prefix = f"{draft.full_id}/"
        return any(
            self._billed(kind, name)
            for kind, name in self._shelf.held
            if kind == "campaign" and name.startswith(prefix)
        )

    # -- writing ---------------------------------------------------------------------------------

    def _write(self, outcomes: list[Outcome], revision: int) -> None:
        if not outcomes:
            return
        drafts = [outcome.entry.held.draft for outcome in outcomes]
        for wanted in (wanted_identities, lambda draft: wanted_versions(draft, self._serials)):
            self._serials.give(self._connection, [name for draft in drafts for name in wanted(draft)])
            self._serials.refresh(self._connection)
        self._upsert(OBJECTS, [_row(outcome.entry) for outcome in outcomes])
        for draft in drafts:
            if isinstance(draft.subject, Campaign):
                self._creatives(draft)
            people = self._people.get(draft.key)
            if people is not None:
                members.replace_all(self._connection, self._serials.of("audience", draft.full_id), people)
        self._connection.execute(update(CATALOGUE).values(revision=revision))

    def _creatives(self, draft: Draft) -> None:
        """Keep what a click needs, for as long as there may be clicks: for ever."""
        campaign = link_campaign(draft, self._serials)
        line_items = [
            {"serial": line_item.serial, "body": pack_line_item(line_item)}
            for line_item in campaign.line_items
        ]
        creatives = [
            {
                "serial": creative.serial,
                "line_item": line_item.serial,
                "campaign": draft.full_id,
                "body": pack_creative(creative),
            }
            for line_item in campaign.line_items
            for creative in line_item.creatives
        ]
        self._upsert(LINE_ITEMS, line_items)
        self._upsert(CREATIVES, creatives)

    def _upsert(self, table: Table, rows: list[dict[str, object]]) -> None:
        if not rows:
            return
        statement = insert(table)
        keys = [column.name for column in table.primary_key]
        values = {column.name: column for column in statement.excluded if column.name not in keys}
        self._connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values), rows)


def _row(entry: Entry) -> dict[str, object]:
    draft = entry.held.draft
    return {
        "kind": draft.kind,
        "full_id": draft.full_id,
        "body": canonical(draft.body),
        "etag": entry.etag,
        "archived": entry.held.archived,
        "revision": entry.revision,
    }


def _changes(name: str, before: Draft, after: Draft) -> bool:
    """An advertiser that said nothing of its currency or zone may say it for the first time."""
    old, new = getattr(before.subject, name), getattr(after.subject, name)
    return old != new and (before.kind == "campaign" or name in before.body)
