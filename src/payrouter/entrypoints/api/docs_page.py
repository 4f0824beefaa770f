"""`/docs`: the OpenAPI document as a page for people. One file, nothing from elsewhere, made when first asked for."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STATIC = Path(__file__).parent / "static"
_FORMATS = {"uuid": "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3", "date-time": "2026-01-01T00:00:00Z"}
_EXAMPLES = {"number": 19.9, "integer": 1, "boolean": True, "null": None}
# A form that empties everything at a click is no help to anybody.
_NOT_TRIED = frozenset(("purge",))


def docs_page(document: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return the page of an OpenAPI document, and its Content-Security-Policy: nothing but its own style and script."""
    style = (_STATIC / "docs.css").read_text(encoding="utf-8")
    script = (_STATIC / "docs.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return _page(document, style, script).encode(), policy.encode()


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _page(document: dict[str, Any], style: str, script: str) -> str:
    info, operations = document["info"], list(_operations(document))
    title = escape(f"{info['title']} {info['version']}: the API")
    keyed = "securitySchemes" in document["components"]
    links = "".join(f'<li><a href="#{_id(one)}"><code>{escape(_call(one))}</code></a></li>' for one in operations)
    schemas = document["components"]["schemas"]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<style>{style}</style></head><body><header><h1>{title}</h1><p>{escape(info['description'])} "
        'For programs: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"{_start(keyed=keyed)}<nav><ul>{links}</ul></nav></header><main>"
        f"{''.join(_operation(*one, document) for one in operations)}"
        f"<h2>What is sent and answered</h2>{''.join(_schema(name, one) for name, one in schemas.items())}"
        f"</main><script>{script}</script></body></html>\n"
    )


def _start(*, keyed: bool) -> str:
    lines = ["PAYROUTER=http://localhost:9999"]
    if keyed:
        lines.append("KEY=…   # from the operator")
    shown = f'<p>The examples use:</p><pre id="shell">{chr(10).join(lines)}</pre>'
    if keyed:
        shown += (
            "<p>Every call but <code>/health</code> needs a key, as <code>Authorization: Bearer</code> or "
            '<code>X-API-Key</code>.</p><label id="key" hidden>Key for trying <input type="password" '
            'autocomplete="off"></label>'
        )
    return shown


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _call(operation: tuple[str, str, dict[str, Any]]) -> str:
    return f"{operation[0]} {operation[1]}"


def _id(operation: tuple[str, str, dict[str, Any]]) -> str:
    return escape(operation[2]["operationId"])


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    example = None if body is None else msgspec.json.encode(_example(body, document)).decode()
    given = "".join(_parameter(one) for one in operation.get("parameters", []))
    table = _table(("parameter", "in", "type", "meaning"), given) if given else ""
    sent = "" if example is None else f"<h3>Body</h3><p>{_type(body)}</p><pre>{escape(example)}</pre>"
    answers = "".join(_response(status, one) for status, one in sorted(operation["responses"].items()))
    return (
        f'<section id="{escape(operation["operationId"])}"><h2><span class="{method.lower()}">{method}</span> '
        f"<code>{escape(path)}</code></h2><p><strong>{escape(operation['summary'])}.</strong> "
        f"{escape(operation.get('description', ''))}</p>{table}{sent}"
        f"<h3>Example</h3><pre>{escape(_curl(method, path, operation, example))}</pre>"
        f"<h3>Answers</h3>{_table(('status', 'meaning', 'body', 'headers'), answers)}"
        f"{_form(method, path, operation, example)}</section>"
    )


def _parameter(one: dict[str, Any]) -> str:
    needed = "" if one.get("required") else ", optional"
    return _row(
        f"<code>{escape(one['name'])}</code>",
        escape(one["in"] + needed),
        _type(one["schema"]),
        escape(one.get("description", "")),
    )


def _response(status: str, one: dict[str, Any]) -> str:
    bodies = [_type(content["schema"]) for content in one.get("content", {}).values()]
    headers = [
        f"<code>{escape(name)}</code> {escape(each['description'])}" for name, each in one.get("headers", {}).items()
    ]
    return _row(f"<b>{escape(status)}</b>", escape(one["description"]), "<br>".join(bodies), "<br>".join(headers))


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        _row(
            f"<code>{escape(field)}</code>",
            _type(one) + ("" if field in required else ", optional"),
            escape(one.get("description", "")),
        )
        for field, one in schema["properties"].items()
    )
    said = f"<p>{escape(schema['description'])}</p>" if "description" in schema else ""
    table = _table(("field", "type", "meaning"), rows)
    return f'<section id="{escape(name)}"><h3>{escape(name)}</h3>{said}{table}</section>'


def _table(heads: Iterable[str], rows: str) -> str:
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


# -- schemas


def _type(schema: dict[str, Any]) -> str:
    """Return a schema in a few words, with a link where it is described."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    kinds = schema.get("type", "anything")
    words = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    if "format" in schema:
        words += f" ({schema['format']})"
    if "items" in schema:
        return f"{escape(words)} of {_type(schema['items'])}"
    if schema.get("properties"):
        return f"{escape(words)}: " + ", ".join(f"<code>{escape(one)}</code>" for one in schema["properties"])
    return escape(words)


def _example(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """Return a value that a schema allows."""
    if "$ref" in schema:
        return _example(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "examples" in schema:
        return schema["examples"][0]
    if schema.get("type") == "object":
        return {name: _example(one, document) for name, one in schema["properties"].items()}
    if "format" in schema:
        return _FORMATS[schema["format"]]
    return _EXAMPLES.get(schema.get("type", ""), "text")


# -- trying


def _examples(operation: dict[str, Any], place: str) -> list[tuple[str, str]]:
    """Return names and examples of the parameters in one place: path, query or header."""
    given = [one for one in operation.get("parameters", []) if one["in"] == place]
    return [(one["name"], str(one.get("example", _example(one["schema"], {})))) for one in given]


def _curl(method: str, path: str, operation: dict[str, Any], body: str | None) -> str:
    for name, example in _examples(operation, "path"):
        path = path.replace(f"{{{name}}}", example)
    query = "&".join(f"{name}={quote(example, safe=':')}" for name, example in _examples(operation, "query"))
    verb = "" if method == "GET" or body is not None else f"-X {method} "
    parts = [f'curl -i {verb}"$PAYROUTER{path}{"?" if query else ""}{query}"']
    if "security" in operation:
        parts.append('-H "Authorization: Bearer $KEY"')
    parts += [f"-H '{name}: {example}'" for name, example in _examples(operation, "header")]
    if body is not None:
        parts += ["-H 'Content-Type: application/json'", f"-d '{body}'"]
    return " \\\n     ".join(parts)


def _form(method: str, path: str, operation: dict[str, Any], body: str | None) -> str:
    """Return the form that `docs.js` shows and sends; without scripts it stays hidden."""
    if operation["operationId"] in _NOT_TRIED:
        return ""
    fields = "".join(
        f'<label>{escape(name)} <input name="{escape(name)}" data-in="{place}" '
        f'value="{escape(example) if place == "path" else ""}" placeholder="{escape(example)}"></label>'
        for place in ("path", "query", "header")
        for name, example in _examples(operation, place)
    )
    if body is not None:
        fields += f'<label>body <textarea name="body" rows="3">{escape(body)}</textarea></label>'
    return (
        f'<form hidden data-method="{method}" data-path="{escape(path)}"><h3>Try it</h3>{fields}'
        '<button>Send</button><pre class="answer" aria-live="polite" hidden></pre></form>'
    )
