"""From the body of a document to what the catalog keeps of it.

A body is read once and becomes *drafts*: one, or for a publisher that names its placements one and one
for each placement. A draft holds the canonical body (what GET shows) and the compiled domain value with
serials still 0, which depends on nothing but the body; so it can be kept as long as the body is the same.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, cast

import msgspec
import orjson
from msgspec import Struct

from adserver.catalog.campaigns import read_advertiser, read_campaign
from adserver.catalog.clauses import Reference
from adserver.catalog.documents import Number
from adserver.catalog.fields import Fields
from adserver.catalog.findings import Findings, shown
from adserver.catalog.publishers import read_audience, read_placement, read_publisher
from adserver.catalog.rates import read_rates
from adserver.domain import ids, limits
from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.changes import Kind, Problem
from adserver.domain.exchange import ExchangeRates
from adserver.domain.inventory import Audience, Placement, Publisher

Key = tuple[Kind, str]
"""Kind and full id: what names an object of the catalogue."""

Subject = Advertiser | Campaign | Audience | Publisher | Placement | ExchangeRates


class Draft(Struct, frozen=True):
    """One object, read. ``path`` is where it stands in its document; ``users``: the raw ids of an
    audience's members where the document names them; ``digest`` is that of the document as written."""

    kind: Kind
    full_id: str
    body: dict[str, object]
    subject: Subject
    references: tuple[Reference, ...] = ()
    users: tuple[str, ...] | None = None
    path: str = ""
    digest: str = ""

    @property
    def key(self) -> Key:
        return (self.kind, self.full_id)


def canonical(body: object) -> bytes:
    """The one spelling of a body, whatever the order of its keys."""
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def digest_of(body: object, *more: bytes) -> str:
    """The hash of a body's content (24 hexadecimal digits), and of what belongs to it."""
    content = blake2b(canonical(body), digest_size=12)
    for part in more:
        content.update(part)
    return content.hexdigest()


def read(
    kind: Kind, full_id: str | None, body: dict[str, object], kept: bool = False
) -> tuple[list[Draft], list[Problem]]:
    """The drafts of a body whose address is ``full_id`` (None: it has no good one, and is read for its
    problems), and everything wrong with it. Drafts come also with problems, so that what refers to them
    is not reported as well. ``kept``: from the catalog."""
    findings = Findings()
    if full_id is None:
        full_id = "/".join(["unnamed"] * len(_NAMES[kind]))
    else:
        body = _addressed(kind, full_id, body, findings)
    if kind == "publisher":
        drafts = _publisher(full_id, body, findings)
    else:
        drafts = [_READERS[kind](full_id, body, findings, kept)]
    plain = [msgspec.structs.replace(draft, body=_plain(draft.body)) for draft in drafts]
    return plain, findings.problems


def _plain(part: Any) -> Any:
    """The same without ``Number``: once accepted, a decimal is text like any other."""
    if isinstance(part, dict):
        return {name: _plain(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_plain(value) for value in part]
    return str(part) if isinstance(part, Number) else part


def address(kind: Kind, body: dict[str, object]) -> str | None:
    """The full id a file's body gives itself, None if it does not."""
    if kind == "rates":
        return kind
    if kind == "audience":
        owner = body.get("publisher", body.get("advertiser"))
        parts = [owner, body.get("audience")]
    else:
        parts = [body.get(name) for name in _NAMES[kind]]
    if not all(isinstance(part, str) and ids.SLUG.match(part) for part in parts):
        return None
    return "/".join(cast(list[str], parts))


_NAMES: Final[dict[Kind, tuple[str, ...]]] = {
    "advertiser": ("advertiser",),
    "campaign": ("advertiser", "campaign"),
    "publisher": ("publisher",),
    "placement": ("", "id"),
    "audience": ("", "audience"),
    "rates": ("",),
}
"""What its document calls the parts of an address; "" where it does not say them."""


def _addressed(kind: Kind, full_id: str, body: dict[str, object], findings: Findings) -> dict[str, object]:
    """The body with the ids of its address, which it may leave out but not contradict."""
    names = dict(zip(_NAMES[kind], full_id.split("/"), strict=True))
    if kind == "audience":
        owner = "publisher" if "publisher" in body else "advertiser"
        names[owner] = names.pop("")
    names.pop("", None)
    body = dict(body)
    for name, value in names.items():
        given = body.setdefault(name, value)
        if given != value and isinstance(given, str) and not isinstance(given, Number):
            findings.add(name, f'is {shown(given)}; the address of this document says "{value}"')
            body[name] = value
    return body


def _advertiser(full_id: str, body: dict[str, object], findings: Findings, kept: bool) -> Draft:
    subject = read_advertiser(Fields(body, "", findings))
    return Draft("advertiser", full_id, body, subject, digest=digest_of(body))


def _campaign(full_id: str, body: dict[str, object], findings: Findings, kept: bool) -> Draft:
    subject, references = read_campaign(Fields(body, "", findings))
    return Draft("campaign", full_id, body, subject, tuple(references), digest=digest_of(body))


def _placement(
    full_id: str, body: dict[str, object], findings: Findings, kept: bool, path: str = ""
) -> Draft:
    subject = read_placement(Fields(body, path, findings), full_id.partition("/")[0])
    return Draft("placement", full_id, body, subject, path=path, digest=digest_of(body))


def _audience(full_id: str, body: dict[str, object], findings: Findings, kept: bool) -> Draft:
    subject, users = read_audience(Fields(body, "", findings), kept)
    shown_body = {name: value for name, value in body.items() if name not in ("users", "members")}
    named = b"" if users is None else "\n".join(sorted(users)).encode()
    digest = digest_of(shown_body, b"" if users is None else b"users:", named)
    return Draft("audience", full_id, shown_body, subject, users=users, digest=digest)


def _rates(full_id: str, body: dict[str, object], findings: Findings, kept: bool) -> Draft:
    return Draft("rates", full_id, body, read_rates(Fields(body, "", findings)), digest=digest_of(body))


_READERS: Final[dict[str, Callable[[str, dict[str, object], Findings, bool], Draft]]] = {
    "advertiser": _advertiser,
    "campaign": _campaign,
    "placement": _placement,
    "audience": _audience,
    "rates": _rates,
}


def _publisher(full_id: str, body: dict[str, object], findings: Findings) -> list[Draft]:
    fields = Fields(body, "", findings)
    placements = list(fields.mappings("placements", most=limits.PLACEMENTS_PER_PUBLISHER))
    own = {name: value for name, value in body.items() if name != "placements"}
    subject = read_publisher(Fields(own, "", findings))
    drafts = [Draft("publisher", full_id, own, subject, digest=digest_of(own))]
    seen: dict[str, str] = {}
    for place, entry in enumerate(placements):
        name = entry.take("id")
        entry_id = f"{full_id}/{name if isinstance(name, str) else place}"
        draft = _placement(entry_id, entry.values_given(), findings, False, entry.path)
        if isinstance(name, str) and name in seen:
            message = f"the placement {shown(name)} stands already at {seen[name]}; ids are unique"
            findings.add(entry.at("id"), message)
        elif isinstance(name, str):
            seen[name] = entry.at("id")
        drafts.append(draft)
    return drafts
