"""The load test: a server, visitors, campaigns that change every second, and the laws checked afterwards.

``python loadtests/run.py --seconds 30``; exit code 0 only if no call failed, every law holds and was put
to the test, every change was live in time, and the server's own audit (``adserver verify``) agrees.
Everything happens on the loopback address. Visitors and the server share the machine, so the rates printed
are not the server's measure; ``adserver bench`` is.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from loadtests import calls, check, records, terms
from loadtests.changes import Changes
from loadtests.server import ROOT, Broken, Server
from loadtests.terms import World

SCARCE: Final = ROOT / "loadtests" / "scarce"
DELIVERY_AGE_S: Final = 1.1
"""Delivery numbers are at most 1 s old (API.md section 3)."""
_FINISH_S: Final = 20
"""Visitors finish what they are at before the run ends."""
_PATIENCE_S: Final = 60
_NOT_BUILT: Final = "is not built yet"


class Run(Struct):
    """One load test in the folder ``work``."""

    seconds: int
    users: int
    people: int
    campaigns: Path
    work: Path
    command: str
    console: Console

    def everything(self) -> bool:
        """Whether all went well. Raises Broken, and what reading broken campaign files raises."""
        shutil.copytree(self.campaigns, self._world)
        shutil.copytree(SCARCE, self._world, dirs_exist_ok=True)
        world = terms.read(self._world)
        self._records.mkdir(parents=True)
        with Server(self.work, self._world, self.command) as server:
            key = server.key("--role", "operator", "--read-prices")
            failed = self._visits(server, key, world)
            time.sleep(DELIVERY_AGE_S)
            delivery = _delivery(server, key, world)
            server.stop()
            (self.work / "delivery.json").write_text(json.dumps(delivery))
            sound = self._report(delivery, world, failed)
            return self._audit(server) and sound

    @property
    def _world(self) -> Path:
        """The campaigns served: those asked for, and the load test's own scarce ones."""
        return self.work / "campaigns"

    @property
    def _records(self) -> Path:
        return self.work / "records"

    def _visits(self, server: Server, key: str, world: World) -> list[str]:
        """Let visitors come while campaigns change; what went wrong beside the records."""
        changes = Changes(server, key, world, self._records)
        changes.prepare()
        changes.start()
        try:
            failed = self._locust(server, key)
        finally:
            changes.end()
        if not server.running:
            raise Broken(f"the server ended under load, see {server.log}")
        return failed + changes.failed

    def _locust(self, server: Server, key: str) -> list[str]:
        log = self.work / "locust.log"
        command = [
            sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtests" / "locustfile.py"),
            "--headless", "--only-summary", "--host", server.url, "--users", str(self.users),
            "--spawn-rate", str(max(1, self.users // 2)), "--run-time", f"{self.seconds}s",
            "--stop-timeout", str(_FINISH_S), "--exit-code-on-error", "0", "--loglevel", "WARNING",
        ]  # fmt: skip
        environment = {
            **os.environ,
            "LOADTEST_CAMPAIGNS": str(self._world),
            "LOADTEST_RECORDS": str(self._records),
            "LOADTEST_KEY": key,
            "LOADTEST_PEOPLE": str(self.people),
        }
        with log.open("wb") as out:
            most_s = self.seconds + _FINISH_S + _PATIENCE_S
            try:
                done = subprocess.run(
                    command,
                    cwd=self.work,
                    env=environment,
                    stdout=out,
                    stderr=out,
                    timeout=most_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return [f"locust did not end within {most_s} s, see {log}"]
        text = log.read_text(errors="replace")
        if done.returncode or "Traceback" in text:
            return [f"locust ended with {done.returncode}:\n{text[-4000:]}"]
        return []

    def _report(self, delivery: dict[str, Any], world: World, failed: list[str]) -> bool:
        seen = records.read(self._records)
        self.console.print()
        sound = calls.show(seen, self.console)
        for failure in failed:
            self.console.print(f"  failed: {failure}", soft_wrap=True, markup=False, highlight=False)
        return check.show(check.check(seen, delivery, world), self.console) and sound and not failed

    def _audit(self, server: Server) -> bool:
        """The server's own audit of its books."""
        done = server.adserver("verify", "--data", str(server.data))
        text = (done.stdout + done.stderr).strip()
        if _NOT_BUILT in text:
            self.console.print("adserver verify: skipped, it is not built yet")
            return True
        self.console.print(f"adserver verify: {text}", soft_wrap=True, markup=False, highlight=False)
        return done.returncode == 0


def _delivery(server: Server, key: str, world: World) -> dict[str, Any]:
    """Full id of every campaign in service -> its numbers. Raises Broken."""
    found = {}
    for name in world.campaigns:
        advertiser, _, campaign = name.partition("/")
        path = f"/v1/advertisers/{advertiser}/campaigns/{campaign}/delivery"
        status, numbers = server.call("GET", path, key=key)
        if status == 200:
            found[name] = numbers
        elif status != 404:
            raise Broken(f"{path} was answered {status}: {numbers}")
    return found


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Load the server with visitors and check the laws afterwards."
    )
    parser.add_argument("--seconds", type=int, default=30, help="how long visitors come (30)")
    parser.add_argument("--users", type=int, default=40, help="visitors at a time (40)")
    parser.add_argument("--people", type=int, default=150, help="people they are, shared by all (150)")
    parser.add_argument("--campaigns", type=Path, default=ROOT / "campaigns", help="the world (campaigns)")
    parser.add_argument("--work", type=Path, help="an empty folder for everything, kept (a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    parser.add_argument("--adserver", default="", help="run this in place of adserver (for tests)")
    asked = parser.parse_args()
    if not (1 <= asked.seconds <= 86_400 and 1 <= asked.users <= 1000 and asked.people >= 1):
        parser.error("seconds are 1 to 86400, users 1 to 1000, people at least 1")
    return asked


def main() -> int:
    asked, console = _asked(), Console(soft_wrap=True)
    work = asked.work or Path(tempfile.mkdtemp(prefix="adserver-loadtest-"))
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    console.print(f"{asked.users} visitors for {asked.seconds} s ...")
    # Ended from outside, what was started must end too: as an exception this runs every `with`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(asked.seconds, asked.users, asked.people, asked.campaigns, work, asked.adserver, console)
    try:
        sound = run.everything()
    except (Broken, ValueError, OSError) as error:
        console.print(f"failed: {error}", markup=False, highlight=False)
        sound = False
    except KeyboardInterrupt:
        console.print(f"interrupted; what there is is kept in {work}", highlight=False)
        return 130
    if asked.keep or not sound or asked.work:
        console.print(f"everything of this run is kept in {work}", highlight=False)
    else:
        shutil.rmtree(work)
    console.print("load test passed" if sound else "load test FAILED")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
