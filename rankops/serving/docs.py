"""``/openapi.json``, and the same for people at ``/docs``: one page, made here, that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from rankops.serving.answers import Document
from rankops.serving.documented import documented

Json = Mapping[str, Any]


@documented("This document", tag="server", answers=(Document,), open=True)
async def document(request: Request) -> Response:
    """OpenAPI 3.1, with the limits of this server."""
    return JSONResponse(request.app.state.openapi)


@documented("This document for people", tag="server", media="text/html", open=True)
async def page(request: Request) -> Response:
    """A page that lists the endpoints and sends requests; it works without access to the Internet."""
    style, script = _asset("docs.css"), _asset("docs.js")
    policy = (
        f"default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return HTMLResponse(render(request.app.state.openapi, style, script), headers=headers)


def routes() -> list[Route]:
    """Both routes."""
    return [Route("/openapi.json", document, methods=["GET"]), Route("/docs", page, methods=["GET"])]


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render(document: Json, style: str, script: str) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(path, method, operation, document))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(entries)}" for tag, entries in by_tag.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}: endpoints</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f'<p>{_inline(info["description"])} The document itself: <a href="openapi.json">openapi.json</a>.</p>'
        f"{_key(document)}"
        f"</header><main>{sections}</main><script>{script}</script></body></html>"
    )


def _key(document: Json) -> str:
    if "securitySchemes" not in document["components"]:
        return ""
    return '<p><label>API key <input id="key" type="password" autocomplete="off"></label> (it stays in this page)</p>'


def _operation(path: str, method: str, operation: Json, document: Json) -> str:
    parameters = "".join(_parameter(parameter, document) for parameter in operation["parameters"])
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    statuses = "".join(_status(code, answer, document) for code, answer in operation["responses"].items())
    lock = ' <span title="needs an API key">key</span>' if "security" in operation else ""
    return (
        f'<details class="operation" data-method="{method.upper()}" data-path="{escape(path)}">'
        f"<summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}{lock}</summary>"
        f"<p>{_inline(operation['description'])}</p>"
        f"{f'<h3>Parameters</h3><table>{parameters}</table>' if parameters else ''}"
        f"{_body(body, document) if body else ''}"
        f"<h3>Answers</h3><table>{statuses}</table>"
        '<p><button type="button">Send</button></p><pre class="answer" hidden></pre></details>'
    )


def _parameter(parameter: Json, document: Json) -> str:
    name = parameter["name"]
    required = " (required)" if parameter["required"] else ""
    return (
        f'<tr><td><label>{escape(name)} <input data-in="{parameter["in"]}" data-name="{escape(name)}"></label></td>'
        f"<td>{escape(_kind(parameter['schema'], document))}{required}</td>"
        f"<td>{_inline(parameter.get('description', ''))}</td></tr>"
    )


def _body(schema: Json, document: Json) -> str:
    options = [_resolved(option, document) for option in schema.get("oneOf", [schema])]
    tables = "".join(_fields(option, document) for option in options)
    example = json.dumps(_example(options[0]), ensure_ascii=False, indent=2)
    return f'<h3>Body</h3>{tables}<textarea rows="6" spellcheck="false">{escape(example)}</textarea>'


def _fields(schema: Json, document: Json) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' (required)' if name in required else ''}</td>"
        f"<td>{escape(_kind(field, document))}</td><td>{_inline(field.get('description', ''))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<p>{_inline(schema.get('description', ''))}</p><table>{rows}</table>"


def _status(code: str, answer: Json, document: Json) -> str:
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    kinds = ", ".join(
        f"{media}: {_kind(content['schema'], document)}" for media, content in answer.get("content", {}).items()
    )
    return f"<tr><td>{code}</td><td>{_inline(answer['description'])}</td><td>{escape(kinds)}</td></tr>"


def _kind(schema: Json, document: Json) -> str:
    """A schema in a few words: ``array of string, at most 200``."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if options := (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        return " or ".join(_kind(option, document) for option in options)
    kind = str(schema.get("type", "any"))
    if kind == "array":
        kind += f" of {_kind(schema.get('items', {}), document)}"
    bounds = {"minimum": "from", "maximum": "to", "maxLength": "at most", "maxItems": "at most"}
    told = [f"{word} {schema[name]}" for name, word in bounds.items() if name in schema]
    if schema.get("default") is not None:
        told.append(f"default {json.dumps(schema['default'])}")
    return ", ".join([kind, *told])


def _example(schema: Json) -> dict[str, Any]:
    """What the required fields may look like."""
    fields = schema.get("properties", {})
    return {name: fields[name]["examples"][0] for name in schema.get("required", ()) if "examples" in fields[name]}


def _resolved(schema: Json, document: Json) -> Json:
    found: Json = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _inline(markdown: str) -> str:
    """Code in backticks, and paragraphs; there is nothing else in our texts."""
    parts = escape(markdown, quote=False).split("`")
    text = "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
    return text.replace("\n\n", "<br>")
