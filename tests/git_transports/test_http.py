"""Deploys through ``git http-backend``: credentials granted, refused, expired on the way; servers that fail midway."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import BadInput, RankopsError, RemoteUnavailable
from rankops.overlays.deploy import DeployOutcome, DeployRequest, deploy
from rankops.overlays.git import GitOptions, LostRace, PushRefused
from rankops.overlays.mirror import GitRemote
from tests.git_transports.git_http import GitHttp
from tests.overlays_deploy.conftest import WHEN, fake_render, git, make_pin, no_objection

TOKEN = "ghs_ThisTokenIsGood0123456789"


def deploy_with(remote: GitRemote, release: str = "a", **more: Any) -> DeployOutcome:
    fakes = {"render": fake_render, "validate": no_objection, "verify": no_objection, "clock": lambda: WHEN}
    return deploy(DeployRequest(make_pin(release=release * 64)), remote, **(fakes | more))


def commits(bare: Path) -> list[str]:
    git("fsck", "--full", "--strict", cwd=bare)
    return git("rev-list", "main", cwd=bare).split()


@pytest.fixture(autouse=True)
def nothing_leaks(
    http: GitHttp, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """After each test here: no secret in a log, an output, a process list, or a file that we keep."""
    caplog.set_level(logging.DEBUG)
    yield
    assert http.secrets and http.seen
    assert http.leaks == []
    out, err = capfd.readouterr()
    files = [p for p in (tmp_path / "state").rglob("*") if p.is_file()]
    assert [p for p in files if any(s.encode() in p.read_bytes() for s in http.secrets)] == []
    assert [s for s in http.secrets if s in f"{out}{err}{caplog.text}"] == []


def shown(error: pytest.ExceptionInfo[RankopsError], http: GitHttp) -> str:
    """What a person sees of an error, with everything that led to it; no secret in it."""
    text = f"{error.value!s} {error.value!r} {error.getrepr(style='long', showlocals=False, chain=True)}"
    assert [secret for secret in http.secrets if secret in text] == []
    return str(error.value)


@pytest.mark.parametrize("how", ["token", "fresh token", "address"])
def test_with_the_right_token_a_deploy_goes_through_and_leaves_no_trace_of_it(
    http: GitHttp, url: str, bare: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for noisy in ("GIT_TRACE", "GIT_TRACE_CURL", "GIT_CURL_VERBOSE", "GIT_TRACE_PACKET"):
        monkeypatch.setenv(noisy, "1")
    http.grant(TOKEN)
    if how == "address":
        url = url.replace("http://", f"http://x-access-token:{TOKEN}@")
    options = {"token": GitOptions(token=TOKEN), "fresh token": GitOptions(token=lambda: TOKEN), "address": None}[how]
    remote, said = GitRemote(url, tmp_path / "state", options), list[str]()
    done = deploy_with(remote, progress=said.append)
    assert done.kind == "committed" and commits(bare)[0] == done.commit
    assert deploy_with(remote).kind == "unchanged"
    assert TOKEN not in f"{said} {done} {remote!r} {remote.url!r} {remote.git.options!r}"
    config = git("config", "--list", "--file", str(remote.mirror / "config"))
    assert "promisor=true" in config and f"remote.{http.address}" in config  # a partial clone, by a bare address


def test_a_wrong_token_is_refused_before_anything_is_built(http: GitHttp, url: str, bare: Path, tmp_path: Path) -> None:
    http.grant("wrong-" + TOKEN)
    http.tokens.clear()
    steps: list[str] = []
    with pytest.raises(RemoteUnavailable, match="refused our credentials") as error:
        remote = GitRemote(url, tmp_path / "state", GitOptions(token="wrong-" + TOKEN))
        deploy_with(remote, checkpoint=steps.append)
    assert url in shown(error, http) and "has not expired" in str(error.value)
    assert steps == [] and len(commits(bare)) == 1


def test_a_token_that_may_only_read_is_refused_at_the_push_and_nothing_is_half_done(
    http: GitHttp, url: str, bare: Path, tmp_path: Path
) -> None:
    remote = GitRemote(url, tmp_path / "state", GitOptions(token=http.grant(TOKEN, "read")))
    with pytest.raises(RemoteUnavailable, match=r"refused our credentials.*403") as error:
        deploy_with(remote)
    assert "may write to this repository" in shown(error, http)
    assert len(commits(bare)) == 1
    http.grant(TOKEN)
    assert deploy_with(remote).kind == "committed"


def test_a_token_that_expires_between_fetch_and_push_is_named_and_the_next_run_finishes(
    http: GitHttp, url: str, bare: Path, tmp_path: Path
) -> None:
    remote = GitRemote(url, tmp_path / "state", GitOptions(token=http.grant(TOKEN)))

    def expire(step: str) -> None:
        if step == "committed":
            http.tokens.clear()

    with pytest.raises(RemoteUnavailable, match="refused our credentials") as error:
        deploy_with(remote, checkpoint=expire)
    assert "has not expired" in shown(error, http)
    assert len(commits(bare)) == 1
    renewed = GitRemote(url, tmp_path / "state", GitOptions(token=http.grant("ghs_TheNextHour0123456789")))
    done = deploy_with(renewed)
    assert done.kind == "committed" and len(commits(bare)) == 2


def test_a_function_for_tokens_is_asked_again_where_the_remote_has_expired_the_last_one(
    http: GitHttp, url: str, bare: Path, tmp_path: Path
) -> None:
    """As with a GitHub App whose token is remembered for the hour: the remote's clock decides, not ours."""
    held = [http.grant("ghs_FirstHour0123456789")]
    asked: list[str] = []

    def token() -> str:
        asked.append(held[0])
        if held[0] not in http.tokens and asked.count(held[0]) > 2:  # our side notices a little late
            held[0] = http.grant("ghs_SecondHour0123456789")
        return held[0]

    def expire(step: str) -> None:
        if step == "committed":
            http.tokens.clear()
            asked.append(held[0])

    done = deploy_with(GitRemote(url, tmp_path / "state", GitOptions(token=token)), checkpoint=expire)
    assert (done.kind, done.attempts) == ("committed", 1)
    assert held == ["ghs_SecondHour0123456789"] and len(commits(bare)) == 2


