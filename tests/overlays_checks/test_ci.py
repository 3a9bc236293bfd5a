"""The CI files cannot rot: the very lines that they run are run here, on a small clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.overlays_checks.conftest import COMPONENT, Clone

REPOSITORY = Path(__file__).resolve().parents[2]
PUBLISHING = REPOSITORY / ".github" / "workflows" / "publish-images.yaml"
WORKFLOWS = sorted(set((REPOSITORY / ".github" / "workflows").glob("*.yaml")) - {PUBLISHING})


def load(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text())


def github_steps() -> dict[str, str]:
    """The ``run`` texts of the check job, by the step's name."""
    steps = load(REPOSITORY / ".github/workflows/overlays.yaml")["jobs"]["check"]["steps"]
    return {step["name"]: step["run"] for step in steps if "run" in step}


def gitlab() -> dict[str, Any]:
    return load(REPOSITORY / ".gitlab-ci.yml")


def run_in(clone: Clone, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a runner does: the file's text in a shell that stops at the first failure."""
    link = clone.folder / ".venv"
    if not link.exists():
        link.symlink_to(Path(sys.executable).parents[1])
        (clone.folder / ".git/info/exclude").write_text(".venv\noverlays.md\n")
    # The state folder of this repository is where `make setup` put kustomize.
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | environment
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        check=False,
        cwd=clone.folder,
        env=env,
        capture_output=True,
        text=True,
    )


def spoil(clone: Clone) -> None:
    """A release component that nobody but deploy may write."""
    clone.edit(COMPONENT, "rankops-server", "other-server")
    clone.commit("faster")


def test_the_github_workflow_s_own_lines_pass_a_deploy_and_fail_a_change_by_hand(clone: Clone, tmp_path: Path) -> None:
    clone.deploy(clone.pin("good"))
    summary = tmp_path / "summary.md"
    told = {"BASE": "origin/main", "GITHUB_STEP_SUMMARY": str(summary)}
    passed = run_in(clone, github_steps()["Check"], **told)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "(verified)" in passed.stdout and "Overlays: fine" in summary.read_text()
    spoil(clone)
    failed = run_in(clone, github_steps()["Check"], **told)
    assert failed.returncode == 1
    assert f"::error file={COMPONENT},title=overlays%3A release-owner::" in failed.stdout
    assert "Overlays: not fine" in summary.read_text()


def test_the_gitlab_file_s_own_lines_pass_a_deploy_and_fail_a_change_by_hand(clone: Clone) -> None:
    job = gitlab()["overlays"]
    fetch = [line for line in job["before_script"] if line.startswith("git fetch")]
    script = "\n".join([*fetch, *job["script"]])
    told = {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "BASE": "origin/main"}
    assert job["variables"]["BASE"] == "origin/$CI_MERGE_REQUEST_TARGET_BRANCH_NAME"
    clone.deploy(clone.pin("good"))
    clone.run("update-ref", "-d", "refs/remotes/origin/main")  # a runner fetches nothing but the merge request
    passed = run_in(clone, script, **told)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "What changes in the cluster" in (clone.folder / "overlays.md").read_text()
    spoil(clone)
    assert run_in(clone, script, **told).returncode == 1


def test_both_forges_run_the_same_check() -> None:
    (there,) = (line for line in gitlab()["overlays"]["script"] if "check-overlays" in line)
    here = github_steps()["Check"]
    common = re.compile(r" --(?:format github|summary \S+)")
    assert common.sub("", here).strip() == common.sub("", there).strip()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_can_only_read_and_run_only_pinned_actions(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    triggers = workflow.get("on") or workflow[True]  # YAML 1.1 reads `on` as true
    assert "pull_request" in triggers and "pull_request_target" not in triggers
    assert "secrets." not in path.read_text()
    for job in workflow["jobs"].values():
        assert "permissions" not in job and job["timeout-minutes"] <= 60
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
            # A branch's name is written by whoever opens the pull request: it may only reach a shell as a variable.
            assert "${{" not in step.get("run", "")


def test_what_knows_a_secret_runs_for_main_alone_and_hands_it_to_no_command_line() -> None:
    workflow = load(PUBLISHING)
    triggers = workflow.get("on") or workflow[True]
    assert set(triggers) == {"push"} and triggers["push"]["branches"] == ["main"]
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job and job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            assert "uses" not in step or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"])
            if "images/build.sh" in step.get("run", ""):
                assert "--password-stdin" in step["run"] and "docker logout" in step["run"]


def test_the_check_looks_at_pull_requests_that_touch_overlays_with_the_whole_history() -> None:
    workflow = load(REPOSITORY / ".github/workflows/overlays.yaml")
    triggers = workflow.get("on") or workflow[True]
    assert "k8s-overlays/**" in triggers["pull_request"]["paths"]
    checkout = workflow["jobs"]["check"]["steps"][0]
    assert checkout["with"]["fetch-depth"] == 0 and "ref" not in checkout["with"]
    rule = gitlab()["overlays"]["rules"][0]
    assert rule["if"] == '$CI_PIPELINE_SOURCE == "merge_request_event"' and "k8s-overlays/**/*" in rule["changes"]
    assert gitlab()["variables"]["GIT_DEPTH"] == "0"


def test_the_check_installs_neither_torch_nor_dagster() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(re.match(r"rankops\[[^\]]*\boverlays\b", requirement) for requirement in extras["pipeline"])
    for lines in (github_steps()["Install"], "\n".join(gitlab()["overlays"]["before_script"])):
        assert "-e '.[overlays]' -c constraints.txt" in lines and "scripts/install_kustomize.py" in lines
    heavy = "{'torch', 'dagster', 'numpy', 'pyarrow', 'polars', 'onnxruntime', 'transformers', 'mlflow'}"
    program = (
        "import sys, rankops.cli.check_report, rankops.stages.check_overlays as c, rankops.release.signing\n"
        "import model_signing, kubernetes_validate, ruamel.yaml, rankops.forge.pr_body\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
