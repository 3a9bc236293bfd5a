"""The shape of objects: Kubernetes' own schemas, offline and strict (an unknown or misspelled field is an error).

What belongs here: whether one object, by itself, has the shape that its kind and the cluster's version ask for.
The schemas come with the package ``kubernetes-validate``; its ``validate`` re-reads megabytes for each object and
stops at the first error, so the validators are built once here and list every error. Custom resources have theirs in
``custom/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from rankops.errors import BadInput
from rankops.overlays import custom
from rankops.overlays.objects import Object, Violation, dig, mapping, title

VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
"""Cluster versions that overlays can be checked for."""
RULE = "schema"


def check(objects: Sequence[Object], version: str) -> list[Violation]:
    """Every departure from the schemas of Kubernetes ``version``.

    Objects of kinds that have no schema here are violations too: what cannot be checked is not deployed. Raises
    :class:`BadInput` for an unknown version.
    """
    if version not in VERSIONS:
        raise BadInput(f"no schemas for Kubernetes {version!r}", f"use one of {', '.join(VERSIONS)}")
    return [violation for obj in objects for violation in _check_one(obj, version)]


def _check_one(obj: Object, version: str) -> Iterator[Violation]:
    name = title(obj)
    kind, api = obj.get("kind"), obj.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(api, str) or not isinstance(dig(obj, "metadata", "name"), str):
        yield Violation(RULE, name, "apiVersion/kind/metadata.name", "each must be a string")
        return
    if custom.is_known(api, kind):
        for path, message in custom.departures(obj):
            yield Violation(RULE, name, _path(path), message)
        return
    validator = _validator(version, kind, api)
    if validator is None:
        yield Violation(RULE, name, "kind", f"Kubernetes {version} knows no {api} {kind}")
        return
    for error in validator.iter_errors(obj):
        yield Violation(RULE, name, _path(error.absolute_path), _short(error.message))


@cache
def _definitions(version: str) -> tuple[str, Any]:
    """The folder of a version's strict schemas, and its shared definitions."""
    from kubernetes_validate.utils import all_versions, schema_contents
    from referencing import Resource

    full = [v for v in all_versions() if v.rsplit(".", 1)[0] == version][-1]
    folder = f"kubernetes-json-schema/v{full}-local-strict"
    return folder, Resource.from_contents(schema_contents(f"{folder}/_definitions.json", version))


@cache
def _validator(version: str, kind: str, api: str) -> Any | None:
    """A validator for one kind, or None where this version has no such kind."""
    from jsonschema.validators import Draft202012Validator
    from kubernetes_validate.utils import schema_contents
    from referencing import Registry, Resource

    folder, definitions = _definitions(version)
    group, _, number = api.rpartition("/")
    stem = f"{kind.lower()}-{group.split('.')[0]}-{number}" if group else f"{kind.lower()}-{number}"
    try:
        schema = schema_contents(f"{folder}/{stem}.json", version)
    except FileNotFoundError:
        return None
    # The file name drops the group's domain, so "apps.example.org/v1" would pass as "apps/v1" without this.
    known = mapping(schema, "properties", "apiVersion").get("enum")
    if isinstance(known, list) and api not in known:
        return None
    registry: Any = definitions @ (Resource.from_contents(schema) @ Registry())
    return Draft202012Validator(schema, registry=registry)


def _path(parts: Sequence[Any]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".") or "(object)"


def _short(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:297]}..."
