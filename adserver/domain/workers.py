"""Which of several serving processes this is, and who else there is.

Processes of one data folder are a *machine*, whatever it runs on. Where machines share a ledger each process
has a number that no other machine ever has (``ledger.machines``), and every id tells the number of who minted
it; so it is known whose an event is, and where that process is reached. What is known of others may be old:
whoever is not known is nobody's to speak for.
"""

from collections.abc import Collection, Iterable

from msgspec import Struct

from adserver.domain import ids


class Peer(Struct, frozen=True):
    """A process that serves, or once did. ``machine``: the identity of its data folder; ``serves``: it is
    one of those that run there; ``door``: where it is reached from other machines, HOST:PORT; ``gone``: its
    machine never comes back, an operator said; ``over``: nothing was heard of it for so long that whatever it
    showed counts in no cap any more."""

    number: int
    machine: str
    serves: bool = True
    door: str = ""
    gone: bool = False
    over: bool = False


class Fleet:
    """All processes that share one ledger, as far as this ``machine`` has heard. ``adding``: the numbers of
    those who may know of somebody's full counters, always of now."""

    def __init__(self, machine: str, peers: Iterable[Peer]) -> None:
        self.machine = machine
        self.adding = set[int]()
        self.learn(peers)

    def learn(self, peers: Iterable[Peer]) -> None:
        """All there are by now."""
        self._peers = {peer.number: peer for peer in peers}
        present = sorted(number for number, peer in self._peers.items() if not peer.gone)
        self._serving = dict[str, list[int]]()
        for number in present:
            if self._peers[number].serves:
                self._serving.setdefault(self._peers[number].machine, []).append(number)
        self._eldest = self._peers[present[0]].machine if present else ""
        serving = {number for numbers in self._serving.values() for number in numbers}
        self.adding.clear()
        self.adding.update(number for number in serving if not self._peers[number].over)

    def home(self, owner: int) -> int | None:
        """Who keeps what this number minted: itself, or the first one of its machine where it serves no more,
        or of the machine that came first where its own never comes back. None: nobody knows of it (yet)."""
        peer = self._peers.get(owner)
        if peer is None:
            return None
        serving = self._serving.get(self._eldest if peer.gone else peer.machine, ())
        if owner in serving:
            return owner
        return serving[0] if serving else None

    def chosen(self, thing: int) -> int | None:
        """Who does what only one may do: always of the machine that came first, so that machines which come
        and go change nothing of it."""
        serving = self._serving.get(self._eldest, ())
        return serving[thing % len(serving)] if serving else None

    def door(self, number: int) -> str | None:
        """Of a process of another machine."""
        peer = self._peers.get(number)
        return peer.door if peer is not None and peer.machine != self.machine else None

    @property
    def here(self) -> list[int]:
        """Those that serve on this machine."""
        return self._serving.get(self.machine, [])

    @property
    def orphans(self) -> list[int]:
        """Those of machines that never come back, where it is this one's to see to what they left."""
        if self._eldest != self.machine:
            return []
        return sorted(number for number, peer in self._peers.items() if peer.gone)


class Worker(Struct, frozen=True):
    """``number``, of as many as ``of`` of its machine: from 0 where that is the only one, else as the
    ``fleet`` has it. Whoever is alone is number 0 of 1."""

    number: int = 0
    of: int = 1
    fleet: Fleet | None = None

    @property
    def shares(self) -> bool:
        """Whether others serve from the same ledger."""
        return self.of > 1 or self.fleet is not None

    @property
    def here(self) -> Iterable[int]:
        """The numbers of those that serve on this machine."""
        return range(self.of) if self.fleet is None else self.fleet.here

    @property
    def adding(self) -> Collection[int]:
        """Those who may know of somebody's full counters, or what became of an ad; always of now."""
        return range(self.of) if self.fleet is None else self.fleet.adding

    @property
    def is_first(self) -> bool:
        """Whether it sees to what the others of its machine left."""
        return self.number == min(self.here, default=self.number)

    def home(self, minted: bytes) -> int | None:
        """The number of the worker that keeps what belongs to this id: whoever minted it, or the first one
        where that is no more (or no worker's: ids of before there were any). None: nobody is known to."""
        owner = ids.owner_of(minted)
        if self.fleet is not None:
            return self.fleet.home(owner)
        return owner if owner < self.of else 0

    def is_left(self, minted: bytes) -> bool:
        """Whether whoever minted it is no more."""
        return self.home(minted) not in (None, ids.owner_of(minted))

    def owns(self, minted: bytes) -> bool:
        """Whether it minted this id itself."""
        return ids.owner_of(minted) == self.number

    def chosen(self, thing: int) -> int | None:
        """Who does what only one may do, of the thing with this number; None: nobody is known to."""
        return thing % self.of if self.fleet is None else self.fleet.chosen(thing)

    def keeps(self, line_item: int) -> bool:
        """Whether it is the one that sells this, where only one can."""
        return self.chosen(line_item) == self.number


ALONE = Worker()
