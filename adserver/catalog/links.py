"""Host names, URLs and the macros inside them.

A click redirects to what is checked here, so an address is read the way the *most lenient* browser would
read it and refused wherever two readers could disagree: backslashes, control characters, user names,
missing slashes, numeric hosts, full-width characters that turn into dots or slashes. What passes is
written in one normal form: lower-case scheme, IDNA host, ASCII everywhere.
"""

import re
import unicodedata
from typing import Final
from urllib.parse import quote

from adserver.catalog.findings import choices, shown, suggestion
from adserver.domain import limits

MACROS: Final = (
    "click_id", "event_id", "cachebuster", "timestamp", "click_url", "click_url_enc", "publisher",
    "placement", "campaign", "line_item", "creative", "gdpr", "consent_tcf",
)  # fmt: skip

_URL: Final = re.compile(r"(https?)://([^/?#]*)(.*)\Z", re.IGNORECASE | re.DOTALL)
_AUTHORITY: Final = re.compile(r"([^:@\[\]]+)(?::([0-9]{1,5}))?\Z", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z", re.ASCII)
_NUMERIC: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z", re.ASCII)
_IPV4: Final = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(?:\.(?!\Z)|\Z)){4}\Z", re.ASCII)
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]|\s")
_BRACED: Final = re.compile(r"\{([^{}]*)\}|[{}]")
_HTML_MACRO: Final = re.compile(r"(?<!\$)\{([a-z][a-z_]*)\}", re.ASCII)
_SAFE: Final = "!#$%&'()*+,/:;=?@[]~{}-._|^`"
"""ASCII left as it is; the rest (quotes, angle brackets, everything beyond ASCII) is percent-encoded."""


def check_host(text: str) -> str:
    """A host name in its normal form (lower case, IDNA); ValueError for anything else."""
    if unicodedata.normalize("NFKC", text) != text or "\u3002" in text:
        raise ValueError(
            f"{shown(text)} holds characters that pass for others; write the host in plain letters"
        )
    try:
        host = text.lower() if text.isascii() else text.lower().encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"{shown(text)} is not a host name; it is one such as voyages.example") from error
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise ValueError(f"{shown(text)} is not a host name; it is one such as voyages.example")
    if _NUMERIC.match(labels[-1]):
        raise ValueError(f"{shown(text)} is a number, not a host name; it is one such as voyages.example")
    return host


def check_domain(text: str) -> str:
    """A host name of at least two labels, so of a public site."""
    host = check_host(text)
    if "." not in host:
        raise ValueError(f"{shown(text)} is not a domain; it is one such as voyages.example")
    return host


def check_url(text: str) -> str:
    """An absolute http or https URL in its normal form; known macros may stand behind its host."""
    if len(text) > limits.URL_CHARS:
        raise ValueError(f"has {len(text)} characters; at most {limits.URL_CHARS}")
    if _UNSAFE.search(text):
        raise ValueError(f"{shown(text)} holds a space, backslash or control character; percent-encode it")
    match = _URL.match(text)
    if match is None:
        raise ValueError(
            f"{shown(text)} is not an absolute URL; it begins with https:// or http:// and a host"
        )
    _check_braces(text)
    return f"{match[1].lower()}://{_authority(text, match[2])}{quote(match[3], safe=_SAFE)}"


def check_origin(text: str) -> str:
    """A web origin: scheme, host and port, as browsers send it."""
    url = check_url(text)
    if url.count("/") != 2:
        raise ValueError(f"{shown(text)} is not an origin; it is scheme, host and port: https://news.example")
    return url


def check_html(text: str) -> str:
    """Markup whose macros are all known; braces of scripts and styles are left alone."""
    if len(text) > limits.HTML_CHARS:
        raise ValueError(f"has {len(text)} characters; at most {limits.HTML_CHARS}")
    if "\x00" in text:
        raise ValueError("holds the control character U+0000; remove it")
    for name in _HTML_MACRO.findall(text):
        _check_macro(name)
    return text


def host_of(url: str) -> str:
    """The host of a URL that passed ``check_url``, without ``www.``."""
    return url.split("/")[2].rsplit(":", 1)[0].removeprefix("www.")


def _authority(text: str, authority: str) -> str:
    if "@" in authority:
        raise ValueError(f"{shown(text)} holds a user name before its host; remove everything up to the @")
    if "{" in authority:
        raise ValueError(f"{shown(text)} has a macro in its host; macros stand behind it")
    match = _AUTHORITY.match(authority)
    if match is None:
        raise ValueError(f"{shown(text)} has no host name; write one such as https://voyages.example/")
    host = match[1] if _IPV4.match(match[1]) else check_host(match[1])
    if match[2] is None:
        return host
    if not 0 < int(match[2]) < 65536:
        raise ValueError(f"{shown(text)} has the port {match[2]}; ports run from 1 to 65535")
    return f"{host}:{match[2]}"


def _check_braces(text: str) -> None:
    for match in _BRACED.finditer(text):
        if match[1] is None:
            raise ValueError(f"{shown(text)} holds a lone brace; a macro is written {{click_id}}")
        _check_macro(match[1])


def _check_macro(name: str) -> None:
    if name not in MACROS:
        hint = suggestion(name, MACROS) or f"; known are {choices([*MACROS])}"
        raise ValueError(f"{{{shown(name)[1:-1]}}} is not a macro{hint}")
