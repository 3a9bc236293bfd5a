"""The search finds the better settings, spends no more than its budget, and does nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rankops.errors import BadInput, RankopsError
from rankops.files import file_digests
from rankops.search_spec import FloatRange
from rankops.training.job import TrainingEvent, TrainingInterrupted
from rankops.training.search import SearchJob, search
from tests.training_search.conftest import Trainer, facts

Make = Callable[..., SearchJob]


def quiet(_: TrainingEvent | str) -> None:
    """No progress lines."""


def test_the_first_trial_is_the_spec_as_it_stands_and_the_best_one_is_near_the_optimum(make_search: Make) -> None:
    result = search(make_search(trials=20), quiet, train=Trainer())
    first, best = result.trials[0], result.winner
    assert first.settings == {"training.learning_rate": 1e-4, "training.batch_size": 8} and first.state == "complete"
    assert first.value == pytest.approx(0.78 * 12 / 14)
    assert best.settings["training.batch_size"] == 8 and 4e-4 < best.settings["training.learning_rate"] < 2.5e-3
    assert result.gain == pytest.approx(best.value - first.value) and result.gain > 0.1
    assert sum(result.importance.values()) == pytest.approx(1.0)
    assert result.importance["training.learning_rate"] > result.importance["training.batch_size"]


def test_lagging_trials_are_ended_at_an_evaluation_and_the_best_ones_never(make_search: Make) -> None:
    trainer = Trainer()
    result = search(make_search(trials=14), quiet, train=trainer)
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned and all(trial.value < result.winner.value for trial in pruned)
    assert any(len(trial.curve) < 4 for trial in pruned)
    assert trainer.evaluations == sum(len(trial.curve) for trial in result.trials) < 56
    assert all(trial.state == "complete" for trial in result.trials[:3])  # startup trials are never ended
    whole = search(make_search("whole", trials=6, pruner="none"), quiet, train=Trainer())
    assert {trial.state for trial in whole.trials} == {"complete"}
    steps = search(make_search("bands", trials=14, pruner="hyperband"), quiet, train=Trainer())
    assert {trial.state for trial in steps.trials} == {"complete", "pruned"}


def test_equal_seeds_give_equal_searches_and_another_seed_another(make_search: Make) -> None:
    found = [
        search(make_search(name, seed=seed), quiet, train=Trainer()) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    ]
    assert facts(found[0]) == facts(found[1])
    drawn = [[trial.settings for trial in result.trials] for result in found]
    assert drawn[0] != drawn[2]


def test_a_search_cut_off_at_any_byte_of_its_journal_ends_with_the_same_result(make_search: Make) -> None:
    job = make_search(trials=5, startup_trials=2)
    reference = search(job, quiet, train=Trainer())
    journal = (job.folder / "journal.log").read_bytes()
    ends = [at + 1 for at, byte in enumerate(journal) if byte == 10]
    cuts = sorted({*ends[::4], *(end - 9 for end in ends[::8]), 0})
    assert len(cuts) > 14
    for cut in cuts:
        torn = make_search("torn", trials=5, startup_trials=2)
        shutil.rmtree(torn.folder, ignore_errors=True)
        torn.folder.mkdir()
        (torn.folder / "journal.log").write_bytes(journal[:cut])
        shutil.copy(job.folder / "facts.json", torn.folder)
        assert facts(search(torn, quiet, train=Trainer())) == facts(reference), cut


def test_finished_trials_are_not_trained_again_and_a_larger_budget_goes_on(make_search: Make) -> None:
    small, large = make_search(trials=4), make_search(trials=9)
    assert small.key() == large.key()
    search(small, quiet, train=Trainer())
    again, more = Trainer(), Trainer()
    search(small, quiet, train=again)
    result = search(large, quiet, train=more)
    assert again.jobs == [] and len(more.jobs) == 5
    assert facts(result) == facts(search(make_search("at-once", trials=9), quiet, train=Trainer()))


def test_the_budget_of_seconds_ends_a_search(make_search: Make) -> None:
    job = make_search(seconds=0.05)

    def slow(*arguments: object) -> object:
        time.sleep(0.11)  # seconds are counted in tenths
        return Trainer()(*arguments)

    result = search(job, quiet, train=slow)
    assert len(result.trials) == 1 and result.stopped_by == "seconds"


def test_settings_that_cannot_be_trained_are_recorded_and_the_search_goes_on(make_search: Make) -> None:
    result = search(make_search(), quiet, train=Trainer(lambda job: job.spec.learning_rate > 1.5e-3))
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert failed and len(result.trials) == 10
    assert all("loss is nan" in trial.reason and trial.value is None for trial in failed)
    with pytest.raises(RankopsError, match="loss is nan"):  # the spec itself: nothing to compare with
        search(make_search("broken"), quiet, train=Trainer(lambda job: True))


def test_equal_settings_are_trained_once(make_search: Make) -> None:
    trainer = Trainer()
    space = (FloatRange(field="training.warmup_ratio", low=0.1, high=0.101),)  # three digits: 0.1 or 0.101
    result = search(make_search(space=space, trials=8), quiet, train=trainer)
    assert len(trainer.jobs) == 2 and len(result.trials) == 8
    copies = [trial for trial in result.trials if trial.reason.startswith("the settings of trial")]
    assert len(copies) == 6


def test_a_spec_outside_of_the_space_is_still_the_first_trial(make_search: Make) -> None:
    trainer = Trainer()
    space = (FloatRange(field="training.learning_rate", low=5e-4, high=5e-3, log=True),)
    result = search(make_search(space=space, trials=5), quiet, train=trainer)
    assert trainer.jobs[0].spec.learning_rate == 1e-4 and result.trials[0].settings == {}
    assert all(5e-4 <= trial.settings["training.learning_rate"] <= 5e-3 for trial in result.trials[1:])


def test_asked_to_stop_a_search_saves_and_continues(make_search: Make) -> None:
    trainer = Trainer()
    asked = lambda: trainer.evaluations >= 6  # noqa: E731 (within the second trial)
    with pytest.raises(TrainingInterrupted):
        search(make_search(), quiet, asked, train=trainer)
    rest = Trainer()
    assert facts(search(make_search(), quiet, train=rest)) == facts(search(make_search("x"), quiet, train=Trainer()))
    assert len(trainer.jobs) == 2 and len(rest.jobs) == 9


def test_two_searches_in_one_folder_are_refused(make_search: Make) -> None:
    job = make_search()
    seen: list[str] = []

    def train(*arguments: object) -> object:
        with pytest.raises(BadInput, match="another search is running") as refused:
            search(job, quiet, train=Trainer())
        seen.append(str(refused.value))
        return Trainer()(*arguments)

    search(make_search(trials=2), quiet, train=train)
    assert len(seen) == 2
    with pytest.raises(BadInput, match="holds another search"):
        search(make_search(seed=99), quiet, train=Trainer())


def test_kill_9_within_a_real_training_loses_nothing(make_search: Make, tmp_path: Path) -> None:
    job, whole = make_search("killed", trials=2), make_search("whole", trials=2)
    file = job.folder / "job.json"
    file.parent.mkdir()
    file.write_text(job.model_dump_json())
    command = [sys.executable, "-m", "rankops.training", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    marker = job.folder / "trials" / "0001" / "work" / "states" / "checkpoint-3" / "sealed.json"
    while not marker.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    said: list[str] = []
    result = search(job, lambda event: said.append(str(event)))
    assert not [line for line in said if line.startswith("trial 1/")]
    assert said[0].startswith("trial 2/2: continues: training.learning_rate")
    assert any("continuing from checkpoint-" in line or "already holds" in line for line in said)
    assert facts(result) == facts(search(whole, quiet))
    assert json.loads((job.folder / "result.json").read_text()) == result.model_dump(mode="json")
    kept = set(file_digests(job.folder))
    assert kept == {"facts.json", "job.json", "journal.log", "key", "lock", "result.json"}  # no weights are left
