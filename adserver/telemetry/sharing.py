"""What sharing the state of people with other processes costs, and when it fails."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

from adserver.telemetry.tallies import Tallies, Times

_SECONDS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
)  # fmt: skip


class SharingMetrics:
    """Part of ``Metrics``. ``known``: whether it is known now what people have seen."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.known = False
        self._losses = Counter(
            "adserver_state_losses", "Times that it was not known what people have seen.", registry=registry
        )
        self.took = Times(
            "adserver_state_seconds", "From asking the shared state to its answer.", registry, _SECONDS
        ).observe
        self._missed = Tallies(
            "adserver_state_missed_deadlines",
            "Questions to the shared state not answered in time, by whose: the server's or the request's.",
            registry, ["whose"], [("server",), ("request",)],
        ).steps  # fmt: skip
        self._again = Tallies(
            "adserver_state_redecisions",
            "Decisions made once more: refused, for another server had shown this person something (guessed: "
            "which this one could not know; moved: meanwhile), or the shared state went away.",
            registry, ["because"], [("guessed",), ("moved",), ("away",)],
        ).steps  # fmt: skip

    def state_is(self, known: bool) -> None:
        if self.known and not known:
            self._losses.inc()
        self.known = known

    def missed(self, whose: str) -> None:
        """A deadline: the ``server``'s or the ``request``'s."""
        self._missed[whose,] += 1

    def again(self, because: str) -> None:
        """``because``: guessed, moved or away."""
        self._again[because,] += 1
