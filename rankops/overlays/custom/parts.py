"""What the schemas of custom resources share: strictness, simple types, selectors and references."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

_DURATION = r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"
Duration = Annotated[str, StringConstraints(pattern=_DURATION, min_length=1)]
FlaggerInterval = Annotated[str, StringConstraints(pattern=r"^[0-9]+(m|s)")]
Text = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Strings = dict[str, str]


class Part(BaseModel):
    """Part of a resource: unknown fields and wrong types are errors; a number is never read from text."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, frozen=True)


class Resource(Part):
    """What all resources have. ``metadata`` is checked by the rules; ``status`` never comes from Git."""

    api_version: str
    kind: str
    metadata: dict[str, Any]


class Requirement(Part):
    """One expression of a label selector."""

    key: Text
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] | None = None


class Selector(Part):
    """A label selector."""

    match_labels: Strings | None = None
    match_expressions: list[Requirement] | None = None

    @model_validator(mode="after")
    def _selects(self) -> Selector:
        if not self.match_labels and not self.match_expressions:
            raise ValueError("an empty selector takes in the whole namespace")
        return self


class Reference(Part):
    """An object in the same namespace."""

    api_version: Text
    kind: Text
    name: Text
