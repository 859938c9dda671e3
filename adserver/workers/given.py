"""What a worker is given by the process that started it."""

from msgspec import Struct

from adserver.domain.workers import Worker
from adserver.settings import Settings
from adserver.workers.handed import Handed
from adserver.workers.sums import Sums


class Given(Struct, frozen=True):
    """``door``: the descriptor of a listening socket, where other machines bring events."""

    worker: Worker
    settings: Settings
    builder: Handed
    sums: Sums
    door: int | None = None
