"""The command line as people use it: real processes, exit codes, one clear line for wrong input."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from servers.server import free_port

from adserver.catalog.keys import Keys
from adserver.settings import Settings

SAMPLES = Path(__file__).parents[1] / "campaigns"


def run(*arguments: object, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from adserver.cli import main; main()", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ADSERVER_")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=cwd, env=clean | environ, check=False
    )


def wrong(*arguments: object, **environ: str) -> str:
    """The one line that wrong input is answered with."""
    done = run(*arguments, **environ)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("adserver: ")
    return done.stderr.strip()


def test_check_of_the_samples() -> None:
    done = run("check", SAMPLES)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(": no problems\n")


def test_check_prints_file_path_and_message_of_every_problem(tmp_path: Path) -> None:
    (tmp_path / "solace").mkdir()
    (tmp_path / "solace" / "sleep.yaml").write_text("advertiser: solace\ncampaign: sleep\ncurency: EUR\n")
    (tmp_path / "solace" / "other.yaml").write_text("\x1b[31mx: [")
    done = run("check", tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "solace/other.yaml"
    assert lines[2] == "solace/sleep.yaml"
    assert '  curency: unknown field; did you mean "currency"?' in lines
    assert any(line.startswith("  currency: is missing") for line in lines)
    assert lines[-1] == "1 campaign: 3 problems in 2 files"
    assert "\x1b" not in done.stdout
    assert len(lines) == len(set(lines))


@pytest.mark.slow
def test_apply_and_keys(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = run("apply", SAMPLES, "--data", data)
    assert done.returncode == 0, done
    assert done.stdout.endswith(" created, 0 replaced, 0 left alone\n")
    assert run("apply", SAMPLES, "--data", data).stdout.startswith("0 created, 0 replaced, ")
    done = run(
        "keys", "create", "--role", "advertiser", "--advertiser", "solace", "--data", data, "--read-prices"
    )
    assert done.returncode == 0, done
    assert re.fullmatch(r"adk_[0-9a-f]{16}_[\w-]{43}\n", done.stdout, re.ASCII)
    text = done.stdout.strip()
    key = Keys(data / "catalog.sqlite").find(text, 0)
    assert key is not None
    assert (key.role, key.owner, key.read_prices) == ("advertiser", "solace", True)
    listed = run("keys", "list", ADSERVER_DATA=str(data)).stdout
    assert key.id in listed
    assert text not in listed
    assert run("keys", "revoke", key.id, "--data", data).returncode == 0
    assert "there is no valid key" in wrong("keys", "revoke", key.id, "--data", data)


def test_apply_of_a_broken_folder_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "solace").mkdir()
    (tmp_path / "solace" / "sleep.yaml").write_text("advertiser: solace\ncampaign: sleep\n")
    done = run("apply", tmp_path, "--data", tmp_path / "data")
    assert done.returncode == 1
    assert "currency: is missing" in done.stdout
    assert done.stdout.endswith("nothing was changed\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check",), "Missing argument 'DIR'"),
        (("check", "/nowhere"), "/nowhere is not a folder"),
        (("frobnicate",), "No such command"),
        (("check", "--fast", "."), "--fast"),
        (("keys", "create"), "Missing option '--role'"),
        (("keys", "create", "--role", "king"), "it is operator, advertiser or publisher"),
        (("keys", "create", "--role", "advertiser"), "needs --advertiser"),
        (("keys", "create", "--role", "operator", "--publisher", "x"), "--publisher does not go with"),
        (("keys", "create", "--role", "publisher", "--publisher", "X Y"), "needs --publisher"),
        (("keys", "list", "--data", "/dev/null/x"), "cannot be used"),
        (("serve", "--port", "http"), "port (--port)"),
        (("serve", "--workers", "4"), "name a redis"),
        (("serve", "--redis", "127.0.0.1:6379"), "is not the URL of a Redis"),
        (("serve", "--campaigns", "/nowhere"), "/nowhere is not a folder"),
        (("serve", "--data", "/dev/null", "--port", "0"), "adserver: /dev/null: File exists"),
        (("bench", "--redis-url", "127.0.0.1:6379"), "Redis URL must specify one of the following schemes"),
        (("bench", "--redis-url", "redis://127.0.0.1:1"), "Connection refused"),
        (("bench", "--plots", "/dev/null"), "/dev/null: File exists"),
        (("verify", "--data", "/nowhere"), "/nowhere is not a data folder"),
        (("demo", "--seconds", "soon"), "--seconds"),
        (("replay", "x"), "x is no event id: an id has 26 characters"),
        (("replay", "0" * 26, "--data", "/nowhere"), "/nowhere is not a data folder"),
        (("statement", "a", "--month", "2026-11", "--csv", "--json"), "--csv or --json, not both"),
        (("convert", "/dev", "--key", "x"), "/dev cannot be read: Is a directory"),
        (("plan", "."), "plan is not built yet"),
        (("forecast", "x"), "forecast is not built yet"),
        (("forecast", "x", "--help"), "forecast is not built yet"),
    ],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    assert message in wrong(*arguments)


@pytest.mark.slow
def test_what_may_pass_by_itself_has_another_exit_code(tmp_path: Path) -> None:
    """Whoever watches over the server starts it again."""
    url = f"postgresql://ads@127.0.0.1:{free_port()}/ads"
    done = run("serve", "--port", "0", "--data", tmp_path / "data", "--database", url)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("check", SAMPLES), ("keys", "create", "--role", "operator"), ("--help",)]
)
def test_an_output_without_room_is_one_line(tmp_path: Path, arguments: tuple[object, ...]) -> None:
    command = [sys.executable, "-m", "adserver", *map(str, arguments)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, cwd=tmp_path, check=False
        )
    assert (done.returncode, done.stderr) == (1, "adserver: the output: No space left on device\n")


def test_a_setting_from_the_environment_is_checked_too() -> None:
    assert "port (in ADSERVER_PORT)" in wrong("serve", ADSERVER_PORT="tcp://10.0.0.1:8000")


def test_help_names_what_is_built() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("check", "apply", "serve", "demo", "verify", "explain", "replay", "simulate", "keys"):
        assert re.search(rf"^\s+{name}\s", done.stdout, re.MULTILINE)
    assert "forecast" not in done.stdout
    shown = run("serve", "--help").stdout
    for name in (*Settings.__struct_fields__, "config"):
        assert f"--{name.replace('_', '-')} " in shown, "every setting has its option"
    assert "Usage:" in run().stderr


def test_a_reader_who_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -c 'from adserver.cli import main; main()' check {SAMPLES} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_a_simulation_of_what_is_not_there_is_wrong(tmp_path: Path) -> None:
    assert wrong("simulate", tmp_path / "no.yaml").endswith("no.yaml is not a file")
    assert "Missing argument 'FILE'" in wrong("simulate")


def test_where_a_simulation_cannot_write_is_told_before_it_begins(tmp_path: Path) -> None:
    file = tmp_path / "year.yaml"
    file.write_text(
        f"start: 2026-06-01\ndays: 366\ncampaigns: {SAMPLES}\ntraffic: {{decisions: 10000000}}\n"
        "people: {number: 1}\nviews: [{publisher: lumen, placements: [right-rail]}]\n"
    )
    assert wrong("simulate", file, "--out", "/dev/null").endswith("/dev/null: File exists")


def test_every_problem_of_a_simulation_is_told(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("start: 2026-06-01\ndays: 0\nviews: [{publisher: p, placement: [x]}]\n")
    done = run("simulate", file, "--out", tmp_path / "out")
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[0] == str(file)
    assert "  days: is 0; it is from 1 to 366" in lines
    assert any(line.startswith("  traffic: is missing") for line in lines)
    assert '  views[0].placement: unknown field; did you mean "placements"?' in lines
    assert done.stderr == f"adserver: {len(lines) - 1} problems: nothing was simulated\n"
    assert not (tmp_path / "out").exists()


def test_a_simulation_of_wrong_campaigns_names_their_files(tmp_path: Path) -> None:
    (tmp_path / "campaigns" / "solace").mkdir(parents=True)
    (tmp_path / "campaigns" / "solace" / "sleep.yaml").write_text("advertiser: solace\ncampaign: sleep\n")
    file = tmp_path / "simulation.yaml"
    file.write_text(
        "start: 2026-06-01\ndays: 1\ncampaigns: campaigns\ntraffic: {decisions: 10}\npeople: {number: 1}\n"
        "views: [{publisher: p, placements: [x]}]\n"
    )
    done = run("simulate", file, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout.splitlines()[0] == "solace/sleep.yaml"