def test_a_protected_branch_is_refused_in_the_words_of_its_hook(
    http: GitHttp, url: str, bare: Path, tmp_path: Path
) -> None:
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'GH006: Protected branch update failed for main.' >&2\nexit 1\n")
    hook.chmod(0o755)
    remote = GitRemote(url, tmp_path / "state", GitOptions(token=http.grant(TOKEN)))
    with pytest.raises(PushRefused, match="GH006: Protected branch update failed") as error:
        deploy_with(remote)
    assert "pull-request" in shown(error, http) and len(commits(bare)) == 1


@pytest.mark.parametrize("fault", ["half", "no answer", "backend error"])
def test_a_server_that_goes_away_during_the_push_leaves_a_whole_repository_and_the_next_run_finishes(
    http: GitHttp, url: str, bare: Path, tmp_path: Path, fault: Any
) -> None:
    """``half``: the pack is cut off. ``no answer``: the ref moved, and we are never told."""
    remote = GitRemote(url, tmp_path / "state", GitOptions(token=http.grant(TOKEN)))
    http.fault = fault
    with pytest.raises(RemoteUnavailable, match="cannot be reached") as error:
        deploy_with(remote)
    assert "running again is safe" in shown(error, http)
    arrived = len(commits(bare)) == 2
    assert arrived == (fault == "no answer")
    http.fault = ""
    done = deploy_with(remote)
    assert done.kind == ("unchanged" if arrived else "committed")
    assert commits(bare)[0] == done.commit and len(commits(bare)) == 2


def test_a_push_that_hangs_is_given_up_at_the_time_limit_and_blocks_nobody(
    http: GitHttp, url: str, bare: Path, tmp_path: Path
) -> None:
    options = GitOptions(token=http.grant(TOKEN), timeout=3)
    remote = GitRemote(url, tmp_path / "state", options)
    http.fault = "hang"
    with pytest.raises(RemoteUnavailable, match=r"git push .* took over 3 s and was stopped") as error:
        deploy_with(remote)
    shown(error, http)
    http.fault = ""
    assert deploy_with(remote).kind == "committed" and len(commits(bare)) == 2


def test_the_token_does_not_follow_a_redirect_to_another_host(
    http: GitHttp, url: str, bare: Path, tmp_path: Path
) -> None:
    """A redirect and an open server behind it are all that a thief would need: git repeats its headers to the new base."""
    elsewhere = GitHttp(bare.parent)
    elsewhere.open_to_all = True
    http.fault, http.redirect_to = "redirect", elsewhere.address
    remote = GitRemote(url, tmp_path / "state", GitOptions(token=http.grant(TOKEN)))
    try:
        with pytest.raises(BadInput, match="redirects to another address") as error:
            deploy_with(remote)
    finally:
        elsewhere.close()
    assert "present address" in shown(error, http)
    assert elsewhere.seen == []


def test_a_lost_race_is_told_from_a_refusal_over_http_too(http: GitHttp, url: str, tmp_path: Path) -> None:
    remote = GitRemote(url, tmp_path / "state", GitOptions(token=http.grant(TOKEN)))
    head = remote.head("main")
    one, two = (remote.commit(head, {name: "x\n"}, name, when=WHEN) for name in ("one", "two"))
    remote.push(one, "main")
    with pytest.raises(LostRace):
        remote.push(two, "main")


def test_the_reads_of_a_deploy_cost_few_requests_however_many_files_they_are(
    http: GitHttp, url: str, tmp_path: Path
) -> None:
    """Missing blobs come in one fetch for each read, not one for each blob; the second deploy needs none."""
    remote = GitRemote(url, tmp_path / "state", GitOptions(token=http.grant(TOKEN)))
    deploy_with(remote)
    first = len(http.requests)
    deploy_with(remote, "b")
    fetches = [r for r in http.requests[first:] if "upload-pack" in r]
    assert first <= 12 and len(fetches) <= 2
