"""The benchmark with tiny counts, so that it cannot rot: nothing here asks how fast anything is."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import mean
from threading import Thread

import msgspec
import pytest
from servers import programs
from servers.redis_server import Redis

from adserver.bench import beside, client, engine, events, lines, paced, plots, servers, sized, stores
from adserver.bench.calls import BROWSER
from adserver.bench.catalogue import CUSTOM, PLACEMENTS, SEED, Shape
from adserver.bench.goals import LARGE, SIZE, Found, goals
from adserver.bench.measure import Spread, machine, spread
from adserver.bench.report import Report, to_json, to_markdown
from adserver.bench.run import QUICK, Bench, Plan
from adserver.domain.campaign import LineItem
from adserver.engine import rules
from adserver.engine.compile import compile_snapshot
from adserver.engine.snapshot import Snapshot

TINY = 300


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return compile_snapshot(Shape().catalogue(TINY, engine.NOON_MS))


@pytest.fixture(scope="module")
def items(snapshot: Snapshot) -> list[LineItem]:
    return [entry.line_item for entry in snapshot.entries]


# -- the shape -------------------------------------------------------------------------------------


def test_a_seed_gives_one_catalogue_and_one_sequence_of_requests() -> None:
    one, other = Shape(), Shape()
    assert one.catalogue(50, engine.NOON_MS) == other.catalogue(50, engine.NOON_MS)
    assert [one.request() for _ in range(20)] == [other.request() for _ in range(20)]
    assert Shape(SEED + 1).catalogue(50, engine.NOON_MS) != Shape().catalogue(50, engine.NOON_MS)


@pytest.mark.parametrize("line_items", [1, 10, 11, TINY])
def test_as_many_line_items_as_asked_for(line_items: int) -> None:
    made = Shape().catalogue(line_items, engine.NOON_MS)
    found = [item for campaign in made.campaigns for item in campaign.line_items]
    assert len(found) == line_items == len({item.serial for item in found})
    serials = [creative.serial for item in found for creative in item.creatives]
    assert len(serials) == len(set(serials))


def test_shares_are_those_of_the_shape() -> None:
    campaigns = Shape().catalogue(3000, engine.NOON_MS).campaigns
    items = [item for campaign in campaigns for item in campaign.line_items]

    def share(name: str) -> float:
        return mean(name in item.targeting.clauses for item in items)

    wanted = {"countries": 0.8, "devices": 0.5, "placements": 0.7, "languages": 0.4, "keywords": 0.2}
    assert {name: share(name) for name in wanted} == pytest.approx(wanted, abs=0.03)
    assert mean(item.targeting.hours is not None for item in items) == pytest.approx(0.2, abs=0.03)
    assert mean(bool(item.frequency_caps) for item in items) == pytest.approx(0.5, abs=0.03)
    custom = [text for item in items if (text := getattr(item.targeting, "custom", ""))]
    assert len(custom) / len(items) == pytest.approx(0.1 if CUSTOM else 0, abs=0.02)
    segments = [clause for item in items if (clause := item.targeting.clauses.get("segments"))]
    assert mean(bool(clause.any) for clause in segments) * len(segments) == pytest.approx(1800, abs=100)
    assert sum(bool(clause.none) for clause in segments) == pytest.approx(300, abs=60)


def test_requests_are_within_the_shape_and_can_be_read(snapshot: Snapshot) -> None:
    asked = engine.requests(snapshot, 200)
    assert {len(request.placements) for request in asked} == {1, 2, 3, 4}
    assert max(len(request.facts["segments"]) for request in asked) <= 50
    assert max(len(request.facts.get("keywords", ())) for request in asked) <= 10
    assert all(request.personalised and request.subject for request in asked)
    assert sum(1 for _ in snapshot.views("gazette")) == PLACEMENTS


# -- what is measured is what decides --------------------------------------------------------------


def test_the_engine_is_timed_at_decisions_that_serve(snapshot: Snapshot) -> None:
    tried, ads = engine.Engine(snapshot), 0
    for request in engine.requests(snapshot, 100):
        for slate in tried.decide(request):
            for winner in slate.winners:
                assert rules.first_drop(winner.entry, slate.context) is None
                ads += 1
    assert ads > 100


def test_the_worst_request_has_everything_capped_left_out_and_fills_everything() -> None:
    found = sized.worst(2, capped=200, tied=400)
    assert found.ads == 160 and found.decide.count == 2
    tried = engine.Engine(compile_snapshot(engine.worst_catalogue(50, 200)))
    (request,) = engine.worst_requests(tried, 1)
    slates = tried.decide(request)
    winners = [winner.entry for slate in slates for winner in slate.winners]
    assert all(not entry.caps for entry in winners) and len({id(entry) for entry in winners}) == 160
    left_out = tried.states.exposures.capped_out(request.subject, None, request.now_ms, tried.snapshot)
    assert sum(bits.bit_count() for bits in left_out.values()) == 50
    assert not any(position < 50 for slate in slates for position in slate.drops)
    # As long as the person lives: what was reserved is given back, so the next one is as bad.
    tried.undo(slates)
    assert tried.states.exposures.outstanding(request.subject) == 0


@pytest.mark.slow
def test_sizes_and_whole_decisions(tmp_path: Path) -> None:
    image = tmp_path / "image"
    built = sized.built(TINY, image)
    assert built.line_items == TINY and built.build_ms > 0 and built.change_ms > 0 and image.stat().st_size
    found = sized.sized(image, 30)
    assert found.line_items == TINY and found.engine.count == 30 and found.ads > 0.5
    whole = sized.server(TINY, 30)
    assert whole.journalled.events > 15 and whole.reply_bytes > 500
    assert 50 < whole.journalled.event_bytes < 200 and 50 < whole.journalled.decision_bytes < 1000


@pytest.mark.parametrize(
    ("count", "p99", "p999", "longest"), [(1, 1, 1, 1), (100, 99, 100, 100), (1000, 990, 999, 1000)]
)
def test_percentiles_are_the_nearest_rank(count: int, p99: int, p999: int, longest: int) -> None:
    found = spread(1000 * number for number in range(count, 0, -1))
    assert (found.p99_us, found.p999_us, found.max_us) == (p99, p999, longest)


# -- HTTP ------------------------------------------------------------------------------------------


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A port where each connection is sent the same, in these pieces, whatever it asks; then it ends."""

    def serve(line: socket.socket) -> None:
        with line:
            while line.recv(65_536):
                for answer in answers:
                    line.sendall(answer)
                if not answers:
                    return

    def listen() -> None:
        with suppress(OSError):
            while True:
                Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server((client.HOST, 0)) as listening:
        Thread(target=listen, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
NONE = b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "requests", "failed", "answers"),
    [
        ((GOOD + b"whole",), 9, 0, (b"whole",) * 2),
        ((GOOD[:20], GOOD[20:], b"in ", b"pt"), 9, 0, (b"in pt",) * 2),
        ((NONE,), 9, 9, (b"",) * 2),
        ((), 0, 3, ()),
    ],
)
def test_the_client_counts_what_was_answered(
    pieces: tuple[bytes, ...], requests: int, failed: int, answers: tuple[bytes, ...]
) -> None:
    with answering(*pieces) as port:
        found = client.play(port, [client.get("/i/x")] * 9, 10, kept=2, connections=3)
    assert (found.requests, found.failed, found.answers) == (requests, failed, answers)


