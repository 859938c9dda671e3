"""Two workers over Redis, one of which is killed between Redis' yes and its journal: the other, asked for the
same at once, gives nothing that no journal knows."""

import http.client
from pathlib import Path
from typing import Any

import pytest
from live import Live
from mortal import COMMAND, DIE
from servers.redis_server import Redis
from test_shared_state import decide, feed, folder, known, soon

from adserver.ledger.verify import verify

__all__ = ["folder"]
pytestmark = pytest.mark.slow
START_S = 60.0
UP = [b'adserver_worker_up{worker="%d"} 1.0' % number for number in range(2)]


def all_up(server: Live) -> bool:
    told = server.get("/metrics").body
    return known(server) and all(up in told for up in UP)


def test_what_a_worker_was_killed_with_the_other_gives_to_nobody(
    tmp_path: Path, folder: Path, redis_server: Redis
) -> None:
    data, flags = tmp_path / "data", ("--redis", redis_server.url, "--redis-deadline-ms", "500")
    with Live(data, folder, COMMAND, *flags, "--workers", "2") as server:
        soon(lambda: all_up(server), START_S)
        (data / DIE).touch()
        bodies = {**feed(0), "id": "once"}, feed(0)
        with pytest.raises((OSError, http.client.HTTPException)):
            server.decide(bodies[0])
        given = list[Any]()

        def are_given() -> bool:
            """Asked of whoever is there, time and again."""
            given[:] = [decide(server, body)["decisions"] for body in bodies]
            for ad in (ad for (slot,) in given for ad in slot["ads"]):
                told = server.get(ad["impression_url"]).headers["x-adserver-event"]
                assert told in ("accepted", "duplicate")
            return all(slot["ads"] for (slot,) in given)

        soon(are_given, START_S)
        soon(lambda: all_up(server), START_S)
        for _ in range(8):
            assert [decide(server, body)["decisions"] for body in bodies] == given
        assert server.stop() == 0
    assert verify(data, report=lambda line: None) == []
