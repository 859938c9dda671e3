"""Settings: default < file < environment < flag, and a line for everything that is wrong."""

from pathlib import Path

import pytest

from adserver.domain import limits
from adserver.settings import BadSettings, Settings, load


def refused(flags: dict[str, object], environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(BadSettings) as refusal:
        load(flags, environ or {})
    return refusal.value.problems


def test_defaults() -> None:
    assert load({}, {"PATH": "/bin"}) == Settings()
    assert Settings().data == Path("data")
    assert Settings().segment_bytes == 64 * 1024 * 1024
    assert Settings().keep_alive_seconds * 1000 == limits.KEEP_ALIVE_MS
    assert load({"fastest_click_ms": str(limits.FASTEST_CLICK_MS_MAX)}, {}).fastest_click_ms == 10_000


def test_the_later_source_wins(tmp_path: Path) -> None:
    config = tmp_path / "adserver.toml"
    config.write_text('port = 1\nhost = "0.0.0.0"\nlog_level = "debug"\ntrusted_proxies = ["10.0.0.0/8"]\n')
    environ = {"ADSERVER_CONFIG": str(config), "ADSERVER_PORT": "2", "ADSERVER_LOG_LEVEL": "error"}
    settings = load({"port": "3", "campaigns": None}, environ)
    assert (settings.port, settings.log_level, settings.host) == (3, "error", "0.0.0.0")
    assert settings.trusted_proxies == ("10.0.0.0/8",)
    assert load({"config": str(config)}, {}).port == 1


def test_every_setting_from_the_environment() -> None:
    environ = {
        "ADSERVER_CAMPAIGNS": "campaigns",
        "ADSERVER_DATA": "/var/lib/x",
        "ADSERVER_HOST": "::1",
        "ADSERVER_PORT": "0",
        "ADSERVER_PUBLIC_URL": "https://ads.example/",
        "ADSERVER_TRUSTED_PROXIES": "10.0.0.0/8, 192.168.1.1",
        "ADSERVER_LOG_LEVEL": "WARNING",
        "ADSERVER_GEOIP": "places.mmdb",
        "ADSERVER_SEGMENT_BYTES": "1048576",
        "ADSERVER_KEEP_ALIVE_SECONDS": "620",
        "ADSERVER_DATA_CENTRES": "centres.txt",
        "ADSERVER_RATE_PER_USER": "100/10",
        "ADSERVER_RATE_PER_ADDRESS": "0/0",
        "ADSERVER_RATE_PER_PLACEMENT": "999999999/7",
        "ADSERVER_FASTEST_CLICK_MS": "0",
    }
    assert load({}, environ) == Settings(
        campaigns=Path("campaigns"),
        data=Path("/var/lib/x"),
        host="::1",
        port=0,
        public_url="https://ads.example",
        trusted_proxies=("10.0.0.0/8", "192.168.1.1"),
        log_level="warning",
        geoip=Path("places.mmdb"),
        segment_bytes=1048576,
        keep_alive_seconds=620,
        data_centres=Path("centres.txt"),
        rate_per_user=(100, 10),
        rate_per_address=(0, 0),
        rate_per_placement=(999_999_999, 7),
        fastest_click_ms=0,
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", "http", "a whole number from 0 to 65535"),
        ("port", "65536", "from 0 to 65535"),
        ("port", "-1", "a whole number"),
        ("port", True, "a whole number"),
        ("port", "1_000", "a whole number"),
        ("host", "a b", "an address or host name"),
        ("data", "", "it is text"),
        ("public_url", "ads.example", "an absolute URL"),
        ("public_url", "ftp://ads.example", "an absolute URL"),
        ("public_url", "https://u:p@ads.example", "an absolute URL"),
        ("public_url", "https://ads.example/?x", "an absolute URL"),
        ("public_url", "https://ads.example:99999", "an absolute URL"),
        ("trusted_proxies", "10.0.0.0/33", "is not a network"),
        ("trusted_proxies", ["10.0.0.1/8"], "is not a network"),
        ("trusted_proxies", 7, "a list of networks"),
        ("log_level", "loud", "debug, info, warning or error"),
        ("segment_bytes", "100", "from 65536"),
        ("keep_alive_seconds", "0", "from 1 to 3600"),
        ("keep_alive_seconds", "3601", "from 1 to 3600"),
        ("keep_alive_seconds", "1m", "a whole number from 1 to 3600"),
        ("rate_per_user", "240", "impressions and clicks a minute such as 240/24"),
        ("rate_per_user", "-1/24", "impressions and clicks a minute"),
        ("rate_per_address", "1000000000/1", "impressions and clicks a minute"),
        ("rate_per_placement", ["1", "2"], "impressions and clicks a minute"),
        ("rate_per_placement", "1/2\n", "impressions and clicks a minute"),
        ("fastest_click_ms", "10001", "from 0 to 10000"),
        ("fastest_click_ms", "1.5", "a whole number"),
        ("workers", "0", "from 1 to 64"),
        ("workers", "65", "from 1 to 64"),
        ("redis", "127.0.0.1:6379", "is not the URL of a Redis"),
        ("redis_deadline_ms", "0", "from 1 to 1000"),
        ("on_state_doubt", "go", "is 'go'; it is stop or serve"),
        ("database", "postgresql://127.0.0.1", "is not the URL of a database in PostgreSQL"),
        ("database", "mysql://127.0.0.1/a", "is not the URL of a database in PostgreSQL"),
    ],
)
def test_what_is_wrong_is_named_with_its_source(name: str, value: object, message: str) -> None:
    (line,) = refused({name: value})
    assert line.startswith(f"{name} (--{name.replace('_', '-')}): ")
    assert message in line
    assert "\n" not in line


