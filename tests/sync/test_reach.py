"""From a commit to its live service, through the real Kubernetes client and real HTTP; only time is not real."""

from __future__ import annotations

import io
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import httpx
import polars as pl
import pytest
from ruamel.yaml import YAML
from upath import UPath

from rankops.errors import BadInput, RemoteUnavailable
from rankops.overlays.sync.api import KubernetesApi
from rankops.overlays.sync.state import NotLive, Transient
from rankops.stages.live import LiveService, reach_live
from rankops.state import REPOSITORY
from tests.overlays_deploy.conftest import make_pin
from tests.sync.conftest import (
    APPLICATION,
    CANARY,
    DEPLOYMENT,
    KUSTOMIZATION,
    PODS,
    PRIMARY,
    SOURCE,
    TARGET,
    Repository,
    Time,
    access,
    render,
    render_with_canary,
)
from tests.sync.fake_api import TOKEN, FakeApi, paths_of, status
from tests.sync.support import RELEASE, recorded


@contextmanager
def reached(api: FakeApi, repository: Repository, folder: Path, time: Time, **more):
    rendering = more.pop("render", render)
    commit = more.pop("commit", repository.commit)
    with reach_live(
        repository.remote,
        TARGET,
        access(api, folder, time, **more),
        render=rendering,
        root=folder,
        progress=time.told.append,
        commit=commit,
    ) as live:
        yield live


def refused(api: FakeApi, repository: Repository, folder: Path, error: type[Exception], **more) -> tuple[str, Time]:
    """The message with which the wait ends, and when."""
    time = Time()
    with pytest.raises(error) as caught, reached(api, repository, folder, time, **more):
        pass
    assert TOKEN not in str(caught.value)
    return str(caught.value), time


def test_flux_progresses_and_the_service_is_reached(api, repository, tmp_path):
    step = repository.recorded
    api.tell(
        KUSTOMIZATION,
        step("flux/wrong-revision"),
        step("flux/wrong-revision"),
        step("flux/progressing-health-check"),
        step("flux/healthy"),
    )
    api.tell(SOURCE, step("flux/source-fetched-ours"))
    api.tell(
        DEPLOYMENT,
        recorded("rollout/old-release"),
        recorded("rollout/old-release"),
        recorded("rollout/not-available"),
        recorded("rollout/complete"),
    )
    api.tell(PODS, *[recorded("rollout/pods-starting")] * 3, recorded("rollout/pods-ready"))
    time = Time()
    with reached(api, repository, tmp_path, time, service_url="http://{service}.{namespace}.svc:{port}") as live:
        assert (live.url, live.commit, live.pin.release) == (
            "http://retriever.rankops-staging.svc:80",
            repository.commit,
            RELEASE,
        )
    # The Deployment says that its new pods were available at 05:07:12; the commit landed at 05:06:00.
    assert live.commit_to_live_seconds == 72
    assert any("is fetched; retriever-staging has yet to apply it" in line for line in time.told)
    assert any("Running health checks" in line and "1 of 2 new replicas" in line for line in time.told)
    assert paths_of(api, "GET") == [path for _, path, _ in api.requests]  # nothing but reading
    assert {token for _, _, token in api.requests} == {f"Bearer {TOKEN}"}
    assert {"labelSelector": ["app.kubernetes.io/name=retriever"]} in api.queries


