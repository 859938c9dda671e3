"""Targeting that would let a request through: the entry of a list to add or to take away, for one rule.

A list that wants what the request does not say at all is dropped whole; so is a rule that has no entries
(an expression) or whose entries do not say what to add (a pattern).
"""

from typing import Any, Final

import msgspec

from adserver.domain.places import Area
from adserver.domain.targeting import Clause
from adserver.engine import checks
from adserver.engine.rules import Context, Drop
from adserver.engine.snapshot import Entry
from adserver.services.rehearsal import Change
from adserver.services.remedy import Remedy

_PREFIX: Final = "targeting."
_HOURS: Final = "hours:"
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Edit = dict[str, dict[str, list[Any]]]
"""``add`` and ``remove`` -> part (any, all, none) -> entries."""


def remedy(drop: Drop, entry: Entry, context: Context) -> Remedy | None:
    """For a drop of a targeting rule; None if the rule is not the line item's own."""
    name = drop.rule.removeprefix(_PREFIX)
    clause = entry.clauses.get(name)
    if clause is not None and name != checks.REQUIRED:
        return _of_clause(name, clause, context.facts.get(name, ()), entry)
    check = next((c for c in entry.checks if c.rule == drop.rule and not c.passes(context.said)), None)
    if isinstance(check, checks.Radius):
        return _of_area(check, entry, context)
    return None if check is None else _without(check, {"remove": check.wanted()}, entry)


def _of_clause(name: str, clause: Clause, values: tuple[str, ...], entry: Entry) -> Remedy:
    changed, edit = _edited(clause, values)
    clauses = {**entry.clauses, name: changed}
    told: dict[str, object] = {"change": f"{_PREFIX}{name}", **edit}
    if name.startswith(_HOURS):
        told = {"change": "targeting.dayparts", "add": _daypart(int(values[0]))}
    return Remedy(told, Change(msgspec.structs.replace(entry, clauses=clauses)))


def _edited(clause: Clause, values: tuple[str, ...]) -> tuple[Clause, Edit]:
    """The first of its parts that fails, mended: any, then all, then none."""
    replace = msgspec.structs.replace
    if clause.any and not any(value in values for value in clause.any):
        if not values:
            return replace(clause, any=()), {"remove": {"any": list(clause.any)}}
        return replace(clause, any=(*clause.any, values[0])), {"add": {"any": [values[0]]}}
    missing = [value for value in clause.all if value not in values]
    if missing:
        kept = tuple(value for value in clause.all if value in values)
        return replace(clause, all=kept), {"remove": {"all": missing}}
    refused = [value for value in clause.none if value in values]
    kept = tuple(value for value in clause.none if value not in values)
    return replace(clause, none=kept), {"remove": {"none": refused}}


def _daypart(hour: int) -> dict[str, object]:
    """An hour of the week as campaign files write it."""
    day, hour = divmod(hour, 24)
    return {"days": [_DAYS[day]], "hours": f"{hour:02}-{hour + 1:02}"}


def _of_area(check: checks.Radius, entry: Entry, context: Context) -> Remedy:
    """The nearest circle made as large as it takes, or those around the point taken away."""
    area, point = check.area, context.said.point
    if point is None:
        return _without(check, {"remove": check.wanted()}, entry)
    nearest = area.nearest(point)
    if nearest is not None and not nearest.holds(point):
        metres = int(nearest.distance(point)) + 1
        wider = msgspec.structs.replace(nearest, metres=metres)
        changed = Area(tuple(wider if c is nearest else c for c in area.any), area.none)
        edit = {"circle": {"lat": nearest.lat, "lon": nearest.lon},
                "from_metres": nearest.metres, "to_metres": metres}  # fmt: skip
        return _instead(check, checks.Radius(changed), edit, entry)
    inside = [c for c in area.none if c.holds(point)]
    changed = Area(area.any, tuple(c for c in area.none if not c.holds(point)))
    gone = [{"lat": c.lat, "lon": c.lon, "metres": c.metres} for c in inside]
    return _instead(check, checks.Radius(changed), {"remove": {"none": gone}}, entry)


def _without(check: checks.Check, edit: dict[str, object], entry: Entry) -> Remedy:
    kept = tuple(other for other in entry.checks if other is not check)
    return Remedy({"change": check.rule, **edit}, Change(msgspec.structs.replace(entry, checks=kept)))


def _instead(check: checks.Check, other: checks.Check, edit: dict[str, object], entry: Entry) -> Remedy:
    changed = tuple(other if one is check else one for one in entry.checks)
    return Remedy({"change": check.rule, **edit}, Change(msgspec.structs.replace(entry, checks=changed)))
