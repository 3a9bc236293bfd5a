"""The sequential part: what its network may see, how it is fitted, and that what is served is what was fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rankops.baskets import baskets_of
from rankops.compression.next_item import RUNGS, build_rung, rungs_of
from rankops.compression.sequence import FORMS, export_forms
from rankops.cooccurrence import items_of
from rankops.dataset import Dataset
from rankops.errors import IntegrityError
from rankops.next_item import load_next_item, next_item_digest, truncated
from rankops.sequence import CONFIG, GRAPH, SequenceConfig
from rankops.specs import SequenceSpec
from rankops.torch_sequence import WEIGHTS, SequenceNetwork, Shape, TorchSequence, load_checkpoint
from rankops.training.job import TrainingInterrupted
from rankops.training.sequence import Histories, fit_sequence, sequence_loss
from tests.recommendation.conftest import THEMES

COUNT, WIDTH = 9, 5
SPEC = SequenceSpec(dimension=16, layers=1, length=6, epochs=3, batch_size=64, learning_rate=1e-2, half_life=30.0)


def network(*, positions: bool = False, layers: int = 2) -> SequenceNetwork:
    torch.manual_seed(0)
    vectors, sold = torch.randn(COUNT, WIDTH), torch.full((COUNT,), 3.0)
    made = SequenceNetwork(vectors, sold, Shape(8, layers, 2, 6, positions), dropout=0.1).eval()
    if made.places is not None:
        torch.nn.init.normal_(made.places)
    return made


def themes(shop: Dataset) -> tuple[Histories, list[str]]:
    """Baskets of the shop; a product's vector says its theme (and a little of itself)."""
    ids = sorted(shop.catalogue["product_id"].to_list())
    rng = np.random.default_rng(0)
    vectors = np.array([[float(p.startswith(theme)) for theme in THEMES] for p in ids], np.float32)
    vectors = np.hstack([vectors, 0.2 * rng.standard_normal((len(ids), 3)).astype(np.float32)])
    baskets = baskets_of(shop.interactions)
    return Histories.of(baskets, items_of(baskets, ids), vectors, SPEC.half_life), ids


def fitted(histories: Histories, work: Path, spec: SequenceSpec = SPEC) -> SequenceNetwork:
    return fit_sequence(histories, spec, 7, work, lambda _: None, lambda: False)


@pytest.fixture(scope="module")
def sequence(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> TorchSequence:
    made = fitted(themes(shop)[0], tmp_path_factory.mktemp("fit"))
    return TorchSequence(SequenceConfig(weight=0.5, length=SPEC.length), made)


@pytest.mark.parametrize("positions", [False, True])
def test_a_later_product_changes_nothing_at_an_earlier_place(positions: bool) -> None:
    net = network(positions=positions)
    one, other = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 1, 7, 5]])
    table = net.table()
    found, changed = net.states(one, table), net.states(other, table)
    assert found.shape == (1, 4, 8) and net.scores(found, table).shape == (1, 4, COUNT)
    torch.testing.assert_close(found[:, :2], changed[:, :2])
    assert not torch.allclose(found[:, 2:], changed[:, 2:])


def test_padding_behind_a_sequence_changes_none_of_its_states() -> None:
    net = network()
    table = net.table()
    padded = net.states(torch.tensor([[4, 2, COUNT, COUNT], [1, 3, 5, 7]]), table)
    torch.testing.assert_close(padded[:1, :2], net.states(torch.tensor([[4, 2]]), table))


@pytest.mark.parametrize("positions", [False, True])
def test_the_order_of_what_came_before_counts_only_where_places_do(positions: bool) -> None:
    net = TorchSequence(SequenceConfig(1.0, 6), network(positions=positions, layers=1))
    found, turned = net.probabilities([0, 1, 2]), net.probabilities([1, 0, 2])
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert np.allclose(found, turned, atol=1e-6) is not positions


def test_the_loss_is_the_mean_over_what_is_still_to_come() -> None:
    net = network()
    items = torch.tensor([[0, 1, 2], [3, 4, COUNT]])
    table = net.table()
    told = net.scores(net.states(items[:, :-1], table), table).log_softmax(-1)
    counts = torch.tensor([1.0, 0.5])
    parts = [-(told[0, 0, 1] + told[0, 0, 2]) / 2, -told[0, 1, 2], -0.5 * told[1, 0, 4]]
    torch.testing.assert_close(sequence_loss(net, items, counts, torch.tensor([0, 1]), rest=True), sum(parts) / 2.5)
    parts[0] = -told[0, 0, 1]
    torch.testing.assert_close(sequence_loss(net, items, counts, torch.tensor([0, 1]), rest=False), sum(parts) / 2.5)


