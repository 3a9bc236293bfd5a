from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import BadInput, RankopsError, RemoteUnavailable, ToolMissing
from rankops.overlays.git import Git, GitFailed, GitOptions, RemoteUrl, redact
from rankops.overlays.mirror import GitRemote

SECRET = "ghp_ThisIsVerySecret0123456789"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (f"https://ada:{SECRET}@git.example/o/r.git", "https://git.example/o/r.git"),
        (f"https://{SECRET}@git.example:8443/o/r.git", "https://git.example:8443/o/r.git"),
        ("ssh://git@git.example/o/r.git", "ssh://git@git.example/o/r.git"),
        ("git@git.example:o/r.git", "git@git.example:o/r.git"),
        ("file:///srv/r.git", "file:///srv/r.git"),
    ],
)
def test_credentials_are_split_off_an_address_and_never_shown(given: str, address: str) -> None:
    url = RemoteUrl.parse(given)
    assert url.address == address
    assert SECRET not in f"{url!r} {url}"


@pytest.mark.parametrize("address", ["", "--upload-pack=touch /tmp/x", "ext::sh -c id"])
def test_an_address_that_git_would_run_is_refused(address: str) -> None:
    with pytest.raises(BadInput, match="not the address"):
        RemoteUrl.parse(address)


def test_redaction_covers_urls_headers_and_given_secrets() -> None:
    text = f"fatal: https://u:p@h/x; Authorization: Basic {SECRET}; token {SECRET}"
    shown = redact(text, SECRET)
    assert SECRET not in shown and "u:p" not in shown and "https://***@h/x" in shown


class _Refusing(BaseHTTPRequestHandler):
    """Answers 401 and notes which processes had the secret on their command line at that moment."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.headers_seen.append(self.headers.get("Authorization"))
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = process.read_bytes()
            except OSError:  # it ended meanwhile
                continue
            if SECRET.encode() in line or server.basic.encode() in line:
                server.leaks.append(line)
        self.send_response(server.status)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    server.headers_seen, server.leaks, server.status, server.basic = [], [], 401, "never"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("how", ["token", "fresh token", "address"])
def test_refused_credentials_are_sent_but_never_in_an_error_or_a_process_list(
    refusing: Any, tmp_path: Path, status: int, how: str
) -> None:
    refusing.status = status
    refusing.basic = base64.b64encode(f"x-access-token:{SECRET}".encode()).decode()
    host = f"127.0.0.1:{refusing.server_address[1]}"
    url = f"http://x-access-token:{SECRET}@{host}/o/r.git" if how == "address" else f"http://{host}/o/r.git"
    token = {"token": SECRET, "fresh token": lambda: SECRET, "address": None}[how]
    remote = GitRemote(url, tmp_path, GitOptions(token=token))
    with pytest.raises(RemoteUnavailable) as error:
        remote.head("main")
    assert f"Basic {refusing.basic}" in refusing.headers_seen
    assert refusing.leaks == []
    shown = f"{error.value!s} {error.value!r} {remote!r} {remote.git.options!r} {error.getrepr(style='long')}"
    assert SECRET not in str(error.value) and refusing.basic not in shown
    assert host in str(error.value) and "token or deploy key" in str(error.value)
    stored = [p for p in tmp_path.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
    assert stored == []


def test_a_remote_that_does_not_exist_or_answer_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(RemoteUnavailable, match=r"no Git repository at .*nothing\.git"):
        GitRemote((tmp_path / "nothing.git").as_uri(), tmp_path / "state").head("main")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RemoteUnavailable, match=rf"127\.0\.0\.1:{port}/r\.git cannot be reached"):
        GitRemote(f"http://127.0.0.1:{port}/r.git", tmp_path / "state").head("main")


@pytest.mark.parametrize(("fresh_ones", "tried"), [(["one"], 1), (["one", "two"], 2), (["one", "two", "three"], 2)])
def test_a_refused_token_is_replaced_once_and_only_where_there_is_another(
    refusing: Any, tmp_path: Path, fresh_ones: list[str], tried: int
) -> None:
    class Tokens:
        left, forgotten = list(fresh_ones), 0

        def __call__(self) -> str:
            return self.left[0]

        def forget(self) -> None:
            self.forgotten += 1
            self.left = self.left[1:] or self.left

    tokens = Tokens()
    remote = GitRemote(f"http://127.0.0.1:{refusing.server_address[1]}/r.git", tmp_path, GitOptions(token=tokens))
    with pytest.raises(RemoteUnavailable, match="refused our credentials"):
        remote.head("main")
    given = [base64.b64decode(seen.split()[1]).decode() for seen in refusing.headers_seen if seen]
    assert list(dict.fromkeys(given)) == [f"x-access-token:{token}" for token in fresh_ones[:tried]]
    assert tokens.forgotten == 1


def test_a_remote_that_hangs_is_given_up_at_the_time_limit(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/r.git"
        with pytest.raises(RemoteUnavailable, match=r"took over 0\.5 s"):
            GitRemote(url, tmp_path, GitOptions(clone_timeout=0.5)).head("main")


def test_a_missing_branch_is_a_mistake_and_not_an_outage(remote: GitRemote) -> None:
    with pytest.raises(BadInput, match="has no branch 'release'"):
        remote.head("release")


def test_no_git_is_said_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="git is not installed"):
        Git(RemoteUrl.parse("/srv/r.git"))


def test_an_old_git_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "git"
    old.write_text("#!/bin/sh\necho git version 2.20.1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ToolMissing, match=r"git is 2\.20"):
        Git(RemoteUrl.parse("/srv/r.git")).version()


def test_neither_the_users_configuration_nor_gits_own_variables_reach_our_git(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Somebody\n[alias]\n\tversion = !false\n[core]\n\tx = yes\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.setenv(name, str(tmp_path / "trap"))
    git = Git(RemoteUrl.parse("/srv/r.git"))
    listed = git.run(["config", "--list"]).decode()
    assert "core.x" not in listed and "Somebody" not in listed
    assert "hookspath" in listed
    with pytest.raises(GitFailed):  # no repository: GIT_DIR was not inherited
        git.run(["rev-parse", "HEAD"], repository=tmp_path / "none")
    assert not (tmp_path / "trap").exists()


def test_a_failure_of_git_itself_is_no_outage(remote: GitRemote) -> None:
    remote.head("main")
    with pytest.raises(GitFailed, match="git cat-file exited") as error:
        remote.git.run(["cat-file", "-p", "nothing"], repository=remote.mirror)
    assert isinstance(error.value, RankopsError) and not isinstance(error.value, RemoteUnavailable)
