"""``release/kustomization.yaml``: the Kustomize Component that pins one release; only ``deploy`` writes it.

Its first line is a seal, a hash over the rest, so that a change by anybody else is noticed before it is overwritten.
Everything that Kustomize could read as a number is quoted (``1234567e8`` is a float to it).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from rankops.errors import InvalidOverlay, OverlayConflict
from rankops.files import sha256_bytes
from rankops.overlays.trailers import Digest, OneLine
from rankops.specs import DnsLabel

IMAGE = "rankops-server"
"""The image name that the base uses and that ``images:`` replaces."""
CONTAINERS = {"containers": "server", "initContainers": "fetch-release"}
SEED_MARKER = "# rankops: nothing released yet"
"""How the component of an overlay that never saw a release begins."""

_SEAL = re.compile(r"^# Written by rankops deploy; do not edit\. seal: sha256:([0-9a-f]{64})$")
_PREFIX = "rankops.dev/"
# No white space or quotes; no "$", which the kubelet and Flux would expand.
_URI = r"^[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"$\\]+$"


class ReleasePin(BaseModel):
    """Which release an environment runs, and where it came from.

    ``release`` and ``uri`` name the bundle, ``image`` and ``image_digest`` the server that runs it. The rest is
    lineage: it is recorded, but a difference in it alone is no reason for a commit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: DnsLabel
    environment: DnsLabel
    release: Digest
    uri: Annotated[str, StringConstraints(pattern=_URI, max_length=1000)]
    image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/:-]*[a-z0-9]$")] = IMAGE
    image_digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    dataset: Digest
    checkpoint: Digest
    dagster_run: OneLine | None = None
    mlflow_run: OneLine | None = None
    supersedes: Digest | None = Field(default=None, description="release that stood there before")

    @field_validator("uri")
    @classmethod
    def _no_credential(cls, uri: str) -> str:
        if "@" in uri.split("://", 1)[1].split("/", 1)[0]:
            raise ValueError("a release URI must not carry credentials: it is committed and public")
        return uri

    def same_effect(self, other: ReleasePin | None) -> bool:
        """True where a cluster would run the very same thing."""
        return other is not None and self.effect == other.effect

    @property
    def effect(self) -> tuple[str, ...]:
        """All that a cluster can see a difference in."""
        return (self.model, self.environment, self.release, self.uri, self.image, self.image_digest)

    @property
    def annotations(self) -> dict[str, str]:
        """What every pod carries, so that a live pod leads back to its data."""
        values = {
            "release": self.release,
            "release-uri": self.uri,
            "dataset": self.dataset,
            "checkpoint": self.checkpoint,
            "dagster-run": self.dagster_run or "none",
            "mlflow-run": self.mlflow_run or "none",
        }
        return {_PREFIX + key: value for key, value in values.items()}

    @property
    def environment_variables(self) -> dict[str, str]:
        """What both containers are told."""
        return {"RANKOPS_RELEASE_URI": self.uri, "RANKOPS_RELEASE_DIGEST": self.release}


@lru_cache(maxsize=64)  # a lost race asks again
def render_component(pin: ReleasePin) -> str:
    """The component's text; the same pin gives the same bytes."""
    image = {"name": IMAGE} | ({"newName": pin.image} if pin.image != IMAGE else {}) | {"digest": pin.image_digest}
    record = pin.model_dump(exclude_none=True)
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "metadata": {
            "name": f"{pin.model}-release",
            "annotations": {_PREFIX + key.replace("_", "-"): value for key, value in record.items()},
        },
        "images": [image],
        "patches": [
            {
                "target": {"group": "apps", "version": "v1", "kind": "Deployment", "name": pin.model},
                "patch": LiteralScalarString(_dump(_operations(pin), 0)),
            }
        ],
    }
    rest = _dump(document, 2)
    return f"# Written by rankops deploy; do not edit. seal: sha256:{sha256_bytes(rest.encode())}\n{rest}"


def is_seed(text: str | None) -> bool:
    """True for an absent component, or the placeholder of an overlay that never saw a release."""
    return text is None or text.startswith(SEED_MARKER)


def is_intact(text: str) -> bool:
    """True where the seal on the first line fits the rest."""
    first, _, rest = text.partition("\n")
    match = _SEAL.match(first)
    return match is not None and match[1] == sha256_bytes(rest.encode())


