"""Invalid traffic: why an event was marked as filtered. Codes are a contract: they stand in the journal, in
metrics, in exports and on the wire."""

from enum import StrEnum


class Invalid(StrEnum):
    """In the order in which they are asked: the first that applies is told."""

    PREFETCH = "prefetch"
    """The browser said that it fetches ahead of its user."""
    NO_AGENT = "no_agent"
    CRAWLER = "crawler"
    """On the list of declared robots."""
    NO_BROWSER = "no_browser"
    """An agent that is no browser's, from a publisher of the web and without its key."""
    DATA_CENTRE = "data_centre"
    """From an address of the data centres listed."""
    NO_IMPRESSION = "no_impression"
    """A click on an ad that was not shown before."""
    FAST_CLICK = "fast_click"
    """Sooner after the impression than a person can click."""
    USER_RATE = "user_rate"
    ADDRESS_RATE = "address_rate"
    PLACEMENT_RATE = "placement_rate"
    """More events a minute than the limit of a user, an address, a placement."""