def test_all_that_is_asked_is_what_the_platforms_role_allows(api, repository, tmp_path):
    """k8s-overlays/platform/sync-proof grants least privilege: it must be enough, or no verification ends."""
    allowed = set()
    for file in (REPOSITORY / "k8s-overlays" / "platform" / "sync-proof").rglob("*.yaml"):
        for document in YAML(typ="safe").load_all(file):
            for rule in document.get("rules", []) if document["kind"] == "Role" else []:
                allowed |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    api.tell(KUSTOMIZATION, repository.recorded("flux/wrong-revision"), repository.recorded("flux/healthy"))
    api.tell(SOURCE, repository.recorded("flux/source-fetched-ours"))
    api.tell(CANARY, recorded("rollout/canary-succeeded"))
    api.tell(APPLICATION, repository.recorded("argocd/healthy"))
    api.tell(DEPLOYMENT, recorded("rollout/not-available"), recorded("rollout/complete"))
    api.tell(PRIMARY, recorded("rollout/primary-new"))
    api.tell(PODS, recorded("rollout/pods-crash-without-message"), recorded("rollout/pods-ready"))
    for number, more in enumerate([{}, {"controller": "argocd", "render": render_with_canary}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with reached(api, repository, folder, Time(), **more):
            pass
    asked = {_permission(path) for path in paths_of(api, "GET")}
    assert len(asked) == 7
    assert asked <= allowed


def _permission(path: str) -> tuple[str, str, str]:
    """``(group, resource, verb)`` of a GET, as RBAC sees it."""
    parts = path.strip("/").split("/")
    group, rest = (parts[1], parts[5:]) if parts[0] == "apis" else ("", parts[4:])
    resource = f"{rest[0]}/{rest[2]}" if len(rest) == 3 else rest[0]
    return group, resource, "list" if len(rest) == 1 else "get"


def test_argo_cd_syncs_and_the_service_is_reached(rolled_out, repository, tmp_path):
    step = repository.recorded
    rolled_out.tell(
        APPLICATION, step("argocd/wrong-revision"), step("argocd/progressing-operation"), step("argocd/healthy")
    )
    with reached(rolled_out, repository, tmp_path, Time(), controller="argocd") as live:
        assert live.commit == repository.commit


def test_a_failed_rollout_is_told_with_the_controllers_and_the_pods_own_words(api, repository, tmp_path):
    api.tell(
        KUSTOMIZATION,
        repository.recorded("flux/progressing-health-check"),
        repository.recorded("flux/failed-health-check"),
    )
    api.tell(SOURCE, repository.recorded("flux/source-fetched-ours"))
    api.tell(DEPLOYMENT, recorded("rollout/not-available"))
    api.tell(PODS, recorded("rollout/pods-signature-refused"))
    message, time = refused(api, repository, tmp_path, NotLive)
    assert "timeout waiting for: [Deployment/rankops-staging/retriever status: 'InProgress']" in message
    assert "container fetch-release: CrashLoopBackOff" in message
    assert "the signature does not belong to the public key" in message
    assert time.now < 100


def test_a_container_without_a_message_is_told_by_the_end_of_its_log(api, repository, tmp_path):
    api.tell(KUSTOMIZATION, repository.recorded("flux/progressing-health-check"))
    api.tell(DEPLOYMENT, recorded("rollout/not-available"))
    api.tell(PODS, recorded("rollout/pods-crash-without-message"))
    api.tell(f"{PODS}/retriever-6c9f8d7b5d-abcde/log", (200, "IntegrityError: index.usearch: digest differs\n"))
    message, _ = refused(api, repository, tmp_path, NotLive)
    assert "IntegrityError: index.usearch: digest differs" in message
    assert sum(path.endswith("/log") for path in paths_of(api, "GET")) == 1  # once, not at each look


def test_the_wrong_revision_for_ever_names_both_revisions(rolled_out, repository, tmp_path):
    rolled_out.tell(KUSTOMIZATION, repository.recorded("flux/wrong-revision"))
    rolled_out.tell(SOURCE, repository.recorded("flux/source-older"))
    message, time = refused(rolled_out, repository, tmp_path, NotLive)
    assert repository.commit in message
    assert f"stands at {repository.before}, which is an earlier commit" in message
    assert time.now == 612.5


def test_a_source_that_git_refuses_is_told_by_its_own_message(rolled_out, repository, tmp_path):
    rolled_out.tell(KUSTOMIZATION, repository.recorded("flux/wrong-revision"))
    rolled_out.tell(SOURCE, repository.recorded("flux/source-refused"))
    message, _ = refused(rolled_out, repository, tmp_path, NotLive)
    assert "GitRepository rankops: failed to checkout and determine revision" in message


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (status(401, "Unauthorized", "Unauthorized"), RemoteUnavailable, "does not accept our credentials (401)"),
        (
            status(
                403, "Forbidden", 'kustomizations is forbidden: User "system:serviceaccount:dagster:rankops" cannot get'
            ),
            RemoteUnavailable,
            "RBAC forbids reading kustomizations.kustomize.toolkit.fluxcd.io flux-system/retriever-staging (403): "
            'kustomizations is forbidden: User "system:serviceaccount:dagster:rankops" cannot get',
        ),
        (status(404, "NotFound", "not found"), BadInput, "there is no kustomizations.kustomize.toolkit.fluxcd.io"),
        ((404, "404 page not found\n"), BadInput, "does not know the kind of kustomizations"),
        (status(503, "ServiceUnavailable", "etcd"), Transient, "answered 503"),
    ],
    ids=["401", "403", "404", "404-kind", "503"],
)
def test_a_refusal_is_explained_at_once(rolled_out, repository, tmp_path, answer, error, words):
    rolled_out.tell(KUSTOMIZATION, answer)
    message, time = refused(rolled_out, repository, tmp_path, error)
    assert words in message
    assert time.now == 12.5


