"""A Redis Cluster in a test."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from redis.exceptions import RedisError

from servers.redis_server import Redis
from servers.server import free_port

_MASTERS = 3
_SLOTS = 16_384
_NODE_TIMEOUT_MS = 1000
"""After which a master that is silent is taken for failed; Redis's own default is 15 s."""


class RedisCluster:
    """Six: three masters and a replica of each, at first ``nodes[n]`` and ``nodes[n + 3]``. ``settings``:
    flags of each ``redis-server``."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        common = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(_NODE_TIMEOUT_MS),
            # Or nobody has a master where one has none.
            "cluster-require-full-coverage": "no",
        } | dict(settings or {})
        ports = [free_port() for _ in range(2 * _MASTERS)]
        self.nodes = [
            Redis(folder / f"node-{number}", {"cluster-port": str(port), **common})
            for number, port in enumerate(ports)
        ]
        self._buses = dict(zip(self.nodes, ports, strict=True))
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """Of two members: those that were a master and its replica at first."""
        hosts = (f"127.0.0.1:{node.port}" for node in self.nodes[::_MASTERS])
        return f"rediscluster://{','.join(hosts)}"

    def __enter__(self) -> Self:
        with ExitStack() as running:
            for node in self.nodes:
                running.enter_context(node)
            self._join()
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)

    # -- who is who --------------------------------------------------------------------------------

    def masters(self) -> list[Redis]:
        """Those that answer. A master that is cut off goes on taking itself for one."""
        return [node for node in self.nodes if node.awake and _is_master(node)]

    def master_of(self, key: str) -> Redis:
        """Who has the slot of a key."""
        slot = int(self.slot_of(key))
        [found] = [node for node in self.masters() if _owns(node, slot)]
        return found

    def slots_of(self, master: Redis) -> frozenset[int]:
        return frozenset(_slots(master))

    def replica_of(self, master: Redis) -> Redis:
        [found] = [node for node in self.nodes if node.awake and _follows(node) == master.port]
        return found

    def promote(self, replica: Redis) -> None:
        """Make it the master of its slots without asking anybody: what its master had and had not yet sent is
        lost. Returns when it is one."""
        replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
        replica.until(lambda: _is_master(replica), "is a master")

    def sever(self, replica: Redis) -> None:
        """What its master is told from now on it does not hear, until its master started again."""
        [master] = [node for node in self.nodes if node.awake and node.port == _follows(replica)]
        master.ask("ACL", "SETUSER", "default", "-psync", "-sync")
        master.ask("CLIENT", "KILL", "TYPE", "replica")
        replica.until(lambda: replica.ask("ROLE")[3] != b"connected", "is cut off")

    def leave(self, key: str, to: Redis) -> None:
        """Begin to move the slot of a key: half of its keys, at least one, are elsewhere."""
        slot, master = self.slot_of(key), self.master_of(key)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", master.ask("CLUSTER", "MYID").decode())
        master.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.ask("CLUSTER", "MYID").decode())
        found = [one.decode() for one in master.ask("CLUSTER", "GETKEYSINSLOT", slot, "1000")]
        self._migrate(master, found[: (len(found) + 1) // 2], to)

    def arrive(self, key: str, to: Redis) -> None:
        """Move the rest, and the slot."""
        slot, master = self.slot_of(key), self.master_of(key)
        found = [one.decode() for one in master.ask("CLUSTER", "GETKEYSINSLOT", slot, "1000")]
        self._migrate(master, found, to)
        name = to.ask("CLUSTER", "MYID").decode()
        for node in (to, master):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", name)

    @staticmethod
    def _migrate(master: Redis, keys: list[str], to: Redis) -> None:
        if keys:
            master.ask("MIGRATE", "127.0.0.1", str(to.port), "", "0", "5000", "KEYS", *keys)

    def slot_of(self, key: str) -> str:
        return str(self.masters()[0].ask("CLUSTER", "KEYSLOT", key))

    def until_whole(self, seconds: float = 30.0) -> None:
        """Wait until those that answer agree that every slot is served, and replicas are in step."""
        for node in self.nodes:
            if node.awake:
                node.until(lambda node=node: _whole(node), "is in a whole cluster", seconds)

    def empty(self) -> None:
        """Forget every key."""
        for node in self.masters():
            node.ask("FLUSHALL")

    # -- how it begins -----------------------------------------------------------------------------

    def _join(self) -> None:
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            if number < _MASTERS:
                low, high = (_SLOTS * n // _MASTERS for n in (number, number + 1))
                node.ask("CLUSTER", "ADDSLOTSRANGE", str(low), str(high - 1))
            if node is not first:
                node.ask("CLUSTER", "MEET", "127.0.0.1", str(first.port), str(self._buses[first]))
        for node in self.nodes:
            node.until(lambda node=node: self._knows_all(node), "knows the others")
        for master, replica in zip(self.nodes[:_MASTERS], self.nodes[_MASTERS:], strict=True):
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID").decode())
        self.until_whole()

    def _knows_all(self, node: Redis) -> bool:
        known = _known(node)
        return len(known) == len(self.nodes) and all("handshake" not in line[2] for line in known)


def _known(node: Redis) -> list[list[str]]:
    """The lines of CLUSTER NODES: id, address, flags, master, ..., slots from the ninth on."""
    return [line.split() for line in node.ask("CLUSTER", "NODES").decode().splitlines()]


def _owns(node: Redis, slot: int) -> bool:
    return slot in _slots(node)


def _slots(node: Redis) -> Iterator[int]:
    [myself] = [line for line in _known(node) if "myself" in line[2]]
    for low, _, high in (part.partition("-") for part in myself[8:] if part[0] != "["):
        yield from range(int(low), int(high or low) + 1)


def _is_master(node: Redis) -> bool:
    return bool(node.ask("ROLE")[0] == b"master")


def _follows(node: Redis) -> int | None:
    """The port of its master."""
    role = node.ask("ROLE")
    return int(role[2]) if role[0] == b"slave" else None


def _whole(node: Redis) -> bool:
    try:
        role, stated = node.ask("ROLE"), node.ask("CLUSTER", "INFO")
    except RedisError:
        return False
    in_step = role[0] == b"master" or role[3] == b"connected"
    return bool(in_step and b"cluster_state:ok" in stated and b"cluster_slots_ok:16384" in stated)
