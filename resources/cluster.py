"""What is live: here, the overlay at a commit run as processes of this machine."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ConfigurableResource

from resources.gitops import GitOps
from resources.kustomize import Kustomize

if TYPE_CHECKING:
    from rankops.stages.live import LiveService

Progress = Callable[[str], None]


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
