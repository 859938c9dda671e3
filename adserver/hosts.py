"""Addresses as settings tell them: read strictly, and told what one looks like where they are none."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from adserver.domain import limits


def as_text(value: object) -> str:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError(f"is {value!r}; it is text")
    return str(value)


def host(value: object) -> str:
    text = as_text(value)
    if not re.fullmatch(r"[A-Za-z0-9.:_%-]{1,253}", text, re.ASCII):
        raise ValueError(f"is {text!r}; it is an address or host name to listen on, such as 127.0.0.1")
    return text


def public_url(value: object) -> str:
    text = as_text(value)
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or "@" in parts.netloc or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"is {text!r}; it is an absolute URL such as https://ads.example")
    return text.rstrip("/")


def errands(value: object) -> str:
    text = as_text(value)
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})", text, re.ASCII)
    if found is None or int(found[2]) > 65535 - limits.WORKERS_MAX:
        raise ValueError(f"is {text!r}; it is where others reach this machine, such as 10.0.0.7:7100")
    return text
