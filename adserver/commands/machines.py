"""``adserver machines``: who serves from a database, and who never comes back."""

from sqlalchemy.exc import DBAPIError

from adserver.databases import Database, Unusable, unusable
from adserver.domain.workers import Peer
from adserver.ledger.machines import Machines
from adserver.ledger.place import place_of
from adserver.options import Wrong
from adserver.settings import Settings


def machines(settings: Settings, give_up: str) -> None:
    """Print a line for each, when one was given up. Raises Wrong."""
    place = place_of(settings.data, settings.database)
    if not isinstance(place, Database):
        raise Wrong("machines share a database: name it (--database)")
    try:
        known = Machines(place)
        try:
            if give_up:
                known.give_up(give_up)
            told = known.told()
        finally:
            known.close()
    except Unusable as error:
        raise Wrong(str(error)) from error
    except DBAPIError as error:
        raise Wrong(str(unusable(place, error))) from error
    of = dict[str, list[tuple[Peer, int]]]()
    for peer, silent_ms in told:
        of.setdefault(peer.machine, []).append((peer, silent_ms))
    for machine, peers in of.items():
        print(line(machine, peers))
    if not of:
        print("nobody has served from it yet")


def line(machine: str, peers: list[tuple[Peer, int]]) -> str:
    serving = [f"{peer.number} {peer.door}".rstrip() for peer, _ in peers if peer.serves]
    ended = [str(peer.number) for peer, _ in peers if not peer.serves]
    silent_s = min(silent_ms for _, silent_ms in peers) // 1000
    parts = [f"{machine}: workers {', '.join(serving)}"]
    parts += [f"formerly {', '.join(ended)}"] if ended else []
    parts.append("given up" if peers[0][0].gone else f"heard of {silent_s} s ago")
    return "; ".join(parts)
