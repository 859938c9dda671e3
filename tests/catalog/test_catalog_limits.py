"""Every limit on a document, at n and at n + 1, and documents made to be slow."""

import time
from typing import Any

import pytest

from adserver.catalog.documents import parse_json
from adserver.catalog.drafts import read
from adserver.domain import limits

CREATIVE = {"id": "c", "format": "text", "assets": {"title": "t"}, "landing_url": "https://a.example/"}
CAP = {"limit": 1, "per": "1d"}


def line_item(**values: Any) -> dict[str, Any]:
    return {"id": "l", "priority": "house", "pricing": {"model": "cpm", "amount": "0.00"}} | values


def problems(kind: Any = "campaign", full_id: str = "a/b", **values: Any) -> list[str]:
    body = {"currency": "EUR"} | values
    return [problem.message for problem in read(kind, full_id, body)[1]]


def creatives(count: int, **values: Any) -> list[dict[str, Any]]:
    return [CREATIVE | {"id": f"c{number}"} | values for number in range(count)]


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("LINE_ITEMS_PER_CAMPAIGN", lambda n: {"line_items": [line_item(id=f"l{i}") for i in range(n)]}),
        ("CREATIVES_PER_LINE_ITEM", lambda n: {"line_items": [line_item(creatives=creatives(n))]}),
        ("CAPS_PER_LINE_ITEM", lambda n: {"line_items": [line_item(frequency_caps=[CAP] * n)]}),
        (
            "TRACKERS_PER_CREATIVE",
            lambda n: {
                "line_items": [
                    line_item(creatives=creatives(1, impression_trackers=["https://t.example/"] * n))
                ]
            },
        ),
        ("VALUES_PER_CLAUSE", lambda n: {"line_items": [line_item(targeting={"keywords": ["k"] * n})]}),
        (
            "VERSIONS_PER_CLAUSE",
            lambda n: {"line_items": [line_item(targeting={"os_versions": [str(i) for i in range(n)]})]},
        ),
        (
            "CIRCLES_PER_LINE_ITEM",
            lambda n: {
                "line_items": [line_item(targeting={"radius": [{"lat": 1, "lon": 2, "metres": 3}] * n})]
            },
        ),
        ("LABELS_PER_OBJECT", lambda n: {"labels": ["l"] * n}),
    ],
)
def test_lists_at_n_and_n_plus_1(monkeypatch: pytest.MonkeyPatch, name: str, document: Any) -> None:
    monkeypatch.setattr(limits, name, 3)
    assert problems(**document(3)) == []
    assert problems(**document(4)) == ["has 4 entries; at most 3"]


def test_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATTERNS_PER_CLAUSE", 2)
    urls = [f"https://a.example/{number}*" for number in range(3)]
    plain = ["https://a.example/"] * 5
    assert problems(line_items=[line_item(targeting={"urls": [*urls[:2], *plain]})]) == []
    assert problems(line_items=[line_item(targeting={"urls": urls})]) == ["has more than 2 entries with a *"]


def test_expressions_made_to_be_slow() -> None:
    for custom in ("(" * 20_000 + "a" + ")" * 20_000, "x" * 1_000_000, "not " * 1000 + "x"):
        started = time.thread_time()
        (problem,) = problems(line_items=[line_item(targeting={"custom": custom})])
        assert time.thread_time() - started < 0.25
        assert len(problem) < 200


def test_placements_and_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PLACEMENTS_PER_PUBLISHER", 2)
    monkeypatch.setattr(limits, "MEMBERS_PER_AUDIENCE", 2)
    placements = [{"id": f"p{number}", "surface": "page", "formats": ["image"]} for number in range(3)]
    assert problems("publisher", "p", placements=placements[:2]) == []
    assert problems("publisher", "p", placements=placements) == ["has 3 entries; at most 2"]
    audience: dict[str, Any] = {"user_space": "s"}
    assert read("audience", "a/b", audience | {"users": ["x", "y"]})[1] == []
    assert len(read("audience", "a/b", audience | {"users": ["x", "y", "z"]})[1]) == 1


def test_texts_at_n_and_n_plus_1() -> None:
    def titled(length: int) -> list[str]:
        assets = {"title": "t" * length}
        return problems(line_items=[line_item(creatives=creatives(1, assets=assets))])

    assert titled(limits.TEXT_CHARS) == []
    assert titled(limits.TEXT_CHARS + 1) == ["has 4097 characters; at most 4096"]
    keywords = [line_item(targeting={"keywords": ["k" * (limits.VALUE_CHARS + 1)]})]
    assert problems(line_items=keywords) == ["has 1025 characters; at most 1024"]
    assert problems(labels=["l" * 64]) == []
    assert problems(labels=["l" * 65]) == ["has 65 characters; at most 64"]


def test_ids_at_n_and_n_plus_1() -> None:
    assert problems(line_items=[line_item(id="l" * limits.SLUG_CHARS)]) == []
    assert len(problems(line_items=[line_item(id="l" * (limits.SLUG_CHARS + 1))])) == 1


def test_problems_are_many_but_not_endless() -> None:
    found = problems(**{f"x{number}": 1 for number in range(limits.PROBLEMS_PER_DOCUMENT)})
    assert len(found) == limits.PROBLEMS_PER_DOCUMENT
    found = problems(**{f"x{number}": 1 for number in range(50_000)})
    assert len(found) == limits.PROBLEMS_PER_DOCUMENT + 1
    assert found[-1] == "there are more problems; these are the first"


@pytest.mark.parametrize(
    "body",
    [
        b'{"' + b"a" * 4_000_000 + b'": 1}',
        b'{"currency": "' + b"E" * 4_000_000 + b'"}',
        b'{"timezone": "' + b"Europe/" * 500_000 + b'", "currency": "EUR"}',
        b'{"line_items": [' + b",".join([b"{}"] * 100_000) + b"]}",
        b'{"labels": [' + b",".join([b'"\\u202e"'] * 400_000) + b"]}",
        b"{" + b",".join(b'"k%d":1' % number for number in range(300_000)) + b"}",
    ],
)
def test_documents_made_to_be_slow_are_refused_soon(body: bytes) -> None:
    before = time.process_time()
    _, found = read("campaign", "a/b", parse_json(body))
    assert found
    # Generous: such a document costs a second at most, where quadratic work would take minutes.
    assert time.process_time() - before < 10
    assert sum(len(problem.message) + len(problem.path) for problem in found) < 1_000_000
