"""Figures of one size of catalogue, each part taken in a process of its own: so memory is that of this part
alone, and what another left behind is in nobody's way. One process compiles a catalogue into the file of an
image; another, which never saw the catalogue, maps it and decides."""

import gc
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time_ns

import msgspec
from msgspec import Struct

from adserver.app import App
from adserver.bench import engine
from adserver.bench.calls import Journalled, Whole
from adserver.bench.catalogue import SEED, Shape
from adserver.bench.measure import Spread, private_bytes, spread, timed, took_ms, waited
from adserver.building.blockfiles import BlockFiles, mapped
from adserver.collector import settle
from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.catalogue import Catalogue
from adserver.domain.request import Request
from adserver.engine.compile import Assembler, Compiler, compile_snapshot
from adserver.engine.places import Store
from adserver.engine.rows import block
from adserver.engine.snapshot import Snapshot
from adserver.engine.values import Values
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
    """Compile a catalogue of this size into an image at ``path``, its blocks in a file beside it, as the
    server's child does."""
    catalogue = _catalogue(line_items, engine.NOON_MS)
    gc.disable()
    building = _Building(path)
    _, build_ms = took_ms(lambda: building.write(catalogue, catalogue.advertisers))
    changed = _with_one_change(catalogue)
    _, change_ms = took_ms(lambda: building.write(changed, catalogue.advertisers[:1]))
    return Built(line_items, round(build_ms, 1), round(change_ms, 1), _mib(path, building.stored.files))


class _Building:
    """What is kept between two images."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = BlockFiles(path.parent, "bench")
        self._keys: dict[str, str] = {}
        self._values = Values()
        self._assembler = Assembler()

    def write(self, catalogue: Catalogue, changed: Sequence[Advertiser]) -> None:
        """The image of a catalogue, in which the documents of some advertisers are new."""
        keys = {owner.id: f"{catalogue.revision} {owner.id}" for owner in changed}
        campaigns: dict[str, list[Campaign]] = {name: [] for name in keys}
        for campaign in catalogue.campaigns:
            if campaign.advertiser in keys:
                campaigns[campaign.advertiser].append(campaign)
        made = {keys[one.id]: block(self._values, one, campaigns[one.id]).sections.whole for one in changed}
        self._files.add(made, 0, "")
        self._keys |= keys
        self._files.keep(self._keys.values())
        blocks, self.stored = self._files.in_order()
        with self._path.open("wb") as file:
            file.writelines(self._assembler.assemble(blocks, catalogue, self.stored).pieces)


def _mib(path: Path, stores: tuple[str, ...]) -> float:
    """Of an image and the files beside it."""
    sizes = (path.with_name(name).stat().st_size for name in (path.name, *stores))
    return round(sum(sizes) / _MIB, 1)


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
        _mib(path, snapshot.stores),
        round((private_bytes() - before) / _MIB, 1),
        spread(times[_WARM_UP - 1 :]),
        round(ads / len(asked), 2),
    )


def _open(path: Path) -> Snapshot:
    return Snapshot.open(mapped(path), mapped=lambda name: Store(1, mapped(path.with_name(name))))


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
    put_live_ms = _swap_ms(app, whole, bytes(Compiler().compile(_with_one_change(catalogue))))
    return Server(line_items, spread(times), building, round(put_live_ms, 2), journalled, whole.reply_bytes)


def _swap_ms(app: App, whole: Whole, changed: bytes) -> float:
    """As in the server: a thread opens and prepares it, the loop swaps, the one before is let go later."""
    former, opened, ask = app.world.serving, Snapshot.open(changed), whole.asks(1)[0]
    app.world.prepare(opened)

    def swap() -> None:
        app.publishing.put_live(opened)
        whole.decide(ask)

    _, took = took_ms(swap)
    del former
    return took


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
