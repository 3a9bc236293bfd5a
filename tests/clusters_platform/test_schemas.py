"""Everything in clusters/ and platform/ is what Kubernetes, Flux and Argo CD know, and our own rules hold."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from rankops.overlays import rules
from rankops.overlays.controller_schemas import KINDS, check, open_places
from rankops.overlays.schemas import VERSIONS
from tests.clusters_platform.conftest import FOLDERS, Objects, Render, of_kind

# Why a rule does not hold somewhere, object by object: singletons on one volume, and pods that start Jobs.
EXCEPTIONS = {
    ("StatefulSet rankops/postgresql", "drain"),  # one replica: nothing to drain to
    ("StatefulSet rankops/postgresql", "spread"),
    ("StatefulSet rankops/postgresql", "mounts"),  # the volume comes from the claim template
    ("Deployment rankops/mlflow", "spread"),
    ("Deployment rankops/dagster-code", "spread"),
    ("Deployment rankops/dagster-daemon", "security"),  # its token: it launches runs
    ("Deployment rankops/dagster-webserver", "security"),  # its token: it stops runs
    ("NetworkPolicy rankops/training", "target"),  # its pods are started by runs
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_has_the_fields_of_its_kind_on_every_kubernetes(rendered: Render, folder: str) -> None:
    objects = rendered(folder)
    assert objects
    assert [str(v) for version in VERSIONS for v in check(objects, version)] == []


def test_the_options_too(everything: Render) -> None:
    plain = {title for folder in FOLDERS for title in _titles(everything(folder))}
    assert {"Kustomization rankops-gpu", "Application rankops-keda", "PersistentVolumeClaim rankops-training"} <= plain
    assert [str(v) for folder in FOLDERS for v in check(everything(folder), "1.34")] == []
    overlays = of_kind(everything("clusters/flux"), "GitRepository")["rankops-overlays"]
    assert overlays["spec"]["verify"]["mode"] == "HEAD"
    assert of_kind(everything("clusters/flux"), "Receiver")["rankops-push"]["spec"]["type"] == "gitlab"


def _titles(objects: Objects) -> list[str]:
    return [f"{obj['kind']} {obj['metadata']['name']}" for obj in objects]


def test_our_rules_hold_but_for_the_listed_exceptions(rendered: Render) -> None:
    found = {(v.object, v.rule) for folder in FOLDERS for v in rules.check(rendered(folder))}
    assert found == EXCEPTIONS


def test_pods_with_a_token_break_the_security_rule_in_nothing_else(rendered: Render) -> None:
    paths = {v.path for v in rules.check(rendered("platform/dagster")) if v.rule == "security"}
    assert paths == {"spec.template.spec.automountServiceAccountToken"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_of_a_settings_file_is_left_unfilled_or_applied(rendered: Render, folder: str) -> None:
    text = repr(rendered(folder))
    assert "from-settings" not in text
    assert "local-config" not in text
    # kustomize-controller would fail on an unset ${VAR}; shell's own are in files that Flux must not touch.
    for obj in rendered(folder):
        if re.search(r"\$\{", repr(obj)):
            assert obj["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/substitute"] == "disabled"


def test_what_only_a_fork_can_know_is_named_and_nothing_else(rendered: Render) -> None:
    found = {folder: open_places(rendered(folder)) for folder in FOLDERS}
    assert {folder for folder, places in found.items() if places} == {
        "platform/postgresql",
        "platform/mlflow",
        "platform/dagster",
        "clusters/flux",
        "clusters/argocd",
        "clusters/argocd/apps",
    }
    keys = {v.path.removeprefix("data.") for v in found["platform/dagster"] if v.path.startswith("data.")}
    assert keys == {
        "RANKOPS_STORE",
        "RANKOPS_GIT_URL",
        "RANKOPS_FORGE_REPOSITORY",
        "RANKOPS_SERVER_IMAGE",
        "RANKOPS_CATALOGUE_URL",
        "RANKOPS_INTERACTIONS_URL",
    }


Change = tuple[str, str, str, dict[str, Any]]
WRONG: list[Change] = [
    ("clusters/flux", "Kustomization", "spec.dependson", {"dependson": []}),
    ("clusters/flux", "Kustomization", "spec.interval", {"interval": "10 minutes"}),
    ("clusters/flux", "Kustomization", "spec.prune", {"prune": "true"}),
    ("clusters/flux", "GitRepository", "spec.url", {"url": "git@host:repo.git"}),
    ("clusters/flux", "GitRepository", "spec.verify.secretRef", {"verify": {"mode": "HEAD"}}),
    ("clusters/flux", "Alert", "spec.eventSources.0.kind", {"eventSources": [{"kind": "Pod", "name": "x"}]}),
    ("clusters/flux", "Receiver", "spec.type", {"type": "github-enterprise"}),
    ("clusters/flux", "Provider", "spec.secret_ref", {"secret_ref": {"name": "x"}}),
    ("platform/keda", "HelmRelease", "spec.install.remediation.retry", {"install": {"remediation": {"retry": 3}}}),
    ("platform/keda", "HelmRelease", "spec", {"chart": None}),
    ("platform/keda", "HelmRepository", "spec.url", {"url": "charts.example.com"}),
    ("clusters/argocd", "AppProject", "spec.destinations.0.cluster", {"destinations": [{"cluster": "x"}]}),
    ("clusters/argocd", "Application", "spec", {"sources": [{"repoURL": "https://x"}]}),
    ("clusters/argocd/apps", "ApplicationSet", "spec.template", {"template": None}),
    ("clusters/argocd/apps", "ApplicationSet", "spec.strategy.type", {"strategy": {"type": "Rolling"}}),
]


@pytest.mark.parametrize(("folder", "kind", "path", "change"), WRONG, ids=[f"{w[1]}-{w[2]}" for w in WRONG])
def test_a_field_that_the_api_does_not_have_is_named(
    rendered: Render, folder: str, kind: str, path: str, change: dict[str, Any]
) -> None:
    obj = copy.deepcopy(next(iter(of_kind(rendered(folder), kind).values())))
    assert (obj["apiVersion"], kind) in KINDS
    obj["spec"].update(change)
    assert path in {violation.path for violation in check([obj], "1.34")}


def test_an_object_without_a_namespace_or_with_a_field_beside_its_spec_is_refused(rendered: Render) -> None:
    obj = copy.deepcopy(of_kind(rendered("clusters/flux"), "Receiver")["rankops-push"])
    del obj["metadata"]["namespace"]
    obj["sepc"] = {}
    assert {v.path for v in check([obj], "1.34")} == {"metadata", "sepc"}
