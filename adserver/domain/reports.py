"""What a delivery report can tell: by what, which numbers, and to whom.

Counts are gross, as accepted; ``net_`` is without what was found invalid later, and stands beside each count
in every report. ``spend_micros`` is net, ``gross_spend_micros`` as billed. Sums are kept in nanos and rounded
down once, in the row that is told: so micros of many rows may add up to less than their sum.
"""

from typing import Final

from msgspec import Struct

from adserver.domain.books import Counts

TIMES: Final = ("hour", "day")
DIMENSIONS: Final = (
    *TIMES, "advertiser", "campaign", "line_item", "creative", "publisher", "placement", "country", "device",
)  # fmt: skip
POINTING: Final = frozenset(("hour", "placement", "country", "device"))
"""By these a row may be about few enough people to point at one."""

COUNTS: Final = ("impressions", "viewable", "clicks", "conversions")
_GROSS: Final = {name: f"net_{name}" for name in COUNTS} | {"spend_micros": "gross_spend_micros"}
"""What is told is told with this."""
REQUESTED: Final = ("requests", "asked", "answered", "fill")
"""Of placements, before there is any line item: asked, for how many ads, how many were answered, and the
share of these."""
OF_PEOPLE: Final = ("reach", "frequency")
"""People who saw at least one impression that is valid; of them, how many saw one, two, ... of them."""
FREQUENCIES: Final = 10
"""The last is for so many and more."""
METRICS: Final = (
    *(name for count in COUNTS for name in (count, f"net_{count}", f"invalid_{count}")),
    "filtered", "expired", "spend_micros", "gross_spend_micros", "refunded_micros", "free_micros",
    "earned_micros", "ctr", "viewability", "ecpm_micros", *REQUESTED, *OF_PEOPLE,
)  # fmt: skip

OPERATOR: Final = "operator"
ADVERTISER: Final = "advertiser"
PUBLISHER: Final = "publisher"

_SALES: Final = ("spend_micros", "gross_spend_micros", "refunded_micros", "free_micros")
_HIDDEN: Final[dict[str, frozenset[str]]] = {
    OPERATOR: frozenset(),
    ADVERTISER: frozenset((*REQUESTED, "earned_micros")),
    PUBLISHER: frozenset((*_SALES, "advertiser", "campaign", "line_item", "creative")),
}
"""A publisher sees what it earns and not who pays what; what a placement is asked is its publisher's."""
_DEFAULT: Final = ("impressions", "viewable", "clicks", "conversions", "ctr", "ecpm_micros")
MONEY: Final = frozenset((*_SALES, "earned_micros", "ecpm_micros"))


def hidden_from(role: str) -> frozenset[str]:
    """Names of dimensions and metrics that this role is not told."""
    return _HIDDEN[role]


def usual(role: str) -> tuple[str, ...]:
    """The metrics of a report that asks for none."""
    return (*_DEFAULT, "earned_micros" if role == PUBLISHER else "spend_micros")


def with_net(metrics: tuple[str, ...], role: str) -> tuple[str, ...]:
    """Each count with its net behind it, each once."""
    told = dict.fromkeys(name for metric in metrics for name in (metric, _GROSS.get(metric, metric)))
    return tuple(name for name in told if name not in _HIDDEN[role])


class Scope(Struct, frozen=True):
    """What a report is about: full ids, empty where everything is. ``campaign`` is of ``advertiser``."""

    advertiser: str = ""
    campaign: str = ""
    publisher: str = ""


class Figures(Counts):
    """A row's sums. ``key``: full ids, country, number of a device, in the order asked for; of a creative, a
    serial of its versions. ``kept``: impressions of whose people the ledger knows; ``people`` of them, and by
    how often they saw it (1, 2, ..., ``FREQUENCIES`` and more)."""

    key: tuple[str | int, ...]
    currency: str
    earned_nanos: int = 0
    requests: int = 0
    asked: int = 0
    answered: int = 0
    people: int = 0
    kept: int = 0
    frequency: tuple[int, ...] = ()

    @property
    def crowd(self) -> int:
        """About how many people it is, as far as is known: each impression without a known person may be
        somebody else's. Where nothing happened but requests, they stand for who asked."""
        if (
            self.impressions
            or self.filtered
            or self.expired
            or self.clicks
            or self.viewable
            or self.conversions
        ):
            return self.people + max(0, self.net("impressions") - self.kept)
        return self.requests
