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
from adserver.posting.clerk import PATIENCE_S

HOME = REPOSITORY / "deploy"
DOCKERFILE = HOME / "Dockerfile"
COMPOSE = HOME / "compose.yaml"
WITH_REDIS = HOME / "compose.redis.yaml"


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
    files = [COMPOSE, WITH_REDIS]
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


def test_redis_forgets_nothing_and_is_asked_by_nobody_else(compose: dict[str, Any]) -> None:
    added = yaml.safe_load(WITH_REDIS.read_text())
    redis, server = added["services"]["redis"], added["services"]["adserver"]
    read = settings.load({}, server["environment"])
    assert urlsplit(read.redis).hostname == "redis"
    assert redis["command"][-2:] == ["--maxmemory-policy", "noeviction"]
    assert redis["read_only"] and redis["cap_drop"] == ["ALL"] and "ports" not in redis
    [shared] = set(redis["networks"]) & set(server["networks"])
    assert added["networks"][shared]["internal"] is True
    assert not any(shared in service["networks"] for service in compose["services"].values())


def test_ends_are_waited_for(compose: dict[str, Any]) -> None:
    patience = {name: service.get("stop_grace_period") for name, service in compose["services"].items()}
    assert milliseconds(patience["adserver"]) >= (limits.GRACEFUL_S + 2 * PATIENCE_S) * 1000
    nginx = milliseconds(Block.read(CONFIGURATION.read_text()).text("worker_shutdown_timeout"))
    assert milliseconds(patience["nginx"]) > nginx


def test_nginx_can_write_where_it_writes(compose: dict[str, Any]) -> None:
    written = re.findall(r"(/tmp)/\w+", CONFIGURATION.read_text())
    assert len(written) == 6
    [mounted] = compose["services"]["nginx"]["tmpfs"]
    assert Path(mounted.partition(":")[0]) == Path("/tmp")
