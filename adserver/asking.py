"""The commands that ask a running server: over HTTP, with a management key."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from adserver.options import Wrong

Url = Annotated[str, typer.Option(envvar="ADSERVER_URL", help="The running server.")]
_HERE: Final = "http://127.0.0.1:8000"


def explain(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A decision request as JSON (default: standard input)."),
    ] = None,
    line_item: Annotated[
        list[str] | None,
        typer.Option(help="Explain this one, advertiser/campaign/line-item; again for more."),
    ] = None,
    url: Url = _HERE,
    key: Annotated[str, typer.Option(envvar="ADSERVER_KEY", help="An operator's or advertiser's key.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Tell why line items did or did not serve a request, and what would have won. Serves nothing, unless
    the request's mode says so. Exit code 1 if the server cannot answer."""
    from adserver.commands.explain import explain as tell
    from adserver.commands.remote import Remote

    named = None if file is None or str(file) == "-" else file
    tell(named, Remote(url, key), line_item or [], as_json)


def invalidate(
    reason: Annotated[str, typer.Option(help="Why, for those who are refunded.")],
    event: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EVENT_ID", help="Events to take back (default: one a line on standard input)."
        ),
    ] = None,
    url: Url = _HERE,
    key: Annotated[str, typer.Option(envvar="ADSERVER_KEY", help="An operator's key.")] = "",
) -> None:
    """Take back events that were found to be invalid traffic: refund them, and learn nothing from them."""
    from adserver.commands.invalidate import invalidate as take_back
    from adserver.commands.remote import Remote

    take_back(event or sys.stdin, reason, Remote(url, key))


def statement(
    advertiser: Annotated[str, typer.Argument(metavar="ADVERTISER", help="Whose bill.")] = "",
    month: Annotated[str, typer.Option(help="Such as 2026-11.")] = "",
    publisher: Annotated[str, typer.Option(help="What is owed to this publisher instead.")] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for `verify --statement`.")] = False,
    close: Annotated[
        bool, typer.Option("--close", help="Close the month first (an operator's key).")
    ] = False,
    url: Url = _HERE,
    key: Annotated[str, typer.Option(envvar="ADSERVER_KEY", help="A management key.")] = "",
) -> None:
    """A month's statement, line by line: what an advertiser is billed, or a publisher is owed."""
    from adserver.commands.remote import Remote
    from adserver.commands.statement import statement as tell

    if as_json and as_csv:
        raise Wrong("--csv or --json, not both")
    form = "json" if as_json else "csv" if as_csv else "table"
    tell(Remote(url, key), advertiser, publisher, month, form, close)


def report(
    since: Annotated[str, typer.Option("--from", help="A day, or an instant on a quarter of an hour.")],
    to: Annotated[str, typer.Option(help="A day, through its end, or an instant.")],
    timezone: Annotated[str, typer.Option(help="Of hours and days (default: UTC).")] = "",
    group_by: Annotated[str, typer.Option(help="With commas between (default: day).")] = "",
    metrics: Annotated[str, typer.Option(help="With commas between.")] = "",
    advertiser: Annotated[str, typer.Option(help="Only of this one.")] = "",
    campaign: Annotated[str, typer.Option(help="Only of this one, by its full id.")] = "",
    publisher: Annotated[str, typer.Option(help="Only of this one.")] = "",
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with money in micros.")] = False,
    url: Url = _HERE,
    key: Annotated[str, typer.Option(envvar="ADSERVER_KEY", help="A management key.")] = "",
) -> None:
    """What was delivered, by time, place and whatever was sold."""
    from adserver.commands.remote import Remote
    from adserver.commands.report import report as make

    asked = {
        "from": since, "to": to, "timezone": timezone, "group_by": group_by, "metrics": metrics,
        "advertiser": advertiser, "campaign": campaign, "publisher": publisher,
    }  # fmt: skip
    make(asked, Remote(url, key), csv)


def convert(
    file: Annotated[Path, typer.Argument(help="Conversions: .csv with a line of names, else NDJSON.")],
    url: Url = _HERE,
    key: Annotated[str, typer.Option(envvar="ADSERVER_KEY", help="The advertiser's key.")] = "",
) -> None:
    """Tell of conversions that were collected elsewhere; exit 1 if some are late or wrong."""
    from adserver.commands.convert import convert as tell
    from adserver.commands.remote import Remote

    if not tell(file, Remote(url, key)):
        raise typer.Exit(1)


def credit(
    advertiser: Annotated[str, typer.Argument(metavar="ADVERTISER", help="For whom.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="Such as 120.00.")],
    currency: Annotated[str, typer.Argument(metavar="CURRENCY", help="Such as EUR.")],
    credit_id: Annotated[str, typer.Option("--id", help="Yours: booked once, however often it is asked.")],
    reason: Annotated[str, typer.Option(help="Why, for the statement.")],
    kind: Annotated[str, typer.Option(help="deposit, credit or make_good.")] = "credit",
    url: Url = _HERE,
    key: Annotated[str, typer.Option(envvar="ADSERVER_KEY", help="An operator's key.")] = "",
) -> None:
    """Book a deposit, or what comes off an advertiser's next statement: a credit or make-good."""
    from adserver.commands.credit import credit as book
    from adserver.commands.remote import Remote

    book(Remote(url, key), advertiser, credit_id, kind, amount, currency, reason)


ALL: Final = (explain, invalidate, statement, report, convert, credit)
