"""Redis servers that cannot be worked with say why, in words for an operator; and whose clock counts."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from redis import Redis as Client
from remote import Remote
from servers.redis_server import Redis
from servers.server import ground
from test_shared_losses import ANNA, BEGAN_MS, RENDER_MS, Clock, counter, exposure, served

from adserver.domain.caps import BoundCap
from adserver.state.shared.dialling import Address, NotRedis, meet
from adserver.state.shared.wire import Wire, Word

HOUR_MS = 3_600_000
HOURLY = BoundCap("line_item:1", 1, HOUR_MS)


@pytest.fixture(scope="module")
def own() -> Iterator[Redis]:
    """One to be set up wrongly."""
    with ground() as path, Redis(path / "redis") as server:
        yield server


@pytest.mark.parametrize(
    ("settings", "undone", "said"),
    [
        (["CONFIG SET maxmemory 100mb", "CONFIG SET maxmemory-policy allkeys-lru"],
         ["CONFIG SET maxmemory-policy noeviction"], "policy allkeys-lru forgets people's counters"),
        (["REPLICAOF 127.0.0.1 1"], ["REPLICAOF NO ONE"], "it is a replica"),
        (["CONFIG SET min-replicas-to-write 1"], ["CONFIG SET min-replicas-to-write 0"], "NOREPLICAS"),
    ],
    ids=["evicting", "replica", "no replicas"],
)  # fmt: skip
def test_what_is_wrong_is_said(own: Redis, settings: list[str], undone: list[str], said: str) -> None:
    for command in settings:
        own.ask(*command.split())
    remote = Remote(own.url)
    try:
        with pytest.raises(TimeoutError):
            remote.wait(patience_s=0.5)
        (told,) = remote.told
        assert said in told
        for command in undone:
            own.ask(*command.split())
        remote.wait()
    finally:
        remote.close()


@pytest.mark.parametrize(("who", "said"), [("", "NOAUTH"), (":wrong@", "WRONGPASS")])
def test_a_wrong_password_is_said(own: Redis, who: str, said: str) -> None:
    own.configure("requirepass", "secret")
    remote = Remote(own.url.replace("redis://", f"redis://{who}"))
    try:
        with pytest.raises(TimeoutError):
            remote.wait(patience_s=0.5)
        (told,) = remote.told
        assert said in told
    finally:
        remote.close()
        with Client(port=own.port, password="secret") as client:
            client.config_set("requirepass", "")


def test_a_server_too_old_is_said() -> None:
    class Old(Wire):
        def __init__(self) -> None:
            super().__init__(1.0, lambda why: None)

        def ask(self, words: Sequence[Word]) -> "asyncio.Future[object]":
            said = asyncio.get_running_loop().create_future()
            said.set_result(b"redis_version:6.2.14\r\nrole:master\r\n" if words[0] == b"INFO" else b"OK")
            return said

    async def met() -> None:
        await meet(Old(), Address("redis://localhost"))

    with pytest.raises(NotRedis, match=r"Redis 6\.2\.14 is too old"):
        asyncio.run(met())


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS], ids=["ahead", "back"])
def test_windows_and_expiries_are_those_of_the_workers_clock(redis_server: Redis, step_ms: int) -> None:
    """Whatever Redis' own says: set ahead, what is over then is over; set back, nothing is forgotten."""
    clock = Clock()
    with served(redis_server, clock) as remote:
        remote.grant(b"a" * 16, exposure(HOURLY), (HOURLY,))
        clock.now_ms += step_ms
        assert remote.full(HOURLY, ANNA, None, clock()) is (step_ms < 0)
        clock.now_ms = BEGAN_MS + RENDER_MS
        remote.confirm(b"a" * 16, ANNA, HOURLY_COUNTS, clock())
        shown_ms = clock()
        clock.now_ms += step_ms
        assert remote.full(HOURLY, ANNA, None, clock()) is (step_ms < 0)
        clock.now_ms = shown_ms + HOUR_MS - 1
        assert remote.full(HOURLY, ANNA, None, clock())
        clock.now_ms = shown_ms + HOUR_MS
        assert not remote.full(HOURLY, ANNA, None, clock())
        assert counter(remote)[0] == 0


HOURLY_COUNTS = exposure(HOURLY).counts
