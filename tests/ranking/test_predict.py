"""`rankops predict` with a matcher and a ranker: what the owner of the labels scores."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from rankops.cli import app
from rankops.cross_encoding import OnnxCrossEncoder
from rankops.data.matching import import_matching
from rankops.release.ranking import build_ranker_bundle
from rankops.release.signing import create_key_pair, sign
from tests.ranking.conftest import BRANDS, KINDS, NOISE, write_offers
from tests.support.tiny_cross_encoder import make_tiny_cross_encoder
from tests.support.tiny_release import release_facts

THRESHOLD = 0.9


def release(root: Path, folder: Path, threshold: float | None) -> tuple[Path, Path]:
    """A signed release of a tiny cross-encoder over the folder's offers, and its public key."""
    offers = import_matching(folder)
    artifact = make_tiny_cross_encoder(root / "artifact", (*BRANDS, *KINDS, *NOISE), 2, threshold=threshold)
    offers.catalogue.write_parquet(root / "catalogue.parquet")
    first = offers.split("test")["query"][0]
    build_ranker_bundle(
        root / "release",
        artifact=artifact,
        catalogue_parquet=root / "catalogue.parquet",
        questions=[(first, offers.catalogue["product_id"].to_list()[:3])],
        facts=release_facts(model="matcher", task="ranking"),
    )
    private, public = create_key_pair(root / "keys")
    sign(root / "release", private)
    return root / "release", public


def rankops(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_a_matcher_writes_pair_score_and_label_without_reading_labels(tmp_path: Path) -> None:
    folder = write_offers(tmp_path / "offers", labelled_test=False)
    made, key = release(tmp_path, folder, THRESHOLD)
    out = tmp_path / "out.tsv"
    told = rankops("predict", folder, "--model", made, "--public-key", key, "--out", out, "--split", "test")
    assert "90 pairs" in told
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert [row[0] for row in rows] == [f"te{number:04d}" for number in range(90)]
    assert all(label == str(int(float(score) >= THRESHOLD)) for _, score, label in rows)
    pair = import_matching(folder).split("test").row(0, named=True)
    table = pl.read_csv(folder / "test_pairs.tsv.gz", separator="\t")
    right = table.filter(pl.col("pair_id") == pair["query_id"])["right_title"][0]
    (score,) = OnnxCrossEncoder(made / "ranker").score([(pair["query"], right)])
    assert float(rows[0][1]) == pytest.approx(score, abs=1e-6)


def test_a_dataset_of_ours_gives_the_same_predictions_as_its_files(tmp_path: Path) -> None:
    folder = write_offers(tmp_path / "offers")
    made, key = release(tmp_path, folder, THRESHOLD)
    (tmp_path / "dataset").mkdir()
    import_matching(folder).save(tmp_path / "dataset")
    for source, out in ((folder, "a"), (tmp_path / "dataset", "b")):
        rankops("predict", source, "--model", made, "--public-key", key, "--out", tmp_path / out)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert len((tmp_path / "a").read_text().splitlines()) == 420


def test_a_ranker_writes_a_trec_run_of_reordered_candidates(tmp_path: Path) -> None:
    folder = write_offers(tmp_path / "offers")
    made, key = release(tmp_path, folder, None)
    (tmp_path / "dataset").mkdir()
    import_matching(folder).save(tmp_path / "dataset")
    out = tmp_path / "run.txt"
    rankops(
        "predict", tmp_path / "dataset", "--model", made, "--public-key", key, "--out", out, "--split", "test",
        "--k", 5, "--tag", "t",
    )  # fmt: skip
    rows = [line.split() for line in out.read_text().splitlines()]
    first = [row for row in rows if row[0] == rows[0][0]]
    assert [row[3] for row in first] == ["1", "2", "3", "4", "5"]
    scores = [float(row[4]) for row in first]
    assert scores == sorted(scores, reverse=True) and {row[5] for row in rows} == {"t"}


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    folder = write_offers(tmp_path / "offers")
    made, key = release(tmp_path, folder, THRESHOLD)
    (tmp_path / "empty").mkdir()
    told = rankops("predict", tmp_path / "empty", "--model", made, "--public-key", key, "--out", tmp_path / "o", code=1)
    assert "test_pairs.tsv.gz" in told and not (tmp_path / "o").exists()
