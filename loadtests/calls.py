"""How the server bore the load: calls, failures, and how long visitors waited."""

from collections import Counter, defaultdict
from typing import Final

from rich.console import Console
from rich.table import Table

from loadtests.records import Decision, Event, Seen

_FINE: Final = {200, 204, 302}
_VERDICTS: Final = {"accepted", "duplicate", "expired", "filtered"}
_SHOWN: Final = 10


def failures(seen: Seen) -> list[str]:
    """Every call that was not answered as it should, by what was wrong."""
    wrong: Counter[str] = Counter()
    for decision in seen.decisions:
        if decision.status != 200:
            wrong[f"decision: {decision.status} {decision.error}"] += 1
    for event in seen.events:
        if event.status not in _FINE:
            wrong[f"{event.kind}: {event.status}"] += 1
        elif event.verdict not in _VERDICTS:
            wrong[f"{event.kind}: the verdict is {event.verdict or 'missing'}"] += 1
    return [f"{number} x {what}" for what, number in wrong.most_common()]


def show(seen: Seen, console: Console) -> bool:
    """Print rates, waiting times and failures; whether there were calls and no failures."""
    calls: list[Decision | Event] = [*seen.decisions, *seen.events]
    if not calls:
        console.print("no calls at all")
        return False
    seconds = (max(c.sent_ms for c in calls) - min(c.sent_ms for c in calls)) / 1000 or 1.0
    took: dict[str, list[int]] = defaultdict(list)
    for call in calls:
        took[call.kind if isinstance(call, Event) else "decision"].append(call.took_us)
    table = Table(title=f"{len(calls):,} calls in {seconds:.1f} s", title_justify="left", box=None)
    for column in ("call", "number", "per second", "p50 ms", "p99 ms", "most ms"):
        table.add_column(column, justify="left" if column == "call" else "right")
    for name, times in [*took.items(), ("all", [call.took_us for call in calls])]:
        times.sort()
        points = [times[int((len(times) - 1) * part)] / 1000 for part in (0.5, 0.99, 1)]
        table.add_row(name, f"{len(times):,}", f"{len(times) / seconds:,.0f}", *(f"{p:.1f}" for p in points))
    console.print(table)
    slots = [slot for decision in seen.decisions for slot in decision.slots]
    shed = sum(slot.no_fill == "overloaded" for slot in slots)
    filled = sum(bool(slot.ads) for slot in slots)
    console.print(f"{len(slots):,} placements, {filled:,} with ads, {shed:,} shed because of overload\n")
    found = failures(seen)
    for failure in found[:_SHOWN]:
        console.print(f"  failed: {failure}", soft_wrap=True, markup=False, highlight=False)
    return not found