class Behind(events.Teller):
    """Of a server that answers 300 events in a second and accepts 290 of them; after each round there is more
    to post, which takes half a second of the processor."""

    def __init__(self, server: servers.Server, held: bool = False) -> None:
        super().__init__(server, core=1, held=held)
        self.lags: list[float] = [0, 100, 50, 0]
        self.counted: list[float] = [10, 300]
        self.used_s = 1.0

    def _gauge(self, name: re.Pattern[bytes]) -> float:
        if name is not events._LAG:
            return self.counted.pop(0)
        self.used_s += 0.25 if self.lags[0] else 0.0
        return self.lags.pop(0)

    def _posting_s(self) -> float:
        return self.used_s


class Answers300(servers.Server):
    def asked(
        self, requests: list[bytes], seconds: float, kept: int = 0, connections: int = 0
    ) -> tuple[client.Round, float]:
        return client.Round(300, 1.0, 0, ()), 0.003


def test_what_is_acknowledged_and_not_posted_is_still_owed_and_only_what_is_accepted_counts() -> None:
    with subprocess.Popen(["true"]) as process:
        teller = Behind(Answers300(process, 0))
        teller.tell([])
    assert teller.lags == [], "all of it was waited for"
    assert (teller.told, teller.accepted) == (300, 290)
    assert teller.rate() == events.Rate(round(290 / 1.5, 1), 10.0, round(0.5e6 / 300, 1))


def test_of_who_takes_turns_the_slower_is_the_rate() -> None:
    with subprocess.Popen(["true"]) as process:
        teller = Behind(Answers300(process, 0), held=True)
        teller.tell([])
    assert teller.rate().per_second == 290


def test_posting_stands_still_while_it_is_held() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:

        class Holding(events.Teller):
            def _posting(self) -> Iterator[int]:
                yield process.pid

        with Holding(servers.Server(process, 0), core=1, held=True)._holding():
            assert os.waitid(os.P_PID, process.pid, os.WSTOPPED), "it was stopped"
        assert os.waitid(os.P_PID, process.pid, os.WCONTINUED), "and goes on"
        with Holding(servers.Server(process, 0), core=1)._holding():
            assert os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG) is None, "nor was it here"


