"""Values that several documents share: currencies, categories, sizes, shares, labels, budgets."""

import re
from collections.abc import Callable
from typing import Final

from adserver.catalog.documents import Number
from adserver.catalog.fields import Fields, as_text, check_text
from adserver.catalog.findings import shown, suggestion
from adserver.domain import limits, money
from adserver.domain.campaign import FORMATS, Budget
from adserver.domain.inventory import Share

_CODES: Final = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD
CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF
GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK
LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD
OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN
SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG
XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES: Final = frozenset(_CODES.split())
"""ISO 4217, the currencies people pay with."""

FLUID: Final = "fluid"

_SIZE: Final = re.compile(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}\Z", re.ASCII)
_CATEGORY: Final = re.compile(r"IAB([1-9]|1[0-9]|2[0-6])(-[1-9][0-9]{0,2})?\Z", re.ASCII)
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*\Z", re.ASCII)
_SHARE: Final = re.compile(r"([01])(?:\.([0-9]{1,6}))?\Z", re.ASCII)


def check_currency(text: str) -> str:
    if text not in CURRENCIES:
        hint = suggestion(text.upper(), CURRENCIES)
        raise ValueError(f"{shown(text)} is not an ISO 4217 currency, such as EUR{hint}")
    return text


def check_category(text: str) -> str:
    """An IAB content category, in upper case."""
    code = text.strip().upper()
    if not _CATEGORY.match(code):
        raise ValueError(f"{shown(text)} is not an IAB category; write IAB20 or IAB20-3")
    return code


def check_size(text: str) -> str:
    """``WIDTHxHEIGHT`` in pixels."""
    if not _SIZE.match(text):
        raise ValueError(f'{shown(text)} is not a size; write width x height, "300x250"')
    return text


def check_creative_size(text: str) -> str:
    if text != FLUID and not _SIZE.match(text):
        raise ValueError(f'{shown(text)} is not a size; write width x height, "300x250", or fluid')
    return text


def check_format(text: str) -> str:
    if text not in FORMATS:
        raise ValueError(
            f"{shown(text)} is not a format; known are {', '.join(FORMATS)}{suggestion(text, FORMATS)}"
        )
    return text


def check_language(text: str) -> str:
    code = text.strip().casefold()
    if not _LANGUAGE.match(code):
        raise ValueError(f"{shown(text)} is not a language; write its code, such as fr or pt-br")
    return code


def check_label(text: str) -> str:
    """A label as it is compared: without regard to case."""
    label = check_text(text, limits.SLUG_CHARS).strip().casefold()
    if not label:
        raise ValueError("is empty; a label is a word")
    return label


def parse_share(text: str) -> Share:
    """``"0.06"`` -> 6/100, never a binary float. Raises ValueError unless 0 < share <= 1."""
    match = _SHARE.match(text)
    if match is None:
        raise ValueError(
            f'{shown(text)} is not a share; write a decimal above 0 and at most 1, such as "0.06"'
        )
    places = match[2] or ""
    num, den = int(match[1] + places), 10 ** len(places)
    if not 0 < num <= den:
        raise ValueError(f"{shown(text)} is not a share; it is above 0 and at most 1")
    return Share(num, den, text)


def read_share(fields: Fields, name: str, default: Share) -> Share:
    """A share; unlike money it may be written as a number, which is kept as it was written."""
    value = fields.take(name)
    if value is None:
        return default
    text = str(value) if isinstance(value, Number | int) and not isinstance(value, bool) else value
    try:
        return parse_share(as_text(text))
    except ValueError as error:
        fields.add(name, str(error))
        return default


def read_portion(fields: Fields, name: str) -> int:
    """A part of a whole, 0 to 1 with both ends, in parts per million; all of it where it is not said. Like a
    share it may be written as a number, which is kept as it was written."""
    value = fields.take(name)
    if value is None:
        return money.WHOLE_PPM
    text = str(value) if isinstance(value, Number | int) and not isinstance(value, bool) else value
    match = _SHARE.match(text) if isinstance(text, str) else None
    found = int(match[1]) * money.WHOLE_PPM + int((match[2] or "").ljust(6, "0")) if match else -1
    if 0 <= found <= money.WHOLE_PPM:
        return found
    fields.add(name, f'is {shown(value)}; it is a decimal from 0 to 1 of at most 6 places, such as "0.70"')
    return money.WHOLE_PPM


def read_budget(fields: Fields) -> Budget:
    """The field ``budget``. An amount of 0.00 is allowed and means never."""
    inner = fields.mapping("budget")
    if inner is None:
        return Budget()
    lifetime, daily = inner.amount("lifetime"), inner.amount("daily")
    inner.done()
    return Budget(
        lifetime_nanos=None if lifetime is None else money.nanos(lifetime),
        daily_nanos=None if daily is None else money.nanos(daily),
    )


def bounded(most: int) -> Callable[[str], str]:
    """A reader of non-empty texts of at most ``most`` characters."""

    def read(text: str) -> str:
        if not text.strip():
            raise ValueError("is empty")
        return check_text(text, most)

    return read
