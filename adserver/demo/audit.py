"""The end of the demo: laws 1 to 4 over everything that was served.

Twice, by two who know nothing of each other: ``adserver verify`` from the journal and the ledger on disk,
and the driver from the answers it was given, which it kept its own books of.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct
from sqlalchemy import select

from adserver.demo.score import Score
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.ledger import schema
from adserver.ledger.dialects import read_database
from adserver.ledger.place import LEDGER
from adserver.ledger.verify import verify

LAWS: Final = {1: "feed cap", 2: "frequency caps", 3: "budgets", 4: "books"}
_SHOWN: Final = 3


class Verdict(Struct, frozen=True):
    """Of one law. ``told``: what was checked; ``on_disk``, ``by_driver``: what each found wrong."""

    law: int
    told: tuple[str, ...]
    on_disk: tuple[str, ...]
    by_driver: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not (self.on_disk or self.by_driver)


def audit(data: Path, score: Score) -> list[Verdict]:
    """One verdict a law. The server must have stopped."""
    said: dict[int, list[str]] = {law: [] for law in LAWS}
    wrong: dict[int, list[str]] = {law: [] for law in LAWS}
    seen: dict[int, list[str]] = {law: list(score.offences[law]) for law in LAWS}

    def report(line: str) -> None:
        if line[:4] == "law " and line[4:5].isdigit():
            said[int(line[4])].append(line.partition(": ")[2])

    for difference in verify(data, report):
        wrong[law_of(difference)].append(difference)
    ledger = _Ledger(data / LEDGER)
    said[3].append(ledger.budgets())
    seen[4] += ledger.missing(score)
    said[4].append(ledger.found(score))
    said[1].append(_feeds(score))
    said[2].append(_caps(score))
    said[3].append(f"driver: {score.spend.billed:,} billed events within the budgets of the campaign files")
    seen[4] += [f"{count} x {what}" for what, count in score.failures.items()]
    return [Verdict(law, *map(tuple, (said[law], wrong[law], seen[law]))) for law in LAWS]


def law_of(difference: str) -> int:
    """Which law a difference told by ``verify`` is about; what is no other's is the books'."""
    if difference.startswith("feed "):
        return 1
    if ": the cap " in difference:
        return 2
    if difference.startswith("budget ") or (
        "billed" in difference and " of " in difference and "nanos" in difference
    ):
        return 3
    return 4


def print_verdicts(verdicts: list[Verdict], print_line: Callable[[str], None]) -> bool:
    """Whether all is well."""
    for verdict in verdicts:
        print_line(f"{'PASS' if verdict.passed else 'FAIL'}  law {verdict.law}, {LAWS[verdict.law]}")
        for line in verdict.told:
            print_line(f"        {line}")
        _print_some("on disk", verdict.on_disk, print_line)
        _print_some("driver", verdict.by_driver, print_line)
    return all(verdict.passed for verdict in verdicts)


def _print_some(finder: str, differences: tuple[str, ...], print_line: Callable[[str], None]) -> None:
    for line in differences[:_SHOWN]:
        print_line(f"      ! {finder}: {line}")
    if len(differences) > _SHOWN:
        print_line(f"      ! {finder}: and {len(differences) - _SHOWN:,} more")


def _feeds(score: Score) -> str:
    feeds = score.feeds
    return (
        f"driver: {feeds.items:,} prefixes of {feeds.pages:,} pages with {feeds.sponsored:,} sponsored "
        f"items; {feeds.repeats:,} pages asked again"
    )


def _caps(score: Score) -> str:
    caps = score.caps
    return (
        f"driver: {caps.exposures:,} exposures of {caps.people:,} people, {caps.full:,} times a cap was full"
    )


class _Ledger:
    """What the ledger says, for the driver to compare with."""

    def __init__(self, path: Path) -> None:
        engine = read_database(path)
        try:
            with engine.connect() as connection:
                accepted = select(schema.EVENTS.c.event_id, schema.EVENTS.c.kind).where(
                    schema.EVENTS.c.status == int(Status.ACCEPTED)
                )
                self._accepted = {(row[0], row[1]) for row in connection.execute(accepted)}
                limited = select(schema.BUDGETS.c.limit_nanos, schema.BUDGETS.c.billed_nanos).where(
                    schema.BUDGETS.c.limit_nanos.is_not(None)
                )
                self._budgets = [(row[0], row[1]) for row in connection.execute(limited)]
        finally:
            engine.dispose()

    def budgets(self) -> str:
        """How near the limits it came."""
        used = [billed * 10000 // limit for limit, billed in self._budgets if limit]
        spent, most = sum(share >= 9900 for share in used), max(used, default=0)
        return (
            f"{len(used):,} of them limited, {spent:,} spent to 99 % or more, the fullest to {most / 100:g} %"
        )

    def missing(self, score: Score) -> list[str]:
        """Acknowledged and not in the ledger."""
        lost = score.spend.accepted - self._accepted
        found = [f"{len(lost)} acknowledged events are not in the ledger"] if lost else []
        for kind, count in score.spend.anonymous.items():
            known = sum(key[1] == kind for key in score.spend.accepted)
            rows = sum(key[1] == kind for key in self._accepted)
            if rows < known + count:
                name = EventKind(kind).name.lower()
                found.append(f"{known + count} {name} events were acknowledged, {rows} are in the ledger")
        return found

    def found(self, score: Score) -> str:
        acknowledged = len(score.spend.accepted) + sum(score.spend.anonymous.values())
        return (
            f"driver: {acknowledged:,} events acknowledged to it, the ledger counts {len(self._accepted):,}"
        )
