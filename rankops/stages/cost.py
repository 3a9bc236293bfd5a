"""What an overlay asks of a cluster, and what that costs where prices are known: from the rendered objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankops.errors import BadInput
from rankops.overlays.rules_pods import quantity

HOURS = 730
"""In a month, on average."""
_REPLICA_FIELDS = {
    "HorizontalPodAutoscaler": ("minReplicas", "maxReplicas"),
    "ScaledObject": ("minReplicaCount", "maxReplicaCount"),
}


@dataclass(frozen=True)
class Prices:
    """Of one hour: a CPU, a GiB of memory, a GPU."""

    cpu: float = 0.0
    memory: float = 0.0
    gpu: float = 0.0
    currency: str = ""

    @classmethod
    def configured(cls, text: str | None = None) -> Prices | None:
        """From ``$RANKOPS_PRICES``, e.g. ``cpu=0.034 memory=0.0045 gpu=1.2 currency=EUR``; None where it is not set.

        Raises :class:`BadInput` for anything else.
        """
        text = os.environ.get("RANKOPS_PRICES", "") if text is None else text
        if not text.strip():
            return None
        try:
            given = dict(part.split("=", 1) for part in text.split())
            currency = given.pop("currency", "")
            prices = {name: float(value) for name, value in given.items()}
            if set(prices) <= {"cpu", "memory", "gpu"} and min(prices.values(), default=0.0) >= 0:
                return cls(**prices, currency=currency)
        except ValueError:
            pass
        raise BadInput(
            f"RANKOPS_PRICES is {text!r}",
            "give prices of one hour: cpu=0.034 memory=0.0045 gpu=1.2 currency=EUR",
        )


@dataclass(frozen=True)
class Asked:
    """What one pod requests (CPUs, GiB, GPUs), and how many there are at least and at most."""

    cpu: float
    memory: float
    gpu: int
    least: int
    most: int

    def text(self) -> str:
        """In words, e.g. ``2 pods, up to 6, of 1 CPU and 2 GiB``."""
        pods = f"{self.least} pod{'s' if self.least != 1 else ''}"
        pods += f", up to {self.most}," if self.most > self.least else ""
        parts = [f"{self.cpu:g} CPU", f"{self.memory:.3g} GiB", *([f"{self.gpu} GPU"] if self.gpu else [])]
        return f"{pods} of {', '.join(parts)}"

    def monthly(self, prices: Prices) -> str:
        """What the pods cost in a month of :data:`HOURS`, at least and at most."""
        pod = HOURS * (self.cpu * prices.cpu + self.memory * prices.memory + self.gpu * prices.gpu)
        amounts = [f"{count * pod:,.2f}" for count in sorted({self.least, self.most})]
        return f"{' to '.join(amounts)} {prices.currency}".strip()


def asked_by(objects: Sequence[Mapping[str, Any]]) -> Asked | None:
    """What the Deployment among the rendered ``objects`` asks for; None where there is none, or it states nothing."""
    deployment = next((o for o in objects if o.get("kind") == "Deployment"), None)
    if deployment is None:
        return None
    spec = deployment.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") or {}
    running, starting = list(_requests(pod, "containers")), list(_requests(pod, "initContainers"))
    # A pod is scheduled by the larger of the sum of its containers and each of its init containers.
    total = {
        key: max([sum(r.get(key, 0.0) for r in running), *(r.get(key, 0.0) for r in starting)])
        for key in {key for r in (*running, *starting) for key in r}
    }
    if not total:
        return None
    least = most = int(spec.get("replicas", 1))
    for scaler in objects:
        if fields := _REPLICA_FIELDS.get(str(scaler.get("kind"))):
            bounds = scaler.get("spec") or {}
            least, most = int(bounds.get(fields[0], 1)), int(bounds.get(fields[1], most))
    gpu = sum(value for key, value in total.items() if key.endswith("/gpu"))
    return Asked(total.get("cpu", 0.0), total.get("memory", 0.0) / 2**30, int(gpu), least, max(least, most))


def _requests(pod: Mapping[str, Any], group: str) -> Iterator[dict[str, float]]:
    for container in pod.get(group) or []:
        resources = container.get("resources") or {}
        asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}  # a limit alone is a request
        yield {key: float(quantity(value) or 0) for key, value in asked.items()}
