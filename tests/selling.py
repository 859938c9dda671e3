"""A process that sells from shared budgets over a loopback socket:
``python tests/selling.py DATA NUMBER COUNT [URL]``, the last of a database for the books.

Says its port on a line of standard output; ends with its standard input, as a clean end. A line asks, a line
answers (JSON): ``{"sell": [line item, ...]}`` -> the sales, and how many turns the leases had so far;
``{"show": [sale, ...]}`` -> how many were new, once all are on disk.
"""

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from till import Item, Sale, Shelf, Till

TURN_S = 0.05
POST_S = 0.2
_SALES = msgspec.json.Decoder(dict[str, list[Any]])


def stock(count: int) -> Shelf:
    """So many line items with a budget each; ten in a campaign, every third of which has a budget for a day
    that eight of them would use up; a hundred to an advertiser, of whom every other has a budget too."""
    items = [Item(n, 1 + (n - 1) // 10, 1 + (n - 1) // 100, 50 + n * 37 % 101) for n in range(1, count + 1)]
    limits = {(f"line_item:{item.serial}", "lifetime"): SHOWN * item.price_nanos for item in items}
    for campaign in range(1, count // 10 + 1, 3):
        prices = [item.price_nanos for item in items if item.campaign == campaign]
        limits[f"campaign:{campaign}", "day"] = 8 * SHOWN * sum(prices) // len(prices)
    for advertiser in range(1, count // 100 + 1, 2):
        prices = [item.price_nanos for item in items if item.advertiser == advertiser]
        limits[f"advertiser:{advertiser}", "lifetime"] = 9 * SHOWN * sum(prices) // 10
    return Shelf(items, limits, 1)


SHOWN = 30
"""How often each line item can be shown for its budget."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Selling:
    def __init__(self, till: Till) -> None:
        self.till = till
        self.ended = asyncio.Event()
        self.turns = 0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=1 << 20)
        print(server.sockets[0].getsockname()[1], flush=True)
        duties = [asyncio.create_task(duty()) for duty in (self._turn, self._post)]
        await asyncio.to_thread(sys.stdin.buffer.read)
        server.close()
        self.ended.set()
        await asyncio.gather(*duties)
        await self.till.journal.durable()
        self.till.leave(now_ms())

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(msgspec.json.encode(await self._answer(_SALES.decode(line))) + b"\n")

    async def _answer(self, asked: dict[str, list[Any]]) -> Any:
        if "sell" in asked:
            return self.till.sell(asked["sell"], now_ms()), self.turns
        shown = [self.till.show(sale, now_ms()) for sale in msgspec.convert(asked["show"], list[Sale])]
        await self.till.journal.durable()
        return sum(shown)

    async def _turn(self) -> None:
        """What is planned and applied is the loop's; the ledger is asked in a thread."""
        till = self.till
        while not self.ended.is_set():
            returned, asks = till.leasing.plan(till.budgets, now_ms())
            settled = await asyncio.to_thread(till.leases.settle, returned, asks, till.leasing.heard)
            till.leasing.apply(returned, settled)
            self.turns += 1
            await asyncio.sleep(TURN_S)

    async def _post(self) -> None:
        while not self.ended.is_set():
            await self.till.journal.durable()
            await asyncio.to_thread(self.till.poster.drain)
            await asyncio.sleep(POST_S)


async def main(data: Path, number: int, count: int, url: str | None = None) -> None:
    await Selling(Till(data, number, stock(count), now_ms(), url)).serve()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:5]))
