"""What is billed or owed, line by line (API.md section 3): JSON, or CSV where that is asked for."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from adserver.api import bodies, tables
from adserver.api.management import who
from adserver.api.messages import JSON, NO_STORE, Reply, check_media_type
from adserver.api.pages import Asked, Operation
from adserver.domain import money
from adserver.domain.statements import Line, Statement, month_text, parse_month, totals
from adserver.services.manage import visible
from adserver.services.refusals import Refused
from adserver.services.stating import Side, Statements

_ENCODER: Final = msgspec.json.Encoder()
_MONTH: Final = {"month": "such as 2026-11: of the decisions, in the campaigns' time zones"}


class Close(Struct, frozen=True, forbid_unknown_fields=True):
    month: Annotated[str, Meta(max_length=7)]


class Total(Struct, frozen=True):
    """To be paid in this currency; below zero: to be given back. ``amount`` is the same as text."""

    currency: str
    micros: int
    amount: str


class Place(Struct, frozen=True):
    """Up to here the journal was on disk when the statement was closed, and ``chain`` was its hash then."""

    segment: int
    offset: int
    chain: str


class CreditLine(Struct, frozen=True):
    """What comes off: booked by an operator, under an id of theirs."""

    id: str
    kind: str
    currency: str
    micros: int
    reason: str


class Sums(Struct, frozen=True, kw_only=True):
    """``impressions`` to ``days``: what was billed, a price each; ``refunded`` of them were taken back.
    ``gross_nanos`` less ``refunded_nanos`` is the month's own; ``carried_nanos`` was left of the months
    before, and ``adjusted_nanos`` moved in closed ones. All of it rounded down is ``micros``, and the rest is
    carried on."""

    currency: str
    impressions: int
    viewable: int
    clicks: int
    conversions: int
    days: int
    refunded: int
    gross_nanos: int
    refunded_nanos: int
    carried_nanos: int
    adjusted_nanos: int
    micros: int
    rest_nanos: int


class AdvertiserLine(Sums, frozen=True, kw_only=True):
    """``model`` and ``rate``: how the line item is sold, as last told."""

    campaign: str
    line_item: str
    model: str
    rate: str


class PublisherLine(Sums, frozen=True, kw_only=True):
    placement: str
    campaign: str
    line_item: str


class AdvertiserStatement(Struct, frozen=True, kw_only=True):
    """``status``: open or closed; a closed one never changes. ``totals``: of the lines, less the credits."""

    advertiser: str
    month: str
    status: str
    totals: list[Total]
    lines: list[AdvertiserLine]
    credits: list[CreditLine]
    closed_ms: int | None = None
    journal: Place | None = None


class PublisherStatement(Struct, frozen=True, kw_only=True):
    publisher: str
    month: str
    status: str
    totals: list[Total]
    lines: list[PublisherLine]
    closed_ms: int | None = None
    journal: Place | None = None


def operations(statements: Statements) -> list[Operation]:
    """Those with a verb first: their paths are of the others' form too."""
    return [
        *_of(_Side(statements, "publisher"), "/v1/statements/publishers/{owner}", PublisherStatement),
        *_of(_Side(statements, "advertiser"), "/v1/statements/{owner}", AdvertiserStatement),
    ]


def _of(side: "_Side", path: str, answer: type) -> list[Operation]:
    tag, summary = f"{side.name}s", "What is billed or owed, line by line"
    closed = {
        200: answer, 400: "not a month", 403: "not an operator's key", 404: "absent",
        409: "it cannot be closed now", 503: "no room to keep it, or not posted yet: ask again",
    }  # fmt: skip
    read = {200: answer, 400: "not a month", 404: "absent"}
    verb = f"{path}:close"
    return [
        Operation("POST", verb, "Close a month's statement", tag, side.close, closed, Close, True),
        Operation("GET", path, summary, tag, side.get, read, None, True, _MONTH),
    ]


