"""``adserver serve``: every setting of the server as an option."""

from typing import Annotated, Final

import typer

from adserver.options import Config, Data, Database, Wrong, existing, settings_of

_RATE: Final = "Impressions/clicks a minute above which they are filtered, 0 for no limit, "


def serve(
    campaigns: Annotated[str | None, typer.Option(help="A campaign folder to apply at start.")] = None,
    data: Data = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[str | None, typer.Option(help="The port (default: 8000; 0: any free one).")] = None,
    public_url: Annotated[str | None, typer.Option(help="What URLs are built from.")] = None,
    trusted_proxies: Annotated[
        list[str] | None, typer.Option(help="Networks (CIDR) whose x-forwarded-for counts.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    geoip: Annotated[str | None, typer.Option(help="A MaxMind file of places.")] = None,
    segment_bytes: Annotated[str | None, typer.Option(help="The size of a journal segment.")] = None,
    keep_alive_seconds: Annotated[
        str | None, typer.Option(help="How long an idle connection is kept, 1 to 3600 (default: 75).")
    ] = None,
    data_centres: Annotated[
        str | None, typer.Option(help="A file of networks whose traffic is filtered, one a line.")
    ] = None,
    rate_per_user: Annotated[str | None, typer.Option(help=f"{_RATE}of a user (default: 240/24).")] = None,
    rate_per_address: Annotated[
        str | None, typer.Option(help=f"{_RATE}of an address (default: 2400/240).")
    ] = None,
    rate_per_placement: Annotated[
        str | None, typer.Option(help=f"{_RATE}of a placement (default: 0/6000).")
    ] = None,
    fastest_click_ms: Annotated[
        str | None, typer.Option(help="A click sooner after its impression is filtered (default: 100).")
    ] = None,
    report_people: Annotated[
        str | None, typer.Option(help="Rows of reports about fewer people are withheld (default: 50).")
    ] = None,
    people_days: Annotated[
        str | None, typer.Option(help="How long it is known who saw an impression (default: 396).")
    ] = None,
    config: Config = None,
    workers: Annotated[
        str | None, typer.Option(help="Serving processes, 1 to 64, with --redis (default: 1, this one).")
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(
            help="Keep what people have seen in Redis: redis://HOST:PORT/DB, rediscluster://HOST:PORT,HOST:PORT."
        ),
    ] = None,
    redis_deadline_ms: Annotated[str | None, typer.Option(help="Wait for it so long (default: 25).")] = None,
    on_state_doubt: Annotated[
        str | None,
        typer.Option(help="What is capped, while it has lost what it knew: stop or serve (default: stop)."),
    ] = None,
    database: Database = None,
    errands: Annotated[
        str | None,
        typer.Option(
            help="Where servers of other data folders reach this one: HOST:PORT, and on a port more."
        ),
    ] = None,
) -> None:
    """Run the server: everything embedded in this process, unless it is told where else. Every option is also
    read from the environment (ADSERVER_PORT, ...) and the TOML file named by --config or ADSERVER_CONFIG."""
    settings = settings_of(
        campaigns=campaigns, data=data, host=host, port=port, public_url=public_url,
        trusted_proxies=trusted_proxies or None, log_level=log_level, geoip=geoip,
        segment_bytes=segment_bytes, keep_alive_seconds=keep_alive_seconds, config=config,
        data_centres=data_centres, rate_per_user=rate_per_user, rate_per_address=rate_per_address,
        rate_per_placement=rate_per_placement, fastest_click_ms=fastest_click_ms,
        report_people=report_people, people_days=people_days,
        workers=workers, redis=redis, redis_deadline_ms=redis_deadline_ms, database=database,
        on_state_doubt=on_state_doubt, errands=errands,
    )  # fmt: skip
    if settings.campaigns is not None:
        existing(settings.campaigns)
    from adserver.serving import CannotServe
    from adserver.serving import serve as run

    if settings.workers > 1 or settings.errands:
        from adserver.workers.parent import serve as run
    try:
        run(settings)
    except CannotServe as error:
        raise Wrong(str(error)) from error
