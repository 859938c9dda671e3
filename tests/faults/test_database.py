"""A server whose catalog and ledger are in PostgreSQL, whatever becomes of that: decisions and events go on,
the books catch up, and each event is in them once."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kills import Asker, Lost, campaign, line_item, publisher, request, world
from live import Live
from servers.disks import mounted
from servers.postgresql import Postgres
from servers.server import ground

from adserver.databases import Database
from adserver.domain import ids
from adserver.ledger.place import SCHEMA
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow

BACK_S = 5.0 * 10
"""In which what was away is used again: five seconds, ten times that on a machine with other things to do."""
PATH = "/v1/advertisers/brook/campaigns/late"
LATE = campaign("late", [line_item(id="late", pricing={"model": "cpm", "amount": "0.01"})])[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paid = {"id": "paid", "frequency_caps": [{"limit": 200, "per": "1d"}]}
    return world(tmp_path / "world", publisher(), campaign("paid", [paid]))


@pytest.fixture
def own() -> Iterator[Postgres]:
    """One of this test's own, to be killed."""
    with ground() as path, Postgres(path / "postgres") as server:
        yield server


class Serving(Live):
    """``url``: of its database."""

    def __init__(self, data: Path, folder: Path | None, url: str) -> None:
        super().__init__(data, folder, None, "--database", url)
        self.database = url
        self._key = ""

    def key(self, role: str = "operator", *flags: str) -> str:
        """Once it is valid, as it is two seconds after it was made."""
        made = super().key(role, "--database", self.database, *flags)
        soon(lambda: self.get("/v1/advertisers", authorization=f"Bearer {made}").status != 401)
        return made

    def manage(self, method: str, path: str, body: object = None) -> Any:
        self._key = self._key or self.key()
        return self.call(method, path, body, authorization=f"Bearer {self._key}")

    def posted(self) -> list[bytes]:
        """Impressions in the books."""
        with psycopg.connect(self.database, connect_timeout=5) as connection:
            found = connection.execute("SELECT event_id FROM ledger.events WHERE kind = 1 AND status = 1")
            return [row[0] for row in found]

    def audited(self) -> list[str]:
        return verify(self.data, lambda line: None, Database(self.database, SCHEMA))


def report_of_days() -> str:
    """Yesterday, today, and tomorrow."""
    days = [time.strftime("%Y-%m-%d", time.gmtime(time.time() + ahead * 86_400)) for ahead in (-1, 2)]
    return f"/v1/reports/delivery?from={days[0]}&to={days[1]}&group_by=line_item&metrics=impressions"


def soon(what: Callable[[], object], seconds: float = BACK_S) -> None:
    """Until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Load:
    """Decisions and their impressions, one after the other; all must be answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self.accepted = set[bytes]()
        self.slowest_s = 0.0
        self.wrong = list[object]()

    @contextmanager
    def running(self) -> Iterator["Load"]:
        thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()
        assert self.wrong == []
        assert len(self.accepted) > 20

    async def _run(self) -> None:
        asker, number = Asker(self._port), 0
        while not self._ended.is_set() and not self.wrong:
            number += 1
            began = time.monotonic()
            try:
                await self._once(asker, number)
            except (Lost, ValueError, KeyError, AssertionError) as error:
                self.wrong.append(error)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            await asyncio.sleep(0.01)
        asker.close()

    async def _once(self, asker: Asker, number: int) -> None:
        status, _, body = await asker.ask("POST", "/v1/decisions", request(f"u-{number % 50}"))
        assert status == 200, body
        for ad in json.loads(body)["decisions"][0]["ads"]:
            status, headers, body = await asker.ask("GET", ad["impression_url"])
            assert (status, headers["x-adserver-event"]) == (200, "accepted"), body
            self.accepted.add(ids.decode(ad["event_id"]))


