"""``POST /openrtb2/auction``: an exchange asks as a publisher does, and is answered with bids.

A thin adapter to OpenRTB 2.6: it reads the bid request, asks the ad server once for all imps, and writes
what was decided. Ads that do not make a bid are withdrawn before the answer leaves. Not to bid is always
204; the only refusals are a body that is no JSON or lacks ``id`` or ``imp`` (400, without a body), one that
is too long (413) and one that is compressed (415).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import perf_counter
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adserver.api.keys import holder_of
from adserver.api.messages import JSON, NO_STORE, Head, Reply
from adserver.api.openrtb_ask import Object, ask_of, currencies, publishers_named, terms_of
from adserver.api.openrtb_bids import Bid, acceptance, bid_of
from adserver.api.openrtb_imps import is_secure, read_imps
from adserver.api.openrtb_mapping import Mapping, Place
from adserver.api.openrtb_reading import decode, listing, text
from adserver.api.peer import valid
from adserver.api.ports import Holder, KeyFinder
from adserver.api.turn import brought
from adserver.domain import ids, limits
from adserver.domain.decision import Ad, Decision, Slot
from adserver.domain.inventory import Publisher
from adserver.engine.snapshot import Snapshot
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.elsewhere import Elsewhere
from adserver.services.refusals import Refused
from adserver.services.render import Shown
from adserver.services.serve import Outcome
from adserver.services.world import Serving

WON_PATH: Final = "/openrtb2/won/"
_VERSION: Final = (b"x-openrtb-version", b"2.6")
_ENCODER: Final = msgspec.json.Encoder()


class Server(Protocol):
    def resolve(self, ask: Ask, asker: Asker, terms: Terms) -> Outcome: ...
    async def resolve_later(self, ask: Ask, asker: Asker, terms: Terms) -> Outcome: ...


class Ads(Protocol):
    def shown(
        self, decision: Decision, slot: Slot, snapshot: Snapshot, subject: bytes | None, consent_tcf: str = ""
    ) -> list[Shown]: ...


class Seat(Struct, frozen=True):
    bid: list[Bid]


class BidResponse(Struct, frozen=True):
    id: str
    seatbid: list[Seat]
    bidid: str
    cur: str


class _BidRequest(Struct, frozen=True):
    """One that was read, and for whom somebody may bid."""

    ident: str
    places: Sequence[Place]
    ask: Ask
    asker: Asker
    terms: Terms


class Auction:
    """``withdraw`` frees ads that do not make a bid (each with its expiry); ``public_url`` without a slash
    at its end; ``decided`` is told how long an auction took, in seconds."""

    def __init__(
        self,
        server: Server,
        ads: Ads,
        withdraw: Callable[[Decision, Iterable[tuple[Ad, int]]], None],
        snapshot: Callable[[], Snapshot],
        find_key: KeyFinder,
        public_url: str,
        decided: Callable[[float], None],
    ) -> None:
        self._server = server
        self._ads = ads
        self._withdraw = withdraw
        self._snapshot = snapshot
        self._find_key = find_key
        self._won_url = f"{public_url}{WON_PATH}"
        self._decided = decided
        self._mapping = Mapping()

    def __call__(self, head: Head, body: bytes) -> Reply:
        """Raises Refused (415) for a body that is encoded."""
        began = perf_counter()
        found = self._read(head, body)
        if isinstance(found, Reply):
            return found
        outcome = self._server.resolve(found.ask, found.asker, found.terms)
        return self._replied(found, outcome, began)

    async def later(self, head: Head, body: bytes) -> Reply:
        """The same, where what people have seen is asked elsewhere."""
        began = perf_counter()
        found = self._read(head, body)
        if isinstance(found, Reply):
            return found
        outcome = await self._server.resolve_later(found.ask, found.asker, found.terms)
        try:
            return self._replied(found, outcome, began)
        except Elsewhere as missing:
            assert missing.again is not None
            return await brought(missing.again, missing)

    def _read(self, head: Head, body: bytes) -> _BidRequest | Reply:
        """What is asked for, or the answer where nothing is."""
        _check_encoding(head)
        try:
            request = decode(body)
        except ValueError:
            return _malformed()
        if not isinstance(request, dict):
            return _malformed()
        ident = text(request.get("id"), limits.AUCTION_BYTES)
        if ident is None or not listing(request.get("imp")):
            return _malformed()
        holder = self._holder(head)
        places = self._places(request, holder)
        if not places:
            return _no_bid()
        ask = ask_of(request, places)
        accepts = tuple(acceptance(place) for place in places)
        terms = terms_of(request, places, is_secure(request.get("imp")), accepts)
        return _BidRequest(ident, places, ask, _asker(ask, holder), terms)

    def _replied(self, found: _BidRequest, outcome: Outcome, began: float) -> Reply:
        try:
            reply = self._answer(found, outcome)
        except Elsewhere as missing:
            # It was decided, and is not to be again.
            missing.again = lambda: (self._replied(found, outcome, began), None)
            raise
        self._decided(perf_counter() - began)
        return reply

    # -- asking ------------------------------------------------------------------------------------

    def _holder(self, head: Head) -> Holder | None:
        """Exchanges have credentials of their own: those that are not ours are none."""
        try:
            return holder_of(head, self._find_key)
        except Refused:
            return None

    def _places(self, request: Object, holder: Holder | None) -> list[Place]:
        imps = read_imps(request.get("imp"))
        named, accepted = publishers_named(request), currencies(request)
        return self._mapping.places(
            self._snapshot(), imps, named, accepted, lambda publisher: _may_ask(publisher, holder)
        )

    def _answer(self, found: _BidRequest, outcome: Outcome) -> Reply:
        if outcome.request.invalid_traffic:
            # Nothing was reserved for a robot, and an exchange pays nobody for one.
            return _no_bid()
        places = found.places
        bids = self._bids(outcome, places, found.ask.consent.tcf or "")
        if not bids:
            return _no_bid()
        currency = outcome.serving.snapshot.publishers[places[0].placement.publisher].currency
        answer = BidResponse(found.ident, [Seat(bids)], ids.encode(outcome.decision.request_id), currency)
        return Reply(200, (JSON, NO_STORE, _VERSION), _ENCODER.encode(answer))

    # -- answering ---------------------------------------------------------------------------------

    def _bids(self, outcome: Outcome, places: Sequence[Place], consent_tcf: str) -> list[Bid]:
        """What was decided, as far as it can be bid; the rest is withdrawn."""
        decision, serving = outcome.decision, outcome.serving
        bids, unfit = list[Bid](), list[tuple[Ad, int]]()
        for place, slot in zip(places, decision.slots, strict=True):
            shown = self._ads.shown(decision, slot, serving.snapshot, outcome.subject, consent_tcf)
            worth = partial(_worth, serving, slot.placement)
            found = {one.ad.index: bid_of(place, one, worth, self._won_url) for one in shown}
            bids += (bid for bid in found.values() if bid is not None)
            unfit += ((ad, slot.expires_ms) for ad in slot.ads if found.get(ad.index) is None)
        if unfit:
            self._withdraw(decision, unfit)
        return bids


def routes() -> list[Route]:
    """``nurl``: an exchange tells that it took a bid. Nothing is counted: an ad that won may yet not be
    rendered, and what renders calls its own impression URL."""
    return [Route(WON_PATH + "{bid}", _won, methods=["GET", "HEAD", "POST"])]


async def _won(request: Request) -> Response:
    return Response(status_code=204, headers={"cache-control": "no-store"})


def _asker(ask: Ask, holder: Holder | None) -> Asker:
    """An exchange speaks for the end user, always; what it is itself says nothing about them."""
    ip, agent = valid(ask.device.ip), ask.device.user_agent or ""
    if holder is None:
        return Asker(ip, agent, ip_told=True)
    return Asker(ip, agent, "", holder.role, holder.owner, holder.read_prices, ip_told=True)


def _may_ask(publisher: Publisher, holder: Holder | None) -> bool:
    """Whether the ad server would answer for this publisher (``normalise.publisher_of``)."""
    if holder is not None and holder.role == "publisher":
        return holder.owner == publisher.id
    return not publisher.requires_key or (holder is not None and holder.role == "operator")


def _check_encoding(head: Head) -> None:
    """Raises Refused. The media type is not looked at: whatever it says, the body is JSON or it is not."""
    encoding = head.header(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        raise Refused(415, "send the body without content-encoding")


def _no_bid() -> Reply:
    return Reply(204, (NO_STORE,))


def _worth(serving: Serving, placement: int, ad: Ad, prior: int) -> int:
    """By the rates the auction was decided with: floors and ranks were asked of the same."""
    return serving.worth.of(prior, serving.snapshot.by_serial[ad.line_item].position, placement)


def _malformed() -> Reply:
    return Reply(400, (NO_STORE,))