def test_an_api_server_that_is_not_there_is_named(api, repository, tmp_path):
    api.url = "http://127.0.0.1:9"
    message, _ = refused(api, repository, tmp_path, Transient)
    assert "the API server http://127.0.0.1:9 does not answer" in message


def test_a_server_that_is_busy_restarting_or_forgot_our_version_is_asked_again(rolled_out, repository, tmp_path):
    expired = status(410, "Expired", "too old resource version: 48213 (51002)")
    busy = status(429, "TooManyRequests", "too many requests")
    down = status(503, "ServiceUnavailable", "apiserver is shutting down")
    first = repository.recorded("flux/progressing-build")
    rolled_out.tell(KUSTOMIZATION, first, expired, busy, down, repository.recorded("flux/healthy"))
    with reached(rolled_out, repository, tmp_path, Time()) as live:
        assert live.commit == repository.commit


def test_a_missing_deployment_is_waited_for(api, repository, tmp_path):
    api.tell(KUSTOMIZATION, repository.recorded("flux/healthy"))
    api.tell(DEPLOYMENT, status(404, "NotFound", "not found"), recorded("rollout/complete"))
    api.tell(PODS, recorded("rollout/pods-ready"))
    with reached(api, repository, tmp_path, Time()) as live:
        assert live.commit == repository.commit


def test_a_canary_is_live_when_its_primary_runs_the_release(api, repository, tmp_path):
    api.tell(KUSTOMIZATION, repository.recorded("flux/healthy"))
    api.tell(
        CANARY,
        recorded("rollout/canary-succeeded"),
        recorded("rollout/canary-progressing"),
        recorded("rollout/canary-succeeded"),
    )
    api.tell(DEPLOYMENT, recorded("rollout/zero"))
    api.tell(PRIMARY, recorded("rollout/primary-old"), recorded("rollout/primary-new"))
    api.tell(PODS, recorded("rollout/pods-ready"))
    time = Time()
    with reached(api, repository, tmp_path, time, render=render_with_canary) as live:
        assert live.commit == repository.commit
    assert any("canary Progressing, 20 % of the traffic" in line for line in time.told)
    assert any("retriever-primary: its pods are told to run release 5c2e" in line for line in time.told)


def test_a_lost_canary_is_told(api, repository, tmp_path):
    api.tell(KUSTOMIZATION, repository.recorded("flux/healthy"))
    api.tell(CANARY, recorded("rollout/canary-failed"))
    api.tell(DEPLOYMENT, recorded("rollout/zero"))
    api.tell(PODS, {"kind": "PodList", "items": []})
    message, _ = refused(api, repository, tmp_path, NotLive, render=render_with_canary)
    assert "Canary analysis failed" in message


