"""Addresses: the list of data centres as it changes, and names that tell nothing."""

import asyncio
import os
from pathlib import Path

import pytest
from world import World

from adserver.addresses import Addresses, BadList
from adserver.duties import Duties
from adserver.settings import Settings

CLOUD, OTHER = "198.51.100.7", "203.0.113.7"


def write(path: Path, text: str | bytes, at: int) -> None:
    """``at``: the time it says it was changed, which clocks of file systems may be too coarse to tell."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(path, ns=(at, at))


def test_without_a_list_nobody_is_hosted() -> None:
    addresses = Addresses()
    assert not addresses.hosted(CLOUD) and addresses.listed == 0
    assert not addresses.look() and not addresses.look()


@pytest.mark.parametrize(
    ("content", "says"),
    [("198.51.100.0/24\nnonsense\n", "line 2: "), (b"\xff\xfe\n", "codec"), ("# none\n", "no network"),
     (None, "No such")],
)  # fmt: skip
def test_a_server_does_not_begin_with_a_broken_list(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "centres.txt"
    if content is not None:
        write(path, content, 1)
    with pytest.raises(BadList, match=says) as error:
        Addresses(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "centres.txt"
    monkeypatch.setattr("adserver.addresses._FILE_BYTES", 16)
    write(path, "198.51.100.0/24\n", 1)
    Addresses(path)
    write(path, "198.51.100.0/24\n\n", 1)
    with pytest.raises(BadList, match="larger than 16 bytes"):
        Addresses(path)


def test_a_change_is_read_once_it_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "centres.txt"
    write(path, f"{CLOUD}\n", 1)
    addresses = Addresses(path)
    assert not addresses.look()
    write(path, f"{CLOUD}\n{OTHER}", 2)
    assert not addresses.look(), "it may yet be written"
    write(path, f"{CLOUD}\n{OTHER}\n", 3)
    assert not addresses.look()
    assert addresses.look()
    addresses.reload()
    assert addresses.hosted(OTHER) and addresses.listed == 2
    assert not addresses.look()


def test_a_broken_file_leaves_the_last_good_one_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "centres.txt"
    write(path, CLOUD, 1)

    class Listed(World):
        settings = Settings(public_url="https://ads.example", data_centres=path)

    with Listed(tmp_path / "world") as world:
        duties, addresses = Duties(world.app), world.app.addresses

        def look() -> tuple[int, float]:
            for _ in range(3):
                asyncio.run(duties._look())
            failed = world.app.metrics.registry.get_sample_value("adserver_data_centre_list_failures_total")
            return addresses.listed, failed or 0.0

        for at, content in enumerate(("nonsense", b"\xff", "#", None), 2):
            if content is None:
                path.unlink()
            else:
                write(path, content, at)
            assert look() == (1, at - 1), "told once a change, however often it is looked at"
            assert addresses.hosted(CLOUD) and not addresses.hosted(OTHER)
        write(path, f"{OTHER}\n{CLOUD}", 9)
        assert look() == (2, 4) and addresses.hosted(OTHER)
        gauge = world.app.metrics.registry.get_sample_value("adserver_data_centre_networks")
        assert gauge == 2


def test_a_name_is_an_address_to_one_process_alone() -> None:
    one, two = Addresses(), Addresses()
    assert one.name(OTHER) == one.name(OTHER) != one.name(CLOUD)
    assert one.name(OTHER) != two.name(OTHER)
    assert one.name("2001:db8::1") == one.name("2001:db8::ffff:0:0:1") != one.name("2001:db8:0:1::1")
    assert one.name("::ffff:203.0.113.7") == one.name(OTHER)


@pytest.mark.parametrize(
    "ip",
    ["", "unknown", "127.0.0.1", "::1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd00::1",
     "fe80::1"],
)  # fmt: skip
def test_nobody_in_particular_has_no_name(ip: str) -> None:
    assert Addresses().name(ip) is None


@pytest.mark.parametrize("ip", ["172.32.0.1", "192.167.0.1", "100.128.0.1", "11.0.0.1", "2001:db8::1"])
def test_their_neighbours_have(ip: str) -> None:
    assert Addresses().name(ip) is not None
