"""The answer to ``POST /v1/decisions``: decide, explain where asked, render."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from adserver.services import explain, plans
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.render import Renderer
from adserver.services.serve import Decisions, Outcome


class Answer(Struct, frozen=True):
    status: int
    body: bytes


class AdServer:
    """``served`` is told of every outcome (metrics)."""

    def __init__(
        self,
        decisions: Decisions,
        renderer: Renderer,
        accounts: plans.Accounts,
        served: Callable[[Outcome], None],
    ) -> None:
        self._decisions = decisions
        self._renderer = renderer
        self._accounts = accounts
        self._served = served

    def decide(self, ask: Ask, asker: Asker, terms: Terms) -> Answer:
        """Raises Refused."""
        if ask.explain or ask.explain_line_items:
            explain.allowed(asker)
        outcome = self._decisions.decide(ask, asker, terms)
        self._served(outcome)
        told = None
        if ask.explain or ask.explain_line_items:
            told = explain.explain(outcome, ask, asker, self._accounts)
        body = self._renderer.answer(
            outcome.decision,
            outcome.serving.snapshot,
            outcome.subject,
            asker.read_prices,
            told,
            ask.consent.tcf or "",
        )
        return Answer(200, body)

    def resolve(self, ask: Ask, asker: Asker, terms: Terms) -> Outcome:
        """The same decision for an adapter that writes it in another protocol. Raises Refused."""
        outcome = self._decisions.decide(ask, asker, terms)
        self._served(outcome)
        return outcome

    def origins(self, publisher: str | None) -> Sequence[str]:
        """The web origins that may read this publisher's answers; empty: any."""
        publishers = self._decisions.world.snapshot.publishers
        found = publishers.get(publisher or "") or (
            next(iter(publishers.values())) if len(publishers) == 1 else None
        )
        return found.origins if found is not None else ()
