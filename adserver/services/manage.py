"""Changing the catalogue, and who may: operators everything, advertisers and publishers what is theirs.

An object of somebody else's does not exist for a key: every refusal of that kind is the same 404.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, Protocol, TypeVar

from adserver.domain import ids
from adserver.domain.changes import Conflict, Invalid, Kind, Mismatch, Problem, Stored, Unread, Unwritten
from adserver.services.refusals import Refused

T = TypeVar("T")

PAGE: Final = 100
PAGE_MAX: Final = 1000

_AUDIENCE_MEANT: Final = re.compile(r'; did you mean "([^"/]*/[^"]*)"\?\Z')
_OWNERS: Final = ("advertiser", "publisher")
_OPERATORS_ALONE: Final = ("revenue_share", "billing")
"""Fields of theirs that they cannot change: what was agreed with the operator."""


class Store(Protocol):
    """The catalog. Blocking: called from a thread. Raises Invalid, Mismatch, Conflict; Unread,
    Unwritten where that helps to try again."""

    def get(self, kind: Kind, full_id: str) -> Stored | None: ...
    def put(
        self,
        kind: Kind,
        full_id: str,
        body: dict[str, object],
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """``if_match``: the header's text."""
        ...

    def archive(self, kind: Kind, full_id: str, if_match: str | None = None) -> bool: ...
    def list(self, kind: Kind, owner: str | None, after: str | None, limit: int) -> Sequence[Stored]: ...


class Delivery(Protocol):
    def of(self, campaign: str) -> dict[str, Any] | None:
        """The numbers of a campaign (full id), at most a second old; None if it was never known."""
        ...


class Who(Protocol):
    """The holder of a key."""

    @property
    def role(self) -> str: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def read_prices(self) -> bool: ...


