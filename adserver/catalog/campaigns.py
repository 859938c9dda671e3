"""Documents of advertisers: ``advertiser.yaml`` and campaign files."""

from typing import cast

from adserver.catalog.clauses import Reference
from adserver.catalog.fields import Fields
from adserver.catalog.lineitems import read_line_item, unique
from adserver.catalog.links import check_domain
from adserver.catalog.terms import check_currency, check_label, read_budget
from adserver.catalog.times import check_zone, read_attribution
from adserver.domain import limits
from adserver.domain.campaign import STATUSES, Advertiser, Campaign, LineItem, Status

CURRENCY = "it is an ISO 4217 currency such as EUR"


def read_advertiser(fields: Fields) -> Advertiser:
    """``<advertiser>/advertiser.yaml``; only the id is required, and with a budget its currency."""
    budget = read_budget(fields)
    prepaid = fields.choice("billing", ("invoiced", "prepaid"), "invoiced") == "prepaid"
    limited = prepaid or budget.daily_nanos is not None or budget.lifetime_nanos is not None
    advertiser = Advertiser(
        id=fields.slug("advertiser", required="it is the advertiser's id"),
        serial=0,
        legal_name=fields.text("legal_name"),
        currency=fields.convert("currency", "", check_currency, required=CURRENCY if limited else ""),
        timezone=fields.convert("timezone", "UTC", check_zone),
        domains=fields.values("domains", check_domain),
        budget=budget,
        prepaid=prepaid,
    )
    fields.done()
    return advertiser


def read_campaign(fields: Fields) -> tuple[Campaign, list[Reference]]:
    """``<advertiser>/<campaign>.yaml``, with what its targeting refers to."""
    advertiser = fields.slug("advertiser", required="it is the id of the advertiser")
    name = fields.slug("campaign", required="it is the campaign's id")
    zone = fields.convert("timezone", "UTC", check_zone)
    line_items, references = _line_items(fields, f"{advertiser}/{name}", zone)
    campaign = Campaign(
        id=name,
        advertiser=advertiser,
        serial=0,
        currency=fields.convert("currency", "", check_currency, required=CURRENCY),
        timezone=zone,
        line_items=line_items,
        status=cast(Status, fields.choice("status", STATUSES, "active")),
        labels=fields.values("labels", check_label, most=limits.LABELS_PER_OBJECT),
        exclude_labels=fields.values("exclude_labels", check_label, most=limits.LABELS_PER_OBJECT),
        budget=read_budget(fields),
        repeat_in_request=fields.flag("repeat_in_request", False),
        attribution=read_attribution(fields),
    )
    fields.done()
    return campaign, references


def _line_items(fields: Fields, campaign: str, zone: str) -> tuple[tuple[LineItem, ...], list[Reference]]:
    found: list[LineItem] = []
    references: list[Reference] = []
    line_items: dict[str, str] = {}
    creatives: dict[str, str] = {}
    for entry in fields.mappings("line_items", most=limits.LINE_ITEMS_PER_CAMPAIGN):
        line_item, named = read_line_item(entry, campaign, zone)
        unique(entry, line_item.id, line_items, entry.at("id"), "the line item")
        for place, creative in enumerate(line_item.creatives):
            path = f"{entry.at('creatives')}[{place}].id"
            unique(entry, creative.id, creatives, path, "the creative")
        found.append(line_item)
        references += named
    return tuple(found), references
