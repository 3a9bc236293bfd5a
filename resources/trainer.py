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

from rankops.errors import RankopsError
from rankops.state import REPOSITORY


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

    def _start(self, context: AssetExecutionContext, arguments: list[str]) -> None:
        env = dict(os.environ)
        if self.threads:
            env["OMP_NUM_THREADS"] = str(self.threads)
        client = PipesSubprocessClient(cwd=str(REPOSITORY))
        client.run(context=context, command=[sys.executable, *arguments], env=env)


class KubernetesTrainer(Trainer):
    """Training in a GPU pod. The state folder must lie on a volume that this pod and the GPU pod both mount."""

    image: str = Field(description="pipeline image, pinned by digest")
    namespace: str = "rankops"
    claim: str = Field(description="ReadWriteMany claim with the state folder, mounted at the same path")
    mount_path: str = "/var/lib/rankops"
    gpus: int = Field(default=1, ge=0)
    memory: str = "32Gi"
    deadline_seconds: int = Field(default=6 * 3600, description="Pipes pods have no owner: this ends orphans")
    node_selector: dict[str, str] = Field(default={}, description="e.g. nvidia.com/gpu.product")

    def _start(self, context: AssetExecutionContext, arguments: list[str]) -> None:
        from dagster_k8s import PipesK8sClient

        PipesK8sClient().run(
            context=context,
            image=self.image,
            command=["python", *arguments],
            namespace=self.namespace,
            env={"HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0")},
            base_pod_spec=self.pod_spec(),
        )

    def pod_spec(self) -> dict[str, Any]:
        """The pod around the training container (GPU requests equal limits, non-root, bounded in time)."""
        gpu = {"nvidia.com/gpu": str(self.gpus)} if self.gpus else {}
        return {
            "activeDeadlineSeconds": self.deadline_seconds,
            "automountServiceAccountToken": False,
            "nodeSelector": self.node_selector,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [
                {
                    "resources": {
                        "requests": {"memory": self.memory, **gpu},
                        "limits": {"memory": self.memory, **gpu},
                    },
                    "volumeMounts": [
                        {"name": "state", "mountPath": self.mount_path},
                        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 (torch workers' shared memory)
                    ],
                }
            ],
            "volumes": [
                {"name": "state", "persistentVolumeClaim": {"claimName": self.claim}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
            ],
        }
