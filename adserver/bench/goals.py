"""Each goal of the design's table beside its figure: met, not met, or not measured and why."""

from collections.abc import Iterator

from msgspec import Struct

from adserver.bench.beside import Beside
from adserver.bench.sized import Built, Server, Sized, Worst

_PAUSE_MS = 5.0
_BUILD_MS = 3000.0


class Goal(Struct, frozen=True):
    """``met`` None: not measured, or not at the size the goal speaks of; ``figure`` says what is known."""

    what: str
    goal: str
    figure: str
    met: bool | None = None


class Found(Struct, frozen=True):
    """What was measured; parts may be missing (``missing``: what, and why)."""

    built: tuple[Built, ...] = ()
    sizes: tuple[Sized, ...] = ()
    worst: Worst | None = None
    server: Server | None = None
    beside: Beside | None = None
    missing: tuple[str, ...] = ()


SIZE = 100_000
LARGE = 1_000_000


def goals(found: Found) -> list[Goal]:
    """In the order of the design's table."""
    return [
        *_http(found.beside),
        _shared(found.beside),
        *_engine(found),
        _worst(found.worst),
        _open_loop(found.beside),
        *_journal(found.server),
        _growth(found.sizes),
        *_snapshot(found),
        _events(found.beside),
        Goal("two workers against one", "≥ 1.8 ×", "not measured: it needs a third core for the load"),
    ]


def _http(beside: Beside | None) -> Iterator[Goal]:
    what = "decisions/s over HTTP, one worker, 100 000 line items"
    goal = "≥ 0.9 × the empty endpoint (1.5 × with a kernel)"
    if beside is None:
        yield Goal(what, goal, "not measured")
        return
    mine, empty = beside.decisions, beside.empty_decisions
    ratio = mine.per_second / empty.per_second
    processor = empty.processor_us / mine.processor_us
    figure = (
        f"{ratio:.2f} × ({mine.per_second:,.0f} against {empty.per_second:,.0f} /s); by processor time "
        f"{processor:.2f} × ({mine.processor_us:.0f} against {empty.processor_us:.0f} µs a request)"
    )
    yield _at(beside.line_items, Goal(what, goal, figure, ratio >= 0.9))
    what, goal = "server CPU a decision", "≤ 3.5 × nginx `return 200`"
    if beside.nginx is None:
        yield Goal(what, goal, "not measured: nginx is not installed")
        return
    ratio = mine.processor_us / beside.nginx.processor_us
    figure = f"{ratio:.1f} × ({mine.processor_us:.0f} against {beside.nginx.processor_us:.1f} µs)"
    yield _at(beside.line_items, Goal(what, goal, figure, ratio <= 3.5))


def _shared(beside: Beside | None) -> Goal:
    what, goal = "the same with Redis state", "≥ 0.7 × the empty endpoint"
    if beside is None or beside.shared is None:
        return Goal(what, goal, "not measured: `--redis` does")
    mine, empty, alone = beside.shared.decisions, beside.empty_decisions, beside.decisions
    ratio = mine.per_second / empty.per_second
    kept = "" if beside.shared.redis_us is None else f", and {beside.shared.redis_us:.0f} of Redis"
    figure = (
        f"{ratio:.2f} × ({mine.per_second:,.0f} /s); by processor time "
        f"{empty.processor_us / mine.processor_us:.2f} × ({mine.processor_us:.0f} µs a request{kept}; "
        f"{alone.processor_us:.0f} without)"
    )
    return _at(beside.line_items, Goal(what, goal, figure, ratio >= 0.7))


def _open_loop(beside: Beside | None) -> Goal:
    what, goal = "open loop at 70 % of capacity: p50 / p99 / p99.9", "≤ 1.5 × the empty endpoint's"
    if beside is None:
        return Goal(what, goal, "not measured")
    mine, empty = beside.paced, beside.empty_paced
    pairs = (
        (mine.median_us, empty.median_us), (mine.p99_us, empty.p99_us), (mine.p999_us, empty.p999_us),
    )  # fmt: skip
    ratios = [one / other for one, other in pairs]
    figure = (
        f"{' / '.join(f'{ratio:.1f}' for ratio in ratios)} × at {mine.per_second:,.0f} /s "
        f"({' / '.join(_us(one) for one, _ in pairs)} against {' / '.join(_us(other) for _, other in pairs)})"
    )
    return _at(beside.line_items, Goal(what, goal, figure, max(ratios) <= 1.5))


def _engine(found: Found) -> Iterator[Goal]:
    what = "engine alone, 100 000 line items"
    sized = _of_size(found.sizes, SIZE)
    if sized is None:
        largest = found.sizes[-1] if found.sizes else None
        figure = f"{_spread(largest)} at {largest.line_items:,}" if largest else "not measured"
        yield Goal(what, "median ≤ 25 µs, p99 ≤ 75 µs", figure)
        return
    yield Goal(what, "median ≤ 25 µs (10 with a kernel)", _us(sized.engine.median_us),
               sized.engine.median_us <= 25)  # fmt: skip
    yield Goal(what, "p99 ≤ 75 µs", _us(sized.engine.p99_us), sized.engine.p99_us <= 75)


