"""The listening sockets: one for each worker, all on one address, kept open by the parent.

The kernel spreads connections over those that are listened on (SO_REUSEPORT), each with a queue of its own.
As long as anybody has a socket open its queue lives, so what waits there when a worker dies is accepted by
whoever listens there next: until its successor does, another worker (``accepting``).
"""

import socket
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from adserver.serving import bind
from adserver.settings import Settings


@contextmanager
def bound(settings: Settings, count: int) -> Iterator[tuple[list[socket.socket], Settings]]:
    """``count`` sockets, and settings that name their port. Raises CannotServe."""
    if settings.port:
        # Who shares a port may share it with a stranger; who does not finds out.
        bind(settings)[0].close()
    with ExitStack() as stack:
        sockets = []
        for _ in range(count):
            one, settings = bind(settings, shared=True)
            sockets.append(stack.enter_context(one))
        yield sockets, settings


@contextmanager
def doors(settings: Settings, count: int) -> Iterator[tuple[list[socket.socket], list[str]]]:
    """Where other machines bring events to each of ``count`` workers, and what they are to call it; nothing
    where there are no other machines. Raises CannotServe."""
    host, _, port = settings.errands.rpartition(":")
    with ExitStack() as stack:
        found = list[socket.socket]()
        for place in range(count if host else 0):
            number = int(port) + place if int(port) else 0
            at = msgspec.structs.replace(settings, host=host.strip("[]"), port=number)
            found.append(stack.enter_context(bind(at)[0]))
        yield found, [f"{host}:{one.getsockname()[1]}" for one in found] or [""] * count


def accepting(serving: Collection[int], count: int) -> dict[int, tuple[int, ...]]:
    """On which sockets each of the workers that serve accepts, of ``count``: on its own, and on those of the
    workers right before it that are away."""
    shares: dict[int, list[int]] = {number: [] for number in serving}
    for number in range(count if shares else 0):
        one = number
        while one not in shares:
            one = (one + 1) % count
        shares[one].append(number)
    return {number: tuple(share) for number, share in shares.items()}
