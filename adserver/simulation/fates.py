"""What becomes of ads: drawn for a place in an answer, whoever stands there, so that it is the same for two
servers asked by the same traffic, and for an offline optimum over it."""

from random import Random
from typing import Final

from msgspec import Struct

from adserver.engine import draw
from adserver.simulation.config import Config
from adserver.simulation.traffic import Visit

_SALT: Final = 7
_CLICK_MS: Final = 5000
_FASTEST_MS: Final = 250
"""Nobody clicks sooner: what does is filtered as no person."""


class Fate(Struct, frozen=True):
    """``clicks``: in [0, 1); an ad is clicked by readers who click a larger share; ``buys`` likewise, of
    those who clicked. ``after_ms`` and ``clicked_ms``: from the answer to the impression (or the release),
    and from there to the click; ``bought_ms``: from the click to the purchase."""

    rendered: bool
    released: bool
    viewable: bool
    clicks: float
    after_ms: int
    clicked_ms: int
    buys: float
    bought_ms: int


class Fates:
    def __init__(self, config: Config) -> None:
        self._readers = config.readers
        self._secret = draw.mix(config.seed, _SALT)

    def of(self, visit: Visit, page: int, place: int, index: int) -> Fate:
        """Of the ad number ``index`` at the placement number ``place`` of a page's request."""
        own = Random(draw.mix(self._secret, (visit.number << 24) + (page << 12) + (place << 6) + index))
        readers, fate = self._readers, own.random()
        return Fate(
            rendered=fate < readers.rendered,
            released=readers.rendered <= fate < readers.rendered + readers.released,
            viewable=own.random() < readers.viewable,
            clicks=own.random(),
            after_ms=1 + int(own.expovariate(1) * readers.after_ms),
            clicked_ms=_FASTEST_MS + int(own.expovariate(1) * _CLICK_MS),
            buys=own.random(),
            bought_ms=1 + int(own.expovariate(1) * readers.considers_ms),
        )
