"""The sample world in a folder of its own: found, applied, and read back for those who check the server."""

from pathlib import Path
from typing import Final

from msgspec import Struct

from adserver.catalog import secrets
from adserver.catalog.folder import read_folder
from adserver.catalog.keys import Keys
from adserver.catalog.opening import FILE
from adserver.catalog.store import Store
from adserver.clock import WallClock
from adserver.domain.catalogue import Catalogue
from adserver.domain.changes import Invalid
from adserver.services.pseudonyms import Pseudonyms

FOLDER: Final = "campaigns"
STOP: Final = b"stop"
"""What the driver tells the server when it ends in good order and wants the data folder for its audit."""


class NoWorld(Exception):
    """There are no campaigns to show, or they are wrong."""


class World(Struct, frozen=True):
    """``key``: an operator's, for the driver, which wants to see prices."""

    campaigns: Path
    catalogue: Catalogue
    key: str


def find() -> Path:
    """The repository's ``campaigns``, else those of the current directory. Raises NoWorld."""
    beside = Path(__file__).resolve().parents[2] / FOLDER
    here = Path.cwd() / FOLDER
    for folder in (beside, here):
        if (folder / "publishers").is_dir():
            return folder
    raise NoWorld(f"there are no sample campaigns in {beside} nor in {here}: run the demo in a clone")


def make(campaigns: Path, folder: Path) -> World:
    """Apply ``campaigns`` to the data folder ``folder``. Raises NoWorld."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / FILE, Pseudonyms(secrets.load(folder).pseudonym).person)
    keys = Keys(folder / FILE)
    try:
        store.apply(read_folder(campaigns))
        key = keys.create("operator", "", WallClock()(), read_prices=True)[1]
        return World(campaigns, store.load(), key)
    except Invalid as refusal:
        first = refusal.problems[0]
        told = f"{campaigns}: {first.document}: {first.path}: {first.message}"
        raise NoWorld(f"{told} (`adserver check` tells all {len(refusal.problems)} problems)") from refusal
    finally:
        keys.close()
        store.close()
