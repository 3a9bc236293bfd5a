from __future__ import annotations

import subprocess

import pytest
from pydantic import ValidationError

from rankops.errors import BadInput
from rankops.overlays.commits import CommitInfo
from rankops.overlays.mirror import GitRemote
from rankops.overlays.trailers import (
    DeployTrailers,
    parse_trailers,
    read_commit,
    read_trailers,
    render_message,
    render_trailers,
)
from tests.overlays_deploy.conftest import WHEN

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


BLOCK = render_trailers(TRAILERS)
SQUASHED = {
    "GitHub, one commit": f"deploy(staging): retriever (#12)\n\nBecause of drift.\n\n{BLOCK}\nCo-authored-by: Ada <a@b.c>\n",
    "GitHub, several commits": f"Deploy (#12)\n\n* deploy(staging): retriever\n\nWhy.\n\n{BLOCK}\n* fix a typo\n\n"
    "---------\n\nCo-authored-by: Ada <a@b.c>\nCo-authored-by: rankops deploy <d@localhost>\n",
    "GitHub, rule right below": f"Deploy (#12)\n\n{BLOCK}---------\nCo-authored-by: Ada <a@b.c>\n",
    "GitHub, lines broken at 72 columns": "Deploy (#12)\n\n"
    + BLOCK.replace("Release: ", "Release:\n").replace("Hash: ", "Hash:\n").replace("Supersedes: ", "Supersedes:\n")
    + "\nCo-authored-by: Ada <a@b.c>\n",
    "GitLab": f"deploy(staging): retriever\n\n{BLOCK}\nSee merge request shop/overlays!7\n".replace("\n", "\r\n"),
    "git merge --squash": "Squashed commit of the following:\n\ncommit 1234\nAuthor: rankops deploy <d@localhost>\n\n"
    + "".join(f"    {line}\n" for line in f"deploy(staging): retriever\n\nWhy.\n\n{BLOCK}".splitlines()),
}


@pytest.mark.parametrize("message", SQUASHED.values(), ids=SQUASHED.keys())
def test_a_squash_merge_does_not_hide_the_trailers(message: str) -> None:
    assert read_trailers(message) == TRAILERS


def test_two_deploys_in_one_message_are_told_apart_by_their_overlay_or_refused() -> None:
    production = TRAILERS.model_copy(update={"environment": "production", "supersedes": None})
    newer = TRAILERS.model_copy(update={"release": "9" * 64})
    both = f"Deploy (#12)\n\n* one\n\n{BLOCK}\n* two\n\n{render_trailers(production)}\n"
    assert read_trailers(both, "production", "retriever") == production
    assert read_trailers(both, "staging", "retriever") == TRAILERS
    assert read_trailers(both, "staging", "ranker") is None
    with pytest.raises(BadInput, match=r"trailers of 2 deploys: staging/retriever 1111.*production/retriever"):
        read_trailers(both)
    with pytest.raises(BadInput, match="trailers of 2 deploys"):
        read_trailers(f"Deploy\n\n{BLOCK}\n* two\n\n{render_trailers(newer)}", "staging", "retriever")
    assert read_trailers(f"Deploy\n\n{BLOCK}\n* again\n\n{BLOCK}") == TRAILERS


def test_a_block_in_the_middle_is_whole_or_refused() -> None:
    half = "".join(BLOCK.splitlines(keepends=True)[:2])
    with pytest.raises(BadInput, match="Rankops-Environment: Field required"):
        read_trailers(f"Deploy (#12)\n\n{half}\nCo-authored-by: Ada <a@b.c>\n")
    talk = f"About deploys\n\nThey look so:\n{BLOCK}\nCo-authored-by: Ada <a@b.c>\n"
    assert read_trailers(talk) is None
    assert read_trailers(f"Quoted\n\n> {BLOCK}") is None


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        ("Merge pull request #12 from a/b\n\nTitle\n", "#12"),
        ("deploy: retriever (#34)\n\nbody (#5)\n", "#34"),
        ("Merge branch 'x' into 'main'\r\n\r\nTitle\r\n\r\nSee merge request shop/overlays!7\r\n", "!7"),
        ("Fix #3 at last\n\nSee (#4)\n", None),
    ],
)
def test_a_commit_knows_the_pull_request_that_it_merged(message: str, request_: str | None) -> None:
    info = CommitInfo("a" * 40, (), "Ada", "a@b.c", WHEN, message.splitlines()[0], message)
    assert info.request == request_
