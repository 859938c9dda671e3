"""A small world that an exchange can buy in: two publishers, a placement of each medium, simple campaigns."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openrtb_checks import Exchange
from world import World, campaign, publisher

Object = dict[str, Any]

BANNERS = {"formats": ["banner"], "sizes": ["300x250", "728x90"]}
PLACEMENTS: list[Object] = [
    {"id": "inline", "formats": ["image", "html"], "sizes": ["300x250", "728x90"], "openrtb": BANNERS},
    {"id": "tagged", "formats": ["image"], "sizes": ["300x250", "320x50"]},
    {"id": "river", "formats": ["native"], "openrtb": {"formats": ["native"]}},
    {
        "id": "preroll", "surface": "video", "formats": ["video"], "sizes": ["640x480", "640x360"],
        "openrtb": {"formats": ["video"], "sizes": ["640x480", "640x360"]},
    },
    {"id": "feed", "surface": "feed", "formats": ["native"]},
]  # fmt: skip
GAZETTE = publisher("gazette", currency="USD", placements=PLACEMENTS)
MESSENGER = publisher(
    "messenger",
    currency="EUR",
    placements=[
        {"id": "wide", "formats": ["image"], "sizes": ["300x250", "970x250"],
         "openrtb": {"formats": ["banner"], "sizes": ["300x250", "970x250"]}},
    ],
)  # fmt: skip

IMAGE: Object = {
    "id": "box", "format": "image", "size": "300x250", "advertiser_domain": "acme.example",
    "categories": ["IAB20-3"], "language": "en",
    "assets": {"image_url": "https://cdn.example/a.png", "alt": "A & B"},
    "landing_url": "https://acme.example/?c={click_id}",
}  # fmt: skip
NATIVE: Object = {
    "id": "card", "format": "native", "size": "fluid", "advertiser_domain": "acme.example",
    "assets": {
        "title": "A title of a card", "body": "The text of it", "cta": "Go", "sponsored_by": "Acme",
        "price": "9.00", "rating": "4.5", "image_url": "https://cdn.example/main.png",
        "icon_url": "https://cdn.example/icon.jpg",
    },
    "landing_url": "https://acme.example/",
}  # fmt: skip
FILM: Object = {
    "id": "film", "format": "video", "size": "640x480", "advertiser_domain": "acme.example",
    "assets": {
        "title": "Tom & Jo",
        "video": {
            "url": "https://cdn.example/a.mp4?x=1&y=2", "mime": "video/mp4", "duration_seconds": 15,
            "width": 640, "height": 480, "bitrate_kbps": 1200,
        },
    },
    "landing_url": "https://acme.example/",
}  # fmt: skip

BOX: Object = {"banner": {"w": 300, "h": 250}}
ASSETS: list[Object] = [
    {"id": 1, "required": 1, "title": {"len": 90}},
    {"id": 2, "required": 1, "img": {"type": 3, "wmin": 300, "hmin": 200}},
    {"id": 3, "required": 0, "data": {"type": 1}},
]
CARD: Object = {"native": {"request": {"ver": "1.2", "assets": ASSETS}}}
PLAYER: Object = {"video": {"mimes": ["video/mp4"], "w": 640, "h": 480, "minduration": 5, "maxduration": 30}}


def acme(**fields: Any) -> Object:
    """A line item at 2.00 a thousand with a creative of each medium."""
    creatives = copy.deepcopy([IMAGE, NATIVE, FILM])
    return {"id": "all", "pricing": {"model": "cpm", "amount": "2.00"}, "creatives": creatives, **fields}


def sold(*line_items: Object, **fields: Any) -> Object:
    """Dollar campaign ``acme/spring``."""
    return campaign("acme/spring", *(line_items or (acme(),)), currency="USD", **fields)


def request(*imps: Object, **fields: Any) -> Object:
    """A bid request; imps get ids ``1``, ``2``, ... where they have none."""
    numbered = [{"id": str(number), **copy.deepcopy(imp)} for number, imp in enumerate(imps or (BOX,), 1)]
    return {"id": "r-1", "imp": numbered, **fields}


@contextmanager
def exchange(
    folder: Path, *campaigns: Object, publishers: tuple[Object, ...] = (GAZETTE,)
) -> Iterator[Exchange]:
    """By default one publisher, selling in dollars, and ``acme/spring``."""
    with World(folder, publishers=publishers, campaigns=campaigns or (sold(),)) as world:
        yield Exchange(world)
