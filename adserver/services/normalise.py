"""Ask -> Request: facts are normalised once, consent is applied before anything is kept, and people
become pseudonyms. After this, nothing of the server sees a raw id."""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from adserver.domain import ids, limits, money
from adserver.domain.deals import OPEN
from adserver.domain.inventory import Blocks, FeedPolicy, Placement, Publisher
from adserver.domain.provenance import country_of, device_of
from adserver.domain.request import FeedAsk, Mode, PlacementAsk, Request
from adserver.domain.targeting import FACETS, normalise, normalised
from adserver.engine.snapshot import Snapshot
from adserver.services import agents, consent
from adserver.services.ask import Ask, AskedPlacement, Asker, Terms
from adserver.services.asked import Accepting
from adserver.services.facts import Facts, place_of, point_of, properties_of, put_device, put_page, texts
from adserver.services.pseudonyms import Pseudonyms
from adserver.services.refusals import Refused


class Geography(Protocol):
    def country(self, ip: str) -> str | None:
        """ISO 3166-1 alpha-2 of an address, None where unknown."""
        ...


class Normaliser:
    """``chance`` gives 64 random bits; ``hosted``: whether an address is a data centre's."""

    def __init__(
        self, pseudonyms: Pseudonyms, geography: Geography | None, chance: Callable[[], int],
        hosted: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self._names = pseudonyms
        self._geography = geography
        self._chance = chance
        self._hosted = hosted

    def request(self, ask: Ask, asker: Asker, terms: Terms, snapshot: Snapshot, now_ms: int) -> Request:
        """Raises Refused for what cannot be asked."""
        publisher = publisher_of(ask, asker, snapshot)
        mode: Mode = ask.mode or ("dry_run" if ask.explain or ask.explain_line_items else "live")
        allowed = consent.personalised(ask, publisher, terms)
        person, session = self._who(ask, publisher, allowed)
        facts = self._facts(ask, asker, snapshot, publisher, allowed, person)
        if mode == "test":
            person, session = (name and self._names.test(name) for name in (person, session))
        seed = self._chance()
        return Request(
            request_id=ids.mint(now_ms, seed, 0),
            now_ms=now_ms,
            seed=seed,
            publisher=publisher.id,
            placements=self._placements(ask, terms, publisher, snapshot, person, session),
            facts=facts,
            mode=mode,
            subject=person or session,
            session=session,
            personalised=allowed,
            minor=consent.is_minor(ask, terms),
            invalid_traffic=self._is_bot(asker, publisher),
            secure=terms.secure,
            blocks=_blocks(ask),
            repeat_key=self._names.repeat(publisher.id, ask.id, mode) if ask.id else None,
            gdpr=terms.gdpr,
            properties=properties_of(ask, allowed),
            point=point_of(ask),
            country=country_of(facts.get("countries", ())),
            device=device_of(facts.get("devices", ())),
        )

    def _who(self, ask: Ask, publisher: Publisher, allowed: bool) -> tuple[bytes | None, bytes | None]:
        """(person, session): pseudonyms; the person only with consent."""
        person = session = None
        if allowed and ask.user.id:
            person = self._names.person(publisher.user_space or publisher.id, _whole(ask.user.id, "user.id"))
        if ask.session:
            session = self._names.session(publisher.id, _whole(ask.session, "session"))
        return person, session

    def _placements(
        self, ask: Ask, terms: Terms, publisher: Publisher, snapshot: Snapshot,
        person: bytes | None, session: bytes | None,
    ) -> tuple[PlacementAsk, ...]:  # fmt: skip
        asks, errors, feeds = list[PlacementAsk](), list[tuple[str, str]](), 0
        silent = not (terms.strict_floor or terms.render_within_ms or terms.accepts or terms.markets)
        for number, asked in enumerate(ask.placements):
            view, feed = snapshot.view(publisher.id, asked.id), None
            if view is not None and (asked.feed is not None or view.placement.surface == "feed"):
                feed, wrong = self._feed(asked, view.placement, person, session)
                if wrong:
                    errors.append((f"placements[{number}]{wrong[0]}", wrong[1]))
                feeds += feed is not None
            says = asked.formats or asked.sizes or asked.floor is not None or asked.properties
            if silent and feed is None and not says:
                asks.append(_only(asked.id, asked.count or 1))
                continue
            floor_micros = 0
            if asked.floor is not None:
                floor_micros, problem = _floor(asked.floor)
                if problem:
                    errors.append((f"placements[{number}].floor", problem))
            asks.append(
                PlacementAsk(
                    asked.id,
                    # A feed page may take what its policy allows; anything else asks for one ad.
                    asked.count or (limits.ADS_PER_PLACEMENT if feed is not None else 1),
                    _in_order(asked.formats),
                    _in_order(asked.sizes),
                    floor_micros,
                    terms.strict_floor,
                    terms.render_within_ms[number] if terms.render_within_ms else None,
                    feed,
                    Accepting(terms.accepts[number]) if terms.accepts else None,
                    asked.properties,
                    terms.markets[number] if terms.markets else OPEN,
                )
            )
        if feeds > 1:
            errors.append(("placements", "one feed placement a request"))
        if errors:
            raise Refused(400, "the request cannot be answered", errors)
        return tuple(asks)

    def _feed(
        self, asked: AskedPlacement, placement: Placement, person: bytes | None, session: bytes | None
    ) -> tuple[FeedAsk | None, tuple[str, str] | None]:
        """The page asked for, or (path, message) of what is wrong."""
        feed, is_feed = asked.feed, placement.surface == "feed"
        if feed is None:
            return None, (("", "a feed placement needs `feed`") if is_feed else None)
        if not is_feed:
            return None, (".feed", "only placements of surface feed have pages")
        who = _account_of(placement.feed or FeedPolicy(), person, session)
        if not who:
            return None, (".feed", "a feed needs a session, or a user with consent")
        account = self._names.feed(placement.publisher, placement.id, feed.id, *who)
        return FeedAsk(feed.id, feed.page, feed.organic_count, account, feed.receipt), None

    def _is_bot(self, asker: Asker, publisher: Publisher) -> bool:
        """A declared crawler, or a reader in a data centre. HTTP libraries are no crawlers, and the address
        of a publisher's server says nothing about the reader: it asks by its own name, from where it is."""
        if asker.user_agent and agents.is_crawler(asker.user_agent):
            return True
        readers = asker.ip_told or (publisher.kind == "web" and asker.role in (None, "advertiser"))
        return readers and self._hosted(asker.ip)

    # -- facts -------------------------------------------------------------------------------------

    def _facts(
        self, ask: Ask, asker: Asker, snapshot: Snapshot, publisher: Publisher, allowed: bool,
        person: bytes | None,
    ) -> Facts:  # fmt: skip
        facts: Facts = {}
        put_device(facts, ask, asker)
        self._geo_facts(facts, ask, asker)
        put_page(facts, ask)
        if allowed:
            self._personal_facts(facts, ask, snapshot, publisher, person)
        return facts

    def _geo_facts(self, facts: Facts, ask: Ask, asker: Asker) -> None:
        geo = ask.geo
        country = geo.country
        if not country and self._geography is not None and asker.ip:
            country = self._geography.country(asker.ip)
        facts |= place_of(country, geo.region, geo.city, geo.postal_code)

    def _personal_facts(
        self, facts: Facts, ask: Ask, snapshot: Snapshot, publisher: Publisher, person: bytes | None
    ) -> None:
        if ask.user.segments:
            facts["segments"] = tuple(dict.fromkeys(normalised("segments", ask.user.segments)))
        audiences = snapshot.members.of(person) if person is not None else ()
        if audiences:
            owners = snapshot.audience_publishers
            audiences = tuple([one for one in audiences if owners.get(one, publisher.id) == publisher.id])
        if audiences:
            facts["audiences"] = audiences
        told = ask.user.properties
        for facet in FACETS if audiences or not told.keys().isdisjoint(FACETS) else ():
            name = f"facets.{facet}"
            values = texts(told.get(facet))
            for audience in audiences:
                values += snapshot.facets.get(audience, {}).get(facet, ())
            if values:
                facts[name] = tuple(dict.fromkeys(normalised(name, values)))


def publisher_of(ask: Ask, asker: Asker, snapshot: Snapshot) -> Publisher:
    """Whose request this is. Raises Refused."""
    if ask.publisher is not None:
        publisher = snapshot.publishers.get(ask.publisher)
        if publisher is None:
            raise Refused(400, "unknown publisher", [("publisher", "no publisher of this id")])
    elif snapshot.only_publisher is not None:
        publisher = snapshot.only_publisher
    else:
        message = "required: this server has more than one publisher, or none"
        raise Refused(400, "publisher missing", [("publisher", message)])
    if asker.role == "publisher" and asker.owner != publisher.id:
        raise Refused(403, "a key of another publisher")
    if publisher.requires_key and asker.role not in ("publisher", "operator"):
        raise Refused(401, "this publisher's placements need a key")
    return publisher


def _floor(text: str) -> tuple[int, str]:
    """(micros, what is wrong with it)."""
    try:
        return money.parse_amount(text), ""
    except ValueError as error:
        return 0, str(error)


@lru_cache(maxsize=4096)
def _only(name: str, count: int) -> PlacementAsk:
    """Of which nothing else is said, as of most: what is asked with next is often the same."""
    return PlacementAsk(name, count)


def _in_order(values: list[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values))) if values else ()


def _account_of(policy: FeedPolicy, person: bytes | None, session: bytes | None) -> tuple[bytes, ...]:
    """Whose account it is: the session's and the person's; with ``account: user`` the person's alone
    wherever there is one."""
    if policy.account == "user" and person is not None:
        return (b"user", person)
    return tuple(name for name in (session, person) if name is not None)


def _blocks(ask: Ask) -> Blocks:
    block = ask.block
    if not (block.advertisers or block.domains or block.categories or block.labels):
        return _NO_BLOCKS
    return Blocks(
        frozenset(block.advertisers),
        frozenset(normalise("domains", domain) for domain in block.domains),
        frozenset(normalise("categories", category) for category in block.categories),
        frozenset(label.strip().casefold() for label in block.labels),
    )


_NO_BLOCKS = Blocks()


def _whole(text: str, path: str) -> str:
    """Ids of people (never empty) must not hold control characters: NUL separates the parts of a
    pseudonym."""
    if not text.isprintable() and min(text) < " ":
        raise Refused(400, "the request cannot be answered", [(path, "control characters are not allowed")])
    return text
