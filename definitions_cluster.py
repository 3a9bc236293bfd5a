"""The code location on a cluster: ``definitions.py`` with the resources and the executor that Kubernetes asks for.

``images/pipeline/Dockerfile`` puts it into the image, ``k8s-overlays/platform/dagster/code.yaml`` serves it. What is
different from cluster to cluster comes from ``k8s-overlays/platform/dagster/dagster.env`` (variables are read when a
run needs them, never here); what is different from team to team (the shop, the size of a training) is edited here.

A run is a Job that only directs; each of its steps is a Job of its own. Training gets a GPU in one of two ways:

- ``TRAINING_CLAIM = ""``: the checkpoint's step runs on a GPU node itself. Needs nothing else; one whose pod dies
  starts again.
- ``TRAINING_CLAIM = "rankops-training"``: the step stays on a CPU and starts a GPU pod through Dagster Pipes that holds
  no secret and no rights; state lies on a volume that both mount, so a training whose pod dies is continued.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import AssetKey, Definitions, EnvVar, ExecutorDefinition
from dagster_k8s import k8s_job_executor

from assets.models import MODELS
from definitions import build_defs
from rankops.specs import ModelSpec
from resources.alerts import Alerts
from resources.cluster import KubernetesCluster
from resources.gitops import GitOps
from resources.shop import ImportedShop
from resources.trainer import KubernetesTrainer

TRAINING_CLAIM = ""
SHARED_STATE = "/var/lib/rankops-shared"
PROMETHEUS = "http://kube-prometheus-stack-prometheus.monitoring:9090"

STEP: Mapping[str, Any] = {
    "container_config": {
        "resources": {"requests": {"cpu": "2", "memory": "6Gi"}, "limits": {"memory": "12Gi"}},
    },
}
"""What each step's pod gets, on top of what the run launcher gives (platform/dagster/dagster.yaml)."""

TRAINING_STAGES = ("checkpoint", "search")
"""Assets that train: they need a GPU, or the volume that their state and the GPU pod's share."""

GPU_STEP: Mapping[str, Any] = {
    "container_config": {
        "resources": {
            "requests": {"cpu": "4", "memory": "24Gi", "nvidia.com/gpu": "1"},
            "limits": {"memory": "24Gi", "nvidia.com/gpu": "1"},
        },
        "volume_mounts": [{"name": "shm", "mount_path": "/dev/shm"}],  # noqa: S108
    },
    "pod_spec_config": {
        "runtime_class_name": "nvidia",
        "node_selector": {"nvidia.com/gpu.present": "true"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "volumes": [{"name": "shm", "empty_dir": {"medium": "Memory", "size_limit": "8Gi"}}],
    },
    "job_spec_config": {"active_deadline_seconds": 6 * 3600},
}
"""Training in the step itself: one GPU (the default /dev/shm of 64 MiB is too small for torch's workers)."""

SHARED_STEP: Mapping[str, Any] = {
    "container_config": {
        "env": [
            {"name": "RANKOPS_STATE", "value": SHARED_STATE},
            {"name": "HF_HOME", "value": f"{SHARED_STATE}/huggingface"},
        ],
        "volume_mounts": [{"name": "shared", "mount_path": SHARED_STATE}],
    },
}
"""Training in a pod of its own: the step's state folder is the volume that both mount."""


def cluster_executor(models: Sequence[ModelSpec], training_claim: str) -> ExecutorDefinition:
    """One Job a step; what trains (checkpoint, settings search) does so as the claim (or its absence) says."""
    training = GPU_STEP
    if training_claim:
        volume = {"name": "shared", "persistent_volume_claim": {"claim_name": training_claim}}
        training = {**SHARED_STEP, "pod_spec_config": {"volumes": [volume]}}
    steps = [AssetKey([spec.name, stage]).to_python_identifier() for spec in models for stage in TRAINING_STAGES]
    return k8s_job_executor.configured(
        {
            "max_concurrent": 4,
            # A run pod that is deleted takes its steps along.
            "enable_owner_references": True,
            "step_k8s_config": dict(STEP),
            "per_step_k8s_config": {step: dict(training) for step in steps},
        }
    )


def cluster_resources(training_claim: str) -> dict[str, Any]:
    """What replaces the embedded defaults on a cluster."""
    resources: dict[str, Any] = {
        "alerts": Alerts(prometheus_url=PROMETHEUS),
        "cluster": KubernetesCluster(controller="flux"),  # or "argocd"
        "gitops": GitOps(image=EnvVar("RANKOPS_SERVER_IMAGE")),
        "shop": ImportedShop(
            catalogue_url=EnvVar("RANKOPS_CATALOGUE_URL"), interactions_url=EnvVar("RANKOPS_INTERACTIONS_URL")
        ),
    }
    if training_claim:
        resources["trainer"] = KubernetesTrainer(claim=training_claim, mount_path=SHARED_STATE)
    return resources


def cluster_defs(*, models: Sequence[ModelSpec] = MODELS, training_claim: str = TRAINING_CLAIM) -> Definitions:
    """Definitions for a cluster."""
    return build_defs(
        models=models,
        resource_overrides=cluster_resources(training_claim),
        executor=cluster_executor(models, training_claim),
    )


defs = cluster_defs()
