"""``POST /v1/decisions``: bytes in, bytes out; the deciding is done by the ad server behind it."""

from collections.abc import Callable
from functools import partial

from adserver.api import bodies
from adserver.api.keys import holder_of
from adserver.api.messages import JSON, NO_STORE, Head, Headers, Reply, check_media_type
from adserver.api.peer import Peers, valid
from adserver.api.ports import AdServer, Answered, KeyFinder, Metrics
from adserver.api.turn import brought
from adserver.domain import limits
from adserver.services.ask import DECODER, Ask, Asker, Terms
from adserver.services.elsewhere import Elsewhere
from adserver.services.refusals import Refused, not_built

_HEADERS = (JSON, NO_STORE)
_TERMS = Terms()


class Decisions:
    """``ticks``: seconds of a clock that only measures."""

    def __init__(
        self,
        server: AdServer,
        find_key: KeyFinder,
        peers: Peers,
        metrics: Metrics,
        ticks: Callable[[], float],
    ) -> None:
        self._server = server
        self._find_key = find_key
        self._peers = peers
        self._metrics = metrics
        self._ticks = ticks

    def decide(self, head: Head, body: bytes) -> Reply:
        """Raises Refused."""
        began = self._ticks()
        ask, headers = self._asked(head, body)
        try:
            answer = self._server.decide(ask, self._asker(head, ask), _TERMS)
        except Elsewhere as missing:
            missing.again = partial(_replied, missing.again, headers)
            raise
        self._metrics.decided(self._ticks() - began)
        return Reply(answer.status, headers, answer.body)

    async def decide_later(self, head: Head, body: bytes) -> Reply:
        """The same, where what people have seen is asked elsewhere. Raises Refused."""
        began = self._ticks()
        ask, headers = self._asked(head, body)
        try:
            answer = await self._server.decide_later(ask, self._asker(head, ask), _TERMS)
        except Elsewhere as missing:
            missing.again = partial(_replied, missing.again, headers)
            return await brought(missing.again, missing)
        self._metrics.decided(self._ticks() - began)
        return Reply(answer.status, headers, answer.body)

    def _asked(self, head: Head, body: bytes) -> tuple[Ask, Headers]:
        """What is asked, and the headers of its answer."""
        check_media_type(head)
        ask = bodies.decode(DECODER, body)
        if ask.force and any(ask.force.values()):
            raise not_built("force")
        origin = head.header(b"origin")
        if origin is None:
            return ask, _HEADERS
        return ask, (*_HEADERS, *self._shared_with(origin, ask.publisher))

    def _asker(self, head: Head, ask: Ask) -> Asker:
        """Whom the request is about. A publisher's server speaks for the end user, a page only for itself."""
        holder = holder_of(head, self._find_key)
        ip, user_agent = self._peers.address(head), head.text(b"user-agent")
        language = head.text(b"accept-language")
        if holder is None:
            return Asker(ip=ip, user_agent=user_agent, language=language)
        speaks = holder.role == "operator" or (
            holder.role == "publisher" and ask.publisher in (None, holder.owner)
        )
        told = speaks and ask.device.ip is not None
        if speaks:
            ip = valid(ask.device.ip) if told else ip
            user_agent = (ask.device.user_agent or user_agent)[: limits.HEADER_CHARS]
        return Asker(ip, user_agent, language, holder.role, holder.owner, holder.read_prices, told)

    def _shared_with(self, origin: bytes, publisher: str | None) -> tuple[tuple[bytes, bytes], ...]:
        """A publisher that lists its origins is asked from pages of these alone. Raises Refused (403)."""
        allowed = self._server.origins(publisher)
        if not allowed:
            return ()
        if origin.decode("latin-1") not in allowed:
            raise Refused(403, "this publisher is not asked from pages of this origin")
        return ((b"access-control-allow-origin", origin), (b"vary", b"origin"))


def _replied(written: Callable[[], Answered] | None, headers: Headers) -> tuple[Reply, None]:
    """What was decided, as soon as it can be written."""
    assert written is not None
    answer = written()
    return Reply(answer.status, headers, answer.body), None
