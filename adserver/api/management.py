"""Management: what advertisers and publishers own, as JSON documents (API.md section 3)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from adserver.api import answers
from adserver.api.messages import JSON, NO_STORE, Reply, check_media_type
from adserver.api.pages import Asked, Operation, Unbuilt
from adserver.domain.changes import Kind, Stored
from adserver.services.manage import PAGE, PAGE_MAX, Manage
from adserver.services.refusals import Refused

_ENCODER: Final = msgspec.json.Encoder()

_PLACES: Final[tuple[tuple[Kind, str, str], ...]] = (
    ("advertiser", "advertiser", "/v1/advertisers"),
    ("campaign", "advertiser", "/v1/advertisers/{owner}/campaigns"),
    ("audience", "advertiser", "/v1/advertisers/{owner}/audiences"),
    ("publisher", "publisher", "/v1/publishers"),
    ("placement", "publisher", "/v1/publishers/{owner}/placements"),
    ("audience", "publisher", "/v1/publishers/{owner}/audiences"),
)
"""(kind, kind of its owner, path of the collection)."""

_LISTED: Final = {
    "after": "the full id behind which to begin: `next` of the page before",
    "limit": f"at most this many, 1 to {PAGE_MAX} (default {PAGE})",
}

VERBS: Final = tuple(
    Unbuilt(f"{collection}/{{id}}:{{verb}}", "this verb (pause, resume, kill)")
    for _kind, _owner_kind, collection in _PLACES
)
"""Verbs of the contract whose issues are yet to come; they stand before the objects' own paths."""

UNBUILT: Final = (
    Unbuilt("/v1/advertisers/{owner}/campaigns:bulk", "bulk upload"),
    Unbuilt("/v1/advertisers/{owner}/audiences/{id}/members", "upload of members"),
    Unbuilt("/v1/publishers/{owner}/audiences/{id}/members", "upload of members"),
    Unbuilt("/v1/publishers/{owner}/reviews", "review"),
    Unbuilt("/v1/advertisers/{owner}/campaigns/{id}/{rest:path}", "management of parts of a campaign"),
    Unbuilt("/v1/keys", "management of keys (use `adserver keys`)"),
    Unbuilt("/v1/keys/{id}", "management of keys (use `adserver keys`)"),
    Unbuilt("/v1/forecast", "forecasting"),
    Unbuilt("/v1/previews", "previews"),
    Unbuilt("/v1/signals", "signals"),
    Unbuilt("/openrtb2/auction", "OpenRTB"),
)
"""Paths of the contract whose issues are yet to come."""

Act = Callable[[Asked], Awaitable[Reply]]


def operations(manage: Manage) -> list[Operation]:
    """Everything of section 3 that is built."""
    served = []
    for kind, owner_kind, collection in _PLACES:
        served += _Objects(manage, kind, owner_kind, collection).operations()
    served += _Rates(manage, "rates", "operator", "/v1/rates").operations()
    served.append(_delivery(manage))
    return served


