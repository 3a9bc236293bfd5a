"""Decisions and probabilities are measured as scikit-learn does."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs
from sklearn.calibration import calibration_curve

from rankops.errors import BadInput
from rankops.evaluation.decision_quality import MEASURES, calibration, measure_decisions
from rankops.evaluation.plots_breadth import reliability_png
from rankops.evaluation.render_breadth import decisions_markdown


def pairs(n: int = 600, *, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities with many ties."""
    rng = np.random.default_rng(0)
    truth = rng.beta(0.5, 1.0, n)
    return rng.random(n) < truth, np.clip(truth + rng.normal(0, 0.1, n), 0, 1).round(digits)


@pytest.mark.parametrize("digits", [1, 2, 8])
def test_every_measure_agrees_with_scikit_learn(digits: int) -> None:
    labels, scores = pairs(digits=digits)
    decided = scores >= 0.4
    expected = {
        "precision": theirs.precision_score(labels, decided),
        "recall": theirs.recall_score(labels, decided),
        "F1": theirs.f1_score(labels, decided),
        "ROC-AUC": theirs.roc_auc_score(labels, scores),
        "PR-AUC": theirs.average_precision_score(labels, scores),
        "Brier score": theirs.brier_score_loss(labels, scores),
    }
    for name, value in expected.items():
        assert MEASURES[name](labels, scores, 0.4) == pytest.approx(value, abs=1e-12), name


def test_the_reliability_diagram_agrees_with_scikit_learn() -> None:
    labels, scores = pairs(digits=8)
    frequency, probability = calibration_curve(labels, scores, n_bins=10)
    bins = calibration(labels, scores)
    assert [part.frequency for part in bins] == pytest.approx(frequency.tolist())
    assert [part.probability for part in bins] == pytest.approx(probability.tolist())
    weights = np.array([part.n for part in bins]) / len(labels)
    error = MEASURES["calibration error"](labels, scores, 0.5)
    assert error == pytest.approx(float((weights * np.abs(frequency - probability)).sum()))


def test_intervals_cover_and_groups_widen_them() -> None:
    labels, scores = pairs()
    alone = measure_decisions(labels, scores, 0.4, system="ours")
    # each pair four times, as one group: no more evidence than once
    grouped = measure_decisions(
        np.repeat(labels, 4), np.repeat(scores, 4), 0.4, system="ours", groups=[f"g{i // 4}" for i in range(2400)]
    )
    for name, interval in alone.metrics.items():
        assert interval.low <= interval.mean <= interval.high or name == "calibration error"
        width = grouped.metrics[name].high - grouped.metrics[name].low
        assert width == pytest.approx(interval.high - interval.low, rel=0.3)
    assert alone.n == 600 and alone.positives == int(labels.sum())
    assert reliability_png(alone)[:4] == b"\x89PNG"
    assert "| PR-AUC |" in decisions_markdown(alone) and "yes from 0.400" in decisions_markdown(alone)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(BadInput, match="probability"):
        measure_decisions(np.array([True, False]), np.array([1.2, 0.3]), 0.5, system="ours")
    with pytest.raises(BadInput, match="2 labels for 1 scores"):
        measure_decisions(np.array([True, False]), np.array([0.3]), 0.5, system="ours")


def test_one_class_alone_has_a_neutral_answer() -> None:
    labels, scores = np.zeros(5, dtype=bool), np.linspace(0, 1, 5)
    assert MEASURES["ROC-AUC"](labels, scores, 0.5) == 0.5
    assert (MEASURES["precision"](labels, scores, 2.0), MEASURES["recall"](labels, scores, 0.5)) == (0.0, 0.0)
