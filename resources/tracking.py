"""Experiment tracking: MLflow through dagster-mlflow, one MLflow run per Dagster run.

dagster-mlflow leaves its run RUNNING unless its hook sits on the job, and ad-hoc materializations from the UI have
no job of ours. So the step that trains opens *and ends* the run here (FINISHED or FAILED), and a sensor
(``automation.sensors``) closes what a killed process left open.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import AssetExecutionContext, ConfigurableResource
from pydantic import Field

from rankops.state import LocalState


@dataclass(frozen=True)
class _InitContext:
    """What ``dagster_mlflow.MlFlow`` reads from a resource's init context."""

    log: Any
    dagster_run: Any
    run_id: str
    resource_config: dict[str, Any]


class Tracking(ConfigurableResource):
    """Where parameters, metrics and plots of trainings are kept."""

    tracking_uri: str = Field(
        default="", description="MLflow server or file; empty: $MLFLOW_TRACKING_URI, else .rankops/mlflow.db"
    )
    experiment: str = Field(default="rankops", description="MLflow experiment that runs belong to")

    def _uri(self) -> str:
        uri = self.tracking_uri or LocalState.current().tracking_uri
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return uri

    @contextmanager
    def run(self, context: AssetExecutionContext, tags: Mapping[str, str]) -> Iterator[MlflowRun]:
        """Open the MLflow run of this Dagster run; it ends FINISHED, or FAILED when the body raises."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        import mlflow

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # one line per schema migration
        self._prepare()
        config = {
            "mlflow_tracking_uri": self._uri(),
            "experiment_name": self.experiment,
            "extra_tags": dict(tags),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dagster-mlflow is marked beta by its own package
            from dagster_mlflow.resources import MlFlow

            MlFlow(_InitContext(context.log, context.run, context.run_id, config))
        active = mlflow.active_run()
        if active is None:
            raise RuntimeError("dagster-mlflow started no run")
        try:
            yield MlflowRun(active.info.run_id, self._uri())
        except BaseException:
            mlflow.end_run(status="FAILED")
            raise
        mlflow.end_run(status="FINISHED")

    def _prepare(self) -> None:
        """Create the experiment with artifacts below the state folder (MLflow's default is the working folder)."""
        from mlflow import MlflowClient

        client = MlflowClient(self._uri())
        if client.get_experiment_by_name(self.experiment) is None:
            location = None
            if self._uri().startswith("sqlite:"):
                location = (LocalState.current().root / "mlflow-artifacts").as_uri()
            client.create_experiment(self.experiment, artifact_location=location)

    def open(self, run_id: str) -> MlflowRun:
        """Write to a run that an earlier stage of the same lineage ended."""
        return MlflowRun(run_id, self._uri())

    def close_abandoned(self, dagster_run_id: str, status: str) -> list[str]:
        """End runs of a dead Dagster run that are still RUNNING; returns their ids."""
        from mlflow import MlflowClient

        client = MlflowClient(self._uri())
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            return []
        query = f"tags.dagster_run_id = '{dagster_run_id}' and attributes.status = 'RUNNING'"
        left = client.search_runs([experiment.experiment_id], query)
        for run in left:
            client.set_terminated(run.info.run_id, status=status)
        return [run.info.run_id for run in left]


@dataclass(frozen=True)
class MlflowRun:
    """One MLflow run, written through the client so that it also works after the run has ended."""

    run_id: str
    uri: str

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; values are shown as text."""
        client = self._client()
        for name, value in values.items():
            client.log_param(self.run_id, name, value)

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics of one step. ``@`` is not allowed in MLflow's names and becomes ``_at_``."""
        client = self._client()
        for name, value in values.items():
            client.log_metric(self.run_id, name.replace("@", "_at_"), float(value), step=step)

    def log_child(
        self, name: str, params: Mapping[str, Any], curve: Iterable[tuple[int, float]], *, ok: bool = True
    ) -> str:
        """Log a run below this one, ended: its parameters and the dev metric by step. Returns its id."""
        client = self._client()
        experiment = client.get_run(self.run_id).info.experiment_id
        made = client.create_run(experiment, run_name=name, tags={"mlflow.parentRunId": self.run_id})
        child = MlflowRun(made.info.run_id, self.uri)
        child.log_params(params)
        for step, value in curve:
            child.log_metrics({"dev": value}, step=step)
        client.set_terminated(child.run_id, status="FINISHED" if ok else "FAILED")
        return child.run_id

    def log_bytes(self, name: str, data: bytes) -> None:
        """Attach a file, e.g. a PNG plot."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            self._client().log_artifact(self.run_id, str(path))

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri)
