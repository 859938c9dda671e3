"""The answer to ``POST /v1/decisions``: decide, explain where asked, write."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from adserver.services import explain
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.elsewhere import Elsewhere
from adserver.services.serve import Decisions, Outcome
from adserver.services.writing import Asked, Writer


class Answer(Struct, frozen=True):
    status: int
    body: bytes


class AdServer:
    """``served`` is told of every outcome (metrics)."""

    def __init__(
        self,
        decisions: Decisions,
        writer: Writer,
        served: Callable[[Outcome], None],
    ) -> None:
        self._decisions = decisions
        self._writer = writer
        self._served = served

    def decide(self, ask: Ask, asker: Asker, terms: Terms) -> Answer:
        """Raises Refused."""
        explanation = explain.asked(ask, asker)
        outcome = self._decisions.decide(ask, asker, terms, explanation)
        return self._answer(ask, asker, outcome, explanation)

    async def decide_later(self, ask: Ask, asker: Asker, terms: Terms) -> Answer:
        """The same, where what people have seen is asked elsewhere. Raises Refused."""
        explanation = explain.asked(ask, asker)
        outcome = await self._decisions.decide_later(ask, asker, terms, explanation)
        return self._answer(ask, asker, outcome, explanation)

    def _answer(
        self, ask: Ask, asker: Asker, outcome: Outcome, explanation: explain.Explanation | None
    ) -> Answer:
        self._served(outcome)
        told = None if explanation is None else explanation.told
        asked = Asked(outcome.subject, asker.read_prices, ask.consent.tcf or "")

        def written() -> Answer:
            return Answer(200, self._writer.answer(outcome.decision, outcome.serving, asked, told))

        try:
            return written()
        except Elsewhere as missing:
            # It was decided, and is not to be again.
            missing.again = written
            raise

    def resolve(self, ask: Ask, asker: Asker, terms: Terms) -> Outcome:
        """The same decision for an adapter that writes it in another protocol. Raises Refused."""
        outcome = self._decisions.decide(ask, asker, terms)
        self._served(outcome)
        return outcome

    async def resolve_later(self, ask: Ask, asker: Asker, terms: Terms) -> Outcome:
        outcome = await self._decisions.decide_later(ask, asker, terms)
        self._served(outcome)
        return outcome

    def origins(self, publisher: str | None) -> Sequence[str]:
        """The web origins that may read this publisher's answers; empty: any."""
        snapshot = self._decisions.world.snapshot
        found = snapshot.publishers.get(publisher or "") or snapshot.only_publisher
        return found.origins if found is not None else ()
