"""Pictures of the figures, where matplotlib happens to be installed: it is no dependency."""

from importlib import import_module
from pathlib import Path
from typing import Any

from adserver.bench.goals import Found


def draw(found: Found, folder: Path) -> str:
    """PNG files into the folder; what was done, or why not."""
    try:
        pyplot = import_module("matplotlib.pyplot")
    except ModuleNotFoundError:
        return "no plots: matplotlib is not installed"
    folder.mkdir(parents=True, exist_ok=True)
    names = ["growth.png"]
    _growth(pyplot, found, folder / names[0])
    if found.beside is not None:
        names.append("http.png")
        _http(pyplot, found, folder / names[1])
    return f"plots: {', '.join(names)}"


def _growth(pyplot: Any, found: Found, path: Path) -> None:
    figure, axes = pyplot.subplots()
    sizes = [sized.line_items for sized in found.sizes]
    for name in ("median_us", "p99_us"):
        axes.plot(sizes, [getattr(sized.engine, name) for sized in found.sizes], marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="line items", ylabel="µs", title="Engine alone")
    axes.legend()
    figure.savefig(path)
    pyplot.close(figure)


def _http(pyplot: Any, found: Found, path: Path) -> None:
    assert found.beside is not None
    figure, axes = pyplot.subplots()
    names = ("decisions", "empty_decisions", "impressions", "empty_impressions")
    axes.bar(names, [getattr(found.beside, name).per_second for name in names])
    axes.set(ylabel="a second", title="HTTP, one core")
    figure.savefig(path)
    pyplot.close(figure)
