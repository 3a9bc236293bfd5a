from __future__ import annotations

import subprocess

import pytest
from pydantic import ValidationError

from rankops.errors import BadInput
from rankops.overlays.mirror import GitRemote
from rankops.overlays.trailers import (
    DeployTrailers,
    parse_trailers,
    read_commit,
    read_trailers,
    render_message,
    render_trailers,
)

TRAILERS = DeployTrailers(
    model="retriever",
    release="1" * 61 + "e12",
    environment="staging",
    dagster_run="run-1",
    mlflow_run="0o17",
    dataset="d" * 64,
    supersedes="b" * 64,
)


def test_the_trailers_of_the_design_are_rendered_in_order_and_read_back() -> None:
    text = render_trailers(TRAILERS)
    assert [line.split(":")[0] for line in text.splitlines()] == [
        "Rankops-Model",
        "Rankops-Release",
        "Rankops-Environment",
        "Dagster-Run-Id",
        "MLflow-Run-Id",
        "Dataset-Hash",
        "Rankops-Supersedes",
    ]
    assert read_trailers(render_message("deploy", "because", TRAILERS)) == TRAILERS


def test_git_itself_reads_the_same_trailers() -> None:
    message = render_message("deploy(staging): x", "A body: with a colon\nand a line", TRAILERS)
    out = subprocess.run(
        ["git", "interpret-trailers", "--parse"], input=message, capture_output=True, text=True, check=True
    ).stdout
    assert out == render_trailers(TRAILERS)


def test_absent_values_are_left_out_and_other_trailers_are_kept_apart() -> None:
    first = TRAILERS.model_copy(update={"supersedes": None, "mlflow_run": None})
    message = render_message("deploy", "", first).rstrip() + "\nReviewed-by: Ada <ada@example.org>\n"
    assert read_trailers(message) == first
    assert parse_trailers(message)["Reviewed-by"] == "Ada <ada@example.org>"


def test_a_commit_of_people_is_no_deploy_commit() -> None:
    assert read_trailers("Fix the memory limit\n\nIt was too small.\n") is None
    assert read_trailers("Only a subject") is None
    assert read_trailers("x\n\nSigned-off-by: Ada <a@b.c>\n") is None
    assert read_trailers("x\n\nRankops-Model: retriever\nnot a trailer\n") is None


def test_a_line_break_in_a_value_cannot_forge_a_trailer() -> None:
    with pytest.raises(ValidationError):
        DeployTrailers(**(TRAILERS.model_dump() | {"dagster_run": "1\nRankops-Release: " + "f" * 64}))


def test_a_twice_given_or_malformed_trailer_is_refused_by_name() -> None:
    message = render_message("deploy", "", TRAILERS)
    with pytest.raises(BadInput, match="Rankops-Model appears twice"):
        read_trailers(message + "Rankops-Model: other\n")
    with pytest.raises(BadInput, match="Dataset-Hash"):
        read_trailers(message.replace("d" * 64, "short"))


def test_a_commit_that_the_remote_does_not_have_is_named(remote: GitRemote) -> None:
    head = remote.head("main")
    assert read_commit(remote, head).trailers is None
    with pytest.raises(BadInput, match="has no commit 'feedface'"):
        read_commit(remote, "feedface")
