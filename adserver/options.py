"""What commands share: the options that choose settings, and the ways to say no."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from adserver.settings import Settings

Config = Annotated[str | None, typer.Option(help="A TOML file of settings.")]
Data = Annotated[str | None, typer.Option(help="The folder of catalog, journal and secrets (default: data).")]
Database = Annotated[
    str | None,
    typer.Option(
        help="Keep catalog and ledger in this PostgreSQL: postgresql://USER@HOST/NAME (default: files)."
    ),
]
Beside = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="The data folder, or a copy, of another machine (may be repeated)."),
]

WRONG: Final = 2
FAILED: Final = 1
"""Exit codes."""


class Wrong(Exception):
    """What the caller asked for cannot be done; the message is shown alone."""


class Failed(Exception):
    """What was asked for is right, and yet it did not come about; the message is shown alone."""


def settings_of(**flags: object) -> "Settings":
    """Options, environment and file. Raises Wrong."""
    from adserver.settings import BadSettings, load

    try:
        return load(flags, os.environ)
    except BadSettings as error:
        raise Wrong(str(error)) from error


def existing(folder: Path) -> Path:
    """Raises Wrong."""
    if not folder.is_dir():
        raise Wrong(f"{folder} is not a folder")
    return folder


def instant(option: str, text: str, default: int) -> int:
    """A day or an instant, UTC where it does not say otherwise, in ms since the epoch. Raises Wrong."""
    if not text:
        return default
    try:
        at = datetime.fromisoformat(text)
        return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Wrong(f"{option} {text[:64]} is not a day or an instant, such as 2026-06-01") from None
