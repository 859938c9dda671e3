"""Serve ads: from the asked request to the journalled answer.

A request id answered before is answered again; a server behind its work says so; everything else is
decided (``deciding``) and its record handed to the journal before the answer leaves: of those that promise
something every one, of the others a sample.
"""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from adserver.clock import Clock
from adserver.domain import limits
from adserver.domain.books import JournalClosed
from adserver.domain.decision import Decision, NoFill, Slot
from adserver.domain.records import Decided, Personal
from adserver.domain.request import Request
from adserver.services import asked
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.deciding import MODES, Deciding
from adserver.services.kept import Kept
from adserver.services.normalise import Normaliser
from adserver.services.rehearsal import Rehearse
from adserver.services.repeats import Repeat
from adserver.services.slate import PlacementSlate
from adserver.services.world import Serving, World


class Outcome(Struct, frozen=True):
    """A decision, whom it is for, and the slates it came from (none where it was answered again)."""

    decision: Decision
    request: Request
    serving: Serving
    subject: bytes | None
    slates: tuple[PlacementSlate | None, ...] = ()


Look = Callable[[Rehearse], None]
"""Who asks why: may rehearse the decision (law 5: it is the one that follows), as it is and changed."""


class Decisions:
    """The use case. ``chance``: 8 random bytes; ``overloaded``: whether a request that wants its answer
    within so many milliseconds (None: whenever) comes too late for it."""

    def __init__(
        self, world: World, kept: Kept, normaliser: Normaliser, clock: Clock,
        key_id: Callable[[], int], chance: Callable[[], bytes], overloaded: Callable[[int | None], bool],
    ) -> None:  # fmt: skip
        self.world = world
        self._kept = kept
        self._normaliser = normaliser
        self._clock = clock
        self._key_id = key_id
        self._chance = chance
        self._overloaded = overloaded

    def decide(self, ask: Ask, asker: Asker, terms: Terms, look: Look | None = None) -> Outcome:
        """``look`` is shown a rehearsal before anything is decided for good. Raises Refused."""
        serving = self.world.serving
        request = self._normaliser.request(ask, asker, terms, serving.snapshot, self._clock())
        found = self._at_once(request, serving, ask.tmax_ms)
        if found is not None:
            return found
        if look is not None:
            look(Rehearse(request, serving, self._kept))
        deciding = Deciding(request, serving, self._kept, self._key_id())
        return self._done(deciding, deciding.run())

    async def decide_later(self, ask: Ask, asker: Asker, terms: Terms, look: Look | None = None) -> Outcome:
        """The same where something is waited for, which it is not where everything is in this process."""
        return self.decide(ask, asker, terms, look)

    def _at_once(self, request: Request, serving: Serving, tmax_ms: int | None) -> Outcome | None:
        """Where nothing need be decided."""
        kept = self._kept
        if request.repeat_key is not None:
            repeat = kept.repeats.find(request.repeat_key, request.now_ms)
            if repeat is not None:
                return Outcome(repeat.decision, request, serving, repeat.subject)
        if self._overloaded(tmax_ms):
            return self._unanswered(request, serving, NoFill.OVERLOADED)
        return None

    def _unanswered(self, request: Request, serving: Serving, why: NoFill) -> Outcome:
        """Nothing is decided, and nothing kept: the same may be asked again."""
        decision = _without(request, serving, why)
        self._kept.tally.count(decision)
        return Outcome(decision, request, serving, request.subject)

    def _done(self, deciding: Deciding, decision: Decision) -> Outcome:
        """Kept, or undone."""
        kept, request, serving = self._kept, deciding.request, deciding.serving
        if deciding.fleeting:
            deciding.undo()
        elif not deciding.paid:
            # House ads without a price or a cap, and organic pages: nothing of it needs to be kept.
            deciding.undo()
            self._remember(deciding, decision, journalled=False)
            kept.tally.count(decision, journalled=False)
        elif not self._keep(deciding, decision):
            deciding.undo()
            decision = without_ads(decision)
            kept.tally.count(decision)
        slates = tuple(deciding.slates)
        # The slates ask the deciding back. A circle would be left to the collector, which comes when nothing
        # of it is in the processor's caches any more: a fifth of a decision's time.
        deciding.slates.clear()
        return Outcome(decision, request, serving, request.subject, slates)

    def _keep(self, deciding: Deciding, decision: Decision) -> bool:
        """Into the journal before the answer leaves; False where there is no room and ads were promised."""
        request, journalled = deciding.request, True
        promised = any(slot.ads and slot.repeated is None for slot in decision.slots)
        sampled = request.seed % limits.UNFILLED_JOURNALLED == 0
        if promised or request.repeat_key is not None or any(deciding.pages) or deciding.touched or sampled:
            live, said = deciding.serving.live, asked.packed(request, decision, deciding.serving.snapshot)
            try:
                self._kept.journal.append(
                    Decided(decision, request.repeat_key, live.hints(deciding.moved)),
                    Personal(self._chance(), request.subject, request.session, *said),
                )
                live.told(deciding.moved)
            except JournalClosed:
                if promised:
                    return False
                journalled = False
            else:
                self._count(decision)
                if deciding.claims.flat:
                    self._kept.fees.decided(decision)
        self._kept.tally.count(decision)
        self._remember(deciding, decision, journalled)
        return True

    def _count(self, decision: Decision) -> None:
        """As reading the journal again counts it (``hot``)."""
        if decision.mode == 0:
            self._kept.traffic.count(decision.now_ms, len(decision.slots))

    def _remember(self, deciding: Deciding, decision: Decision, journalled: bool) -> None:
        request = deciding.request
        deciding.commit_pages(decision, journalled)
        if request.repeat_key is not None:
            self._kept.repeats.keep(request.repeat_key, Repeat(decision, request.subject))


def _without(request: Request, serving: Serving, why: NoFill) -> Decision:
    snapshot, slots = serving.snapshot, list[Slot]()
    for ask in request.placements:
        view = snapshot.view(request.publisher, ask.id)
        serial = 0 if view is None else view.placement.serial
        slots.append(Slot(serial, ask.id, (), ask.count, why))
    return Decision(
        request.request_id, snapshot.revision, snapshot.publishers[request.publisher].serial, tuple(slots),
        MODES[request.mode], country=request.country, device=request.device,
    )  # fmt: skip


def without_ads(decision: Decision) -> Decision:
    """The journal closed between asking and keeping: nothing is promised, feeds say nothing."""
    slots = tuple(
        msgspec.structs.replace(
            slot, ads=(), unfilled=slot.unfilled + len(slot.ads), no_fill="disk_full", feed=None
        )
        if slot.repeated is None
        else slot
        for slot in decision.slots
    )
    return msgspec.structs.replace(decision, slots=slots)
