"""A repeat of what another worker minted is asked of that one first.

A shared store has a page or an answer as soon as it was agreed on, and its journal a moment later. A worker
that is killed in between leaves there what no journal knows; one whose answer came too late takes it back.
Given to whoever asks again, its ads would be billed without a decision. So nothing is repeated unless
whoever minted it says that it gave it (``lives``); what was nobody's is taken back, and where nobody says
anything in time it is as if the store were away. Only repeats ask: what is decided anew costs nothing more.
"""

import asyncio
from collections.abc import Sequence

from adserver.clock import Clock
from adserver.domain import limits
from adserver.domain.admission import Away
from adserver.domain.errands import GIVEN, NOBODYS, UNSURE, Repeated
from adserver.domain.verdicts import Passed
from adserver.domain.workers import Worker
from adserver.services.lives import Life
from adserver.services.passing import Others, Taken


class Vouching:
    """Of one ``worker``, and its ``life``. ``others``: None where there are none; they have ``within_s`` to
    say something."""

    def __init__(
        self, worker: Worker, life: Life, others: Others | None, within_s: float, clock: Clock
    ) -> None:
        self.life = life
        self._worker = worker
        self._others = others
        self._within_s = within_s
        self._clock = clock

    async def is_given(self, repeated: Repeated, until_ms: int | None = None) -> bool:
        """False: to nobody, and it never will be. ``until_ms``: by the clock, when an answer is of no use any
        more. Raises Away where nobody can tell."""
        within_s = self._within_s
        if until_ms is not None:
            within_s = min(within_s, (until_ms - self._clock()) / 1000)
        time = asyncio.get_running_loop().time
        until = time() + within_s
        while (said := await self._said(repeated, until - time())) == UNSURE:
            # Most often it is on its way: agreed on, and not in the journal yet.
            if until - time() < limits.VOUCHED_AGAIN_S:
                raise Away("whoever decided this does not know whether it was given")
            await asyncio.sleep(limits.VOUCHED_AGAIN_S)
        return said == GIVEN

    async def _said(self, repeated: Repeated, within_s: float) -> bytes:
        if self._worker.owns(repeated.minted):
            return self.life.says(repeated, self._clock())
        home = self._worker.home(repeated.minted)
        if self._others is None or home is None or self._worker.is_left(repeated.minted):
            raise Away("whoever decided this is no more")
        passed = Passed()
        done = self._others.bring(home, repeated, passed, alone=True, within_s=max(within_s, 0))
        if done is not None:
            await asyncio.shield(done)
        if not passed.said:
            raise Away("whoever decided this does not answer")
        return passed.said

    def is_own_orphan(self, repeated: Repeated) -> bool:
        """Whether an earlier life of this process was killed with it."""
        return self._worker.owns(repeated.minted) and self.life.says(repeated, self._clock()) == NOBODYS

    def judge(self, errands: Sequence[Repeated]) -> list[Taken]:
        """What others ask."""
        return [(self._judged(one), None) for one in errands]

    def _judged(self, repeated: Repeated) -> Passed:
        owns = self._worker.owns(repeated.minted)
        return Passed(said=self.life.says(repeated, self._clock()) if owns else UNSURE)
