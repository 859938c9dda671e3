"""Accepting changes: one write transaction in which drafts are examined against everything the catalog
holds, and then written all together or not at all.

Only those documents are examined whose soundness the change may touch. What is accepted moves the revision
once. An object whose content stays the same is not written and does not move it, so applying a folder
again, or repeating a PUT, changes nothing and reloads no server.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import orjson
from msgspec import Struct
from msgspec.structs import asdict, replace
from sqlalchemy import Connection, Table, update

from adserver.catalog import dialects, former, members
from adserver.catalog.drafts import Draft, Key, canonical, digest_of, read
from adserver.catalog.linking import (
    link_campaign,
    pack_creative,
    pack_line_item,
    wanted_identities,
    wanted_versions,
)
from adserver.catalog.objects import Objects, Row
from adserver.catalog.serials import Serials, Space
from adserver.catalog.tables import CATALOGUE, CREATIVES, LINE_ITEMS, OBJECTS, newest
from adserver.catalog.whole import Documents, Examination, Held, concerned, missing_advertisers
from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.changes import Applied, Conflict, Invalid, Problem
from adserver.domain.inventory import Audience, Publisher

Billed = Callable[[str, str], bool]
"""(kind, full id): whether anything of this campaign, or on this publisher, was ever billed."""

_FIXED: Final = ("currency", "timezone")


class Outcome(Struct, frozen=True):
    """What became of one object. ``before`` is None or archived where it was not there."""

    row: Row
    before: Row | None
    changed: bool

    @property
    def created(self) -> bool:
        return self.before is None or self.before.archived

    @property
    def label(self) -> str:
        return " ".join(self.row.key)


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
    """One change, within the write transaction of ``connection``, whose objects are ``objects``."""

    def __init__(
        self,
        connection: Connection,
        objects: Objects,
        pseudonymise: members.Pseudonymise,
        billed: Billed,
    ) -> None:
        self._connection = connection
        self._objects = objects
        self._serials = Serials()
        self._pseudonymise = pseudonymise
        self._billed = billed
        self._people: dict[Key, list[bytes]] = {}

    def accept(self, drafts: Sequence[Draft], dropped: Iterable[Row] = ()) -> list[Outcome]:
        """Take ``drafts`` and archive ``dropped``. Raises Invalid or Conflict; then nothing was written."""
        self._objects.fetch(key for draft in drafts for key in (draft.key, *concerned(draft)))
        drafts = [*drafts, *self._implied(drafts)]
        gone = [row for row in dropped if not row.archived]
        merged = self._merged(drafts, gone)
        touched = dict.fromkeys(self._touched(drafts, gone))
        problems = Examination(merged).run(
            held for held in (merged.get(key) for key in touched) if held is not None
        )
        if problems:
            raise Invalid(problems)
        for draft in drafts:
            self._refuse_fixed(draft)
        revision = newest(self._connection) + 1
        taken = [self._outcome(draft, merged, revision) for draft in drafts]
        left = [Outcome(replace(row, archived=True, revision=revision), row, True) for row in gone]
        changed = [(draft, outcome) for draft, outcome in zip(drafts, taken, strict=True) if outcome.changed]
        self._write(changed, left, revision)
        return taken + left

    def _implied(self, drafts: Sequence[Draft]) -> list[Draft]:
        names = missing_advertisers(drafts, self._objects)
        return [read("advertiser", name, {})[0][0] for name in names]

    def _merged(self, drafts: Sequence[Draft], gone: Sequence[Row]) -> Documents:
        """The catalogue as it would be."""
        held = {draft.key: Held(draft) for draft in drafts}
        for row in gone:
            before = self._objects.get(row.key)
            assert before is not None
            held[row.key] = Held(before.draft, archived=True)
        return Documents(held, self._objects)

    def _touched(self, drafts: Sequence[Draft], gone: Sequence[Row]) -> Iterator[Key]:
        """The documents that the change may have broken: its own, the owner of the same id, the campaigns
        that share an advertiser's budget, and those that target an audience that goes."""
        for draft in drafts:
            yield draft.key
            if isinstance(draft.subject, Advertiser):
                yield ("publisher", draft.full_id)
                if draft.subject.currency:
                    yield from self._objects.in_other_currency(draft.full_id, draft.subject.currency)
            elif isinstance(draft.subject, Publisher):
                yield ("advertiser", draft.full_id)
        for row in gone:
            if row.kind == "audience":
                yield from self._objects.users_of(row.full_id)

    def _outcome(self, draft: Draft, merged: Documents, revision: int) -> Outcome:
        body, etag = draft.body, draft.digest
        if isinstance(draft.subject, Audience):
            body, etag = self._audience(draft, draft.subject, merged)
        before = self._objects.row(draft.key)
        if before is not None and not before.archived and before.etag == etag:
            return Outcome(before, before, changed=False)
        row = Row(draft.kind, draft.full_id, canonical(body), etag, False, revision)
        return Outcome(row, before, changed=True)

    # -- audiences -------------------------------------------------------------------------------

    def _audience(self, draft: Draft, audience: Audience, merged: Documents) -> tuple[dict[str, object], str]:
        """The body with the user space and the number of members; their digest is in the etag."""
        space = audience.user_space
        if not space:
            owner = merged.get(("publisher", audience.owner))
            assert owner is not None and isinstance(owner.draft.subject, Publisher)
            space = owner.draft.subject.user_space
        people = self._members(draft, space)
        body = draft.body | {"user_space": space, "members": len(people)}
        return body, digest_of(body, members.digest(people))

    def _members(self, draft: Draft, space: str) -> list[bytes]:
        if draft.users is not None:
            people = members.pseudonyms(draft.users, space, self._pseudonymise)
            self._people[draft.key] = people
            return people
        before = self._objects.get(draft.key)
        if before is None:
            return []
        earlier = before.draft.subject
        assert isinstance(earlier, Audience)
        people = members.of_audience(self._connection, self._serial("audience", draft.full_id))
        if people and earlier.user_space != space:
            message = f"changes from {earlier.user_space}, whose ids the members were; name the users again"
            raise Invalid([Problem("user_space", message, f"audience {draft.full_id}")])
        return people

    def _serial(self, space: Space, name: str) -> int:
        self._serials.learn(self._connection, [(space, name)])
        return self._serials.of(space, name)

    # -- what is fixed once something was billed -------------------------------------------------

    def _refuse_fixed(self, draft: Draft) -> None:
        if not isinstance(draft.subject, Advertiser | Campaign | Publisher):
            return
        before = self._objects.row(draft.key)
        if before is None:
            return
        said = orjson.loads(before.body)
        if all(said.get(name) == draft.body.get(name) for name in _FIXED):
            return
        # Also of a document that another version of the program wrote: it can only be mended by replacing it.
        earlier = read(before.kind, before.full_id, said, kept=True)[0][0]
        changed = [name for name in _FIXED if _changes(name, earlier, draft)]
        if changed and self._was_billed(draft):
            raise Conflict(
                f"the {changed[0]} of the {draft.kind} {draft.full_id} cannot change any more: "
                "something was billed in it"
            )

    def _was_billed(self, draft: Draft) -> bool:
        if draft.kind in ("campaign", "publisher"):
            return self._billed(draft.kind, draft.full_id)
        return any(self._billed("campaign", name) for name in self._objects.names("campaign", draft.full_id))

    # -- writing ---------------------------------------------------------------------------------

    def _write(self, taken: list[tuple[Draft, Outcome]], left: list[Outcome], revision: int) -> None:
        if not taken and not left:
            return
        drafts = [draft for draft, _ in taken]
        for wanted in (wanted_identities, lambda draft: wanted_versions(draft, self._serials)):
            self._serials.give(self._connection, [name for draft in drafts for name in wanted(draft)])
        outcomes = [*(outcome for _, outcome in taken), *left]
        former.keep(self._connection, [(o.before, o.row) for o in outcomes if o.before is not None])
        self._upsert(OBJECTS, [asdict(outcome.row) for outcome in outcomes])
        line_items, creatives = [], []
        for draft in drafts:
            if isinstance(draft.subject, Campaign):
                kept = link_campaign(draft, self._serials)
                line_items += _line_item_rows(kept)
                creatives += _creative_rows(draft.full_id, kept)
            people = self._people.get(draft.key)
            if people is not None:
                members.replace_all(self._connection, self._serials.of("audience", draft.full_id), people)
        # What a click needs is kept for as long as there may be clicks: for ever.
        self._upsert(LINE_ITEMS, line_items)
        self._upsert(CREATIVES, creatives)
        self._connection.execute(update(CATALOGUE).values(revision=revision))

    def _upsert(self, table: Table, rows: list[dict[str, object]]) -> None:
        if not rows:
            return
        statement = dialects.insert(self._connection, table)
        keys = [column.name for column in table.primary_key]
        values = {column.name: column for column in statement.excluded if column.name not in keys}
        self._connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values), rows)


def _line_item_rows(campaign: Campaign) -> list[dict[str, object]]:
    return [
        {"serial": line_item.serial, "body": pack_line_item(line_item)} for line_item in campaign.line_items
    ]


def _creative_rows(name: str, campaign: Campaign) -> list[dict[str, object]]:
    return [
        {
            "serial": creative.serial,
            "line_item": line_item.serial,
            "campaign": name,
            "body": pack_creative(creative),
        }
        for line_item in campaign.line_items
        for creative in line_item.creatives
    ]


def _changes(name: str, before: Draft, after: Draft) -> bool:
    """An advertiser that said nothing of its currency or zone may say it for the first time."""
    old, new = getattr(before.subject, name), getattr(after.subject, name)
    return old != new and (before.kind == "campaign" or name in before.body)
