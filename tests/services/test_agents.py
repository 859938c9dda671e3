"""User agents: crawlers are known, libraries are none, and devices are told apart coarsely."""

import pytest

from adserver.services import agents

SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15"
ANDROID = "Mozilla/5.0 (Linux; Android 15;"
MACINTOSH = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
BING = "(KHTML, like Gecko; compatible; bingbot/2.0)"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("agent", "device", "os", "browser"),
    [
        (f"{IPHONE} {SAFARI} Mobile/15E148", "mobile", "ios", "safari"),
        (f"Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X) {SAFARI}", "tablet", "ios", "safari"),
        (f"{MACINTOSH} {SAFARI}", "desktop", "macos", "safari"),
        (f"{ANDROID} Pixel 9) {CHROME} Mobile", "mobile", "android", "chrome"),
        (f"{ANDROID} SM-X710) {CHROME}", "tablet", "android", "chrome"),
        (f"{WINDOWS} {CHROME} Edg/150.0.0.0", "desktop", "windows", "edge"),
        (FIREFOX, "desktop", "linux", "firefox"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME}", "desktop", "chromeos", "chrome"),
        (f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 8.0) {CHROME}", "tv", "", "chrome"),
        ("curl/8.5.0", "", "", ""),
        ("", "", "", ""),
    ],
)  # fmt: skip
def test_devices(agent: str, device: str, os: str, browser: str) -> None:
    found = agents.agent_of(agent)
    assert (found.device, found.os, found.browser) == (device, os, browser)
    assert not agents.is_crawler(agent)


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        f"Mozilla/5.0 AppleWebKit/537.36 {BING} Chrome/130.0 Safari/537.36",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    ],
)  # fmt: skip
def test_crawlers(agent: str) -> None:
    assert agents.is_crawler(agent)


@pytest.mark.parametrize(
    "agent", ["python-requests/2.32.3", "Go-http-client/2.0", "okhttp/4.12.0", "axios/1.7"]
)
def test_http_libraries_are_no_robots(agent: str) -> None:
    assert not agents.is_crawler(agent)
