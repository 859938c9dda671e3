"""Facts of a request in their normalised form, by targeting dimension, and its properties.

Facts about a person are not here: ``services/normalise`` adds them where there is consent.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from adserver.domain import limits
from adserver.domain.places import Point
from adserver.domain.properties import Properties
from adserver.domain.targeting import normalise, normalised
from adserver.engine.snapshot import parent_domains
from adserver.services import agents
from adserver.services.ask import Ask, Asker

Facts = dict[str, tuple[str, ...]]


def put_device(facts: Facts, ask: Ask, asker: Asker) -> None:
    device = ask.device
    known = agents.agent_of(asker.user_agent)
    language = device.language or asker.language.split(",")[0].split(";")[0]
    facts |= _device(
        device.type or known.device, device.os or known.os, device.browser or known.browser,
        device.os_version, device.model, device.connection, language,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _device(
    kind: str, system: str, browser: str, os_version: str | None, model: str | None, connection: str | None,
    language: str,
) -> Facts:  # fmt: skip
    """What is asked with next is often the same: one look instead of a dozen calls."""
    facts: Facts = {}
    put(facts, "devices", kind)
    put(facts, "os", system)
    put(facts, "browsers", browser)
    put(facts, "os_versions", os_version)
    put(facts, "models", model)
    put(facts, "connections", connection)
    languages = _languages(language)
    if languages:
        facts["languages"] = languages
    return facts


@lru_cache(maxsize=4096)
def place_of(country: str | None, region: str | None, city: str | None, postal_code: str | None) -> Facts:
    """Not to be changed: others have the same."""
    facts: Facts = {}
    put(facts, "countries", country)
    put(facts, "regions", region)
    put(facts, "cities", city)
    put(facts, "postal_codes", postal_code)
    return facts


@lru_cache(maxsize=4096)
def _languages(language: str) -> tuple[str, ...]:
    """A language, and without its region."""
    if language.strip() in ("", "*"):
        return ()
    tag = normalise("languages", language.replace("_", "-"))
    return tuple(dict.fromkeys((tag, tag.split("-")[0])))


def put_page(facts: Facts, ask: Ask) -> None:
    page = ask.page
    if page.keywords:
        _put_all(facts, "keywords", page.keywords)
    if page.categories:
        _put_all(facts, "categories", _with_parents(page.categories))
    if page.url:
        facts["urls"] = (page.url.strip(),)
        host = host_of(page.url)
        if host and len(host) <= limits.HOST_CHARS:
            facts["domains"] = _domains(host)


def host_of(url: str) -> str | None:
    """The host as the standard library reads it, None where there is none; URLs as most are written go by a
    pattern, which costs a tenth."""
    plain = _PLAIN.match(url)
    if plain is not None:
        return plain[1]
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


_PLAIN: Final = re.compile(r"https?://([a-z0-9.-]+)(?::[0-9]+)?(?:[/?#]|\Z)", re.ASCII)


@lru_cache(maxsize=4096)
def _domains(host: str) -> tuple[str, ...]:
    """A line item may want what lies below a domain and not the domain itself: ``*.news.example``."""
    domains = parent_domains(host)
    return (*domains, *(f"*.{domain}" for domain in domains[1:]))


def point_of(ask: Ask) -> Point | None:
    geo = ask.geo
    return None if geo.lat is None or geo.lon is None else Point(geo.lat, geo.lon)


def properties_of(ask: Ask, allowed: bool) -> Properties:
    """Those of the person only with consent."""
    user = ask.user.properties if allowed else {}
    if not (user or ask.page.properties or ask.properties):
        return _NO_PROPERTIES
    return Properties(user, ask.page.properties, ask.properties)


_NO_PROPERTIES = Properties()


def _with_parents(categories: Iterable[str]) -> list[str]:
    """``IAB7-3`` is also ``IAB7``."""
    return [name for category in categories for name in (category, category.split("-")[0])]


def put(facts: Facts, dimension: str, value: str | None) -> None:
    if value and (normal := normalise(dimension, value)):
        facts[dimension] = (normal,)


def _put_all(facts: Facts, dimension: str, values: Iterable[str]) -> None:
    found = dict.fromkeys(normalised(dimension, values))
    found.pop("", None)
    if found:
        facts[dimension] = tuple(found)


def texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
