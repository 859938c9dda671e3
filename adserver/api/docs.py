"""The OpenAPI document as one page for people: no script, nothing fetched from elsewhere."""

from html import escape
from typing import Any, Final

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:0 auto;padding:1rem;color:#1b1f24;background:#fff}
h2{margin-top:2.5rem;border-bottom:2px solid #d0d7de;text-transform:capitalize}
section{border:1px solid #d0d7de;border-radius:8px;padding:.2rem 1rem;margin:.8rem 0}
h3{font-size:1rem;overflow-wrap:anywhere}code{font:.92em ui-monospace,monospace}
b.m{display:inline-block;min-width:4rem;color:#0a5c36}td{vertical-align:top;padding:.1rem .8rem .1rem 0}
summary{cursor:pointer}.key{font-size:.8rem;border:1px solid;border-radius:4px;padding:0 .3rem}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}b.m{color:#7ee2a8}a{color:#79b8ff}}
"""


def page(document: dict[str, Any]) -> str:
    """The whole HTML page."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    parts = [f"<h2>{escape(tag)}</h2>{''.join(operations)}" for tag, operations in by_tag.items()]
    schemas = [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    title = f"{escape(document['info']['title'])} {escape(document['info']['version'])}"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        "<p>Made from <code>/openapi.json</code>, which is made from what the server routes and decodes.</p>"
        f"{''.join(parts)}<h2>types</h2>{''.join(schemas)}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    key = ' <span class="key">key</span>' if "security" in operation else ""
    rows = [
        f"<tr><td>{escape(status)}<td>{escape(said['description'])} {_content(said)}"
        for status, said in operation["responses"].items()
    ]
    query = [
        f"<tr><td><code>?{escape(parameter['name'])}</code><td>{escape(parameter['description'])}"
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
    ]
    body = f"<p>Body: {_content(operation['requestBody'])}" if "requestBody" in operation else ""
    return (
        f'<section><h3><b class="m">{escape(method.upper())}</b> <code>{escape(path)}</code>{key}</h3>'
        f"<p>{escape(operation['summary'])}{body}<table>{''.join(query)}{''.join(rows)}</table></section>"
    )


def _content(said: dict[str, Any]) -> str:
    schemas = [content.get("schema") for content in said.get("content", {}).values()]
    return _type(schemas[0]) if schemas and schemas[0] else ""


def _schema(name: str, schema: dict[str, Any]) -> str:
    needed = schema.get("required", [])
    rows = [
        f"<tr><td><code>{escape(field)}</code>{'' if field in needed else '?'}<td>{_type(described)}"
        for field, described in schema.get("properties", {}).items()
    ]
    told = escape(schema.get("description", ""))
    values = ", ".join(escape(str(value)) for value in schema.get("enum", []))
    return (
        f'<section id="{escape(name)}"><h3><code>{escape(name)}</code></h3>'
        f"<p>{told} {values}<table>{''.join(rows)}</table></section>"
    )


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}"><code>{name}</code></a>'
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}{_bounds(schema)}"
    return f"{escape(str(schema.get('type', 'anything')))}{_bounds(schema)}"


def _bounds(schema: dict[str, Any]) -> str:
    named = (
        "minimum",
        "maximum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
    )
    told = [f"{name} {schema[name]}" for name in named if name in schema]
    return f" <small>({escape(', '.join(told))})</small>" if told else ""
