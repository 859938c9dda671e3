"""The configuration of a simulation: read strictly, every problem at once, each with its path."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from adserver.domain.changes import Invalid
from adserver.simulation.config import Config, check_views, read_config

SMALL = Path(__file__).with_name("small.yaml")
SAMPLES = Path(__file__).parents[2] / "docs" / "simulation"


def read(tmp_path: Path, change: dict[str, Any]) -> Config:
    """``small.yaml`` with fields replaced: ``traffic.noise`` -> value; None takes a field away."""
    document = yaml.safe_load(SMALL.read_text().replace(": 2026-", ": !!str 2026-"))
    for path, value in change.items():
        *parents, name = path.split(".")
        inner = document
        for parent in parents:
            inner = inner[int(parent) if isinstance(inner, list) else parent]
        if value is None:
            del inner[name]
        else:
            inner[name] = value
    file = tmp_path / "simulation.yaml"
    file.write_text(yaml.safe_dump(_texts(document)))
    return read_config(file)


def _texts(value: Any) -> Any:
    """Decimals as text: PyYAML writes some of them as no core schema reads them."""
    if isinstance(value, dict):
        return {name: _texts(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_texts(inner) for inner in value]
    return str(value) if isinstance(value, float) else value


def problems(tmp_path: Path, change: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as refusal:
        read(tmp_path, change)
    return {problem.path: problem.message for problem in refusal.value.problems}


def test_it_is_read(tmp_path: Path) -> None:
    config = read(tmp_path, {})
    assert config == read_config(SMALL)
    assert (config.days, config.seed, config.timezone) == (2, 7, "Europe/Paris")
    assert config.start_ms == 1_780_264_800_000
    assert config.outages == ((1_780_264_800_000 + 37 * 3600_000, 1_780_264_800_000 + 39 * 3600_000),)
    assert config.traffic.weekdays[1] == 0.9 and config.traffic.actual == (1.0, 0.7)
    assert config.views[0].pause_ms == 20_000 and config.views[1].pause_ms == 30_000
    assert config.people.kinds[0].facts == {"device": "mobile", "country": "FR", "language": "fr"}
    assert config.readers.line_items == {"bid-4/flight/line": 0.2}


@pytest.mark.parametrize(
    ("path", "value", "where", "told"),
    [
        ("days", 0, "days", "from 1 to 366"),
        ("days", None, "days", "is missing"),
        ("seed", "x", "seed", "a whole number"),
        ("start", None, "start", "is missing"),
        ("start", "June", "start", "not a date"),
        ("timezone", "Europe/Pari", "timezone", "Europe/Paris"),
        ("campaigns", "here", "campaigns", "one of them"),
        ("generated", None, "campaigns", "one of them"),
        ("generated.load", "lots", "generated.load", '"lots"; it is a number'),
        ("generated.cap", 256, "generated.cap", "from 0 to 255"),
        ("traffic", None, "traffic", "is missing"),
        ("traffic.shape", [1, 2], "traffic.shape", "a list of 24 numbers"),
        ("traffic.shape", [0] * 24, "traffic.shape", "somebody must come"),
        ("traffic.shape", ["nan"] * 24, "traffic.shape", "a list of 24 numbers"),
        ("traffic.decisions", 10_000_001, "traffic.decisions", "10000000"),
        ("traffic.actual", [], "traffic.actual", "a list of 1 to 366"),
        ("traffic.noise", "-0.1", "traffic.noise", "from 0 to 2"),
        ("traffic.weekdays", {"friday": 1}, "traffic.weekdays.friday", "unknown field"),
        ("people.number", "many", "people.number", "a whole number"),
        ("people.zipf", "inf", "people.zipf", "from 0 to 3"),
        ("people.kinds", [{"country": "FR", "consent": "1.1"}], "people.kinds[0].consent", "from 0 to 1"),
        ("people.kinds", [{"contry": "FR"}], "people.kinds[0].contry", "country"),
        ("people.kinds", [{"segments": {"a": 2}}], "people.kinds[0].segments.a", "from 0 to 1"),
        ("views", None, "views", "is missing"),
        ("views.0.publisher", "No", "views[0].publisher", "not an id"),
        ("views.0.placements", None, "views[0].placements", "is missing"),
        ("views.1.pages", "0.5", "views[1].pages", "from 1 to 100"),
        ("views.1.pause", "soon", "views[1].pause", "not a duration"),
        ("readers.rendered", "0.99", "readers.released", "more than 1"),
        ("readers.line_items", {"a/b/c": 2}, "readers.line_items.a/b/c", "from 0 to 1"),
        ("outages.0.to", "2026-06-02T13:00", "outages[0].to", "not after"),
        ("outages.0.from", None, "outages[0].from", "is missing"),
        ("growht", 1, "growht", "unknown field"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, path: str, value: Any, where: str, told: str) -> None:
    found = problems(tmp_path, {path: value})
    assert told in found[where]


def test_all_of_it_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, {"days": 0, "traffic.noise": "x", "views.0.pages": 0, "readers.clicks": 2})
    assert set(found) == {"days", "traffic.noise", "views[0].pages", "readers.clicks"}


def test_campaigns_that_are_nowhere(tmp_path: Path) -> None:
    found = problems(tmp_path, {"generated": None, "campaigns": "nowhere"})
    assert found == {"campaigns": f"{tmp_path / 'nowhere'} is not a folder"}


def test_views_are_of_placements_that_are_there() -> None:
    config = read_config(SMALL)
    check_views(config, {"gazette/feed": "feed", "gazette/top": "page", "gazette/side": "page"})
    with pytest.raises(Invalid) as refusal:
        check_views(config, {"gazette/feed": "feed", "gazette/tops": "page", "gazette/side": "feed"})
    told = {problem.path: problem.message for problem in refusal.value.problems}
    assert set(told) == {"views[0].placements", "views[1].placements[0]"}
    assert 'did you mean "gazette/tops"?' in told["views[1].placements[0]"]


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_documented_ones_are_right(path: Path) -> None:
    config = read_config(path)
    assert config.campaigns is None or config.campaigns.is_dir()
