"""The people one may look at the page as: members of the sample audiences, with names made up for them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from adserver.engine.snapshot import Snapshot

SPACE: Final = "lumen"
USERS: Final = 4000

Named = Callable[[str, str], bytes]
"""(user space, user id) -> pseudonym."""


class Persona(Struct, frozen=True):
    """``audiences``: those its user must be in, as few others as possible."""

    name: str
    about: str
    audiences: tuple[str, ...]
    geo: dict[str, str]
    language: str
    segments: tuple[str, ...] = ()


PERSONAS: Final = (
    Persona(
        "Camille Vasseur", "Directrice technique, Paris", ("lumen/tech-directors",),
        {"country": "FR", "region": "IDF", "city": "Paris", "postal_code": "75011"}, "fr",
    ),
    Persona(
        "Jonas Peeters", "Finance manager, travels a lot",
        ("lumen/finance-leads", "voyages-lumiere/travellers"),
        {"country": "BE", "city": "Brussels"}, "en",
    ),
    Persona(
        "Inès Caradec", "Recruteuse, Lyon", ("lumen/recruiters",),
        {"country": "FR", "region": "ARA", "city": "Lyon"}, "fr",
    ),
    Persona(
        "Sigrid Haugen", "Runs a company of six, and trails", ("lumen/small-business-owners",),
        {"country": "NO", "city": "Oslo"}, "no", ("trail-runners",),
    ),
    Persona(
        "Théo Lanvin", "Déjà cycliste électrique, Paris", ("pedaleo/owners",),
        {"country": "FR", "region": "IDF", "city": "Montreuil", "postal_code": "93100"}, "fr",
    ),
    Persona("Alex Moor", "In no audience at all", (), {"country": "FR", "city": "Nantes"}, "en"),
)  # fmt: skip


def people(snapshot: Snapshot, named: Named) -> list[dict[str, Any]]:
    """The personas, each as the user that fits it best."""
    users = {f"u-{number}": named(SPACE, f"u-{number}") for number in range(1, USERS + 1)}
    taken: set[str] = set()
    found = []
    for persona in PERSONAS:
        user = _fitting(persona, users, snapshot.members, taken)
        taken.add(user)
        found.append(_told(persona, user, snapshot.members.get(users[user], ()), snapshot))
    return found


def _fitting(
    persona: Persona, users: Mapping[str, bytes], members: Mapping[bytes, tuple[str, ...]], taken: set[str]
) -> str:
    wanted = set(persona.audiences)

    def misfit(user: str) -> tuple[int, int]:
        audiences = set(members.get(users[user], ()))
        return len(wanted - audiences), len(audiences - wanted)

    return min((user for user in users if user not in taken), key=misfit)


def _told(persona: Persona, user: str, audiences: tuple[str, ...], snapshot: Snapshot) -> dict[str, Any]:
    facets: dict[str, list[str]] = {}
    for audience in audiences:
        for facet, values in snapshot.facets.get(audience, {}).items():
            facets.setdefault(facet, []).extend(value for value in values if value not in facets[facet])
    return {
        "id": user,
        "name": persona.name,
        "about": persona.about,
        "audiences": list(audiences),
        "facets": facets,
        "geo": persona.geo,
        "language": persona.language,
        "segments": list(persona.segments),
    }
