"""``GET /v1/reports/delivery``: as JSON, or as CSV where that is asked for."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from adserver.api import answers, tables
from adserver.api.management import who
from adserver.api.messages import JSON, NO_STORE, Reply
from adserver.api.pages import Asked, Operation
from adserver.domain.reports import DIMENSIONS, FREQUENCIES, METRICS
from adserver.services.reportask import ReportAsk
from adserver.services.reporting import Report, Reporting, ReportRow
from adserver.services.spans import QUARTER_MS

_ENCODER: Final = msgspec.json.Encoder()
_DAY_OR_INSTANT: Final = "a day (2026-01-31) or an instant on a quarter of an hour, in the time zone"
_QUERY: Final = {
    "from": _DAY_OR_INSTANT,
    "to": f"{_DAY_OR_INSTANT}; a day is meant through its end, an instant is not included",
    "timezone": "of hours and days (default UTC)",
    "group_by": f"of {', '.join(DIMENSIONS)}, with commas between (default day)",
    "metrics": f"of {', '.join(METRICS)}, with commas between; each count brings its net",
    "advertiser": "only of this one",
    "campaign": "only of this one, by its full id",
    "publisher": "only of this one",
}
WITHHELD: Final = "withheld"


def operations(reporting: Reporting) -> list[Operation]:
    async def act(asked: Asked) -> Reply:
        query = asked.query
        ask = ReportAsk(query.get("from", ""), *(query.get(name, "") for name in _QUERY if name != "from"))
        report = await reporting.delivery(who(asked), ask)
        csv = tables.wants_csv(asked.head.text(b"accept"))
        body = await asyncio.to_thread(_csv if csv else _json, report)
        return Reply(200, (tables.CSV if csv else JSON, NO_STORE), body)

    said = {
        200: answers.DeliveryTable, 400: "what is wrong, all at once", 404: "absent",
        429: "other reports are being made", 503: "the report takes too long",
    }  # fmt: skip
    summary = "What was delivered, by time, place and whatever was sold; also as text/csv"
    return [Operation("GET", "/v1/reports/delivery", summary, "reports", act, said, None, True, _QUERY)]


def _json(report: Report) -> bytes:
    want = report.wanted
    return _ENCODER.encode(
        {
            "from": _instant(report, want.first),
            "to": _instant(report, want.end),
            "timezone": want.zone.key,
            "group_by": want.group_by,
            "metrics": want.metrics,
            "people_min": report.people_min,
            "rows": [_members(report, row) for row in report.rows if not row.rows],
            "withheld": [_members(report, row) | {"rows": row.rows} for row in report.rows if row.rows],
        }
    )


def _members(report: Report, row: ReportRow) -> dict[str, Any]:
    key = zip(report.wanted.group_by, row.key, strict=True) if row.key else ()
    currency = {"currency": row.currency} if report.wanted.money else {}
    return {**dict(key), **currency, **dict(zip(report.wanted.metrics, row.numbers, strict=True))}


def _csv(report: Report) -> bytes:
    """What is withheld has that word where its key would be."""
    return tables.csv([_wide(report.columns), *(_line(report, row) for row in report.rows)])


def _line(report: Report, row: ReportRow) -> list[tables.Cell]:
    key = row.key or (WITHHELD,) * len(report.wanted.group_by)
    cells: list[tables.Cell] = [*key, *((row.currency,) if report.wanted.money else ())]
    for name, number in zip(report.wanted.metrics, row.numbers, strict=True):
        if name == "frequency":
            cells += number if isinstance(number, list) else [None] * FREQUENCIES
        elif not isinstance(number, list):
            cells.append(number)
    return cells


def _wide(columns: tuple[str, ...]) -> list[str]:
    """A column for each frequency."""
    often = [f"frequency_{times}" for times in range(1, FREQUENCIES + 1)]
    return [name for column in columns for name in (often if column == "frequency" else [column])]


def _instant(report: Report, quarter: int) -> str:
    at = datetime.fromtimestamp(quarter * QUARTER_MS // 1000, UTC)
    return at.astimezone(report.wanted.zone).isoformat()
