"""Dockerfile and Compose: valid by their own tools, and in agreement with the server. No engine is needed."""

import fnmatch
import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from live import REPOSITORY
from nginx_tree import Block, milliseconds
from servers import programs
from servers.nginx import CONFIGURATION

from adserver import settings
from adserver.domain import limits

HOME = REPOSITORY / "deploy"
DOCKERFILE = HOME / "Dockerfile"
COMPOSE = HOME / "compose.yaml"
SEVERAL = HOME / "compose.several.yaml"


def lines() -> list[str]:
    """Instructions, those of several lines joined."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def words(instruction: str) -> list[str]:
    return [line.partition(" ")[2] for line in lines() if line.startswith(f"{instruction} ")]


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([programs.hadolint(), DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_pinned_and_runs_without_rights() -> None:
    installs = [line for line in words("RUN") if "pip install" in line]
    assert any(
        "--require-hashes --no-deps --only-binary :all: -r requirements.txt" in line for line in installs
    )
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation ." in line for line in installs)
    [user] = words("USER")
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user)
    assert not any("/" in image.split()[0].partition(":")[0] for image in words("FROM"))


def test_what_is_compiled_is_asked_for() -> None:
    extensions = re.findall(r'Extension\(\s*"([\w.]+)"', (REPOSITORY / "setup.py").read_text())
    assert len(extensions) == 2
    [build] = [line for line in words("RUN") if "--no-build-isolation" in line]
    assert all(name in build for name in extensions)


def test_what_is_copied_is_there_and_nothing_else_is_sent() -> None:
    ignored = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = {word for line in words("COPY") if "--from" not in line for word in line.split()[:-1]}
    assert ignored[0] == "*"
    assert sent == copied
    assert all((REPOSITORY / name).exists() for name in sent)
    # Objects built on another machine would hide that the image could not build its own.
    assert any(
        fnmatch.fnmatch("adserver/engine/_kernel.abi3.so", line) for line in ignored if "*" in line[:2]
    )


def test_the_settings_of_the_image_are_settings() -> None:
    [environ] = words("ENV")
    given = dict(word.split("=", 1) for word in environ.split())
    read = settings.load({}, given)
    assert (read.host, str(read.data)) == ("0.0.0.0", words("VOLUME")[0])
    assert words("EXPOSE") == [str(read.port)]
    assert f":{read.port}/readyz" in words("HEALTHCHECK")[0]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def test_compose_is_valid_by_its_schema() -> None:
    files = [COMPOSE, SEVERAL]
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_is_closed(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_what_is_mounted_is_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert (HOME / source).exists() if source.startswith(".") else source in compose["volumes"]


def test_the_server_believes_nginx_alone(compose: dict[str, Any]) -> None:
    server, nginx = compose["services"]["adserver"], compose["services"]["nginx"]
    trusted = ip_network(server["environment"]["ADSERVER_TRUSTED_PROXIES"])
    address = ip_address(nginx["networks"]["serving"]["ipv4_address"])
    assert [*trusted] == [address]
    [network] = compose["networks"]["serving"]["ipam"]["config"]
    assert address in ip_network(network["subnet"])
    assert "ports" not in server, "nobody else reaches it"


def test_nginx_asks_the_server_by_its_name(compose: dict[str, Any]) -> None:
    upstream, *_ = (
        Block.read(CONFIGURATION.read_text()).inner("http").inner("upstream", "adserver").words("server")
    )
    name, port = upstream.split(":")
    assert name in compose["services"]
    assert port in words("EXPOSE")


def test_the_environment_of_the_server_is_settings(compose: dict[str, Any]) -> None:
    given = compose["services"]["adserver"]["environment"]
    plain = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in given.items()}
    assert settings.load({}, plain).public_url == "http://localhost:8080"


@pytest.fixture(scope="module")
def several() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SEVERAL.read_text())
    return found


def test_two_servers_share_all_but_their_journal(compose: dict[str, Any], several: dict[str, Any]) -> None:
    one, two = several["services"]["adserver"], several["services"]["adserver-2"]
    assert two["extends"] == {"file": COMPOSE.name, "service": "adserver"}
    given = [
        {name: re.sub(r"\$\{\w+:\?[^}]*\}", "secret", value) for name, value in each["environment"].items()}
        for each in (one, two)
    ]
    first, second = (settings.load({}, environ) for environ in given)
    assert (first.redis, first.database) == (second.redis, second.database)
    assert {urlsplit(url).hostname for url in (first.redis, first.database)} == {"redis", "postgres"}
    [[here, *_]] = (each["volumes"] for each in [compose["services"]["adserver"]])
    [[there, *_]] = (each["volumes"] for each in [two])
    assert here.partition(":")[2] == there.partition(":")[2] and here != there


def test_each_is_found_where_it_says(compose: dict[str, Any], several: dict[str, Any]) -> None:
    """By the other, and by nginx and Prometheus under the name of both."""
    [network] = compose["networks"]["serving"]["ipam"]["config"]
    addresses = [
        each["networks"]["serving"]["ipv4_address"]
        for each in compose["services"].values()
        if "serving" in each["networks"]
    ]
    two = several["services"]["adserver-2"]
    mine = two["networks"]["serving"]["ipv4_address"]
    assert mine not in addresses and ip_address(mine) in ip_network(network["subnet"])
    for name, address in (
        ("adserver", compose["services"]["adserver"]["networks"]["serving"]["ipv4_address"]),
        ("adserver-2", mine),
    ):
        errands = several["services"][name]["environment"]["ADSERVER_ERRANDS"]
        assert errands.partition(":")[0] == address
    for network in ("serving", "watching"):
        assert "adserver" in two["networks"][network]["aliases"]


def test_stores_are_closed_and_asked_by_servers_alone(
    compose: dict[str, Any], several: dict[str, Any]
) -> None:
    redis = several["services"]["redis"]
    assert redis["command"][-2:] == ["--maxmemory-policy", "noeviction"]
    assert several["networks"]["state"]["internal"] is True
    for name in ("redis", "postgres"):
        store = several["services"][name]
        assert store["read_only"] and store["cap_drop"] == ["ALL"] and "ports" not in store
        assert store["security_opt"] == ["no-new-privileges:true"]
        assert store["networks"] == ["state"]
    asking = {name for name, each in several["services"].items() if "state" in each.get("networks", ())}
    assert asking == {"adserver", "adserver-2", "redis", "postgres"}
    assert not any("state" in each["networks"] for each in compose["services"].values())
    for volume in (volume for each in several["services"].values() for volume in each.get("volumes", ())):
        assert volume.partition(":")[0] in several["volumes"]


def test_ends_are_waited_for(compose: dict[str, Any]) -> None:
    patience = {name: service.get("stop_grace_period") for name, service in compose["services"].items()}
    assert milliseconds(patience["adserver"]) >= (limits.END_S + limits.GRACEFUL_S) * 1000
    nginx = milliseconds(Block.read(CONFIGURATION.read_text()).text("worker_shutdown_timeout"))
    assert milliseconds(patience["nginx"]) > nginx


def test_nginx_can_write_where_it_writes(compose: dict[str, Any]) -> None:
    written = re.findall(r"(/tmp)/\w+", CONFIGURATION.read_text())
    assert len(written) == 6
    [mounted] = compose["services"]["nginx"]["tmpfs"]
    assert Path(mounted.partition(":")[0]) == Path("/tmp")
