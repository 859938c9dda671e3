"""``adserver keys``: access keys of the management API, made and revoked in a data folder."""

from typing import Annotated, Final

import typer

from adserver.options import Config, Data, Database, settings_of

KEYS: Final = typer.Typer(
    help="Access keys of the management API.", no_args_is_help=True, rich_markup_mode=None
)


@KEYS.command()
def create(
    role: Annotated[str, typer.Option(help="operator, advertiser or publisher.")],
    data: Data = None,
    advertiser: Annotated[str, typer.Option(help="The advertiser the key belongs to.")] = "",
    publisher: Annotated[str, typer.Option(help="The publisher the key belongs to.")] = "",
    read_prices: Annotated[bool, typer.Option("--read-prices", help="Show prices in decisions.")] = False,
    config: Config = None,
    database: Database = None,
) -> None:
    """Make a key and print it, alone on a line. It is shown only now."""
    from adserver.commands.catalog import create_key

    owners = {"advertiser": advertiser, "publisher": publisher}
    settings = settings_of(data=data, config=config, database=database)
    print(create_key(settings.data, role, owners, read_prices, settings.database))


@KEYS.command("list")
def list_all(data: Data = None, config: Config = None, database: Database = None) -> None:
    """List the keys (never their secrets)."""
    from adserver.commands.catalog import list_keys

    settings = settings_of(data=data, config=config, database=database)
    list_keys(settings.data, settings.database)


@KEYS.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The id of the key, or the key itself.")],
    data: Data = None,
    config: Config = None,
    database: Database = None,
) -> None:
    """Revoke a key; it works at most a second longer."""
    from adserver.commands.catalog import revoke_key

    settings = settings_of(data=data, config=config, database=database)
    revoke_key(settings.data, key, settings.database)
