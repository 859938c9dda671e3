"""A whole server inside the test's process: ``app.App`` over a temporary directory, with time and chance as
arguments and no sockets. Documents go through the real catalog, events through the real journal.

    with World(tmp_path, publishers=[publisher("gazette")], campaigns=[campaign("acme/spring")]) as world:
        answer = world.decide({"placements": [{"id": "top"}]}, seed=7)
        world.clock.ms += 1000
        world.event(answer["decisions"][0]["ads"][0]["impression_url"])

``publisher`` and ``campaign`` fill in what a test does not care about; what they fill in is written there
and nowhere else.
"""

import asyncio
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from adserver import recovery
from adserver.api import bodies
from adserver.app import App
from adserver.catalog.folder import read_folder
from adserver.domain import money
from adserver.domain.decision import EventKind
from adserver.domain.verdicts import Verdict
from adserver.duties import Duties
from adserver.services.ask import DECODER, Ask, Asker, Terms
from adserver.services.calls import Call
from adserver.services.serve import Outcome
from adserver.settings import Settings

Document = dict[str, Any]

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"
OPERATOR = Asker(role="operator", read_prices=True)
NOBODY = Asker()
NOON_MS = 1_780_315_200_000
"""2026-06-01T12:00:00Z, a Monday."""

_PATHS = {"i": "IMPRESSION", "v": "VIEWABLE", "c": "CLICK", "r": "RELEASE", "h": "HIDE", "p": "REPORT"}
_ASSETS: dict[str, Document] = {
    "image": {"image_url": "https://cdn.example/a.png"},
    "html": {"html": "<p>ad</p>"},
    "video": {"video": "https://cdn.example/a.mp4"},
    "story": {"image_url": "https://cdn.example/a.png"},
    "carousel": {"cards": [{"title": "one"}]},
    "canvas": {"cards": [{"title": "one"}]},
}


class Ticks:
    """A clock that stands where it is put."""

    def __init__(self, ms: int = NOON_MS) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


class World:
    """Keywords are documents as in campaign files, terse ones filled up. ``chance`` is the seed of decisions
    that name none; it counts up."""

    settings = Settings(
        segment_bytes=1 << 20, public_url="https://ads.example", rate_per_user=(0, 0), fastest_click_ms=0
    )
    """Time stands still here: nobody is too fast, unless a test says so."""

    def __init__(self, folder: Path, now_ms: int = NOON_MS, **documents: Iterable[Document]) -> None:
        self.folder = folder
        self.clock = Ticks(now_ms)
        self.chance = 1
        self._written = 0
        (folder / "campaigns").mkdir(parents=True)
        self.app = self._open()
        if documents:
            self.put(**documents)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.app.close()

    def _open(self) -> App:
        settings = msgspec.structs.replace(self.settings, data=self.folder / "data")
        app = App(settings, clock=self.clock, chance=self._draw)
        app.build()
        return app

    def _draw(self) -> int:
        self.chance += 1
        return self.chance - 1

    # -- documents -------------------------------------------------------------------------------

    def put(self, **documents: Iterable[Document]) -> None:
        """Create or replace documents (``publishers=, campaigns=, audiences=, advertisers=``), live at once.
        Raises catalog ``Invalid`` with every problem."""
        folder = self.folder / "campaigns"
        for kind, bodies_of_kind in documents.items():
            for body in bodies_of_kind:
                self._write(folder, kind, body)
        self.app.store.apply(read_folder(folder))
        self.app.build()

    def _write(self, folder: Path, kind: str, body: Document) -> None:
        if kind == "campaigns":
            body = filled_campaign(body)
            path = folder / body["advertiser"] / f"{body['campaign']}.json"
        elif kind == "advertisers":
            path = folder / body["advertiser"] / "advertiser.json"
        elif kind == "publishers":
            body = filled_publisher(body)
            path = folder / "publishers" / f"{body['publisher']}.json"
        elif kind == "rates":
            path = folder / "rates.json"
        elif kind == "audiences":
            path = folder / "audiences" / f"{body['audience']}.json"
        else:
            raise ValueError(f"no documents of kind {kind}")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(body))

    def archive(self, kind: Any, full_id: str) -> None:
        self.app.store.archive(kind, full_id)
        self.app.build()

    # -- asking ----------------------------------------------------------------------------------

    def decide(
        self, request: Document, seed: int | None = None, asker: Asker = NOBODY, terms: Terms | None = None
    ) -> Any:
        """The JSON answer to ``POST /v1/decisions``. Raises Refused."""
        return json.loads(self.decide_bytes(request, seed, asker, terms))

    def decide_bytes(
        self, request: Document, seed: int | None = None, asker: Asker = NOBODY, terms: Terms | None = None
    ) -> bytes:
        self._seed(seed)
        return self.app.server.decide(read(request), asker, terms or Terms()).body

    def outcome(
        self, request: Document, seed: int | None = None, asker: Asker = NOBODY, terms: Terms | None = None
    ) -> Outcome:
        """The decision before it is rendered. Raises Refused."""
        self._seed(seed)
        return self.app.decisions.decide(read(request), asker, terms or Terms())

    def _seed(self, seed: int | None) -> None:
        if seed is not None:
            self.chance = seed

    # -- telling ---------------------------------------------------------------------------------

    def event(self, url: str, call: Call | None = None) -> Verdict:
        """GET a tracking URL (a release URL too), as a browser unless ``call`` says otherwise."""
        path, _, token = url.removeprefix("https://ads.example/").partition("/")
        kind = EventKind[_PATHS[path]]
        return asyncio.run(self.app.recorder.record(token, kind, call or Call(user_agent=BROWSER)))

    def pay_in(self, advertiser: str, amount: str, kind: str = "deposit", name: str = "") -> None:
        """A booking by an operator, in the advertiser's currency."""
        name = name or f"{kind}-{self.app.journal.position.number}"
        currency = self.app.world.snapshot.advertisers[advertiser].currency
        micros = money.parse_amount(amount)
        booking = self.app.crediting.book(
            Asker(role="operator"), advertiser, name, kind, currency, micros, "a transfer"
        )
        asyncio.run(booking)

    def delivery(self, campaign: str) -> Any:
        return self.app.delivery.of(campaign)

    # -- time ------------------------------------------------------------------------------------

    def tick(self) -> None:
        """What goes on beside serving, once: post, learn rates, sweep."""

        async def turn() -> None:
            await Duties(self.app).turn()

        asyncio.run(turn())

    def restart(self, clean: bool = False) -> None:
        """Open the directory again: after a checkpoint if ``clean``, else as after a kill -9."""
        if clean:
            self.tick()
            recovery.save(self.app.settings.data, self.app.states.hot, self.app.journal.position)
        self.app.close()
        self.app = self._open()


