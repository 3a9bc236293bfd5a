"""The verification asset as the UI runs it, with a cluster whose API tells recorded objects over real HTTP."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetSpec, DagsterInstance, ExecuteInProcessResult, materialize

from assets.deployments import ENVIRONMENT_PARTITIONS, verification_asset
from rankops.deployment import DeployRecord
from rankops.errors import BadInput
from rankops.overlays.component import ReleasePin, render_component
from rankops.overlays.mirror import GitRemote
from rankops.overlays.seed import create_bare_remote
from rankops.release.manifest import ReleaseManifest
from rankops.release.signing import create_key_pair
from rankops.serving.config import ServerConfig
from rankops.specs import ModelSpec, ServingSpec
from rankops.stages.verified import was_verified
from rankops.state import REPOSITORY
from rankops.store import ArtifactStore
from resources.cluster import Cluster, KubernetesCluster, LocalCluster
from resources.gitops import GitOps
from resources.kustomize import Kustomize
from resources.store import ReferenceIOManager, Store, reference_name
from tests.overlays_deploy.conftest import make_pin
from tests.serving.conftest import running
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import VOCABULARY, make_release, write_catalogue
from tests.sync.conftest import DEPLOYMENT, LANDED, PODS, SOURCE, TARGET, Repository
from tests.sync.fake_api import FakeApi, paths_of, status
from tests.sync.support import OLD_RELEASE, RELEASE

SPEC = ModelSpec(name="retriever", task="retrieval", serving=ServingSpec(latency_objective_ms=5000))
KUSTOMIZATION = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/rankops-staging"
PROXY = "/api/v1/namespaces/rankops-staging/services/http:retriever:80/proxy"


@dataclass
class Place:
    """A state folder, a repository whose staging pins ``release``, and the cluster's API."""

    repository: Repository
    store: ArtifactStore
    api: FakeApi
    kubeconfig: Path
    release: str

    def recorded(self, path: str) -> Any:
        text = json.dumps(self.repository.recorded(path)).replace(RELEASE, self.release)
        return json.loads(text)

    def deployed(self, **changes: Any) -> None:
        """What the deploy asset handed on."""
        record = DeployRecord(
            kind="committed",
            environment="staging",
            model="retriever",
            release=self.release,
            release_uri=f"{self.store.root}/release/{self.release}",
            commit=self.repository.commit,
            branch="main",
            overlay=TARGET.overlay,
            supersedes=OLD_RELEASE,
            pull_request=None,
        )
        value = record.model_copy(update=changes).model_dump(mode="json")
        self.store.write_json(reference_name(["retriever", "deploy"], "staging"), value)

    def verify(self, cluster: Cluster | None = None) -> ExecuteInProcessResult:
        """Materialize verification, as the button does."""
        behind_flux = KubernetesCluster(
            controller="flux", kubeconfig=str(self.kubeconfig), timeout=5, poll=0, failure_patience=0
        )
        resources = {
            "cluster": cluster or behind_flux,
            "gitops": GitOps(url=self.repository.bare.as_uri()),
            "io_manager": ReferenceIOManager(),
            "kustomize": Kustomize(),
            "store": Store(),
        }
        with DagsterInstance.ephemeral() as instance:
            return materialize(
                [AssetSpec(["retriever", "deploy"], partitions_def=ENVIRONMENT_PARTITIONS), verification_asset(SPEC)],
                partition_key="staging",
                resources=resources,
                instance=instance,
                raise_on_error=False,
            )


@dataclass(frozen=True)
class Release:
    """A small but real release, signed."""

    folder: Path
    manifest: ReleaseManifest
    public_key: Path


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    root = tmp_path_factory.mktemp("release")
    private, public = create_key_pair(root / "keys")
    artifact = make_tiny_artifact(root / "artifact", VOCABULARY, seed=1)
    catalogue = write_catalogue(root / "catalogue.parquet")
    manifest = make_release(root / "release", artifact=artifact, catalogue=catalogue, private_key=private)
    return Release(root / "release", manifest, public)


