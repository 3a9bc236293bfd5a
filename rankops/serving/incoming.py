"""A request's arguments, from its body or its URL, checked by one model whichever way they came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from rankops.serving.body import read_body
from rankops.serving.schemas import Checked, parse_json
from rankops.serving.service import Service

M = TypeVar("M", bound=BaseModel)
URL_NAMES: Mapping[str, str] = {"q": "query"}
"""Short names that a URL may use for a field."""
_DIGITS = 18
"""No limit of ours has more; a longer number is out of range whatever follows."""


async def read_request(request: Request, model: Checked[M]) -> M:
    """The checked request. Raises :class:`rankops.serving.web.ApiError` 400, 408, 413 or 415."""
    if request.method in ("GET", "HEAD"):
        return model(from_url(request.query_params, model.schema))
    return model(await read_value(request))


async def read_value(request: Request) -> Any:
    """The body's JSON value. Raises as :func:`read_request`."""
    service: Service = request.app.state.service
    return parse_json(await read_body(request, service.config))


def from_url(query: Mapping[str, str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Query parameters as a body would have them: numbers as numbers, flags as flags, lists split at commas."""
    found: dict[str, Any] = {}
    for name, text in query.items():
        field = URL_NAMES.get(name, name)
        kinds = _kinds(schema["properties"].get(field, {}))
        if "array" in kinds:
            found[field] = [part for part in text.split(",") if part]
        elif "integer" in kinds and text.isascii() and text.isdecimal():
            found[field] = int(text[:_DIGITS])
        elif "boolean" in kinds and text in ("true", "false"):
            found[field] = text == "true"
        else:
            found[field] = text
    return found


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """JSON types that a field may have."""
    return {option.get("type") for option in (schema, *schema.get("anyOf", ()))}
