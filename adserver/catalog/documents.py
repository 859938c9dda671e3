"""Reading documents: YAML (1.2 core schema) or JSON text to plain values, strictly.

Both give ``dict`` (text keys), ``list``, ``str``, ``int``, ``bool`` and None, nothing else. Two parsers
that disagree about a document are a hole, so what they might disagree about is refused: duplicate keys,
NaN, tags, aliases (and with them the expansion of a small file into a large one). YAML is read from its
*events* into an explicit stack, because composing a tree recurses once per level of a hostile document.
A decimal is never a binary float: in YAML it stays text, in JSON it becomes ``Number``, text that knows it
was a number. Dates stay text; their meaning depends on a time zone that stands elsewhere.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import orjson
import yaml

from adserver.catalog.findings import join, shown
from adserver.domain import limits
from adserver.domain.changes import Invalid, Problem

SUFFIXES: Final = (".yaml", ".yml", ".json")

_INT: Final = re.compile(r"[-+]?[0-9]{1,18}\Z|0o[0-7]{1,18}\Z|0x[0-9a-fA-F]{1,15}\Z", re.ASCII)
_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_LOADER: Final[type] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Number(str):
    """A decimal number of a JSON document, as it was written; money is refused in this form."""


def read_file(path: Path) -> dict[str, object]:
    """The document in a file; Invalid (one problem) if there is none."""
    try:
        size = path.stat().st_size
        raw = path.read_bytes() if size <= limits.MANAGEMENT_BYTES else None
    except OSError as error:
        raise _refusal("", f"cannot be read: {error.strerror}") from error
    if raw is None:
        raise _refusal("", f"has {size} bytes; a document has at most {limits.MANAGEMENT_BYTES}")
    return parse_json(raw) if path.suffix == ".json" else parse_yaml(raw)


def parse_json(raw: bytes) -> dict[str, object]:
    """A JSON document; Invalid if it is not one, or not a mapping."""
    return _parse(raw, _json)


def parse_yaml(raw: bytes) -> dict[str, object]:
    """A YAML document; Invalid if it is not one, or not a mapping."""
    return _parse(raw, _yaml)


def _parse(raw: bytes, read: Callable[[str], object]) -> dict[str, object]:
    if len(raw) > limits.MANAGEMENT_BYTES:
        raise _refusal("", f"has more than {limits.MANAGEMENT_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal("", f"is not UTF-8 text (byte {error.start})") from error
    if not text.strip():
        raise _refusal("", "is empty; a document is a mapping of names to values")
    value = read(text)
    if not isinstance(value, dict):
        raise _refusal("", f"is {shown(value)}; a document is a mapping of names to values")
    return value


def _refusal(path: str, message: str) -> Invalid:
    return Invalid([Problem(path, message)])


# -- JSON ----------------------------------------------------------------------------------------


def _json(text: str) -> object:
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_float=Number,
            parse_int=_json_int,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        message = f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise _refusal("", message) from error
    except RecursionError as error:
        raise _too_deep() from error
    _check_depth(value)
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise _refusal("", "holds half of a surrogate pair, which is not a character") from error
    return value


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        twice = ""
        for name, _ in pairs:
            if name in seen:
                twice = name
                break
            seen.add(name)
        raise _refusal(twice, f"the key {shown(twice)} stands twice in one object; keep one of them")
    return values


def _json_int(text: str) -> int | Number:
    """Longer integers stay text: no field takes them, and converting thousands of digits is quadratic."""
    return int(text) if len(text) <= 19 else Number(text)


def _constant(name: str) -> object:
    raise _refusal("", f"{name} is not JSON; a number is finite")


def _too_deep() -> Invalid:
    return _refusal("", f"is nested deeper than {limits.DOCUMENT_DEPTH} levels")


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(limits.DOCUMENT_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = [item for item in below if isinstance(item, dict | list)]
        if not level:
            return
    raise _too_deep()


# -- YAML ----------------------------------------------------------------------------------------


def _yaml(text: str) -> object:
    try:
        return _YamlBuilder().build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _refusal("", f"is not YAML: {error.problem or error.context}{where}") from error
    except yaml.YAMLError as error:
        reason = str(getattr(error, "reason", "") or error).splitlines()[0]
        raise _refusal("", f"is not YAML: {reason}") from error


class _Open:
    """A collection under construction; ``key`` is the mapping's key whose value comes next."""

    def __init__(self, value: dict[str, object] | list[object], path: str) -> None:
        self.value = value
        self.path = path
        self.key: str | None = None


class _YamlBuilder:
    def __init__(self) -> None:
        self._stack: list[_Open] = []
        self._root: object = None
        self._documents = 0

    def build(self, text: str) -> object:
        for event in yaml.parse(text, Loader=_LOADER):
            self._take(event)
        return self._root

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._start(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._stack.pop()
        elif isinstance(event, yaml.AliasEvent):
            line = _line(event)
            raise _refusal(self._path(), f"*{event.anchor} (line {line}) is an alias; write the value out")
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _refusal("", "holds more than one document (---); use a file for each")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_tag(event)
        text = event.value
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            self._key(text, event)
            return
        self._put(text if not event.implicit[0] else _plain(text))

    def _key(self, text: str, event: yaml.ScalarEvent) -> None:
        top = self._stack[-1]
        if text in top.value:
            line = _line(event)
            message = f"the key {shown(text)} stands twice (again on line {line}); keep one of them"
            raise _refusal(join(top.path, text), message)
        top.key = text

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        self._refuse_tag(event)
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            raise _refusal(self._path(), "a key is text, not a list or mapping")
        if len(self._stack) >= limits.DOCUMENT_DEPTH:
            raise _too_deep()
        value: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self._path()
        self._put(value)
        self._stack.append(_Open(value, path))

    def _put(self, value: object) -> None:
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is not None:
            top.value[top.key] = value
            top.key = None

    def _path(self) -> str:
        """Where the value stands that comes next."""
        if not self._stack:
            return ""
        top = self._stack[-1]
        if isinstance(top.value, list):
            return f"{top.path}[{len(top.value)}]"
        return join(top.path, top.key) if top.key is not None else top.path

    def _refuse_tag(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            message = f"has the tag {shown(tag)} (line {_line(event)}); tags are not read"
            raise _refusal(self._path(), message)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _plain(text: str) -> object:
    """A scalar without quotes, by the core schema (without its floats, which stay text)."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return text
