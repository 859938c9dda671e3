"""Every problem of a body at once. Decoding stops at the first; this slow path, taken only by bodies that
are refused anyway, converts part by part and gathers what is wrong with each."""

from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

Problems = list[tuple[str, str]]

_MOST: Final = 100


def problems_of(value: Any, wanted: Any, path: str = "") -> Problems:
    """(path, message) of what keeps ``value`` (decoded JSON) from being ``wanted``; at most 100."""
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        found = _within(value, _plain(wanted), path)
        return found[:_MOST] or [(path, str(error).partition(" - at `")[0])]
    return []


def _within(value: Any, wanted: Any, path: str) -> Problems:
    """The problems of the parts; none where the fault is with the whole."""
    if isinstance(wanted, type) and issubclass(wanted, Struct) and isinstance(value, dict):
        return _of_object(value, wanted, path)
    if get_origin(wanted) is list and isinstance(value, list):
        [item] = get_args(wanted)
        parts = (
            problems_of(part, item, f"{path}[{index}]") for index, part in enumerate(value[: _MOST * 10])
        )
        return [problem for part in parts for problem in part]
    return []


def _of_object(value: dict[str, Any], wanted: type[Struct], path: str) -> Problems:
    hints = get_type_hints(wanted, include_extras=True)
    found: Problems = []
    for field in msgspec.structs.fields(wanted):
        place = f"{path}.{field.encode_name}" if path else field.encode_name
        if field.encode_name in value:
            found += problems_of(value[field.encode_name], hints[field.name], place)
        elif field.required:
            found.append((place, "required"))
    if wanted.__struct_config__.forbid_unknown_fields:
        known = {field.encode_name for field in msgspec.structs.fields(wanted)}
        unknown = (name for name in value if name not in known)
        found += [(f"{path}.{name}" if path else name, "unknown field") for name in unknown]
    return found


def _plain(wanted: Any) -> Any:
    """The type without its bounds and without None."""
    if get_origin(wanted) is Annotated:
        return _plain(get_args(wanted)[0])
    if get_origin(wanted) in (Union, UnionType):
        kinds = [kind for kind in get_args(wanted) if kind is not NoneType]
        return _plain(kinds[0]) if len(kinds) == 1 else wanted
    return wanted


def without_nulls(value: Any) -> Any:
    """The same with members that are null left out: many clients write what they do not know as null."""
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value
