"""Which of several serving processes this is."""

from msgspec import Struct

from adserver.domain import ids


class Worker(Struct, frozen=True):
    """``number``, from 0, of as many as ``of``. Whoever is alone is number 0 of 1."""

    number: int = 0
    of: int = 1

    def home(self, minted: bytes) -> int:
        """The number of the worker that keeps what belongs to this id: whoever minted it, or the first one
        where that is no more (or no worker's: ids of before there were any)."""
        owner = ids.owner_of(minted)
        return owner if owner < self.of else 0

    def is_left(self, minted: bytes) -> bool:
        """Whether whoever minted it is no more."""
        return ids.owner_of(minted) >= self.of

    def owns(self, minted: bytes) -> bool:
        """Whether it minted this id itself."""
        return ids.owner_of(minted) == self.number

    def keeps(self, line_item: int) -> bool:
        """Whether it is the one that sells this, where only one can."""
        return line_item % self.of == self.number


ALONE = Worker()
