"""The same few words name the forge for the Dagster resource and for the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rankops.cli import app
from rankops.errors import BadInput
from rankops.forge.config import ForgeConfig
from rankops.forge.github import GitHubForge
from rankops.forge.gitlab import GitLabForge
from rankops.forge.local import LocalForge
from rankops.overlays.mirror import GitRemote
from resources.forge import Forge
from tests.support.github_server import TOKEN, GitHubServer
from tests.support.gitlab_server import GitLabServer

HEAD = "rankops/production/retriever/0123456789ab"


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No forge, no token, an empty state."""
    for name in ("RANKOPS_FORGE", "RANKOPS_FORGE_REPOSITORY", "RANKOPS_FORGE_URL", "RANKOPS_GIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    return monkeypatch


def test_what_is_given_goes_before_the_environment() -> None:
    env = {
        "RANKOPS_FORGE": "gitlab",
        "RANKOPS_FORGE_REPOSITORY": "acme/gitops",
        "RANKOPS_FORGE_URL": "https://git.acme",
    }
    assert ForgeConfig.configured(environment={}) == ForgeConfig("local")
    assert ForgeConfig.configured(environment=env) == ForgeConfig("gitlab", "acme/gitops", "https://git.acme")
    given = ForgeConfig.configured("github", "acme/other", "https://api.acme", environment=env)
    assert given == ForgeConfig("github", "acme/other", "https://api.acme")


def test_a_forge_that_is_not_described_is_refused_with_the_variable_to_set() -> None:
    with pytest.raises(BadInput, match="'gitea' is no kind of forge"):
        ForgeConfig.configured("gitea", environment={})
    with pytest.raises(BadInput, match="RANKOPS_FORGE_REPOSITORY"):
        ForgeConfig.configured("github", environment={})


def test_the_resource_opens_each_kind(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    remote = GitRemote("file:///nowhere.git", tmp_path)
    assert isinstance(Forge().open(remote), LocalForge)
    assert isinstance(Forge(kind="github", repository="acme/gitops").open(remote), GitHubForge)
    environment.setenv("RANKOPS_FORGE", "gitlab")
    environment.setenv("RANKOPS_FORGE_REPOSITORY", "acme/shop/gitops")
    opened = Forge(url="https://git.acme.example/").open(remote)
    assert repr(opened) == "GitLabForge('acme/shop/gitops', url='https://git.acme.example')"


def test_a_missing_token_stops_the_one_who_needs_it_and_not_a_push_to_staging(tmp_path: Path) -> None:
    forge = Forge(kind="github", repository="acme/gitops").open(GitRemote("file:///nowhere.git", tmp_path))
    with pytest.raises(BadInput, match=r"(?s)no token for github acme/gitops.*RANKOPS_GIT_TOKEN"):
        forge.get(1)


def rankops(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def check_commands(forge: GitHubForge | GitLabForge, comment: str) -> None:
    assert "no pull request" in rankops("pr", "list").stdout
    forge.open(head=HEAD, base="main", title="pin [a]", body="why", labels=["rankops"])
    assert "pin [a]" in rankops("pr", "list", "--state", "open").stdout
    shown = rankops("pr", "show", 1).stdout
    assert f"open: {HEAD} -> main" in shown and "why" in shown
    assert "#1 is merged as ffffff" in rankops("pr", "merge", 1).stdout
    assert "no pull request" in rankops("pr", "list", "--state", "open").stdout
    forge.open(head=HEAD + "2", base="main", title="pin [b]", body="why")
    forge.close(2, comment="Superseded.")
    assert comment in rankops("pr", "show", 2).stdout
    assert "(404)" in rankops("pr", "show", 9, code=1).stderr


def test_the_command_line_lists_shows_and_merges_on_github(environment: pytest.MonkeyPatch) -> None:
    server = GitHubServer()
    with server.serving():
        environment.setenv("RANKOPS_FORGE", "github")
        environment.setenv("RANKOPS_FORGE_REPOSITORY", "acme/gitops")
        environment.setenv("RANKOPS_FORGE_URL", server.url)
        environment.setenv("RANKOPS_GIT_TOKEN", TOKEN)
        check_commands(GitHubForge("acme/gitops", TOKEN, api_url=server.url, pause=0), "bot: Superseded.")


def test_the_command_line_lists_shows_and_merges_on_gitlab(environment: pytest.MonkeyPatch) -> None:
    server = GitLabServer()
    with server.serving():
        environment.setenv("RANKOPS_FORGE", "gitlab")
        environment.setenv("RANKOPS_FORGE_REPOSITORY", server.PROJECT)
        environment.setenv("RANKOPS_FORGE_URL", server.url)
        environment.setenv("RANKOPS_GIT_TOKEN", server.TOKEN)
        check_commands(GitLabForge(server.PROJECT, server.TOKEN, url=server.url), "rankops-bot: Superseded.")
        environment.setenv("RANKOPS_GIT_TOKEN", "glpat-expired")
        refused = rankops("pr", "list", code=1).stderr
        assert "(401)" in refused and "glpat" not in refused