def settled(server: Serving, load: Load) -> None:
    """Every impression that was acknowledged is in the books, once."""

    def all_posted() -> bool:
        found = server.posted()
        assert len(found) == len(set(found))
        return load.accepted <= set(found)

    soon(all_posted)
    assert set(server.posted()) == load.accepted


def test_from_a_campaign_to_its_bill(tmp_path: Path, folder: Path, database: str) -> None:
    with Serving(tmp_path / "data", folder, database) as server:
        assert server.manage("PUT", PATH, LATE).status == 201
        with Load(server.port).running() as load:
            time.sleep(3)
        settled(server, load)
        assert server.manage("GET", PATH).json()["line_items"][0]["id"] == "late"
        report = server.manage("GET", report_of_days()).json()
        assert sum(row["impressions"] for row in report["rows"]) == len(load.accepted)
        month = time.strftime("%Y-%m", time.gmtime())
        told = server.manage("GET", f"/v1/statements/brook?month={month}").json()
        assert sum(line["impressions"] for line in told["lines"]) == len(load.accepted)
        assert server.audited() == []
        server.restart()
        assert server.manage("GET", PATH).status == 200
        server.stop()
        assert server.audited() == []
        assert not list(server.data.glob("*.sqlite"))
        for pid in (server.log.read_text(), Path(server.data / "secrets.json").read_text()):
            assert database not in pid


def test_restarted_in_the_midst_of_it_twenty_times(tmp_path: Path, folder: Path, own: Postgres) -> None:
    with Serving(tmp_path / "data", folder, own.create()) as server:
        server.manage("GET", PATH)
        with Load(server.port).running() as load:
            for number in range(20):
                own.shut("immediate")
                if number % 5 == 0:
                    refused = server.manage("PUT", PATH, LATE)
                    assert refused.status == 503
                    assert refused.headers["content-type"] == "application/problem+json"
                    assert server.manage("GET", report_of_days()).status == 503
                own.start()
                time.sleep(0.2)
            soon(lambda: server.manage("PUT", PATH, LATE).status in (200, 201), BACK_S)
            soon(lambda: server.get("/readyz").status == 200)
        settled(server, load)
        server.stop()
        assert server.audited() == []


def test_while_it_is_hung(tmp_path: Path, folder: Path, own: Postgres) -> None:
    """It takes what is sent, and never answers."""
    with Serving(tmp_path / "data", folder, own.create()) as server:
        assert server.manage("GET", PATH).status == 404
        with Load(server.port).running() as load:
            time.sleep(1)
            own.pause()
            load.slowest_s = 0.0
            refused = [server.manage("GET", PATH) for _ in range(2)]
            assert [answer.status for answer in refused] == [503, 503]
            time.sleep(15)
            threads = len(list(Path(f"/proc/{server.pid}/task").iterdir()))
            own.resume()
            soon(lambda: server.manage("GET", PATH).status == 404)
        assert load.slowest_s < 5, "somebody waited for it"
        assert threads < 60
        settled(server, load)
        server.stop()
        assert server.audited() == []


def test_while_its_disk_is_full(tmp_path: Path, folder: Path) -> None:
    with ground() as path, mounted(path / "disk", "200m"):
        (path / "disk").chmod(0o777)
        with Postgres(path / "disk" / "postgres", {"max_wal_size": "64MB", "min_wal_size": "32MB"}) as own:
            through_full_disk(Serving(tmp_path / "data", folder, own.create()), path / "disk" / "ballast")


def through_full_disk(server: Serving, ballast: Path) -> None:
    with server:
        server.manage("GET", PATH)
        with Load(server.port).running() as load:
            time.sleep(1)
            with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):
                while True:
                    file.write(bytes(1 << 14))
            time.sleep(5)
            ballast.unlink()
            soon(lambda: server.manage("PUT", PATH, LATE).status in (200, 201), 2 * BACK_S)
        settled(server, load)
        server.stop()
        assert server.audited() == []
