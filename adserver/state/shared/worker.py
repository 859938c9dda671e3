"""This process as a store knows it: its number, and all that it knows."""

from collections.abc import Callable, Collection

from msgspec import Struct

from adserver.state.shared.mirror import Mirror
from adserver.state.shared.paging import Paging


class Worker(Struct, frozen=True, eq=False):
    """``number`` among ``all``, who share the state, also those that are not there now; ``mirror`` and
    ``paging``: what it granted itself; ``deadline_s``: how long it waits for an answer; ``in_doubt``: whether
    it asks a generation that others have still to add to; ``clocks``: whether some have another one."""

    number: int
    all: Collection[int]
    mirror: Mirror
    paging: Paging
    deadline_s: float
    clock: Callable[[], int]
    in_doubt: bool = False
    clocks: bool = False
