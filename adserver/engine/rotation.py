"""Which of a line item's creatives is shown.

``weighted``: by weight; ``even``: all alike; ``optimise``: the one that is clicked most, found by Thompson
sampling. For each creative a click rate is drawn from what is believed of it, a beta distribution of its
impressions and clicks, and the highest is shown; so one that is worse is shown as often as it may yet be the
best, and no more. The belief begins as wide as it can at the line item's own rate there, weighing one
click. Part of the draws go by weight whatever was learned: all while nothing was shown, half of them at
``_WEIGHT`` impressions, and never less than one in ``_KEPT``: tastes change, and a new creative among many
known ones gets its chance.

All chance comes from the seed. The draws are of floats: two machines agree where their logarithm, cosine
and power do to the last bit, which may not be so of different C libraries. Source: Thompson, Biometrika
1933; Chapelle and Li, An empirical evaluation of Thompson sampling, NIPS 2011; gamma draws by Marsaglia and
Tsang, ACM TOMS 2000.
"""

from collections.abc import Iterator, Sequence
from math import cos, log, pi, sqrt
from typing import Final

from adserver.domain.campaign import Creative, LineItem
from adserver.engine import draw
from adserver.engine.rates import PER_MILLION, Rates

_WEIGHT: Final = 1000
_KEPT: Final = 20
_BY_WEIGHT: Final = 0x0E16
_BY_CLICKS: Final = 0xC11C


def choose(
    line_item: LineItem, fitting: Sequence[Creative], rates: Rates, placement: int, seed: int
) -> Creative | None:
    """One of the creatives that fit; None where none does. ``placement`` is its serial."""
    if not fitting:
        return None
    if line_item.rotation == "optimise" and not _explores(fitting, rates, seed):
        prior = rates.clicks.rate(line_item.serial, placement)
        return max(fitting, key=lambda creative: _drawn_rate(rates, creative, prior, seed))
    weights = [1 if line_item.rotation == "even" else creative.weight for creative in fitting]
    return fitting[draw.pick(weights, seed, 0)]


def _explores(fitting: Sequence[Creative], rates: Rates, seed: int) -> bool:
    """Whether this draw goes by weight."""
    shown = sum(rates.creatives.get(creative.serial, (0, 0))[0] for creative in fitting)
    every = _WEIGHT + shown
    return draw.below(seed, _BY_WEIGHT, every) < max(_WEIGHT, every // _KEPT)


def _drawn_rate(rates: Rates, creative: Creative, prior: int, seed: int) -> float:
    """From Beta(1 + clicks, 1 / prior + impressions without a click)."""
    shown, clicks = rates.creatives.get(creative.serial, (0, 0))
    uniforms = _uniforms(draw.mix(seed, _BY_CLICKS + creative.serial))
    clicked = _gamma(1 + clicks, uniforms)
    passed = _gamma(PER_MILLION / max(prior, 1) + shown - clicks, uniforms)
    return clicked / (clicked + passed)


def _uniforms(seed: int) -> Iterator[float]:
    """In (0, 1]."""
    number = 0
    while True:
        yield (draw.mix(seed, number) + 1) / (1 << 64)
        number += 1


def _gamma(shape: float, uniforms: Iterator[float]) -> float:
    """From a gamma distribution of this shape, at least 1; some 1.05 tries on average."""
    d = shape - 1 / 3
    c = 1 / sqrt(9 * d)
    while True:
        normal = sqrt(-2 * log(next(uniforms))) * cos(2 * pi * next(uniforms))
        v = (1 + c * normal) ** 3
        if v > 0 and log(next(uniforms)) < normal * normal / 2 + d - d * v + d * log(v):
            return d * v
