"""Where and on what a request was made, as it is reported."""

import pytest

from adserver.domain.provenance import DEVICES, OTHER, country_of, device_of


@pytest.mark.parametrize(
    ("values", "country"),
    [((), ""), (("FR",), "FR"), (("FRA",), ""), (("F1",), ""), (("fr",), ""), (("ÀÉ",), ""), (("FR\n",), "")],
)
def test_a_country_is_two_letters(values: tuple[str, ...], country: str) -> None:
    assert country_of(values) == country


def test_every_kind_of_device_has_its_number_and_all_others_one() -> None:
    assert device_of(()) == 0
    assert [device_of((name,)) for name in DEVICES[1:]] == list(range(1, len(DEVICES)))
    assert device_of(("fridge",)) == OTHER
    assert DEVICES[:6] == ("", "mobile", "tablet", "desktop", "tv", "other"), "numbers are on disk"
