"""JSON bodies, read strictly.

msgspec decodes straight into typed requests and thereby validates; what it lets pass is refused here.
Parsers disagree about a repeated key (msgspec keeps the last), so one is an error, and NUL breaks the
text columns of databases. Both are looked for cheaply. Most bodies are plain, which ``_plain.c`` tells in
half a microsecond. Of others, and where that is not built, one that equals its own re-encoding cannot
hold a repeated key, since decoding drops one (2.9 microseconds for 600 bytes as ``JSON.stringify``
writes them; a body with spaces between its tokens is walked by the standard library's parser, 8 more).
Decoding everything also checks the UTF-8 of what the typed decoder skips.
"""

import json
from typing import Any, Final, TypeVar

import msgspec

from adserver.api.misplaced import problems_of, without_nulls
from adserver.octets import compiled
from adserver.services.refusals import Refused

T = TypeVar("T")

_ANY: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The body as the decoder's type. Raises Refused (400) naming every place that is wrong."""
    try:
        try:
            asked = decoder.decode(body)
        except msgspec.ValidationError:
            return _forgiven(decoder, body)
        # (What is UTF-8 is no empty text; what is not raises.)
        if not (compiled is not None and compiled.is_plain(body) and (body.isascii() or body.decode())):
            _look_through(body)
    except UnicodeDecodeError as error:
        raise _unreadable("the body is not UTF-8") from error
    except RecursionError as error:
        raise _unreadable("the body is nested too deeply") from error
    except msgspec.DecodeError as error:
        raise _unreadable(f"the body is not JSON: {error}") from error
    return asked


def _look_through(body: bytes) -> None:
    """Refuse what ``_walk`` refuses, and what is not UTF-8."""
    # (One letter is found faster than six.)
    if (b"\\" in body and b"\\u0000" in body) or _ENCODER.encode(_ANY.decode(body)) != body:
        _walk(body)


def _walk(body: bytes) -> None:
    """Refuse repeated keys and NUL. The message has the key but no path: the parser knows none."""
    try:
        json.loads(body, object_pairs_hook=_object, parse_int=_number, parse_float=_number)
    except ValueError as error:
        raise _unreadable(f"the body is not JSON: {error}") from error
    if b"\\u0000" in body:
        _refuse_nul(_ANY.decode(body), "")


def _number(text: str) -> int:
    """Numbers were checked before; those of a thousand digits are not worth the time."""
    return len(text)


def _object(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _value in pairs:
        if key in seen:
            name = key[:64]
            raise Refused(400, f"the key {name!r} is repeated", [(name, "repeated within one object")])
        seen.add(key)


def _refuse_nul(value: Any, path: str) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise Refused(400, "a text holds NUL", [(path, "NUL (U+0000) is not allowed")])
    elif isinstance(value, dict):
        for key, part in value.items():
            _refuse_nul(key, path)
            _refuse_nul(part, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _refuse_nul(part, f"{path}[{index}]")


def _forgiven(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Members that are null count as absent; whatever else is wrong is told, all at once."""
    _walk(body)
    value = without_nulls(_ANY.decode(body))
    try:
        return msgspec.convert(value, decoder.type)
    except msgspec.ValidationError as error:
        problems = problems_of(value, decoder.type)
        raise Refused(400, "the body is not what is expected here", problems) from error


def _unreadable(message: str) -> Refused:
    return Refused(400, message, [("", message)])
