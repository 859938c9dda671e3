"""The Redis servers that hold what people have seen, and who holds what of whom: one, or a ``Cluster``."""

from collections.abc import Callable
from typing import Protocol

from adserver.state.shared.agreement import Ground
from adserver.state.shared.dialling import Address, Met
from adserver.state.shared.mirror import Told
from adserver.state.shared.node import Node
from adserver.state.shared.worker import Worker


class Nodes(Protocol):
    @property
    def there(self) -> bool:
        """Whether everybody would be asked about now."""
        ...

    @property
    def waiting(self) -> int:
        """How much waits to be heard."""
        ...

    @property
    def untold(self) -> list[Told]:
        """The same, in order for each person."""
        ...

    @property
    def doubted(self) -> bool:
        """Whether somebody will never hear of something."""
        ...

    def of(self, root: bytes) -> Node:
        """Who holds what a person has seen. Raises Away."""
        ...

    def tell(self, told: Told) -> None:
        """What became of somebody's ads."""
        ...

    def doubt(self) -> None:
        """They will never hear of something."""
        ...

    def end(self) -> None:
        """For good: ``keep`` returns."""
        ...

    async def keep(self) -> None:
        """Connect, and again whenever it was lost, until ended."""
        ...


class One:
    """It holds everything. ``told`` is said why it is away, or "" when it is there, each time it changes."""

    def __init__(self, address: Address, worker: Worker, told: Callable[[str], None]) -> None:
        self._node = Node(address, worker, _everything, told)

    @property
    def there(self) -> bool:
        return self._node.there

    @property
    def waiting(self) -> int:
        return len(self._node.untold)

    @property
    def untold(self) -> list[Told]:
        return list(self._node.untold)

    @property
    def doubted(self) -> bool:
        return self._node.doubted

    def of(self, _root: bytes) -> Node:
        return self._node

    def tell(self, told: Told) -> None:
        self._node.tell(told)

    def doubt(self) -> None:
        self._node.doubt()

    def end(self) -> None:
        self._node.end()

    async def keep(self) -> None:
        await self._node.keep()


def _everything(_: Node, met: Met) -> Ground:
    return Ground(met.run)