def read(request: Document) -> Ask:
    """A request body as the wire reads it. Raises Refused."""
    return bodies.decode(DECODER, json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode())


def instant(text: str) -> int:
    """RFC 3339 -> milliseconds since the epoch."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def duration(text: str) -> int:
    """``15m``, ``-1d``, ``+250ms`` -> milliseconds."""
    sign, rest = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    for unit, ms in (("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3600_000), ("d", 86_400_000)):
        if rest.endswith(unit) and rest.removesuffix(unit).isdigit():
            return sign * int(rest.removesuffix(unit)) * ms
    raise ValueError(f"{text!r} is not a duration such as 15m")


# -- documents, filled up --------------------------------------------------------------------------


def publisher(name: str = "gazette", **fields: Any) -> Document:
    return {"publisher": name, **fields}


def campaign(name: str = "acme/spring", *line_items: Document, **fields: Any) -> Document:
    """``advertiser/campaign``; without line items one named ``a``."""
    owner, _, own = name.partition("/")
    return {"advertiser": owner, "campaign": own, "line_items": list(line_items or [{"id": "a"}]), **fields}


def filled_publisher(given: Document) -> Document:
    """Euros, consent granted, and one page placement ``top`` of images."""
    document = {"currency": "EUR", "consent_default": "granted", "placements": [{"id": "top"}], **given}
    document["placements"] = [filled_placement(placement) for placement in document["placements"]]
    return document


def filled_placement(given: Document) -> Document:
    """A page placement of images (a feed placement of native ads)."""
    surface = given.get("surface", "page")
    return {"surface": surface, "formats": ["native"] if surface == "feed" else ["image"], **given}


def filled_campaign(given: Document) -> Document:
    """Euros; line items in the auction at 1.00 a thousand with an image and a native creative."""
    document = {"currency": "EUR", **given}
    document["line_items"] = [filled_line_item(item, document) for item in document["line_items"]]
    return document


def filled_line_item(given: Document, document: Document) -> Document:
    item = {"priority": "auction", "pricing": {"model": "cpm", "amount": "1.00"}, **given}
    own = [{"id": item["id"]}, {"id": f"{item['id']}-card", "format": "native"}]
    item["creatives"] = [
        filled_creative(creative, document["advertiser"]) for creative in item.get("creatives", own)
    ]
    return item


def filled_creative(given: Document, advertiser: str) -> Document:
    form = given.get("format", "image")
    return {
        "format": form,
        "assets": _ASSETS.get(form, {"title": "Ad", "body": "Text"}),
        "landing_url": f"https://{advertiser}.example/",
        **given,
    }
