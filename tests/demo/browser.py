"""A real browser, driven over the DevTools protocol on a pipe (``--remote-debugging-pipe``: messages end
with NUL), so that no port is opened and no library is needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
"""HeadlessChrome is a declared crawler, and its impressions would be filtered."""

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--no-default-browser-check", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
_TRAMPOLINE = (
    "import os, sys; _, reading, writing, *command = sys.argv; "
    "os.dup2(int(reading), 3); os.dup2(int(writing), 4); os.execvp(command[0], command)"
)


def program() -> str | None:
    """Where Chromium is, if anywhere."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One tab. Use it in a ``with``."""

    def __init__(self, width: int, height: int, dark: bool = False, mobile: bool = False) -> None:
        self._size = (width, height, mobile)
        self._dark = dark
        self._ids = 0
        self._session: str | None = None
        self._buffer = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        command = [
            sys.executable, "-c", _TRAMPOLINE, str(theirs_in), str(theirs_out), str(program()), *_FLAGS,
            f"--user-agent={AGENT}", f"--user-data-dir={self._folder.name}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        width, height, mobile = self._size
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.call("Log.enable")
        self.call("Network.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        if self._dark:
            features = [{"name": "prefers-color-scheme", "value": "dark"}]
            self.call("Emulation.setEmulatedMedia", features=features)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.call("Browser.close", session=False)
            self._process.wait(10)
        except (OSError, EOFError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    def call(self, method: str, session: bool = True, **params: Any) -> dict[str, Any]:
        """The result of a command. RuntimeError where the browser refuses it."""
        self._ids += 1
        message = {"id": self._ids, "method": method, "params": params}
        if session and self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 30
        while True:
            got = self._read(deadline)
            if got.get("id") == self._ids:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']}")
                result: dict[str, Any] = got["result"]
                return result
            self.events.append(got)

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            chunk = os.read(self._in, 1 << 20)
            if not chunk:
                raise EOFError("the browser ended")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        got: dict[str, Any] = json.loads(message)
        return got

    # -- what tests do -----------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Raises RuntimeError where there is no such page."""
        got = self.call("Page.navigate", url=url)
        if "errorText" in got:
            raise RuntimeError(f"{url}: {got['errorText']}")

    def run(self, script: str) -> Any:
        """The value of an expression, promises awaited."""
        got = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in got:
            raise RuntimeError(str(got["exceptionDetails"]))
        return got["result"].get("value")

    def wait(self, condition: str, seconds: float = 15) -> Any:
        """Until an expression is true; its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(condition)):
            if time.monotonic() > deadline:
                status = self.run("document.querySelector('#status')?.innerText")
                raise TimeoutError(f"never true: {condition} ({status}; {self.complaints()})")
            time.sleep(0.05)
        return value

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def called(self, letter: str) -> list[str]:
        """The tracking URLs of a kind that were called so far."""
        self.run("1")
        urls = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in urls if f"/{letter}/" in url]

    def wait_called(self, letter: str, seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not self.called(letter):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no tracking URL of kind {letter} was called")
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """Exceptions and errors of the console so far."""
        found = []
        for event in self.events:
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
            if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(str(event["params"]["entry"]))
        return found


def _pipe() -> tuple[int, int]:
    """(read, write), both above the numbers that the trampoline uses."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
