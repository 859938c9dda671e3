"""A server that runs alone has nothing to do with drivers it does not use."""

from pathlib import Path

import pytest
from live import Live

DRIVERS = ("psycopg", "hiredis", "libpq")


def loaded(pid: int) -> str:
    """The files a process has mapped: its libraries, compiled modules among them."""
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.slow
def test_alone_it_loads_no_driver(tmp_path: Path) -> None:
    with Live(tmp_path / "data") as server:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        for pid in (server.pid, *map(int, children)):
            mapped = loaded(pid)
            assert "msgspec" in mapped, "what is loaded is seen"
            assert not [driver for driver in DRIVERS if driver in mapped]
