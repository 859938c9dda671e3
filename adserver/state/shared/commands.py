"""What is asked of Redis, as the words of commands (``scripts`` says what each script is given)."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from adserver.domain import limits
from adserver.domain.admission import Granted
from adserver.state.feeds import Account
from adserver.state.shared import scripts
from adserver.state.shared.keys import Keys, Who
from adserver.state.shared.mirror import RETOLD_MS, Settled, Share, Told, Touched, Unanswered, Unsaid
from adserver.state.shared.person import Proposal
from adserver.state.shared.wire import Word
from adserver.state.windows import Windows

Words = list[Word]
_SUBJECT: Final = 1
_SESSION: Final = 2
_ENCODE: Final = msgspec.msgpack.Encoder().encode


def look(keys: Keys, who: Who, account: bytes | None, page: int, now_ms: int) -> Words:
    return [*_script("look"), 6, *_person(keys, who, account), now_ms, page]


def admit(
    keys: Keys, who: Who, account: bytes | None, page: int, proposal: Proposal, windows: Windows, now_ms: int
) -> Words:
    """``page``: the one asked for; what is told of it if this is refused."""
    ads = [_ad(granted, who, windows) for granted, _ in proposal.grants]
    laid_out = proposal.page
    told = () if laid_out is None else (laid_out.expected, laid_out.idle_ms, laid_out.told_ms)
    packed = _ENCODE((limits.OUTSTANDING_PER_PERSON, limits.REPEAT_WINDOW_MS, ads, told))
    words: Words = [*_script("admit"), 7, *_person(keys, who, account), keys.told()]
    words += (now_ms, page, packed, proposal.answer)
    words += (b"", b"") if laid_out is None else (laid_out.answered, laid_out.track)
    words += [granted.event_id for granted, _ in proposal.grants]
    return words


def tell(keys: Keys, told: Told, now_ms: int) -> Words:
    if isinstance(told, Touched):
        return [*_script("touch"), 1, keys.account(told.account), told.at_ms, told.told_ms]
    if isinstance(told, Unsaid):
        account = keys.account(told.account)
        return [*_script("unsay"), 1, account, told.page, told.answered]
    if isinstance(told, Unanswered):
        return [*_script("unanswer"), 1, keys.request(told.who.request), told.answer]
    return _settle(keys, told, now_ms)


def _settle(keys: Keys, settled: Settled, now_ms: int) -> Words:
    words: Words = [*_script("settle"), 5, *keys.exposures(), keys.told(), now_ms]
    words += (settled.what, settled.event_id, bytes((settled.kind,)), settled.at_ms)
    counts = [one for one in settled.counts if _is_for(settled.who, one.session)]
    words += (limits.CAP_LIMIT_MAX, 2 * RETOLD_MS, len(counts))
    for counted in counts:
        words += (counted.counter, counted.keep_ms, _which(counted.session))
    return words


def add(keys: Keys, share: Share, worker: int, now_ms: int) -> Words:
    """Of each session a share of its own."""
    words: Words = [*_script("add"), 5, *keys.exposures(), keys.told(), now_ms, limits.CAP_LIMIT_MAX]
    words += (b"+%d " % worker + (share.who.session or b""), len(share.counters))
    for name, keep_ms, session, times in share.counters:
        words += (name, keep_ms, _which(session), len(times), *times)
    words.append(len(share.outstanding))
    for event_id, exposure in share.outstanding.items():
        counts = [one for one in exposure.counts if _is_for(share.who, one.session)]
        words += (event_id, exposure.expires_ms, len(counts))
        for counted in counts:
            words += (counted.counter, _which(counted.session))
    return words


def page(keys: Keys, name: bytes, account: Account, now_ms: int) -> Words:
    """What is known of a feed account."""
    words: Words = [*_script("page"), 1, keys.account(name), now_ms, account.next_page, account.track]
    words += (account.idle_ms, account.touched_ms, account.told_ms)
    for number, answered in account.pages.items():
        words += (number, answered)
    return words


def _script(name: str) -> tuple[Word, Word]:
    return b"EVALSHA", scripts.load(name).sha


def _person(keys: Keys, who: Who, account: bytes | None) -> Iterable[bytes]:
    return (*keys.exposures(), keys.account(account), keys.request(who.request))


def _ad(granted: Granted, who: Who, windows: Windows) -> tuple[Any, ...]:
    which = _SUBJECT if who.subject is not None else 0, _SESSION if who.session is not None else 0
    counts = [(one.counter, one.keep_ms, which[one.session]) for one in granted.counts if which[one.session]]
    caps = [
        (cap.counter, cap.limit, *windows.of(cap), which[cap.session])
        for cap in granted.caps
        if which[cap.session]
    ]
    return granted.expires_ms, who.subject is not None, counts, caps


def _which(session: bool) -> int:
    return _SESSION if session else _SUBJECT


def _is_for(who: Who, session: bool) -> bool:
    """Nobody is not counted."""
    return (who.session if session else who.subject) is not None
