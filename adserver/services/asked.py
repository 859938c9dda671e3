"""What a request said, as it is kept with its decision and read back for its replay.

Kept is what the decision's snapshot can look at and the decision itself does not tell: facts that some line
item names (``engine.vocabulary``), values of names that expressions, circles and patterns ask for, and of
each placement what is unusual. Time, seed, consent and the placements' ids stand in the decision. All of it
lies in the erasable part of the record. Invariant: the request read back gives the decision that the first
one gave.

What an exchange cannot show is told by its adapter, creative by creative; kept are those it refused, since a
decision that is the same asks for the same ones.
"""

from typing import Any, Final

from adserver.domain import limits
from adserver.domain.campaign import Creative, LineItem
from adserver.domain.deals import OPEN, Deal, Market
from adserver.domain.decision import Decision, Slot
from adserver.domain.inventory import Blocks
from adserver.domain.places import Point
from adserver.domain.properties import FACTS, Properties, Said
from adserver.domain.records import ASKED, ENCODER, Asked, AskedSlot, Personal
from adserver.domain.request import FeedAsk, Mode, PlacementAsk, Request
from adserver.engine.checks import Name
from adserver.engine.snapshot import Snapshot
from adserver.engine.vocabulary import POINT

Kept = tuple[bytes | None, bytes | None]
"""``Personal.facts`` and ``Personal.rest``."""

TOO_MUCH: Final[Kept] = (None, b"")
_MODES: Final[tuple[Mode, ...]] = ("live", "test")
_NO_BLOCKS: Final = Blocks()
_DIMENSIONS: Final = {(root, name): of for root, names in FACTS.items() for name, of in names.items()}
_NOTHING: Final = Asked()


class Unreadable(Exception):
    """What a decision's request said is not there; the message says why."""


class Accepting:
    """What whoever asks can show, and the versions of creatives (serials) that it ``refused``."""

    def __init__(self, accepts: Any) -> None:
        self._accepts = accepts
        self.refused: set[int] = set()

    def __call__(self, line_item: LineItem, creative: Creative) -> bool:
        accepted: bool = self._accepts(line_item, creative)
        if not accepted:
            self.refused.add(creative.serial)
        return accepted


# -- into the journal ------------------------------------------------------------------------------


def packed(request: Request, decision: Decision, snapshot: Snapshot) -> Kept:
    """What is kept of a request that ``snapshot`` decided."""
    facts = snapshot.vocabulary.pack(request.facts)
    said, blocks = _said(request, snapshot.vocabulary.looked_at), _blocks_said(request.blocks)
    slots = tuple(map(_slot_said, request.placements, decision.slots))
    parts = [said, request.minor, request.secure, blocks, slots if any(slots) else None]
    while parts and not parts[-1]:
        # What is not said at the end need not be written.
        parts.pop()
    try:
        rest = ENCODER.encode(parts) if parts else None
    except (OverflowError, ValueError):
        # A property may be any JSON: a number of a hundred digits is nothing that is kept.
        return TOO_MUCH
    return (facts, rest) if len(facts) + len(rest or b"") <= limits.ASKED_BYTES else TOO_MUCH


def _said(request: Request, names: tuple[Name, ...] | None) -> list[Any] | None:
    """The values of the names; where these are too many, all that names can look at."""
    if names is None:
        properties = request.properties
        texts = [request.facts.get(dimension) for dimension in _DIMENSIONS.values()]
        return [texts, properties.user, properties.page, properties.request, _point_said(request)]
    if not names:
        return None
    facts, look = request.facts, Said(request.facts, request.properties, {}, request.point).look
    values = [facts.get(_DIMENSIONS[name]) if name in _DIMENSIONS else look(name) for name in names]
    if POINT in names:
        values[names.index(POINT)] = _point_said(request)
    return values if any(value is not None for value in values) else None


def _point_said(request: Request) -> Any:
    return None if request.point is None else (request.point.lat, request.point.lon)


def _blocks_said(blocks: Blocks) -> Any:
    parts = (blocks.advertisers, blocks.domains, blocks.categories, blocks.labels)
    return tuple(tuple(sorted(part)) for part in parts) if any(parts) else None


def _slot_said(ask: PlacementAsk, slot: Slot) -> AskedSlot | None:
    feed = slot.feed
    plain = feed is None and not (ask.formats or ask.sizes or ask.floor_micros or ask.strict_floor)
    if plain and not (ask.properties or ask.accepts) and ask.market is OPEN:
        return None
    accepts = ask.accepts
    return AskedSlot(
        count=ask.count,
        formats=ask.formats,
        sizes=ask.sizes,
        floor_micros=ask.floor_micros,
        strict_floor=ask.strict_floor,
        receipt=ask.feed.receipt if ask.feed is not None and feed is not None and feed.continued else None,
        properties=ask.properties,
        deals=tuple((deal.id, deal.floor_micros) for deal in ask.market.deals),
        private=ask.market.private,
        refused=tuple(sorted(accepts.refused)) if isinstance(accepts, Accepting) else (),
    )


