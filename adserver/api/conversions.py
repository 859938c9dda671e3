"""Conversions, told by advertisers: online as they happen, or uploaded later (API.md section 2)."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from adserver.api import bodies
from adserver.api.management import who
from adserver.api.messages import JSON, NO_STORE, Reply, check_media_type
from adserver.api.pages import Asked, Operation
from adserver.api.ports import Metrics
from adserver.domain import ids, limits
from adserver.services.converting import Conversions, Told
from adserver.services.refusals import Refused

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_EMAIL: Final = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Z]{3}\Z", re.ASCII)


class Conversion(Struct, frozen=True, forbid_unknown_fields=True):
    """``id``: the advertiser's own; counted once per id, for good. Owed to the ad of ``click_id`` (what
    the landing page was given), else to the last one of the person: ``user`` as the publishers of
    ``user_space`` call it, or ``email_sha256`` where that is what they call it. ``at``: when it happened, at
    most 7 days ago; now if absent. ``order_id`` is kept for nothing."""

    id: Annotated[str, Meta(min_length=1, max_length=limits.CONVERSION_ID_CHARS)]
    type: Annotated[str, Meta(max_length=limits.CONVERSION_TYPE_CHARS)] = ""
    at: Annotated[datetime, Meta(tz=True)] | None = None
    click_id: Annotated[str, Meta(max_length=limits.CONVERSION_ID_CHARS)] | None = None
    user: Annotated[str, Meta(max_length=limits.VALUE_CHARS)] | None = None
    user_space: Annotated[str, Meta(max_length=limits.SLUG_CHARS)] | None = None
    email_sha256: Annotated[str, Meta(max_length=limits.CONVERSION_ID_CHARS)] | None = None
    value_micros: Annotated[int, Meta(ge=0, le=limits.AMOUNT_MICROS_MAX)] | None = None
    currency: str | None = None
    order_id: Annotated[str, Meta(max_length=limits.VALUE_CHARS)] | None = None


class ConversionBatch(Struct, frozen=True, forbid_unknown_fields=True):
    conversions: Annotated[list[Conversion], Meta(min_length=1, max_length=limits.CONVERSIONS_PER_BATCH)]


class _Raw(Struct, frozen=True, forbid_unknown_fields=True):
    """The same, read one by one: what is wrong with one is told of that one."""

    conversions: Annotated[list[Any], Meta(min_length=1, max_length=limits.CONVERSIONS_PER_BATCH)]


class ConversionResult(Struct, frozen=True, omit_defaults=True):
    """``status``: attributed, unattributed, duplicate, late or invalid. ``touch``: click or view, of
    ``campaign``. ``event_id``: the conversion's own here. ``message``: what made it invalid."""

    id: str
    status: str
    campaign: str | None = None
    touch: str | None = None
    event_id: str | None = None
    billed: bool = False
    message: str | None = None


class ConversionResults(Struct, frozen=True):
    results: list[ConversionResult]


_DECODER: Final = msgspec.json.Decoder(_Raw)
_ENCODER: Final = msgspec.json.Encoder()


def operations(conversions: Conversions, metrics: Metrics) -> list[Operation]:
    async def act(asked: Asked) -> Reply:
        holder = who(asked)
        if holder.role != "advertiser":
            raise Refused(403, "conversions are told with an advertiser's key")
        check_media_type(asked.head)
        told = [_read(one) for one in bodies.decode(_DECODER, asked.body).conversions]
        outcomes = await conversions.tell(holder.owner, told)
        for fate, count in Counter(outcome.fate for outcome in outcomes).items():
            metrics.converted(fate, count)
        results = [
            ConversionResult(
                one.id, one.fate, one.campaign or None, one.touch or None, one.event_id or None, one.billed,
                one.message or None,
            )
            for one in outcomes
        ]  # fmt: skip
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(ConversionResults(results)))

    said = {
        200: ConversionResults, 400: "not a batch of them", 403: "not an advertiser's key",
        404: "no such advertiser here", 503: "no room to keep them, send them again",
    }  # fmt: skip
    summary = "Tell what ads led to: online, or uploaded later"
    return [
        Operation("POST", "/v1/conversions", summary, "advertisers", act, said, ConversionBatch, secured=True)
    ]


def _read(given: Any) -> Told:
    try:
        one = msgspec.convert(_present(given), Conversion, strict=True)
        return _told(one)
    except (msgspec.ValidationError, ValueError) as error:
        name = given.get("id") if isinstance(given, dict) else None
        return Told(name[: limits.CONVERSION_ID_CHARS] if isinstance(name, str) else "", _why(error))


def _why(error: Exception) -> str:
    """As elsewhere: the field, then what is wrong with it."""
    message, _, place = str(error).partition(" - at `$.")
    return f"{place[:-1]}: {message}" if place else message


def _present(given: Any) -> Any:
    """Members that are null count as absent."""
    if not isinstance(given, dict):
        return given
    return {name: value for name, value in given.items() if value is not None}


def _told(one: Conversion) -> Told:
    """Raises ValueError for what the types let pass."""
    for name, text in (("id", one.id), ("type", one.type), ("user", one.user or "")):
        if min(text, default=" ") < " ":
            raise ValueError(f"{name}: control characters are not allowed")
    email = (one.email_sha256 or "").lower()
    if not (one.click_id or one.user or email):
        raise ValueError("one of click_id, user and email_sha256 is required")
    if email and not _EMAIL.match(email):
        raise ValueError("email_sha256: 64 hexadecimal digits, of the address in lower case")
    if one.user and email:
        raise ValueError("user or email_sha256, not both")
    if one.value_micros is not None and not one.currency:
        raise ValueError("currency: required with value_micros")
    if one.currency and not _CURRENCY.match(one.currency):
        raise ValueError("currency: three letters, such as EUR")
    return Told(
        id=one.id,
        happened_ms=None if one.at is None else (one.at - _EPOCH) // _MILLISECOND,
        called=one.type,
        click=_click(one.click_id),
        user=one.user or "",
        user_space=one.user_space or "",
        email=email,
        value_micros=one.value_micros or 0,
        currency=one.currency or "",
    )


def _click(text: str | None) -> bytes | None:
    """None as well for what no ad was ever called: some other server's, kept in a cookie for long."""
    try:
        return None if not text else ids.decode(text)
    except ValueError:
        return None
