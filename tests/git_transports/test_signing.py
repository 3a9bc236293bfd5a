"""Signed commits, verified as a reviewer or a controller would: by git itself, against keys that it is told to trust."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rankops.errors import BadInput
from rankops.forge.local import LocalForge
from rankops.overlays.git import GitOptions, Identity
from rankops.overlays.mirror import GitRemote
from tests.git_transports.conftest import key_pair
from tests.git_transports.test_http import deploy_with
from tests.overlays_deploy.conftest import WHEN

WHO = Identity("rankops deploy", "deploy@example.org")


def verify(bare: Path, commit: str, *config: str, home: Path | None = None) -> str:
    """What ``git verify-commit`` says; raises where it does not accept the signature."""
    env = {**os.environ, "GIT_DIR": str(bare)} | ({"GNUPGHOME": str(home)} if home else {})
    flags = [flag for setting in config for flag in ("-c", setting)]
    command = ["git", *flags, "verify-commit", commit]
    return subprocess.run(command, check=True, env=env, capture_output=True, text=True).stderr


def test_deploys_and_merges_are_signed_with_an_ssh_key_that_git_verifies(bare: Path, tmp_path: Path) -> None:
    key, stranger = key_pair(tmp_path / "key"), key_pair(tmp_path / "stranger")
    remote = GitRemote(bare.as_uri(), tmp_path / "state", GitOptions(identity=WHO, signing_key=key))
    done = deploy_with(remote)
    made = remote.commit(remote.head("main"), {"one": "1\n"}, "one", when=WHEN)
    remote.push(made, "topic")
    deploy_with(remote, "b")
    forge = LocalForge(tmp_path / "forge", remote)
    opened = forge.open(head="topic", base="main", title="t", body="b")
    merged = forge.merge(opened.number).merge_commit
    assert merged is not None and len(remote.info(merged).parents) == 2
    allowed = tmp_path / "allowed"
    setting = f"gpg.ssh.allowedSignersFile={allowed}"
    for commit in (done.commit, made, merged):
        allowed.write_text(f"{WHO.email} {key.with_suffix('.pub').read_text()}")
        assert f'Good "git" signature for {WHO.email}' in verify(bare, commit, setting)
        allowed.write_text(f"{WHO.email} {stranger.with_suffix('.pub').read_text()}")
        with pytest.raises(subprocess.CalledProcessError):
            verify(bare, commit, setting)


@pytest.fixture
def keyring() -> Iterator[Path]:
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    home = Path(subprocess.check_output(["mktemp", "-d", "/tmp/gpg.XXXXXX"], text=True).strip())  # its sockets: short
    uid = f"{WHO.name} <{WHO.email}>"
    command = ["gpg", "--homedir", str(home), "--batch", "--passphrase", "", "--quick-gen-key", uid, "ed25519", "sign"]
    subprocess.run(command, check=True, capture_output=True)
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
    shutil.rmtree(home, ignore_errors=True)


def test_controllers_that_know_only_openpgp_can_verify_too(
    bare: Path, tmp_path: Path, keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(keyring))
    options = GitOptions(identity=WHO, signing_key=WHO.email, signing_format="openpgp")
    done = deploy_with(GitRemote(bare.as_uri(), tmp_path / "state", options))
    assert f'Good signature from "{WHO.name} <{WHO.email}>"' in verify(bare, done.commit, home=keyring)


def test_a_signing_key_that_cannot_sign_is_named_and_nothing_is_pushed(bare: Path, tmp_path: Path) -> None:
    remote = GitRemote(bare.as_uri(), tmp_path / "state", GitOptions(signing_key=tmp_path / "none"))
    head = remote.head("main")
    with pytest.raises(BadInput, match=r"could not be signed with .*none"):
        deploy_with(remote)
    assert remote.head("main") == head
