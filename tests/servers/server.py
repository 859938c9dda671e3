"""A server's process in a test: started on a free port of the loopback, killed, hung, started again.

It never outlives the tests: ``setpriv`` asks the kernel to kill it when the thread that started it ends,
however that ended. So start servers from threads that stay.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from processes import alive

from servers import programs

_READY_S = 60.0
_ENDED_S = 60.0
_LOG_SHOWN = 4000
_PORTS = range(10_240, 32_768)
"""Below those of outgoing connections, or one of these might have the port when its server starts again."""


class Server:
    """``with Redis(folder) as server: ...``; ``folder`` is its own, its log lies beside."""

    name = "server"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder.with_name(f"{folder.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill9()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill9()
        if error is not None:
            error.add_note(self.told())

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def awake(self) -> bool:
        """Whether it runs, and is not paused."""
        return self.running and not self._paused

    def command(self) -> list[str]:
        """What to run, in the foreground, as argv."""
        raise NotImplementedError

    def identity(self) -> list[str]:
        """The options of ``setpriv`` that say as whom to run it; none: as ourselves."""
        return []

    def ready(self) -> bool:
        """Whether it answers, asked again until it does. May raise ``OSError``, which means no."""
        raise NotImplementedError

    # -- its life ----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it and wait until it answers."""
        assert not self.running
        self._paused = False
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.command()
        # In one step: who becomes somebody else loses the signal that was asked for before.
        as_ours = [str(programs.setpriv()), "--pdeathsig", "KILL", *self.identity(), "--"]
        with self.log.open("ab") as log:
            # A group of its own: Ctrl-C is for pytest, which ends servers in order.
            self._process = subprocess.Popen(
                [*as_ours, *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, process_group=0,
            )  # fmt: skip
        self.until(self._answers, "answers")
        return self

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, in the way it understands that signal."""
        assert self._process is not None
        family = self.family()
        self._process.send_signal(sign)
        self._wait(family)

    def kill9(self) -> None:
        """End it and its children, as a power cut would; nothing if it is not running."""
        if not self.running:
            return
        # Stopped, it makes no more children than are seen, and buries none.
        self.pause()
        family = self.family()
        for pid in reversed(family):
            os.kill(pid, signal.SIGKILL)
        self._wait(family)

    def restart(self) -> None:
        """``kill -9``, and start on the same port and folder."""
        self.kill9()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stand and are accepted, and nothing is answered."""
        self._paused = True
        os.kill(self.pid, signal.SIGSTOP)
        self.until(lambda: _stands(self.pid), "is stopped")
        for pid in self.family()[1:]:
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in reversed(self.family()):
            os.kill(pid, signal.SIGCONT)
        self._paused = False

    def family(self) -> list[int]:
        """Its process and the children of that, which have none."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    # -- waiting -----------------------------------------------------------------------------------

    def until(self, done: Callable[[], object], what: str, seconds: float = _READY_S) -> None:
        """Asks ``done`` again and again; an error with the log where it never says so."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise RuntimeError(f"in {seconds} s it was never seen that {self.name} {what}\n{self.told()}")
            time.sleep(0.01)

    def told(self) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"log of {self.name} at port {self.port}:\n{text[-_LOG_SHOWN:]}"

    def _answers(self) -> bool:
        if not self.running:
            raise RuntimeError(f"{self.name} ended at once\n{self.told()}")
        try:
            return self.ready()
        except OSError:
            return False

    def _wait(self, family: list[int]) -> None:
        assert self._process is not None
        self._process.wait(_ENDED_S)
        # A database does not start again while a child of its last life is there.
        self.until(lambda: not any(map(alive, family)), "is gone", _ENDED_S)


def free_port() -> int:
    """A port of the loopback that nobody listens on. By chance that no test sets: others look for one too."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def ground() -> Iterator[Path]:
    """A folder for servers, gone afterwards. Any user may enter it, unlike the folders pytest makes."""
    path = Path(tempfile.mkdtemp(prefix="adserver-servers-"))
    try:
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _stands(pid: int) -> bool:
    """Whether a child of ours is stopped, or has ended and is not yet waited for."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TZ"
