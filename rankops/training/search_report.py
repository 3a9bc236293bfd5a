"""A hyper-parameter search in words: what to paste into the model spec, and the table of trials."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff

from pydantic import BaseModel

from rankops.search_spec import changed
from rankops.specs import ModelSpec
from rankops.training.search import SearchResult, TrialRecord

_GROUPS = ("training", "ranking", "recommendation")


def spec_groups(spec: ModelSpec) -> dict[str, BaseModel]:
    """The parts of a spec that a search may change."""
    return {name: getattr(spec, name) for name in _GROUPS}


def paste(spec: ModelSpec, result: SearchResult) -> str:
    """The changed arguments of the ModelSpec as Python, every field that is not at its default written out."""
    return "\n".join(line for group in _best(spec, result).values() for line in _source(group))


def diff(spec: ModelSpec, result: SearchResult) -> str:
    """The same as a unified diff against the spec as it stands; empty where nothing is better."""
    best = _best(spec, result)
    before = [line for name in best for line in _source(getattr(spec, name))]
    after = [line for group in best.values() for line in _source(group)]
    return "\n".join(list(unified_diff(before, after, lineterm="", n=99))[3:])


def _best(spec: ModelSpec, result: SearchResult) -> dict[str, BaseModel]:
    now = spec_groups(spec)
    made = changed(now, result.winner.settings)
    return {name: group for name, group in made.items() if group != now[name]}


def _source(group: BaseModel) -> list[str]:
    name = next(field for field in _GROUPS if type(group) is ModelSpec.model_fields[field].annotation)
    defaults = type(group)()
    fields = [field for field in type(group).model_fields if getattr(group, field) != getattr(defaults, field)]
    inner = [f"    {field}={getattr(group, field)!r}," for field in fields]
    return [f"{name}={type(group).__name__}(", *inner, "),"]


def markdown(spec: ModelSpec, result: SearchResult) -> str:
    """The page that the UI shows: the verdict, the diff, and how far to trust it."""
    first, best = result.trials[0], result.winner
    head = (
        f"**{spec.name}**: {len(result.trials)} trials in {sum(t.seconds for t in result.trials):.0f} s "
        f"({_counts(result)}); dev {result.metric} before training {result.before:.4f}, the spec as it stands "
        f"{first.value or 0:.4f}, best {best.value or 0:.4f} (trial {best.number})."
    )
    if result.best == 0 or not _best(spec, result):
        return f"{head}\n\nNo trial is better than the spec as it stands: keep it."
    caution = (
        f"The best of {len(result.trials)} trials on {result.dev_queries} dev queries is partly luck: a gain of "
        f"{result.gain:+.4f} will be smaller on other queries. The gate on the test split decides, as for every change."
    )
    code = f"```diff\n{diff(spec, result)}\n```\n\nFor `assets/models.py`:\n\n```python\n{paste(spec, result)}\n```"
    return f"{head}\n\n{code}\n\n{caution}"


def _counts(result: SearchResult) -> str:
    states: Mapping[str, int] = {
        state: sum(t.state == state for t in result.trials) for state in ("complete", "pruned", "failed")
    }
    return ", ".join(f"{count} {state}" for state, count in states.items() if count)


def table(result: SearchResult) -> str:
    """Markdown: one row a trial, best first, then the pruned and the failed."""
    fields = list(dict.fromkeys(name for trial in result.trials for name in trial.settings))
    rows = [
        "| trial | " + " | ".join(name.split(".", 1)[1] for name in fields) + f" | dev {result.metric} | step | s | |",
        "|--:|" + "--:|" * (len(fields) + 3) + "---|",
    ]
    order = {"complete": 0, "pruned": 1, "failed": 2}
    for trial in sorted(result.trials, key=lambda t: (order[t.state], -(t.value or 0.0), t.number)):
        rows.append(_row(trial, fields))
    return "\n".join(rows)


def _row(trial: TrialRecord, fields: list[str]) -> str:
    value = "" if trial.value is None else f"{trial.value:.4f}"
    said = trial.state if not trial.reason else f"{trial.state}: {trial.reason.splitlines()[0]}"
    cells = [str(trial.number), *(str(trial.settings.get(name, "")) for name in fields)]
    cells += [value, str(trial.best_step or ""), f"{trial.seconds:.0f}", said.replace("|", "/")]
    return "| " + " | ".join(cells) + " |"
