"""Servers that begin where their imports are done: a process that has imported what ``adserver serve`` needs
is forked for each, which spares two thirds of a start. From there on it is the command line with arguments,
an environment and a log of its own; that ``python -m adserver`` leads there, others test.

``python nursery.py``: a line on standard input is a ``Birth``; on standard output the pid of whoever was born
and, once it has ended, its pid and exit code. They all end with whoever asked for them.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Born:
    """``subprocess.Popen`` as far as tests ask it."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self._nursery = nursery
        self.pid = pid

    def poll(self) -> int | None:
        return self._nursery.ended(self.pid)

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self._nursery.ended(self.pid, 0.01)) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("adserver", timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Asked by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[int, int] = {}
        self._heard = b""
        # A group of its own: Ctrl-C is for pytest, which ends servers in order.
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE.parent, process_group=0,
        )  # fmt: skip

    def bear(self, arguments: list[str], environment: dict[str, str], log: Path) -> Born:
        birth = {"arguments": arguments, "environment": environment, "log": str(log)}
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(birth).encode() + b"\n")
            self._process.stdin.flush()
            while (pid := self._listen()) is None:
                pass
            return Born(self, pid)

    def ended(self, pid: int, within_s: float = 0.0) -> int | None:
        """Its exit code, or minus a signal."""
        assert self._process.stdout is not None
        with self._lock:
            if pid not in self._ends and select.select([self._process.stdout], [], [], within_s)[0]:
                self._listen()
            return self._ends.get(pid)

    def _listen(self) -> int | None:
        """Take in what is said, waiting for it; the pid of whoever was born."""
        assert self._process.stdout is not None
        said = os.read(self._process.stdout.fileno(), 1 << 16)
        assert said, "the nursery ended"
        *lines, self._heard = (self._heard + said).split(b"\n")
        born = None
        for line in lines:
            pid, *code = map(int, line.split())
            if code:
                self._ends[pid] = code[0]
            else:
                born = pid
                self._ends.pop(pid, None)
        return born


_OURS: list[Nursery] = []


def bear(arguments: list[str], environment: dict[str, str], log: Path) -> Born:
    """``adserver`` with these arguments."""
    if not _OURS:
        _OURS.append(Nursery())
    return _OURS[0].bear(arguments, environment, log)


# -- in the nursery ------------------------------------------------------------------------------------


def next_birth() -> dict[str, Any] | None:
    """What a child that was just forked is to live; None in the parent, when nobody asks any more."""
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(waking)
    alive, asked = set[int](), b""
    while True:
        ready = select.select([0, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 1 << 16)
            bury(alive)
        if 0 not in ready:
            continue
        heard = os.read(0, 1 << 16)
        if not heard:
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            return None
        *lines, asked = (asked + heard).split(b"\n")
        for line in lines:
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(woken)
                os.close(waking)
                return dict(json.loads(line))
            alive.add(pid)
            os.write(1, b"%d\n" % pid)


def bury(alive: set[int]) -> None:
    while alive:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        alive.remove(pid)
        os.write(1, b"%d %d\n" % (pid, os.waitstatus_to_exitcode(status)))


def live(birth: dict[str, Any]) -> None:
    log = os.open(birth["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for fd, at in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(fd, at)
    for fd in (nothing, log):
        os.close(fd)
    os.environ.clear()
    os.environ.update(birth["environment"])
    sys.argv = ["adserver", *birth["arguments"]]
    cli.main()


if __name__ == "__main__":
    # As `python -m adserver` has it, and so have the children that look where their parent does.
    sys.path[0] = str(HERE.parent)
    from adserver import cli, serving  # noqa: F401

    if (found := next_birth()) is not None:
        live(found)
