"""What is wrong with a request, in words: from pydantic's errors and the JSON schema that the documentation shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

Schema = Mapping[str, Any]
_SHOWN = 48
"""Characters of a wrong value that an error repeats."""
_PLURAL = {"object": "objects", "string": "texts", "integer": "whole numbers"}


def explained(error: ValidationError, schema: Schema) -> str:
    """One sentence on the first thing that is wrong, with the field's place; ``schema`` is the model's JSON schema."""
    problems = error.errors(include_url=False)
    unknown = sorted(str(problem["loc"][-1])[:_SHOWN] for problem in problems if problem["type"] == "extra_forbidden")
    if unknown:
        where = next(problem["loc"] for problem in problems if problem["type"] == "extra_forbidden")
        known = ", ".join(sorted(_at(schema, where[:-1], schema).get("properties", ())))
        return f"unknown field {', '.join(unknown)}; there are {known}"
    problem = problems[0]
    kind, place, context = problem["type"], problem["loc"], problem.get("ctx", {})
    if kind in ("model_type", "model_attributes_type") and place and place[-1] == "object":
        place = place[:-1]  # no alternative fits: say all of them
    name = f"'{_name(place)}'" if place else "the request"
    if kind == "string_too_long":
        return f"{name} has {len(problem['input'])} characters, at most {context['max_length']} are allowed"
    if kind == "too_long":
        return f"{name} has {context['actual_length']} entries, at most {context['max_length']} are allowed"
    wanted = expected(_at(schema, place, schema), schema)
    if kind == "missing":
        return f"{name} is missing; it must be {wanted}"
    wanted = f"{name} must be {wanted}"
    return wanted if isinstance(problem["input"], list | dict) else f"{wanted}, not {_shown(problem['input'])}"


def _name(place: Sequence[int | str]) -> str:
    """``products[3].text``; the names of alternatives (``object``, ``string``) are not the caller's."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in ("object", "string"):
            text += f".{part}" if text else part
    return text


def _at(schema: Schema, place: Sequence[int | str], root: Schema) -> Schema:
    """The schema of one place; an empty one where the document says nothing of it."""
    schema = _resolved(schema, root)
    for part in place:
        options = [_resolved(option, root) for option in (*schema.get("oneOf", ()), *schema.get("anyOf", ()))]
        if isinstance(part, int):
            found = schema.get("items", {})
        elif options:
            found = next((option for option in options if option.get("type") == part), {})
        else:
            found = schema.get("properties", {}).get(part, {})
        schema = _resolved(found, root)
    return schema


def _resolved(schema: Schema, root: Schema) -> Schema:
    reference = schema.get("$ref")
    found: Schema = schema if reference is None else root["$defs"][reference.rpartition("/")[2]]
    return found


def expected(schema: Schema, root: Schema) -> str:
    """What a schema wants, in words.

    >>> expected({"type": "integer", "minimum": 1, "maximum": 9}, {})
    'a whole number from 1 to 9'
    """
    schema = _resolved(schema, root)
    options = (*schema.get("oneOf", ()), *schema.get("anyOf", ()))
    if options:
        return ", or ".join(expected(option, root) for option in options)
    kind = schema.get("type")
    if kind == "integer":
        return f"a whole number{_range(schema, 'minimum', 'maximum', ' from')}"
    if kind == "string":
        bounded = _range(schema, "minLength", "maxLength", " of")
        return "a text that is not empty" if schema.get("pattern") else f"a text{bounded and bounded + ' characters'}"
    if kind == "array":
        of = _PLURAL.get(str(_resolved(schema.get("items", {}), root).get("type")), "entries")
        return f"a list{_range(schema, 'minItems', 'maxItems', ' of') or ' of'} {of}"
    if kind == "object":
        return _object(schema)
    return {"null": "null", "boolean": "true or false", "number": "a number"}.get(str(kind), "something else")


def _object(schema: Schema) -> str:
    needed = [f"'{name}'" for name in schema.get("required", ())]
    return f"an object with {' and '.join(needed)}" if needed else "an object"


def _range(schema: Schema, least: str, most: str, word: str) -> str:
    """`` from 1 to 9`` where both ends are known, else nothing of it or the one end."""
    low, high = schema.get(least), schema.get(most)
    if high is None:
        return "" if low is None else f"{word} {low} up"
    return f"{word} {low or 0} to {high}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "that many digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
