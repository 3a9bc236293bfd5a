"""A small but complete rankops: a generated shop, real weights, a bare Git remote, the real kustomize."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    SensorEvaluationContext,
    build_sensor_context,
)

from rankops.specs import CompressionSpec, GateSpec, ModelSpec, ServingSpec, TrainingSpec
from rankops.state import REPOSITORY, LocalState

WORLD = """\
seed: 3
products: 240
users: 150
queries: 400
first_day: 2026-03-02
days: 8
searches_per_day: 300
drifts:
  - {name: new_slang, from_day: 4, strength: 0.6}
"""

SPEC = ModelSpec(
    name="retriever",
    task="retrieval",
    training=TrainingSpec(max_steps=8, batch_size=16, evaluate_every=4, hard_negatives=0),
    # So little training proves little: the floor is random, and only a disaster is worse than the champion.
    compression=CompressionSpec(quality_budget=0.2),
    gates=GateSpec(
        floors=("random",), min_queries=5, margin=0.4, slice_margin=0.5, max_plausible_loss=0.5, resamples=200
    ),
    serving=ServingSpec(golden_queries=10, latency_objective_ms=500, capacity_seconds=3),
)


@dataclass
class Place:
    """One state folder with everything that a run needs."""

    state: LocalState
    instance: DagsterInstance
    defs: Definitions

    def run(
        self,
        job: str,
        partition: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        only: list[str] | None = None,
        ok: bool = True,
    ) -> ExecuteInProcessResult:
        """Run a job (or some of its assets) in this process."""
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=partition,
            run_config=dict(config or {}),
            tags=dict(tags or {}),
            asset_selection=[AssetKey(key.split("/")) for key in only] if only else None,
            raise_on_error=ok,
        )

    def ingest(self, first: str, last: str) -> None:
        """Collect a range of days in one run."""
        self.run(
            "shop_ingest",
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
        )

    def sensor_context(self, cursor: str | None = None) -> SensorEvaluationContext:
        """A tick as the daemon would make it."""
        from definitions import default_resources

        return build_sensor_context(
            instance=self.instance, definitions=self.defs, resources=default_resources(), cursor=cursor
        )

    def commits(self) -> list[str]:
        """Subjects of the remote's commits, newest first."""
        import subprocess

        command = ["git", "-C", str(self.state.root / "gitops.git"), "log", "--format=%s", "main"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A state of its own, seeded like the demo's."""
    from automation.ui import prepare_home
    from definitions import build_defs
    from rankops.overlays.seed import create_bare_remote
    from rankops.stages.release import signing_keys
    from resources.shop import GeneratedShop

    root = tmp_path_factory.mktemp("place")
    world = root / "world.yaml"
    world.write_text(WORLD)
    patch = pytest.MonkeyPatch()
    patch.setenv("RANKOPS_STATE", str(root / "state"))
    patch.setenv("RANKOPS_WORLD", str(world))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("PATH", f"{REPOSITORY / '.rankops' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    state = LocalState.current()
    patch.setenv("DAGSTER_HOME", str(prepare_home(state)))
    _, public = signing_keys(lambda _: None)
    create_bare_remote(state.root / "gitops.git", REPOSITORY / "k8s-overlays", public)
    with warnings.catch_warnings(), DagsterInstance.get() as instance:
        warnings.simplefilter("ignore")
        yield Place(state, instance, build_defs(models=[SPEC], resource_overrides={"shop": GeneratedShop()}))
    patch.undo()
