"""What a worker is given by the process that started it."""

from msgspec import Struct

from adserver.settings import Settings
from adserver.workers.handed import Handed
from adserver.workers.sums import Sums


class Given(Struct, frozen=True):
    """``number``: which of so many ``workers`` it is."""

    number: int
    workers: int
    settings: Settings
    builder: Handed
    sums: Sums
