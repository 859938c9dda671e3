"""What is simulated: the file of ``adserver simulate`` (docs/SIMULATION.md), read strictly.

Read like a campaign file: YAML of the 1.2 core schema or JSON, unknown fields refused, every problem told at
once with its path. Shares and rates are numbers here and nowhere else: chance is drawn with them, no money.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from adserver.catalog.documents import read_file
from adserver.catalog.fields import Fields, check_slug
from adserver.catalog.findings import Findings, shown, suggestion
from adserver.catalog.times import DAYS, check_zone, duration_ms, instant_ms
from adserver.domain import limits
from adserver.domain.changes import Invalid
from adserver.simulation.numbers import number, numbers

_VIEWS_MAX: Final = 50
_KINDS_MAX: Final = 200


class Traffic(Struct, frozen=True):
    """``decisions``: forecast for a day of weight 1. ``shape``: weights of the local hours; ``weekdays``: of
    the days from Monday. ``growth``: of each day against the one before. ``noise``: the standard deviation
    of the logarithm of an hour's traffic. ``actual``: what comes of the forecast, day by day, the last for
    all that follow."""

    decisions: int
    shape: tuple[float, ...]
    weekdays: tuple[float, ...]
    growth: float
    noise: float
    actual: tuple[float, ...]


class Kind(Struct, frozen=True):
    """Of people: what their requests say. ``consent``: the share that agrees to be known; ``segments``: the
    share that is in each."""

    weight: float
    facts: dict[str, str]
    consent: float
    segments: dict[str, float]


class People(Struct, frozen=True):
    """``number`` of them, ``u-1`` the most frequent: the n-th comes with a weight of 1 / n^``zipf``."""

    number: int
    zipf: float
    kinds: tuple[Kind, ...]


class View(Struct, frozen=True):
    """One kind of visit: it asks for ``placements`` together, ``pages`` times in the mean, ``pause_ms``
    apart in the mean. ``organic``: items on a page of a feed."""

    publisher: str
    placements: tuple[str, ...]
    weight: float
    pages: float
    pause_ms: int
    organic: int


class Readers(Struct, frozen=True):
    """What becomes of ads: ``rendered`` so much later in the mean, given back (``released``), or neither;
    then ``viewable`` and clicked, by line item where one is named (full id). Of those who clicked, the share
    ``buys`` some time later (``considers_ms`` in the mean), which advertisers tell as conversions."""

    rendered: float
    released: float
    after_ms: int
    viewable: float
    clicks: float
    line_items: dict[str, float]
    buys: float = 0.0
    considers_ms: int = 3600_000


class Generated(Struct, frozen=True):
    """A catalogue made to measure: so many line items, the guaranteed ones with goals that take ``load`` of
    the forecast traffic, the auction with budgets for ``demand`` times what is left."""

    guaranteed: int
    auction: int
    load: float
    demand: float
    cap: int


class Config(Struct, frozen=True):
    """``campaigns``: a folder of campaign files, None where the catalogue is ``generated``. ``outages``:
    (from, to) in milliseconds, in which nothing reaches the server."""

    seed: int
    timezone: str
    start_ms: int
    days: int
    traffic: Traffic
    people: People
    views: tuple[View, ...]
    readers: Readers
    outages: tuple[tuple[int, int], ...] = ()
    campaigns: Path | None = None
    generated: Generated | None = None


def read_config(path: Path) -> Config:
    """The configuration in a file. Raises Invalid with every problem."""
    findings = Findings()
    fields = Fields(read_file(path), "", findings)
    config = _config(fields, path.parent)
    fields.done()
    if findings.problems:
        raise Invalid(findings.problems)
    return config


def _config(fields: Fields, folder: Path) -> Config:
    zone = fields.convert("timezone", "UTC", check_zone)
    campaigns = fields.text("campaigns")
    generated = _generated(fields)
    if bool(campaigns) == (generated is not None):
        fields.add("campaigns", "either a folder of campaign files here, or `generated`: one of them")
    elif campaigns and not (folder / campaigns).is_dir():
        fields.add("campaigns", f"{folder / campaigns} is not a folder")
    required = "it is the first day, such as 2026-06-01"
    return Config(
        seed=fields.integer("seed", 1, 0, 2**62),
        timezone=zone,
        start_ms=fields.convert("start", 0, lambda text: instant_ms(text, zone, is_end=False), required),
        days=fields.integer("days", 1, 1, limits.SIMULATED_DAYS, required=True),
        traffic=_traffic(fields),
        people=_people(fields),
        views=_views(fields),
        readers=_readers(fields),
        outages=_outages(fields, zone),
        campaigns=folder / campaigns if campaigns else None,
        generated=generated,
    )


def _traffic(parent: Fields) -> Traffic:
    fields = _inner(parent, "traffic")
    shape = numbers(fields, "shape", 24, 24) or (1.0,) * 24
    if not sum(shape):
        fields.add("shape", "all of its weights are 0; somebody must come")
    days = fields.mapping("weekdays")
    weekdays: tuple[float, ...] = (1.0,) * 7
    if days is not None:
        weekdays = tuple(number(days, day, 1.0, 0.0, 100.0) for day in DAYS)
        days.done()
    traffic = Traffic(
        decisions=fields.integer("decisions", 1000, 1, limits.SIMULATED_DECISIONS, required=True),
        shape=shape,
        weekdays=weekdays,
        growth=number(fields, "growth", 0.0, -1.0, 1.0),
        noise=number(fields, "noise", 0.0, 0.0, 2.0),
        actual=numbers(fields, "actual", 1, limits.SIMULATED_DAYS) or (1.0,),
    )
    fields.done()
    return traffic


def _people(parent: Fields) -> People:
    fields = _inner(parent, "people")
    people = fields.integer("number", 1000, 1, limits.SIMULATED_PEOPLE, required=True)
    zipf = number(fields, "zipf", 1.0, 0.0, 3.0)
    kinds = tuple(_kind(kind) for kind in fields.mappings("kinds", _KINDS_MAX, 1))
    fields.done()
    return People(people, zipf, kinds or (Kind(1.0, {}, 1.0, {}),))


def _kind(fields: Fields) -> Kind:
    names = ("device", "os", "country", "region", "city", "language")
    weight = number(fields, "weight", 1.0, 1e-6, 1e6)
    facts = {name: text for name in names if (text := fields.text(name))}
    consent = number(fields, "consent", 1.0, 0.0, 1.0)
    segments = fields.mapping("segments")
    shares = {}
    if segments is not None:
        shares = {name: number(segments, name, 0.0, 0.0, 1.0) for name in segments.values_given()}
    fields.done()
    return Kind(weight, facts, consent, shares)


def _views(fields: Fields) -> tuple[View, ...]:
    required = "it says what visits ask for"
    return tuple(_view(view) for view in fields.mappings("views", _VIEWS_MAX, 1, required))


def _view(fields: Fields) -> View:
    most = limits.PLACEMENTS_PER_REQUEST
    view = View(
        publisher=fields.slug("publisher", required="it is a publisher's id"),
        placements=fields.values("placements", check_slug, most, 1),
        weight=number(fields, "weight", 1.0, 1e-6, 1e6),
        pages=number(fields, "pages", 1.0, 1.0, 100.0),
        pause_ms=fields.convert("pause", 20_000, duration_ms),
        organic=fields.integer("organic", 20, 0, limits.ORGANIC_PER_PAGE),
    )
    if not fields.present("placements"):
        fields.add("placements", "is missing; it lists placements of the publisher")
    fields.done()
    return view


def _readers(parent: Fields) -> Readers:
    fields = parent.mapping("readers") or Fields({}, "readers", parent.findings)
    clicks = fields.mapping("line_items")
    readers = Readers(
        rendered=number(fields, "rendered", 0.9, 0.0, 1.0),
        released=number(fields, "released", 0.0, 0.0, 1.0),
        after_ms=fields.convert("after", 2000, duration_ms),
        viewable=number(fields, "viewable", 0.6, 0.0, 1.0),
        clicks=number(fields, "clicks", 0.002, 0.0, 1.0),
        line_items={name: number(clicks, name, 0.0, 0.0, 1.0) for name in clicks.values_given()}
        if clicks is not None
        else {},
        buys=number(fields, "buys", 0.0, 0.0, 1.0),
        considers_ms=fields.convert("considers", 3600_000, duration_ms),
    )
    if readers.rendered + readers.released > 1:
        fields.add("released", "with `rendered` it is more than 1: an ad is one of them or neither")
    fields.done()
    return readers


def _outages(fields: Fields, zone: str) -> tuple[tuple[int, int], ...]:
    found = []
    for outage in fields.mappings("outages", limits.SIMULATED_DAYS):
        required = "it is a local time such as 2026-06-03T14:00"
        start = outage.convert("from", 0, lambda text: instant_ms(text, zone, is_end=False), required)
        end = outage.convert("to", start + 1, lambda text: instant_ms(text, zone, is_end=True), required)
        outage.done()
        if end <= start:
            outage.add("to", "is not after `from`")
        found.append((start, end))
    return tuple(sorted(found))


def _generated(parent: Fields) -> Generated | None:
    fields = parent.mapping("generated")
    if fields is None:
        return None
    most = limits.SIMULATED_LINE_ITEMS
    generated = Generated(
        guaranteed=fields.integer("guaranteed", 10, 0, most),
        auction=fields.integer("auction", 30, 0, most),
        load=number(fields, "load", 0.6, 0.0, 10.0),
        demand=number(fields, "demand", 1.0, 0.0, 100.0),
        cap=fields.integer("cap", 3, 0, limits.CAP_LIMIT_MAX),
    )
    fields.done()
    return generated


def _inner(parent: Fields, name: str) -> Fields:
    found = parent.mapping(name, f"it says what {name} to simulate")
    return found if found is not None else Fields({}, name, Findings())


def check_views(config: Config, placements: Mapping[str, str]) -> None:
    """``placements``: full id -> surface, of the catalogue. Raises Invalid for views of what is not there."""
    findings = Findings()
    for place, view in enumerate(config.views):
        feeds = 0
        for rank, name in enumerate(view.placements):
            full_id = f"{view.publisher}/{name}"
            feeds += placements.get(full_id) == "feed"
            if full_id not in placements:
                hint = suggestion(full_id, placements)
                findings.add(
                    f"views[{place}].placements[{rank}]", f"there is no placement {shown(full_id)}{hint}"
                )
        if feeds > 1:
            findings.add(f"views[{place}].placements", "names two feeds; a request has one at most")
    if findings.problems:
        raise Invalid(findings.problems)