class _Side:
    def __init__(self, statements: Statements, side: Side) -> None:
        self.name = side
        self._statements = statements

    async def get(self, asked: Asked) -> Reply:
        owner = asked.params["owner"]
        # Whose it is comes first: somebody else's object does not exist, whatever is asked of it.
        visible(who(asked), self.name, (owner,))
        month = _month(asked.query.get("month"))
        found = await self._statements.of(who(asked), self.name, owner, month)
        if tables.wants_csv(asked.head.text(b"accept")):
            return Reply(200, (tables.CSV, NO_STORE), spelled(shown(found, self.name, owner)))
        return self._told(found, owner)

    async def close(self, asked: Asked) -> Reply:
        owner = asked.params["owner"]
        visible(who(asked), self.name, (owner,))
        check_media_type(asked.head)
        month = _month(bodies.decode(_CLOSE, asked.body).month)
        return self._told(await self._statements.close(who(asked), self.name, owner, month), owner)

    def _told(self, found: Statement, owner: str) -> Reply:
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(shown(found, self.name, owner)))


_CLOSE: Final = msgspec.json.Decoder(Close)


def _month(text: str | None) -> int:
    try:
        return parse_month(text or "")
    except ValueError as error:
        raise Refused(400, "not a month", [("month", str(error))]) from None


def shown(found: Statement, side: Side, owner: str) -> AdvertiserStatement | PublisherStatement:
    proof = found.proof
    due = totals(found.lines, found.credits)
    common: dict[str, Any] = {
        "month": month_text(found.month),
        "status": "closed" if found.closed else "open",
        "totals": [Total(name, micros, money.format_micros(micros)) for name, micros in due],
        "closed_ms": found.closed_ms,
        "journal": None if proof is None else Place(proof.segment, proof.offset, proof.chain.hex()),
    }
    if side == "advertiser":
        lines = [_advertiser_line(found, line) for line in found.lines]
        credits = [
            CreditLine(one.id, one.kind, one.currency, one.amount_micros, one.reason) for one in found.credits
        ]
        return AdvertiserStatement(advertiser=owner, lines=lines, credits=credits, **common)
    return PublisherStatement(
        publisher=owner, lines=[_publisher_line(found, line) for line in found.lines], **common
    )


def _advertiser_line(found: Statement, line: Line) -> AdvertiserLine:
    _, campaign, line_item = found.line_items[line.line_item].split("/")
    rate = money.format_micros(line.amount_micros)
    return AdvertiserLine(campaign=campaign, line_item=line_item, model=line.model, rate=rate, **_sums(line))


def _publisher_line(found: Statement, line: Line) -> PublisherLine:
    campaign, _, line_item = found.line_items[line.line_item].rpartition("/")
    placement = found.placements[line.placement].partition("/")[2]
    return PublisherLine(placement=placement, campaign=campaign, line_item=line_item, **_sums(line))


def _sums(line: Line) -> dict[str, Any]:
    return {name: getattr(line, name) for name in Sums.__struct_fields__}


def spelled(statement: AdvertiserStatement | PublisherStatement) -> bytes:
    """As CSV: a line a row, amounts in nanos and micros. What comes off an advertiser's is a row too, so that
    ``micros`` add up to what is to be paid."""
    ours = isinstance(statement, AdvertiserStatement)
    names = (AdvertiserLine if ours else PublisherLine).__struct_fields__
    columns = (*names, "credit", "kind", "reason") if ours else names
    credits = statement.credits if isinstance(statement, AdvertiserStatement) else ()
    rows = [{name: getattr(line, name) for name in names} for line in statement.lines]
    rows += [
        {
            "currency": one.currency,
            "micros": -one.micros,
            "credit": one.id,
            "kind": one.kind,
            "reason": one.reason,
        }
        for one in credits
    ]
    told = ((statement.month, statement.status, *map(row.get, columns)) for row in rows)
    return tables.csv([("month", "status", *columns), *told])
