"""What a hyper-parameter search may change, how far, and how long it may take.

A range names a field by its group and name in the model spec: ``training.learning_rate``, ``ranking.positive_weight``,
``recommendation.half_lives`` (of a field that holds several values the search sets one).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

FieldName = Annotated[str, StringConstraints(pattern=r"^(training|ranking|recommendation)\.[a-z_0-9]+$")]
Setting = bool | int | float | str
Settings = Mapping[str, Setting]
"""Field -> value, for every field of the space."""

_DIGITS = 3
"""Significant digits of a float: the value in the report is the value that was trained with."""

_FIXED = frozenset(
    {
        "training.start",  # a trial starts from the base model
        "training.warm_steps",
        "training.replay",
        "training.seed",  # the best of several seeds is luck, and the dev sample goes by it
        "training.evaluate_every",  # pruning compares trials after equally many steps
        "ranking.objective",  # these decide what is asked: trials would not be comparable
        "recommendation.test_days",
        "recommendation.dev_days",
    }
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FloatRange(_Frozen):
    """A number between two bounds, both included."""

    kind: Literal["float"] = "float"
    field: FieldName
    low: float
    high: float
    log: bool = Field(default=False, description="search on a logarithmic scale")

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        return _checked(self)

    def value(self, drawn: Any) -> float:
        """The drawn number with three significant digits, inside the bounds."""
        return min(max(float(f"{drawn:.{_DIGITS}g}"), self.low), self.high)

    def ends(self) -> tuple[Setting, ...]:
        """Values that the field must accept."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        """Whether a value could be drawn."""
        return isinstance(value, int | float) and self.low <= value <= self.high


class IntRange(_Frozen):
    """A whole number between two bounds, both included."""

    kind: Literal["int"] = "int"
    field: FieldName
    low: int
    high: int
    log: bool = Field(default=False, description="search on a logarithmic scale")

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        return _checked(self)

    def value(self, drawn: Any) -> int:
        """The drawn number."""
        return int(drawn)

    def ends(self) -> tuple[Setting, ...]:
        """Values that the field must accept."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        """Whether a value could be drawn."""
        return isinstance(value, int) and self.low <= value <= self.high


class Choice(_Frozen):
    """One of some values."""

    kind: Literal["choice"] = "choice"
    field: FieldName
    values: tuple[Setting, ...] = Field(min_length=2)

    def value(self, drawn: Any) -> Setting:
        """The drawn value."""
        chosen: Setting = drawn
        return chosen

    def ends(self) -> tuple[Setting, ...]:
        """Values that the field must accept."""
        return self.values

    def holds(self, value: Any) -> bool:
        """Whether a value could be drawn."""
        return value in self.values


Range = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


_Bounds = TypeVar("_Bounds", FloatRange, IntRange)


def _checked(bounds: _Bounds) -> _Bounds:
    if not bounds.low < bounds.high:
        raise ValueError(f"{bounds.field}: low {bounds.low} is not below high {bounds.high}")
    if bounds.log and bounds.low <= 0:
        raise ValueError(f"{bounds.field}: a logarithmic scale needs a low above 0")
    return bounds


class SearchSpec(_Frozen):
    """The search of one model; its result is advice for people, and nothing is released by it.

    Trials are drawn by TPE (Bergstra et al., NeurIPS 2011). The first trial is the spec as it stands. ``median``
    ends a trial whose best dev metric is below the median of the others after equally many steps; ``hyperband``
    (Li et al., JMLR 2018) pays from some thirty trials on.
    """

    space: tuple[Range, ...] = Field(default=(), description="what may change; empty: DEFAULT_SPACES of the task")
    trials: int = Field(default=20, ge=2, description="budget, the first trial (the spec as it stands) included")
    seconds: float = Field(default=3600.0, gt=0, description="no trial starts once the trials took this long together")
    pruner: Literal["median", "hyperband", "none"] = "median"
    startup_trials: int = Field(default=5, ge=1, description="trials drawn at random, and never ended by the median")
    seed: int = 13

    @model_validator(mode="after")
    def _fields_are_free(self) -> SearchSpec:
        fields = [bounds.field for bounds in self.space]
        if fixed := sorted(_FIXED & set(fields)):
            raise ValueError(f"{', '.join(fixed)}: a search must not change what makes its trials comparable")
        if twice := sorted({field for field in fields if fields.count(field) > 1}):
            raise ValueError(f"{', '.join(twice)}: two ranges for one field")
        return self


_LEARNING: tuple[Range, ...] = (
    FloatRange(field="training.learning_rate", low=2e-5, high=1e-3, log=True),
    Choice(field="training.batch_size", values=(16, 32, 64)),
    FloatRange(field="training.warmup_ratio", low=0.0, high=0.3),
)

DEFAULT_SPACES: Mapping[str, tuple[Range, ...]] = {
    "retrieval": (
        *_LEARNING,
        IntRange(field="training.hard_negatives", low=0, high=3),
        FloatRange(field="training.temperature", low=0.02, high=0.1, log=True),
    ),
    "ranking": (*_LEARNING, IntRange(field="training.max_steps", low=40, high=400, log=True)),
    "recommendation": (
        FloatRange(field="recommendation.half_lives", low=15.0, high=400.0, log=True),
        FloatRange(field="recommendation.size_exponents", low=0.0, high=1.0),
        FloatRange(field="recommendation.regularizations", low=5.0, high=200.0, log=True),
        FloatRange(field="recommendation.word_weights", low=0.5, high=50.0, log=True),
        FloatRange(field="recommendation.text_weights", low=0.5, high=50.0, log=True),
        FloatRange(field="recommendation.number_weights", low=0.0, high=10.0),
        FloatRange(field="recommendation.price_weights", low=0.0, high=10.0),
        FloatRange(field="recommendation.new_item_boosts", low=0.01, high=0.2, log=True),
        FloatRange(field="recommendation.text_boosts", low=0.0, high=0.5),
        FloatRange(field="recommendation.trends", low=0.0, high=0.4),
    ),
}
"""Task -> what is searched where a spec names no space."""


def changed(groups: Mapping[str, BaseModel], settings: Settings) -> dict[str, Any]:
    """``groups`` (``training``, ``ranking``, ... -> its spec) with the fields of ``settings`` replaced, validated.

    Raises :class:`ValueError` naming the field that does not exist or does not accept its value.
    """
    values = {name: group.model_dump() for name, group in groups.items()}
    for field, value in settings.items():
        group, name = field.split(".", 1)
        if name not in type(groups[group]).model_fields:
            raise ValueError(f"{field}: {type(groups[group]).__name__} has no such field")
        values[group][name] = (value,) if _is_several(groups[group], name) else value
    made: dict[str, Any] = {}
    for part, spec in groups.items():
        try:
            made[part] = type(spec).model_validate(values[part])
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{part}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return made


def current(groups: Mapping[str, BaseModel], space: Iterable[Range]) -> dict[str, Setting] | None:
    """The settings that the specs have now; None where a range does not hold one of them."""
    found: dict[str, Setting] = {}
    for bounds in space:
        group, name = bounds.field.split(".", 1)
        value = getattr(groups[group], name)
        if _is_several(groups[group], name):
            value = value[0] if len(value) == 1 else None
        if not bounds.holds(value):
            return None
        found[bounds.field] = value
    return found


def check_space(space: Iterable[Range], groups: Mapping[str, BaseModel]) -> None:
    """Raises :class:`ValueError` for a range whose field does not exist or does not accept its ends."""
    for bounds in space:
        for value in bounds.ends():
            changed(groups, {bounds.field: value})


def _is_several(group: BaseModel, name: str) -> bool:
    return get_origin(type(group).model_fields[name].annotation) is tuple
