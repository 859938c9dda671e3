"""Figures of one size of catalogue, each part taken in a process of its own: so memory is that of this part
alone, and what another left behind is in nobody's way. One process compiles a catalogue into the file of an
image; another, which never saw the catalogue, maps it and decides."""

import gc
import mmap
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time_ns

import msgspec
from msgspec import Struct

from adserver.app import App, settle
from adserver.bench import engine
from adserver.bench.calls import Journalled, Whole
from adserver.bench.catalogue import SEED, Shape
from adserver.bench.measure import Spread, private_bytes, spread, timed, took_ms, waited
from adserver.domain.catalogue import Catalogue
from adserver.domain.request import Request
from adserver.engine.compile import Compiler, compile_snapshot
from adserver.engine.image import Image
from adserver.engine.snapshot import Snapshot
from adserver.settings import Settings

_MIB = 2**20
_WARM_UP = 300


class Built(Struct, frozen=True):
    """``build_ms``: from the catalogue to the image's file, nothing known before; ``change_ms``: the same
    after one bid changed. Processor time."""

    line_items: int
    build_ms: float
    change_ms: float
    image_mib: float


class Sized(Struct, frozen=True):
    """``open_ms``: mapping the image and the first decision by it; ``private_mib``: what the process has of
    its own after ``engine.count`` decisions, the mapped image (``image_mib``) not counted. ``ads``: a
    request's, in the mean."""

    line_items: int
    open_ms: float
    image_mib: float
    private_mib: float
    engine: Spread
    ads: float


class Worst(Struct, frozen=True):
    capped: int
    tied: int
    ads: int
    decide: Spread


class Server(Struct, frozen=True):
    """``put_live_ms``: how long the event loop stands still for a swap after one bid changed, the first
    decision by the new snapshot included; ``while_building``: whole decisions while another process compiles,
    waiting included; the other spreads are of processor time."""

    line_items: int
    whole: Spread
    while_building: Spread
    put_live_ms: float
    journalled: Journalled
    reply_bytes: int


def built(line_items: int, path: Path) -> Built:
    """Compile a catalogue of this size into an image at ``path``."""
    catalogue = _catalogue(line_items, engine.NOON_MS)
    gc.disable()
    compiler = Compiler()
    _, build_ms = took_ms(lambda: _write(compiler.compile(catalogue), path))
    changed = _with_one_change(catalogue)
    _, change_ms = took_ms(lambda: _write(compiler.compile(changed), path))
    size = path.stat().st_size / _MIB
    return Built(line_items, round(build_ms, 1), round(change_ms, 1), round(size, 1))


def sized(path: Path, number: int) -> Sized:
    """Map an image and time ``number`` requests."""
    before = private_bytes()
    snapshot, open_ms = took_ms(partial(_open, path))
    tried = engine.Engine(snapshot)
    asked = engine.requests(snapshot, _WARM_UP + number)
    _, first_ms = took_ms(partial(tried.decide, asked[0]))
    settle()
    times, ads = _engine_times(tried, asked[1:])
    return Sized(
        len(snapshot.entries),
        round(open_ms + first_ms, 2),
        round(path.stat().st_size / _MIB, 1),
        round((private_bytes() - before) / _MIB, 1),
        spread(times[_WARM_UP - 1 :]),
        round(ads / len(asked), 2),
    )


def _write(image: Image, path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(image.pieces)


def _open(path: Path) -> Snapshot:
    with path.open("rb") as file:
        return Snapshot.open(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


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
    settle()
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
    app.publishing.put_live(compile_snapshot(catalogue))
    whole = Whole(app, Shape(SEED + 2))
    whole.decide_many(_WARM_UP)
    settle()
    journalled = whole.journalled(number)
    times = timed(whole.decide, whole.asks(number))
    building = _while_building(whole, line_items)
    changed, ask = bytes(Compiler().compile(_with_one_change(catalogue))), whole.asks(1)[0]

    def swap() -> None:
        app.publishing.put_live(Snapshot.open(changed))
        whole.decide(ask)

    _, put_live_ms = took_ms(swap)
    return Server(line_items, spread(times), building, round(put_live_ms, 2), journalled, whole.reply_bytes)


def _while_building(whole: Whole, line_items: int) -> Spread:
    """As in the server, another process compiles."""
    asks = whole.asks(1000)
    times: list[int] = []
    with TemporaryDirectory(prefix="adserver-bench-") as folder:
        command = [
            sys.executable, "-m", "adserver.bench", "built", "--line-items", str(line_items),
            "--image", str(Path(folder) / "image"),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as building:
            while building.poll() is None or not times:
                times += waited(whole.decide, asks[:20])
                asks = asks[20:] + asks[:20]
    return spread(times)


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
