"""What the OpenAPI document says about an endpoint, kept on its handler: there is no second list of endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

H = TypeVar("H", bound=Callable[[Request], Awaitable[Response]])
_ATTRIBUTE = "__operation__"
READING = (400, 408, 413, 415)
"""Statuses of an endpoint that reads a body."""
WORKING = (404, 503, 504)
"""Statuses of an endpoint that asks the engine."""


@dataclass(frozen=True)
class Operation:
    """One endpoint. ``takes`` names attributes of :class:`rankops.serving.schemas.Requests`: one of them is the body.

    ``answers`` are response models (none: text of type ``media``, or nothing but errors where that is JSON); ``same``
    are statuses that have the same answer as 200, ``errors`` those that have the error's.
    """

    summary: str
    tag: str
    answers: tuple[Any, ...] = ()
    takes: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    same: tuple[int, ...] = ()
    media: str = "application/json"
    binary: bool = False
    open: bool = False


def documented(summary: str, **more: Any) -> Callable[[H], H]:
    """A decorator that puts an :class:`Operation` on a handler; the handler's docstring becomes the description."""

    def mark(handler: H) -> H:
        setattr(handler, _ATTRIBUTE, Operation(summary, **more))
        return handler

    return mark


def operation_of(route: Route) -> Operation:
    """What is documented of a route. Raises ``LookupError`` for a route that nobody described."""
    found: Operation | None = getattr(route.endpoint, _ATTRIBUTE, None)
    if found is None:
        raise LookupError(f"{route.path} is not @documented")
    return found


def open_paths(routes: Iterable[BaseRoute]) -> frozenset[str]:
    """Paths that need no API key."""
    return frozenset(route.path for route in routes if isinstance(route, Route) and operation_of(route).open)
