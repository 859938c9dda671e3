"""A row's numbers from its sums. Money is rounded down here, once, to micros; ratios to six places."""

from collections.abc import Callable
from typing import Final

from adserver.domain import money
from adserver.domain.reports import COUNTS, FREQUENCIES, PUBLISHER, Figures

Number = int | float | list[int] | None
"""None: there is nothing to be divided by, or nobody knows."""


def _spend(one: Figures) -> int:
    return one.billed_nanos - one.refunded_nanos


def _of(count: str) -> Callable[[Figures], int]:
    return lambda one: int(getattr(one, count))


def _net(count: str) -> Callable[[Figures], int]:
    return lambda one: int(getattr(one, count)) - int(getattr(one, f"invalid_{count}"))


def _micros(name: str) -> Callable[[Figures], int]:
    return lambda one: money.floor_micros(getattr(one, name))


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


METRICS: Final[dict[str, Callable[[Figures], Number]]] = {
    **{count: _of(count) for count in COUNTS},
    **{f"net_{count}": _net(count) for count in COUNTS},
    **{f"invalid_{count}": _of(f"invalid_{count}") for count in COUNTS},
    "filtered": _of("filtered"),
    "expired": _of("expired"),
    "spend_micros": lambda one: money.floor_micros(_spend(one)),
    "gross_spend_micros": _micros("billed_nanos"),
    "refunded_micros": _micros("refunded_nanos"),
    "free_micros": _micros("free_nanos"),
    "earned_micros": _micros("earned_nanos"),
    "ctr": lambda one: _share(_net("clicks")(one), one.net("impressions")),
    "viewability": lambda one: _share(_net("viewable")(one), one.net("impressions")),
    "requests": _of("requests"),
    "asked": _of("asked"),
    "answered": _of("answered"),
    "fill": lambda one: _share(one.answered, one.asked),
    "reach": _of("people"),
    "frequency": lambda one: list(one.frequency) or [0] * FREQUENCIES,
}


def ecpm_micros(one: Figures, role: str) -> int | None:
    """Of a thousand valid impressions: what was spent, to a publisher what it earned."""
    nanos = one.earned_nanos if role == PUBLISHER else _spend(one)
    return nanos // one.net("impressions") if one.net("impressions") else None


def told(one: Figures, metrics: tuple[str, ...], role: str) -> list[Number]:
    return [ecpm_micros(one, role) if name == "ecpm_micros" else METRICS[name](one) for name in metrics]
