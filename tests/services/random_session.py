"""A random session with a whole server: requests of all kinds, events in any order, conversions, events taken
back, changes of the catalogue, duties now and then. The same seed does the same things."""

import asyncio
import random
from typing import Any

from world import OPERATOR, World, campaign, publisher

from adserver.domain import ids
from adserver.services.ask import Asker
from adserver.services.calls import Call
from adserver.services.converting import Told
from adserver.services.refusals import Refused

BOT = Asker(user_agent="Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
PUBLISHERS = [
    publisher(
        "gazette",
        placements=[
            {"id": "top", "auction": "second_price", "floor": "0.10"},
            {"id": "side", "render_within": "2m"},
            {
                "id": "news",
                "surface": "feed",
                "feed": {"max_share": "0.3", "advertiser_gap": 4, "account_idle": "30m"},
            },
        ],
    )
]
KINDS = ("impression_url", "impression_url", "impression_url", "viewable_url", "click_url", "release_url")


def campaigns(turn: int) -> list[Any]:
    """What is sold; ``turn`` changes a price and a budget."""
    return [
        campaign(
            "acme/caps",
            {"id": "person", "pricing": cpm("900.00"), "frequency_caps": [{"limit": 2, "per": "1h"}]},
            {"id": "clicks", "pricing": {"model": "cpc", "amount": "1.00"}, "budget": {"lifetime": "9.00"},
             "frequency_caps": [{"limit": 2, "per": "session", "event": "click"}]},
            {"id": "sales", "pricing": {"model": "cpa", "amount": "20.00"}, "budget": {"daily": "40.00"}},
            repeat_in_request=True,
        ),
        campaign(
            "acme/shared",
            {"id": "scoped", "pricing": cpm("700.00"), "budget": {"daily": f"{20 + turn}.00"},
             "frequency_caps": [{"limit": 6, "per": "1d", "scope": "advertiser"}]},
            timezone="Asia/Tokyo",
        ),
        campaign(
            "bolt/two",
            {"id": "creatives", "pricing": cpm(f"{500 + turn}.00"), "goal": {"impressions": 60},
             "frequency_caps": [{"limit": 1, "per": "10m", "scope": "creative"},
                                {"limit": 3, "per": "session"}],
             "creatives": [{"id": "x"}, {"id": "y"}, {"id": "z", "format": "native"}]},
            {"id": "seen", "pricing": {"model": "vcpm", "amount": "400.00"}, "budget": {"lifetime": "8.00"},
             "frequency_caps": [{"limit": 2, "per": "2h", "event": "viewable"}], "serve_without_user": True},
            budget={"daily": "15.00"},
        ),
        campaign(
            "dune/days",
            {"id": "shared", "priority": "sponsorship", "goal": {"share": "0.2"},
             "budget": {"lifetime": "60.00"},
             "pricing": {"model": "flat", "amount": f"{30 + turn}.00", "per": "day"}},
            timezone="Asia/Tokyo",
        ),
        campaign(
            "corn/house", {"id": "own", "priority": "house", "pricing": cpm("0.00")}, repeat_in_request=True
        ),
    ]  # fmt: skip


def cpm(amount: str) -> dict[str, str]:
    return {"model": "cpm", "amount": amount}


class Session:
    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.later = random.Random(seed + 1)
        self.ads: list[dict[str, Any]] = []
        self.pages: dict[str, int] = {}
        self.turn = 0
        self.verdicts: list[str] = []
        world.chance = seed << 32
        world.put(**self.documents())

    def documents(self) -> dict[str, list[Any]]:
        """What there is to begin with."""
        return {"publishers": PUBLISHERS, "campaigns": campaigns(0)}

    def step(self) -> None:
        chance = self.chance
        self.world.clock.ms += chance.choice((0, 1, 250, 5000, 60_000, 400_000, 1_200_000))
        doing = (self.ask, self.ask, self.ask, self.tell, self.tell, self.tell, self.page, self.other)
        chance.choice(doing)()
        if self.ads and self.later.random() < 0.2:
            self.later.choice((self.convert, self.convert, self.convert, self.take_back))()

    def who(self) -> dict[str, Any]:
        chance = self.chance
        user = {"id": f"u-{chance.randint(1, 2)}"} if chance.random() < 0.8 else {}
        session = {"session": f"s-{chance.randint(1, 3)}"} if chance.random() < 0.8 else {}
        return {"user": user, **session, "consent": {"personalised": chance.random() < 0.8}}

    def ask(self) -> None:
        chance = self.chance
        names = chance.sample(("top", "side"), chance.randint(1, 2))
        placements = [{"id": name, "count": chance.randint(1, 3)} for name in names]
        request: dict[str, Any] = {"placements": placements, **self.who()}
        if chance.random() < 0.3:
            request["id"] = f"r-{chance.randint(1, 3)}"
        if chance.random() < 0.3:
            request["mode"] = chance.choice(("test", "dry_run", "live"))
        self.take(self.world.decide(request, asker=BOT if chance.random() < 0.1 else OPERATOR))

    def page(self) -> None:
        chance = self.chance
        session, feed = f"s-{chance.randint(1, 2)}", chance.choice(("main", "more"))
        account = f"{session}/{feed}"
        number = self.pages.get(account, 0) - (chance.random() < 0.2)
        asked = {"id": feed, "page": max(number, 0), "organic_count": chance.randint(0, 15)}
        request = {"placements": [{"id": "news", "feed": asked}, {"id": "side"}], "session": session}
        try:
            self.take(self.world.decide(request))
        except Refused as refused:
            self.pages[account] = refused.extra["expected_page"]
            return
        self.pages[account] = max(asked["page"] + 1, self.pages.get(account, 0))

    def take(self, answer: Any) -> None:
        self.ads += [ad for decision in answer["decisions"] for ad in decision["ads"] if "click_url" in ad]

    def tell(self) -> None:
        if not self.ads:
            return
        ad = self.chance.choice(self.ads[-12:] if self.chance.random() < 0.8 else self.ads)
        call = Call(user_agent="") if self.chance.random() < 0.15 else None
        verdict = self.world.event(ad[self.chance.choice(KINDS)], call)
        self.verdicts.append(verdict.status.name)

    def convert(self) -> None:
        later, now_ms = self.later, self.world.clock.ms
        click = ids.decode(later.choice(self.ads)["event_id"]) if later.random() < 0.5 else None
        happened_ms = now_ms - later.choice((0, 1000, 10_000_000))
        told = Told(f"o-{later.randint(1, 40)}", "", happened_ms, "", click, f"u-{later.randint(1, 2)}")
        advertiser = later.choice(list(self.world.app.world.snapshot.advertisers))
        asyncio.run(self.world.app.conversions.tell(advertiser, [told]))

    def take_back(self) -> None:
        event_id = self.later.choice(self.ads)["event_id"]
        asyncio.run(self.world.app.invalidation.reverse([event_id], "a farm"))

    def other(self) -> None:
        if self.chance.random() < 0.5:
            self.world.tick()
        else:
            self.turn += 1
            self.world.put(campaigns=campaigns(self.turn))