def test_posting_is_moved_to_the_core_that_it_is_measured_on() -> None:
    allowed = os.sched_getaffinity(0)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"on")
        assert process.stdout.read(2) == b"on", "it is what it was told to be by now"
        for core in allowed:
            events._move(process.pid, core)
            assert os.sched_getaffinity(process.pid) == {core}
        assert events._command(process.pid) == b"cat\0"
    events._move(process.pid, core)
    assert events._command(process.pid) == b"", "it is gone"


@pytest.mark.slow
def test_http_beside_the_empty_endpoint() -> None:
    found = beside.beside(TINY, 1000, rounds=1, seconds=0.3, events=2000)
    assert found.failed == 0
    for speed in (found.decisions, found.empty_decisions, found.empty_impressions):
        assert speed.per_second > 0
    rates = found.impressions, found.apart, found.together
    assert all(rate.per_second > 0 for rate in rates)
    assert sum(rate.posting_us for rate in rates) > 0, "one alone may take less than a tick"
    assert found.accepted == found.told == 2000
    for pace in (found.paced, found.empty_paced):
        assert pace.per_second == round(0.7 * found.decisions.per_second, 1)
        assert 0 < pace.median_us <= pace.p99_us <= pace.p999_us
    assert found.nginx is None or found.nginx.per_second > 0


@pytest.mark.slow
def test_state_in_redis_beside_state_in_memory() -> None:
    programs.redis()
    found = beside.beside(TINY, 1000, rounds=1, seconds=0.3, events=500, redis=stores.OWN)
    assert found.shared is not None
    assert found.shared.decisions.per_second > 0 and found.shared.redis_us is not None
    assert found.failed == 0 and found.shared.unknown == 0


def test_a_redis_with_somebodys_keys_is_left_alone(redis_server: Redis, tmp_path: Path) -> None:
    with stores.store(tmp_path, redis_server.url, 0):
        redis_server.ask("SET", "ours", "1")
    assert redis_server.ask("DBSIZE") == 0
    redis_server.ask("SET", "theirs", "1")
    with pytest.raises(OSError, match="has keys"), stores.store(tmp_path, redis_server.url, 0):
        pytest.fail("it was used")
    assert redis_server.ask("DBSIZE") == 1


class Line(lines.Connection):
    """Counts what is sent on it."""

    def __init__(self, schedule: paced._Schedule) -> None:
        super().__init__(schedule)
        self.sent: list[bytes] = []

    def send(self, request: bytes) -> None:
        self.sent.append(request)


def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    schedule = paced._Schedule([b"a", b"b"], gap_ns=1_000_000, number=3)
    line = Line(schedule)
    schedule.idle.append(line)
    schedule._began -= 10_000_000
    for number in range(3):
        schedule._send()
        schedule._send()
        assert len(line.sent) == number + 1, "one at a time on a connection"
        schedule.answered(line, b"HTTP/1.1 200 OK", b"")
    assert line.sent == [b"a", b"b", b"a"] and schedule.owed == 0
    assert all(took >= 8_000_000 for took in schedule.times), "the wait for a connection counts"


def test_an_open_loop_sends_nothing_early_and_counts_failures() -> None:
    schedule = paced._Schedule([b"a"], gap_ns=3600 * 10**9, number=3)
    line = Line(schedule)
    schedule.idle.append(line)
    schedule._send()
    schedule.answered(line, b"HTTP/1.1 503 Service Unavailable", b"")
    schedule._send()
    assert line.sent == [b"a"] and schedule.failed == 1 and schedule.owed == 2
    schedule.lost(line)
    assert schedule.failed == 2 and schedule.times == []


def test_requests_of_the_client_are_whole() -> None:
    body = b'{"placements":[{"id":"p0"}]}'
    head, _, rest = client.post("/v1/decisions", body).partition(b"\r\n\r\n")
    assert rest == body and f"content-length: {len(body)}".encode() in head
    assert client.get("/i/x").endswith(b"\r\n\r\n") and BROWSER.encode() in head


# -- what comes out --------------------------------------------------------------------------------

FAST = Spread(10, 10.0, 50.0, 60.0, 70.0)
SLOW = Spread(10, 30.0, 80.0, 90.0, 99.0)


def sizes(first: Spread, last: Spread) -> tuple[sized.Sized, ...]:
    return (
        sized.Sized(1000, 1, 10, 50, first, 2.0),
        sized.Sized(SIZE, 1, 100, 60, last, 2.0),
        sized.Sized(LARGE, 1, 1000, 70 if last == FAST else 700, last, 2.0),
    )


