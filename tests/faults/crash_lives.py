"""Lives of a server that die at a named place: a program that lives one whenever it is asked to.

``python crash_lives.py``: a line on standard input is a ``Life``. It is lived in a child of ours, since all
that is imported is there already; the child's words come on standard output as they are said, and behind
them ours, how it ended. Words of events are said before they are told and when they were answered, so that
whoever listens knows what may be, and what must be, in the books.
"""

import asyncio
import os
import sys
import traceback
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from crash_points import CrashPoint, arm
from msgspec import Struct

from adserver import recovery
from adserver.app import App
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.domain.told import Told
from adserver.duties import Duties
from adserver.ledger.commits import Batch
from adserver.ledger.journal import Journal
from adserver.services.ask import DECODER, Asker, Terms
from adserver.services.calls import Call
from adserver.services.refusals import Refused
from adserver.settings import Settings

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"
KINDS = {
    "impression_url": EventKind.IMPRESSION,
    "viewable_url": EventKind.VIEWABLE,
    "click_url": EventKind.CLICK,
    "release_url": EventKind.RELEASE,
}
WRONG = 99
SEGMENT_BYTES = 8 * 1024
_STEPS = 1500
"""More than any place needs to be passed often enough."""


class Life(Struct, frozen=True):
    """``steps``: after which it ends by itself, 0: it should not come to that."""

    data: str
    campaigns: str
    point: str
    passage: int
    seed: int
    now_ms: int
    steps: int = 0


class Word(Struct, frozen=True, omit_defaults=True):
    """``said``: asked (an event will be told), answered, refused, reversing, reversed, synced, ended.
    ``token``: tells the event again; ``kind`` and ``code`` of ``synced``: segment and offset on disk."""

    said: str
    event_id: str = ""
    kind: int = 0
    verdict: str = ""
    billed: bool = False
    token: str = ""
    code: int = 0


def settings_of(data: Path, campaigns: Path | None = None) -> Settings:
    return Settings(
        data=data, campaigns=campaigns, segment_bytes=SEGMENT_BYTES, public_url="https://ads.example",
        rate_per_user=(0, 0), fastest_click_ms=0,
    )  # fmt: skip


def say(word: Word) -> None:
    os.write(1, msgspec.json.encode(word) + b"\n")


def synced(journal: Journal) -> None:
    position = journal.synced_position
    say(Word("synced", kind=position.segment, code=position.offset))


def tell_syncs() -> None:
    """What is on disk, before anybody is answered because of it."""
    real = Journal._proved

    def proved(journal: Journal, batch: Batch) -> None:
        say(Word("synced", kind=batch.goal.number, code=batch.goal.offset))
        real(journal, batch)

    Journal._proved = proved  # type: ignore[method-assign]