class Manage:
    """``parse``: a document's bytes -> plain values, strictly (raises Invalid). ``changed`` is called after
    every accepted change, from the event loop, before it is acknowledged."""

    def __init__(
        self,
        store: Store,
        parse: Callable[[bytes], dict[str, object]],
        delivery: Delivery,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._parse = parse
        self._delivery = delivery
        self._changed = changed
        self._writing = asyncio.Lock()

    async def get(self, who: Who, kind: Kind, owner_kind: str, path: tuple[str, ...]) -> Stored:
        """``path``: the ids down to the object, the owner's first. Raises Refused."""
        full_id = visible(who, owner_kind, path)
        stored = await _read(self._store.get, kind, full_id)
        if stored is None or stored.archived or not _belongs(stored, kind, owner_kind):
            absent()
        return stored

    async def put(
        self,
        who: Who,
        kind: Kind,
        owner_kind: str,
        path: tuple[str, ...],
        raw: bytes,
        if_match: str | None,
        if_none_match: bool,
    ) -> Stored:
        """Create or replace; live within 2 s. Raises Refused."""
        full_id = visible(who, owner_kind, path)
        _check_slugs(path)
        body = await asyncio.to_thread(_asked, self._parse, raw)
        if kind == "audience":
            body = _owned(owner_kind, path[0], body)
        async with self._writing:
            await self._check_place(who, kind, owner_kind, full_id, body)
            put = self._store.put
            stored: Stored = await asyncio.to_thread(
                _told, who, put, kind, full_id, body, if_match, if_none_match
            )
        self._changed()
        return stored

    async def archive(
        self, who: Who, kind: Kind, owner_kind: str, path: tuple[str, ...], if_match: str | None
    ) -> None:
        """Its counters and its id outlive it. Raises Refused."""
        full_id = (await self.get(who, kind, owner_kind, path)).full_id
        if kind in _OWNERS and who.role != "operator":
            raise Refused(403, f"a {kind} is archived by operators")
        async with self._writing:
            gone = await asyncio.to_thread(_told, who, self._store.archive, kind, full_id, if_match)
        if not gone:
            absent()
        self._changed()

    async def listed(
        self, who: Who, kind: Kind, owner_kind: str, owner: str | None, after: str | None, limit: int
    ) -> tuple[list[Stored], str | None]:
        """Objects by full id, behind ``after``, and where the next page begins (None: nothing behind).
        ``owner`` None: all advertisers or publishers; a key sees its own. Raises Refused."""
        if owner is not None:
            visible(who, owner_kind, (owner,))
        elif who.role != "operator":
            return await self._own(who, kind, owner_kind, after), None
        found = await _read(self._store.list, kind, owner, after, limit)
        shown = [stored for stored in found if not stored.archived and _belongs(stored, kind, owner_kind)]
        return shown, found[-1].full_id if len(found) == limit else None

    async def _own(self, who: Who, kind: Kind, owner_kind: str, after: str | None) -> list[Stored]:
        if who.role != owner_kind or not who.owner or (after is not None and who.owner <= after):
            return []
        stored = await _read(self._store.get, kind, who.owner)
        return [] if stored is None or stored.archived else [stored]

    async def delivery(self, who: Who, path: tuple[str, ...]) -> dict[str, Any]:
        """What a campaign has delivered (archived ones too). Raises Refused."""
        numbers = self._delivery.of(visible(who, "advertiser", path))
        if numbers is None:
            absent()
        return numbers

    async def _check_place(
        self, who: Who, kind: Kind, owner_kind: str, full_id: str, body: dict[str, object]
    ) -> None:
        """Only operators create advertisers and publishers, and change what was agreed with them; an
        audience's id may be the other owner's."""
        if kind not in _OWNERS and kind != "audience":
            return
        stored = await _read(self._store.get, kind, full_id)
        if kind in _OWNERS and who.role != "operator" and (stored is None or stored.archived):
            raise Refused(403, f"a {kind} is created by operators")
        if kind in _OWNERS and who.role != "operator" and stored is not None:
            for name in _OPERATORS_ALONE:
                if body.get(name) != stored.body.get(name):
                    raise Refused(403, f"{name} is changed by operators: leave it as it is")
        if stored is not None and not _belongs(stored, kind, owner_kind):
            raise Refused(409, "this id is taken")


def visible(who: Who, owner_kind: str, path: tuple[str, ...]) -> str:
    """The full id, if this key may know of it. Raises Refused (404)."""
    if who.role != "operator" and (who.role != owner_kind or who.owner != path[0]):
        absent()
    return "/".join(path)


def _belongs(stored: Stored, kind: Kind, owner_kind: str) -> bool:
    """An audience's full id does not tell whether its owner is an advertiser or a publisher."""
    return kind != "audience" or owner_kind in stored.body


def _owned(owner_kind: str, owner: str, body: dict[str, object]) -> dict[str, object]:
    """The path says whose an audience is; a body may not say otherwise. Raises Refused."""
    other = "publisher" if owner_kind == "advertiser" else "advertiser"
    if body.get(owner_kind, owner) != owner:
        raise Refused(
            400, "the body is of another owner", [(owner_kind, f'must be "{owner}", as in the path')]
        )
    if other in body:
        raise Refused(400, "the body is of another owner", [(other, f"this path is of a {owner_kind}")])
    return {owner_kind: owner, **body}


def _check_slugs(path: tuple[str, ...]) -> None:
    bad = [part for part in path if not ids.SLUG.match(part)]
    if bad:
        raise Refused(400, "not an id", [("", "ids are lower-case: [a-z0-9][a-z0-9._-]{0,63}")])


def absent() -> NoReturn:
    raise Refused(404, "no such object")


def _asked(parse: Callable[[bytes], dict[str, object]], raw: bytes) -> dict[str, object]:
    try:
        return parse(raw)
    except Invalid as error:
        raise _invalid(error) from error


async def _read(ask: Callable[..., T], *arguments: Any) -> T:
    """What the catalog says, or that it cannot be asked now."""
    try:
        return await asyncio.to_thread(ask, *arguments)
    except Unread as error:
        raise Refused(503, str(error)) from error


def _told(who: Who, change: Callable[..., Any], kind: Kind, full_id: str, *arguments: Any) -> Any:
    """Make a change; what the catalog refuses becomes the caller's answer."""
    try:
        return change(kind, full_id, *arguments)
    except Invalid as error:
        raise _invalid(error, who, full_id) from error
    except Mismatch as error:
        raise Refused(412, str(error)) from error
    except (Unread, Unwritten) as error:
        raise Refused(503, str(error)) from error
    except Conflict as error:
        # It may name who uses the object: other people's ids are nobody's business.
        told = str(error) if who.role == "operator" or kind == "campaign" else f"this {kind} is in use"
        raise Refused(409, told) from error


def _invalid(error: Invalid, who: Who | None = None, full_id: str = "") -> Refused:
    errors = dict.fromkeys(_problem(problem, who, full_id) for problem in error.problems)
    return Refused(400, "the document is not valid; nothing was changed", errors)


def _problem(problem: Problem, who: Who | None, full_id: str) -> tuple[str, str]:
    """(path, message). A problem in another document, which the change would break, names that document,
    unless it is somebody else's."""
    place = problem.document.partition(" ")[2] or problem.document
    strange = who is not None and who.role != "operator"
    if place in ("", full_id):
        return problem.path, _discreet(problem.message, who) if strange else problem.message
    if not strange or _owns(who, place):
        return f"{problem.document}: {problem.path}", problem.message
    return "", "somebody else's object depends on what this would change"


def _discreet(message: str, who: Who | None) -> str:
    """Suggestions are made from the whole catalogue; other people's audiences are none."""
    meant = _AUDIENCE_MEANT.search(message) if message.startswith("there is no audience") else None
    return message if meant is None or _owns(who, meant[1]) else message[: meant.start()]


def _owns(who: Who | None, full_id: str) -> bool:
    return who is not None and full_id.partition("/")[0] == who.owner
