"""What a Deployment would run: commands, variables, volumes and probes, read from the rendered objects.

What belongs here: Kubernetes' rules for turning an overlay into processes (pure; nothing is started or written).
``local_pod.py`` runs a plan on this machine as processes, ``docker_pod.py`` as containers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rankops.errors import InvalidOverlay
from rankops.overlays.objects import Object, dig, items, mapping, namespace_of, of_kind, strings
from rankops.overlays.rules_pods import quantity

_VARIABLE = re.compile(r"\$(?:(\$)|\(([^)]*)\))")


@dataclass(frozen=True)
class Mount:
    """A volume (or a folder in it) seen at ``path`` by a container."""

    path: str
    volume: str
    sub_path: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class Variable:
    """One ``env`` entry: literal text (``$(NAME)`` not yet expanded), or the Secret that would provide it."""

    name: str
    value: str = ""
    secret: str = ""


@dataclass(frozen=True)
class Probe:
    """An HTTP probe; times in seconds. Kubernetes gives up after ``period * failures``."""

    path: str
    delay: float
    period: float
    timeout: float
    failures: int

    @property
    def budget(self) -> float:
        """Seconds until Kubernetes would call the container failed."""
        return self.delay + self.period * self.failures


@dataclass(frozen=True)
class Confinement:
    """What a container may do: the pod's and its own ``securityContext``, and its limits.

    ``user`` and ``group`` None are the image's; ``groups`` are fsGroup and supplementalGroups; ``memory`` is in bytes,
    ``cpu`` in cores, None is no limit; ``seccomp`` is the profile's type, empty for the node's default.
    """

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] = ()
    read_only: bool = False
    escalation: bool = True
    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    seccomp: str = ""
    memory: int | None = None
    cpu: float | None = None


@dataclass(frozen=True)
class ContainerPlan:
    """One container: its process and what it sees."""

    name: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[Variable, ...]
    mounts: tuple[Mount, ...]
    port: int | None = None
    probes: tuple[Probe, ...] = ()
    working_dir: str = ""
    confinement: Confinement = Confinement()
    pre_stop: float = 0.0
    """Seconds that the container sleeps between the withdrawal of its endpoints and SIGTERM."""


@dataclass(frozen=True)
class PodPlan:
    """A pod of one Deployment: init containers in order, then the server.

    ``volumes`` maps a volume to its files (empty for an emptyDir); ``annotations`` are the pod's; ``in_memory`` maps
    the emptyDirs that lie in memory to their size in bytes (0: no limit of their own).
    """

    name: str
    namespace: str
    annotations: Mapping[str, str]
    init: tuple[ContainerPlan, ...]
    server: ContainerPlan
    volumes: Mapping[str, Mapping[str, bytes]]
    grace: float
    deadline: float
    in_memory: Mapping[str, int] = field(default_factory=dict)


def pod_plan(objects: Sequence[Object], name: str) -> PodPlan:
    """The plan of the Deployment called ``name``.

    Raises :class:`InvalidOverlay` where the Deployment is absent, or asks for something that only a cluster has
    (several containers, volumes other than emptyDir and configMap, an image's own entry point).
    """
    found = [obj for obj in of_kind(objects, "Deployment") if dig(obj, "metadata", "name") == name]
    if len(found) != 1:
        there = ", ".join(str(dig(obj, "metadata", "name")) for obj in of_kind(objects, "Deployment")) or "none"
        raise InvalidOverlay(
            f"expected one Deployment {name!r}, found {len(found)} (there: {there})", "check the model"
        )
    deployment = found[0]
    template = mapping(deployment, "spec", "template")
    spec = mapping(template, "spec")
    containers = items(spec, "containers")
    if len(containers) != 1:
        raise InvalidOverlay(
            f"Deployment {name!r} has {len(containers)} containers; a local pod runs exactly one",
            "verify overlays with sidecars on a cluster",
        )
    facts = _Facts(deployment, template, list(objects))
    return PodPlan(
        name=name,
        namespace=namespace_of(deployment),
        annotations={str(k): str(v) for k, v in mapping(template, "metadata", "annotations").items()},
        init=tuple(facts.container(container) for container in items(spec, "initContainers")),
        server=facts.container(containers[0]),
        volumes={str(volume.get("name")): facts.volume(volume) for volume in items(spec, "volumes")},
        grace=float(spec.get("terminationGracePeriodSeconds", 30)),
        deadline=float(mapping(deployment, "spec").get("progressDeadlineSeconds", 600)),
        in_memory={
            str(volume.get("name")): int(quantity(dig(volume, "emptyDir", "sizeLimit") or 0) or 0)
            for volume in items(spec, "volumes")
            if dig(volume, "emptyDir", "medium") == "Memory"
        },
    )


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Kubernetes' ``$(NAME)`` expansion: unknown names stay as they are, ``$$`` is an escaped ``$``.

    >>> expand("$(A) $$(A) $(B) $A", {"A": "1"})
    '1 $(A) $(B) $A'
    """
    return _VARIABLE.sub(lambda m: "$" if m[1] else variables.get(m[2], m[0]), text)


class _Facts:
    """Reads parts of one Deployment; ``objects`` provide the config maps."""

    def __init__(self, deployment: Object, template: Object, objects: list[Object]) -> None:
        self.name = str(dig(deployment, "metadata", "name"))
        self.namespace = namespace_of(deployment)
        self.template = template
        self.objects = objects

    def refuse(self, what: str) -> InvalidOverlay:
        return InvalidOverlay(f"Deployment {self.name!r}: {what}", "a local pod cannot do that; verify on a cluster")

    def container(self, container: Object) -> ContainerPlan:
        name = str(container.get("name"))
        if container.get("restartPolicy") == "Always":
            raise self.refuse(f"init container {name!r} is a sidecar")
        command = tuple(strings(container, "command"))
        if not command:
            raise self.refuse(f"container {name!r} has no command, so the image's entry point would run")
        if items(container, "envFrom"):
            raise self.refuse(f"container {name!r} uses envFrom")
        ports = [port["containerPort"] for port in items(container, "ports") if "containerPort" in port]
        probes = (mapping(container, f"{kind}Probe") for kind in ("startup", "readiness"))
        return ContainerPlan(
            name=name,
            command=command,
            args=tuple(strings(container, "args")),
            env=tuple(self.variable(entry) for entry in items(container, "env")),
            mounts=tuple(
                Mount(
                    str(m.get("mountPath")).rstrip("/"),
                    str(m.get("name")),
                    str(m.get("subPath", "")),
                    bool(m.get("readOnly")),
                )
                for m in items(container, "volumeMounts")
            ),
            port=int(ports[0]) if ports else None,
            probes=tuple(_probe(probe) for probe in probes if "httpGet" in probe),
            working_dir=str(container.get("workingDir", "")),
            confinement=self.confinement(container),
            pre_stop=float(dig(container, "lifecycle", "preStop", "sleep", "seconds") or 0),
        )

    def confinement(self, container: Object) -> Confinement:
        """The container's securityContext over the pod's, as Kubernetes merges them, and its limits."""
        pod, own = mapping(self.template, "spec", "securityContext"), mapping(container, "securityContext")
        both = {**pod, **own}
        limits = mapping(container, "resources", "limits")
        groups = [pod.get("fsGroup"), *(pod.get("supplementalGroups") or ())]
        user, group = both.get("runAsUser"), both.get("runAsGroup")
        return Confinement(
            user=None if user is None else int(user),
            group=None if group is None else int(group),
            groups=tuple(int(each) for each in groups if each is not None),
            read_only=bool(own.get("readOnlyRootFilesystem")),
            escalation=own.get("allowPrivilegeEscalation") is not False,
            drop=tuple(strings(own, "capabilities", "drop")),
            add=tuple(strings(own, "capabilities", "add")),
            seccomp=str(dig(both, "seccompProfile", "type") or ""),
            memory=_limit(limits.get("memory")),
            cpu=None if "cpu" not in limits else float(quantity(limits["cpu"]) or 0),
        )

    def variable(self, entry: Object) -> Variable:
        name, source = str(entry.get("name")), mapping(entry, "valueFrom")
        if not source:
            return Variable(name, str(entry.get("value", "")))
        if "secretKeyRef" in source:
            return Variable(name, secret=str(dig(source, "secretKeyRef", "name")))
        if "configMapKeyRef" in source:
            data = mapping(self.config_map(dig(source, "configMapKeyRef", "name")), "data")
            return Variable(name, str(data.get(dig(source, "configMapKeyRef", "key"), "")).replace("$", "$$"))
        field = str(dig(source, "fieldRef", "fieldPath"))
        known = {"metadata.name": f"{self.name}-local", "metadata.namespace": self.namespace}
        known |= {"status.podIP": "127.0.0.1", "status.hostIP": "127.0.0.1"}
        for group in ("annotations", "labels"):
            values = mapping(self.template, "metadata", group).items()
            known |= {f"metadata.{group}['{key}']": str(value) for key, value in values}
        if field not in known:
            raise self.refuse(f"variable {name!r} comes from {', '.join(source)}")
        return Variable(name, known[field].replace("$", "$$"))

    def volume(self, volume: Object) -> dict[str, bytes]:
        if "emptyDir" in volume:
            return {}
        source = mapping(volume, "configMap")
        if not source:
            kinds = ", ".join(sorted(volume.keys() - {"name"}))
            raise self.refuse(f"volume {volume.get('name')!r} is of type {kinds}")
        config = self.config_map(source.get("name"), optional=bool(source.get("optional")))
        files = {key: str(value).encode() for key, value in mapping(config, "data").items()}
        files |= {key: base64.b64decode(str(value)) for key, value in mapping(config, "binaryData").items()}
        chosen = items(source, "items")
        return {str(i["path"]): files[i["key"]] for i in chosen if i.get("key") in files} if chosen else files

    def config_map(self, name: Any, *, optional: bool = False) -> Object:
        for obj in of_kind(self.objects, "ConfigMap"):
            if dig(obj, "metadata", "name") == name and namespace_of(obj) == self.namespace:
                return obj
        if optional:
            return {}
        raise InvalidOverlay(
            f"Deployment {self.name!r} needs ConfigMap {name!r}, which the overlay does not render",
            "list the component that generates it, e.g. ../../../components/trust",
        )


def _limit(value: Any) -> int | None:
    number = None if value is None else quantity(value)
    return None if number is None else int(number)


def _probe(probe: Object) -> Probe:
    """Kubernetes' defaults: period 10 s, timeout 1 s, 3 failures."""
    return Probe(
        path=str(dig(probe, "httpGet", "path") or "/"),
        delay=float(probe.get("initialDelaySeconds", 0)),
        period=float(probe.get("periodSeconds", 10)),
        timeout=float(probe.get("timeoutSeconds", 1)),
        failures=int(probe.get("failureThreshold", 3)),
    )
