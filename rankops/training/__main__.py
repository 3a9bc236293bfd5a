"""``python -m rankops.training JOB.json``: one training run, or one hyper-parameter search, in its own process.

Under Dagster Pipes (the launching step sets the environment) progress goes to the run's log and the result is a
custom message; otherwise progress goes to standard error. Either way ``result.json`` is written beside the output.
torchrun may start it as several processes of one training (:mod:`rankops.training.ranks`): the first one speaks.
Exit status: 0 done, 1 a clear error on standard error, 143 stopped by SIGTERM with the state saved.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from rankops.errors import BadInput, RankopsError
from rankops.files import write_json
from rankops.training.job import TrainingInterrupted, TrainingJob, TrainingResult
from rankops.training.ranks import Ranks, alone
from rankops.training.search import SearchJob, SearchResult, search
from rankops.training.tasks import trainer_of

Say = Callable[[str], None]
Job = TrainingJob | SearchJob
Result = TrainingResult | SearchResult
Report = Callable[[Result], None]

_PIPES = ("DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES")


class _StopFlag:
    """Set by SIGTERM; asked by the run between its steps."""

    def __init__(self) -> None:
        self.set = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.set = True

    def __call__(self) -> bool:
        return self.set


@contextmanager
def _channel() -> Iterator[tuple[Say, Report]]:
    """How this process speaks: ``(progress lines, the result)``. Of several only the first does."""
    if not Ranks.current().is_first:
        yield lambda line: None, lambda result: None
        return
    if not all(name in os.environ for name in _PIPES):
        yield _to_stderr, lambda result: None
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        yield (
            pipes.log.info,
            lambda result: pipes.report_custom_message(result.model_dump(mode="json")),
        )


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _read_job(arguments: list[str]) -> Job:
    if len(arguments) != 1:
        raise BadInput(f"{len(arguments)} arguments, expected one", "python -m rankops.training JOB.json")
    path = Path(arguments[0])
    try:
        text = path.read_text()
        return (SearchJob if _is_search(text) else TrainingJob).model_validate_json(text)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", "give the path of a training job") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInput(f"{path}: {field}: {first['msg']}", "see rankops.training.job.TrainingJob") from error


def _is_search(text: str) -> bool:
    try:
        return "search" in json.loads(text)
    except (ValueError, TypeError):
        return False  # the model's own validation says what is wrong


def _run(job: Job, say: Say, should_stop: Callable[[], bool]) -> Result:
    """Do the job and write ``result.json`` beside what it made."""
    if isinstance(job, SearchJob):
        return search(job, lambda event: say(str(event)), should_stop)
    result = trainer_of(job.task)(job, lambda event: say(str(event)), should_stop)
    if Ranks.current().is_first:
        write_json(job.output.parent / "result.json", result.model_dump(mode="json"))
    return result


def _is_shared(job: Job) -> bool:
    """Whether several processes can do it together: not a search of many trainings, nor a closed form."""
    return isinstance(job, TrainingJob) and job.task != "recommendation"


def main(arguments: list[str]) -> int:
    """Run the job named by the only argument and return the exit status."""
    should_stop = _StopFlag()
    with _channel() as (say, report):
        try:
            job = _read_job(arguments)
            if not _is_shared(job) and not alone():
                return 0
            ranks = Ranks.current()
            ranks.join()
            result = _run(job, say, should_stop)
            ranks.leave()
        except TrainingInterrupted as stop:
            say(str(stop))
            return 128 + signal.SIGTERM
        except RankopsError as error:
            for speak in {say, _to_stderr}:  # the run's log, and where a plain caller looks
                speak(f"error: {error}")
            return 1
        report(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
