"""A Redis, and a Redis Cluster, that are spoken to in TLS alone: who they are is made sure of, by an own
authority, and what is wrong with that is said."""

from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import pytest
from remote import Remote
from servers.certificates import Authority
from servers.redis_server import Redis
from servers.server import free_port, ground
from test_shared_losses import ANNA, CAP, exposure

from adserver.serving import CannotServe, open_app
from adserver.settings import Settings
from adserver.state.shared.keys import tag

SLOTS = 16_384


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with ground() as path:
        yield Authority(path / "certificates")


def encrypted(
    folder: Path, authority: Authority, host: str = "IP:127.0.0.1", **more: str
) -> tuple[Redis, int]:
    """One that was not started, and its port for TLS; on the other only tests ask."""
    certificate, key = authority.issued(folder.name, host)
    port = free_port()
    settings = {
        "tls-port": str(port), "tls-cert-file": str(certificate), "tls-key-file": str(key),
        "tls-ca-cert-file": str(authority.file), "tls-auth-clients": "no",
    }  # fmt: skip
    return Redis(folder, settings | {name.replace("_", "-"): value for name, value in more.items()}), port


def stays_away(url: str) -> str:
    """Why."""
    remote = Remote(url)
    try:
        with pytest.raises(TimeoutError):
            remote.wait(patience_s=0.5)
        return " ".join(remote.told)
    finally:
        remote.close()


def counts(url: str, *people: bytes) -> None:
    """An ad is granted to each of them, and counted."""
    remote = Remote(url)
    try:
        remote.wait()
        for who in people:
            remote.grant(who, exposure(who=who), (CAP,))
            found = remote.look(who, None).exposures._counters[who]
            assert found[CAP.counter] == [1]
    finally:
        remote.close()


def test_one_is_made_sure_of(authority: Authority) -> None:
    with ground() as path:
        redis, port = encrypted(path / "redis", authority)
        with redis:
            known = f"?ssl_ca_certs={authority.file}"
            counts(f"rediss://127.0.0.1:{port}/0{known}", ANNA)
            assert "self-signed certificate in certificate chain" in stays_away(
                f"rediss://127.0.0.1:{port}/0"
            )
            assert "certificate is not valid for 'localhost'" in stays_away(
                f"rediss://localhost:{port}/0{known}"
            )
            assert "the connection broke" in stays_away(f"redis://127.0.0.1:{port}/0")


def test_so_are_we_where_it_asks(authority: Authority) -> None:
    with ground() as path:
        redis, port = encrypted(path / "redis", authority, tls_auth_clients="yes")
        certificate, key = authority.issued("adserver")
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.file}"
        with redis:
            counts(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}", ANNA)
            assert "certificate required" in stays_away(url)


def test_so_is_each_master_of_a_cluster(authority: Authority) -> None:
    """Also those that only another told of."""
    people = [md5(b"%d" % number).digest() for number in range(8)]
    with ground() as path:
        common, bus = {"cluster_enabled": "yes", "tls_cluster": "yes"}, free_port()
        one, port = encrypted(path / "one", authority, cluster_port=str(bus), **common)
        two, _ = encrypted(path / "two", authority, cluster_port=str(free_port()), **common)
        with one, two:
            joined(one, two, port, bus)
            counts(f"redisclusters://127.0.0.1:{port}?ssl_ca_certs={authority.file}", *people)
            held = [set(of(server)) for server in (one, two)]
    assert held[0] and held[1]
    assert held[0] | held[1] >= {tag(who) for who in people}


def joined(one: Redis, two: Redis, port: int, bus: int) -> None:
    """Each has half of the slots. ``port``: of the first, for TLS; ``bus``: where the other reaches it."""
    for number, server in enumerate((one, two)):
        low, high = SLOTS // 2 * number, SLOTS // 2 * (number + 1) - 1
        server.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        server.ask("CLUSTER", "ADDSLOTSRANGE", str(low), str(high))
    two.ask("CLUSTER", "MEET", "127.0.0.1", str(port), str(bus))
    for server in (one, two):
        server.until(lambda server=server: is_whole(server), "is in a whole cluster")


def is_whole(server: Redis) -> bool:
    return b"cluster_state:ok" in server.ask("CLUSTER", "INFO")


def of(server: Redis) -> list[bytes]:
    """Whose keys it has."""
    return [key.split(b"{")[1].split(b"}")[0] for key in server.ask("KEYS", "s*{*}c")]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h:many", "Port could not be cast"),
        ("redis://h/people", "its database is a number, not people"),
        ("rediss://h?ssl_ca_certs=/none", "/none holds no certificates: No such file or directory"),
        (f"rediss://h?ssl_ca_certs={__file__}", "holds no certificates: "),
        (f"rediss://h?ssl_certfile={__file__}", "no other file are no certificate and its key: "),
        ("rediss://h?ssl_cert_reqs=none", "ssl_cert_reqs is no option of it; known are ssl_ca_certs, "),
        ("redis://h?ssl_ca_certs=/none", "ssl_ca_certs is no option of it; files of TLS are of rediss://"),
        ("rediscluster://h,h:many", "Port could not be cast"),
        ("redisclusters://h?ssl_cert_reqs=none", "ssl_cert_reqs is no option of it"),
    ],
)
def test_what_a_url_cannot_mean_is_said_at_once(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(CannotServe, match=f"^redis: .*{said}"):
        open_app(Settings(data=tmp_path, redis=url))
