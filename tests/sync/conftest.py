"""A repository with a released overlay, and a cluster's API that tells recorded objects about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rankops.overlays.component import ReleasePin
from rankops.overlays.deploy import DeployOutcome, DeployRequest, deploy
from rankops.overlays.mirror import GitRemote
from rankops.overlays.seed import create_bare_remote
from rankops.overlays.sync.api import KubernetesApi
from rankops.overlays.sync.observe import ControllerObject
from rankops.overlays.sync.wait import Clock, Patience
from rankops.overlays.transaction import Target
from rankops.stages.live import ClusterAccess
from tests.overlays_deploy.conftest import Rendered, fake_render, make_pin, no_objection, write_overlays
from tests.sync.fake_api import FakeApi, fake_api
from tests.sync.support import OLD, OLD_RELEASE, OURS, RELEASE, recorded

LANDED = datetime(2026, 3, 4, 5, 6, 0, tzinfo=UTC)
TARGET = Target("staging", "retriever")
NAMESPACE = "rankops-staging"
KUSTOMIZATION = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/retriever-staging"
SOURCE = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/rankops"
APPLICATION = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/retriever-staging"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/retriever"
PRIMARY = f"{DEPLOYMENT}-primary"
CANARY = f"/apis/flagger.app/v1beta1/namespaces/{NAMESPACE}/canaries/retriever"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def render(folder: Path) -> Rendered:
    """What deploy wrote, as a Deployment and its Service."""
    rendered = fake_render(folder)
    labels = {"app.kubernetes.io/name": folder.name}
    (deployment,) = rendered.objects
    deployment["metadata"]["namespace"] = NAMESPACE
    deployment["spec"]["template"]["metadata"]["labels"] = labels
    service = {
        "kind": "Service",
        "metadata": {"name": folder.name, "namespace": NAMESPACE},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80}]},
    }
    return Rendered([deployment, service], rendered.text)


def render_with_canary(folder: Path) -> Rendered:
    """The same behind Flagger."""
    rendered = render(folder)
    canary = {
        "kind": "Canary",
        "metadata": {"name": folder.name},
        "spec": {"targetRef": {"name": folder.name}, "service": {"port": 80, "portName": "http"}},
    }
    return Rendered([*rendered.objects, canary], rendered.text)


@dataclass
class Repository:
    """A bare remote in which ``release`` was deployed over an older one."""

    bare: Path
    remote: GitRemote
    before: str = ""
    commit: str = ""

    def deploy(self, pin: ReleasePin, *, when: datetime = LANDED, **more: Any) -> DeployOutcome:
        asked = DeployRequest(pin, **more)
        return deploy(asked, self.remote, render=render, validate=no_objection, verify=no_objection, clock=lambda: when)

    def recorded(self, path: str) -> Any:
        """A recorded object about this repository's own commits."""
        text = json.dumps(recorded(path)).replace(OURS, self.commit).replace(OLD, self.before)
        return json.loads(text)


@dataclass
class Time:
    """A clock that moves only by sleeping, and by 12.5 s between the commit and the first look."""

    now: float = 12.5
    told: list[str] = field(default_factory=list)

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self._sleep, lambda: LANDED + timedelta(seconds=self.now))

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("git")
    overlays = write_overlays(root / "k8s-overlays", ["retriever", "other"])
    create_bare_remote(root / "remote.git", overlays, None)
    made = Repository(root / "remote.git", GitRemote((root / "remote.git").as_uri(), root / "state"))
    made.before = made.deploy(make_pin(release=OLD_RELEASE), when=LANDED - timedelta(days=1)).commit
    made.commit = made.deploy(make_pin(release=RELEASE)).commit
    return made


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as api:
        yield api


@pytest.fixture
def rolled_out(api: FakeApi) -> FakeApi:
    """A cluster whose pods already run our release; the controller's word is the test's to give."""
    api.tell(DEPLOYMENT, recorded("rollout/complete"))
    api.tell(PODS, recorded("rollout/pods-ready"))
    return api


def access(api: FakeApi, folder: Path, time: Time, controller: str = "flux", **more: Any) -> ClusterAccess:
    kind = ControllerObject(controller, "flux-system" if controller == "flux" else "argocd", "retriever-staging")  # type: ignore[arg-type]
    connection = KubernetesApi.connect(api.kubeconfig(folder))
    return ClusterAccess(connection, kind, patience=Patience(600, 10, 60), clock=time.clock(), **more)
