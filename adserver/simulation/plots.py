"""Pictures of a run, where matplotlib is installed (the extra `plots`)."""

from collections import Counter, defaultdict
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Final

from adserver.simulation.record import BUCKET, BUCKETS, Standing
from adserver.simulation.run import Found
from adserver.simulation.tables import duration, unit_of
from adserver.simulation.traffic import HOUR_MS, hours

_LINES: Final = 6
"""Line items, feeds or caps drawn in a picture."""


def draw(found: Found, folder: Path) -> str:
    """PNG files into the folder; what was done, or why not. Raises OSError where one cannot be written."""
    try:
        matplotlib = import_module("matplotlib")
        # Nobody looks at a window of it.
        matplotlib.use("agg")
        pyplot = import_module("matplotlib.pyplot")
    except ModuleNotFoundError:
        return "no plots: matplotlib is not installed"
    for name, act in PLOTS.items():
        figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
        act(axes, found)
        figure.savefig(folder / name, dpi=120)
        pyplot.close(figure)
    return f"plots: {', '.join(PLOTS)}"


def _pacing(axes: Any, found: Found) -> None:
    """Spend against plan, as shares of the whole: of the line items with enough traffic, as the referees have
    it, those furthest from their plans at any hour. Others tell of demand, not of pacing."""
    known: defaultdict[int, list[Standing]] = defaultdict(list)
    for standing in found.play.record.hourly:
        if found.items[standing.line_item][1].pacing != "asap":
            known[standing.line_item].append(standing)
    enough = [one for one, told in known.items() if 2 * sum(hour.held_back for hour in told) >= len(told)]
    largest = sorted(
        enough or known,
        key=lambda serial: -max(abs(one.done - one.planned) / _most(known[serial]) for one in known[serial]),
    )
    for serial in largest[:_LINES]:
        told = known[serial]
        at = [_hour(found, one.at_ms) for one in told]
        (line,) = axes.plot(at, [100 * one.done / _most(told) for one in told], label=_label(found, serial))
        axes.plot(
            at, [100 * one.planned / _most(told) for one in told], color=line.get_color(), linestyle=":"
        )
    _shade(axes, found)
    axes.set(xlabel="hours", ylabel="% of the most planned", title="Done (line) against plan (dots)")
    _legend(axes)


def _most(told: list[Standing]) -> int:
    return max(*(one.planned for one in told), 1, 1)


def _label(found: Found, serial: int) -> str:
    campaign, item = found.items[serial]
    return f"{item.full_id} ({unit_of(campaign, item)})"


def _traffic(axes: Any, found: Found) -> None:
    told = hours(found.config)
    at = [_hour(found, hour.start_ms) for hour in told]
    counts = [found.play.record.hours[hour.start_ms] for hour in told]
    axes.plot(at, [hour.forecast for hour in told], linestyle=":", label="forecast")
    axes.plot(at, [one["decisions"] for one in counts], label="decisions")
    axes.plot(at, [one["ads"] for one in counts], label="ads")
    axes.plot(at, [one["impression"] for one in counts], label="impressions")
    _shade(axes, found)
    axes.set(xlabel="hours", ylabel="an hour", title="Traffic")
    axes.set_ylim(bottom=0)
    _legend(axes)


def _frequency(axes: Any, found: Found) -> None:
    """People by how many exposures they had at most at once, for the caps that bound most people."""
    peaks = found.play.caps.peaks()
    ordered = sorted(peaks, key=lambda key: (-sum(peaks[key].values()), key[0]))[:_LINES]
    for number, key in zip(count(), ordered, strict=False):
        (named, cap), people = key, peaks[key]
        at = [exposures + 0.8 * (number + 0.5) / len(ordered) - 0.4 for exposures in people]
        label = f"{' '.join(named)}: {cap.limit} per {duration(cap.per_ms)}"
        axes.bar(at, list(people.values()), 0.8 / len(ordered), label=label)
    axes.set(
        xlabel="most exposures within the window", ylabel="people", title="Frequency: none above its cap"
    )
    _legend(axes)


def _feeds(axes: Any, found: Found) -> None:
    feeds: defaultdict[str, dict[int, Counter[str]]] = defaultdict(dict)
    for (placement, bucket), counts in sorted(found.play.record.feeds.items()):
        feeds[placement][bucket] = counts
    for placement, buckets in list(feeds.items())[:_LINES]:
        at = [bucket * BUCKET for bucket in buckets]
        shares = [100 * counts["sponsored"] / counts["items"] for counts in buckets.values()]
        (line,) = axes.plot(at, shares, marker="o", label=placement)
        allowed = [100 * counts["allowed"] / counts["items"] for counts in buckets.values()]
        axes.plot(at, allowed, color=line.get_color(), linestyle=":", label="allowed there by the cap")
    axes.set(
        xlabel=f"position in the feed (from {(BUCKETS - 1) * BUCKET} on: all behind)",
        ylabel="sponsored, %", title="Share of feed",
    )  # fmt: skip
    axes.set_ylim(bottom=0)
    _legend(axes)


PLOTS: Final = {
    "spend.png": _pacing,
    "traffic.png": _traffic,
    "frequency.png": _frequency,
    "feeds.png": _feeds,
}


def _hour(found: Found, at_ms: int) -> float:
    return (at_ms - found.config.start_ms) / HOUR_MS


def _shade(axes: Any, found: Found) -> None:
    for start, end in found.config.outages:
        axes.axvspan(_hour(found, start), _hour(found, end), color="0.85", label="outage")


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="x-small")
