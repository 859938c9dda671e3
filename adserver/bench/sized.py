"""Figures of one size of catalogue, taken in a process of its own: so memory is that of this size alone,
and what another size left behind is in nobody's way."""

import gc
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from time import thread_time_ns

import msgspec
from msgspec import Struct

from adserver.app import App
from adserver.bench import engine
from adserver.bench.calls import Journalled, Whole
from adserver.bench.catalogue import SEED, Shape
from adserver.bench.measure import Spread, resident_bytes, spread, timed, took_ms, waited
from adserver.domain.catalogue import Catalogue
from adserver.domain.request import Request
from adserver.engine.compile import compile_snapshot
from adserver.engine.snapshot import Snapshot
from adserver.settings import Settings

_MIB = 2**20
_WARM_UP = 300


class Sized(Struct, frozen=True):
    """``catalogue_mib``: the catalogue's objects; ``snapshot_mib``: what compiling adds to them (both stay
    in memory while it serves). ``ads``: a request's, in the mean."""

    line_items: int
    catalogue_mib: float
    snapshot_mib: float
    compile_ms: float
    engine: Spread
    ads: float


class Worst(Struct, frozen=True):
    capped: int
    tied: int
    ads: int
    decide: Spread


class Server(Struct, frozen=True):
    """``put_live_ms``: how long the event loop stands still for a swap after one bid changed;
    ``first_live_ms``: for the first snapshot, whose terms are journalled. ``while_building``: whole decisions
    while another thread compiles, waiting included; the other spreads are of processor time."""

    line_items: int
    whole: Spread
    while_building: Spread
    first_live_ms: float
    put_live_ms: float
    journalled: Journalled
    reply_bytes: int


def sized(line_items: int, number: int) -> Sized:
    """Build a catalogue of this size and time ``number`` requests."""
    empty = resident_bytes()
    catalogue = _catalogue(line_items, engine.NOON_MS)
    made = resident_bytes()
    snapshot, compile_ms = took_ms(partial(compile_snapshot, catalogue))
    compiled = resident_bytes()
    tried = engine.Engine(snapshot)
    asked = engine.requests(snapshot, _WARM_UP + number)
    _settle()
    times, ads = _engine_times(tried, asked)
    return Sized(
        line_items,
        round((made - empty) / _MIB, 1),
        round((compiled - made) / _MIB, 1),
        round(compile_ms, 1),
        spread(times[_WARM_UP:]),
        round(ads / len(asked), 2),
    )


def _engine_times(tried: engine.Engine, asked: list[Request]) -> tuple[list[int], int]:
    times, ads = [], 0
    for request in asked:
        began = thread_time_ns()
        slates = tried.decide(request)
        times.append(thread_time_ns() - began)
        ads += sum(len(slate.winners) for slate in slates)
    return times, ads


def worst(number: int, capped: int = engine.WORST_CAPPED, tied: int = engine.WORST_TIED) -> Worst:
    """The request that has to walk past everything."""
    tried = engine.Engine(compile_snapshot(engine.worst_catalogue(capped, tied)))
    asked = engine.worst_requests(tried, number + 1)
    _settle()
    times, ads = [], 0
    for request in asked:
        began = thread_time_ns()
        slates = tried.decide(request)
        times.append(thread_time_ns() - began)
        ads = sum(len(slate.winners) for slate in slates)
        tried.undo(slates)
    return Worst(capped, tied, ads, spread(times[1:]))


def server(line_items: int, number: int) -> Server:
    """The whole server but for HTTP, on a journal in a temporary folder."""
    with TemporaryDirectory(prefix="adserver-bench-") as folder:
        app = App(Settings(data=Path(folder) / "data", public_url="http://127.0.0.1:8000"))
        try:
            return _server(app, line_items, number)
        finally:
            app.close()


def _server(app: App, line_items: int, number: int) -> Server:
    catalogue = _catalogue(line_items, app.clock())
    snapshot = compile_snapshot(catalogue)
    _, first_live_ms = took_ms(partial(app.publishing.put_live, snapshot))
    whole = Whole(app, Shape(SEED + 2))
    whole.decide_many(_WARM_UP)
    _settle()
    journalled = whole.journalled(number)
    times = timed(whole.decide, whole.asks(number))
    building, changed = _while_building(whole, _with_one_change(catalogue))
    _, put_live_ms = took_ms(partial(app.publishing.put_live, changed))
    return Server(
        line_items, spread(times), building, round(first_live_ms, 1), round(put_live_ms, 1), journalled,
        whole.reply_bytes,
    )  # fmt: skip


def _while_building(whole: Whole, catalogue: Catalogue) -> tuple[Spread, Snapshot]:
    """As the server does it today: compiling is a thread's work, and threads take turns."""
    made: list[Snapshot] = []
    thread = Thread(target=lambda: made.append(compile_snapshot(catalogue)))
    asks = whole.asks(1000)
    thread.start()
    times: list[int] = []
    while thread.is_alive() or not times:
        times += waited(whole.decide, asks[:20])
        asks = asks[20:] + asks[:20]
    return spread(times), made[0]


def _with_one_change(catalogue: Catalogue) -> Catalogue:
    campaign, *others = catalogue.campaigns
    item, *siblings = campaign.line_items
    pricing = msgspec.structs.replace(item.pricing, amount_micros=item.pricing.amount_micros + 1)
    items = (msgspec.structs.replace(item, pricing=pricing), *siblings)
    changed = msgspec.structs.replace(campaign, line_items=items)
    return msgspec.structs.replace(catalogue, revision=2, campaigns=(changed, *others))


def _catalogue(line_items: int, now_ms: int) -> Catalogue:
    """Without the collector, which would walk a million live objects again and again."""
    gc.disable()
    try:
        return Shape().catalogue(line_items, now_ms)
    finally:
        gc.enable()


def _settle() -> None:
    """As the server does at start: what lives as long as the process is not walked again."""
    gc.collect()
    gc.freeze()
