"""Rules about one pod template: images, resources, probes, mounts, variables and the restricted security profile.

What belongs here: what can be judged by looking at the pods of one object alone. ``rules.py`` judges how objects refer
to each other, and lists all rules. A rule never raises; it yields what is wrong.

The security rules are the *restricted* profile of the Pod Security Standards, plus a read-only root file system.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from rankops.overlays.objects import Object, Pods, Violation, dig, items, mapping, pods_of, strings, title

_DIGEST = re.compile(r"^[^@\s]+@sha256:[0-9a-f]{64}$")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")
_UNITS = {"": Decimal(1), "m": Decimal("0.001")}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}
_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_HOST = ("hostNetwork", "hostPID", "hostIPC")


def quantity(text: Any) -> Decimal | None:
    """The value of a Kubernetes quantity (``500m``, ``1Gi``, ``2e3``), or None if it is none.

    >>> quantity("1Gi") == 1024**3
    True
    """
    found = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?\d+)?)([KMGTPE]i|[mkMGTPE]?)", str(text))
    try:
        return Decimal(found[1]) * _UNITS[found[2]] if found else None
    except InvalidOperation:
        return None


def images_are_pinned(objects: Sequence[Object]) -> Iterator[Violation]:
    """Each image names a digest: a tag can be moved under a commit that did not change.

    An image volume may have the pinned release's digest for a tag instead: its content is verified against it.
    """
    for pods in pods_of(objects):
        for path, container in pods.containers():
            image = container.get("image")
            if not isinstance(image, str) or not _DIGEST.match(image):
                message = f"{image!r} is not pinned by @sha256:<64 hex digits>"
                yield Violation("image-digest", title(pods.owner), f"{path}.image", message)
        release = str(dig(pods.template, "metadata", "annotations", "rankops.dev/release"))
        for volume in items(pods.spec, "volumes"):
            reference = dig(volume, "image", "reference")
            if "image" in volume and not (_DIGEST.match(str(reference)) or _is_tagged(str(reference), release)):
                message = (
                    f"{reference!r} is neither pinned by @sha256:<64 hex digits> nor tagged with rankops.dev/release"
                )
                at = f"{pods.path}spec.volumes[{volume.get('name')}].image.reference"
                yield Violation("image-digest", title(pods.owner), at, message)


def _is_tagged(reference: str, release: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", release) is not None and reference.endswith(f":{release}")


def resources_are_stated(objects: Sequence[Object]) -> Iterator[Violation]:
    """Requests for CPU and memory and a memory limit, and no request above its limit."""
    for pods in pods_of(objects):
        for path, container in pods.containers():
            requests, limits = mapping(container, "resources", "requests"), mapping(container, "resources", "limits")
            missing = [f"requests.{key}" for key in ("cpu", "memory") if key not in requests]
            missing += [] if "memory" in limits else ["limits.memory"]
            if missing:
                yield Violation("resources", title(pods.owner), f"{path}.resources", f"{', '.join(missing)} missing")
            for key in sorted(requests.keys() & limits.keys()):
                asked, allowed = quantity(requests[key]), quantity(limits[key])
                if asked is None or allowed is None or asked > allowed:
                    message = f"request {requests[key]!r} exceeds the limit {limits[key]!r}, or is no quantity"
                    yield Violation("resources", title(pods.owner), f"{path}.resources.requests.{key}", message)


def gpus_are_limits(objects: Sequence[Object]) -> Iterator[Violation]:
    """GPUs and other extended resources: whole numbers, and requests equal limits (they cannot be overcommitted)."""
    for pods in pods_of(objects):
        for path, container in pods.containers():
            requests, limits = mapping(container, "resources", "requests"), mapping(container, "resources", "limits")
            for key in sorted({k for k in (*requests, *limits) if "/" in k}):
                limit, request = limits.get(key), requests.get(key, limits.get(key))
                at = f"{path}.resources.limits.{key}"
                if limit is None or quantity(request) != quantity(limit):
                    message = f"request {request!r} and limit {limit!r} must be equal"
                    yield Violation("gpu-limits", title(pods.owner), at, message)
                elif not str(limit).isdigit():
                    yield Violation("gpu-limits", title(pods.owner), at, f"{limit!r} is not a whole number")


def probes_are_present(objects: Sequence[Object]) -> Iterator[Violation]:
    """A container with ports has all three probes, on its own ports, and the rollout waits as long as it may start."""
    for pods in pods_of(objects):
        deadline = dig(pods.owner, "spec", "progressDeadlineSeconds")
        for path, container in pods.containers("containers"):
            ports = items(container, "ports")
            names = {port.get("name") for port in ports} | {port.get("containerPort") for port in ports}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if ports and probe not in container:
                    message = "missing on a container with ports"
                    yield Violation("probes", title(pods.owner), f"{path}.{probe}", message)
                for action in ("httpGet", "tcpSocket"):
                    port = dig(container, probe, action, "port")
                    if port is not None and port not in names:
                        message = f"the container opens no port {port!r}"
                        yield Violation("probes", title(pods.owner), f"{path}.{probe}.{action}.port", message)
            startup = mapping(container, "startupProbe")
            seconds = _number(startup, "periodSeconds", 10) * _number(startup, "failureThreshold", 3)
            if startup and isinstance(deadline, int) and seconds >= deadline:
                message = f"allows {seconds} s to start, but the rollout is given up after {deadline} s"
                yield Violation("probes", title(pods.owner), f"{path}.startupProbe", message)


def servers_drain(objects: Sequence[Object]) -> Iterator[Violation]:
    """A container with ports sleeps before it stops (endpoints are withdrawn meanwhile), and has time left to drain."""
    for pods in pods_of(objects):
        grace = _number(pods.spec, "terminationGracePeriodSeconds", 30)
        for path, container in pods.containers("containers"):
            if not items(container, "ports"):
                continue
            hook = mapping(container, "lifecycle", "preStop")
            if not hook:
                message = "missing: requests would meet a server that is going away"
                yield Violation("drain", title(pods.owner), f"{path}.lifecycle.preStop", message)
            elif (seconds := _number(mapping(hook, "sleep"), "seconds", 0)) >= grace:
                message = f"{grace} s are over when the preStop sleep of {seconds} s ends"
                at = f"{pods.path}spec.terminationGracePeriodSeconds"
                yield Violation("drain", title(pods.owner), at, message)


def _number(value: Object, key: str, default: int) -> int:
    found = value.get(key)
    return found if isinstance(found, int) else default


def mounts_have_volumes(objects: Sequence[Object]) -> Iterator[Violation]:
    """Each mount names a volume of its pod, and no two mounts of a container share a path."""
    for pods in pods_of(objects):
        volumes = {volume.get("name") for volume in items(pods.spec, "volumes")}
        for path, container in pods.containers():
            seen: set[Any] = set()
            for mount in items(container, "volumeMounts"):
                at, where = f"{path}.volumeMounts[{mount.get('name')}]", mount.get("mountPath")
                if mount.get("name") not in volumes:
                    yield Violation("mounts", title(pods.owner), at, "the pod has no volume of this name")
                if where in seen:
                    yield Violation("mounts", title(pods.owner), at, f"a second mount at {where}")
                seen.add(where)


def variables_are_known(objects: Sequence[Object]) -> Iterator[Violation]:
    """Each ``$(NAME)`` is a variable of its container (Kubernetes passes on the text otherwise), defined once."""
    for pods in pods_of(objects):
        for path, container in pods.containers():
            names = [entry.get("name") for entry in items(container, "env")]
            for name in sorted({str(n) for n in names if names.count(n) > 1}):
                yield Violation(
                    "variables", title(pods.owner), f"{path}.env[{name}]", "defined twice; the last one wins"
                )
            if items(container, "envFrom"):
                continue  # names that come from elsewhere cannot be known here
            for field in ("command", "args"):
                for name in sorted(references(strings(container, field)) - set(names)):
                    message = f"$({name}) is not a variable of this container"
                    yield Violation("variables", title(pods.owner), f"{path}.{field}", message)


def references(texts: Sequence[str]) -> set[str]:
    """Names in ``$(NAME)`` references; ``$$(NAME)`` is an escape, not a reference."""
    return {match[1] for text in texts for match in _REFERENCE.finditer(text) if match[1]}


def security_is_restricted(objects: Sequence[Object]) -> Iterator[Violation]:
    """The restricted Pod Security Standard, and a root file system that cannot be written."""
    for pods in pods_of(objects):
        spec, name = pods.spec, title(pods.owner)
        for field in _HOST:
            if spec.get(field):
                yield Violation(
                    "security", name, f"{pods.path}spec.{field}", "pods must not share the host's namespaces"
                )
        for volume in items(spec, "volumes"):
            for kind in volume.keys() - _VOLUMES - {"name"}:
                at = f"{pods.path}spec.volumes[{volume.get('name')}]"
                yield Violation("security", name, at, f"volumes of type {kind} are not allowed")
        if spec.get("automountServiceAccountToken") is not False:
            message = "must be false: the server never talks to the cluster"
            yield Violation("security", name, f"{pods.path}spec.automountServiceAccountToken", message)
        for path, container in pods.containers():
            for field, message in _departures(pods, container):
                yield Violation("security", name, f"{path}.{field}", message)


def _departures(pods: Pods, container: Object) -> Iterator[tuple[str, str]]:
    """``(field, message)`` of each way in which a container is less than restricted."""
    outer, own = mapping(pods.spec, "securityContext"), mapping(container, "securityContext")
    both: Mapping[str, Any] = {**outer, **own}
    wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
    for field, value in wanted.items():
        if own.get(field) is not value:
            yield f"securityContext.{field}", f"must be {str(value).lower()}"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") in (None, 0):
        yield "securityContext.runAsNonRoot", "must be true, with a runAsUser other than 0 (here or on the pod)"
    if dig(both, "seccompProfile", "type") not in ("RuntimeDefault", "Localhost"):
        yield "securityContext.seccompProfile", "must be RuntimeDefault or Localhost (here or on the pod)"
    if own.get("privileged"):
        yield "securityContext.privileged", "must not be true"
    if "ALL" not in strings(own, "capabilities", "drop"):
        yield "securityContext.capabilities.drop", "must list ALL"
    if set(strings(own, "capabilities", "add")) - {"NET_BIND_SERVICE"}:
        yield "securityContext.capabilities.add", "only NET_BIND_SERVICE may be added"
    if any(port.get("hostPort") for port in items(container, "ports")):
        yield "ports", "must not take a hostPort"
