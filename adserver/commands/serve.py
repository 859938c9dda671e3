"""``adserver serve``: every setting of the server as an option."""

from typing import TYPE_CHECKING, Annotated, Final

import typer
from typer import Option

from adserver.options import Config, Data, Database, Failed, Wrong, existing, settings_of

if TYPE_CHECKING:
    from adserver.settings import Settings

Told = str | None

_IDLE: Final = "How long an idle connection is kept, 1 to 3600 (default: 75)."
_HOSTED: Final = "A file of networks whose traffic is filtered, one a line."
_RATE: Final = "Impressions/clicks a minute above which they are filtered, 0 for no limit, "
_FASTEST: Final = "A click sooner after its impression is filtered (default: 100)."
_WITHHELD: Final = "Rows of reports about fewer people are withheld (default: 50)."
_KNOWN: Final = "How long it is known who saw an impression (default: 396)."
_WORKERS: Final = "Serving processes, 1 to 64, with --redis (default: 1, this one)."
_REDIS: Final = (
    "Keep what people have seen in Redis: redis://HOST:PORT/DB, rediscluster://HOST:PORT,HOST:PORT."
)
_DOUBT: Final = "What is capped, while it has lost what it knew: stop or serve (default: stop)."
_ERRANDS: Final = "Where servers of other data folders reach this one: HOST:PORT, and on a port more."


def serve(
    context: typer.Context,
    campaigns: Annotated[Told, Option(help="A campaign folder to apply at start.")] = None,
    data: Data = None,
    host: Annotated[Told, Option(help="The address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[Told, Option(help="The port (default: 8000; 0: any free one).")] = None,
    public_url: Annotated[Told, Option(help="What URLs are built from.")] = None,
    trusted_proxies: Annotated[
        list[str] | None, Option(help="Networks (CIDR) whose x-forwarded-for counts.")
    ] = None,
    log_level: Annotated[Told, Option(help="debug, info, warning or error.")] = None,
    geoip: Annotated[Told, Option(help="A MaxMind file of places.")] = None,
    segment_bytes: Annotated[Told, Option(help="The size of a journal segment.")] = None,
    keep_alive_seconds: Annotated[Told, Option(help=_IDLE)] = None,
    data_centres: Annotated[Told, Option(help=_HOSTED)] = None,
    rate_per_user: Annotated[Told, Option(help=f"{_RATE}of a user (default: 240/24).")] = None,
    rate_per_address: Annotated[Told, Option(help=f"{_RATE}of an address (default: 2400/240).")] = None,
    rate_per_placement: Annotated[Told, Option(help=f"{_RATE}of a placement (default: 0/6000).")] = None,
    fastest_click_ms: Annotated[Told, Option(help=_FASTEST)] = None,
    report_people: Annotated[Told, Option(help=_WITHHELD)] = None,
    people_days: Annotated[Told, Option(help=_KNOWN)] = None,
    config: Config = None,
    workers: Annotated[Told, Option(help=_WORKERS)] = None,
    redis: Annotated[Told, Option(help=_REDIS)] = None,
    redis_deadline_ms: Annotated[Told, Option(help="Wait for it so long (default: 25).")] = None,
    on_state_doubt: Annotated[Told, Option(help=_DOUBT)] = None,
    database: Database = None,
    errands: Annotated[Told, Option(help=_ERRANDS)] = None,
) -> None:
    """Run the server: everything embedded in this process, unless it is told where else. Every option is also
    read from the environment (ADSERVER_PORT, ...) and the TOML file named by --config or ADSERVER_CONFIG."""
    # The options are the settings, by name. A list that is not given is empty, which would be a setting too.
    run(settings_of(**{name: value for name, value in context.params.items() if value != []}))


def run(settings: "Settings") -> None:
    """Raises Wrong; Failed for what may pass by itself: whoever watches over the server starts it again."""
    if settings.campaigns is not None:
        existing(settings.campaigns)
    from adserver.serving import CannotServe
    from adserver.serving import serve as until_ended

    if settings.workers > 1 or settings.errands:
        from adserver.workers.parent import serve as until_ended
    try:
        until_ended(settings)
    except CannotServe as error:
        raise (Failed if error.passes else Wrong)(str(error)) from error
