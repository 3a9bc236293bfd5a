"""What is in ``k8s-overlays`` builds, is valid on every supported Kubernetes, and renders what the snapshots say."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from ruamel.yaml import YAML

from assets.models import MODELS
from rankops.errors import InvalidOverlay
from rankops.overlays.component import is_seed, require_pinned
from rankops.overlays.kustomize import build
from rankops.overlays.schemas import VERSIONS
from rankops.overlays.validate import build_and_validate, validate, violations
from rankops.specs import ENVIRONMENTS
from tests.overlays_manifests.conftest import (
    OVERLAYS,
    PIN,
    README,
    RELEASE,
    Objects,
    copy_overlays,
    fetch,
    offered_combinations,
    one,
    pin_release,
    pod,
    server,
    snippet,
    trust,
    use_components,
)

SNAPSHOTS = Path(__file__).parent / "snapshots"
VERSIONS_OF_IMAGE_VOLUMES = [version for version in VERSIONS if version >= "1.33"]
OTHER_MODELS = tuple(spec.name for spec in MODELS if spec.name != "retriever")
ENVIRONMENT_NAMES = tuple(environment.name for environment in ENVIRONMENTS)


def build_variant(
    tmp_path: Path, kustomize: Path, environment: str, components: tuple[str, ...]
) -> tuple[Objects, str]:
    folder = pin_release(copy_overlays(tmp_path), environment)
    use_components(folder, *components)
    return build(folder, kustomize=kustomize)


@pytest.mark.parametrize("components", offered_combinations(), ids="+".join)
@pytest.mark.parametrize("environment", ENVIRONMENT_NAMES)
def test_every_combination_that_the_readme_offers_is_valid_on_every_kubernetes(
    tmp_path: Path, kustomize: Path, environment: str, components: tuple[str, ...]
) -> None:
    objects, _ = build_variant(tmp_path, kustomize, environment, components)
    for version in VERSIONS_OF_IMAGE_VOLUMES if "image-volume" in components else VERSIONS:
        validate(objects, kubernetes=version)
    require_pinned(objects, PIN.model_copy(update={"environment": environment}))
    kinds = {obj["kind"] for obj in objects}
    assert ({"PodMonitor", "PrometheusRule"} <= kinds) == ("monitoring" in components)
    assert ({"Canary", "MetricTemplate"} <= kinds) == ("canary" in components)
    assert ("ScaledObject" in kinds) == ("autoscale-keda" in components)
    assert ("HorizontalPodAutoscaler" in kinds) == (not {"autoscale-keda", "gpu-nvidia"} & set(components))


@pytest.mark.parametrize("components", [c for c in offered_combinations() if "image-volume" in c], ids="+".join)
def test_every_combination_builds_before_the_first_release_and_starts_nothing(
    tmp_path: Path, kustomize: Path, components: tuple[str, ...]
) -> None:
    folder = copy_overlays(tmp_path) / "overlays" / "production" / "retriever"
    use_components(folder, *components)
    objects = build(folder, kustomize=kustomize).objects
    assert one(objects, "Deployment")["spec"]["replicas"] == 0
    assert {v.rule for v in violations(objects, kubernetes="1.37")} == {"release", "image-digest", "variables"}
    for scaler in (o for o in objects if o["kind"] == "ScaledObject"):
        assert scaler["metadata"]["annotations"] == {"autoscaling.keda.sh/paused-replicas": "0"}
    for delivery in (o for o in objects if o["kind"] == "Canary"):
        assert delivery["spec"]["suspend"] is True


def test_the_readme_offers_every_component_there_is() -> None:
    there = {folder.name for folder in (OVERLAYS / "components").iterdir()} - {"unreleased"}
    assert {name for line in offered_combinations() for name in line} - {"release"} == there
    assert {name for name in there if f"| `{name}` |" in README} == there
    assert all(snippet(name) for name in ("autoscale-keda", "canary", "image-volume"))


def test_a_kubernetes_without_image_volumes_is_named(canary: Objects) -> None:
    found = violations(canary, kubernetes="1.30")
    assert [v.rule for v in found] == ["schema"]
    assert "'image' was unexpected" in found[0].message


@pytest.mark.parametrize(
    ("components", "says"),
    [
        (("cpu", "trust", "monitoring", "autoscale-keda", "canary"), "must name ScaledObject"),
        (("cpu", "trust", "canary", "monitoring"), "PodMonitor rankops-production/retriever does not select"),
        (("cpu", "trust", "canary"), "list components/monitoring before canary"),
        (("cpu", "trust", "autoscale-keda"), "nothing scrapes these pods: list components/monitoring"),
        (("gpu-nvidia", "trust", "monitoring", "canary"), "on a GPU list autoscale-keda"),
        (("autoscale-keda", "gpu-nvidia", "trust", "monitoring"), "spec.replicas: must be absent"),
        (("image-volume", "cpu", "trust"), "is missing for replacement source"),
    ],
)
def test_components_in_a_wrong_order_or_without_what_they_need_are_refused(
    tmp_path: Path, kustomize: Path, components: tuple[str, ...], says: str
) -> None:
    folder = pin_release(copy_overlays(tmp_path), "production")
    use_components(folder, *components)
    with pytest.raises(InvalidOverlay, match=re.escape(says)):
        build_and_validate(folder, kustomize=kustomize)


@pytest.mark.parametrize(
    ("snapshot", "environment", "components"),
    [
        ("staging", "staging", ("cpu", "trust")),
        ("production", "production", ("cpu", "trust", "monitoring")),
        ("production-gpu-keda", "production", ("gpu-nvidia", "trust", "monitoring", "autoscale-keda")),
        ("production-canary", "production", ("cpu", "trust", "monitoring", "canary", "release", "image-volume")),
    ],
)
def test_the_rendered_overlay_is_what_the_snapshot_says(
    tmp_path: Path, kustomize: Path, snapshot: str, environment: str, components: tuple[str, ...]
) -> None:
    _, text = build_variant(tmp_path, kustomize, environment, components)
    compare(SNAPSHOTS / f"{snapshot}.yaml", without_dashboard(text))


@pytest.mark.parametrize("model", OTHER_MODELS)
@pytest.mark.parametrize("environment", ENVIRONMENT_NAMES)
def test_every_model_of_the_template_is_valid_and_renders_what_the_retriever_does(
    tmp_path: Path, kustomize: Path, environment: str, model: str
) -> None:
    """One snapshot an environment is enough: another model's differs by its name and by nothing else."""
    objects, text = build(pin_release(copy_overlays(tmp_path), environment, model), kustomize=kustomize)
    for version in (VERSIONS[0], VERSIONS[-1]):
        validate(objects, kubernetes=version)
    require_pinned(objects, PIN.model_copy(update={"environment": environment, "model": model}))
    expected = (SNAPSHOTS / f"{environment}.yaml").read_text()
    assert parsed(without_dashboard(text).replace(model, "retriever")) == parsed(expected)
    placeholder = OVERLAYS / "overlays" / environment / model / "release" / "kustomization.yaml"
    assert is_seed(placeholder.read_text())


