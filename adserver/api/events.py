"""What publishers and browsers tell us happened: tracking URLs, batches, releases (API.md section 2)."""

import asyncio
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from adserver.api import bodies
from adserver.api.keys import holder_of
from adserver.api.messages import JSON, NO_STORE, Head, Making, Reply, check_media_type, problem
from adserver.api.peer import Peers
from adserver.api.ports import KeyFinder, Metrics, Receipts, Recorder
from adserver.domain import limits
from adserver.domain.books import JournalClosed
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.domain.verdicts import Passed, Verdict
from adserver.services.calls import Call
from adserver.services.elsewhere import Elsewhere
from adserver.services.ports import Durable
from adserver.services.refusals import Refused
from adserver.tokens import BadToken

GIF: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
    b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
"""A transparent pixel, 43 bytes."""

KINDS: Final = {
    "i": EventKind.IMPRESSION,
    "v": EventKind.VIEWABLE,
    "c": EventKind.CLICK,
    "r": EventKind.RELEASE,
    "h": EventKind.HIDE,
    "p": EventKind.REPORT,
}
"""The first segment of a tracking URL."""

_STATUS: Final = {status: status.name.lower() for status in Status}
_EVENT: Final = {status: (b"x-adserver-event", _STATUS[status].encode()) for status in Status}
_BILLED: Final = {truth: (b"x-adserver-billed", str(truth).lower().encode()) for truth in (True, False)}
_IMAGE: Final = (b"content-type", b"image/gif")
_TOLD: Final = {
    (status, billed): (_EVENT[status], _BILLED[billed], NO_STORE) for status in Status for billed in _BILLED
}
_PIXEL: Final = {verdict: (*told, _IMAGE) for verdict, told in _TOLD.items()}
"""Headers, by status and whether it was billed."""
_PURPOSES: Final = frozenset((b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"))
_INVALID: Final = Verdict(Status.INVALID)
_UNRECORDED: Final = Verdict(Status.UNRECORDED)
_TOKEN_CHARS: Final = 512

Judged = tuple[EventKind, Verdict | Passed, Durable]

Kind = Literal["impression", "viewable", "click", "hide", "report"]


class TokenEvent(Struct, frozen=True):
    """One event of a batch. ``at`` is the sender's clock, kept for nothing: ours decides."""

    token: Annotated[str, Meta(max_length=_TOKEN_CHARS)]
    type: Kind
    at: datetime | None = None


class EventBatch(Struct, frozen=True):
    events: Annotated[list[TokenEvent], Meta(min_length=1, max_length=limits.EVENTS_PER_BATCH)]


class Release(Struct, frozen=True):
    tokens: Annotated[
        list[Annotated[str, Meta(max_length=_TOKEN_CHARS)]],
        Meta(min_length=1, max_length=limits.TOKENS_PER_RELEASE),
    ]


class Result(Struct, frozen=True):
    event: str
    billed: bool


class Results(Struct, frozen=True):
    results: list[Result]


_BATCHES: Final = msgspec.json.Decoder(EventBatch)
_RELEASES: Final = msgspec.json.Decoder(Release)
_OBJECTS: Final = msgspec.json.Decoder(dict[str, Any])
_ENCODER: Final = msgspec.json.Encoder()


class Events:
    def __init__(
        self,
        recorder: Recorder,
        receipts: Receipts,
        find_key: KeyFinder,
        peers: Peers,
        metrics: Metrics,
    ) -> None:
        self._recorder = recorder
        self._receipts = receipts
        self._find_key = find_key
        self._peers = peers
        self._metrics = metrics

    def tracked(self, head: Head, body: bytes) -> tuple[Reply | Making, Durable]:
        """A tracking URL, ``/<letter>/<token>``; query and body are ignored. Raises Refused."""
        kind, text = KINDS[head.path[1]], head.path[3:]
        call = self._call(head, strict=False)
        try:
            if head.method == "HEAD":
                verdict, durable = self._recorder.peek(text, kind, call)
            else:
                verdict, durable = self._told(text, kind, call)
        except BadToken:
            self._metrics.event(kind, Status.INVALID, False)
            return _unknown(), None
        if isinstance(verdict, Passed):
            return partial(self._answered, kind, head.method, verdict), durable
        return self._answer(kind, head.method, verdict), durable

    def _answered(self, kind: EventKind, method: str, passed: Passed) -> Reply:
        return self._answer(kind, method, passed.verdict)

    def _answer(self, kind: EventKind, method: str, verdict: Verdict) -> Reply:
        if method != "HEAD" or verdict.status is Status.INVALID:
            self._metrics.event(kind, verdict.status, verdict.billed)
        return answer(kind, method, verdict)

    async def batch(self, head: Head, body: bytes) -> Reply:
        """``POST /v1/events``: a verdict each, in order. Without room for all of them 503: sent again, those
        that were counted are duplicates. Raises Refused."""
        check_media_type(head)
        asked = bodies.decode(_BATCHES, body)
        call = self._call(head, batched=True)
        return await self._results(
            [await self._judged(event.token, EventKind[event.type.upper()], call) for event in asked.events]
        )

    async def release(self, head: Head, body: bytes) -> Reply:
        """``POST /v1/release``: a verdict each, in order. Raises Refused."""
        check_media_type(head)
        asked = bodies.decode(_RELEASES, body)
        call = self._call(head)
        return await self._results(
            [await self._judged(text, EventKind.RELEASE, call) for text in asked.tokens]
        )

    async def verify(self, head: Head, body: bytes) -> Reply:
        """``POST /v1/receipts:verify``. Raises Refused."""
        check_media_type(head)
        # A session's receipts may be thousands: not on the loop.
        return await asyncio.to_thread(self._verified, body)

    def _verified(self, body: bytes) -> Reply:
        asked = bodies.decode(_OBJECTS, body)
        try:
            found = self._receipts.verify(asked)
        except ValueError as error:
            raise Refused(400, "these receipts cannot be checked", [("", str(error))]) from error
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(found))

    async def _judged(self, text: str, kind: EventKind, call: Call) -> Judged:
        """The verdict on one of many, whatever it is."""
        while True:
            try:
                return kind, *self._told(text, kind, call)
            except BadToken:
                return kind, _INVALID, None
            except Elsewhere as missing:
                await missing.bring()

    async def _results(self, told: list[Judged]) -> Reply:
        """Once all of it is durable."""
        for _, _, durable in told:
            if durable is not None:
                await asyncio.shield(durable)
        verdicts = list[Verdict]()
        for kind, reached, _ in told:
            verdict = reached.verdict if isinstance(reached, Passed) else reached
            self._metrics.event(kind, verdict.status, verdict.billed)
            verdicts.append(verdict)
        if any(verdict.status is Status.UNRECORDED for verdict in verdicts):
            return _no_room()
        results = Results([Result(_STATUS[verdict.status], verdict.billed) for verdict in verdicts])
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(results))

    def _told(self, text: str, kind: EventKind, call: Call) -> tuple[Verdict | Passed, Durable]:
        """Without room UNRECORDED. Raises BadToken."""
        try:
            return self._recorder.tell(text, kind, call)
        except JournalClosed:
            return _UNRECORDED, None
        except Refused as refused:
            if refused.status != 503:
                raise
            return _UNRECORDED, None

    def _call(self, head: Head, strict: bool = True, batched: bool = False) -> Call:
        """``strict``: a key that is not good is refused. Not so on a tracking URL: whoever clicks cannot
        mend the header that something on the way added."""
        # Most calls carry nothing but an agent: one look at all names tells.
        names = head.by_name()
        return Call(
            user_agent=head.text(b"user-agent"),
            ip=self._peers.address(head),
            method=head.method,
            prefetch=not _PURPOSES.isdisjoint(names) and _prefetched(head),
            publisher_key=self._publisher(head, strict) if b"authorization" in names else None,
            batched=batched,
        )

    def _publisher(self, head: Head, strict: bool) -> str | None:
        try:
            holder = holder_of(head, self._find_key)
        except Refused:
            if strict:
                raise
            return None
        return holder.owner if holder is not None and holder.role == "publisher" else None


