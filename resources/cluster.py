"""What is live: the overlay at a commit run as processes of this machine, or a cluster behind Flux or Argo CD."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dagster import ConfigurableResource
from pydantic import Field

from resources.gitops import GitOps
from resources.kustomize import Kustomize

if TYPE_CHECKING:
    from rankops.stages.live import ClusterAccess, LiveService

Progress = Callable[[str], None]

_CONTROLLERS = {"flux": ("flux-system", "rankops-{environment}"), "argocd": ("argocd", "{model}-{environment}")}
"""Namespace and name pattern of what k8s-overlays/clusters makes."""


class Cluster(ConfigurableResource, ABC):
    """Gives access to the live service of a model in an environment."""

    @abstractmethod
    def running(
        self, gitops: GitOps, kustomize: Kustomize, environment: str, model: str, commit: str | None, progress: Progress
    ) -> AbstractContextManager[LiveService]:
        """A context with the service as the overlay at ``commit`` (default: the head) says."""

    @abstractmethod
    def replaying(
        self, gitops: GitOps, kustomize: Kustomize, environment: str, model: str, progress: Progress
    ) -> AbstractContextManager[LiveService | None]:
        """A context with the live service for simulated users, or None where nothing was released yet."""


class KubernetesCluster(Cluster):
    """A cluster that Flux or Argo CD changes. It is only read: get and list, and requests to the model's own service.

    Name patterns may hold {environment} and {model}.
    """

    controller: Literal["flux", "argocd"] = Field(description="whose word counts: a Kustomization, or an Application")
    name: str = Field(
        default="",
        description="pattern of the Kustomization's or Application's name; empty: as k8s-overlays/clusters has it, "
        "rankops-{environment} (Flux) or {model}-{environment} (Argo CD)",
    )
    namespace: str = Field(default="", description="pattern of its namespace; empty: flux-system, or argocd")
    kubeconfig: str = Field(default="", description="path; empty: the service account of the pod that Dagster runs in")
    context: str = Field(default="", description="context of the kubeconfig; empty: its current one")
    service_url: str = Field(
        default="",
        description="e.g. https://{model}.{environment}.example.org; empty: the Service's name inside the cluster, and "
        "from outside (with a kubeconfig) through the API server, which needs get and create on services/proxy and "
        "adds its own milliseconds to the measured latency",
    )
    api_key: str = Field(
        default="", description="API key for overlays with components/api-keys; give it as EnvVar, never as text"
    )
    request_log: str = Field(default="", description="pattern of the request log's root, any fsspec URL")
    timeout: float = Field(default=900.0, gt=0, description="seconds for a commit to become live")
    poll: float = Field(default=3.0, ge=0, description="seconds between two looks")
    failure_patience: float = Field(
        default=120.0, ge=0, description="seconds that controllers and pods may go on failing and trying again"
    )

    @contextmanager
    def running(
        self, gitops: GitOps, kustomize: Kustomize, environment: str, model: str, commit: str | None, progress: Progress
    ) -> Iterator[LiveService]:
        """See :func:`rankops.stages.live.reach_live`."""
        from rankops.overlays.transaction import Target
        from rankops.stages.live import reach_live

        target = Target(environment, model, gitops.environment(environment).branch)
        with (
            tempfile.TemporaryDirectory(prefix="rankops-overlay-") as root,
            reach_live(
                gitops.remote(),
                target,
                self.access(environment, model),
                render=kustomize.render,
                root=Path(root),
                progress=progress,
                commit=commit,
            ) as live,
        ):
            yield live

    def replaying(
        self, gitops: GitOps, kustomize: Kustomize, environment: str, model: str, progress: Progress
    ) -> AbstractContextManager[LiveService | None]:
        """Refused: simulated users must not search where real ones do, nor fill their request log."""
        from rankops.errors import BadInput

        raise BadInput(
            f"simulated users would search {model} in {environment} of a real cluster",
            "give the shop as ImportedShop (events and request log of real users), or use LocalCluster",
        )

    def access(self, environment: str, model: str) -> ClusterAccess:
        """The connection and the names for one model in one environment. Raises :class:`BadInput`; sends nothing."""
        from upath import UPath

        from rankops.overlays.sync.api import KubernetesApi
        from rankops.overlays.sync.observe import ControllerObject
        from rankops.overlays.sync.wait import Patience
        from rankops.stages.live import ClusterAccess

        def named(pattern: str) -> str:
            return pattern.format(environment=environment, model=model)

        namespace, name = _CONTROLLERS[self.controller]
        inside = "" if self.kubeconfig else "http://{service}.{namespace}.svc:{port}"
        return ClusterAccess(
            KubernetesApi.connect(Path(self.kubeconfig) if self.kubeconfig else None, self.context or None),
            ControllerObject(self.controller, named(self.namespace or namespace), named(self.name or name)),
            service_url=self.service_url or inside,
            log=UPath(named(self.request_log)) if self.request_log else None,
            api_key=self.api_key or None,
            patience=Patience(self.timeout, self.poll, self.failure_patience),
        )


class LocalCluster(Cluster):
    """This machine is the cluster: containers of the rendered overlay run as processes, bound to the loopback."""

    @contextmanager
    def running(
        self, gitops: GitOps, kustomize: Kustomize, environment: str, model: str, commit: str | None, progress: Progress
    ) -> Iterator[LiveService]:
        """See :func:`rankops.stages.live.run_local`."""
        from rankops.overlays.transaction import Target
        from rankops.stages.live import run_local

        target = Target(environment, model, gitops.environment(environment).branch)
        with (
            tempfile.TemporaryDirectory(prefix="rankops-pod-") as root,
            run_local(
                gitops.remote(), target, render=kustomize.render, root=Path(root), progress=progress, commit=commit
            ) as live,
        ):
            yield live

    @contextmanager
    def replaying(
        self, gitops: GitOps, kustomize: Kustomize, environment: str, model: str, progress: Progress
    ) -> Iterator[LiveService | None]:
        """See :func:`rankops.stages.live.replayed_traffic`."""
        from rankops.overlays.transaction import Target
        from rankops.stages.live import replayed_traffic

        target = Target(environment, model, gitops.environment(environment).branch)
        with (
            tempfile.TemporaryDirectory(prefix="rankops-pod-") as root,
            replayed_traffic(
                gitops.remote(), target, render=kustomize.render, root=Path(root), progress=progress
            ) as live,
        ):
            yield live
