"""A place where releases are deployed and taken out: real Git, real kustomize, real signed bundles, real Dagster."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, Definitions, ExecuteInProcessResult, build_sensor_context

from rankops.artifacts import StoredArtifact
from rankops.deployment import VerificationRecord
from rankops.errors import VerificationFailed
from rankops.overlays.deploy import DeployRequest, deploy
from rankops.overlays.history import current
from rankops.overlays.mirror import GitRemote
from rankops.overlays.seed import create_bare_remote
from rankops.overlays.transaction import Standing, Target
from rankops.release.manifest import DatasetRef
from rankops.release.signing import create_key_pair
from rankops.specs import ModelSpec, ServingSpec
from rankops.stages.verified import record_verification
from rankops.state import REPOSITORY, LocalState
from rankops.store import ArtifactStore
from resources.cluster import LocalCluster
from tests.overlays_deploy.conftest import git, make_pin, no_objection, write_release

SPEC = ModelSpec(name="retriever", task="retrieval", serving=ServingSpec(target="cpu-avx2", latency_objective_ms=500))
STAGING = Target("staging", "retriever")


class NothingServes(LocalCluster):
    """A cluster on which no release ever comes up."""

    @contextmanager
    def running(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Fails as a pod does that never becomes ready."""
        raise VerificationFailed("the pod never became ready")
        yield


@dataclass
class Place:
    """One state folder with all that runs need."""

    state: LocalState
    instance: DagsterInstance
    defs: Definitions
    releases: dict[str, StoredArtifact] = field(default_factory=dict)

    @property
    def store(self) -> ArtifactStore:
        """The artifact store."""
        return ArtifactStore(self.state.store_url, cache=self.state.root / "cache")

    @property
    def remote(self) -> GitRemote:
        """The Git remote, as rankops sees it."""
        return GitRemote(self.state.git_url, self.state.root / "mirrors")

    @property
    def standing(self) -> Standing:
        """What staging says now."""
        return current(self.remote, STAGING)

    @property
    def live(self) -> str:
        """The release that staging pins."""
        pin = self.standing.pin
        return pin.release if pin else ""

    def make(self, name: str) -> StoredArtifact:
        """A signed release of its own, in the store."""
        folder = self.state.root / "made" / name
        folder.mkdir(parents=True)
        (folder / "name.txt").write_text(name)
        write_release(folder, self.state.signing_key, dataset=DatasetRef(name="shop", digest="d" * 64))
        return self.publish(name, folder)

    def publish(self, name: str, folder: Path) -> StoredArtifact:
        """Put a bundle into the store."""
        from rankops.release.manifest import read_manifest

        digest = read_manifest(folder).digest
        self.releases[name] = self.store.publish("release", folder, digest=digest)
        return self.releases[name]

    def offer(self, release: StoredArtifact) -> None:
        """Make ``release`` what the release asset holds."""
        self.store.write_json("references/retriever/release.json", release.model_dump(mode="json"))

    def deploy(self, release: StoredArtifact, *, ok: bool = True) -> ExecuteInProcessResult:
        """What a person, a retraining or an automatic sync does: deploy and verify ``release`` in staging."""
        self.offer(release)
        return self.run("retriever_release", only=["retriever/deploy", "retriever/verification"], ok=ok)

    def pin(self, release: StoredArtifact, environment: str) -> None:
        """Pin ``release`` by a push, past the environment's policy."""
        from rankops.overlays.kustomize import build, find_kustomize

        deploy(
            DeployRequest(make_pin(environment=environment, release=release.digest, uri=release.uri)),
            self.remote,
            render=lambda folder: build(folder, kustomize=find_kustomize()),
            validate=no_objection,
            verify=no_objection,
        )

    def verified(self, release: StoredArtifact, environment: str = "staging") -> None:
        """Remember that ``release`` once passed verification."""
        record_verification(
            self.store,
            VerificationRecord(
                environment=environment, model="retriever", release=release.digest, commit="c" * 40, state="verified"
            ),
        )

    def run(
        self,
        job: str,
        *,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        only: list[str] | None = None,
        environment: str = "staging",
        ok: bool = True,
    ) -> ExecuteInProcessResult:
        """Run a job in this process."""
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=environment,
            run_config=dict(config) if config is not None else None,
            tags=dict(tags or {}),
            asset_selection=[AssetKey(key.split("/")) for key in only] if only else None,
            raise_on_error=ok,
        )

    def context(self, cursor: str | None, resources: Mapping[str, Any]) -> Any:
        """A tick as the daemon would make it."""
        return build_sensor_context(instance=self.instance, definitions=self.defs, resources=resources, cursor=cursor)

    def commits(self) -> list[str]:
        """Subjects of the remote's commits, newest first."""
        return git("log", "--format=%s", "main", cwd=self.state.root / "gitops.git").splitlines()


@contextmanager
def make_place(root: Path, **resources: Any) -> Iterator[Place]:
    """A state of its own below ``root``, with a Git remote seeded from this repository's overlays."""
    from automation.ui import prepare_home
    from definitions import build_defs

    patch = pytest.MonkeyPatch()
    patch.setenv("RANKOPS_STATE", str(root / "state"))
    for name in ("RANKOPS_STORE", "RANKOPS_GIT_URL", "RANKOPS_SIGNING_KEY", "RANKOPS_PUBLIC_KEY", "RANKOPS_FORGE"):
        patch.delenv(name, raising=False)
    state = LocalState.current()
    patch.setenv("DAGSTER_HOME", str(prepare_home(state)))
    _, public = create_key_pair(state.signing_key.parent)
    create_bare_remote(state.root / "gitops.git", REPOSITORY / "k8s-overlays", public)
    with warnings.catch_warnings(), DagsterInstance.ephemeral(tempdir=str(root)) as instance:
        warnings.simplefilter("ignore")
        yield Place(state, instance, build_defs(models=[SPEC], resource_overrides=resources))
    patch.undo()
