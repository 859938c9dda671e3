"""docs/DECISIONS.md from the exemplary cases: ``python tests/decisions/render.py`` writes it, a test checks
that it is up to date."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "docs" / "DECISIONS.md"
WIDTH = 108

CHAPTERS = {
    "Who wins": ["best-bid-wins", "priorities", "levels", "second-price", "floors", "creative-weights"],
    "Who may": ["targeting", "dayparts-and-clock-changes", "flights", "consent", "known-bots"],
    "How often": ["frequency-cap", "frequency-cap-outstanding", "frequency-cap-of-an-advertiser"],
    "How much": ["daily-budget", "even-pacing"],
    "In what company": ["exclusions", "request-id", "feed-pages"],
    "Why": ["explanation"],
}

INTRODUCTION = """\
# Decisions, by example

Generated from `tests/decisions/exemplary` by `python tests/decisions/render.py`; edit the cases, not this page.

Each example is a test: a file that is played against a whole server, with its time and its chance given. Hundreds
more stand beside them in `tests/decisions/supplemental` and `tests/decisions/invalid`.

| field | says |
|---|---|
| `publishers`, `advertisers`, `audiences`, `campaigns` | what there is, as in campaign files |
| `now` | the time of the request; without it 2026-06-01T12:00:00Z, a Monday |
| `before`, `after` | what happens before and after it, step by step; `at` is a time, or a distance from `now` |
| `asker` | who asks: role and owner of a key, the user agent |
| `terms` | what an exchange's request says beside it |
| `seed` | the chance of this request; `seeds`: ask so many times, each with another |
| `request` | the body of `POST /v1/decisions` |
| `expected` | the answer: winners by full id, exactly and in order, with anything else that is named; how many may win over many seeds; or the error |

A step asks (`request`, its answer called `as`), tells of an event of an ad (`event` or `release`, `of` the answer and
the number of its ad; `verdict` is `accepted` unless it says otherwise), changes documents, lets the server do its
periodic duties (`tick`), kills and starts it again (`restart`), or looks at `delivery`.

What an example leaves out: a publisher sells in euros, has consent by default, and one placement `top` for images; a
placement is a page's; a line item bids 1.00 a thousand in the auction, and has an image and a native creative.
"""


def document() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for chapter, names in CHAPTERS.items():
        parts.append(f"## {chapter}\n")
        parts += [section(HERE / "exemplary" / f"{name}.json") for name in names]
    return "\n".join(parts)


def section(path: Path) -> str:
    case: dict[str, Any] = json.loads(path.read_text())
    title = path.stem.replace("-", " ").capitalize()
    rest = {name: value for name, value in case.items() if name != "description"}
    return f"### {title}\n\n{case['description']}\n\n```json\n{written(rest)}\n```\n"


def written(value: Any, indent: int = 0, taken: int = 0) -> str:
    """JSON that breaks lines only where they would grow too long."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or (indent and indent + taken + len(flat) <= WIDTH):
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        opening, closing = "{", "}"
        keys = [f"{json.dumps(name)}: " for name in value]
        parts = [
            key + written(part, indent + 2, len(key) + 1)
            for key, part in zip(keys, value.values(), strict=True)
        ]
    else:
        opening, closing = "[", "]"
        parts = [written(part, indent + 2, 1) for part in value]
    return opening + "\n" + ",\n".join(pad + part for part in parts) + "\n" + " " * indent + closing


if __name__ == "__main__":
    DOCUMENT.write_text(document())
