"""Facts and properties of a request, before and without any person."""

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adserver.domain import limits
from adserver.domain.places import Point
from adserver.domain.properties import Properties
from adserver.services.ask import Ask, AskedDevice, AskedGeo, AskedPage, AskedPlacement, AskedUser, Asker
from adserver.services.facts import Facts, host_of, point_of, properties_of, put_device, put_page


def ask(**fields: object) -> Ask:
    return Ask(placements=[AskedPlacement("top")], **fields)  # type: ignore[arg-type]


def of_page(url: str) -> Facts:
    facts: Facts = {}
    put_page(facts, ask(page=AskedPage(url=url)))
    return facts


def test_domains_are_the_host_all_above_it_and_what_it_is_below_of() -> None:
    wanted = ("a.news.example", "news.example", "example", "*.news.example", "*.example")
    assert of_page("https://A.News.example:81/x?y")["domains"] == wanted
    assert of_page("https://example/")["domains"] == ("example",)


@pytest.mark.parametrize("url", ["/relative", "https://[broken", "mailto:a@b.example"])
def test_a_url_without_a_host_is_still_a_url(url: str) -> None:
    assert of_page(url) == {"urls": (url,)}


@given(st.tuples(
    st.sampled_from(("http://", "https://", "HTTPS://", "https:/", "//", " https://", "ftp://", "")),
    st.text("aB.-@:[]/?#%\\ \t\n\u00e4\uff0e1", max_size=12), st.text("a/?#@:\n", max_size=6),
).map("".join))  # fmt: skip
@example("https://user:12@host.example/")
@example("https://host.example:12\t@other.example/")
@example("https://ho\tst.example/")
@example("https://host.example\n")
@example("https://host.example\\@other.example/")
def test_hosts_are_what_the_standard_library_finds(url: str) -> None:
    try:
        wanted = urlsplit(url).hostname
    except ValueError:
        wanted = None
    assert (host_of(url) or None) == (wanted or None)


def test_a_host_at_n_and_n_plus_1() -> None:
    host = "a." * 126 + "b"
    assert len(host) == limits.HOST_CHARS
    assert "domains" in of_page(f"https://{host}/")
    assert "domains" not in of_page(f"https://c{host}/")


def test_properties_of_a_person_need_consent() -> None:
    asked = ask(user=AskedUser(properties={"a": 1}), page=AskedPage(properties={"b": 2}), properties={"c": 3})
    assert properties_of(asked, True) == Properties({"a": 1}, {"b": 2}, {"c": 3})
    assert properties_of(asked, False) == Properties({}, {"b": 2}, {"c": 3})


def test_half_a_point_is_none() -> None:
    assert point_of(ask(geo=AskedGeo(lat=0.0, lon=0.0))) == Point(0.0, 0.0)
    assert point_of(ask(geo=AskedGeo(lat=1.0))) is None
    assert point_of(ask(geo=AskedGeo(lon=1.0))) is None


def test_what_is_remembered_of_devices_is_nobodys_to_change() -> None:
    asked = ask(device=AskedDevice(type=" Mobile", language="de_CH"))
    for asker, language in ((Asker(language="fr"), None), (Asker(language="fr;q=1,en"), "fr")):
        facts: Facts = {}
        one = asked if language is None else ask(device=AskedDevice(type="TV"))
        put_device(facts, one, asker)
        wanted = {"devices": ("mobile",), "languages": ("de-ch", "de")}
        assert facts == (wanted if language is None else {"devices": ("tv",), "languages": ("fr",)})
        facts["devices"] = ("changed",)
        again: Facts = {}
        put_device(again, one, asker)
        assert again["devices"] != ("changed",)
