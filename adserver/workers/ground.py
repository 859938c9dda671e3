"""What the parent keeps for its workers as they come and go."""

import socket
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from adserver.machines import Enrolled
from adserver.workers.messages import Begin


class Ground(Struct, frozen=True):
    """``sockets``: where each listens; ``doors``: and where other machines bring events to it, if there are
    others; ``mine``: this machine's place among them."""

    sockets: Sequence[socket.socket]
    doors: Sequence[socket.socket] = ()
    mine: Enrolled = field(default_factory=Enrolled)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that a worker inherits."""
        return tuple(one.fileno() for one in (*self.sockets, *self.doors))

    def begin(self, number: int, settings: dict[str, Any]) -> Begin:
        """The first line to a worker."""
        return Begin(
            number,
            len(self.sockets),
            settings,
            tuple(one.fileno() for one in self.sockets),
            self.doors[number].fileno() if self.doors else None,
            self.mine.machine,
            self.mine.peers,
        )