def test_an_overlay_that_never_saw_a_release_asks_for_no_pods_and_is_not_valid(kustomize: Path) -> None:
    folder = OVERLAYS / "overlays" / "staging" / "retriever"
    placeholder = (folder / "release" / "kustomization.yaml").read_text()
    assert is_seed(placeholder)
    assert placeholder == (OVERLAYS / "components" / "unreleased" / "kustomization.yaml").read_text()
    objects, text = build(folder, kustomize=kustomize)
    assert one(objects, "Deployment")["spec"]["replicas"] == 0
    compare(SNAPSHOTS / "staging-unreleased.yaml", text)
    with pytest.raises(InvalidOverlay, match="no release is pinned: materialize `deploy`"):
        validate(objects)


def test_a_deploy_leaves_the_number_of_replicas_to_the_autoscaler(production: Objects) -> None:
    assert "replicas" not in one(production, "Deployment")["spec"]
    assert one(production, "HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2


def test_a_digest_that_looks_like_a_number_stays_text(production: Objects) -> None:
    assert pod(production)["metadata"]["annotations"]["rankops.dev/release"] == RELEASE
    assert {"name": "RANKOPS_RELEASE_DIGEST", "value": RELEASE} in server(production)["env"]


def test_commands_and_arguments_are_the_contract_with_server_and_fetcher(production: Objects) -> None:
    trust = ["--public-key", "/etc/rankops/trust/release-signing.pub"]
    assert fetch(production)["command"] + fetch(production)["args"] == [
        *("python", "-m", "rankops.release", "fetch", "--uri", "$(RANKOPS_RELEASE_URI)"),
        *("--digest", "$(RANKOPS_RELEASE_DIGEST)", *trust, "--to", "/var/lib/rankops/release"),
    ]
    assert server(production)["command"] + server(production)["args"] == [
        *("python", "-m", "rankops.serving", "--release", "/var/lib/rankops/release"),
        *("--digest", "$(RANKOPS_RELEASE_DIGEST)", *trust, "--host", "0.0.0.0", "--port", "8080"),
        *("--request-log", "/var/lib/rankops/requests"),
    ]


def test_the_arguments_are_ones_that_server_and_fetcher_know(production: Objects) -> None:
    from rankops.release.__main__ import parser as fetch_parser
    from rankops.serving.config import parser as server_parser

    assert fetch_parser().parse_args([*fetch(production)["command"][3:], *fetch(production)["args"]]).uri
    assert server_parser().parse_args(server(production)["args"]).port == "8080"


def test_the_server_has_time_to_drain_within_the_grace_period(production: Objects) -> None:
    from rankops.serving.config import ServerConfig

    pre_stop = server(production)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = ServerConfig.model_fields["drain_seconds"].default
    assert pre_stop + drain < pod(production)["spec"]["terminationGracePeriodSeconds"]


def test_the_trusted_key_is_a_p256_key_and_reaches_the_pods_under_a_hashed_name(production: Objects) -> None:
    config = trust(production)
    key = load_pem_public_key(config["data"]["release-signing.pub"].encode())
    assert isinstance(key, EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert config["metadata"]["name"].startswith("retriever-trust-")
    volume = next(v for v in pod(production)["spec"]["volumes"] if v["name"] == "trust")
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert config["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "Disabled"


def test_the_gpu_component_appends_its_toleration_and_keeps_those_of_people(tmp_path: Path, kustomize: Path) -> None:
    folder = pin_release(copy_overlays(tmp_path), "production")
    own = "- op: add\n  path: /spec/template/spec/tolerations/-\n  value: {key: team, operator: Exists}\n"
    base = tmp_path / "k8s-overlays" / "base" / "retriever" / "kustomization.yaml"
    indented = own.replace("\n", "\n      ").rstrip()
    patch = f"patches:\n  - target:\n      kind: Deployment\n    patch: |-\n      {indented}\n"
    base.write_text(base.read_text().replace("patches:\n", patch))
    use_components(folder, "gpu-nvidia", "trust")
    objects = build_and_validate(folder, kustomize=kustomize).objects
    assert [t["key"] for t in pod(objects)["spec"]["tolerations"]] == ["team", "nvidia.com/gpu"]


def readme_commands(name: str) -> str:
    """The shell commands under "Add a model" in the README, for a model of this name."""
    section = README.split("## Add a model")[1]
    return section.split("```sh\n")[1].split("```")[0].replace("NAME", name)


def test_the_readmes_commands_add_a_model_that_shares_no_object_with_the_first(tmp_path: Path, kustomize: Path) -> None:
    overlays = copy_overlays(tmp_path)
    subprocess.run(["sh", "-euc", readme_commands("re-ranker")], cwd=tmp_path, check=True)
    unreleased = build(overlays / "overlays/staging/re-ranker", kustomize=kustomize).objects
    assert one(unreleased, "Deployment")["spec"]["replicas"] == 0
    first = build_and_validate(pin_release(overlays, "staging"), kustomize=kustomize).objects
    second = build_and_validate(pin_release(overlays, "staging", "re-ranker"), kustomize=kustomize).objects
    names = [{(obj["kind"], obj["metadata"]["name"]) for obj in objects} for objects in (first, second)]
    assert not names[0] & names[1]
    assert {name.split("-trust")[0] for _, name in names[1]} == {"re-ranker"}


def test_forgetting_the_trust_component_is_noticed(tmp_path: Path, kustomize: Path) -> None:
    folder = pin_release(copy_overlays(tmp_path), "staging")
    use_components(folder, "cpu")
    found = violations(build(folder, kustomize=kustomize).objects)
    assert [v.rule for v in found] == ["reference"]


def without_dashboard(text: str) -> str:
    """The dashboard is a file of its own in the repository; a snapshot need not repeat its thousand lines."""
    return re.sub(r"(?<=  rankops-serving\.json: )\|\n( {4}.*\n| *\n)+", "(components/monitoring)\n", text)


def parsed(text: str) -> Objects:
    """As objects, because long lines break elsewhere; a ConfigMap's name is hashed with its content."""
    return list(YAML(typ="safe").load_all(re.sub(r"(?<=retriever-trust-)[a-z0-9]{10}", "HASH", text)))


def compare(snapshot: Path, text: str) -> None:
    if os.environ.get("RANKOPS_UPDATE_SNAPSHOTS") == "1":
        snapshot.write_text(text)
    assert snapshot.is_file(), f"{snapshot} is missing: run this test once with RANKOPS_UPDATE_SNAPSHOTS=1"
    assert text == snapshot.read_text(), (
        "rendered output changed; RANKOPS_UPDATE_SNAPSHOTS=1 accepts it, review the diff"
    )


def test_api_keys_come_from_a_secret_that_is_not_in_git_and_follow_it(tmp_path: Path, kustomize: Path) -> None:
    objects, _ = build_variant(tmp_path, kustomize, "production", ("cpu", "trust", "monitoring", "api-keys"))
    container, spec = server(objects), pod(objects)["spec"]
    (variable,) = (v for v in container["env"] if v["name"] == "RANKOPS_API_KEYS")
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == "api-keys")
    assert (mount["mountPath"], mount["readOnly"], "subPath" in mount) == ("/etc/rankops/keys", True, False)
    assert variable["value"] == f"{mount['mountPath']}/api-keys"
    (volume,) = (v for v in spec["volumes"] if v["name"] == "api-keys")
    secret = volume["secret"]
    assert (secret["secretName"], secret["optional"], secret["defaultMode"]) == ("retriever-api-keys", False, 0o440)
    assert not [obj for obj in objects if obj["kind"] == "Secret"]
    assert not any(m["name"] == "api-keys" for c in spec["initContainers"] for m in c["volumeMounts"])
    from rankops.serving.config import read_config

    environment = {v["name"]: v.get("value", "") for v in container["env"]}
    known = {"RANKOPS_API_KEYS": environment["RANKOPS_API_KEYS"], "RANKOPS_RELEASE_DIGEST": RELEASE}
    assert str(read_config(["--release", "/r", "--public-key", "/k"], known).api_keys) == variable["value"]
