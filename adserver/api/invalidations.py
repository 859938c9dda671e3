"""Invalid traffic found later, told by operators."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from adserver.api import bodies
from adserver.api.management import who
from adserver.api.messages import JSON, NO_STORE, Reply, check_media_type
from adserver.api.pages import Asked, Operation
from adserver.domain import limits
from adserver.services.invalidating import Invalidated, TakingBack, refunded
from adserver.services.refusals import Refused

_ID_CHARS: Final = 64


class Invalidations(Struct, frozen=True, forbid_unknown_fields=True):
    """Event ids as decisions name them; ``reason``: for those who are refunded."""

    events: Annotated[
        list[Annotated[str, Meta(max_length=_ID_CHARS)]],
        Meta(min_length=1, max_length=limits.EVENTS_PER_INVALIDATION),
    ]
    reason: Annotated[str, Meta(min_length=1, max_length=limits.REASON_CHARS)]


class InvalidatedEvent(Struct, frozen=True):
    """``invalidated``: which of its events were taken back now; none: nothing is posted, or it was before."""

    event_id: str
    invalidated: list[str]


class Refund(Struct, frozen=True):
    currency: str
    micros: int


class InvalidationReport(Struct, frozen=True):
    """``refunded``: in all, a sum for each currency, rounded down."""

    results: list[InvalidatedEvent]
    refunded: list[Refund]


_DECODER: Final = msgspec.json.Decoder(Invalidations)
_ENCODER: Final = msgspec.json.Encoder()


def operations(invalidation: TakingBack) -> list[Operation]:
    async def act(asked: Asked) -> Reply:
        if who(asked).role != "operator":
            raise Refused(403, "traffic is found invalid by operators")
        check_media_type(asked.head)
        wanted = bodies.decode(_DECODER, asked.body)
        found = await invalidation.reverse(wanted.events, wanted.reason)
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(_report(found)))

    said = {
        200: InvalidationReport, 400: "not event ids", 403: "not an operator's key",
        503: "no room to keep them, send them again",
    }  # fmt: skip
    summary = "Take events back that were found to be invalid traffic"
    return [
        Operation("POST", "/v1/invalidations", summary, "operators", act, said, Invalidations, secured=True)
    ]


def _report(found: list[Invalidated]) -> InvalidationReport:
    results = [InvalidatedEvent(one.event_id, list(one.kinds)) for one in found]
    return InvalidationReport(results, [Refund(*one) for one in refunded(found)])
