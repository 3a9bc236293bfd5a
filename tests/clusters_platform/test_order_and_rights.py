"""What refers to what, in which order, and with which rights."""

from __future__ import annotations

import graphlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from rankops.overlays.kustomize import build
from rankops.specs import ENVIRONMENTS
from tests.clusters_platform.conftest import CHARTS, FOLDERS, OVERLAYS, Objects, Render, of_kind
from tests.overlays_manifests.conftest import pin_release, use_components

REPOSITORY = OVERLAYS.parent
ENVIRONMENT_NAMES = [environment.name for environment in ENVIRONMENTS]
PLURALS = {"NetworkPolicy": "networkpolicies"}
WRITES = {"create", "delete", "patch"}


def flux_kustomizations(objects: Objects) -> dict[str, dict[str, Any]]:
    found = of_kind(objects, "Kustomization")
    assert all(obj["apiVersion"] == "kustomize.toolkit.fluxcd.io/v1" for obj in found.values())
    return {name: obj["spec"] for name, obj in found.items()}


@pytest.fixture(params=["rendered", "everything"], ids=["default", "all-options"])
def variant(request: pytest.FixtureRequest) -> Render:
    return request.getfixturevalue(request.param)


def test_every_path_that_flux_reads_exists_and_every_source_is_declared(variant: Render) -> None:
    objects = variant("clusters/flux")
    sources = of_kind(objects, "GitRepository")
    for name, spec in flux_kustomizations(objects).items():
        assert (REPOSITORY / spec["path"]).is_dir(), name
        assert spec["sourceRef"]["name"] in sources, name


def test_the_sources_do_not_ignore_what_is_read_from_them(rendered: Render) -> None:
    """.sourceignore is .gitignore: asked of git itself."""
    import subprocess
    import tempfile

    objects = rendered("clusters/flux")
    sources = of_kind(objects, "GitRepository")
    for name, spec in flux_kustomizations(objects).items():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["git", "init", "--quiet", folder], check=True)
            ignore = sources[spec["sourceRef"]["name"]]["spec"]["ignore"]
            (Path(folder) / ".gitignore").write_text(ignore)
            needed = [f"{spec['path'].removeprefix('./')}/kustomization.yaml"]
            if name.removeprefix("rankops-") in ENVIRONMENT_NAMES:
                needed += ["k8s-overlays/base/server/deployment.yaml", "k8s-overlays/components/trust/x.pub"]
            done = subprocess.run(
                ["git", "check-ignore", "--no-index", *needed], cwd=folder, capture_output=True, text=True, check=False
            )
            assert done.stdout == "", f"{name} reads {done.stdout}"


def test_dependencies_exist_and_have_no_cycle(variant: Render) -> None:
    specs = flux_kustomizations(variant("clusters/flux"))
    graph = {name: {d["name"] for d in spec.get("dependsOn", [])} for name, spec in specs.items()}
    assert set().union(*graph.values()) <= set(graph)
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order[0] == "rankops-namespaces"
    assert order.index("rankops-staging") < order.index("rankops-production")
    assert order.index("rankops-postgresql") < order.index("rankops-mlflow") < order.index("rankops-dagster")


def test_every_kustomization_prunes_waits_retries_and_never_forces(variant: Render) -> None:
    for name, spec in flux_kustomizations(variant("clusters/flux")).items():
        assert spec["prune"] and spec["wait"] and not spec["force"], name
        assert {"timeout", "retryInterval", "interval"} <= set(spec), name
        assert "healthChecks" not in spec, f"{name}: ignored where wait is true"
        assert "postBuild" not in spec, name


def test_flux_waits_longer_for_an_environment_than_a_rollout_may_take(rendered: Render) -> None:
    deadline = of_kind(rendered("overlays/production/retriever"), "Deployment")["retriever"]["spec"]
    for name in ENVIRONMENT_NAMES:
        timeout = flux_kustomizations(rendered("clusters/flux"))[f"rankops-{name}"]["timeout"]
        assert int(timeout.removesuffix("m")) * 60 > deadline["progressDeadlineSeconds"]


