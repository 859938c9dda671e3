"""Line items left out before the walk are exactly those with a full cap, however the counters moved."""

from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adserver.domain import limits
from adserver.domain.caps import BoundCap, counted
from adserver.state.capped import Bits
from adserver.state.exposure import Exposure
from adserver.state.frequency import Exposures

WHO, SESSION, STRANGER = b"p" * 16, b"s" * 16, b"x" * 16
CHUNK = 4
LINE_ITEMS = 10


def caps_of(position: int, shift: int) -> tuple[BoundCap, ...]:
    """Its own, one it shares with half of the others, perhaps a session's, perhaps of clicks."""
    found = [
        BoundCap(f"line_item:{position}", 1 + (position + shift) % 3, 1000),
        BoundCap(f"campaign:{position % 2}", 3 + shift, 4000),
        BoundCap(f"campaign:{position % 2}", 2 + shift, 500),
    ]
    if position % 3 == 0:
        found.append(BoundCap(f"line_item:{position}", 2, 3000, session=True))
    if position % 4 == 0:
        found.append(BoundCap("advertiser:1", 2, 2000, "click"))
    return tuple(found)


class Catalogue:
    """Line items over chunks of 4; ``shift`` is another revision's limits."""

    def __init__(self, shift: int = 0) -> None:
        self.caps = {position: caps_of(position, shift) for position in range(LINE_ITEMS)}

    def capped(self, counter: str) -> tuple[tuple[BoundCap, Bits], ...]:
        found: dict[BoundCap, dict[int, int]] = {}
        for position, caps in self.caps.items():
            chunk, bit = divmod(position, CHUNK)
            for cap in caps:
                if cap.counter == counter:
                    bits = found.setdefault(cap, {})
                    bits[chunk] = bits.get(chunk, 0) | 1 << bit
        return tuple(found.items())


class LeftOut(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state, self.catalogue, self.now_ms, self.ids = Exposures(), Catalogue(), 10_000, count(1)
        self.open: list[bytes] = []
        self.patch = pytest.MonkeyPatch()

    @initialize(kept=st.sampled_from((2, 4, 10_000)))
    def few_are_remembered(self, kept: int) -> None:
        self.patch.setattr(limits, "PEOPLE_KEPT", kept)

    def teardown(self) -> None:
        self.patch.undo()

    @rule(position=st.integers(0, LINE_ITEMS - 1), life_ms=st.integers(1, 2000), known=st.booleans())
    def grant(self, position: int, life_ms: int, known: bool) -> None:
        ident, counts = (
            next(self.ids).to_bytes(16, "big"),
            counted(self.catalogue.caps[position], "impression"),
        )
        ends_ms = self.now_ms + life_ms
        self.state.grant(ident, Exposure(WHO if known else STRANGER, SESSION, counts, ends_ms, ends_ms))
        self.open.append(ident)

    @rule(number=st.integers(0, 9), released=st.booleans())
    def end(self, number: int, released: bool) -> None:
        if self.open:
            ident = self.open.pop(number % len(self.open))
            if released:
                self.state.release(ident)
            else:
                self.state.confirm(ident, WHO, (), self.now_ms)

    @rule(position=st.sampled_from((0, 4, 8)))
    def click(self, position: int) -> None:
        self.state.count(WHO, None, counted(self.catalogue.caps[position], "click"), self.now_ms)

    @rule(ms=st.sampled_from((0, 1, 250, 499, 500, 999, 1000, 3000, 5000)))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @rule(shift=st.integers(0, 1))
    def swap(self, shift: int) -> None:
        self.catalogue = Catalogue(shift)

    @rule()
    def forget(self) -> None:
        self.state.forget(self.now_ms)

    @rule()
    def restart(self) -> None:
        dumped, self.state = self.state.dump(), Exposures()
        self.state.load(dumped)

    @invariant()
    def exactly_the_full_are_left_out(self) -> None:
        self.state.sweep(self.now_ms)
        for who, session in ((WHO, SESSION), (WHO, None), (None, SESSION), (STRANGER, None), (None, None)):
            out = self.state.capped_out(who, session, self.now_ms, self.catalogue)
            for position, caps in self.catalogue.caps.items():
                chunk, bit = divmod(position, CHUNK)
                full = any(self.state.full(cap, who, session, self.now_ms) for cap in caps)
                assert bool(out.get(chunk, 0) >> bit & 1) == full, (position, who, session)


TestLeftOut = LeftOut.TestCase
TestLeftOut.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
