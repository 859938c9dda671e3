"""Hosts, URLs and macros: what a browser could read differently is refused."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adserver.catalog.links import MACROS, check_domain, check_host, check_html, check_url, host_of
from adserver.domain import limits
from adserver.services import macros


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://voyages.example/?c={click_id}", "https://voyages.example/?c={click_id}"),
        ("HTTPS://Voyages.EXAMPLE/A", "https://voyages.example/A"),
        ("http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
        ("https://bücher.example/ä?q=é#ü", "https://xn--bcher-kva.example/%C3%A4?q=%C3%A9#%C3%BC"),
        ("https://v.example", "https://v.example"),
        ("https://v.example?x=%20'\"<", "https://v.example?x=%20'%22%3C"),
        ("https://localhost/", "https://localhost/"),
    ],
)
def test_good_urls(url: str, normal: str) -> None:
    assert check_url(url) == normal
    assert check_url(normal) == normal


@pytest.mark.parametrize(
    "url",
    [
        "https://good.example@evil.test/", "https://good.example:pw@evil.test/", "//evil.test/x",
        "https:evil.test", "https:/evil.test", "https:///evil.test", "JaVa\tScRiPt:alert(1)",
        "javascript:alert(1)", "/relative", "", "intent://x#Intent;scheme=http;end",
        "https://good。example/", "https://good．example/", "https://ｇood.example/",
        "https://evil.test\\@good.example", "https://a b.example/", " https://a.example",
        "https://a.example/\n", "https://0x7f000001/", "https://0/", "https://127.1/",
        "https://1.2.3.4.5/", "https://256.1.1.1/", "https://[::1]/", "https://a..example/",
        "https://-a.example/", "https://a.example:0/", "https://a.example:65536/",
        "https://a.example:x/", "https://{click_id}.example/", "https://a.example/{",
        "https://a.example/}{click_id}", "https://a.example/{unknown}",
        "https://a.example/{{click_id}}", "ftp://a.example/", "data:text/html,x", "https://?x",
        "https://#x", "https://a.example/\x00", "https://a.example/\u2028", "https://℀.example/",
        "https://a%2eexample/", "https://a.example./",
    ],
)  # fmt: skip
def test_bad_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        check_url(url)


def test_a_user_name_is_named_as_the_problem() -> None:
    with pytest.raises(ValueError, match="holds a user name before its host"):
        check_url("https://good.example@evil.test/")


def test_length_at_n_and_n_plus_1() -> None:
    url = "https://a.example/"
    check_url(url + "x" * (limits.URL_CHARS - len(url)))
    with pytest.raises(ValueError, match="at most"):
        check_url(url + "x" * (limits.URL_CHARS - len(url) + 1))


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_passes_is_read_alike_by_others(host: str, rest: str) -> None:
    try:
        url = check_url(f"https://{host}/{rest}")
    except ValueError:
        return
    parts = urlsplit(url)
    assert url.isascii()
    assert parts.scheme == "https"
    assert parts.username is None
    assert parts.netloc.partition(":")[0] == parts.hostname
    assert check_url(url) == url


@pytest.mark.parametrize("name", ["voyages.example", "a.b.c.example", "xn--bcher-kva.example", "a_b.example"])
def test_good_domains(name: str) -> None:
    assert check_domain(name) == name


@pytest.mark.parametrize(
    "name",
    ["voyages", "", ".", "a.", ".a", "a b.example", "*.example", "1.2.3.4", "x.0x1f", "a" * 64 + ".example"],
)
def test_bad_domains(name: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        check_domain(name)


def test_hosts_are_lower_case_and_ascii() -> None:
    assert check_host("Bücher.Example") == "xn--bcher-kva.example"
    assert host_of("https://www.voyages.example:8443/x") == "voyages.example"


def test_html() -> None:
    check_html("<style>a{b:c}</style>{click_url}{cachebuster}${x}{ y }{}")
    with pytest.raises(ValueError, match="did you mean"):
        check_html("{click_urls}")
    check_html("x" * limits.HTML_CHARS)
    with pytest.raises(ValueError, match="at most"):
        check_html("x" * (limits.HTML_CHARS + 1))


def test_what_is_accepted_here_is_filled_in_there() -> None:
    assert set(MACROS) == set(macros.NAMES)
