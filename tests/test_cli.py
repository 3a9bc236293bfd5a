"""The command line, run as people run it: arguments in, text, files and exit codes out."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from rankops.cli import app
from rankops.dataset import COLUMNS
from rankops.forge.local import LocalForge
from rankops.overlays.mirror import GitRemote
from rankops.release.manifest import ReleaseManifest
from rankops.release.searcher import Searcher
from rankops.release.signing import create_key_pair
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import VOCABULARY, make_release, write_catalogue


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReleaseManifest]:
    root = tmp_path_factory.mktemp("cli")
    artifact = make_tiny_artifact(root / "artifact", VOCABULARY, seed=1)
    catalogue = write_catalogue(root / "catalogue.parquet")
    private, _ = create_key_pair(root / "keys")
    return root, make_release(root / "release", artifact=artifact, catalogue=catalogue, private_key=private)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: tuple[Path, ReleaseManifest]) -> Path:
    """An empty state folder that trusts the test's key."""
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("RANKOPS_PUBLIC_KEY", str(built[0] / "keys" / "release-signing.pub"))
    monkeypatch.delenv("RANKOPS_GIT_URL", raising=False)
    return tmp_path / "state"


def rankops(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def write_questions(folder: Path, root: Path, queries: list[tuple[str, str, str]]) -> Path:
    folder.mkdir()
    shutil.copy(root / "catalogue.parquet", folder / "catalogue.parquet")
    rows = [
        {"query_id": i, "query": q, "group_id": i, "split": s, "popularity": "head", "category": "goods"}
        for i, q, s in queries
    ]
    pl.DataFrame(rows, schema=COLUMNS["queries"]).write_parquet(folder / "queries.parquet")
    return folder


@pytest.fixture
def questions(tmp_path: Path, built: tuple[Path, ReleaseManifest]) -> Path:
    return write_questions(tmp_path / "dataset", built[0], [("q1", " Red  SHOE", "dev"), ("q2", "blue lamp", "test")])


def run_of(path: Path) -> list[list[str]]:
    return [line.split(" ") for line in path.read_text().splitlines()]


def test_predict_writes_a_trec_run_best_first(
    tmp_path: Path, built: tuple[Path, ReleaseManifest], questions: Path
) -> None:
    root, manifest = built
    result = rankops("predict", questions, "--model", root / "release", "--out", tmp_path / "run.txt", "--k", 5)
    assert f"10 lines for 2 queries, release {manifest.digest}" in result.stdout
    assert "the release's own index is of this catalogue" in result.stderr
    rows = run_of(tmp_path / "run.txt")
    assert [row[0] for row in rows] == ["q1"] * 5 + ["q2"] * 5
    assert {row[1] for row in rows} == {"Q0"} and {row[5] for row in rows} == {f"retriever-{manifest.short}"}
    assert [int(row[3]) for row in rows] == [1, 2, 3, 4, 5] * 2
    for query in ("q1", "q2"):
        scores = [float(row[4]) for row in rows if row[0] == query]
        assert scores == sorted(scores, reverse=True)
    assert [row[2] for row in rows[:5]] == Searcher.open(root / "release").search("red shoe", 5).product_ids


def test_predict_takes_one_split(tmp_path: Path, built: tuple[Path, ReleaseManifest], questions: Path) -> None:
    rankops("predict", questions, "--model", built[0] / "release", "--out", tmp_path / "run.txt", "--split", "test")
    assert {row[0] for row in run_of(tmp_path / "run.txt")} == {"q2"}


def test_predict_resolves_a_models_name_through_its_staging_pin(
    tmp_path: Path, state: Path, built: tuple[Path, ReleaseManifest], questions: Path
) -> None:
    root, manifest = built
    (state / "releases").mkdir(parents=True)
    pin = state / "releases" / "retriever.json"
    pin.write_text(json.dumps({"uri": str(root / "release"), "digest": manifest.digest}))
    rankops("predict", questions, "--model", "retriever", "--out", tmp_path / "run.txt")
    assert (tmp_path / "run.txt").is_file()
    pin.write_text(json.dumps({"uri": str(root / "release"), "digest": "0" * 64}))
    result = rankops("predict", questions, "--model", "retriever", "--out", tmp_path / "other.txt", code=1)
    assert f"expected {'0' * 64}" in result.stderr
    assert not (tmp_path / "other.txt").exists()


def test_predict_reads_a_folder_like_icecat_without_labels_and_ranks_judged_pools_completely(
    tmp_path: Path, built: tuple[Path, ReleaseManifest]
) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    titles = ["red shoe", "blue shoe", "green lamp", "black tent", "white sofa"]
    products = [
        {"product_id": f"x{i}", "title": t, "brand": "acme", "name": t, "short_description": "", "date_released": "2020-01-01", "attributes": {}}
        for i, t in enumerate(titles)
    ]  # fmt: skip
    with gzip.open(folder / "products.jsonl.gz", "wt") as handle:
        handle.writelines(json.dumps(product) + "\n" for product in products)
    (folder / "queries.tsv").write_text(
        "query_id\tquery\tsplit\tgroup_id\nq1\tred shoe\ttest\tg1\nq2\ttent\ttrain\tg2\n"
    )
    (folder / "candidates_test.tsv").write_text("query_id\tproduct_id\nq1\tx3\nq1\tx4\nq1\tgone\n")
    result = rankops("predict", folder, "--model", built[0] / "release", "--out", tmp_path / "run.txt", "--k", 1)
    assert "encoded 5 of 5 products" in result.stderr
    found: dict[str, list[str]] = {}
    for row in run_of(tmp_path / "run.txt"):
        found.setdefault(row[0], []).append(row[2])
    assert found["q1"][0] == "x0" and set(found["q1"]) == {"x0", "x3", "x4"}
    assert found["q2"] == ["x3"]


def test_predict_refuses_a_changed_release_by_name_and_writes_nothing(
    tmp_path: Path, built: tuple[Path, ReleaseManifest], questions: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(built[0] / "release", broken)
    (broken / "golden.json").write_text((broken / "golden.json").read_text() + " ")
    result = rankops("predict", questions, "--model", broken, "--out", tmp_path / "run.txt", code=1)
    assert "golden.json was changed" in result.stderr and "remedy:" in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run.txt").exists()


def test_predict_says_what_is_missing(tmp_path: Path, built: tuple[Path, ReleaseManifest], questions: Path) -> None:
    out = tmp_path / "run.txt"
    unknown = rankops("predict", questions, "--model", "ranker", "--out", out, code=1)
    assert "'ranker' is neither a release" in unknown.stderr and "releases/ranker.json" in unknown.stderr
    empty = rankops("predict", tmp_path, "--model", built[0] / "release", "--out", out, code=1)
    assert "holds neither catalogue.parquet nor products.jsonl.gz" in empty.stderr
    (questions / "queries.parquet").unlink()
    lost = rankops("predict", questions, "--model", built[0] / "release", "--out", out, code=1)
    assert "queries.parquet is missing" in lost.stderr


def test_a_release_is_verified_and_a_stranger_s_key_is_refused(
    tmp_path: Path, built: tuple[Path, ReleaseManifest]
) -> None:
    root, manifest = built
    assert f"verified: retriever release {manifest.digest}" in rankops("verify-release", root / "release").stdout
    _, stranger = create_key_pair(tmp_path / "other")
    refused = rankops("verify-release", root / "release", "--public-key", stranger, code=1)
    assert "error:" in refused.stderr


def test_keygen_writes_a_pair_once(tmp_path: Path) -> None:
    assert "release-signing.pub" in rankops("keygen", "--folder", tmp_path / "keys").stdout
    assert "exists already" in rankops("keygen", "--folder", tmp_path / "keys", code=1).stderr


WORLD = "seed: 3\nproducts: 120\nusers: 30\nqueries: 120\ndays: 4\nsearches_per_day: 40\n"


def test_shop_writes_tables_that_validate_accepts(tmp_path: Path) -> None:
    world, out = tmp_path / "world.yaml", tmp_path / "shop"
    world.write_text(WORLD)
    rankops("shop", world, "--out", out, "--days", "1:2")
    assert sorted(path.name for path in (out / "interactions").iterdir()) == [
        "2026-03-03.parquet",
        "2026-03-04.parquet",
    ]
    events = pl.read_parquet(out / "interactions" / "2026-03-04.parquet")
    assert events["day"].unique().to_list() == [date(2026, 3, 4)]
    result = rankops(
        "validate",
        "interactions",
        out / "interactions" / "2026-03-04.parquet",
        "--catalogue",
        out / "catalogue.parquet",
    )
    assert f"{events.height} rows, a valid interactions table" in result.stdout
    assert "exists already" in rankops("shop", world, "--out", out, code=1).stderr


@pytest.mark.parametrize(
    ("days", "message"), [("3:9", "outside the world's days 0:3"), ("a:b", "no range of offsets"), ("2:1", "outside")]
)
def test_shop_refuses_days_that_are_none(tmp_path: Path, days: str, message: str) -> None:
    (tmp_path / "world.yaml").write_text(WORLD)
    result = rankops("shop", tmp_path / "world.yaml", "--out", tmp_path / "shop", "--days", days, code=1)
    assert message in result.stderr
    assert not (tmp_path / "shop").exists()


def test_validate_names_row_column_and_rule(tmp_path: Path) -> None:
    file = tmp_path / "judged.csv"
    file.write_text("qid,product_id,grade\nq1,p1,3\nq1,p2,9\n")
    result = rankops("validate", "judgements", file, "--column", "qid=query_id", code=1)
    assert "row 2, column grade, value '9'" in result.stderr
    assert "is no table" in rankops("validate", "judgments", file, code=1).stderr
    assert "says nothing" in rankops("validate", "judgements", file, "--column", "qid", code=1).stderr


def git(*arguments: str, cwd: Path) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=cwd, check=True, capture_output=True
    )


def test_pull_requests_of_the_local_forge_are_listed_shown_and_merged(tmp_path: Path, state: Path) -> None:
    assert "no pull request" in rankops("pr", "list").stdout
    work = tmp_path / "work"
    work.mkdir()
    git("init", "--quiet", "-b", "main", cwd=work)
    (work / "a").write_text("1")
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", "first", cwd=work)
    git("checkout", "-q", "-b", "rankops/production/retriever/x", cwd=work)
    (work / "b").write_text("2")
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", "pin", cwd=work)
    state.mkdir()
    git("clone", "--quiet", "--bare", str(work), str(state / "gitops.git"), cwd=tmp_path)
    remote = GitRemote((state / "gitops.git").as_uri(), state / "mirrors")
    LocalForge(state / "forge", remote).open(
        head="rankops/production/retriever/x", base="main", title="pin [x]", body="why"
    )

    assert "pin [x]" in rankops("pr", "list").stdout
    assert "no pull request" in rankops("pr", "list", "--state", "merged").stdout
    assert "why" in rankops("pr", "show", 1).stdout
    assert "#1 is merged as " in rankops("pr", "merge", 1).stdout
    assert "merged: rankops/production/retriever/x -> main" in rankops("pr", "show", 1).stdout
    git("fetch", "-q", str(state / "gitops.git"), "main", cwd=work)
    git("cat-file", "-e", "FETCH_HEAD:b", cwd=work)
    assert "there is no pull request #7" in rankops("pr", "show", 7, code=1).stderr


OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\ndata: {a: 'b'}\n"


def test_check_overlays_reports_each_overlay_and_fails_when_one_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankops.errors import ToolMissing
    from rankops.overlays.kustomize import find_kustomize
    from rankops.state import LocalState

    monkeypatch.delenv("RANKOPS_STATE")  # the program that `make setup` installed lies in the real state folder
    try:
        find_kustomize()
    except ToolMissing as missing:
        pytest.skip(f"{missing.problem} ({LocalState.current().root})")
    for name in ("good", "bad"):
        folder = tmp_path / "overlays" / "staging" / name
        folder.mkdir(parents=True)
        (folder / "settings.yaml").write_text(OBJECT)
        (folder / "kustomization.yaml").write_text(f"resources: [{'settings' if name == 'good' else 'absent'}.yaml]\n")
    result = rankops("check-overlays", tmp_path, code=1)
    assert f"ok     {tmp_path}/overlays/staging/good: 1 objects" in result.stdout
    assert f"FAILED {tmp_path}/overlays/staging/bad" in result.stdout
    rankops("check-overlays", tmp_path / "overlays" / "staging" / "good")
    assert "holds no overlay" in rankops("check-overlays", tmp_path / "overlays" / "staging", code=1).stderr


def test_version_and_help_need_no_heavy_import() -> None:
    rankops("version")
    program = "import sys, rankops.cli; print(sorted({'polars', 'torch', 'evidently', 'onnxruntime', 'dagster'} & set(sys.modules)))"

    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "[]"
