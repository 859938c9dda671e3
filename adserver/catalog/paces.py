"""Pacing as documents say it: a word, or the weights of the 24 hours of a day."""

from typing import Final, cast

from adserver.catalog.fields import Fields
from adserver.catalog.findings import choices, shown
from adserver.domain import limits
from adserver.domain.campaign import Pacing

_WORDS: Final = ("even", "asap", "frontloaded")
_HOURS: Final = 24


def read_pacing(fields: Fields) -> tuple[Pacing, tuple[int, ...]]:
    """(pacing, the weights of local hours where it is ``hourly``)."""
    value = fields.take("pacing")
    if not isinstance(value, list):
        return cast(Pacing, fields.choice("pacing", _WORDS, "asap")), ()
    weights = tuple(weight for weight in value if _is_weight(weight))
    if len(value) != _HOURS or len(weights) != _HOURS or not sum(weights):
        fields.add("pacing", f"{_wrong(value)}; a curve is {_TOLD}, or it is {choices(_WORDS)}")
        return "asap", ()
    return "hourly", weights


def _is_weight(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limits.HOUR_WEIGHT_MAX


def _wrong(value: list[object]) -> str:
    if len(value) != _HOURS:
        return f"has {len(value)} weights"
    odd = [weight for weight in value if not _is_weight(weight)]
    return f"{shown(odd[0])} is no weight" if odd else "all of its weights are 0"


_TOLD: Final = f"{_HOURS} whole numbers from 0 to {limits.HOUR_WEIGHT_MAX}, one of them above 0"
