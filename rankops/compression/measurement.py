"""Measuring artifacts where the hardware is, and accepting what was measured there.

A target that the compressing machine is not (a GPU, an ARM server) is built here and measured there: ``rankops measure
ARTIFACT_DIR`` runs on such a machine over the candidates that the artifact's folder carries and writes one file. The
ladder takes that file in place of its own latencies, after checking that it is about the very same bytes.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rankops.compression.probe import Plan, Profile
from rankops.compression.report import CompressionReport
from rankops.compression.targets import available_cores, can_measure, cpu_name, gpu_name, providers_for
from rankops.errors import BadInput, IntegrityError
from rankops.files import sha256_file, write_json
from rankops.specs import Target

CANDIDATES = "candidates"
MODEL = "model.onnx"
_ROUNDS = 3
_PATIENCE = 600
_AGAIN = "run `rankops measure` on the artifact as it is now"

Progress = Callable[[str], None]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Frozen):
    """One candidate: the SHA-256 of its ``model.onnx`` and what was measured of it."""

    digest: str
    profile: Profile


class Measurement(_Frozen):
    """What ``rankops measure`` writes. ``machine`` says what it ran on; ``rungs`` are by name."""

    model: str
    target: Target
    machine: str
    providers: tuple[str, ...]
    created_at: str
    versions: dict[str, str]
    query_tokens: int
    rungs: dict[str, Measured]

    @classmethod
    def read(cls, path: Path) -> Measurement:
        """Raises :class:`BadInput` naming the file and what is wrong with it."""
        remedy = f"write it with `rankops measure ARTIFACT_DIR --out {path}` on a machine of the target"
        if not path.is_file():
            raise BadInput(f"compression.measurement names {path}, which does not exist", remedy)
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise BadInput(f"{path} is not a measurement: {error.errors()[0]['msg']}", remedy) from error

    def costs(self, model: str, target: Target, digests: Mapping[str, str]) -> dict[str, float]:
        """Median milliseconds of one query by rung.

        ``digests``: SHA-256 of each rung's ``model.onnx`` here. Raises :class:`BadInput` where the file is about
        another model or target, or about other bytes, naming each rung that differs.
        """
        if (self.model, self.target) != (model, target):
            raise BadInput(
                f"the measurement is of {self.model} on {self.target}, not of {model} on {target}",
                "name the file of this model and target in compression.measurement",
            )
        known = {name: measured.digest for name, measured in self.rungs.items()}
        other = [name for name, digest in digests.items() if known.get(name) != digest]
        if other:
            raise BadInput(f"the measurement is of other artifacts than these: {', '.join(sorted(other))}", _AGAIN)
        return {name: self.query(name) for name in digests}

    def query(self, rung: str) -> float:
        """Median milliseconds of one query of ordinary length."""
        point = self.rungs[rung].profile.at(1, self.query_tokens)
        if point is None:
            raise BadInput(f"the measurement has no point of one text of {self.query_tokens} tokens", _AGAIN)
        return point.p50_ms


def measure(folder: Path, *, plan: Plan | None = None, rounds: int = _ROUNDS, progress: Progress) -> Measurement:
    """Measure every candidate of an artifact folder on this machine, which must be of the artifact's target.

    Each candidate runs in a process of its own, ``rounds`` times in turn with the others; of each point the best round
    counts. Raises :class:`BadInput` for a folder that is no artifact, and on a machine that is not of the target.
    """
    report = _report(folder)
    if not can_measure(report.target):
        raise BadInput(f"this machine ({cpu_name()}) is no {report.target}", f"run it on one that is {report.target}")
    models = candidates(folder, report)
    plan = (plan or plan_for(report)).model_copy(update={"providers": providers_for(report.target)})
    found: dict[str, list[Profile]] = {name: [] for name in models}
    for number in range(rounds):
        for name, model in models.items():
            progress(f"measure: round {number + 1} of {rounds}: {name}")
            found[name].append(probe(model, plan))
    return Measurement(
        model=report.model,
        target=report.target,
        machine=machine(report.target),
        providers=plan.providers,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"onnxruntime": version("onnxruntime")},
        query_tokens=report.query_tokens,
        rungs={name: Measured(digest=sha256_file(model), profile=best(found[name])) for name, model in models.items()},
    )


def write(measurement: Measurement, path: Path) -> Path:
    """Write the file as a whole and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, measurement.model_dump(mode="json"))
    return path


def plan_for(report: CompressionReport) -> Plan:
    """The grid of a report's model: its queries' ordinary length, and lengths up to its longest texts."""
    return Plan(lengths=tuple(sorted({report.query_tokens, 8, 16, 32})))


def probe(model: Path, plan: Plan) -> Profile:
    """Run :mod:`rankops.compression.probe` on a model. Raises :class:`IntegrityError` with what it said."""
    command = [sys.executable, "-m", "rankops.compression.probe", str(model), plan.model_dump_json()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise IntegrityError(
            f"{model} was not measured within {_PATIENCE} s", "use a machine with idle cores"
        ) from error
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").split("\n")[-1]
        raise IntegrityError(f"{model} could not be measured: {last}", "rematerialize the quantized artifact")
    return Profile.model_validate_json(done.stdout.strip().split("\n")[-1])


def best(profiles: list[Profile]) -> Profile:
    """Of each point, and of loading, the round that the rest of the machine disturbed least; of memory the most."""
    by_point = zip(*(one.points for one in profiles), strict=True)
    points = tuple(min(same, key=lambda point: point.p50_ms) for same in by_point)
    return Profile(
        load_ms=min(one.load_ms for one in profiles), peak_mb=max(one.peak_mb for one in profiles), points=points
    )


def candidates(folder: Path, report: CompressionReport) -> dict[str, Path]:
    """The models that a folder carries, by rung: all that could win, or the winner alone where that was decided."""
    carried = sorted(path for path in (folder / CANDIDATES).glob(f"*/{MODEL}"))
    return {path.parent.name: path for path in carried} or {report.winner: folder / MODEL}


def machine(target: Target) -> str:
    """What this machine is, for people: processor, cores, system, and the accelerator where the target has one."""
    parts = [cpu_name(), f"{available_cores()} cores", f"{platform.system()} {platform.machine()}"]
    return ", ".join([gpu_name(), *parts] if target == "gpu-cuda" else parts)


def _report(folder: Path) -> CompressionReport:
    path = folder / "compression.json"
    if not path.is_file():
        raise BadInput(f"{path} is missing", "give the folder of a quantized artifact")
    try:
        return CompressionReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BadInput(f"{path} is not a compression report: {error.errors()[0]['msg']}", "rematerialize it") from error
