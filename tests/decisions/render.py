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
    "Who may": [
        "targeting",
        "expressions",
        "radius",
        "dayparts-and-clock-changes",
        "flights",
        "consent",
        "known-bots",
    ],
    "How often": ["frequency-cap", "frequency-cap-outstanding", "frequency-cap-of-an-advertiser"],
    "How much": ["daily-budget", "even-pacing"],
    "In what company": ["exclusions", "request-id", "feed-pages"],
    "Why": ["explanation"],
}


def document() -> str:
    """The whole page."""
    parts = [(HERE / "introduction.md").read_text()]
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
