"""The command line (API.md section 6). Wrong input is one clear line and exit code 2, never a traceback.

What a command needs is imported within it: ``adserver check`` need not wait for a web server to load.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from typer.exceptions import TyperException

from adserver import asking
from adserver.commands.keys import KEYS
from adserver.commands.serve import serve
from adserver.domain.limits import MOVEMENTS_TOLD
from adserver.options import (
    FAILED,
    WRONG,
    Beside,
    Config,
    Data,
    Database,
    Failed,
    Wrong,
    existing,
    instant,
    settings_of,
)

_NOT_BUILT: Final = (
    "plan", "pull", "upload", "forecast",
)  # fmt: skip

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    name="adserver",
    help="An ad server: decides, delivers, counts and reports.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(KEYS, name="keys")


def main() -> NoReturn:
    """The entry point ``adserver``."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except (Wrong, Failed, TyperException) as error:
        message = error.format_message() if isinstance(error, TyperException) else str(error)
        if message:
            usage = message.startswith("Usage:")
            print(message if usage else f"adserver: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(FAILED if isinstance(error, Failed) else WRONG)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be said to them.
        _say_no_more()
        sys.exit(1)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _say_no_more()
        print(f"adserver: {error.filename or 'the output'}: {error.strerror}", file=sys.stderr)
        sys.exit(FAILED)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _say_no_more() -> None:
    """What is not printed yet would be tried again at the exit, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.callback()
def _root() -> None:
    """Without this Typer would make a lone command the program."""


@app.command()
def check(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of campaign files.")]) -> None:
    """Validate campaign files: every error of every file at once."""
    from adserver.catalog.folder import read_folder
    from adserver.commands.shown import counted, show_problems

    found = read_folder(existing(folder))
    problems = [*found.problems, *found.dangling]
    show_problems(problems)
    print(counted(found, problems))
    raise typer.Exit(1 if problems else 0)


@app.command()
def apply(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of campaign files.")],
    data: Data = None,
    config: Config = None,
    database: Database = None,
) -> None:
    """Create or replace what changed in a folder since it was last applied; archive nothing."""
    from adserver.commands.catalog import apply_folder

    settings = settings_of(data=data, config=config, database=database)
    raise typer.Exit(apply_folder(existing(folder), settings.data, settings.database))


@app.command()
def demo(
    seconds: Annotated[int | None, typer.Option(min=1, help="Stop after so long (default: Ctrl-C).")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port (0: any free one).")] = 8000,
) -> None:
    """Run the server on the sample world, with live traffic, numbers and an audit at the end."""
    from adserver.demo.play import run

    raise typer.Exit(run(seconds=seconds, port=port))


@app.command()
def verify(
    data: Data = None,
    config: Config = None,
    database: Database = None,
    beside: Beside = None,
    statement: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check this bill instead: a statement as JSON.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check the bill against these exported events.")
    ] = None,
) -> None:
    """Audit journal against ledger against reports; print every difference. Or check a bill, away from any
    server."""
    if statement is not None:
        from adserver.commands.bill import check as check_bill

        raise typer.Exit(1 if check_bill(statement, export) else 0)
    if export is not None:
        raise Wrong("--export goes with --statement")
    from adserver.commands.audit import audit

    settings = settings_of(data=data, config=config, database=database)
    raise typer.Exit(1 if audit(settings, beside or ()) else 0)


@app.command()
def accounts(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What moved this account (default: tell all).")
    ] = "",
    most: Annotated[int, typer.Option(min=1, max=MOVEMENTS_TOLD, help="So many movements, the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with money in nanos.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with money in nanos.")] = False,
    data: Data = None,
    config: Config = None,
    database: Database = None,
) -> None:
    """Tell the trial balance of the ledger: who owes whom; and of budgets, reservations, invalid traffic and
    free delivery what is owed by nobody. Also beside a running server. Exit code 1 if it does not add up."""
    from adserver.clock import WallClock
    from adserver.commands.accounts import accounts as tell

    if as_json and as_csv:
        raise Wrong("--csv or --json, not both")
    settings = settings_of(data=data, config=config, database=database)
    tell(settings, name, most, "json" if as_json else "csv" if as_csv else "table", WallClock()())


@app.command()
def machines(
    give_up: Annotated[
        str,
        typer.Option(
            metavar="ID", help="It never comes back: what stands in its journals alone is lost, for good."
        ),
    ] = "",
    data: Data = None,
    config: Config = None,
    database: Database = None,
) -> None:
    """Tell who serves from a database, or did: each data folder, its workers, its last sign of life."""
    from adserver.commands.machines import machines as tell

    tell(settings_of(data=data, config=config, database=database), give_up)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; empty or not there yet.")],
    since: Annotated[
        str, typer.Option("--from", help="From this UTC day or instant on (default: all).")
    ] = "",
    until: Annotated[str, typer.Option("--to", help="Up to this one, without it (default: all).")] = "",
    data: Data = None,
    config: Config = None,
    database: Database = None,
    beside: Beside = None,
) -> None:
    """Write recorded events as Parquet files by day and hour (UTC), for any other engine. Nobody's pseudonym
    is in them. Also beside a running server. Needs pyarrow."""
    from adserver.commands.export import export as write

    from_ms, to_ms = instant("--from", since, 0), instant("--to", until, 1 << 62)
    settings = settings_of(data=data, config=config, database=database)
    written = write(settings.data, folder, from_ms, to_ms, settings.database, beside or ())
    print(f"{written} events")


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: under 2 minutes, not 8.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every figure as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables.")] = None,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw PNGs, with matplotlib.")] = None,
    redis: Annotated[
        bool, typer.Option("--redis", help="Also with state in a Redis started for it.")
    ] = False,
    redis_url: Annotated[
        str, typer.Option(metavar="URL", help="Also with state in this one; its database must be empty.")
    ] = "",
) -> None:
    """Measure: the engine by size, whole decisions, HTTP beside an empty endpoint. Prints tables."""
    from adserver.bench import run, stores

    # Not found out after minutes.
    for file in (json, markdown):
        if file is not None:
            existing(file.parent)
    kept = redis_url or (stores.OWN if redis else "")
    try:
        if plots is not None:
            plots.mkdir(parents=True, exist_ok=True)
        stores.check(kept)
        run.bench(run.QUICK if quick else run.FULL, json, markdown, plots, kept)
    except OSError as error:
        raise Wrong(f"{error.filename or 'the benchmark'}: {error.strerror}") from error


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to simulate; docs/SIMULATION.md.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the tables go.")] = Path("simulation"),
    plots: Annotated[bool, typer.Option(help="Draw PNGs too, if matplotlib is installed.")] = True,
) -> None:
    """Run days of traffic in minutes on a virtual clock: the same engine and laws. Exit code 1 if a law was
    broken."""
    from adserver.commands.simulate import run

    raise typer.Exit(run(file, out, plots))


@app.command()
def replay(
    event_id: Annotated[
        str, typer.Argument(metavar="EVENT_ID", help="The id of an ad, or the request_id of an answer.")
    ],
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
    config: Config = None,
    database: Database = None,
) -> None:
    """Make a journalled decision once more, offline, and compare the bytes. Reads only, also beside a running
    server. Exit code 1 if they differ, 3 if something it was made from is gone or erased."""
    from adserver.commands.replay import replay as make_again

    settings = settings_of(data=data, config=config, database=database)
    raise typer.Exit(make_again(settings.data, event_id, as_json, settings.database))


def _not_built(name: str) -> None:
    """An attempt is refused with a clear error; ``--help`` does not name what is not there."""

    def attempt() -> None:
        raise Wrong(f"{name} is not built yet")

    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command(name, hidden=True, context_settings=settings, add_help_option=False)(attempt)


for _command in (serve, *asking.ALL):
    app.command()(_command)
for _name in _NOT_BUILT:
    _not_built(_name)
