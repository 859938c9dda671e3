"""A random session (``random_session``) whose catalogue changes under its feet (``edits``)."""

from random import Random
from typing import Any

from edits import CAMPAIGNS, advertiser, publisher, sold
from random_session import Session
from world import World

from adserver.catalog.store import Conflict

FORMER = ("acme/caps", "acme/shared", "bolt/two", "dune/days", "corn/house")
"""What the plain session sells: archived here before it begins."""


class EditedSession(Session):
    """``edits``: how many changes of each kind were made."""

    def __init__(self, world: World, chance: Random) -> None:
        super().__init__(world, 1)
        self.chance = chance
        self.edits = dict.fromkeys(("put", "archived", "advertiser", "publisher", "refused"), 0)
        for name in FORMER:
            world.archive("campaign", name)
        for name in CAMPAIGNS:
            self._put("put", campaigns=[sold(name, chance)])

    def step(self) -> None:
        chance = self.chance
        self.world.clock.ms += chance.choice((0, 1, 250, 5000, 60_000, 400_000, 1_200_000))
        doing = (self.ask, self.ask, self.tell, self.tell, self.tell, self.page, self.edit, self.world.tick)
        chance.choice(doing)()

    def edit(self) -> None:
        chance = self.chance
        kind = chance.choice(("campaign", "campaign", "campaign", "archive", "advertiser", "publisher"))
        name = chance.choice(CAMPAIGNS)
        if kind == "campaign":
            self._put("put", campaigns=[sold(name, chance)])
        elif kind == "advertiser":
            self._put("advertiser", advertisers=[advertiser(name.partition("/")[0], chance)])
        elif kind == "publisher":
            self._put("publisher", publishers=[publisher(chance)])
        else:
            self.world.archive("campaign", name)
            self.edits["archived"] += 1

    def _put(self, which: str, **documents: Any) -> None:
        try:
            self.world.put(**documents)
            self.edits[which] += 1
        except Conflict:
            # What was billed keeps its currency and its time zone; nothing was changed.
            self.edits["refused"] += 1
