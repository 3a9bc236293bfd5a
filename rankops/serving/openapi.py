"""The OpenAPI 3.1 document: made from the routes, from what their handlers say, and from the models that validate."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute, Route

from rankops.serving import answers
from rankops.serving.caller import TIMEOUT_HEADER
from rankops.serving.documented import Operation, operation_of
from rankops.serving.incoming import URL_NAMES
from rankops.serving.schemas import Requests
from rankops.serving.tensors import HEADER_LENGTH

_ROLE = re.compile(r":\w+:`[~.]?(?:[\w.]+\.)?(\w+)`")
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_REF = "#/components/schemas/{model}"
STATUSES: Mapping[int, str] = {
    400: "the request is wrong; the text names the field",
    401: "no API key, or one that is not known",
    404: "there is no such path, model or version, or the model's task is another one",
    408: "the body did not arrive in time",
    413: "the body is larger than allowed, possibly only after decompression",
    415: "a media type or content encoding that is not known",
    429: "the API key's rate limit is reached; `Retry-After` says when to try again",
    503: "nothing is served yet, or too many requests wait; try again",
    504: "the answer would have come after the caller's deadline",
}
_PATH_PARAMETERS = {
    "model": {"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"},
    "version": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "digest of the release"},
}
_DESCRIPTION = (
    'Search, recommendation, ranking and matching by a verified release. Errors are `{"error": "..."}` with the right '
    "status everywhere. `/v2` is the Open Inference Protocol v2, so that Triton's and KServe's clients work."
)


def library_version() -> str:
    """The installed version; ``0`` when run from a source tree."""
    try:
        return version("rankops")
    except PackageNotFoundError:
        return "0"


def openapi(routes: Iterable[BaseRoute], requests: Requests, *, keys: bool) -> dict[str, Any]:
    """The document, JSON-able. ``keys``: whether this server asks for API keys."""
    listed = [route for route in routes if isinstance(route, Route)]
    models = _models(listed, requests)
    schemas, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas_by_model: dict[Any, Any] = {model: schema for (model, _), schema in schemas.items()}
    paths: dict[str, Any] = {}
    for route in listed:
        builder = _Path(route, operation_of(route), requests, schemas_by_model, keys)
        paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {}).update(builder.methods())
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "rankops",
            "version": library_version(),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": definitions["$defs"], "responses": _failures(schemas_by_model)},
    }
    if keys:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        }
    return document


def _models(routes: Sequence[Route], requests: Requests) -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {answers.Error: None}
    for route in routes:
        operation = operation_of(route)
        found |= dict.fromkeys(getattr(requests, name).model for name in operation.takes)
        found |= dict.fromkeys(operation.answers)
    return list(found)


def _failures(schemas: Mapping[type[BaseModel], Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schemas[answers.Error]}}
    retry = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return {
        f"error-{status}": {
            "description": text,
            "content": content,
            **({"headers": retry} if status in (429, 503) else {}),
        }
        for status, text in STATUSES.items()
    }


class _Path:
    """One route's operations."""

    def __init__(
        self, route: Route, operation: Operation, requests: Requests, schemas: Mapping[type[BaseModel], Any], keys: bool
    ) -> None:
        self._route, self._operation, self._schemas, self._keys = route, operation, schemas, keys
        self._taken = [getattr(requests, name) for name in operation.takes]

    def methods(self) -> dict[str, Any]:
        """Path item fields by method; HEAD goes without saying where there is GET."""
        return {
            method.lower(): self._described(method) for method in sorted(self._route.methods or ()) if method != "HEAD"
        }

    def _described(self, method: str) -> dict[str, Any]:
        operation = self._operation
        name = f"{method.lower()}-{self._route.path.strip('/') or 'index'}"
        described: dict[str, Any] = {
            "operationId": re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-"),
            "tags": [operation.tag],
            "summary": operation.summary,
            "description": _markdown(inspect.getdoc(self._route.endpoint)),
            "parameters": self._parameters(method),
            "responses": self._responses(),
        }
        if method == "POST" and self._taken:
            described["requestBody"] = {"required": True, "content": self._body()}
        if self._keys and not operation.open:
            described["security"] = [{"bearer": []}, {"header": []}]
        return described

    def _parameters(self, method: str) -> list[dict[str, Any]]:
        found = [
            {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS[name]}
            for name in _PARAMETER.findall(self._route.path)
        ]
        if method == "GET":
            found += [parameter for checked in self._taken for parameter in _url_parameters(checked.schema)]
        if self._operation.binary:
            text = "bytes of the JSON object, where binary tensors follow it; 0: the whole body is one text"
            schema = {"type": "integer", "minimum": 0}
            found.append(
                {"name": HEADER_LENGTH, "in": "header", "required": False, "description": text, "schema": schema}
            )
        if 504 in self._operation.errors:
            schema = {"type": "number", "exclusiveMinimum": 0}
            text = "how long the caller waits for the answer"
            found.append(
                {"name": TIMEOUT_HEADER, "in": "header", "required": False, "description": text, "schema": schema}
            )
        return found

    def _body(self) -> dict[str, Any]:
        content = {"application/json": {"schema": self._either([checked.model for checked in self._taken], "oneOf")}}
        if self._operation.binary:
            content["application/octet-stream"] = {"schema": _BYTES}
        return content

    def _responses(self) -> dict[str, Any]:
        operation = self._operation
        schema = self._either(operation.answers, "anyOf") if operation.answers else {"type": "string"}
        content: dict[str, Any] = {operation.media: {"schema": schema}}
        if operation.binary:
            content["application/octet-stream"] = {"schema": _BYTES}
        codes = {*operation.errors, *((401, 429) if self._keys and not operation.open else ())}
        failures = {str(code): {"$ref": f"#/components/responses/error-{code}"} for code in sorted(codes)}
        if not operation.answers and operation.media == "application/json":
            return failures
        answer = {"description": "the answer", "content": content}
        return {"200": answer, **{str(code): answer for code in operation.same}, **failures}

    def _either(self, models: Sequence[type[BaseModel]], word: str) -> dict[str, Any]:
        schemas = [self._schemas[model] for model in models]
        return schemas[0] if len(schemas) == 1 else {word: schemas}


_BYTES = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}


def _url_parameters(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    short = {field: name for name, field in URL_NAMES.items()}
    found = []
    for field, described in schema["properties"].items():
        parameter = {
            "name": short.get(field, field),
            "in": "query",
            "required": field in schema.get("required", ()),
            "schema": {key: value for key, value in described.items() if key != "description"},
        }
        if described.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        if "description" in described:
            parameter["description"] = described["description"]
        found.append(parameter)
    return found


def _markdown(docstring: str | None) -> str:
    return _ROLE.sub(r"`\1`", (docstring or "").replace("``", "`"))