class _Objects:
    """The operations on one kind of object under one kind of owner."""

    def __init__(self, manage: Manage, kind: Kind, owner_kind: str, collection: str) -> None:
        self._manage = manage
        self._kind = kind
        self._owner_kind = owner_kind
        self._collection = collection

    def operations(self) -> list[Operation]:
        kind, one = self._kind, f"{self._collection}/{{id}}"
        return [
            self._operation("GET", self._collection, f"List {kind}s", self._list, {200: answers.Listed}),
            self._operation("GET", one, f"Read {_a(kind)}", self._get, {200: dict[str, Any], 404: "absent"}),
            self._operation("PUT", one, f"Create or replace {_a(kind)}", self._put, _PUT_ANSWERS),
            self._operation(
                "DELETE", one, f"Archive {_a(kind)}", self._delete, {204: "archived", 404: "absent"}
            ),
        ]

    def _operation(
        self, method: str, path: str, summary: str, act: Act, answered: dict[int, Any]
    ) -> Operation:
        request = dict[str, Any] if method == "PUT" else None
        query = _LISTED if act == self._list else {}
        tag = f"{self._owner_kind}s"
        return Operation(method, path, summary, tag, act, answered, request, True, query)

    def path(self, asked: Asked) -> tuple[str, ...]:
        """The ids down to the object."""
        return path_of(asked)

    async def _get(self, asked: Asked) -> Reply:
        stored = await self._manage.get(who(asked), self._kind, self._owner_kind, self.path(asked))
        if _etag(stored) == asked.head.header(b"if-none-match"):
            return Reply(304, ((b"etag", _etag(stored)), NO_STORE))
        return _shown(200, stored)

    async def _put(self, asked: Asked) -> Reply:
        check_media_type(asked.head)
        absent = asked.head.header(b"if-none-match")
        if absent not in (None, b"*"):
            raise Refused(400, "If-None-Match takes * alone here")
        stored = await self._manage.put(
            who(asked),
            self._kind,
            self._owner_kind,
            self.path(asked),
            asked.body,
            _if_match(asked),
            absent == b"*",
        )
        return _shown(201 if stored.created else 200, stored)

    async def _delete(self, asked: Asked) -> Reply:
        path = self.path(asked)
        await self._manage.archive(who(asked), self._kind, self._owner_kind, path, _if_match(asked))
        return Reply(204, (NO_STORE,))

    async def _list(self, asked: Asked) -> Reply:
        owner, after = asked.params.get("owner"), asked.query.get("after")
        found, behind = await self._manage.listed(
            who(asked), self._kind, self._owner_kind, owner, after, _limit(asked.query.get("limit"))
        )
        items = [stored.body for stored in found]
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(answers.Listed(items, behind)))


class _Rates(_Objects):
    """The one document of exchange rates; operators' alone."""

    def operations(self) -> list[Operation]:
        read, gone = {200: dict[str, Any], 404: "absent"}, {204: "archived", 404: "absent"}
        return [
            self._operation("GET", self._collection, "Read the exchange rates", self._get, read),
            self._operation("PUT", self._collection, "Replace the exchange rates", self._put, _PUT_ANSWERS),
            self._operation("DELETE", self._collection, "Archive them", self._delete, gone),
        ]

    def path(self, asked: Asked) -> tuple[str, ...]:
        return ("rates",)


_PUT_ANSWERS: Final = {
    201: dict[str, Any],
    200: dict[str, Any],
    400: "not valid: every problem is named, nothing was changed",
    409: "cannot be changed now",
    412: "not in the state that If-Match or If-None-Match says",
}


def _delivery(manage: Manage) -> Operation:
    async def act(asked: Asked) -> Reply:
        numbers = await manage.delivery(who(asked), path_of(asked))
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(numbers))

    path = "/v1/advertisers/{owner}/campaigns/{id}/delivery"
    said = {200: answers.DeliveryReport, 404: "absent"}
    return Operation("GET", path, "What a campaign has delivered", "advertisers", act, said, None, True)


def who(asked: Asked) -> Any:
    """The key's holder: these operations are secured, so there is one."""
    return asked.holder


def path_of(asked: Asked) -> tuple[str, ...]:
    """The ids of the path, the owner's first."""
    owner, found = asked.params.get("owner"), asked.params["id"]
    return (found,) if owner is None else (owner, found)


def _etag(stored: Stored) -> bytes:
    return b'"%s"' % stored.etag.encode("ascii")


def _if_match(asked: Asked) -> str | None:
    return asked.head.text(b"if-match").strip() or None


def _shown(status: int, stored: Stored) -> Reply:
    etag = (b"etag", _etag(stored))
    return Reply(status, (JSON, NO_STORE, etag), _ENCODER.encode(stored.body))


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= PAGE_MAX):
        raise Refused(400, "not a page size", [("limit", f"must be 1 to {PAGE_MAX}")])
    return int(text)


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] == "a" else f"a {kind}"
