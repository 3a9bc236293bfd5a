"""``rankops trace``: from a pod to the hash of the data; every byte that was tampered with is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rankops.cli import app
from rankops.errors import BadInput, OverlayConflict
from rankops.forge.local import LocalForge
from rankops.overlays.component import render_component
from rankops.overlays.history import current_pin
from rankops.overlays.mirror import GitRemote
from rankops.overlays.rollback import RollbackRequest, rollback
from rankops.overlays.transaction import Target
from rankops.stages.trace import trace
from rankops.stages.trace_hops import Hop
from tests.overlays_deploy.conftest import WHEN, fake_render, git, human_edit, make_pin, no_objection
from tests.trace.conftest import BASE, Lineage

STAGING = Target("staging", "retriever")
A, B = "a" * 63 + "0", "a" * 63 + "1"


def walk(lineages: list[Hop]) -> Iterator[Hop]:
    for lineage in lineages:
        yield from lineage.walk()


def one(lineages: list[Hop], what: str) -> Hop:
    (found,) = (hop for hop in walk(lineages) if hop.what == what)
    return found


def failed(lineages: list[Hop]) -> set[str]:
    return {hop.what for hop in walk(lineages) if hop.status == "failed"}


def test_a_whole_lineage_is_proved_from_git_and_the_store(
    pin_lineage: Callable[..., str], lineage: Lineage, remote: GitRemote
) -> None:
    commit = pin_lineage()
    found = trace(remote, "staging/retriever")
    assert failed(found) == set()
    proved = {hop.what for hop in walk(found) if hop.status == "ok"}
    assert proved >= {"commit", "trailers", "release component", "signature", "file", "release", "release.json"}
    assert proved >= {"encoder", "encoder files", "artifact", "evaluation", "checkpoint", "training", "dataset", "days"}
    assert one(found, "commit").value == commit
    assert one(found, "dataset").value == lineage.dataset.digest
    assert one(found, "days").value == "2026-01-01 to 2026-01-31"
    assert "catalogue 60" in one(found, "tables").value
    assert BASE in one(found, "base model").detail
    assert {hop.value for hop in walk(found) if hop.what == "file"} == set(lineage.manifest.files)
    assert {hop.value for hop in walk(found) if hop.what == "Dagster run"} == {"deployed-by", "built-by"}
    assert one(found, "code").status == "absent"  # 3333… is no commit of this clone
    assert [hop.what for hop in walk(found)].index("release") < [h.what for h in walk(found)].index("dataset")


def test_the_same_lineage_is_found_by_commit_release_annotation_and_pod(
    pin_lineage: Callable[..., str], lineage: Lineage, remote: GitRemote
) -> None:
    commit, release = pin_lineage(), lineage.manifest.digest
    pin = current_pin(remote, STAGING)
    assert pin is not None
    template = {"metadata": {"name": "x", "annotations": pin.annotations}, "spec": {"containers": []}}
    subjects = [commit, commit[:10], release, release[:8], f"rankops.dev/release={release}"]
    subjects += [f'rankops.dev/release: "{release}"', json.dumps(template)]
    subjects.append(json.dumps({"kind": "List", "items": [{"kind": "Deployment", "spec": {"template": template}}]}))
    for subject in subjects:
        found = trace(remote, subject)
        assert [(h.value, one([h], "release").value) for h in found] == [("staging/retriever", release)], subject


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def respell(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


TAMPERED: dict[str, tuple[Callable[[Lineage], object], set[str]]] = {
    "the model": (
        lambda x: spoil(x.folder("release") / "encoder" / "model.onnx"),
        {"release", "signature", "file", "encoder", "encoder files"},
    ),
    "the index": (
        lambda x: spoil(x.folder("release") / "index" / "vectors.npy"),
        {"release", "signature", "file"},
    ),
    "the encoder that the index names": (
        lambda x: respell(x.folder("release") / "index" / "index.json", x.manifest.encoder_digest, "0" * 64),
        {"release", "signature", "file", "encoder"},
    ),
    "an added file": (
        lambda x: (x.folder("release") / "planted.py").write_text("import os\n"),
        {"release", "signature", "file"},
    ),
    "a removed file": (
        lambda x: (x.folder("release") / "golden.json").unlink(),
        {"release", "signature", "file"},
    ),
    "the manifest's dataset": (
        lambda x: respell(x.folder("release") / "release.json", x.dataset.digest, "0" * 64),
        {"signature", "release.json", "training"},
    ),
    "the manifest's days": (
        lambda x: respell(x.folder("release") / "release.json", "2026-01-31", "2026-03-31"),
        {"signature", "days"},
    ),
    "the signature": (lambda x: spoil(x.folder("release") / "release.sig"), {"signature"}),
    "the artifact": (lambda x: spoil(x.folder("artifact") / "tokenizer.json"), {"artifact", "encoder files"}),
    "the evaluation": (
        lambda x: respell(x.folder("evaluation") / "evaluation.json", "0.8", "0.9"),
        {"evaluation"},
    ),
    "the checkpoint": (lambda x: spoil(x.folder("checkpoint") / "model.safetensors"), {"checkpoint"}),
    "the data": (
        lambda x: respell(x.folder("dataset") / "dataset.json", '"shop"', '"shop "'),
        {"dataset", "name"},
    ),
    "the record of the training": (
        lambda x: respell(x.root / "memo" / "checkpoint" / ("2" * 64 + ".json"), BASE, "6" * 64),
        {"training"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_whatever_is_tampered_with_in_the_store_is_named(
    pin_lineage: Callable[..., str], lineage: Lineage, remote: GitRemote, what: str
) -> None:
    pin_lineage()
    change, expected = TAMPERED[what]
    change(lineage)
    found = trace(remote, "staging/retriever")
    if what == "the manifest's dataset":
        expected = expected - {"training"}  # Git's own hash of the data is the one that the record is held against
    assert failed(found) == expected
    assert one(found, "trailers").status == one(found, "release component").status == "ok"


def test_the_artifact_that_was_judged_for_a_release_is_proved_too(
    pin_lineage: Callable[..., str], lineage: Lineage, remote: GitRemote
) -> None:
    pin_lineage()
    record = lineage.root / "memo" / "artifact" / ("4" * 64 + ".json")
    told = json.loads(record.read_text())
    told["lineage"]["judged"] = lineage.artifact.digest
    record.write_text(json.dumps(told))
    assert one(trace(remote, "staging/retriever"), "judged artifact").status == "ok"
    spoil(lineage.folder("artifact") / "tokenizer.json")
    assert one(trace(remote, "staging/retriever"), "judged artifact").status == "failed"


def test_the_changed_file_is_called_by_its_name(
    pin_lineage: Callable[..., str], lineage: Lineage, remote: GitRemote
) -> None:
    pin_lineage()
    spoil(lineage.folder("release") / "index" / "vectors.npy")
    found = trace(remote, "staging/retriever")
    assert [hop.value for hop in walk(found) if (hop.what, hop.status) == ("file", "failed")] == ["index/vectors.npy"]
    assert "index/vectors.npy was changed" in one(found, "signature").detail


def test_what_the_store_no_longer_has_is_said_and_is_no_failure(
    pin_lineage: Callable[..., str], lineage: Lineage, remote: GitRemote
) -> None:
    pin_lineage()
    for kind in ("dataset", "checkpoint", "artifact"):
        shutil.rmtree(lineage.root / kind)
    found = trace(remote, "staging/retriever")
    assert failed(found) == set()
    assert {hop.what for hop in walk(found) if hop.status == "absent"} >= {"dataset", "checkpoint", "artifact"}
    assert "not in the store" in one(found, "dataset").detail
    shutil.rmtree(lineage.root)
    found = trace(remote, "staging/retriever")
    assert one(found, "release").status == "absent" and failed(found) == set()
    assert one(found, "dataset").value == lineage.dataset.digest


def test_another_key_in_the_tree_is_a_failed_signature(
    pin_lineage: Callable[..., str], remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    from rankops.release.signing import create_key_pair

    _, other = create_key_pair(tmp_path / "other")
    human_edit(bare, tmp_path / "clone", "k8s-overlays/components/trust/release-signing.pub", other.read_text())
    pin_lineage()
    found = trace(remote, "staging/retriever")
    assert failed(found) == {"signature"} and "Key mismatch" in one(found, "signature").detail


def test_forged_trailers_are_named_and_the_component_is_believed(
    pin_lineage: Callable[..., str], lineage: Lineage, remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    pin_lineage()
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(bare), str(clone))
    message = git("log", "-1", "--format=%B", cwd=clone)
    git("commit", "--quiet", "--amend", "-m", message.replace(lineage.dataset.digest, "0" * 64), cwd=clone)
    git("config", "receive.denyNonFastForwards", "false", cwd=bare)
    git("push", "--quiet", "--force", "origin", "HEAD:main", cwd=clone)
    found = trace(remote, "staging/retriever")
    assert failed(found) == {"trailers"}
    assert (
        f"Dataset-Hash says {'0' * 16}, the component says {lineage.dataset.digest[:16]}"
        in one(found, "trailers").detail
    )
    assert one(found, "dataset").status == "ok"


def test_a_component_that_contradicts_the_signed_release_is_named(
    pin_lineage: Callable[..., str], remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    """Anybody can compute a seal; nobody else can sign a release."""
    pin_lineage()
    pin = current_pin(remote, STAGING)
    assert pin is not None
    forged = pin.model_copy(update={"dataset": "0" * 64, "mlflow_run": "9999"})
    human_edit(bare, tmp_path / "clone", STAGING.component, render_component(forged))
    found = trace(remote, "staging/retriever")
    assert "release.json" in failed(found)
    assert "dataset: Git says 0000" in one(found, "release.json").detail
    assert "MLflow run: Git says 9999, release.json 1234" in one(found, "release.json").detail


def test_a_component_changed_by_hand_is_refused_with_its_author(
    pin_lineage: Callable[..., str], remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    pin_lineage()
    human_edit(bare, tmp_path / "clone", STAGING.component, "# faster\nkind: Component\n")
    with pytest.raises(OverlayConflict, match=r"last changed by .*Ada"):
        trace(remote, "staging/retriever")


def pod_of(remote: GitRemote, **more: Any) -> dict[str, Any]:
    pin = current_pin(remote, STAGING)
    assert pin is not None
    env = [{"name": key, "value": value} for key, value in pin.environment_variables.items()]
    image = f"{pin.image}@{pin.image_digest}"
    labels = {"rankops.dev/environment": "staging", "app.kubernetes.io/name": "retriever"} | more.get("labels", {})
    return {
        "kind": "Pod",
        "metadata": {"name": "retriever-1", "labels": labels, "annotations": pin.annotations | more.get("said", {})},
        "spec": {
            "containers": [
                {"name": "server", "image": more.get("image", image), "env": env},
                {"name": "istio-proxy", "image": "istio"},
            ]
        },
    }


def test_a_live_pod_is_held_against_its_commit(pin_lineage: Callable[..., str], remote: GitRemote) -> None:
    pin_lineage()
    pin_lineage("production")
    found = trace(remote, json.dumps(pod_of(remote)))
    assert [h.value for h in found] == ["staging/retriever"] and one(found, "pod").status == "ok"
    lying = pod_of(remote, image="rankops-server:latest", said={"rankops.dev/dataset": "0" * 64})
    found = trace(remote, json.dumps(lying))
    assert failed(found) == {"pod"}
    assert "server runs rankops-server:latest, not rankops-server@sha256:" in one(found, "pod").detail
    assert "annotation dataset is 0000" in one(found, "pod").detail
    stray = pod_of(remote, labels={"rankops.dev/environment": "canary"})
    with pytest.raises(BadInput, match=r"belongs to canary/retriever, but its release .* was only ever pinned in"):
        trace(remote, json.dumps(stray))


def test_a_release_in_two_environments_has_two_lineages(pin_lineage: Callable[..., str], remote: GitRemote) -> None:
    pin_lineage()
    commit = pin_lineage("production")
    release = one(trace(remote, commit), "release").value
    assert {h.value for h in trace(remote, release)} == {"staging/retriever", "production/retriever"}


def test_what_stood_before_and_what_is_quarantined_is_part_of_the_lineage(run_deploy: Any, remote: GitRemote) -> None:
    first = run_deploy(make_pin(release=A)).commit
    second = run_deploy(make_pin(release=B)).commit
    rollback(
        RollbackRequest(STAGING, B, "p99 was 2 s"), remote, render=fake_render, validate=no_objection,
        verify=no_objection, objection=lambda _: None, clock=lambda: WHEN,
    )  # fmt: skip
    now = trace(remote, "staging/retriever")
    assert "rollback by" in one(now, "commit").detail
    assert [
        (h.value, second[:12] in h.detail, "quarantined" in h.detail) for h in walk(now) if h.what == "superseded"
    ] == [(B, True, True)]
    then = trace(remote, second)
    assert then[0].detail == f"main pins {A[:12]} now"
    assert "p99 was 2 s" in one(then, "quarantine").detail and one(then, "quarantine").status == "note"
    assert one(then, "superseded").value == A and first[:12] in one(then, "superseded").detail


def test_how_it_was_merged_is_part_of_the_lineage(
    pin_lineage: Callable[..., str], remote: GitRemote, tmp_path: Path
) -> None:
    forge = LocalForge(tmp_path / "forge", remote, clock=lambda: WHEN)
    commit = pin_lineage("production", request={"policy": "pull-request"}, forge=forge)
    assert one(trace(remote, commit), "merge").detail == "not part of main (yet)"
    merged = forge.merge(1).merge_commit
    for subject in (commit, merged, "production/retriever"):
        found = trace(remote, str(subject))
        assert (one(found, "commit").value, one(found, "merge").value) == (commit, "#1")


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("f" * 40, "has no commit ffff"),
        ("0123456789abcdef", "ever pinned release"),
        ("staging/nothing", "runs no release"),
        ("a" * 12, f"is the beginning of 2 releases: {'a' * 16}, {'a' * 16}"),
        ("latest", "is neither commit, release, pod nor environment/model"),
        ('{"kind": "Pod", "metadata": {"name": "nginx"}}', "'nginx' carries no annotation"),
        ("{not json", "this is no JSON"),
    ],
)
def test_what_leads_nowhere_says_so(run_deploy: Any, remote: GitRemote, subject: str, said: str) -> None:
    run_deploy(make_pin(release=A))
    run_deploy(make_pin(release=B))
    with pytest.raises(BadInput, match=said):
        trace(remote, subject)


def test_a_commit_that_pins_nothing_says_so(run_deploy: Any, remote: GitRemote) -> None:
    first = remote.head("main")
    with pytest.raises(BadInput, match="pins no release"):
        trace(remote, first)


@pytest.fixture
def command(tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "cli-state"))
    monkeypatch.setenv("RANKOPS_GIT_URL", bare.as_uri())

    def run(*arguments: str, code: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, ["trace", *arguments], input=stdin)
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    return run


def test_the_command_prints_a_tree_and_ends_with_1_where_anything_is_contradicted(
    pin_lineage: Callable[..., str], lineage: Lineage, command: Callable[..., Result], remote: GitRemote
) -> None:
    pin_lineage()
    shown = command("staging/retriever").stdout
    assert f"✓ dataset {lineage.dataset.digest} (recomputed from its 5 files in the store)" in shown
    assert "└──" in shown and "✗" not in shown
    by_pod = command("-", stdin=json.dumps(pod_of(remote)), code=0).stdout
    assert "✓ pod retriever-1" in by_pod
    spoil(lineage.folder("checkpoint") / "model.safetensors")
    broken = command("staging/retriever", code=1)
    assert f"✗ checkpoint {lineage.checkpoint.digest}" in broken.stdout
    assert f"✗ checkpoint {lineage.checkpoint.digest}: its 1 files in the store give" in broken.stderr
    (told,) = json.loads(command("staging/retriever", "--json", code=1).stdout)
    assert told["what"] == "overlay" and told["made_of"][0]["what"] == "commit"
    assert "has no commit" in command("f" * 40, code=1).stderr