def test_the_service_is_reached_through_the_api_server_with_our_credentials(rolled_out, repository, tmp_path):
    rolled_out.tell(KUSTOMIZATION, repository.recorded("flux/healthy"))
    proxied = "/api/v1/namespaces/rankops-staging/services/http:retriever:80/proxy"
    rolled_out.tell(f"{proxied}/search", {"results": [{"product_id": "p1"}]})
    rolled_out.tell(f"{proxied}/readyz", status(403, "Forbidden", "services/proxy is forbidden"))
    with reached(rolled_out, repository, tmp_path, Time()) as live:
        assert live.url.startswith("http://127.0.0.1:")
        assert live.search("red shoe")["results"] == [{"product_id": "p1"}]
        denied = httpx.get(f"{live.url}/readyz")
        assert (denied.status_code, denied.json()["message"]) == (403, "services/proxy is forbidden")
    assert ("POST", f"{proxied}/search", f"Bearer {TOKEN}") in rolled_out.requests
    assert paths_of(rolled_out, "POST") == [f"{proxied}/search"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(live.url)


def test_pods_that_are_older_than_the_commit_have_no_time_to_live(rolled_out, repository, tmp_path):
    """Another image address, say: the controller applied the commit, but these pods ran this release before."""
    complete = recorded("rollout/complete")
    complete["status"]["conditions"][1]["lastUpdateTime"] = "2026-03-01T00:00:00Z"
    rolled_out.tell(DEPLOYMENT, complete)
    rolled_out.tell(KUSTOMIZATION, repository.recorded("flux/healthy"))
    with reached(rolled_out, repository, tmp_path, Time()) as live:
        assert live.commit_to_live_seconds is None


def test_without_the_deployments_record_the_time_is_when_we_saw_it(rolled_out, repository, tmp_path):
    complete = recorded("rollout/complete")
    del complete["status"]["conditions"]
    rolled_out.tell(DEPLOYMENT, complete)
    rolled_out.tell(KUSTOMIZATION, repository.recorded("flux/progressing-build"), repository.recorded("flux/healthy"))
    with reached(rolled_out, repository, tmp_path, Time()) as live:
        assert live.commit_to_live_seconds == 22.5


def test_a_kubeconfig_that_is_missing_or_lacks_the_context_is_named(api, tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.yaml gives no access"):
        KubernetesApi.connect(tmp_path / "nowhere.yaml")
    with pytest.raises(BadInput, match="other"):
        KubernetesApi.connect(api.kubeconfig(tmp_path), "other")
    with pytest.raises(BadInput, match="service account of this pod"):
        KubernetesApi.connect(None)


@pytest.mark.parametrize("root", ["memory://sync-log", "{tmp}"])
def test_the_request_log_is_read_from_any_url(root, tmp_path):
    log = UPath(root.format(tmp=tmp_path))
    for number in range(2):
        part = io.BytesIO()
        pl.DataFrame({"request_id": [f"r{number}"], "query": ["shoe"]}).write_parquet(part)
        folder = log / "day=2026-03-04"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"part-{number}.parquet").write_bytes(part.getvalue())
    live = LiveService("http://x", "c", make_pin(), log)
    assert live.requests(date(2026, 3, 4), 2)["request_id"].to_list() == ["r0", "r1"]


def test_a_request_log_that_is_not_configured_is_bad_input():
    with pytest.raises(BadInput, match="request_log"):
        LiveService("http://x", "c", make_pin(), None).requests(date(2026, 3, 4), 1)


def test_a_service_that_gives_no_answer_is_named_with_the_request():
    live = LiveService("http://127.0.0.1:9", "c", make_pin(), None)  # nothing listens on the discard port
    with pytest.raises(RemoteUnavailable, match=r"127\.0\.0\.1:9/search gave no answer to .*shoe"):
        live.search("shoe")
