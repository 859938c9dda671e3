"""The OpenAPI document, made of the very tables that requests are routed by and the very types that
bodies are decoded with, so that it cannot say anything else than the server does."""

import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import msgspec

from adserver import __version__
from adserver.api.answers import Problem
from adserver.api.hot import HotRoute, HotRoutes
from adserver.api.pages import Operation

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_REF: Final = "#/components/schemas/{name}"
_MEDIA: Final = {"/metrics": "text/plain", "/docs": "text/html"}

_BODY_FAULTS: Final = {
    400: "what is wrong, all at once",
    413: "the body is too large",
    415: "not JSON in UTF-8, or encoded",
}
_KEY_FAULTS: Final = {401: "no key, or not a good one", 403: "this key may not"}


class Described(msgspec.Struct, frozen=True):
    """One method of one path, hot or not."""

    method: str
    path: str
    summary: str
    tag: str
    answers: Mapping[int, Any]
    request: Any
    secured: bool
    query: Mapping[str, str]


def document(hot: HotRoutes, operations: list[Operation]) -> dict[str, Any]:
    """An OpenAPI 3.1 document as plain values."""
    described = [
        *(one for route in hot.all() for one in _hot(route)),
        *(
            Described(o.method, o.path, o.summary, o.tag, o.answers, o.request, o.secured, o.query)
            for o in operations
        ),
    ]
    schemas = _Schemas(described)
    paths: dict[str, dict[str, Any]] = {}
    for one in described:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "adserver",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _hot(route: HotRoute) -> list[Described]:
    tag = "decisions" if route.name in ("/v1/decisions", "/openrtb2/auction") else "events"
    return [
        Described(method, route.name, route.summary, tag, _of_method(route, method), route.request, False, {})
        for method in route.methods
    ]


def _of_method(route: HotRoute, method: str) -> Mapping[int, Any]:
    """A tracking URL answers 204 to POST and 200 to the others."""
    if route.limit:
        return route.answers
    other = 200 if method == "POST" else 204
    return {status: said for status, said in route.answers.items() if status != other}


class _Schemas:
    """The schemas of all types at once, so that each has one name."""

    def __init__(self, described: list[Described]) -> None:
        types = [Problem]
        for one in described:
            types += [one.request, *one.answers.values()]
        self._types = [kind for kind in types if kind is not None and not isinstance(kind, str)]
        self._schemas, self.components = _schemas_of(tuple(self._types))

    def of(self, kind: Any) -> dict[str, Any]:
        return self._schemas[self._types.index(kind)]


@cache
def _schemas_of(types: tuple[Any, ...]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """Made once in a process: the types are the program's, and reading them is most of the work."""
    return msgspec.json.schema_components(types, ref_template=_REF)


def _operation(one: Described, schemas: _Schemas) -> dict[str, Any]:
    said: dict[int, Any] = {**(_BODY_FAULTS if one.request else {}), **(_KEY_FAULTS if one.secured else {})}
    said |= dict(one.answers)
    operation: dict[str, Any] = {
        "operationId": _name(one),
        "summary": one.summary,
        "tags": [one.tag],
        "parameters": _parameters(one),
        "responses": {str(status): _answer(one, status, said[status], schemas) for status in sorted(said)},
    }
    if one.request is not None:
        content = {media: {"schema": schemas.of(one.request)} for media in ("application/json", "text/plain")}
        operation["requestBody"] = {"required": True, "content": content}
    if one.secured:
        operation["security"] = [{"key": []}]
    return operation


def _answer(one: Described, status: int, said: Any, schemas: _Schemas) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    description = said if isinstance(said, str) else phrase
    if said is None:
        return {"description": description}
    if status >= 400:
        return {
            "description": description,
            "content": {"application/problem+json": {"schema": schemas.of(Problem)}},
        }
    if isinstance(said, str):
        media = _MEDIA.get(one.path)
        return {"description": said, "content": {media: {}}} if media else {"description": said}
    return {"description": description, "content": {"application/json": {"schema": schemas.of(said)}}}


def _parameters(one: Described) -> list[dict[str, Any]]:
    text = {"type": "string"}
    of_path = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in _PARAMETER.findall(one.path)
    ]
    of_query = [
        {"name": name, "in": "query", "description": told, "schema": text} for name, told in one.query.items()
    ]
    return of_path + of_query


def _name(one: Described) -> str:
    words = re.findall(r"\w+", one.path.replace("{", "by ").replace("}", ""))
    return "_".join([one.method.lower(), *words])
