"""Versions and ranges of them: what each form means, and that blocks never hide what a range holds."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adserver.domain import limits, versions


def holds(wanted: str, told: str) -> bool:
    span, version = versions.read(wanted)[1], versions.given(told)
    assert span is not None
    return version is not None and span.holds(version)


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        ("17", ["17", "17.0", "17.9.9", "17_4", "17.2 (beta)"], ["16.9", "18", "1.7", "170", "", "xvii"]),
        ("17.2", ["17.2", "17.2.0", "17.2.9"], ["17", "17.1.9", "17.3", "17.20"]),
        ("17.0", ["17", "17.0.5"], ["17.1", "16"]),
        ("18.1", ["18.1"], ["18.10"]),
        (">=16.4", ["16.4", "16.10", "17", "202311151200"], ["16.3.9", "16", "9.9"]),
        (">17", ["18", "18.0.1"], ["17", "17.9", "16"]),
        (">17.2", ["17.3", "18"], ["17.2", "17.2.9"]),
        ("<=17", ["17", "17.9", "0"], ["18"]),
        ("<17", ["16.9.9", "0.1"], ["17", "17.0"]),
        ("<17.2", ["17.1.9", "17"], ["17.2", "17.2.0"]),
        ("16-18", ["16", "17.5", "18", "18.9"], ["15.9", "19"]),
        ("16.4 - 16.6", ["16.4", "16.6.1"], ["16.3", "16.7"]),
        ("17-17", ["17.5"], ["18"]),
        ("0", ["0", "0.9"], ["1"]),
    ],
)
def test_what_ranges_hold(wanted: str, inside: list[str], outside: list[str]) -> None:
    assert [told for told in inside if not holds(wanted, told)] == []
    assert [told for told in outside if holds(wanted, told)] == []


@pytest.mark.parametrize(
    ("text", "normal"),
    [(" 17 ", "17"), ("017.02", "17.2"), (">= 16.4", ">=16.4"), ("16 - 18", "16-18"), ("XP", "xp"),
     ("Vista SP2", "vista sp2"), ("17.0", "17.0")],
)  # fmt: skip
def test_one_form_of_each(text: str, normal: str) -> None:
    assert versions.read(text)[0] == normal
    assert versions.read(normal)[0] == normal


@pytest.mark.parametrize(
    "text",
    ["", ">", ">=", "17.", ".17", "17..2", "17.x", "17x", "=17", "=>17", ">=17-18", "16-17-18", "18-16",
     "16.4-16.3", "-17", "17-", "10 pro", "1234567890", "\u0661\u0667", "*", ">=xp", "17,18",
     ".".join("1" * (limits.VERSION_PARTS + 1))],
)  # fmt: skip
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        versions.read(text)


def test_as_many_numbers_as_allowed() -> None:
    assert versions.read(".".join("1" * limits.VERSION_PARTS))


NUMBER = st.integers(0, 20) | st.sampled_from([63, 64, 127, 128, 129, 15633])
VERSION = st.lists(NUMBER, min_size=1, max_size=3)


def dotted(parts: list[int]) -> str:
    return ".".join(map(str, parts))


def padded(parts: list[int]) -> tuple[int, ...]:
    """With zeros to one length: another way to compare than the code's."""
    return tuple([*parts, 0, 0, 0][:4])


@given(st.sampled_from(["", ">", ">=", "<", "<="]), VERSION, VERSION)
@example("", [17], [17, 0, 1])
def test_signs_mean_what_numbers_mean(sign: str, wanted: list[int], told: list[int]) -> None:
    within = padded(told)[: len(wanted)] == tuple(wanted)
    below, above = padded(told) < padded(wanted), not within and padded(told) > padded(wanted)
    means = {"": within, ">": above, ">=": not below, "<": below, "<=": not above}
    assert holds(sign + dotted(wanted), dotted(told)) is means[sign]


@given(VERSION, VERSION, VERSION)
def test_from_to_is_both_signs(one: list[int], other: list[int], told: list[int]) -> None:
    text = f"{dotted(one)}-{dotted(other)}"
    try:
        versions.read(text)
    except ValueError:
        assert padded(one) > padded(other)
        return
    both = holds(f">={dotted(one)}", dotted(told)) and holds(f"<={dotted(other)}", dotted(told))
    assert holds(text, dotted(told)) is both


@given(st.sampled_from(["", ">", ">=", "<", "<=", "-"]), VERSION, VERSION, VERSION)
@example(">=", [16, 4], [0], [16, 4])
@example("-", [0], [200, 1], [200])
def test_blocks_hide_nothing(sign: str, wanted: list[int], other: list[int], told: list[int]) -> None:
    low, high = sorted((wanted, other))
    text = f"{dotted(low)}-{dotted(high)}" if sign == "-" else sign + dotted(wanted)
    span = versions.range_of(text)
    assert span is not None
    blocks = span.blocks()
    assert len(blocks) <= 14
    if holds(text, dotted(told)):
        assert set(blocks) & set(versions.blocks_of(dotted(told)))


def test_blocks_are_few_and_tight() -> None:
    span = versions.range_of(">=16.4")
    assert span is not None
    assert set(span.blocks()) == {"many", "16..31", "32..63", "64..127"}
    assert not set(span.blocks()) & set(versions.blocks_of("15.9"))
    assert len(versions.blocks_of("17.2")) == 8
    assert versions.blocks_of("300") == ("many",)
    assert versions.blocks_of("xp") == ()
