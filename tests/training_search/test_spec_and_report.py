"""What a search may change, and what it tells people."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from rankops import specs
from rankops.search_spec import DEFAULT_SPACES, Choice, FloatRange, IntRange, SearchSpec, changed, current
from rankops.specs import ModelSpec, RecommendationSpec, TrainingSpec
from rankops.training import search_plots
from rankops.training.search import SearchJob, search
from rankops.training.search_report import diff, markdown, paste, spec_groups, table
from tests.training_search.conftest import Trainer

RATE = FloatRange(field="training.learning_rate", low=1e-5, high=1e-2, log=True)


def model(**search: object) -> ModelSpec:
    return ModelSpec(name="retriever", task="retrieval", search=SearchSpec(**search))


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ((IntRange(field="training.nope", low=1, high=2),), "TrainingSpec has no such field"),
        ((IntRange(field="training.batch_size", low=0, high=9),), "training.batch_size: Input should be greater"),
        ((Choice(field="training.precision", values=("fp32", "fp8")),), "training.precision"),
        ((IntRange(field="training.seed", low=0, high=9),), "makes its trials comparable"),
        ((RATE, RATE), "two ranges for one field"),
    ],
)
def test_a_space_that_the_spec_would_not_accept_is_refused_when_it_is_declared(space: tuple, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        model(space=space)


def test_bounds_are_ordered_and_logarithms_positive() -> None:
    with pytest.raises(ValidationError, match="not below"):
        IntRange(field="training.max_steps", low=9, high=9)
    with pytest.raises(ValidationError, match="above 0"):
        FloatRange(field="training.warmup_ratio", low=0, high=0.2, log=True)
    with pytest.raises(ValidationError, match="field"):
        FloatRange(field="gates.margin", low=0, high=1)


@pytest.mark.parametrize("task", sorted(DEFAULT_SPACES))
def test_the_default_space_of_each_task_is_accepted_by_its_spec(task: str) -> None:
    made = ModelSpec(name="m", task=task, search=SearchSpec(space=DEFAULT_SPACES[task]))
    assert hash(made) == hash(ModelSpec.model_validate_json(made.model_dump_json()))


def test_values_have_three_digits_and_stay_inside_and_lists_take_one_value() -> None:
    assert RATE.value(0.000123456) == 0.000123 and RATE.value(1e-5) == 1e-5
    assert FloatRange(field="training.warmup_ratio", low=0.10004, high=0.2).value(0.10004) == 0.10004
    groups = {"training": TrainingSpec(), "recommendation": RecommendationSpec()}
    made = changed(groups, {"recommendation.half_lives": 33.0, "training.max_steps": 7})
    assert made["recommendation"].half_lives == (33.0,) and made["training"].max_steps == 7
    half = FloatRange(field="recommendation.half_lives", low=1, high=100)
    assert current(made, [half]) == {"recommendation.half_lives": 33.0}
    assert current(groups, [half]) is None  # several values: no point of the space


def test_the_pasted_lines_are_the_spec_of_the_best_trial(make_search: Callable[..., SearchJob]) -> None:
    job = make_search(trials=12)
    spec = ModelSpec(name="retriever", task="retrieval", training=job.job.spec)
    result = search(job, lambda event: None, train=Trainer())
    made = eval(f"ModelSpec(name='retriever', task='retrieval', {paste(spec, result)})", vars(specs))
    assert made == ModelSpec(
        name="retriever", task="retrieval", training=changed(spec_groups(spec), result.winner.settings)["training"]
    )
    lines = diff(spec, result).splitlines()
    rate = result.winner.settings["training.learning_rate"]
    assert f"+    learning_rate={rate!r}," in lines and " training=TrainingSpec(" in lines
    assert "     max_steps=12," in lines  # what stays is written out too: the lines replace the old ones
    page = markdown(spec, result)
    assert f"{result.winner.value:.4f}" in page and "partly luck" in page and "40 dev queries" in page
    rows = table(result).splitlines()
    assert len(rows) == 14 and rows[2].startswith(f"| {result.best} |")


def test_without_a_better_trial_the_advice_is_to_keep_the_spec(make_search: Callable[..., SearchJob]) -> None:
    job = make_search(trials=3)
    best = job.model_copy(
        update={"job": job.job.model_copy(update={"spec": TrainingSpec(learning_rate=1e-3, max_steps=88)})}
    )
    space = (FloatRange(field="training.learning_rate", low=1e-5, high=1e-4, log=True),)
    result = search(
        best.model_copy(update={"search": SearchSpec(space=space, trials=3)}), lambda event: None, train=Trainer()
    )
    assert result.best == 0 and "keep it" in markdown(model(), result) and diff(model(), result) == ""


def test_every_picture_is_drawn(make_search: Callable[..., SearchJob]) -> None:
    result = search(
        make_search(trials=14), lambda event: None, train=Trainer(lambda job: job.spec.learning_rate > 5e-3)
    )
    for draw in (search_plots.history, search_plots.parallel_coordinates, search_plots.importance):
        assert draw(result).startswith(b"\x89PNG")
