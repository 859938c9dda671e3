"""``apply`` and ``keys``: what is done to the catalog of a data folder without a server."""

from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

from adserver.catalog import secrets
from adserver.catalog.folder import read_folder
from adserver.catalog.keys import ROLES, Keys, Role
from adserver.catalog.opening import place_of
from adserver.catalog.store import Conflict, Invalid, Store
from adserver.clock import WallClock
from adserver.commands.shown import many, show_problems
from adserver.databases import Unusable
from adserver.domain import ids
from adserver.domain.changes import Unread, Unwritten
from adserver.options import Wrong
from adserver.services.pseudonyms import Pseudonyms


def apply_folder(folder: Path, data: Path, database: str) -> int:
    """Apply a folder and say what was done; the exit code. ``database``: the URL of the catalog's, if it is
    in no file."""
    store = _store(data, database)
    try:
        applied = store.apply(read_folder(folder))
    except Invalid as refusal:
        show_problems(refusal.problems)
        print(f"{many(len(refusal.problems), 'problem')}: nothing was changed")
        return 1
    except Unread as error:
        raise Wrong(str(error)) from error
    except Conflict as refusal:
        print(f"{refusal}: nothing was changed")
        return 1
    finally:
        store.close()
    for label in applied.created:
        print(f"created  {label}")
    for label in applied.replaced:
        print(f"replaced {label}")
    created, replaced, unchanged = len(applied.created), len(applied.replaced), len(applied.unchanged)
    print(f"{created} created, {replaced} replaced, {unchanged} left alone")
    return 0


def create_key(data: Path, role: str, owners: dict[str, str], read_prices: bool, database: str) -> str:
    """The text of a new key. Raises Wrong."""
    if role not in ROLES:
        raise Wrong(f'--role is "{role}"; it is operator, advertiser or publisher')
    wanted = [name for name in owners if name == role]
    for name, owner in owners.items():
        if owner and name not in wanted:
            raise Wrong(f"--{name} does not go with --role {role}")
        if name in wanted and not ids.SLUG.match(owner):
            raise Wrong(f'--role {role} needs --{name} with its id, such as --{name} "lumen"')
    keys = _keys(data, database)
    try:
        return keys.create(cast(Role, role), owners.get(role, ""), WallClock()(), read_prices)[1]
    except Unwritten as error:
        raise Wrong(str(error)) from error
    finally:
        keys.close()


def list_keys(data: Path, database: str) -> None:
    keys = _keys(data, database)
    table = Table("id", "role", "owner", "prices", "state", box=None)
    try:
        listed = keys.list()
    except Unread as error:
        raise Wrong(str(error)) from error
    for key in listed:
        prices = "read" if key.read_prices else ""
        table.add_row(key.id, key.role, key.owner, prices, "revoked" if key.revoked else "valid")
    Console().print(table)
    keys.close()


def revoke_key(data: Path, named: str, database: str) -> None:
    """``named``: the id of a key, or its whole text. Raises Wrong."""
    key_id = named.split("_")[1] if named.startswith("adk_") and named.count("_") > 1 else named
    keys = _keys(data, database)
    try:
        if not keys.revoke(key_id):
            raise Wrong(f"there is no valid key {key_id}")
    except Unwritten as error:
        raise Wrong(str(error)) from error
    finally:
        keys.close()
    print(f"revoked {key_id}")


def _store(data: Path, database: str) -> Store:
    try:
        place = place_of(data, database)
        pseudonyms = Pseudonyms(secrets.load(data, place).pseudonym)
        return Store(place, pseudonyms.person)
    except (secrets.BadSecrets, Unusable) as error:
        raise Wrong(str(error)) from error


def _keys(data: Path, database: str) -> Keys:
    try:
        return Keys(place_of(data, database))
    except Unusable as error:
        raise Wrong(str(error)) from error
