"""Macros: the known ones, percent-encoded, whatever stands beside them."""

from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from adserver.catalog.links import MACROS
from adserver.services.macros import NAMES, MacroValues, expand

VALUES = MacroValues(
    event_id="01KT1GW6G0000000000000E001",
    timestamp_ms=1_780_315_200_999,
    publisher="gazette",
    placement="top",
    campaign="spring",
    line_item="a",
    creative="x&y=1",
    click_url="https://ads.example/c/abc-_",
    gdpr="1",
    consent_tcf="CP+/=",
)


def test_every_macro_the_catalog_accepts_is_filled_in() -> None:
    assert set(NAMES) == set(MACROS)
    text = "https://t.example/?" + "&".join(f"{name}={{{name}}}" for name in NAMES)
    expanded = expand(text, VALUES)
    assert "{" not in expanded
    assert "creative=x%26y%3D1" in expanded
    assert "consent_tcf=CP%2B%2F%3D" in expanded
    assert "timestamp=1780315200&" in expanded
    assert "click_url_enc=https%3A%2F%2Fads.example%2Fc%2Fabc-_" in expanded
    assert "click_url=https://ads.example/c/abc-_" in expanded
    assert f"click_id={VALUES.event_id}&event_id={VALUES.event_id}" in expanded


def test_other_braces_are_left_alone() -> None:
    script = "if (a) {b} else {click_idx} ${x} {} {Click_id}"
    assert expand(script, VALUES) == script


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_values_never_leave_their_place(value: str) -> None:
    """No value can add a parameter, end the query, or be a macro again."""
    values = MacroValues("E", 0, value, value, value, value, value)
    url = expand("https://t.example/?a={creative}&b={line_item}#{campaign}", values)
    parts = urlsplit(url)
    found = parse_qs(parts.query, keep_blank_values=True)
    assert set(found) == {"a", "b"}
    assert found["a"] == found["b"] == [value]
