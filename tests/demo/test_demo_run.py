"""The demo as people run it: a process, its signals, its exit codes, and nothing left behind."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "adserver", "demo"]
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


class Demo:
    """A running demo, its output in a file, its temporary folders in a place of their own."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder = folder / "tmp"
        self.folder.mkdir()
        self.port_before = 0
        self.out = folder / "out"
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [*COMMAND, "--port", "0", *options],
                stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True,
                env={**os.environ, "TMPDIR": str(self.folder), **environment},
            )  # fmt: skip

    def said(self) -> str:
        return self.out.read_text()

    def until(self, pattern: str, seconds: float = 40) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.said())) is None:
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        return found

    def port(self) -> int:
        return int(self.until(r"http://127\.0\.0\.1:(\d+)/demo")[1])

    def end(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[list[Demo]]:
    """Demos put in here are ended, whatever happens to the test."""
    running: list[Demo] = []
    yield running
    for demo in running:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


def started(demos: list[Demo], folder: Path, *options: str, **environment: str) -> Demo:
    demos.append(Demo(folder, *options, **environment))
    return demos[-1]


def clean(demo: Demo) -> None:
    """Four laws passed, no traceback, no folder, nobody on the port."""
    said = demo.said()
    assert re.findall(r"^(PASS|FAIL)  law (\d)", said, re.M) == [("PASS", str(law)) for law in range(1, 5)]
    assert "the audit is clean" in said
    assert "Traceback" not in said and "FAILURES" not in said
    assert list(demo.folder.iterdir()) == []
    assert not demo.port_before or not answers(demo.port_before)


def answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def numbers(pattern: str, said: str) -> list[int]:
    return [int(text.replace(",", "")) for text in re.findall(pattern, said)]


def test_it_ends_by_itself_after_the_seconds_asked_for(demos: list[Demo], tmp_path: Path) -> None:
    demo = started(demos, tmp_path, "--seconds", "6")
    demo.port_before = demo.port()
    assert demo.end() == 0, demo.said()
    clean(demo)
    said = demo.said()
    assert re.search(r"\d+ decisions/s", said)
    assert min(numbers(r"driver: ([\d,]+)", said)) > 50, said
    assert numbers(r"([\d,]+) auctions, ", said)[0] > 0 and numbers(r"([\d,]+) bids", said)[0] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_audit(demos: list[Demo], tmp_path: Path, number: signal.Signals) -> None:
    demo = started(demos, tmp_path)
    demo.port_before = demo.port()
    demo.until(r"decisions/s")
    demo.process.send_signal(number)
    assert demo.end() == 0, demo.said()
    clean(demo)


def test_a_signal_before_the_server_is_ready(demos: list[Demo], tmp_path: Path) -> None:
    demo = started(demos, tmp_path)
    while not list(demo.folder.iterdir()):
        assert demo.process.poll() is None, demo.said()
        time.sleep(0.001)
    demo.process.send_signal(signal.SIGTERM)
    assert demo.end() == 0, demo.said()
    clean(demo)


def test_ctrl_c_on_a_terminal(tmp_path: Path) -> None:
    """The whole foreground group gets the signal there; a table is drawn."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", TMPDIR=str(tmp_path))
        os.chdir(ROOT)
        os.execv(sys.executable, [*COMMAND, "--port", "0"])
    said = _drain(terminal, b"latency, client side")
    time.sleep(1)
    os.write(terminal, b"\x03")
    said += _drain(terminal, None)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    text = said.decode()
    assert os.waitstatus_to_exitcode(status) == 0, text[-3000:]
    assert text.count("PASS  law") == 4 and "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


def _drain(terminal: int, until: bytes | None, seconds: float = 60) -> bytes:
    """What is written to the terminal, up to some words or the end."""
    said, deadline = b"", time.monotonic() + seconds
    while until is None or until not in said:
        ready = select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0]
        assert ready, said[-3000:]
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:
            return said
        if not chunk:
            return said
        said += chunk
    return said


def test_a_port_in_use_is_one_clear_line(demos: list[Demo], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = started(demos, tmp_path, "--port", str(port))
        assert demo.end() == 2
    assert demo.said() == f"adserver: port {port} is in use: choose another one with --port\n"
    assert list(demo.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "clue"), [(None, "cannot be read"), ("{}\n", "is not a file of"), ("", "holds no requests")]
)
def test_wrong_recorded_requests_are_one_clear_line(
    demos: list[Demo], tmp_path: Path, content: str | None, clue: str
) -> None:
    file = tmp_path / "requests.jsonl"
    if content is not None:
        file.write_text(content)
    demo = started(demos, tmp_path, ADSERVER_DEMO_REQUESTS=str(file))
    assert demo.end() == 2
    assert clue in demo.said() and demo.said().count("\n") == 1


def test_the_death_of_the_server_is_told(demos: list[Demo], tmp_path: Path) -> None:
    demo = started(demos, tmp_path)
    demo.until(r"decisions/s")
    (server,) = _children(demo.process.pid)
    os.kill(server, signal.SIGKILL)
    assert demo.end() == 1
    said = demo.said()
    assert "the server ended by itself" in said and "Traceback" not in said
    assert re.search(r"^FAIL  law 4", said, re.M) and list(demo.folder.iterdir()) == []


def test_the_death_of_the_demo_leaves_nothing_behind(demos: list[Demo], tmp_path: Path) -> None:
    demo = started(demos, tmp_path)
    port = demo.port()
    demo.process.kill()
    demo.process.wait()
    deadline = time.monotonic() + 30
    while answers(port) or list(demo.folder.iterdir()):
        assert time.monotonic() < deadline, list(demo.folder.iterdir())
        time.sleep(0.05)


def _children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(word) for word in text.split()]
