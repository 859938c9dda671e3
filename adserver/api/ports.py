"""What the wire needs from the use cases; ``app`` ties it to them, tests to small ones of their own."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct
from starlette.routing import BaseRoute

from adserver.api.messages import Head, Reply
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.domain.told import Heard, Told
from adserver.domain.verdicts import Passed, Verdict
from adserver.services.accounting import Accounting
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.calls import Call
from adserver.services.converting import Conversions
from adserver.services.crediting import Crediting
from adserver.services.diagnosis import Diagnosis
from adserver.services.invalidating import TakingBack
from adserver.services.manage import Manage
from adserver.services.ports import Durable
from adserver.services.reporting import Reporting
from adserver.services.stating import Statements
from adserver.services.wallets import Wallets


class Answered(Protocol):
    """An answer already encoded."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...


class AdServer(Protocol):
    def decide(self, ask: Ask, asker: Asker, terms: Terms) -> Answered:
        """Answer at once, without waiting for anything. Raises Refused."""
        ...

    async def decide_later(self, ask: Ask, asker: Asker, terms: Terms) -> Answered:
        """The same, where what people have seen is asked elsewhere."""
        ...

    def origins(self, publisher: str | None) -> Sequence[str]:
        """The web origins that may read this publisher's answers; empty: any. Unknown publishers: empty."""
        ...


class Recorder(Protocol):
    """Events. All raise BadToken; Refused(503) and JournalClosed say that there is no room."""

    def tell(self, token_text: str, kind: EventKind, call: Call) -> tuple[Verdict | Passed, Durable]:
        """Count (or release): the verdict, and what it is not to be told before. A click is answered with its
        location whatever happens."""
        ...

    def peek(self, token_text: str, kind: EventKind, call: Call) -> tuple[Verdict | Passed, Durable]:
        """For HEAD, of every kind: where a click would go; counts nothing."""
        ...


class Impressions(Protocol):
    """Plain calls on the URLs of impressions, in rows."""

    def read(self, received: bytes) -> Told | None:
        """The call that was received, None where it may be something else."""
        ...

    def tell(self, row: Sequence[Heard]) -> Sequence[tuple[Verdict | Passed, Durable]]:
        """(call, address) each -> as ``Recorder.tell``; without room UNRECORDED."""
        ...


class Receipts(Protocol):
    def verify(self, body: dict[str, Any]) -> dict[str, Any]:
        """Check a session's receipts. Raises ValueError, saying what is wrong with the question."""
        ...


class Holder(Protocol):
    """Whom a key belongs to. ``role``: operator, advertiser or publisher; ``owner``: whose, "" or None for
    an operator."""

    @property
    def role(self) -> str: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def read_prices(self) -> bool: ...


class Metrics(Protocol):
    def refused(self, route: str, status: int) -> None: ...
    def event(self, kind: EventKind, status: Status, billed: bool, calls: int = 1) -> None: ...
    def decided(self, seconds: float) -> None: ...
    def converted(self, status: str, count: int) -> None: ...
    def exposition(self) -> tuple[bytes, bytes]:
        """(media type, body) of ``/metrics``."""
        ...


class Sums(Protocol):
    async def exposition(self) -> bytes:
        """The body of ``/metrics``. Raises TimeoutError."""
        ...


class Log(Protocol):
    def refused(self, route: str, status: int, request_id: str) -> None:
        """A fault of the caller's; the same ones are told once per interval."""
        ...

    def failure(self, what: str, error: BaseException, **facts: str) -> None:
        """A fault of ours, with its traceback."""
        ...


class Auction(Protocol):
    """``POST /openrtb2/auction``: raises Refused only for what OpenRTB has no word for."""

    def __call__(self, head: Head, body: bytes) -> Reply: ...
    async def later(self, head: Head, body: bytes) -> Reply:
        """The same, where what people have seen is asked elsewhere."""
        ...


KeyFinder = Callable[[str], Holder | None]
"""A key's text -> whose it is, None if it is unknown, revoked or expired."""


class Services(Struct, frozen=True):
    """All that is served. ``ready``: a snapshot is live; ``waits``: what people have seen is not in here."""

    server: AdServer
    recorder: Recorder
    receipts: Receipts
    manage: Manage
    find_key: KeyFinder
    metrics: Metrics
    log: Log
    ready: Callable[[], bool]
    auction: Auction | None = None
    waits: bool = False
    diagnosis: Diagnosis | None = None
    invalidation: TakingBack | None = None
    conversions: Conversions | None = None
    statements: Statements | None = None
    reporting: Reporting | None = None
    crediting: Crediting | None = None
    wallets: Wallets | None = None
    accounting: Accounting | None = None
    impressions: Impressions | None = None
    sums: Sums | None = None
    """The numbers of all workers, where there are several."""
    extra: tuple[BaseRoute, ...] = ()
    """Further routes of Starlette's, such as the demo's page."""