def test_a_password_is_not_told_openly_and_never_repeated() -> None:
    url = "postgresql://user:hush@127.0.0.1/ads"
    for told in (url, "postgresql://user@127.0.0.1/ads?password=hush"):
        (line,) = refused({"database": told})
        assert "ADSERVER_DATABASE" in line
        assert "hush" not in line
    assert load({}, {"ADSERVER_DATABASE": url}).database == url
    for wrong in (
        f"{url}\0",
        "postgresql://user:hush@127.0.0.1",
        "hush",
        f"mysql{url[10:]}",
        "postgresql://[hush/x",
    ):
        (line,) = refused({}, {"ADSERVER_DATABASE": wrong})
        assert "is not the URL of a database" in line
        assert "hush" not in line
    assert load({"database": "postgres://user@127.0.0.1/ads"}, {}).database.endswith("/ads")


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix", "rediscluster", "redisclusters"])
def test_a_redis_is_named_by_its_url(scheme: str) -> None:
    url = f"{scheme}://a:1,b:2"
    assert load({"redis": url}, {}).redis == url


def test_several_workers_need_a_redis() -> None:
    assert load({"workers": "1"}, {}) == Settings()
    assert refused({"workers": "2"})[0].startswith("workers: several can only know together")
    assert load({"workers": "64", "redis": "redis://r"}, {}).workers == 64


def test_several_workers_serve_from_files_or_a_database() -> None:
    several = {"workers": "2", "redis": "redis://r", "database": "postgresql://user@127.0.0.1/ads"}
    assert load(several, {}).workers == 2


def test_several_machines_share_a_redis_and_a_database() -> None:
    shared = {"redis": "redis://r", "database": "postgresql://user@127.0.0.1/ads"}
    assert refused({"errands": "10.0.0.7:7100", "redis": "redis://r"})[0].startswith(
        "errands: servers of several"
    )
    for sound in ("10.0.0.7:7100", "[::1]:0", "ads-1.ads:65471"):
        assert load({"errands": sound, "workers": "2"} | shared, {}).errands == sound
    for wrong in ("7100", "10.0.0.7", "10.0.0.7:65472", "::1:7100", "a b:1"):
        assert "it is where others reach this machine" in refused({"errands": wrong} | shared)[0]


def test_every_problem_at_once() -> None:
    assert len(refused({"port": "x", "redis": "y"}, {"ADSERVER_HOST": "a b"})) == 3


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    assert "cannot be read" in refused({"config": str(tmp_path / "absent.toml")})[0]
    config = tmp_path / "adserver.toml"
    config.write_text("port = ")
    assert "is not TOML" in refused({"config": str(config)})[0]
    config.write_bytes(b"\xff")
    assert "is not TOML" in refused({"config": str(config)})[0]
    config.write_text("prot = 7\nzzz = 1\n")
    problems = refused({"config": str(config)})
    assert "unknown setting, did you mean port?" in problems[0]
    assert "unknown setting; known are campaigns" in problems[1]


def test_foreign_variables_are_passed_over_and_misspelt_ones_are_not() -> None:
    assert load({}, {"ADSERVER_SERVICE_HOST": "10.0.0.1"}) == Settings()
    assert "did you mean public_url?" in refused({}, {"ADSERVER_PUBLIC_ULR": "x"})[0]
