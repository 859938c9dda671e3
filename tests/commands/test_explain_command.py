"""``adserver explain`` against a real server: a table a terminal survives, JSON, and whose fault it is."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Live, written
from servers.server import free_port
from test_cli import run, wrong
from world import campaign, filled_campaign, filled_publisher, publisher

pytestmark = pytest.mark.slow

REQUEST = {"placements": [{"id": "top"}], "geo": {"country": "FR\x9b2J"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("explain")
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/a.json": filled_campaign(
            campaign("acme/a", {"id": "l", "pricing": {"model": "cpm", "amount": "3.00"}})
        ),
        "bolt/b.json": filled_campaign(
            campaign(
                "bolt/b",
                {"id": "abroad", "pricing": {"model": "cpm", "amount": "9.00"},
                 "targeting": {"countries": ["US"], "keywords": ["a"]}},
                {"id": "low"},
            )
        ),
    }  # fmt: skip
    with Live(folder / "data", written(folder / "campaigns", documents)) as live:
        yield live


def asked(server: Live, *more: object, role: str = "operator") -> subprocess.CompletedProcess[str]:
    request = server.data.parent / "request.json"
    request.write_text(json.dumps(REQUEST))
    owner = ("--advertiser", "bolt") if role == "advertiser" else ()
    key = server.key(role, *owner)
    return run("explain", request, "--url", server.url, *more, ADSERVER_KEY=key, COLUMNS="200")


def test_a_table_for_people(server: Live) -> None:
    done = asked(server)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout and "\x9b" not in done.stdout
    assert done.stdout.splitlines()[0] == "top: 1 served"
    (low,) = [line for line in done.stdout.splitlines() if "bolt/b/low" in line]
    assert "outbid" in low and "acme/a/l" in low and "pricing.amount" in low and "3000001" in low
    assert "no single change: targeting.countries, then targeting.keywords" in done.stdout


def test_json_for_programs_of_those_named(server: Live) -> None:
    done = asked(server, "--json", "--line-item", "bolt/b/low")
    (told,) = json.loads(done.stdout)["explain"][0]["line_items"]
    assert (told["line_item"], told["counterfactual"]["to_micros"]) == ("bolt/b/low", 3_000_001)


def test_an_advertiser_sees_its_own(server: Live) -> None:
    done = asked(server, role="advertiser")
    assert "acme" not in done.stdout and "3000001" not in done.stdout
    assert "by another" in done.stdout


def test_who_names_a_line_item_that_is_not_there_is_told(server: Live) -> None:
    for role, name in (("operator", "bolt/b/lwo"), ("advertiser", "acme/a/l")):
        done = asked(server, "--line-item", name, "--line-item", "bolt/b/low", role=role)
        assert "bolt/b/low" in done.stdout
        assert (done.returncode, done.stderr) == (
            2,
            f"adserver: no such line item here, or not yet: {name}\n",
        )


def test_the_request_may_come_from_standard_input(server: Live) -> None:
    command = [sys.executable, "-m", "adserver", "explain", "--url", server.url, "--key", server.key()]
    done = subprocess.run(command, input=json.dumps(REQUEST), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("top: 1 served")


@pytest.mark.parametrize(
    ("request_text", "more", "message"),
    [
        (None, (), "no-such-file: No such file"),
        ("{", (), "is not JSON"),
        ("[]", (), "is not a decision request"),
        ("{}", (), "says 400"),
        ('{"placements": [{"id": 7}]}', (), "placements[0].id"),
        ("x" * 70_000, (), "larger than a decision request"),
        ("{}", ("--url", "ftp://x"), "is not the URL of a server"),
        ("{}", ("--url", "http://127.0.0.1:port"), "no good port"),
        ("{}", ("--key", ""), "a key is needed"),
        ('{"placements": [{"id": "top"}]}', ("--key", "adk_0_x"), "says 401"),
    ],
)
def test_wrong_input_is_one_line(
    server: Live, tmp_path: Path, request_text: str | None, more: tuple[str, ...], message: str
) -> None:
    file = tmp_path / ("request.json" if request_text is not None else "no-such-file")
    if request_text is not None:
        file.write_text(request_text)
    given = ("--url", server.url, "--key", server.key(), *more)
    assert message in wrong("explain", file, *given)


def failed(tmp_path: Path, port: int) -> str:
    request = tmp_path / "request.json"
    request.write_text(json.dumps(REQUEST))
    done = run("explain", request, "--url", f"http://127.0.0.1:{port}", "--key", "adk_0_x")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr


def test_a_server_that_is_not_there_is_no_fault_of_the_callers(tmp_path: Path) -> None:
    assert "does not answer" in failed(tmp_path, free_port())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "is it an ad server?"),
        (b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n{}", "says 503: no reason given"),
        (b"SMTP ready\r\n\r\n", "does not answer"),
    ],
)
def test_something_else_that_listens_there(tmp_path: Path, answer: bytes, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert message in failed(tmp_path, listener.getsockname()[1])
        thread.join()
