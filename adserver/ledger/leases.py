"""Leases on budgets, the ledger's side: who may spend how much of which budget account.

Several processes serve from one ledger. Each *holder* (the number of its journal) is granted slices of the
accounts it sells from, in one transaction over all of them, which is on disk before anything of it is spent;
so nobody is asked when an ad is decided. Of an account

    billed + what is leased and not spent yet, of all holders  <=  limit      whenever a slice is granted

and a holder never promises more than it holds; so whatever is posted later fits. ``granted_nanos`` is all
that a holder was ever granted of an account and did not give back, NULL while the account has no limit;
``spent_nanos`` what is posted of it, moved by the transaction that posts. What somebody could not have is
``wanted``: the others give back what they can spare (``leasing``).

A slice is at most an even part of half the room, and at least what was asked for: slices shrink as a budget
ends, down to one price. What a line item needs it is given of all its accounts, or of none. A holder that
ended keeps what its ads may still cost, until it is back; one that stays away is closed when its last token
is over and its journal is posted. A limit that is new to an account is leased from once every holder that
serves has heard of it, and told what it had promised before there was one; one that somebody who serves has
lifted (it holds NULL of it), when that one has told again, whatever others heard of it.

Cost: a look for what others want, a turn; and one transaction where something runs low or is given back.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, func, select, tuple_

from adserver.databases import Place
from adserver.domain import limits
from adserver.ledger import inserts
from adserver.ledger.accounts import Key
from adserver.ledger.dialects import dialect_of, lock_for_writing, open_database
from adserver.ledger.lease_tables import HOLDERS, LEASES
from adserver.ledger.ledger import chunks
from adserver.ledger.schema import BUDGETS


class Held(Struct, frozen=True):
    """A lease as the ledger has it; ``granted_nanos`` None: of an account without a limit."""

    granted_nanos: int | None
    spent_nanos: int


class Ask(Struct, frozen=True):
    """To be granted more of an account: at least ``least_nanos``, better ``target_nanos``, beside the
    ``granted_nanos`` so far. ``since``: the revision of the catalogue that first told of its limit."""

    key: Key
    limit_nanos: int
    since: int
    granted_nanos: int
    least_nanos: int
    target_nanos: int


class Settled(Struct, frozen=True):
    """``granted``: the slices, by account; ``wanted``: what others could not have."""

    granted: dict[Key, int]
    wanted: set[Key]


class Leases:
    """Of one ``holder``, in the ledger at ``place``. Blocking; used by one thread at a time."""

    def __init__(self, place: Place, holder: int) -> None:
        self._engine = open_database(place)
        # What is granted is spent at once: it is not to be granted again after a power cut.
        dialect_of(self._engine).make_durable(self._engine)
        self._holder = holder
        self._revision = 0
        self._wanting = False

    def join(self, revision: int) -> dict[Key, Held]:
        """Begin, or go on after an end of any kind: what is held. Its journal must be posted before. Who is
        new promised nothing under any revision; who is back has heard of what it had heard of."""
        mine = select(LEASES).where(LEASES.c.holder == self._holder)
        known = select(HOLDERS.c.revision).where(HOLDERS.c.holder == self._holder)
        with self._engine.begin() as connection:
            lock_for_writing(connection)
            former = connection.execute(known).scalar()
            self._revision = revision if former is None else former
            inserts.set_holders(connection, [(self._holder, self._revision, None)])
            rows = connection.execute(mine).all()
        return {(row.account, row.day): Held(row.granted_nanos, row.spent_nanos) for row in rows}

    def settle(
        self, returned: Mapping[Key, int | None], groups: Sequence[Sequence[Ask]], revision: int
    ) -> Settled:
        """One turn. ``returned``: what is held in all from now on, where it became less, or unlimited (None);
        ``groups``: what line items need, of all accounts of a group or of none; ``revision``: that has been
        heard of. On disk when it returns."""
        revision = max(revision, self._revision)
        if not returned and not groups and not self._wanting and revision == self._revision:
            with self._engine.connect() as connection:
                return Settled({}, self._wanted(connection))
        with self._engine.begin() as connection:
            lock_for_writing(connection)
            inserts.set_holders(connection, [(self._holder, revision, None)])
            self._set(connection, returned)
            slices, lacking = self._grant(connection, groups)
            before = {ask.key: ask.granted_nanos for group in groups for ask in group}
            self._set(connection, {key: before[key] + nanos for key, nanos in slices.items()})
            self._want(connection, lacking)
            settled = Settled(slices, self._wanted(connection))
        self._revision, self._wanting = revision, bool(lacking)
        return settled

    def leave(self, returned: Mapping[Key, int | None], now_ms: int) -> None:
        """A clean end: all is given back but what ads that are out may still cost."""
        with self._engine.begin() as connection:
            lock_for_writing(connection)
            self._set(connection, returned)
            self._want(connection, ())
            inserts.set_holders(connection, [(self._holder, self._revision, now_ms)])

    def close(self) -> None:
        self._engine.dispose()

    # -- who is gone -------------------------------------------------------------------------------

    def bury(self, holder: int, now_ms: int) -> bool:
        """A process whose journal nobody writes any more (its lock can be had), posted to its end: once its
        last token is over, what it held comes back; whether it is."""
        known = select(HOLDERS.c.revision, HOLDERS.c.ended_ms).where(HOLDERS.c.holder == holder)
        with self._engine.begin() as connection:
            lock_for_writing(connection)
            row = connection.execute(known).first()
            if row is None:
                return True
            if row.ended_ms is None:
                inserts.set_holders(connection, [(holder, row.revision, now_ms)])
                return False
            if now_ms <= row.ended_ms + limits.RENDER_WITHIN_MS_MAX + limits.GRACE_MS:
                return False
            connection.execute(LEASES.delete().where(LEASES.c.holder == holder))
            connection.execute(HOLDERS.delete().where(HOLDERS.c.holder == holder))
            return True

    def dissolve(self) -> None:
        """Nobody shares any more, and this process promises by the budgets themselves from now on."""
        with self._engine.begin() as connection:
            connection.execute(LEASES.delete())
            connection.execute(HOLDERS.delete())

    def forget_days(self, before_day: int) -> None:
        """Of days nobody can bill any more, nothing is held."""
        with self._engine.begin() as connection:
            lock_for_writing(connection)
            mine = LEASES.c.holder == self._holder
            connection.execute(LEASES.delete().where(mine, LEASES.c.day >= 0, LEASES.c.day < before_day))

    # -- granting ----------------------------------------------------------------------------------

    def _grant(
        self, connection: Connection, groups: Sequence[Sequence[Ask]]
    ) -> tuple[dict[Key, int], set[Key]]:
        """(slices by account, accounts without enough room)."""
        slices, lacking = dict[Key, int](), set[Key]()
        if not groups:
            return slices, lacking
        parts, oldest = self._serving(connection)
        keys = {ask.key for group in groups for ask in group}
        taken, lifted = _taken(connection, keys), self._lifted(connection, keys)
        for group in groups:
            rooms = {ask.key: ask.limit_nanos - taken.get(ask.key, 0) for ask in group}
            short = {ask.key for ask in group if rooms[ask.key] < ask.least_nanos or ask.since > oldest}
            short |= lifted & rooms.keys()
            lacking |= short
            if short:
                continue
            for ask in group:
                slice_nanos = max(ask.least_nanos, min(ask.target_nanos, rooms[ask.key] // parts))
                taken[ask.key] = taken.get(ask.key, 0) + slice_nanos
                slices[ask.key] = slices.get(ask.key, 0) + slice_nanos
        return slices, lacking

    def _serving(self, connection: Connection) -> tuple[int, int]:
        """(into how many parts a room is divided, the oldest revision that another holder serves)."""
        columns = select(HOLDERS.c.holder, HOLDERS.c.revision).where(HOLDERS.c.ended_ms.is_(None))
        others = [revision for holder, revision in connection.execute(columns) if holder != self._holder]
        return 2 * (len(others) + 1), min(others, default=1 << 62)

    def _lifted(self, connection: Connection, keys: Iterable[Key]) -> set[Key]:
        """Those that another who serves has no limit of."""
        found, serving = set[Key](), select(HOLDERS.c.holder).where(HOLDERS.c.ended_ms.is_(None))
        others = LEASES.c.granted_nanos.is_(None), LEASES.c.holder != self._holder
        columns = select(LEASES.c.account, LEASES.c.day).where(*others, LEASES.c.holder.in_(serving))
        for some in chunks(list(keys)):
            of_some = columns.where(tuple_(LEASES.c.account, LEASES.c.day).in_(some))
            found.update((account, day) for account, day in connection.execute(of_some))
        return found

    def _wanted(self, connection: Connection) -> set[Key]:
        columns = select(LEASES.c.account, LEASES.c.day).where(LEASES.c.wanted != 0)
        rows = connection.execute(columns.where(LEASES.c.holder != self._holder))
        return {(account, day) for account, day in rows}

    def _set(self, connection: Connection, held: Mapping[Key, int | None]) -> None:
        rows = [(*key, self._holder, granted, 0, 0) for key, granted in held.items()]
        inserts.set_leases(connection, rows)

    def _want(self, connection: Connection, lacking: Iterable[Key]) -> None:
        """These, and no others any more."""
        if self._wanting:
            mine = LEASES.c.holder == self._holder
            connection.execute(LEASES.update().where(mine, LEASES.c.wanted != 0).values(wanted=0))
        inserts.want_leases(connection, [(*key, self._holder, 0, 0, 1) for key in lacking])


def _taken(connection: Connection, keys: Iterable[Key]) -> dict[Key, int]:
    """Billed and leased of each, of all holders."""
    taken = dict[Key, int]()
    billed = select(BUDGETS.c.account, BUDGETS.c.day, BUDGETS.c.billed_nanos)
    leased = select(
        LEASES.c.account, LEASES.c.day, func.sum(LEASES.c.granted_nanos - LEASES.c.spent_nanos)
    ).where(LEASES.c.granted_nanos > LEASES.c.spent_nanos)
    for some in chunks(list(keys)):
        sums: list[Any] = [
            billed.where(tuple_(BUDGETS.c.account, BUDGETS.c.day).in_(some)),
            leased.where(tuple_(LEASES.c.account, LEASES.c.day).in_(some)).group_by(
                LEASES.c.account, LEASES.c.day
            ),
        ]
        for question in sums:
            for account, day, nanos in connection.execute(question):
                taken[account, day] = taken.get((account, day), 0) + int(nanos)
    return taken
