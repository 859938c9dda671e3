"""An ad that counts for a person and for their session, each of which has a slot of its own: it is granted in
both or in neither, and ends in both."""

from collections.abc import Iterator

import pytest
from remote import Refused, Remote
from servers.redis_server import Redis
from test_shared_losses import ANNA, BEGAN_MS, BY_SESSION, CAP, RENDER_MS, SESSION, Clock, counter

from adserver.domain.caps import counted
from adserver.state.exposure import Exposure

BRUNO = b"bruno".ljust(16, b".")
BOTH = (CAP, BY_SESSION)
ENDS_MS = BEGAN_MS + RENDER_MS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def remote(redis_server: Redis, clock: Clock) -> Iterator[Remote]:
    redis_server.ask("FLUSHALL")
    one = Remote(redis_server.url, now=clock).wait()
    yield one
    one.close()


def shown(remote: Remote, ident: bytes, who: bytes) -> None:
    exposure = Exposure(who, SESSION, counted(BOTH, "impression"), ENDS_MS, ENDS_MS)
    remote.grant(ident, exposure, BOTH)


def counters(remote: Remote) -> list[list[int]]:
    """Of the person and of the session."""
    return [counter(remote), counter(remote, BY_SESSION, SESSION)]


def test_whoever_is_named_in_it_a_session_counts_on(remote: Remote) -> None:
    shown(remote, b"a" * 16, BRUNO)
    shown(remote, b"b" * 16, ANNA)
    with pytest.raises(Refused):
        shown(remote, b"c" * 16, ANNA)
    with pytest.raises(Refused):
        shown(remote, b"c" * 16, SESSION)
    assert counters(remote) == [[1], [2]], "what the person had room for is given back"


@pytest.mark.parametrize("end", ["confirmed", "released", "expired", "told anew"])
def test_it_ends_in_both(remote: Remote, redis_server: Redis, clock: Clock, end: str) -> None:
    shown(remote, b"a" * 16, ANNA)
    if end == "confirmed":
        remote.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
        assert counters(remote) == [[0, BEGAN_MS], [0, BEGAN_MS]]
    elif end == "released":
        remote.release(b"a" * 16)
        assert counters(remote) == [[0], [0]]
    elif end == "expired":
        clock.now_ms = ENDS_MS + 1
        assert counters(remote) == [[0], [0]]
    else:
        redis_server.ask("FLUSHALL")
        remote.wait(there=False)
        remote.wait()
        assert counters(remote) == [[1], [1]]
        remote.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
        assert counters(remote) == [[0, BEGAN_MS], [0, BEGAN_MS]]


def test_who_is_their_session_has_counters_of_both_kinds(remote: Remote) -> None:
    shown(remote, b"a" * 16, SESSION)
    found = remote.look(SESSION, SESSION).exposures._counters[SESSION]
    assert found == {CAP.counter: [1], BY_SESSION.counter: [1]}


def test_a_person_that_is_full_costs_the_session_nothing(remote: Remote) -> None:
    for number in range(CAP.limit):
        only = Exposure(ANNA, None, counted((CAP,), "impression"), ENDS_MS, ENDS_MS)
        remote.grant(b"%016d" % number, only, (CAP,))
    with pytest.raises(Refused):
        shown(remote, b"a" * 16, ANNA)
    assert counters(remote) == [[CAP.limit], [0]]
    shown(remote, b"a" * 16, BRUNO)
    assert counters(remote)[1] == [1], "the same ad may be proposed again"
