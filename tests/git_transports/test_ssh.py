"""Deploys over SSH with a deploy key: granted, read-only, unknown, unreadable; and hosts that are not who they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from rankops.errors import BadInput, RemoteUnavailable
from rankops.overlays.git import GitOptions
from rankops.overlays.mirror import GitRemote
from tests.git_transports.conftest import Sshd, key_pair
from tests.git_transports.test_http import commits, deploy_with
from tests.overlays_deploy.conftest import WHEN, git

READ_ONLY = (
    'restrict,command="case \\"$SSH_ORIGINAL_COMMAND\\" in git-receive-pack*) '
    "echo 'ERROR: The key you are authenticating with has been marked as read only.' >&2; exit 1;; esac; "
    'sh -c \\"$SSH_ORIGINAL_COMMAND\\""'
)


@pytest.fixture
def known_hosts(sshd: Sshd, tmp_path: Path) -> Path:
    path = tmp_path / "known hosts"  # a path with a space, as mounted secrets may have
    path.write_text(sshd.known_host)
    return path


@pytest.fixture
def deploy_key(tmp_path: Path) -> Path:
    return key_pair(tmp_path / "deploy key")


@pytest.mark.parametrize("single_blobs", ["true", "false"])
def test_with_a_deploy_key_and_a_known_host_a_deploy_goes_through(
    sshd: Sshd,
    bare: Path,
    known_hosts: Path,
    deploy_key: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    single_blobs: str,
) -> None:
    """Also where the server filters a clone but then gives no single blob, as one that speaks protocol 0 may do."""
    git("config", "uploadpack.allowAnySHA1InWant", single_blobs, cwd=bare)
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")  # the machine's own way does not replace a configured key
    sshd.let_in(deploy_key)
    options = GitOptions(ssh_key=deploy_key, known_hosts=known_hosts)
    remote = GitRemote(sshd.url, tmp_path / "state", options)
    done = deploy_with(remote)
    assert done.kind == "committed" and commits(bare)[0] == done.commit
    assert deploy_with(remote).kind == "unchanged"


def test_an_unknown_deploy_key_is_refused(
    sshd: Sshd, bare: Path, known_hosts: Path, deploy_key: Path, tmp_path: Path
) -> None:
    options = GitOptions(ssh_key=deploy_key, known_hosts=known_hosts)
    with pytest.raises(RemoteUnavailable, match=r"refused our credentials: .*Permission denied \(publickey\)"):
        deploy_with(GitRemote(sshd.url, tmp_path / "state", options))
    assert len(commits(bare)) == 1


def test_a_read_only_deploy_key_is_refused_at_the_push_in_the_servers_words(
    sshd: Sshd, bare: Path, known_hosts: Path, deploy_key: Path, tmp_path: Path
) -> None:
    sshd.let_in(deploy_key, READ_ONLY)
    remote = GitRemote(sshd.url, tmp_path / "state", GitOptions(ssh_key=deploy_key, known_hosts=known_hosts))
    head = remote.head("main")
    with pytest.raises(RemoteUnavailable, match=r"refused our credentials: .*marked as read only"):
        remote.push(remote.commit(head, {"one": "1\n"}, "one", when=WHEN), "main")
    assert commits(bare) == [head]


@pytest.mark.parametrize("known", ["nobody", "another host's key"])
def test_a_host_that_we_do_not_know_is_refused_whatever_key_it_shows(
    sshd: Sshd, deploy_key: Path, known_hosts: Path, tmp_path: Path, known: str
) -> None:
    sshd.let_in(deploy_key)
    other = key_pair(tmp_path / "other").with_suffix(".pub").read_text().split()[1]
    parts = sshd.known_host.split()
    known_hosts.write_text("" if known == "nobody" else f"{parts[0]} {parts[1]} {other}\n")
    options = GitOptions(ssh_key=deploy_key, known_hosts=known_hosts)
    before = known_hosts.read_text()
    with pytest.raises(RemoteUnavailable, match="the host key is not one that we trust") as error:
        GitRemote(sshd.url, tmp_path / "state", options).head("main")
    assert "known_hosts" in str(error.value) and known_hosts.read_text() == before


def test_a_key_that_others_may_read_or_that_is_not_there_is_named(
    sshd: Sshd, known_hosts: Path, deploy_key: Path, tmp_path: Path
) -> None:
    sshd.let_in(deploy_key)
    deploy_key.chmod(0o644)
    with pytest.raises(BadInput, match="can be read by others") as error:
        GitRemote(sshd.url, tmp_path / "s", GitOptions(ssh_key=deploy_key, known_hosts=known_hosts)).head("main")
    assert "chmod 600" in str(error.value)
    missing = GitOptions(ssh_key=tmp_path / "none", known_hosts=known_hosts)
    with pytest.raises(BadInput, match=r"deploy key .*none .* is missing"):
        GitRemote(sshd.url, tmp_path / "s", missing).head("main")