@pytest.mark.parametrize("environment", ENVIRONMENT_NAMES)
def test_an_environment_builds_as_flux_builds_a_folder_without_kustomization(
    kustomize: Path, tmp_path: Path, environment: str
) -> None:
    """Flux lists the folders that have a kustomization.yaml, and does not look into them."""
    copy = shutil.copytree(OVERLAYS, tmp_path / "k8s-overlays")
    folder = copy / "overlays" / environment
    models = sorted(path.parent.name for path in folder.glob("*/kustomization.yaml"))
    (folder / "kustomization.yaml").write_text("resources:\n" + "".join(f"  - {model}\n" for model in models))
    objects = build(folder, kustomize=kustomize).objects
    assert {obj["metadata"]["namespace"] for obj in objects} == {f"rankops-{environment}"}
    assert set(models) <= set(of_kind(objects, "Deployment"))


def test_every_namespace_that_is_used_is_created_and_says_what_its_pods_may(variant: Render) -> None:
    namespaces = of_kind(variant("platform/namespaces"), "Namespace")
    given = {"flux-system", "argocd", "kube-system"}  # of the controllers and of Kubernetes itself
    folders = [*FOLDERS, *(f"overlays/{e}/retriever" for e in ENVIRONMENT_NAMES)]
    used = {o["metadata"]["namespace"] for f in folders for o in variant(f) if "namespace" in o["metadata"]}
    for app in of_kind(variant("clusters/argocd/apps"), "Application").values():
        used.add(app["spec"]["destination"]["namespace"])
    assert used - given <= set(namespaces)
    levels = {n: o["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] for n, o in namespaces.items()}
    assert {n for n, level in levels.items() if level != "restricted"} == {"monitoring", "gpu-operator"}
    for name in ENVIRONMENT_NAMES:
        assert namespaces[f"rankops-{name}"]["metadata"]["labels"]["rankops.dev/environment"] == name
    for obj in namespaces.values():
        assert obj["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "Disabled"


def rights(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_no_role_has_a_wildcard_and_none_is_of_the_whole_cluster(variant: Render) -> None:
    for folder in FOLDERS:
        for obj in variant(folder):
            assert obj["kind"] not in ("ClusterRole", "ClusterRoleBinding"), folder
            if obj["kind"] == "Role":
                assert not any("*" in right for right in rights(obj)), f"{folder} {obj['metadata']['name']}"
                resources = {resource for _, resource, _ in rights(obj)}
                assert not resources & {"secrets", "roles", "rolebindings"}


def test_a_sync_proof_only_reads_what_it_needs(rendered: Render) -> None:
    live = {
        ("apps", "deployments", "get"),
        ("flagger.app", "canaries", "get"),
        ("", "pods", "list"),
        ("", "pods/log", "get"),
    }
    sources = {("source.toolkit.fluxcd.io", kind, "get") for kind in ("buckets", "gitrepositories", "ocirepositories")}
    expected = {
        "flux-system": {("kustomize.toolkit.fluxcd.io", "kustomizations", "get"), *sources},
        "argocd": {("argoproj.io", "applications", "get")},
        **{f"rankops-{name}": live for name in ENVIRONMENT_NAMES},
    }
    for controller in ("flux", "argocd"):
        objects = rendered(f"platform/sync-proof/{controller}")
        roles = {o["metadata"]["namespace"]: rights(o) for o in objects if o["kind"] == "Role"}
        assert all(expected[namespace] == found for namespace, found in roles.items())
        bindings = [o for o in objects if o["kind"] == "RoleBinding"]
        assert {o["metadata"]["namespace"] for o in bindings} == set(roles)
        for binding in bindings:
            assert [(s["namespace"], s["name"]) for s in binding["subjects"]] == [("rankops", "dagster-run")]


def plural(obj: dict[str, Any]) -> tuple[str, str]:
    group = obj["apiVersion"].rpartition("/")[0]
    return group, PLURALS.get(obj["kind"], obj["kind"].lower() + "s").replace("policys", "policies").replace(
        "canarys", "canaries"
    )


@pytest.fixture(scope="module")
def overlay_objects(kustomize: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """Objects of every kind that an overlay with any of the components can hold."""
    copy = shutil.copytree(OVERLAYS, tmp_path_factory.mktemp("kinds") / "k8s-overlays")
    objects: Objects = []
    for component in sorted(path.name for path in (copy / "components").iterdir() if path.name != "unreleased"):
        folder = copy / "overlays/production/retriever"
        shutil.copyfile(OVERLAYS / "overlays/production/retriever/kustomization.yaml", folder / "kustomization.yaml")
        file = pin_release(copy, "production") / "kustomization.yaml"
        file.write_text(file.read_text().split("patches:")[0])  # they tune the autoscaler, which some components remove
        use_components(folder, *dict.fromkeys(["cpu", "trust", "release", component]))
        objects += build(folder, kustomize=kustomize).objects
    return objects


@pytest.mark.parametrize("environment", ENVIRONMENT_NAMES)
def test_a_tenant_may_write_every_kind_that_overlays_hold_and_no_other(
    rendered: Render, overlay_objects: Objects, environment: str
) -> None:
    objects = rendered("clusters/flux/tenants")
    role = next(o for o in objects if o["kind"] == "Role" and o["metadata"]["namespace"] == f"rankops-{environment}")
    written = {(group, resource) for group, resource, verb in rights(role) if verb in WRITES}
    for group, resource in written:
        assert {(group, resource, verb) for verb in (*WRITES, "get", "list", "watch")} <= rights(role)
    assert written == {plural(obj) for obj in overlay_objects}
    read = {(group, resource) for group, resource, _ in rights(role)} - written
    assert read == {("apps", "replicasets"), ("", "pods")}


def test_an_environments_controller_acts_as_its_tenant_and_the_tenant_is_bound_to_its_namespace_only(
    rendered: Render,
) -> None:
    specs = flux_kustomizations(rendered("clusters/flux"))
    objects = rendered("clusters/flux/tenants")
    accounts = of_kind(objects, "ServiceAccount")
    bound: dict[str, set[str]] = {}
    for obj in objects:
        if obj["kind"] == "RoleBinding":
            for subject in obj["subjects"]:
                bound.setdefault(subject["name"], set()).add(obj["metadata"]["namespace"])
    for name in ENVIRONMENT_NAMES:
        assert specs[f"rankops-{name}"]["serviceAccountName"] == f"rankops-{name}"
        assert bound[f"rankops-{name}"] == {f"rankops-{name}"}
    assert bound["rankops-platform"] == {"rankops"}
    used = {spec["serviceAccountName"] for spec in specs.values() if "serviceAccountName" in spec}
    assert used == set(accounts) == set(bound)
    assert all(account["metadata"]["namespace"] == "flux-system" for account in accounts.values())


def test_argos_project_of_models_allows_what_a_tenant_may_and_nothing_of_the_cluster(
    rendered: Render, overlay_objects: Objects
) -> None:
    spec = of_kind(rendered("clusters/argocd"), "AppProject")["rankops-models"]["spec"]
    assert spec["clusterResourceWhitelist"] == []
    allowed = {(item["group"], item["kind"]) for item in spec["namespaceResourceWhitelist"]}
    assert allowed == {(obj["apiVersion"].rpartition("/")[0], obj["kind"]) for obj in overlay_objects}
    assert {d["namespace"] for d in spec["destinations"]} == {f"rankops-{name}" for name in ENVIRONMENT_NAMES}


def test_argos_project_of_the_platform_allows_what_the_platform_holds(everything: Render) -> None:
    spec = of_kind(everything("clusters/argocd"), "AppProject")["rankops-platform"]["spec"]
    namespaced = {(item["group"], item["kind"]) for item in spec["namespaceResourceWhitelist"]}
    cluster = {(item["group"], item["kind"]) for item in spec["clusterResourceWhitelist"]}
    repositories, destinations = set(spec["sourceRepos"]), {d["namespace"] for d in spec["destinations"]}
    for app in of_kind(everything("clusters/argocd/apps"), "Application").values():
        sources = app["spec"].get("sources") or [app["spec"]["source"]]
        assert {source["repoURL"] for source in sources} <= repositories
        assert app["spec"]["destination"]["namespace"] in destinations
        for path in (source["path"] for source in sources if "path" in source):
            for obj in everything(path.removeprefix("k8s-overlays/")):
                kind = (obj["apiVersion"].rpartition("/")[0], obj["kind"])
                assert kind in (namespaced if "namespace" in obj["metadata"] else cluster), f"{path}: {kind}"
                assert obj["metadata"].get("namespace", "rankops") in destinations


def expand(template: str, path: str) -> str:
    """The three expressions that our ApplicationSet uses; another one is left over and fails the test."""
    segments = path.split("/")
    return (
        template.replace("{{ .path.path }}", path)
        .replace("{{ .path.basename }}", segments[-1])
        .replace("{{ index .path.segments 2 }}", segments[2])
    )


def test_the_applicationset_makes_one_application_an_overlay_in_its_namespace(rendered: Render) -> None:
    spec = of_kind(rendered("clusters/argocd/apps"), "ApplicationSet")["rankops-models"]["spec"]
    (directory,) = spec["generators"][0]["git"]["directories"]
    paths = [str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob(directory["path"]) if path.is_dir()]
    assert len(paths) >= 2
    for path in paths:
        template = spec["template"]
        environment, model = path.split("/")[2:]
        assert (REPOSITORY / expand(template["spec"]["source"]["path"], path) / "kustomization.yaml").is_file()
        assert expand(template["metadata"]["name"], path) == f"{model}-{environment}"
        namespace = expand(template["spec"]["destination"]["namespace"], path)
        objects = rendered(path.removeprefix("k8s-overlays/"))
        assert {obj["metadata"]["namespace"] for obj in objects} == {namespace}
        label = expand(template["metadata"]["labels"]["rankops.dev/environment"], path)
        steps = [step["matchExpressions"][0]["values"] for step in spec["strategy"]["rollingSync"]["steps"]]
        assert steps == [["staging"], ["production"]] and [label] in steps


def test_a_verification_looks_at_objects_that_are_declared_here(rendered: Render, tmp_path: Path) -> None:
    from resources.cluster import KubernetesCluster

    file = tmp_path / "kubeconfig"
    file.write_text(
        """{"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {"token": "t"}}],
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}"""
    )
    flux = of_kind(rendered("clusters/flux"), "Kustomization")
    for environment in ENVIRONMENT_NAMES:
        seen = KubernetesCluster(controller="flux", kubeconfig=str(file)).access(environment, "retriever").controller
        assert flux[seen.name]["metadata"]["namespace"] == seen.namespace
        argo = KubernetesCluster(controller="argocd", kubeconfig=str(file)).access(environment, "retriever").controller
        assert (argo.namespace, argo.name) == ("argocd", f"retriever-{environment}")


def test_argo_leaves_alone_what_autoscalers_and_flagger_wrote_and_nothing_else(rendered: Render) -> None:
    spec = of_kind(rendered("clusters/argocd/apps"), "ApplicationSet")["rankops-models"]["spec"]["template"]["spec"]
    replicas, selector = spec["ignoreDifferences"]
    # By who wrote it, not by path: see models.yaml.
    assert replicas == {"group": "apps", "kind": "Deployment", "managedFieldsManagers": ["kube-controller-manager"]}
    assert selector == {"group": "", "kind": "Service", "managedFieldsManagers": ["flagger"]}
    options = set(spec["syncPolicy"]["syncOptions"])
    assert {"RespectIgnoreDifferences=true", "ServerSideApply=true", "PruneLast=true"} <= options
    assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True, "allowEmpty": False}


def test_every_path_that_argo_reads_exists(everything: Render) -> None:
    root = of_kind(everything("clusters/argocd"), "Application")["rankops"]
    applications = [root, *of_kind(everything("clusters/argocd/apps"), "Application").values()]
    for app in applications:
        for source in app["spec"].get("sources") or [app["spec"]["source"]]:
            if "path" in source:
                assert (REPOSITORY / source["path"] / "kustomization.yaml").is_file()
            for file in source.get("helm", {}).get("valueFiles", []):
                assert (REPOSITORY / file.removeprefix("$rankops/")).is_file()


def test_argos_waves_are_an_order_that_flux_knows_too(everything: Render) -> None:
    wave = "argocd.argoproj.io/sync-wave"
    apps = of_kind(everything("clusters/argocd/apps"), "Application")
    waves = {name: int(app["metadata"]["annotations"][wave]) for name, app in apps.items()}
    for name, spec in flux_kustomizations(everything("clusters/flux")).items():
        for dependency in spec.get("dependsOn", []):
            if {name, dependency["name"]} <= set(waves) and waves[dependency["name"]] > waves[name]:
                pytest.fail(f"{name} comes before {dependency['name']}")
    models = of_kind(everything("clusters/argocd/apps"), "ApplicationSet")["rankops-models"]
    assert int(models["metadata"]["annotations"][wave]) > max(waves.values())


@pytest.mark.parametrize("folder", CHARTS)
def test_both_controllers_install_the_same_chart_with_the_same_values(everything: Render, folder: str) -> None:
    objects = everything(f"platform/{folder}")
    (release,) = of_kind(objects, "HelmRelease").values()
    (repository,) = of_kind(objects, "HelmRepository").values()
    chart = release["spec"]["chart"]["spec"]
    assert chart["sourceRef"]["name"] == repository["metadata"]["name"]
    app = of_kind(everything("clusters/argocd/apps"), "Application")[f"rankops-{folder}"]["spec"]
    source = next(source for source in app["sources"] if "chart" in source)
    assert (source["chart"], source["targetRevision"]) == (chart["chart"], chart["version"])
    assert source["repoURL"] == repository["spec"]["url"]
    assert source["helm"]["releaseName"] == release["spec"]["releaseName"]
    assert app["destination"]["namespace"] == release["metadata"]["namespace"]
    (values,) = of_kind(objects, "ConfigMap").values()
    assert release["spec"]["valuesFrom"] == [{"kind": "ConfigMap", "name": values["metadata"]["name"]}]
    assert values["data"]["values.yaml"] == (OVERLAYS / "platform" / folder / "values.yaml").read_text()


def test_state_is_never_pruned(everything: Render) -> None:
    kept = ("Namespace", "PersistentVolumeClaim", "StatefulSet")
    found = [obj for folder in FOLDERS for obj in everything(folder) if obj["kind"] in kept]
    assert {obj["kind"] for obj in found} == set(kept)
    for obj in found:
        annotations = obj["metadata"]["annotations"]
        assert annotations["kustomize.toolkit.fluxcd.io/prune"] == "Disabled"
        assert "Prune=false" in annotations["argocd.argoproj.io/sync-options"]


def test_config_maps_with_hashed_names_outlive_the_pods_that_mount_them(rendered: Render) -> None:
    for folder in ("postgresql", "mlflow", "dagster"):
        for obj in of_kind(rendered(f"platform/{folder}"), "ConfigMap").values():
            assert obj["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "Disabled"
