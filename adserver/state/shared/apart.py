"""Whose slots hold what somebody has seen. What is capped by session counts in a slot of the session's own,
whoever is named in it: so it counts on where somebody logs in, or another does, as in a server that is alone.

An ad that counts for a person and for their session is asked of two slots: both grant it, or neither.
"""

from collections.abc import Iterator, Sequence

from adserver.domain.caps import Counted
from adserver.state.shared.keys import Who
from adserver.state.shared.person import Proposal


def apart(who: Who) -> tuple[Who, Who | None]:
    """The person, and their session where it is not all there is of them."""
    if who.subject is None or who.session is None or who.subject == who.session:
        return who, None
    return Who(who.subject, None, who.request), Who(None, who.session)


def parts(who: Who) -> Iterator[Who]:
    person, session = apart(who)
    yield person
    if session is not None:
        yield session


def counted_apart(who: Who, counts: Sequence[Counted]) -> Iterator[tuple[Who, tuple[Counted, ...]]]:
    """What an event moves, by slot; nobody is not counted."""
    person, session = apart(who)
    yield (
        person,
        tuple(one for one in counts if (person.session if one.session else person.subject) is not None),
    )
    own = tuple(one for one in counts if one.session) if session is not None else ()
    if session is not None and own:
        yield session, own


def proposed_apart(who: Who, proposal: Proposal) -> list[tuple[Who, Proposal]]:
    person, session = apart(who)
    found = [(person, proposal)]
    if session is not None:
        grants = tuple(
            (granted, exposure)
            for granted, exposure in proposal.grants
            if any(one.session for one in granted.counts) or any(cap.session for cap in granted.caps)
        )
        if grants:
            found.append((session, Proposal(grants)))
    return found