def read_component(text: str, *, name: str = "the release component") -> ReleasePin:
    """The pin that a component holds. Raises :class:`OverlayConflict` for a broken or missing seal."""
    if not is_intact(text):
        raise OverlayConflict(
            f"{name} was changed by somebody else: its seal is {'broken' if _sealed(text) else 'missing'}",
            "revert that change; put what people want into the kustomization.yaml beside the release folder",
        )
    try:
        return _parse(text)
    except (YAMLError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise OverlayConflict(
            f"{name} is sealed but cannot be read: {error}", "it was written by another version of rankops; upgrade"
        ) from error


@lru_cache(maxsize=64)
def _parse(text: str) -> ReleasePin:
    annotations = YAML(typ="base", pure=True).load(text)["metadata"]["annotations"]
    fields = {key.removeprefix(_PREFIX).replace("-", "_"): value for key, value in annotations.items()}
    return ReleasePin.model_validate(fields)


def require_pinned(objects: Iterable[Mapping[str, Any]], pin: ReleasePin) -> None:
    """Check on the *rendered* overlay that the pin took effect, because Kustomize is silent where it did not.

    Raises :class:`InvalidOverlay` listing everything that is missing.
    """
    found = [o for o in objects if o.get("kind") == "Deployment" and o.get("metadata", {}).get("name") == pin.model]
    if len(found) != 1:
        raise InvalidOverlay(
            f"the overlay renders {len(found)} Deployments named {pin.model!r}, expected one",
            "name the base's Deployment after the model, and list ./release under components",
        )
    template = found[0].get("spec", {}).get("template", {})
    wrong = _wrong_annotations(template, pin)
    for group, name in CONTAINERS.items():
        wrong += _wrong_container(template.get("spec", {}).get(group) or [], name, pin)
    if wrong:
        raise InvalidOverlay(
            f"the rendered overlay of {pin.environment}/{pin.model} does not pin release {pin.release[:12]}: "
            + "; ".join(wrong),
            f"list ./release under components (last), and call the image {IMAGE!r} in the base",
        )


def _wrong_annotations(template: Mapping[str, Any], pin: ReleasePin) -> list[str]:
    found = template.get("metadata", {}).get("annotations") or {}
    return [f"annotation {k} is {found.get(k)!r}" for k, v in pin.annotations.items() if found.get(k) != v]


def _wrong_container(containers: Sequence[Mapping[str, Any]], name: str, pin: ReleasePin) -> list[str]:
    container = next((c for c in containers if c.get("name") == name), None)
    if container is None:
        return [f"container {name!r} is missing"]
    wrong = []
    for key, value in pin.environment_variables.items():
        found = [e.get("value") for e in container.get("env") or [] if e.get("name") == key]
        if found != [value]:
            wrong.append(f"{name}: variable {key} is {found}")
    image = f"{pin.image}@{pin.image_digest}"
    if container.get("image") != image:
        wrong.append(f"{name}: image is {container.get('image')!r}, expected {image!r}")
    return wrong


def _operations(pin: ReleasePin) -> list[dict[str, Any]]:
    """JSON6902 operations; the ``test`` ones fail the build where a container is not where the base put it."""
    template = "/spec/template"
    operations: list[dict[str, Any]] = [
        {"op": "add", "path": f"{template}/metadata/annotations/{key.replace('/', '~1')}", "value": value}
        for key, value in pin.annotations.items()
    ]
    for group, name in CONTAINERS.items():
        container = f"{template}/spec/{group}/0"
        operations.append({"op": "test", "path": f"{container}/name", "value": name})
        operations += [
            {"op": "add", "path": f"{container}/env/-", "value": {"name": key, "value": value}}
            for key, value in pin.environment_variables.items()
        ]
    return operations


def _dump(value: Any, offset: int) -> str:
    """Block-style YAML; ``offset`` indents lists within mappings."""
    yaml = YAML()
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=2 + offset, offset=offset)
    out = io.StringIO()
    yaml.dump(_quoted(value), out)
    return out.getvalue()


def _quoted(value: Any) -> Any:
    """Every string in double quotes but the few fixed words of the file's own grammar."""
    if isinstance(value, Mapping):
        return {key: _quoted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_quoted(inner) for inner in value]
    plain = isinstance(value, LiteralScalarString) or value in _GRAMMAR
    return value if plain else DoubleQuotedScalarString(value)


_GRAMMAR = frozenset({"kustomize.config.k8s.io/v1alpha1", "Component", "Deployment", "apps", "v1", "add", "test"})


def _sealed(text: str) -> bool:
    return _SEAL.match(text.partition("\n")[0]) is not None