@pytest.fixture
def place(tmp_path: Path, api: FakeApi, release: Release, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    for name in ("RANKOPS_STORE", "RANKOPS_GIT_URL", "RANKOPS_GIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    create_bare_remote(tmp_path / "remote.git", REPOSITORY / "k8s-overlays", release.public_key)
    repository = Repository(tmp_path / "remote.git", GitRemote((tmp_path / "remote.git").as_uri(), tmp_path / "mine"))
    repository.before = repository.deploy(make_pin(release=OLD_RELEASE)).commit
    repository.commit = repository.deploy(make_pin(release=RELEASE)).commit
    made = Place(repository, Store().open(), api, api.kubeconfig(tmp_path), RELEASE)
    made.deployed()
    return made


def failure(result: ExecuteInProcessResult) -> str:
    """What the UI shows of the failed step."""
    (event,) = result.get_step_failure_events()
    error = event.step_failure_data.error
    assert error is not None
    return "\n".join([error.message, error.cause.message if error.cause else ""])


def check(result: ExecuteInProcessResult) -> tuple[bool, dict[str, Any]]:
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation.passed, {key: value.value for key, value in evaluation.metadata.items()}


def test_the_controllers_message_reaches_the_failed_step_and_the_failed_check(place):
    place.api.tell(KUSTOMIZATION, place.recorded("flux/progressing-build"), place.recorded("flux/failed-build"))
    place.api.tell(DEPLOYMENT, place.recorded("rollout/old-release"))
    place.api.tell(PODS, place.recorded("rollout/pods-ready"))
    result = place.verify()
    message = "kustomize build failed: accumulating components"
    passed, metadata = check(result)
    assert not result.success
    assert message in failure(result)
    assert (passed, message in metadata["problem"], metadata["about release"]) == (False, True, False)
    assert metadata["remedy"] == "repair what the message names; then verify again"


def test_a_pods_message_reaches_the_check_and_speaks_against_the_release(place):
    place.api.tell(KUSTOMIZATION, place.recorded("flux/progressing-health-check"))
    place.api.tell(DEPLOYMENT, place.recorded("rollout/not-available"))
    place.api.tell(PODS, place.recorded("rollout/pods-signature-refused"))
    result = place.verify()
    passed, metadata = check(result)
    assert "the signature does not belong to the public key" in failure(result)
    assert (passed, metadata["about release"], metadata["release"]) == (False, True, RELEASE)
    assert metadata["remedy"] == "repair it by a commit, or roll back; then verify again"
    assert "the signature does not belong to the public key" in metadata["problem"]


def test_an_api_server_that_refuses_us_says_nothing_against_the_release(place):
    place.api.tell(KUSTOMIZATION, status(403, "Forbidden", "kustomizations is forbidden"))
    passed, metadata = check(place.verify())
    assert (passed, metadata["about release"]) == (False, False)
    assert "RBAC forbids reading kustomizations" in metadata["problem"]


def test_a_proposal_that_nobody_merged_waits_and_asks_the_cluster_nothing(place):
    place.deployed(kind="proposed", release="e" * 64, branch="rankops/staging/retriever/x", commit="2" * 40)
    result = place.verify()
    assert result.success
    assert check(result)[0]
    assert not place.api.requests


def test_a_merged_proposal_is_verified_at_the_merge_through_the_api_server(place, release):
    """All real but the cluster: Git, kustomize, a signed release, its server, HTTP through the service proxy."""
    manifest = release.manifest
    uri = place.store.publish("release", release.folder, digest=manifest.digest).uri
    proposed, merged = propose_and_merge(place, make_pin(release=manifest.digest, uri=uri))
    place.deployed(kind="proposed", release=manifest.digest, release_uri=uri, commit=proposed, branch="rankops/x")
    place.release, place.repository.commit = manifest.digest, merged
    place.api.tell(KUSTOMIZATION, place.recorded("flux/wrong-revision"), place.recorded("flux/healthy"))
    place.api.tell(SOURCE, place.recorded("flux/source-fetched-ours"))
    place.api.tell(DEPLOYMENT, place.recorded("rollout/complete"))
    place.api.tell(PODS, place.recorded("rollout/pods-ready"))
    config = ServerConfig.model_validate(
        {"release": release.folder, "public_key": release.public_key, "digest": manifest.digest, "port": 0}
    )
    with running(config) as address:
        place.api.services[PROXY] = address
        result = place.verify()
    passed, metadata = check(result)
    assert result.success, failure(result)
    # The Deployment's record: available at 05:07:12; the merge landed at 05:06:00 of that day.
    assert (passed, metadata["commit"], metadata["commit to live s"]) == (True, merged, 72.0)
    record = result.output_for_node("retriever__verification")
    assert (record.state, record.commit, record.commit_to_live_seconds) == ("verified", merged, 72.0)
    assert was_verified(place.store, make_pin(release=manifest.digest, uri=uri))
    posted = set(paths_of(place.api, "POST"))
    assert posted == {f"{PROXY}/search", f"{PROXY}/v2/models/retriever/infer"}


def test_on_this_machine_the_time_runs_from_the_commit_until_the_pod_is_ready(place, release):
    manifest = release.manifest
    uri = place.store.publish("release", release.folder, digest=manifest.digest).uri
    deployed = datetime.now(UTC)
    commit = place.repository.deploy(make_pin(release=manifest.digest, uri=uri), when=deployed).commit
    place.deployed(release=manifest.digest, release_uri=uri, commit=commit)
    result = place.verify(LocalCluster())
    assert result.success, failure(result)
    seconds = check(result)[1]["commit to live s"]
    assert 0 < seconds <= (datetime.now(UTC) - deployed).total_seconds() + 1  # a commit's time is whole seconds


def propose_and_merge(place: Place, pin: ReleasePin) -> tuple[str, str]:
    """The commits of a proposal, and of its merge by a person."""
    remote, branch = place.repository.remote, "rankops/staging/retriever/x"
    proposed = remote.commit(
        place.repository.commit, {TARGET.component: render_component(pin)}, "deploy(staging): retriever", when=LANDED
    )
    remote.push(proposed, branch)
    return proposed, remote.merge_branch(branch, "main", "Merge pull request #1", when=LANDED)


def test_simulated_users_are_kept_from_a_real_cluster(place):
    cluster = KubernetesCluster(controller="flux", kubeconfig=str(place.kubeconfig))
    with pytest.raises(BadInput, match="ImportedShop"):
        cluster.replaying(GitOps(), Kustomize(), "staging", "retriever", print)
