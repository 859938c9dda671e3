"""A Redis Cluster: which master is asked about whom.

A master is believed of itself alone (``claim``): what it says when it is met makes its ground, and the ground
is part of what its generation is of. So a slot that moved, as a replica that was promoted, makes another
generation of everybody there, and each worker gives up whoever had the slot before it adds what it knows to
who has it now. That one comes into force when all have; so nobody is admitted by both.

What members say of each other (``_hear``) tells only whom to meet.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from adserver.domain.admission import Away
from adserver.state.shared.agreement import LOOK_S, Ground
from adserver.state.shared.chart import SLOTS, Member, slot_of
from adserver.state.shared.dialling import Address, Met, NotRedis, charted
from adserver.state.shared.mirror import Told
from adserver.state.shared.node import Node
from adserver.state.shared.untold import Untold
from adserver.state.shared.worker import Worker

_BEAT_S: Final = 0.5
_LOST: Final = "another master has its slots"
_NOTHING: Final = Ground("", frozenset())


class Cluster:
    """``seeds``: some of its members; ``told`` is said why not everybody can be asked about, or "" when all
    can, each time that changes."""

    def __init__(self, seeds: list[Address], worker: Worker, told: Callable[[str], None]) -> None:
        self._seeds = seeds
        self._worker = worker
        self._told = told
        self._nodes: dict[str, Node] = {}
        self._grounds: dict[Node, Ground] = {}
        self._holders: list[Node | None] = [None] * SLOTS
        self._unplaced = Untold()
        self._missed = False
        self._whys: dict[Node, str] = {}
        self._why: str | None = None
        self._next: list[Address] = []
        self._known = {str(one): one for one in seeds}
        self._ended = False

    @property
    def there(self) -> bool:
        held = sum(len(ground.slots or ()) for node, ground in self._grounds.items() if node.there)
        return held == SLOTS

    @property
    def waiting(self) -> int:
        return len(self._unplaced) + sum(len(node.untold) for node in self._nodes.values())

    @property
    def untold(self) -> list[Told]:
        return [*self._unplaced, *(told for node in self._nodes.values() for told in node.untold)]

    @property
    def doubted(self) -> bool:
        return self._missed or any(node.doubted for node in self._nodes.values())

    def of(self, root: bytes) -> Node:
        node = self._holders[slot_of(root)]
        if node is None:
            raise Away("no master has their slot")
        return node

    def tell(self, told: Told) -> None:
        node = self._holders[slot_of(told.who.root)]
        if node is not None:
            node.tell(told)
        elif not self._unplaced.put(told):
            self.doubt()

    def doubt(self) -> None:
        """Nor will those who are yet to be met."""
        self._missed = True
        for node in self._nodes.values():
            node.doubt()

    def end(self) -> None:
        self._ended = True
        for node in self._nodes.values():
            node.end()

    async def keep(self) -> None:
        """All who are known at first are asked before anybody is met: the one that was asked alone might not
        know yet that it was replaced."""
        async with asyncio.TaskGroup() as tasks:
            charts = await asyncio.gather(*(self._chart(one) for one in self._seeds))
            for chart in charts:
                self._hear(chart, tasks)
            while not self._ended:
                self._hear(await self._chart(self._whom()), tasks)
                await asyncio.sleep(_BEAT_S if self.there else LOOK_S)

    # -- whom to meet ------------------------------------------------------------------------------

    def _whom(self) -> Address:
        """All members in turn."""
        if not self._next:
            self._next = list(self._known.values())
        return self._next.pop()

    async def _chart(self, address: Address) -> list[Member]:
        """Nothing where it is away."""
        try:
            return await charted(address)
        except (Away, NotRedis, OSError, TimeoutError) as error:
            if not self._nodes:
                self._say(f"{address}: {error or 'no connection in time'}")
            return []

    def _hear(self, chart: list[Member], tasks: asyncio.TaskGroup) -> None:
        if not chart or self._ended:
            return
        where = {one.name: self._seeds[0].at(one.host, one.port) for one in chart if one.port}
        self._known = {str(one): one for one in (*self._seeds, *where.values())}
        leading = {one.name: one for one in chart if one.leads}
        for name, one in leading.items():
            if name not in self._nodes:
                tasks.create_task(self._new(name, where[name]).keep())
            else:
                self._compare(self._nodes[name], one, where[name])
        for name, node in list(self._nodes.items()):
            if name not in leading and not self._ground(node).slots:
                self._drop(name, node)
        self._sum_up()

    def _new(self, name: str, address: Address) -> Node:
        node = self._nodes[name] = Node(address, self._worker, self.claim, clustered=True)
        node.told = lambda why: self._heard(node, why)
        if self._missed:
            node.doubt()
        return node

    def _compare(self, node: Node, told: Member, where: Address) -> None:
        """What is said of it with what it said of itself."""
        if not node.there:
            node.address = where
        elif told.digest not in self._ground(node).run:
            if told.myself:
                node.part("its slots are others")
            else:
                self._next.append(where)

    def _drop(self, name: str, node: Node) -> None:
        """It leads nothing any more."""
        node.end()
        del self._nodes[name]
        self._grounds.pop(node, None)
        self._whys.pop(node, None)
        for told in node.untold:
            self._unplaced.put(told)

    # -- who holds what ----------------------------------------------------------------------------

    def claim(self, node: Node, met: Met) -> Ground:
        """The ground of a master, as it says; who had some of it before is given up. Raises Away where who
        has some of it is right."""
        me = next(one for one in met.chart if one.myself)
        if self._nodes.get(me.name) is not node:
            raise NotRedis("another member of the cluster answers there")
        slots, before = me.held, self._ground(node).slots or frozenset()
        if not slots:
            raise NotRedis("it has no slots")
        rivals = {one for slot in slots if (one := self._holders[slot]) is not None} - {node}
        if any(self._ground(one).epoch >= me.epoch for one in rivals):
            raise Away(_LOST)
        lost = before - slots
        for slot in lost:
            self._holders[slot] = None
        for slot in slots:
            self._holders[slot] = node
        for told in node.untold.take(lambda root: slot_of(root) in lost):
            self.tell(told)
        for rival in rivals:
            ground = self._ground(rival)
            self._grounds[rival] = msgspec.structs.replace(
                ground, slots=(ground.slots or frozenset()) - slots
            )
            rival.part(_LOST)
        self._hand_over(node, slots - before, [self._unplaced, *(one.untold for one in rivals)])
        # Slots are mostly moved from the lower end.
        ground = Ground(f"{met.run} {me.digest}", slots, me.epoch, max(me.owned), me.owned)
        self._grounds[node] = ground
        return ground

    def _hand_over(self, node: Node, slots: frozenset[int], waiting: list[Untold]) -> None:
        """What others have yet to hear of people who are the node's now."""
        for untold in waiting:
            for told in untold.take(lambda root: slot_of(root) in slots):
                if not node.untold.put(told):
                    node.doubt()

    def _ground(self, node: Node) -> Ground:
        return self._grounds.get(node, _NOTHING)

    # -- what is said of it ------------------------------------------------------------------------

    def _heard(self, node: Node, why: str) -> None:
        self._whys[node] = why
        self._sum_up()

    def _sum_up(self) -> None:
        there = self.there
        self._missed &= not there
        whys = ((node, why) for node, why in self._whys.items() if not there or self._ground(node).slots)
        away = next((f"{node.address}: {why}" for node, why in whys if why), "")
        self._say(away or ("" if there else "not every slot has a master that is known"))

    def _say(self, why: str) -> None:
        if why != self._why:
            self._why = why
            self._told(why)
