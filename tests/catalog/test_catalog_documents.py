"""YAML by the core schema, JSON without surprises, and one clear problem for what is neither."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adserver.catalog.documents import Number, parse_json, parse_yaml, read_file
from adserver.domain import limits
from adserver.domain.changes import Invalid

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=12,
)


def problem(read: object, raw: bytes) -> tuple[str, str]:
    with pytest.raises(Invalid) as refusal:
        read(raw)  # type: ignore[operator]
    assert len(refusal.value.problems) == 1
    return refusal.value.problems[0].path, refusal.value.problems[0].message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"), ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True),
        ("False", False), ("null", None), ("~", None), ("", None), ("7", 7), ("-7", -7), ("010", 10),
        ("0o17", 15), ("0x1F", 31), ("4.20", "4.20"), ("1e3", "1e3"), (".inf", ".inf"),
        ("2026-06-01", "2026-06-01"),
        ("12:30:00", "12:30:00"), ("1_000", "1_000"), ("'7'", "7"), ('"true"', "true"), ("9" * 19, "9" * 19),
        ("51-200", "51-200"), ("<<", "<<"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = parse_yaml(f"a: {text}\n".encode())["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("raw", "path", "message"),
    [
        (b"a: 1\nb:\n  - c: 1\n    c: 2\n", "b[0].c", "stands twice (again on line 4)"),
        (b"a: &x [1]\nb: *x\n", "b", "is an alias"),
        (b"a: !!python/object:os.system x\n", "a", "tags are not read"),
        (b"a: !x 1\n", "a", "tags are not read"),
        (b"? [a]\n: 1\n", "", "a key is text"),
        (b"a: {b: [1, }\n", "", "is not YAML"),
        (b"a:\tb\n\tc: 1", "", "is not YAML"),
        (b"a: 1\n---\nb: 2\n", "", "more than one document"),
        (b"- 1\n", "", "is a list"),
        (b"just text", "", "a document is a mapping"),
        (b"", "", "is empty"),
        (b"# only a comment\n", "", "a document is a mapping"),
        (b"\xff\xfe{\x00}\x00", "", "is not UTF-8"),
        (b"a: \x00b", "", "is not YAML"),
    ],
)
def test_bad_yaml_is_one_problem(raw: bytes, path: str, message: str) -> None:
    found = problem(parse_yaml, raw)
    assert found[0] == path
    assert message in found[1]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{", "is not JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"user": "a", "user": "b"}', "stands twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper"),
        (b"[1]", "a document is a mapping"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8"),
        (b"   ", "is empty"),
        (b"{'a': 1}", "is not JSON"),
    ],
)
def test_bad_json_is_one_problem(raw: bytes, message: str) -> None:
    assert message in problem(parse_json, raw)[1]


def test_depth_is_limited_at_n_and_n_plus_1() -> None:
    def nested(levels: int) -> str:
        return '{"a":' * levels + "1" + "}" * levels

    for read in (parse_json, parse_yaml):
        read(nested(limits.DOCUMENT_DEPTH).encode())
        assert "nested deeper" in problem(read, nested(limits.DOCUMENT_DEPTH + 1).encode())[1]
    assert "nested deeper" in problem(parse_yaml, b"[" * 200_000)[1]


def test_size_is_limited_at_n_and_n_plus_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "MANAGEMENT_BYTES", 10)
    parse_yaml(b"a: 1234567")
    assert "more than 10 bytes" in problem(parse_yaml, b"a: 12345678")[1]
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 12345678")
    assert "has 11 bytes" in problem(lambda _: read_file(path), b"")[1]


def test_a_decimal_of_json_knows_that_it_was_a_number() -> None:
    body = parse_json(b'{"a": 0.060, "b": "0.060", "c": 12345678901234567890123}')
    assert body == {"a": "0.060", "b": "0.060", "c": "12345678901234567890123"}
    assert [type(value) for value in body.values()] == [Number, str, Number]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == parse_yaml(b"\xef\xbb\xbfa: 1") == {"a": 1}


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), PLAIN, max_size=4))
def test_json_round_trips(body: dict[str, object]) -> None:
    import json

    assert parse_json(json.dumps(body).encode()) == body


@settings(deadline=None)
@given(st.binary(max_size=80) | st.text("[]{}:,-&*!?'\"\n\t #|>%@`ab1", max_size=60).map(str.encode))
def test_any_bytes_are_a_mapping_or_one_problem(raw: bytes) -> None:
    for read in (parse_yaml, parse_json):
        try:
            assert isinstance(read(raw), dict)
        except Invalid as refusal:
            assert len(refusal.problems) == 1


def test_an_unreadable_file_is_one_problem(tmp_path: Path) -> None:
    assert "cannot be read" in problem(lambda _: read_file(tmp_path / "absent.yaml"), b"")[1]
