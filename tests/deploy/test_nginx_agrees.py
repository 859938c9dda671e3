"""The numbers of nginx's configuration and the server's: derived from the code, compared."""

import subprocess
from pathlib import Path

import pytest
from nginx_tree import Block, milliseconds, size
from servers import programs
from servers.nginx import CONFIGURATION, UPSTREAM, WRITES

from adserver.api.deadlines import DEADLINES
from adserver.app import App
from adserver.domain import limits
from adserver.settings import Settings


@pytest.fixture(scope="module")
def http() -> Block:
    return Block.read(CONFIGURATION.read_text()).inner("http")


@pytest.fixture(scope="module")
def server(http: Block) -> Block:
    return http.inner("server")


def test_nginx_takes_it(tmp_path: Path) -> None:
    text = CONFIGURATION.read_text().replace(UPSTREAM, "127.0.0.1:1").replace(WRITES, f"{tmp_path}/")
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    done = subprocess.run([programs.nginx(), "-t", "-c", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_every_hot_path_has_the_bound_of_its_bodies(http: Block, server: Block, app: App) -> None:
    bound = {}
    for block in server.blocks:
        lines = block.lines if "client_max_body_size" in block.lines else http.lines
        bound[block.head[1:]] = size(lines["client_max_body_size"][0][0])
    routes = {route.name: route.limit for route in app.asgi.hot.all() if route.limit}
    assert len(routes) == 5
    assert {("=", name): limit for name, limit in routes.items()} == {
        head: limit for head, limit in bound.items() if head[0] == "=" and head != ("=", "/metrics")
    }
    assert bound["/v1/",] == limits.MANAGEMENT_BYTES
    assert bound["/",] <= limits.REQUEST_BYTES


def test_what_is_read_here_first_stays_in_memory(http: Block, server: Block) -> None:
    """A body in a file would be a disk that strangers write to."""
    for block in server.blocks:
        if "proxy_pass" not in block.lines or block.lines.get("proxy_request_buffering") == [("off",)]:
            continue
        held, most = (
            size((block.lines.get(name) or http.lines[name])[0][0])
            for name in ("client_body_buffer_size", "client_max_body_size")
        )
        assert held >= most, block.head
    assert http.text("proxy_max_temp_file_size") == "0"


def test_a_head_that_the_server_takes_fits(http: Block) -> None:
    number, each = http.words("large_client_header_buffers")
    assert size(each) >= limits.HEAD_BYTES >= limits.TARGET_BYTES
    # What does not fit the rest of one buffer moves to the next, so two hold any head of the size of one.
    assert int(number) == 2


def test_the_head_of_an_answer_fits(http: Block) -> None:
    """A redirect names a landing page, whose macros may have grown."""
    assert size(http.text("proxy_buffer_size")) >= 2 * limits.URL_CHARS


def test_nginx_is_the_first_to_close_an_idle_connection(http: Block) -> None:
    idle_ms = milliseconds(http.inner("upstream", "adserver").text("keepalive_timeout"))
    assert idle_ms + DEADLINES.look_ms + 10_000 <= Settings().keep_alive_seconds * 1000


@pytest.mark.parametrize(
    ("directive", "limit_ms"),
    [
        ("client_header_timeout", limits.HEAD_MS),
        ("client_body_timeout", limits.BODY_MS),
        ("proxy_send_timeout", limits.BODY_MS),
        ("send_timeout", limits.STALL_MS),
        ("keepalive_timeout", limits.KEEP_ALIVE_MS),
    ],
)
def test_patience_is_the_servers(http: Block, directive: str, limit_ms: int) -> None:
    assert milliseconds(http.text(directive)) == limit_ms


def test_the_slowest_answer_is_waited_for(http: Block) -> None:
    slowest_s = max(limits.REPORT_S, limits.CLOSING_WAITS * limits.CLOSING_WAIT_S)
    assert milliseconds(http.text("proxy_read_timeout")) >= (slowest_s + 10) * 1000


def test_old_workers_outlive_what_they_answer(http: Block) -> None:
    main = Block.read(CONFIGURATION.read_text())
    assert milliseconds(main.text("worker_shutdown_timeout")) >= limits.STALL_MS