def _worst(worst: Worst | None) -> Goal:
    what = "the worst request: capped on the best 5 000, 10 000 tied bids, 40 winners × 4 placements"
    if worst is None:
        return Goal(what, "p99 ≤ 1 ms", "not measured")
    figure = f"{worst.decide.p99_us / 1000:.1f} ms ({worst.ads} ads)"
    return Goal(what, "p99 ≤ 1 ms", figure, worst.decide.p99_us <= 1000)


def _journal(server: Server | None) -> Iterator[Goal]:
    if server is None:
        yield Goal("journal", "≤ 300 bytes a decision, ≤ 120 an event", "not measured")
        return
    found = server.journalled
    figure = f"{found.decision_bytes:.0f} bytes ({found.ads:.1f} ads in the mean)"
    yield Goal("journal, a decision", "≤ 300 bytes", figure, found.decision_bytes <= 300)
    figure = f"{found.event_bytes:.0f} bytes"
    yield Goal("journal, an event", "≤ 120 bytes", figure, found.event_bytes <= 120)


def _growth(sizes: tuple[Sized, ...]) -> Goal:
    what, goal = "growth of the engine's median from 1 000 to 1 000 000 line items", "≤ 2 ×"
    if len(sizes) < 2:
        return Goal(what, goal, "not measured")
    first, last = sizes[0], sizes[-1]
    ratio = last.engine.median_us / first.engine.median_us
    figure = f"{ratio:.2f} × from {first.line_items:,} to {last.line_items:,}"
    whole = first.line_items == 1000 and last.line_items == LARGE
    return Goal(what, goal, figure, ratio <= 2 if whole or ratio > 2 else None)


def _snapshot(found: Found) -> Iterator[Goal]:
    yield _memory(found.sizes)
    built = next((built for built in found.built if built.line_items == SIZE), None)
    what, goal = "snapshot of 100 000 line items: build", "≤ 3 s"
    if built is None:
        yield Goal(what, goal, "not measured")
    else:
        figure = f"{built.build_ms / 1000:.1f} s; after one change {built.change_ms:.0f} ms"
        yield Goal(what, goal, figure, built.build_ms <= _BUILD_MS)
    what, server = "snapshot of 100 000 line items: pause at the swap", found.server
    if server is None:
        yield Goal(what, "≤ 5 ms", "not measured")
        return
    building = _us(server.while_building.p99_us)
    figure = f"{server.put_live_ms:.1f} ms; while another is built, decisions' p99 is {building}"
    yield _at(server.line_items, Goal(what, "≤ 5 ms", figure, server.put_live_ms <= _PAUSE_MS))


def _memory(sizes: tuple[Sized, ...]) -> Goal:
    what, goal = "memory at 1 000 000 line items, 100 000 segments", "≤ 1.5 GiB"
    if not sizes:
        return Goal(what, goal, "not measured")
    sized = sizes[-1]
    gib = (sized.image_mib + sized.private_mib) / 1024
    figure = f"{gib:.2f} GiB, of it {sized.private_mib:,.0f} MiB a process's own, the rest mapped"
    if sized.line_items == LARGE:
        return Goal(what, goal, figure, gib <= 1.5)
    return Goal(what, goal, f"at {sized.line_items:,}: {figure}", False if gib > 1.5 else None)


def _events(beside: Beside | None) -> Goal:
    what, goal = "impression events/s, durable", "≥ 1.0 × the empty endpoint"
    if beside is None:
        return Goal(what, goal, "not measured")
    mine, empty = beside.impressions, beside.empty_impressions
    ratio, apart, together = (
        rate.per_second / empty.per_second for rate in (mine, beside.apart, beside.together)
    )
    figure = (
        f"{ratio:.2f} × with a core for the server and one for its posting, in turns "
        f"({mine.per_second:,.0f} against {empty.per_second:,.0f} /s; "
        f"{mine.processor_us:.0f} against {empty.processor_us:.0f} µs of the processor an event, "
        f"and {mine.posting_us:.0f} of posting); at once {apart:.2f} × with posting beside the client, "
        f"{together:.2f} × on the server's core"
    )
    return Goal(what, goal, figure, ratio >= 1)


def _at(line_items: int, goal: Goal) -> Goal:
    """A goal of another size is neither met nor missed."""
    if line_items == SIZE:
        return goal
    return Goal(goal.what, goal.goal, f"at {line_items:,} line items: {goal.figure}")


def _of_size(sizes: tuple[Sized, ...], line_items: int) -> Sized | None:
    return next((sized for sized in sizes if sized.line_items == line_items), None)


def _spread(sized: Sized) -> str:
    return f"median {_us(sized.engine.median_us)}, p99 {_us(sized.engine.p99_us)}"


def _us(us: float) -> str:
    return f"{us:.0f} µs" if us < 10_000 else f"{us / 1000:.1f} ms"
