"""Consent: may this person be recognised? (API.md, section 1)

The publisher's word or its default, made stricter by every signal: a string that is present and cannot
be read means denied, and none can be read yet. A child or minor is never personalised.
"""

from adserver.domain.inventory import Publisher
from adserver.services.ask import Ask, Terms


def personalised(ask: Ask, publisher: Publisher, terms: Terms) -> bool:
    if is_minor(ask, terms):
        return False
    consent = ask.consent
    if consent.gpc or consent.tcf or consent.gpp or consent.us_privacy:
        return False
    if terms.gdpr:
        return False
    if consent.personalised is not None:
        return consent.personalised
    return publisher.consent_default == "granted"


def is_minor(ask: Ask, terms: Terms) -> bool:
    return ask.user.child or ask.user.minor or terms.coppa
