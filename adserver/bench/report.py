"""What was measured, as one JSON document and one Markdown page."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import Struct

from adserver.bench.catalogue import LEFT_OUT, SEED
from adserver.bench.goals import Found, Goal
from adserver.bench.measure import Machine, Spread

_MET = {True: "met", False: "**not met**", None: "–"}


class Report(Struct, frozen=True):
    machine: Machine
    settings: dict[str, object]
    found: Found
    goals: list[Goal]
    load_after: float
    seconds: float


def to_json(report: Report) -> bytes:
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def to_markdown(report: Report) -> str:
    parts = [_machine(report), _goals(report.goals), *_parts(report.found), _notes(report)]
    return "\n\n".join(parts) + "\n"


def _machine(report: Report) -> str:
    machine = report.machine
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB; {machine.system}; "
        f"CPython {machine.python}; {packages}.\n"
        f"Settings: seed {SEED}, {settings}. Load of the machine before / after: {machine.load} / "
        f"{report.load_after}; the run took {report.seconds:.0f} s."
    )


def _goals(goals: Iterable[Goal]) -> str:
    return table(
        ("what", "goal", "figure", ""),
        ((goal.what, goal.goal, goal.figure, _MET[goal.met]) for goal in goals),
    )


def _parts(found: Found) -> Iterator[str]:
    if found.sizes:
        yield "The engine alone (shortlist, rules, budgets, pacing, admission) by size, in processor time:"
        yield _sizes(found)
    if found.server is not None:
        yield f"The server but for HTTP, {found.server.line_items:,} line items:"
        yield _calls(found)


def _sizes(found: Found) -> str:
    heads = ("line items", "median µs", "p99 µs", "p99.9 µs", "growth", "ads a request", "build s",
             "one change ms", "open ms", "image MiB", "private MiB")  # fmt: skip
    first = found.sizes[0].engine.median_us
    built = {built.line_items: built for built in found.built}
    rows = (
        (
            f"{sized.line_items:,}",
            *_times(sized.engine),
            f"{sized.engine.median_us / first:.2f} ×",
            f"{sized.ads:.2f}",
            f"{built[sized.line_items].build_ms / 1000:.2f}",
            f"{built[sized.line_items].change_ms:.0f}",
            f"{sized.open_ms:.1f}",
            f"{sized.image_mib:.0f}",
            f"{sized.private_mib:.0f}",
        )
        for sized in found.sizes
    )
    return table(heads, rows)


def _calls(found: Found) -> str:
    server, worst = found.server, found.worst
    assert server is not None
    rows = [
        ("a decision, bytes to bytes, journal on (processor time)", *_times(server.whole)),
        ("the same while another process compiles (waiting included)", *_times(server.while_building)),
    ]
    if worst is not None:
        rows.append(("the worst request, engine alone (processor time)", *_times(worst.decide)))
    swap = (
        f"The loop stands still at a swap, the first decision after it included: {server.put_live_ms:.1f} ms "
        "(processor time)."
    )
    return table(("what", "median µs", "p99 µs", "p99.9 µs"), rows) + f"\n\n{swap}"


def _times(spread: Spread) -> tuple[str, str, str]:
    return f"{spread.median_us:,.0f}", f"{spread.p99_us:,.0f}", f"{spread.p999_us:,.0f}"


def _notes(report: Report) -> str:
    notes = [*LEFT_OUT, *report.found.missing]
    beside = report.found.beside
    if beside is not None:
        pinned = "on different cores" if beside.pinned else "on one core: the ratios say little"
        notes.append(
            f"HTTP: medians of {beside.rounds} alternating rounds of {beside.seconds:g} s, server and client "
            f"{pinned}; {beside.failed} failed, {beside.overloaded} overloaded"
        )
        notes.append(
            f"Events: medians of {beside.event_rounds} alternating rounds; {beside.accepted:,} of "
            f"{beside.told:,} impressions accepted, all of them posted; only those count, and the time until "
            "they are"
        )
        if beside.shared is not None:
            notes.append(
                f"Redis is on the client's core; {beside.shared.unknown} answers were made without it"
            )
    return "\n".join(f"- {note}." for note in notes)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
