"""Law 5 for what an exchange asks: deals, private auctions, and creatives that an imp cannot take."""

from pathlib import Path

from openrtb_world import ASSETS, BOX, CARD, PLAYER, acme, exchange, request, sold
from test_openrtb_deals import GOLD, IRON, SILVER, WORLD, imp

from adserver import replaying
from adserver.domain.books import Position
from adserver.domain.records import Decided
from adserver.ledger.reader import Reader


def test_what_an_exchange_asked_is_the_same_again(tmp_path: Path) -> None:
    short = {"native": {"request": {"ver": "1.2", "assets": [{**ASSETS[0], "title": {"len": 3}}]}}}
    secure = {**BOX, "secure": 1}
    strange = {"banner": {"w": 300, "h": 250, "mimes": ["image/gif"]}}
    asks = [
        (imp(GOLD),), (imp(GOLD, IRON, private=1), imp(SILVER)), (imp(private=1),), (BOX, CARD, PLAYER),
        (short,), (secure, strange), (imp(GOLD, bidfloor=1.8), CARD),
    ]  # fmt: skip
    with exchange(tmp_path / "world", *WORLD, sold(acme())) as asked:
        for imps in asks:
            asked.bids(request(*imps))
        world = asked.world
        data = world.app.settings.data
        reader = Reader(data / "journal")
        made = [one.decision for _, one, _ in reader.read(Position()) if isinstance(one, Decided)]
        reader.close()
        replayed = [replaying.replay(data, one.request_id) for one in made]
    assert [one.difference or one.reason for one in replayed if one.outcome != "identical"] == []
    assert len(replayed) >= 5
