"""Are the objects of GitOps controllers what their API types say, and has a fork filled in what is its own?

``schemas.py`` knows Kubernetes' own kinds; this module adds those of Flux and Argo CD (their fields are in
``controller_flux.py``, ``controller_helm.py`` and ``controller_argocd.py``) for ``clusters/`` and ``platform/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from rankops.overlays import controller_argocd as argocd
from rankops.overlays import controller_flux as flux
from rankops.overlays import controller_helm as helm
from rankops.overlays import schemas
from rankops.overlays.objects import Object, Violation, dig, title

RULE = schemas.RULE
KINDS: dict[tuple[str, str], type[flux.Spec]] = {
    ("source.toolkit.fluxcd.io/v1", "GitRepository"): flux.GitRepository,
    ("source.toolkit.fluxcd.io/v1", "HelmRepository"): flux.HelmRepository,
    ("source.toolkit.fluxcd.io/v1", "OCIRepository"): flux.OCIRepository,
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"): flux.Kustomization,
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease"): helm.HelmRelease,
    ("notification.toolkit.fluxcd.io/v1", "Receiver"): helm.Receiver,
    ("notification.toolkit.fluxcd.io/v1beta3", "Alert"): helm.Alert,
    ("notification.toolkit.fluxcd.io/v1beta3", "Provider"): helm.Provider,
    ("argoproj.io/v1alpha1", "Application"): argocd.Application,
    ("argoproj.io/v1alpha1", "AppProject"): argocd.AppProject,
    ("argoproj.io/v1alpha1", "ApplicationSet"): argocd.ApplicationSet,
}
"""``(apiVersion, kind)`` of the controllers' objects, and their specs."""

_PLACEHOLDERS = (".invalid", "your-org/", "sha256:" + "0" * 64)


def check(objects: Sequence[Object], version: str) -> list[Violation]:
    """Departures from the controllers' API types, and for every other kind from the schemas of Kubernetes ``version``.

    Raises :class:`rankops.errors.BadInput` for a version that there are no schemas for.
    """
    own = [obj for obj in objects if (obj.get("apiVersion"), obj.get("kind")) in KINDS]
    others = [obj for obj in objects if (obj.get("apiVersion"), obj.get("kind")) not in KINDS]
    return [*(violation for obj in own for violation in _check_one(obj)), *schemas.check(others, version)]


def _check_one(obj: Object) -> Iterator[Violation]:
    model = KINDS[str(obj.get("apiVersion")), str(obj.get("kind"))]
    if not isinstance(dig(obj, "metadata", "name"), str) or not isinstance(dig(obj, "metadata", "namespace"), str):
        yield Violation(RULE, title(obj), "metadata", "needs a name and a namespace")
    for unknown in sorted(set(obj) - {"apiVersion", "kind", "metadata", "spec"}):
        yield Violation(RULE, title(obj), unknown, "is no field of this kind")
    try:
        model.model_validate(obj.get("spec"))
    except ValidationError as errors:
        for error in errors.errors(include_url=False):
            path = ".".join(str(part) for part in ("spec", *error["loc"]))
            message = "is no field of this kind" if error["type"] == "extra_forbidden" else error["msg"]
            yield Violation(RULE, title(obj), path, message)


def open_places(objects: Sequence[Object]) -> list[Violation]:
    """Values that only a fork can know and that still are the ones this repository comes with.

    They use names that can never resolve (``.invalid``, RFC 2606) and a digest of zeros, so that a cluster to which
    they are applied by mistake pulls and fetches nothing.
    """
    found = []
    for obj in objects:
        for path, value in _texts(obj, ""):
            for line in value.splitlines():
                if any(mark in line for mark in _PLACEHOLDERS):
                    found.append(Violation("placeholder", title(obj), path, f"{line.strip()} is not yours yet"))
    return found


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path.removeprefix("."), value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")