def built_of(sizes: tuple[sized.Sized, ...]) -> tuple[sized.Built, ...]:
    return tuple(sized.Built(one.line_items, one.line_items / 50, 30, one.image_mib) for one in sizes)


def found_of(first: Spread, last: Spread) -> Found:
    return Found(built_of(sizes(first, last)), sizes(first, last))


def verdicts(found: Found) -> dict[str, bool | None]:
    return {f"{goal.what}: {goal.goal}": goal.met for goal in goals(found)}


def test_goals_are_met_or_not() -> None:
    met = verdicts(found_of(FAST, FAST))
    assert [value for name, value in met.items() if name.startswith("engine alone")] == [True, True]
    missed = verdicts(found_of(FAST, SLOW))
    assert [value for name, value in missed.items() if name.startswith("engine alone")] == [False, False]
    growth = "growth of the engine's median from 1 000 to 1 000 000 line items: ≤ 2 ×"
    assert met[growth] is True and missed[growth] is False
    memory = "memory at 1 000 000 line items, 100 000 segments: ≤ 1.5 GiB"
    assert met[memory] is True and missed[memory] is False
    assert met["snapshot of 100 000 line items: build: ≤ 3 s"] is True


def test_what_was_not_measured_is_neither() -> None:
    assert set(verdicts(Found()).values()) == {None}
    small = compared(1000, 1.0)
    assert [goal.met for goal in goals(Found(beside=small)) if "HTTP" in goal.what] == [None]


def compared(line_items: int, slower: float) -> beside.Beside:
    """Ours ``slower`` times as slow as the empty endpoint, and that twice as nginx."""
    mine, empty, fastest = (
        servers.Speed(100 / slower, 2 * slower),
        servers.Speed(100, 2),
        servers.Speed(200, 1),
    )
    rate = events.Rate(mine.per_second, mine.processor_us, 1.0)
    paces = servers.Pace(70, 10 * slower, 20 * slower, 30 * slower), servers.Pace(70, 10, 20, 30)
    return beside.Beside(
        line_items, 1, 1.0, True, mine, empty, rate, rate, rate, empty, 1, 9, 9, fastest, *paces, 0, 0
    )


def test_goals_over_http() -> None:
    names = ("HTTP", "server CPU", "open loop", "impression")
    for slower, expected in ((1.0, True), (4.0, False)):
        found = goals(Found(beside=compared(SIZE, slower)))
        told = [goal for goal in found if any(name in goal.what for name in names)]
        assert len(told) == 4 and {goal.met for goal in told} == {expected}


def test_the_goal_of_state_in_redis() -> None:
    for per_second, expected in ((70, True), (69, False)):
        shared = beside.Shared(servers.Speed(per_second, 3), 1.0, 0)
        compared_too = msgspec.structs.replace(compared(SIZE, 1.0), shared=shared)
        [told] = [goal for goal in goals(Found(beside=compared_too)) if "Redis" in goal.what]
        assert told.met is expected
    [told] = [goal for goal in goals(Found(beside=compared(SIZE, 1.0))) if "Redis" in goal.what]
    assert told.met is None


def test_a_report_is_json_and_tables() -> None:
    found = msgspec.structs.replace(found_of(FAST, SLOW), missing=("a part: not measured, no time was left",))
    report = Report(machine(), {"rounds": 5}, found, goals(found), 0.5, 1.0)
    assert msgspec.json.decode(to_json(report), type=Report) == report
    page = to_markdown(report)
    assert "**not met**" in page and "no time was left" in page and report.machine.processor in page
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith(" |")


def test_a_part_without_time_is_named() -> None:
    said: list[str] = []
    plan = Plan((1000,), 10, 1, 1000, 1, 0.1, 10, 0, 0)
    bench = Bench(plan, said.append)
    assert bench._size(1000) == (None, None)
    assert bench._missing == ["built, 1,000 line items: not measured, no time was left"] and said
    assert QUICK.whole_s < 120


def test_plots_are_drawn_or_said_to_be_missing(tmp_path: Path) -> None:
    found = Found((), sizes(FAST, SLOW), beside=compared(SIZE, 4.0))
    told = plots.draw(found, tmp_path)
    pictures = sorted(path.name for path in tmp_path.iterdir())
    if told.startswith("no plots"):
        assert told == "no plots: matplotlib is not installed" and not pictures
    else:
        assert pictures == ["growth.png", "http.png", "open_loop.png"]


@pytest.mark.slow
def test_a_child_answers_json() -> None:
    plan = Plan((TINY,), 10, 1, TINY, 1, 0.1, 10, 60, 60)
    built, found = Bench(plan, lambda line: None)._size(TINY)
    assert built is not None and built.line_items == TINY
    assert found is not None and found.line_items == TINY
    assert json.loads(msgspec.json.encode(found))["engine"]["count"] == 10
