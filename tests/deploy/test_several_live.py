"""nginx, as it is deployed, before two workers that share a Redis and a PostgreSQL."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import test_nginx_live as of_one
from live import Live
from processes import workers_of
from servers.postgresql import Postgres
from servers.redis_server import Redis
from test_nginx_live import Stand
from visitors import Load

from adserver.databases import Database
from adserver.ledger.place import SCHEMA
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow
PATIENCE_S = 60.0
SOME = 150
"""Calls between one trouble and the next."""


def soon(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def known(server: Live) -> bool:
    """What people have seen, to all workers."""
    return b"adserver_state_known 1.0" in server.get("/metrics").body


def renew(server: Live) -> None:
    """One after the other, as for an upgrade."""
    before = set(workers_of(server.pid))
    os.kill(server.pid, signal.SIGHUP)
    soon(lambda: len(now := set(workers_of(server.pid))) == len(before) and not now & before)


def test_an_upgrade_and_stores_that_are_gone_fail_nothing(server_ground: Path) -> None:
    with Redis(server_ground / "redis") as redis, Postgres(server_ground / "postgres") as postgres:
        url = postgres.create()
        shared = ("--redis", redis.url, "--redis-deadline-ms", "500", "--database", url)
        # A worker that leaves waits for idle connections to end.
        briefly = {"keepalive_timeout 60s": "keepalive_timeout 2s"}
        stand = Stand(server_ground, "--workers", "2", *shared, changed=briefly)
        with stand.server, stand.nginx:
            soon(lambda: known(stand.server))
            of_one.test_an_ad_is_decided_shown_and_clicked(stand)
            with Load(stand.nginx.port, 4) as load:
                load.until(SOME)
                renew(stand.server)
                load.until(load.done + SOME)
                redis.kill9()
                load.until(load.done + SOME)
                postgres.shut("immediate")
                load.until(load.done + SOME)
                redis.start()
                postgres.start()
                load.until(load.done + SOME)
            assert not load.failed
            soon(lambda: known(stand.server))
            of_one.test_an_ad_is_decided_shown_and_clicked(stand)
            assert stand.server.stop() == 0
        place = Database(url, SCHEMA)
        assert verify(stand.server.data, lambda _: None, place) == []
