"""Tokens of a GitHub App, made through the real PyGithub against a server that checks the signature."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rankops.errors import BadInput, RemoteUnavailable
from rankops.forge.credentials import GitHubAppToken, configured_token
from rankops.forge.github import GitHubForge
from rankops.overlays.git_options import GitOptions
from rankops.overlays.mirror import GitRemote
from tests.support.github_server import APP, INSTALLATION, GitHubServer


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def key_file(key: rsa.RSAPrivateKey, tmp_path: Path) -> Path:
    file = tmp_path / "app.pem"
    form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return file


@pytest.fixture
def github(key: rsa.RSAPrivateKey) -> Iterator[GitHubServer]:
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    server = GitHubServer(app_key=public.decode())
    with server.serving():
        yield server


def test_one_token_serves_until_shortly_before_it_expires(github: GitHubServer, key_file: Path) -> None:
    now = [datetime.now(UTC)]
    token = GitHubAppToken(APP, INSTALLATION, key_file, api_url=github.url, clock=lambda: now[0])
    assert token() == token() == "ghs_Installation0"
    now[0] += timedelta(minutes=54)
    assert token() == "ghs_Installation0"
    now[0] += timedelta(minutes=2)  # four minutes are left: too few to begin a push with
    assert token() == "ghs_Installation1"
    assert github.asked_permissions[0] == {"contents": "write", "pull_requests": "write"}


def test_many_threads_share_one_token(github: GitHubServer, key_file: Path) -> None:
    token = GitHubAppToken(APP, INSTALLATION, key_file, api_url=github.url)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: token(), range(16))) == {"ghs_Installation0"}
    assert len(github.tokens) == 1


def test_the_api_is_spoken_to_with_the_token_of_the_moment(github: GitHubServer, key_file: Path) -> None:
    github.lifetime = timedelta(minutes=1)  # always about to expire: each call gets its own
    token = GitHubAppToken(APP, INSTALLATION, key_file, api_url=github.url)
    forge = GitHubForge("acme/gitops", token, api_url=github.url, pause=0)
    assert forge.open(head="rankops/a/b/c", base="main", title="t", body="b").number == 1
    used = {r.headers["Authorization"] for r in github.asked if r.path.startswith("/repos")}
    assert len(used) == len(github.tokens) >= 2


def test_git_speaks_over_https_with_the_same_token(github: GitHubServer, key_file: Path, tmp_path: Path) -> None:
    token = GitHubAppToken(APP, INSTALLATION, key_file, api_url=github.url)
    remote = GitRemote(f"{github.url}/acme/gitops.git", tmp_path, GitOptions(token=token))
    with pytest.raises(RemoteUnavailable):
        remote.fetch("main")  # the stand-in has no repository, but it hears who asks
    heard = {r.headers.get("Authorization") for r in github.asked if r.path.startswith("/acme/gitops.git")} - {None}
    assert heard == {"Basic " + b64encode(b"x-access-token:ghs_Installation0").decode()}
    assert "ghs_" not in repr(remote.git.options) + repr(token)


def test_refusals_name_app_and_installation_and_never_the_key(github: GitHubServer, key_file: Path) -> None:
    def token(app: int = APP, installation: int = INSTALLATION, key: Path = key_file, url: str = github.url) -> str:
        return GitHubAppToken(app, installation, key, api_url=url)()

    with pytest.raises(BadInput, match=r"app 12345: cannot get a token of installation 7 \(404\)"):
        token(installation=7)
    with pytest.raises(BadInput, match=r"app 9: .*404"):
        token(app=9)
    with pytest.raises(RemoteUnavailable, match="ConnectionError"):
        token(url="http://127.0.0.1:1")
    other = key_file.with_name("other.pem")
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    other.write_bytes(stranger.private_bytes(serialization.Encoding.PEM, *form))
    with pytest.raises(RemoteUnavailable, match=r"refused .*\(401\): A JSON web token could not be decoded"):
        token(key=other)
    broken = key_file.with_name("broken.pem")
    broken.write_text("-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n")
    with pytest.raises(BadInput, match=r"broken\.pem is no private key") as refused:
        token(key=broken)
    assert "c2VjcmV0" not in str(refused.value) and refused.value.__cause__ is None
    with pytest.raises(BadInput, match=r"cannot be read: .*absent\.pem: FileNotFoundError"):
        token(key=key_file.with_name("absent.pem"))


def test_the_environment_names_an_app_a_token_or_nothing(github: GitHubServer, key_file: Path) -> None:
    assert configured_token({}) is None
    assert configured_token({"RANKOPS_GIT_TOKEN": "t"}) == "t"
    app = {
        "RANKOPS_GITHUB_APP_ID": str(APP),
        "RANKOPS_GITHUB_APP_INSTALLATION": str(INSTALLATION),
        "RANKOPS_GITHUB_APP_KEY": str(key_file),
        "RANKOPS_FORGE_URL": github.url,
    }
    token = configured_token(app | {"RANKOPS_GIT_TOKEN": "a person's"})
    assert callable(token) and token() == "ghs_Installation0"
    assert configured_token(app) is token  # one for the whole process, or each deploy would ask anew
    with pytest.raises(
        BadInput, match="RANKOPS_GITHUB_APP_INSTALLATION is not set, RANKOPS_GITHUB_APP_ID is no number"
    ):
        configured_token(app | {"RANKOPS_GITHUB_APP_ID": "my-app", "RANKOPS_GITHUB_APP_INSTALLATION": " "})