def _prefetched(head: Head) -> bool:
    """Whether the browser fetches ahead of its user (``Sec-Purpose``, and what came before it)."""
    for name, value in head.headers:
        if name in _PURPOSES:
            words = value.lower()
            if b"prefetch" in words or b"prerender" in words or b"preview" in words:
                return True
    return False


def answer(kind: EventKind, method: str, verdict: Verdict) -> Reply:
    key = verdict.status, verdict.billed
    if verdict.status is Status.INVALID:
        return _unknown()
    if kind is EventKind.CLICK:
        return _redirect(verdict, _TOLD[key])
    if verdict.status is Status.UNRECORDED and method != "HEAD":
        return _no_room()
    if method == "POST":
        return Reply(204, _TOLD[key])
    return Reply(200, _PIXEL[key], GIF)


def _redirect(verdict: Verdict, told: tuple[tuple[bytes, bytes], ...]) -> Reply:
    if verdict.location is None:
        if verdict.status is Status.UNRECORDED:
            return _no_room()
        return problem(410, "this creative was withdrawn")
    return Reply(302, (*told, (b"location", _header_value(verdict.location))))


def _header_value(url: str) -> bytes:
    """Landing pages are checked on upload; whatever yet could end or garble the header is escaped."""
    if not (url.isascii() and url.isprintable()):
        url = quote(url, safe="%/:?#[]@!$&'()*+,;=~")
    return url.encode("ascii")


def _no_room() -> Reply:
    """The disk is full: an event that cannot be made durable is not accepted."""
    reply = problem(503, "events cannot be recorded now, send them again")
    told = (_EVENT[Status.UNRECORDED], _BILLED[False], (b"retry-after", b"1"))
    reply.headers = (*reply.headers, *told)
    return reply


def _unknown() -> Reply:
    reply = problem(404, "not a URL of this server, or not for this purpose")
    reply.headers = (*reply.headers, _EVENT[Status.INVALID], _BILLED[False])
    return reply