def test_the_same_baskets_give_the_same_bytes_and_a_killed_fit_goes_on_to_them(shop: Dataset, tmp_path: Path) -> None:
    histories, _ = themes(shop)
    whole = fitted(histories, tmp_path / "whole").state_dict()
    lines: list[object] = []
    with pytest.raises(TrainingInterrupted):  # as dead as after a kill: what lies on disk is one epoch
        fit_sequence(histories, SPEC, 7, tmp_path / "cut", lines.append, lambda: len(lines) >= 1)
    again: list[str] = []
    resumed = fit_sequence(histories, SPEC, 7, tmp_path / "cut", lambda line: again.append(str(line)), lambda: False)
    assert len(again) == SPEC.epochs - 1
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, whole[name]), name


@pytest.mark.parametrize("order", ["any", "given"])
def test_it_learns_which_theme_a_basket_follows_and_places_what_never_sold(
    shop: Dataset, tmp_path: Path, order: str
) -> None:
    histories, ids = themes(shop)
    spec = SPEC.model_copy(update={"order": order, "epochs": 6})
    found = TorchSequence(SequenceConfig(1.0, SPEC.length), fitted(histories, tmp_path, spec))
    chances = found.probabilities([ids.index("camp0"), ids.index("camp1")])
    ranked = [ids[row] for row in np.argsort(-chances)]
    assert sum(product.startswith("camp") for product in ranked[:6]) >= 4
    assert next(product for product in ranked if product.endswith("7")) == "camp7"  # by its text alone


def test_what_is_served_answers_as_what_was_fitted(sequence: TorchSequence, tmp_path: Path) -> None:
    n = len(sequence.network.sales)
    forms = export_forms(sequence, n, "cpu-avx512-vnni", tmp_path)
    assert set(forms) == set(FORMS)
    for rows in ([3], [1, 40, 7], list(range(12))):
        exact = sequence.probabilities(rows)
        np.testing.assert_allclose(forms["float32"].probabilities(rows), exact, atol=1e-6)
        assert np.abs(forms["int8"].probabilities(rows) - exact).max() < 0.1
    (tmp_path / "again").mkdir()
    twice = export_forms(sequence, n, "cpu-avx512-vnni", tmp_path / "again")
    assert [twice[form].graph for form in FORMS] == [forms[form].graph for form in FORMS]


def test_a_model_adds_both_parts_and_survives_its_folder(
    shop: Dataset, sequence: TorchSequence, tmp_path: Path
) -> None:
    _, ids = themes(shop)
    rng = np.random.default_rng(1)
    links = truncated(rng.random((len(ids), len(ids)), np.float32), ids, np.ones(len(ids)), 10, {})
    both = replace(links, sequence=sequence)
    context = ["camp0", "bath1"]
    rows = [ids.index(product) for product in context]
    wanted = links.scores(context) + 0.5 * sequence.probabilities(rows)
    np.testing.assert_allclose(both.scores(context), wanted, atol=1e-6)
    np.testing.assert_array_equal(both.scores(["unknown"]), links.scores(["unknown"]))
    (tmp_path / "checkpoint").mkdir()
    both.save(tmp_path / "checkpoint")
    assert load_checkpoint(tmp_path / "checkpoint").recommend(context, 5) == both.recommend(context, 5)
    (tmp_path / "forms").mkdir()
    forms = export_forms(sequence, len(ids), "cpu-avx2", tmp_path / "forms")
    assert [rung.sequence for rung in rungs_of(both)] == [form for form in FORMS for _ in RUNGS]
    build_rung(both, RUNGS[0], forms).save(tmp_path / "forms")
    served = load_next_item(tmp_path / "forms")
    np.testing.assert_allclose(served.scores(context), wanted, atol=1e-6)
    assert served.recommend(context, 5).product_ids == both.recommend(context, 5).product_ids


def test_half_a_sequential_part_or_another_networks_is_refused(
    shop: Dataset, sequence: TorchSequence, tmp_path: Path
) -> None:
    _, ids = themes(shop)
    links = truncated(np.ones((len(ids), len(ids)), np.float32), ids, np.ones(len(ids)), 10, {})
    forms = export_forms(sequence, len(ids), "cpu-avx2", tmp_path)
    replace(links, sequence=forms["float32"]).save(tmp_path)
    whole = next_item_digest(tmp_path)
    config = (tmp_path / CONFIG).read_bytes()
    (tmp_path / CONFIG).write_text('{"weight": 0.0, "length": 6}')
    assert next_item_digest(tmp_path) != whole
    with pytest.raises(IntegrityError, match="above 0"):
        load_next_item(tmp_path)
    (tmp_path / CONFIG).unlink()
    with pytest.raises(IntegrityError, match="without the other"):
        load_next_item(tmp_path)
    (tmp_path / CONFIG).write_bytes(config)
    fewer = truncated(np.ones((5, 5), np.float32), ids[:5], np.ones(5), 3, {})
    fewer.save(tmp_path)
    with pytest.raises(IntegrityError, match="over 5 products"):
        load_next_item(tmp_path)
    (tmp_path / GRAPH).write_bytes(b"no graph")
    with pytest.raises(IntegrityError, match="does not load"):
        load_next_item(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"no weights")
    (tmp_path / GRAPH).unlink()
    (tmp_path / CONFIG).unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        load_checkpoint(tmp_path)