class Living:
    def __init__(self, life: Life) -> None:
        self._life = life
        self._chance = Random(life.seed)
        self._ms = life.now_ms
        first = not (Path(life.data) / "catalog.sqlite").exists()
        self.app = App(
            settings_of(Path(life.data), Path(life.campaigns) if first else None),
            clock=lambda: self._ms,
            chance=lambda: self._chance.getrandbits(64),
        )
        synced(self.app.journal)
        self.app.build()
        self._ads: list[dict[str, Any]] = []
        self._shown: list[str] = []
        self._checkpointed = self.app.journal.position.segment

    async def live(self) -> None:
        steps = self._life.steps or _STEPS
        for number in range(steps):
            self._ms += self._chance.randrange(3)
            self._decide()
            await self._tell_some()
            if number % 5 == 0:
                await Duties(self.app).turn()
            if number % 20 == 19:
                await self._take_back()
            self._renew()

    async def _tell_some(self) -> None:
        """At once; and now and then what is on disk is posted while they wait for it."""
        some = range(self._chance.randint(1, 8) if self._ads else 0)
        told = [asyncio.create_task(self._tell(*self._event())) for _ in some]
        if self._ads and self._chance.random() < 0.5:
            told.append(asyncio.create_task(self._tell_row(self._chance.choices(self._ads, k=6))))
        await asyncio.sleep(0)
        if self._chance.random() < 0.2:
            self.app.post()
        await asyncio.gather(*told)

    def _decide(self) -> None:
        chance = self._chance
        request = {
            "placements": [{"id": "page", "count": chance.randint(1, 3)}],
            "user": {"id": f"u-{chance.randrange(50)}"},
            "session": "s",
        }
        answer = self.app.server.decide(DECODER.decode(msgspec.json.encode(request)), Asker(), Terms())
        for decision in msgspec.json.decode(answer.body)["decisions"]:
            self._ads += decision["ads"]
        del self._ads[:-40]

    def _event(self) -> tuple[dict[str, Any], str, Call]:
        chance = self._chance
        ad = chance.choice(self._ads)
        kind = chance.choices(list(KINDS), (6, 2, 2, 1))[0]
        return ad, kind, Call(user_agent=BROWSER if chance.random() < 0.9 else "")

    async def _tell(self, ad: dict[str, Any], name: str, call: Call) -> None:
        kind, token = KINDS[name], ad[name].rpartition("/")[2]
        word = Word("asked", ad["event_id"], kind, token=token)
        say(word)
        try:
            verdict = await self.app.recorder.record(token, kind, call)
        except Refused:
            say(msgspec.structs.replace(word, said="refused"))
            return
        if kind is EventKind.IMPRESSION and verdict.status.name == "ACCEPTED":
            self._shown.append(ad["event_id"])
        say(
            msgspec.structs.replace(word, said="answered", verdict=verdict.status.name, billed=verdict.billed)
        )

    async def _tell_row(self, ads: list[dict[str, Any]]) -> None:
        """Impressions, as the wire tells them together."""
        words, row = list[Word](), list[tuple[Told, str]]()
        for ad in ads:
            token = ad["impression_url"].rpartition("/")[2]
            words.append(Word("asked", ad["event_id"], EventKind.IMPRESSION, token=token))
            head = f"GET /i/{token} HTTP/1.1\r\nhost: x\r\nuser-agent: {BROWSER}\r\n\r\n"
            if (told := self.app.impressions.read(head.encode())) is None:
                return
            row.append((told, ""))
        for word in words:
            say(word)
        judged = self.app.impressions.tell(row)
        for word, (verdict, durable) in zip(words, judged, strict=True):
            if durable is None:
                say(msgspec.structs.replace(word, said="refused"))
                continue
            await asyncio.shield(durable)
            if verdict.status is Status.ACCEPTED:
                self._shown.append(word.event_id)
            said = msgspec.structs.replace(word, said="answered", verdict=verdict.status.name)
            say(msgspec.structs.replace(said, billed=verdict.billed))

    async def _take_back(self) -> None:
        """An event found invalid later, of those that are in the books."""
        await Duties(self.app).turn()
        if not self._shown:
            return
        event_id = self._chance.choice(self._shown)
        say(Word("reversing", event_id))
        try:
            (found,) = await self.app.invalidation.reverse([event_id], "a farm")
        except Refused:
            return
        for kind in found.kinds:
            say(Word("reversed", event_id, EventKind[kind.upper()]))

    def _renew(self) -> None:
        """What a child of the server does whenever a segment is sealed."""
        segment = self.app.journal.position.segment
        if segment > self._checkpointed:
            self._checkpointed = segment
            recovery.renew(Path(self._life.data), segment)
            recovery.save(Path(self._life.data), self.app.states.hot, self.app.journal.position)


def live(life: Life) -> None:
    """To its end, whichever."""
    tell_syncs()
    if life.point:
        arm(CrashPoint[life.point], life.passage)
    asyncio.run(Living(life).live())
    os._exit(0)


def main() -> None:
    lives = msgspec.json.Decoder(Life)
    for line in sys.stdin.buffer:
        life = lives.decode(line)
        pid = os.fork()
        if pid == 0:
            try:
                live(life)
            except BaseException:
                traceback.print_exc()
                os._exit(WRONG)
        _, status = os.waitpid(pid, 0)
        say(Word("ended", code=os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    main()
