"""Pictures of the figures, where matplotlib is installed (the extra `plots`)."""

from importlib import import_module
from pathlib import Path
from typing import Any

from adserver.bench.goals import Found

_GOALS_US = {"median": 25.0, "p99": 75.0}
"""DESIGN, "Performance"; without a kernel."""


def draw(found: Found, folder: Path) -> str:
    """PNG files into the folder; what was done, or why not. Raises OSError where one cannot be written."""
    try:
        pyplot = import_module("matplotlib.pyplot")
    except ModuleNotFoundError:
        return "no plots: matplotlib is not installed"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"growth.png": (_growth, bool(found.sizes))}
    wanted |= {name: (act, found.beside is not None) for name, act in _HTTP.items()}
    names = [name for name, (_, there) in wanted.items() if there]
    for name in names:
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        wanted[name][0](axes, found)
        figure.savefig(folder / name, dpi=120)
        pyplot.close(figure)
    return f"plots: {', '.join(names) or 'nothing was measured'}"


def _growth(axes: Any, found: Found) -> None:
    sizes = [sized.line_items for sized in found.sizes]
    for name, field in (("median", "median_us"), ("p99", "p99_us")):
        times = [getattr(sized.engine, field) for sized in found.sizes]
        (line,) = axes.plot(sizes, times, marker="o", label=name)
        goal = _GOALS_US[name]
        axes.axhline(goal, color=line.get_color(), linestyle=":", label=f"goal: {name} {goal:.0f} µs")
    axes.set(xscale="log", yscale="log", xlabel="line items", ylabel="µs", title="The engine alone")
    axes.set_ylim(bottom=5)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_minor_formatter("")
    axes.legend()


def _rates(axes: Any, found: Found) -> None:
    beside = found.beside
    assert beside is not None
    pairs = {
        "decisions": (beside.decisions.per_second, beside.empty_decisions.per_second),
        "impressions": (beside.impressions.per_second, beside.empty_impressions.per_second),
    }
    _side_by_side(axes, pairs)
    axes.set(ylabel="a second", title=f"HTTP, one core, {beside.line_items:,} line items")


def _waits(axes: Any, found: Found) -> None:
    beside = found.beside
    assert beside is not None
    mine, empty = beside.paced, beside.empty_paced
    fields = {"p50": "median_us", "p99": "p99_us", "p99.9": "p999_us"}
    pairs = {name: (getattr(mine, field), getattr(empty, field)) for name, field in fields.items()}
    _side_by_side(axes, pairs)
    axes.set(yscale="log", ylabel="µs", title=f"From due to answered, {mine.per_second:,.0f} decisions/s")


_HTTP = {"http.png": _rates, "open_loop.png": _waits}


def _side_by_side(axes: Any, pairs: dict[str, tuple[float, float]]) -> None:
    places = range(len(pairs))
    for shift, number, label in ((-0.2, 0, "ad server"), (0.2, 1, "empty endpoint")):
        heights = [pair[number] for pair in pairs.values()]
        bars = axes.bar([place + shift for place in places], heights, 0.4, label=label)
        axes.bar_label(bars, fmt="{:,.0f}")
    axes.set_xticks(places, list(pairs))
    axes.legend()
