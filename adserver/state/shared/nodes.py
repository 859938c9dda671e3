"""The Redis servers that hold what people have seen, and who holds what of whom."""

from collections.abc import Callable

from adserver.state.shared.dialling import Address
from adserver.state.shared.mirror import Told
from adserver.state.shared.node import Node
from adserver.state.shared.worker import Worker


class Nodes:
    """``told`` is said why somebody is away, or "" when all are there, each time that changes."""

    def __init__(self, url: str, worker: Worker, told: Callable[[str], None]) -> None:
        self._node = Node(Address(url), worker, told)

    def of(self, root: bytes) -> Node:
        """Who holds what a person has seen. Raises Away."""
        return self._node

    @property
    def there(self) -> bool:
        """Whether everybody would be asked about now."""
        return self._node.there

    @property
    def waiting(self) -> int:
        """How much waits to be heard."""
        return len(self._node.untold)

    @property
    def untold(self) -> list[Told]:
        """The same, in order for each person."""
        return list(self._node.untold)

    @property
    def doubted(self) -> bool:
        return self._node.doubted

    def tell(self, told: Told) -> None:
        """What became of somebody's ads."""
        self._node.tell(told)

    def doubt(self) -> None:
        """They will never hear of something."""
        self._node.doubt()

    def end(self) -> None:
        """For good: ``keep`` returns."""
        self._node.end()

    async def keep(self) -> None:
        """Connect, and again whenever it was lost, until ended."""
        await self._node.keep()
