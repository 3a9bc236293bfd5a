"""Features, trees, tokens, decisions and the importer: the parts that training and server share."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from rankops.data.matching import import_matching, product_id
from rankops.dataset import Dataset
from rankops.decisions import average_precision, best_shares, best_threshold, decided_run, f1_score, fit_logistic
from rankops.errors import BadInput, IntegrityError
from rankops.evaluation.metrics import per_query
from rankops.pair_features import NAMES, clean_text, fit_features, shared_words, word_key
from rankops.pair_tokens import PairTokenizer, padded
from rankops.pair_trees import load_lexical
from rankops.training.crossencoder_data import training_data
from rankops.training.pair_ensemble import fit_lexical
from tests.ranking.conftest import MATCHER, write_offers


def test_a_title_is_cleared_of_markup_and_repetition() -> None:
    assert clean_text('Null , "HP  SC40Ge" Host@en | HP (host) Adapter') == "HP SC40Ge Host Adapter"
    assert clean_text("ﬁne") == "fine"
    assert clean_text(clean_text("(- - a |b| (b)")) == clean_text("(- - a |b| (b)") == "- a b"
    assert word_key("GT-I9300") == "gti9300" and word_key("Café") == "cafe" and word_key("手机") == "手机"


def test_shared_words_are_found_across_spelling_and_inside_longer_codes() -> None:
    text = "Samsung GT-I9300 white"
    assert [text[a:b] for a, b in shared_words(text, "samsung gti9300 black")] == ["Samsung", "GT-I9300"]
    assert [text[a:b] for a, b in shared_words(text, "xxGTI9300yy white")] == ["GT-I9300", "white"]
    assert shared_words("tv", "tvs") == []


def test_features_are_finite_symmetric_and_know_rare_words() -> None:
    texts = ["acme lamp ab1234", "acme lamp cd5678", "acme drill", "globex lamp"]
    features = fit_features(texts)
    rows = features([(texts[0], texts[1]), (texts[1], texts[0]), ("", ""), (texts[0], texts[0])])
    assert np.isfinite(rows).all()
    assert np.array_equal(rows[0], rows[1])
    assert rows[3, -1] == pytest.approx(1.0) and rows[3, 0] == 1.0
    assert features.weight(["ab1234"]) > features.weight(["acme"])
    assert features([]).shape[0] == 0


def test_saved_trees_say_what_scikit_learn_says_to_the_last_digit(offers: Dataset, tmp_path: Path) -> None:
    from sklearn.ensemble import GradientBoostingClassifier

    from rankops.training import pair_ensemble

    data, features = training_data(offers, MATCHER.ranking, 13, {})
    lexical, verdicts = fit_lexical(data, features, 13)
    assert verdicts == []
    lexical.save(tmp_path / "lexical.npz")
    lexical.save(tmp_path / "again.npz")
    assert (tmp_path / "lexical.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    found = load_lexical(tmp_path / "lexical.npz").margin(data.pairs)
    rows = features(data.pairs)
    expected = np.mean(
        [
            GradientBoostingClassifier(random_state=13 + i, **pair_ensemble._SETTINGS)
            .fit(rows, data.labels)
            .decision_function(rows)
            for i in range(pair_ensemble._ENSEMBLES)
        ],
        axis=0,
    )
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_trees_use_the_chosen_features_only_and_what_was_dropped_says_why(offers: Dataset) -> None:
    data, features = training_data(offers, MATCHER.ranking, 13, {})
    lexical, verdicts = fit_lexical(data, features, 13, keep=4)
    kept = {verdict.name for verdict in verdicts if verdict.kept}
    assert [verdict.name for verdict in verdicts[:1]] != [] and len(verdicts) == len(NAMES) and 1 <= len(kept) <= 4
    assert all((verdict.reason == "") == verdict.kept for verdict in verdicts)
    inner = lexical.trees.left != np.arange(len(lexical.trees.left))
    assert {NAMES[place] for place in lexical.trees.feature[inner]} <= kept
    # A column that was dropped can say anything: the trees do not look at it.
    rows = features(data.pairs)
    changed = rows.copy()
    changed[:, [place for place, name in enumerate(NAMES) if name not in kept]] = 99.0
    assert np.array_equal(lexical.trees.margin(rows), lexical.trees.margin(changed))
    told = average_precision(data.labels, lexical.trees.margin(rows))
    assert told > 0.9  # and the kept ones say enough
    shuffled = replace(data, targets=np.random.default_rng(0).permutation(data.targets))
    assert sum(verdict.kept for verdict in fit_lexical(shuffled, features, 13, keep=4)[1]) <= 1


def test_a_damaged_lexical_model_is_refused(offers: Dataset, tmp_path: Path) -> None:
    (tmp_path / "lexical.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(IntegrityError, match="no lexical model"):
        load_lexical(tmp_path / "lexical.npz")


def test_token_types_say_side_and_shared_word_and_the_longer_side_is_cut(tiny_base: Path) -> None:
    tokenizer = PairTokenizer(tiny_base / "tokenizer.json", max_tokens=12, marked=True)
    (row,) = tokenizer([("red lamp", "blue lamp")])
    assert row.types.tolist() == [0, 0, 2, 0, 1, 3, 1]  # [CLS] red lamp [SEP] blue lamp [SEP]
    (long,) = tokenizer([("red", "lamp " * 40)])
    assert len(long) == 12 and long.ids[1] == row.ids[1]
    ids, mask, types = padded([row, long])
    assert ids.shape == mask.shape == types.shape == (2, 12) and mask.sum() == 19
    plain = PairTokenizer(tiny_base / "tokenizer.json", max_tokens=12, marked=False)
    assert plain([("red lamp", "blue lamp")])[0].types.max() == 1


@pytest.mark.parametrize("seed", range(5))
def test_threshold_and_average_precision_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random(200) < 0.3
    scores = np.round(labels * 0.5 + rng.random(200), 1 if seed % 2 else 9)  # with ties and without
    threshold, f1 = best_threshold(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert f1 == pytest.approx(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))
    assert f1_score(labels, scores >= threshold) == pytest.approx(f1)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))


def test_without_a_positive_nothing_is_a_match() -> None:
    labels = np.zeros(4, dtype=bool)
    assert best_threshold(labels, np.arange(4.0)) == (float("inf"), 0.0)
    assert average_precision(labels, np.arange(4.0)) == 0.0 and f1_score(labels, labels) == 0.0


def test_a_run_of_decisions_has_exactly_their_f1(offers: Dataset) -> None:
    judged = offers.judgements.join(offers.split("test"), on="query_id", how="semi").sort("query_id")
    yes = np.random.default_rng(0).random(judged.height) < 0.5
    run = decided_run(judged["query_id"].to_list(), judged["product_id"].to_list(), yes)
    labels = (judged["grade"] >= 2).to_numpy()
    found = per_query(run, judged, min_grade=2).select(pl.col("f1").mean()).item()
    assert found == pytest.approx(f1_score(labels, yes))


def test_of_all_mixtures_the_one_with_the_best_measure_is_taken() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=3000)
    columns = {"noise": 50 * rng.normal(size=3000), "a": 9 * (truth + rng.normal(size=3000)), "b": truth * 0.1}
    columns["b"] = columns["b"] + 0.1 * rng.normal(size=3000)
    shares = best_shares(columns, lambda mixed: float(np.corrcoef(mixed, truth)[0, 1]))
    parts = {name: shares[name] * columns[name].std() for name in columns}  # in units of each one's deviation
    assert parts == pytest.approx({"noise": 0.0, "a": 0.5, "b": 0.5}, abs=0.11)
    assert sum(parts.values()) == pytest.approx(1.0)
    assert best_shares({"a": truth}, lambda _: 0.0) == pytest.approx({"a": 1 / truth.std()})


def test_blending_gives_calibrated_chances() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    targets = (rng.random(4000) < 1 / (1 + np.exp(-(2 * truth - 1)))).astype(float)
    weights = fit_logistic({"good": 10 * truth, "noise": rng.normal(size=4000)}, targets, ridge=1e-6)
    assert weights["good"] == pytest.approx(0.2, abs=0.02)
    assert weights["noise"] == pytest.approx(0.0, abs=0.1)
    assert weights["bias"] == pytest.approx(-1.0, abs=0.15)


def test_pairs_become_queries_with_one_judged_product(offers: Dataset, offers_folder: Path) -> None:
    assert offers.info["counts"] | {"products": 0} == {
        "products": 0,
        "matches": 140,
        "train": 240,
        "dev": 90,
        "test": 90,
    }
    assert offers.judgements.height == offers.queries.height == 420
    assert set(offers.judgements["grade"]) == {0, 3}
    assert offers.queries.group_by("group_id").agg("split").select(pl.col("split").list.n_unique()).max().item() == 1
    title = offers.catalogue["title"][0]
    assert offers.catalogue["product_id"][0] == product_id(title)
    again = import_matching(offers_folder)
    assert again.queries.equals(offers.queries) and again.catalogue.equals(offers.catalogue)


def test_a_test_file_without_labels_can_be_asked_about_but_not_measured(tmp_path: Path) -> None:
    dataset = import_matching(write_offers(tmp_path / "offers", labelled_test=False))
    test = dataset.split("test")
    assert test.height == 90
    assert dataset.judgements.join(test, on="query_id", how="semi").is_empty()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pair_id\tcategory\tleft_title\n", "no column right_title"),
        ("pair_id\tcategory\tleft_title\tright_title\tlabel\na\tb\tc\n", "row 1: 3 fields"),
        ("pair_id\tcategory\tleft_title\tright_title\tlabel\na\tb\tc\td\t2\n", "row 1: label is '2'"),
        ("pair_id\tcategory\tleft_title\tright_title\tlabel\na\tb\t \td\t1\n", "row 1: left_title is empty"),
        ("pair_id\tcategory\tleft_title\tright_title\tlabel\na b\tb\tc\td\t1\n", "white space"),
        ("pair_id\tcategory\tleft_title\tright_title\tlabel\na\tb\tc\td\t1\na\tb\tc\td\t1\n", "'a' occurs twice"),
    ],
)
def test_a_wrong_file_is_refused_by_row_and_column(tmp_path: Path, content: str, message: str) -> None:
    folder = write_offers(tmp_path / "offers")
    (folder / "train.tsv.gz").write_bytes(gzip.compress(content.encode()))
    with pytest.raises(BadInput, match=message):
        import_matching(folder)
    (folder / "train.tsv.gz").unlink()
    with pytest.raises(BadInput, match=r"train\.tsv\.gz is missing"):
        import_matching(folder)


def test_titles_may_hold_exotic_line_separators_and_quotes(tmp_path: Path) -> None:
    folder = write_offers(tmp_path / "offers")
    line = 'a\tb\t19" tv\u2028x\tthe "same\u0085\t1'
    (folder / "train.tsv.gz").write_bytes(
        gzip.compress(f"pair_id\tcategory\tleft_title\tright_title\tlabel\n{line}\n".encode())
    )
    dataset = import_matching(folder)
    assert dataset.split("train")["query"].to_list() == ['19" tv\u2028x']