# -- out of it -------------------------------------------------------------------------------------


def request_of(decision: Decision, person: Personal, snapshot: Snapshot) -> Request:
    """The request that was decided. Raises Unreadable."""
    if person.facts is None:
        if person.rest is None:
            raise Unreadable("the decision was recorded by a version that kept nothing of its request")
        raise Unreadable(f"the request said more than is kept ({limits.ASKED_BYTES} bytes)")
    asked: Asked = ASKED.decode(person.rest) if person.rest is not None else _NOTHING
    texts, properties, point = _heard(asked.said, snapshot.vocabulary.looked_at)
    slots = asked.slots or (None,) * len(decision.slots)
    return Request(
        request_id=decision.request_id,
        now_ms=decision.now_ms,
        seed=int.from_bytes(decision.request_id[6:14], "big"),
        publisher=_publisher(decision.publisher, snapshot),
        placements=tuple(
            _placement(slot, told, decision) for slot, told in zip(decision.slots, slots, strict=True)
        ),
        facts={**_facts(person.facts, snapshot), **texts},
        mode=_MODES[decision.mode],
        subject=person.subject,
        session=person.session,
        personalised=decision.personalised,
        minor=asked.minor,
        secure=asked.secure,
        blocks=_NO_BLOCKS if asked.blocks is None else Blocks(*map(frozenset, asked.blocks)),
        gdpr=None if decision.gdpr == 0 else decision.gdpr == 2,
        properties=properties,
        point=point,
        country=decision.country,
        device=decision.device,
    )  # fmt: skip


def _facts(packed: bytes, snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    try:
        return snapshot.vocabulary.unpack(packed)
    except ValueError as error:
        raise Unreadable(f"the snapshot is not the one that decided: {error}") from error


def _publisher(serial: int, snapshot: Snapshot) -> str:
    for publisher in snapshot.publishers.values():
        if publisher.serial == serial:
            return publisher.id
    raise Unreadable(f"the snapshot is not the one that decided: it has no publisher {serial}")


def _placement(slot: Slot, told: AskedSlot | None, decision: Decision) -> PlacementAsk:
    feed = slot.feed
    ask = None
    if feed is not None:
        receipt = told.receipt if told is not None else None
        ask = FeedAsk(feed.feed_id, feed.page, feed.organic, feed.account, receipt)
    # When its ads expire is told; of a page answered again it was another request's.
    renders = slot.expires_ms - decision.now_ms if slot.repeated is None and slot.placement else None
    if told is None:
        return PlacementAsk(
            slot.placement_id, slot.unfilled + len(slot.ads), render_within_ms=renders, feed=ask
        )
    deals = tuple(Deal(name, floor_micros) for name, floor_micros in told.deals)
    refused = frozenset(told.refused)
    return PlacementAsk(
        slot.placement_id,
        told.count,
        told.formats,
        told.sizes,
        told.floor_micros,
        told.strict_floor,
        renders,
        ask,
        (lambda _, creative: creative.serial not in refused) if refused else None,
        told.properties,
        Market(deals, told.private) if deals or told.private else OPEN,
    )


_Heard = tuple[dict[str, tuple[str, ...]], Properties, Point | None]


def _heard(said: list[Any] | None, names: tuple[Name, ...] | None) -> _Heard:
    """(facts in their own words, properties, point)."""
    if said is None:
        return {}, Properties(), None
    if names is None:
        facts, user, page, request, at = said
        texts = {dimension: tuple(v) for dimension, v in zip(_DIMENSIONS.values(), facts, strict=True) if v}
        return texts, Properties(user, page, request), None if at is None else Point(*at)
    return _by_name({name: value for name, value in zip(names, said, strict=True) if value is not None})


def _by_name(said: dict[Name, Any]) -> _Heard:
    """The same from values by name: each is put where it is looked for."""
    texts = {_DIMENSIONS[name]: tuple(value) for name, value in said.items() if name in _DIMENSIONS}
    point = Point(*said[POINT]) if POINT in said else None
    roots: dict[str, dict[str, object]] = {"user": {}, "page": {}, "": {}}
    for name, value in said.items():
        if name not in _DIMENSIONS and name != POINT:
            own = len(name) > 1 and name[0] in roots
            _put(roots[name[0] if own else ""], name[1:] if own else name, value)
    return texts, Properties(roots["user"], roots["page"], roots[""]), point


def _put(found: dict[str, object], path: Name, value: object) -> None:
    for part in path[:-1]:
        inner = found.setdefault(part, {})
        assert isinstance(inner, dict)
        found = inner
    found[path[-1]] = value
