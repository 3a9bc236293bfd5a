"""``rankops check-overlays --base``: a pull request is built as it will be merged; each way to spoil one is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from rankops.overlays.component import render_component
from rankops.release.signing import create_key_pair
from tests.overlays_checks.conftest import COMPONENT, OVERLAY, Clone

Check = Callable[..., Result]


def findings(check: Check, *arguments: str, code: int = 1) -> dict[str, str]:
    """``{rule: messages}`` of everything that was found."""
    told = json.loads(check("--format", "json", *arguments, code=code).stdout)
    found = [*told["commits"], *(p for overlay in told["overlays"] for p in overlay["problems"])]
    assert told["ok"] == (code == 0)
    rules = dict.fromkeys(p["rule"] for p in found)
    return {rule: "\n".join(p["message"] for p in found if p["rule"] == rule) for rule in rules}


def test_a_deploy_passes_with_its_release_verified_and_only_what_it_reaches_is_built(
    clone: Clone, check: Check, tmp_path: Path
) -> None:
    release = clone.publish("good").digest
    clone.deploy(clone.pin("good"))
    summary = tmp_path / "summary.md"
    said = check("--summary", str(summary), "--kubernetes", "1.30", "--kubernetes", "1.37").stdout
    assert f"ok     {OVERLAY}: 7 objects, release {release[:12]} (verified)" in said
    assert "1 overlays checked for Kubernetes 1.30, 1.37, 5 not reached by the change: all are fine" in said
    text = summary.read_text()
    assert "## Overlays: fine" in text and f"+        rankops.dev/release: {release}" in text
    assert "production" not in text


def test_a_shared_file_reaches_every_overlay_that_reads_it_and_no_other(clone: Clone, check: Check) -> None:
    clone.write("k8s-overlays/README.md", "hello\n")
    clone.commit()
    assert "0 overlays checked" in check().stdout
    clone.edit("k8s-overlays/base/server/service.yaml", "kind: Service", "kind: Service # one port")
    clone.commit()
    assert "6 overlays checked" in check().stdout
    clone.merge()
    clone.edit("k8s-overlays/components/monitoring/kustomization.yaml", "kind: Component", "kind: Component #")
    clone.commit()
    told = json.loads(check("--format", "json").stdout)
    names = [overlay["name"] for overlay in told["overlays"]]
    assert names == [f"production/{model}" for model in ("ranker", "recommender", "retriever")]


def test_what_people_break_is_found_with_file_and_rule(clone: Clone, check: Check) -> None:
    clone.edit("k8s-overlays/base/server/deployment.yaml", "minReadySeconds: 5", "minReadySecond: 5")
    clone.edit("k8s-overlays/base/server/service.yaml", "targetPort: http", "targetPort: grpc")
    clone.commit()
    found = findings(check, "--kubernetes", "1.30", "--kubernetes", "1.37")
    assert "minReadySecond" in found["schema"] and "(Kubernetes 1.30, 1.37)" in found["schema"]
    assert "grpc" in found["service"]
    shown = check("--format", "github", code=1).stdout
    assert "::error file=k8s-overlays/overlays/staging/retriever/kustomization.yaml,title=overlays%3A schema::" in shown


def test_an_overlay_that_does_not_build_is_found_and_the_others_are_still_checked(clone: Clone, check: Check) -> None:
    clone.edit(f"{OVERLAY}/kustomization.yaml", "../../../components/cpu", "../../../components/cpus")
    clone.edit("k8s-overlays/overlays/production/retriever/kustomization.yaml", "resources:\n", "resources: # people\n")
    clone.commit()
    result = check(code=1)
    assert f"FAILED {OVERLAY}" in result.stdout and "ok     k8s-overlays/overlays/production" in result.stdout
    assert "rankops-check-" not in result.stdout  # no path of the scratch folder
    assert "components/cpus" in result.stdout


def test_a_release_component_edited_by_hand_is_refused_with_who_did_it(clone: Clone, check: Check) -> None:
    clone.deploy(clone.pin("good"))
    clone.merge()
    clone.edit(COMPONENT, "rankops-server", "other-server")
    clone.commit("faster image")
    told = json.loads(check("--format", "json", code=1).stdout)
    (problem,) = told["commits"]
    assert problem["rule"] == "release-owner" and problem["file"] == COMPONENT
    assert "by Ada <ada@example.org>" in problem["message"] and "seal is broken" in problem["message"]
    clone.run("reset", "--quiet", "--hard", "main")
    clone.run("rm", "--quiet", COMPONENT)
    clone.commit("away with it")
    assert "lost its release" in findings(check)["release-owner"]


def test_a_seal_that_somebody_computed_needs_the_trailers_too(clone: Clone, check: Check) -> None:
    clone.write(COMPONENT, render_component(clone.pin("good")))
    clone.commit("deploy by hand")
    assert "changed without a deploy's trailers" in findings(check)["release-owner"]


LIES: dict[str, tuple[Callable[[str], str], str]] = {
    "Rankops-Release": (lambda m: m.replace("Rankops-Release: ", "Rankops-Release: 00")[:], "malformed"),
    "Dataset-Hash": (lambda m: m.replace("d" * 64, "0" * 64), "Dataset-Hash says 0000000000000000, the component"),
    "MLflow-Run-Id": (lambda m: m.replace("Id: 1234", "Id: 99"), "MLflow-Run-Id says 99, the component says 1234"),
}


@pytest.mark.parametrize("trailer", LIES)
def test_trailers_that_contradict_the_component_are_named(clone: Clone, check: Check, trailer: str) -> None:
    change, said = LIES[trailer]
    clone.deploy(clone.pin("good"), change=change)
    assert said in findings(check)["trailers"]


def test_trailers_and_component_that_lie_together_are_caught_by_the_signed_release(clone: Clone, check: Check) -> None:
    clone.deploy(clone.pin("good", dataset="0" * 64, mlflow_run="99"))
    found = findings(check)
    assert "MLflow-Run-Id says 99, the release says 1234" in found["trailers"]
    assert "its dataset is dddd" in found["evidence"]
    assert "trailers" not in findings(check, "--no-releases", code=0)


def test_what_it_supersedes_must_be_what_stands_in_the_base_now(clone: Clone, check: Check) -> None:
    first = clone.pin("first")
    clone.deploy(first)
    clone.merge()
    clone.deploy(clone.pin("second", standing=first))
    assert check().exit_code == 0
    clone.deploy(clone.pin("third", standing=clone.pin("second")))
    assert check().exit_code == 0
    clone.run("reset", "--quiet", "--hard", "main")
    clone.deploy(clone.pin("second", supersedes=None))
    assert f"says nothing, but {first.release[:12]} stood there" in findings(check)["supersedes"]


def test_a_base_that_moved_on_is_merged_first(clone: Clone, check: Check) -> None:
    first = clone.pin("first")
    clone.deploy(first)
    clone.run("checkout", "--quiet", "main")
    clone.write("k8s-overlays/base/server/broken.yaml", "kind: Nothing\n")
    clone.edit("k8s-overlays/base/server/kustomization.yaml", "resources:\n", "resources:\n  - broken.yaml\n")
    clone.commit("main broke")
    clone.run("checkout", "--quiet", "change")
    assert "broken.yaml" in findings(check)["build"] or "Nothing" in findings(check)["build"]
    clone.run("checkout", "--quiet", "-B", "main", "main~1")
    clone.deploy(clone.pin("other"))
    clone.run("checkout", "--quiet", "change")
    found = findings(check)
    assert list(found) == ["merge"] and f"both changed {COMPONENT}" in found["merge"]


def test_a_tampered_release_a_strangers_key_and_a_quarantined_digest_are_refused(clone: Clone, check: Check) -> None:
    release = clone.publish("good").digest
    clone.deploy(clone.pin("good"))
    weights = clone.store / "release" / release / "encoder" / "model.onnx"
    weights.write_bytes(b"W" + weights.read_bytes()[1:])
    assert "encoder/model.onnx was changed" in findings(check)["signature"]
    weights.write_bytes(b"w" + weights.read_bytes()[1:])
    assert check().exit_code == 0
    entry = f'- digest: "{release}"\n  reason: "p99"\n  since: "2026-01-01"\n'
    clone.write(f"{OVERLAY}/quarantine.yaml", entry)
    clone.commit()
    assert "is quarantined since 2026-01-01: p99" in findings(check)["quarantine"]
    clone.run("reset", "--quiet", "--hard", "HEAD~1")
    _, stranger = create_key_pair(clone.store.parent / "stranger")
    clone.write("k8s-overlays/components/trust/release-signing.pub", stranger.read_text())
    clone.commit("another key")
    assert "the trusted key" in findings(check)["signature"] or "Key mismatch" in findings(check)["signature"]


def test_a_release_for_another_target_does_not_fit_the_overlay(clone: Clone, check: Check) -> None:
    clone.publish("gpu", target="gpu-cuda")
    clone.deploy(clone.pin("gpu"))
    assert "its target is gpu-cuda, expected cpu-avx2 or cpu-avx512-vnni" in findings(check)["evidence"]


def test_a_store_out_of_reach_is_a_warning_unless_releases_are_asked_for(clone: Clone, check: Check) -> None:
    clone.deploy(clone.pin("good"))
    shutil.rmtree(clone.store)
    shown = check("--format", "github").stdout
    assert "(not reached)" in shown and "::warning file=" in shown and "folder of another machine" in shown
    assert "folder of another machine" in findings(check, "--releases")["store"]
    assert findings(check, "--no-releases", code=0) == {}


def test_a_release_that_is_gone_from_a_store_in_reach_fails(clone: Clone, check: Check) -> None:
    pin = clone.pin("good")
    clone.publish("other")
    clone.deploy(pin)
    shutil.rmtree(clone.store / "release" / pin.release)
    assert "absent or incomplete" in findings(check)["store"]


def test_only_the_allowed_stores_are_looked_into(clone: Clone, check: Check) -> None:
    clone.deploy(clone.pin("good"))
    assert check("--store", clone.store.as_uri()).exit_code == 0
    assert "in none of the allowed stores" in findings(check, "--store", "s3://models")["store"]


def test_without_a_base_the_folder_is_checked_as_it_lies_there(clone: Clone, check: Check) -> None:
    clone.edit(f"{OVERLAY}/kustomization.yaml", "namespace: rankops-staging", "namespace: Rankops")
    result = check(base=None, code=1)
    assert f"FAILED {OVERLAY}" in result.stdout and "nothing released yet" in result.stdout
    assert "0 overlays checked" in check().stdout  # nothing is committed
    assert "what is not committed is not checked" in check().stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--base", "nowhere"), "has no commit 'nowhere'"),
        (("--kubernetes", "1.5"), "no schemas for Kubernetes 1.5"),
        (("--format", "xml"), "'xml' is no format"),
    ],
)
def test_wrong_arguments_are_explained(check: Check, arguments: tuple[str, ...], said: str) -> None:
    assert said in check(*arguments, base=None, code=1).stderr


def test_a_shallow_clone_is_refused_with_the_remedy(
    clone: Clone, check: Check, tmp_path: Path, monkeypatch: Any
) -> None:
    clone.write("a", "1")
    clone.commit()
    clone.run("clone", "--quiet", "--depth", "1", clone.folder.as_uri(), str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    assert "fetch-depth: 0" in check(base="HEAD", code=1).stderr


def test_the_clone_is_left_as_it_was(clone: Clone, check: Check) -> None:
    clone.run("checkout", "--quiet", "main")
    clone.write("a", "1")
    clone.commit()
    clone.run("checkout", "--quiet", "change")
    clone.deploy(clone.pin("good"))
    clone.write("untracked", "x")
    before = sorted((p, p.stat().st_mtime_ns) for p in clone.folder.rglob("*") if p.is_file())
    check()
    assert sorted((p, p.stat().st_mtime_ns) for p in clone.folder.rglob("*") if p.is_file()) == before


def test_many_overlays_are_checked_by_several_processes_with_the_same_result(clone: Clone, check: Check) -> None:
    for number in range(9):
        name = f"m{number}"
        shutil.copytree(clone.folder / OVERLAY, clone.folder / f"k8s-overlays/overlays/staging/{name}")
    clone.edit("k8s-overlays/overlays/staging/m3/kustomization.yaml", "kind: Kustomization", "kind: Kustomisation")
    clone.commit()
    result = check("--workers", "2", code=1)
    assert "9 overlays checked" in result.stdout and "1 failed" in result.stdout
    assert "with 2 processes" in result.stderr
    alone = check("--workers", "1", code=1)
    assert alone.stdout == result.stdout


def test_a_repository_of_nothing_but_overlays_is_checked_from_its_top(clone: Clone, check: Check) -> None:
    for folder in ("base", "components", "overlays"):
        clone.run("mv", f"k8s-overlays/{folder}", folder)
    clone.commit("the overlays are the repository")
    clone.merge()
    clone.edit("overlays/staging/retriever/kustomization.yaml", "resources:\n", "resources: # people\n")
    clone.edit("overlays/staging/retriever/release/kustomization.yaml", "rankops: nothing", "rankops : nothing")
    clone.commit()
    from typer.testing import CliRunner

    from rankops.cli import app

    told = json.loads(CliRunner().invoke(app, ["check-overlays", ".", "--base", "main", "--format", "json"]).stdout)
    (overlay,) = told["overlays"]
    assert (overlay["folder"], overlay["objects"]) == ("overlays/staging/retriever", 7)
    assert {p["file"] for p in told["commits"]} == {"overlays/staging/retriever/release/kustomization.yaml"}
