"""The one question that CI, ``deploy`` and verification ask of a rendered overlay: may this be applied?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rankops.errors import InvalidOverlay
from rankops.overlays import rules, schemas
from rankops.overlays.kustomize import Rendered, build
from rankops.overlays.objects import Object, Violation

KUBERNETES = "1.34"
"""The cluster version that is assumed where nobody names one."""


def violations(objects: Sequence[Object], *, kubernetes: str = KUBERNETES) -> list[Violation]:
    """Everything that is wrong: departures from the schemas first, then from our own rules.

    Raises :class:`rankops.errors.BadInput` for a Kubernetes version that there are no schemas for.
    """
    return [*schemas.check(objects, kubernetes), *rules.check(objects)]


def validate(objects: Sequence[Object], *, kubernetes: str = KUBERNETES) -> None:
    """Raise :class:`InvalidOverlay` that lists everything which is wrong with the rendered objects."""
    found = violations(objects, kubernetes=kubernetes)
    if found:
        count = "one mistake" if len(found) == 1 else f"{len(found)} mistakes"
        listed = "".join(f"\n  - {violation}" for violation in found)
        raise InvalidOverlay(
            f"the rendered overlay has {count} (checked for Kubernetes {kubernetes}):{listed}",
            "fix the overlay or its components; the rule in brackets is explained in k8s-overlays/README.md",
        )


def build_and_validate(folder: Path, *, kustomize: Path, kubernetes: str = KUBERNETES) -> Rendered:
    """Build an overlay folder and validate what it renders; raises :class:`InvalidOverlay` from either."""
    rendered = build(folder, kustomize=kustomize)
    validate(rendered.objects, kubernetes=kubernetes)
    return rendered
