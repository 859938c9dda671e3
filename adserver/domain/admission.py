"""Admission: what the state decides in one atomic step, and what it needs to know for it.

A *slate* is one placement of a request with its candidates in serving order. The state walks the slates,
asks every frequency cap, takes the first candidates that pass, and counts their exposures; budgets, feed
positions and exclusions are the slate's own business, told through ``open``, ``remaining`` and ``take``.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from msgspec import Struct

from adserver.domain.caps import BoundCap, Counted

Full = Callable[[BoundCap], bool]
"""Whether a cap has no room left for the person of this request."""


class Away(Exception):
    """Whoever knows what people have seen does not answer in time, or not what can be believed."""


class Late(Away):
    """They do not answer in time."""


class Candidate(Protocol):
    """A line item that passed every rule but those of history."""

    @property
    def caps(self) -> tuple[BoundCap, ...]: ...


C = TypeVar("C", bound=Candidate)


class Granted(Struct, frozen=True):
    """An exposure to be counted. ``kept_ms``: until when a later event may need to know of it; ``caps``: all
    that bind it, none of them full."""

    event_id: bytes
    counts: tuple[Counted, ...]
    expires_ms: int
    kept_ms: int
    caps: tuple[BoundCap, ...] = ()


class Slate(Protocol[C]):
    def open(self) -> bool:
        """Whether another ad is wanted (and, in a feed, allowed at a position of this page)."""
        ...

    def remaining(self) -> Iterable[C]:
        """Candidates not ruled out yet, in serving order, for what is open now."""
        ...

    def limited(self) -> None:
        """This person has as many exposures outstanding as anybody may have: nothing more is taken."""
        ...

    def capped(self, candidate: C, cap: BoundCap) -> None:
        """This candidate is out for the rest of the request: a cap is full."""
        ...

    def take(self, candidate: C, full: Full) -> Granted | None:
        """Take it: choose its creative, hold its price; None if that fails (it is out then)."""
        ...

    def leave(self) -> None:
        """Nobody passed for what is open now."""
        ...
