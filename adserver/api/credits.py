"""Deposits, credits and make-goods, booked by operators; and what advertisers find in their wallets."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from adserver.api import bodies
from adserver.api.management import who
from adserver.api.messages import JSON, NO_STORE, Reply, check_media_type
from adserver.api.pages import Asked, Operation
from adserver.domain import limits, money
from adserver.services.crediting import Crediting
from adserver.services.manage import visible
from adserver.services.refusals import Refused
from adserver.services.wallets import Wallet, Wallets


class Booking(Struct, frozen=True, forbid_unknown_fields=True):
    """``id``: yours, once for each of an advertiser's; asked again with the same, nothing more is booked."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
    kind: Literal["deposit", "credit", "make_good"]
    amount: Annotated[str, Meta(max_length=20)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    reason: Annotated[str, Meta(min_length=1, max_length=limits.REASON_CHARS)]


class Booked(Struct, frozen=True):
    id: str
    kind: str
    currency: str
    amount: str
    at_ms: int
    reason: str


_DECODER: Final = msgspec.json.Decoder(Booking)
_ENCODER: Final = msgspec.json.Encoder()


def operations(crediting: Crediting, wallets: Wallets) -> list[Operation]:
    async def look(asked: Asked) -> Reply:
        found = wallets.of(who(asked), asked.params["owner"])
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(found))

    async def act(asked: Asked) -> Reply:
        visible(who(asked), "advertiser", (asked.params["owner"],))
        check_media_type(asked.head)
        wanted = bodies.decode(_DECODER, asked.body)
        micros = _micros(wanted.amount)
        found = await crediting.book(
            who(asked), asked.params["owner"], wanted.id, wanted.kind, wanted.currency, micros, wanted.reason
        )
        amount = money.format_micros(found.amount_micros)
        told = Booked(found.id, found.kind, found.currency, amount, found.at_ms, found.reason)
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(told))

    said = {
        200: Booked,
        400: "not valid",
        403: "not an operator's key",
        404: "absent",
        409: "another one has it",
        503: "no room to keep it, send it again",
    }
    path, summary = "/v1/advertisers/{owner}/credits", "Book a deposit, credit or make-good"
    wallet, balance = "/v1/advertisers/{owner}/wallet", "What was paid in, and what is left of it"
    found = {200: Wallet, 404: "absent"}
    return [
        Operation("POST", path, summary, "operators", act, said, Booking, secured=True),
        Operation("GET", wallet, balance, "advertisers", look, found, None, secured=True),
    ]


def _micros(text: str) -> int:
    try:
        micros = money.parse_amount(text)
    except ValueError as error:
        raise Refused(400, "not an amount", [("amount", str(error))]) from None
    if micros == 0:
        raise Refused(400, "not an amount", [("amount", "is nothing; it is above 0")])
    return micros
