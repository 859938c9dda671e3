"""What only the whole catalogue can tell: whether what documents name exists and fits.

A change of one document may break another. Who calls names the documents whose soundness a change may have
touched; what they refer to is looked up one by one (``Lookup``), so a change of one costs the same in a
catalogue of any size.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, Protocol

from msgspec import Struct

from adserver.catalog.drafts import Draft, Key
from adserver.catalog.findings import shown, suggestion
from adserver.domain import limits
from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.changes import Kind, Problem
from adserver.domain.inventory import Audience

_COMPARED: Final = 2000
_SUGGESTIONS: Final = 20
"""Looking for close names is slow; a document with more dangling references has another problem."""


class Held(Struct, frozen=True):
    """An object of the catalogue under examination."""

    draft: Draft
    archived: bool = False


class Lookup(Protocol):
    """The catalogue that documents are examined against."""

    def get(self, key: Key) -> Held | None:
        """The object, archived or not."""
        ...

    def names(self, kind: Kind, owner: str | None, most: int) -> list[str]:
        """Full ids of a kind, archived ones too; ``owner`` narrows to one's own."""
        ...


class Documents:
    """A catalogue of what stands in ``held``, and of ``beneath`` where that says nothing."""

    def __init__(self, held: Mapping[Key, Held], beneath: Lookup | None = None) -> None:
        self._held = held
        self._beneath = beneath

    def get(self, key: Key) -> Held | None:
        found = self._held.get(key)
        return found if found is not None or self._beneath is None else self._beneath.get(key)

    def names(self, kind: Kind, owner: str | None, most: int) -> list[str]:
        prefix = "" if owner is None else f"{owner}/"
        own = (name for held, name in self._held if held == kind and name.startswith(prefix))
        found = list(islice(own, most))
        return found if self._beneath is None else [*self._beneath.names(kind, owner, most), *found]


class Examination:
    """Examines documents once; problems name the document by its full id."""

    def __init__(self, held: Lookup) -> None:
        self._held = held
        self._suggestions: dict[Key, str] = {}
        self.problems: list[Problem] = []

    def run(self, items: Iterable[Held]) -> list[Problem]:
        for item in items:
            if item.archived:
                continue
            draft = item.draft
            if draft.kind == "campaign":
                self._campaign(draft)
            elif draft.kind in ("audience", "placement"):
                self._owner(draft)
            elif draft.kind != "rates":
                self._one_kind_of_owner(draft)
        return self.problems

    def _one_kind_of_owner(self, draft: Draft) -> None:
        """Advertisers and publishers share their ids, archived ones included. Said once of a pair."""
        other: Kind = "publisher" if draft.kind == "advertiser" else "advertiser"
        found = self._held.get((other, draft.full_id))
        if found is not None and (found.archived or draft.kind == "publisher"):
            article = "an" if other == "advertiser" else "a"
            message = (
                f"{shown(draft.full_id)} is {article} {other}; advertisers and publishers share their ids"
            )
            self._add(draft, draft.kind, message)

    def _campaign(self, draft: Draft) -> None:
        campaign = draft.subject
        assert isinstance(campaign, Campaign)
        self._owner(draft)
        owner = self._held.get(("advertiser", campaign.advertiser))
        if owner is not None and isinstance(owner.draft.subject, Advertiser):
            self._currency(draft, campaign, owner.draft.subject)
        for reference in draft.references:
            self._reference(draft, reference.path, _kind(reference.kind), reference.full_id)

    def _currency(self, draft: Draft, campaign: Campaign, advertiser: Advertiser) -> None:
        budget = advertiser.budget
        limited = advertiser.prepaid or budget.daily_nanos is not None or budget.lifetime_nanos is not None
        if limited and campaign.currency and advertiser.currency and campaign.currency != advertiser.currency:
            what = "wallet" if advertiser.prepaid else "budget"
            self._add(
                draft,
                "currency",
                f"is {campaign.currency}, but the advertiser's {what} is in {advertiser.currency}; "
                f"one {what} has one currency",
            )

    def _reference(self, draft: Draft, path: str, kind: Kind, full_id: str) -> None:
        found = self._held.get((kind, full_id))
        owner = full_id.partition("/")[0]
        own = kind != "audience" or owner == draft.full_id.partition("/")[0]
        if found is None or not (own or _of_publisher(found)):
            self._add(draft, path, f"there is no {kind} {shown(full_id)}{self._suggest(kind, full_id)}")
        elif found.archived and kind == "audience":
            self._add(draft, path, f"the audience {shown(full_id)} is archived; put it again or leave it out")

    def _owner(self, draft: Draft) -> None:
        kind = _owner_kind(draft)
        name = draft.full_id.partition("/")[0]
        found = self._held.get((kind, name))
        if found is None:
            self._add(draft, kind, f"there is no {kind} {shown(name)}{self._suggest(kind, name)}")
        elif found.archived:
            self._add(draft, kind, f"the {kind} {shown(name)} is archived; put it again first")

    def _suggest(self, kind: Kind, full_id: str) -> str:
        key = (kind, full_id)
        if key not in self._suggestions:
            if len(self._suggestions) >= _SUGGESTIONS:
                return ""
            self._suggestions[key] = suggestion(full_id, self._names(kind, full_id))
        return self._suggestions[key]

    def _names(self, kind: Kind, full_id: str) -> list[str]:
        """What may have been meant: the same owner's things, or else the first of all."""
        own = self._held.names(kind, full_id.partition("/")[0], _COMPARED)
        return (own or self._held.names(kind, None, _COMPARED))[:_COMPARED]

    def _add(self, draft: Draft, path: str, message: str) -> None:
        if len(self.problems) >= limits.PROBLEMS_PER_DOCUMENT:
            return
        where = f"{draft.path}.{path}" if draft.path else path
        self.problems.append(Problem(where, message, f"{draft.kind} {draft.full_id}"))


def _kind(name: str) -> Kind:
    kinds: dict[str, Kind] = {"publisher": "publisher", "placement": "placement", "audience": "audience"}
    return kinds[name]


def _owner_kind(draft: Draft) -> Kind:
    if draft.kind == "placement":
        return "publisher"
    if isinstance(draft.subject, Audience):
        return draft.subject.owner_kind
    return "advertiser"


def _of_publisher(held: Held) -> bool:
    return isinstance(held.draft.subject, Audience) and held.draft.subject.owner_kind == "publisher"


def concerned(draft: Draft) -> Iterator[Key]:
    """The objects that examining a draft asks for."""
    if draft.kind == "rates":
        return
    yield (_owner_kind(draft), draft.full_id.partition("/")[0])
    for reference in draft.references:
        yield (_kind(reference.kind), reference.full_id)


def examine(held: Mapping[Key, Held]) -> list[Problem]:
    """Every problem between the documents of a catalogue."""
    return Examination(Documents(held)).run(held.values())


def missing_advertisers(drafts: Iterable[Draft], held: Lookup) -> list[str]:
    """Advertisers that campaigns name and nobody described: they have only their id."""
    named = {draft.full_id.partition("/")[0]: None for draft in drafts if draft.kind == "campaign"}
    described = {draft.full_id for draft in drafts if draft.kind == "advertiser"}
    return [
        name
        for name in named
        if name not in described
        and held.get(("advertiser", name)) is None
        and held.get(("publisher", name)) is None
    ]


def placed(problems: Iterable[Problem], document: str) -> list[Problem]:
    """Problems as the writer of ``document`` reads them: only those of other documents name theirs."""
    return [
        Problem(problem.path, problem.message) if problem.document == document else problem
        for problem in problems
    ]
