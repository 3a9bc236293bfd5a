"""Where and how the model runs, by configuration."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from rankops.encoding import OnnxEncoder
from rankops.errors import BadInput
from rankops.onnx_session import CPU, CUDA, SessionSettings, open_session, run_session
from rankops.release.capacity import MeasuredSession, ReleaseCapacity
from rankops.serving.config import read_config
from rankops.serving.engines import load_engine
from rankops.serving.engines.retrieval import SearchEngine, Wish

TEXTS = ["red shoe", "blue lamp acme", "tent"]
no_cuda = pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this machine has CUDA")


@no_cuda
def test_cuda_where_there_is_none_is_refused_with_what_there_is(shop):
    with pytest.raises(BadInput, match=r"CPUExecutionProvider.*not.*CUDAExecutionProvider") as caught:
        load_engine(shop.config(provider="cuda"))
    assert "install" in str(caught.value.remedy)


def test_the_settings_name_providers_and_session(shop):
    release = shop.manifest
    config = read_config(["--release", "/r", "--public-key", "/k", "--provider", "cuda", "--device", "1"], {})
    assert (config.providers, config.session(release)) == (CUDA, SessionSettings(device=1))
    config = read_config(["--release", "/r", "--public-key", "/k", "--session-threads", "2", "--session-arena", "off"])
    assert (config.providers, config.session(release)) == (CPU, SessionSettings(threads=2, arena=False))
    with pytest.raises(BadInput, match="--provider"):
        read_config(["--release", "/r", "--public-key", "/k", "--provider", "tpu"], {})


def test_a_session_is_what_was_measured_for_the_release_where_no_setting_says_otherwise(shop):
    session = MeasuredSession(threads=4, arena=False)
    capacity = ReleaseCapacity(objective_ms=50, target=shop.manifest.target, session=session)
    release = shop.manifest.model_copy(update={"capacity": capacity})
    words = ["--release", "/r", "--public-key", "/k"]
    assert read_config(words, {}).session(release) == SessionSettings(threads=4, arena=False)
    assert read_config([*words, "--session-threads", "1"], {}).session(release) == SessionSettings(arena=False)
    assert read_config([*words, "--session-arena", "on"], {}).session(release) == SessionSettings(threads=4)
    unmeasured = shop.manifest.model_copy(update={"capacity": None})
    assert read_config(words, {}).session(unmeasured) == SessionSettings()


@pytest.mark.parametrize("changes", [{"session_threads": 2}, {"session_arena": "off"}])
def test_results_do_not_depend_on_how_a_session_computes(shop, changes):
    plain, changed = load_engine(shop.config()), load_engine(shop.config(**changes))
    np.testing.assert_allclose(
        plain.infer({"query": TEXTS})["embedding"], changed.infer({"query": TEXTS})["embedding"], atol=1e-6
    )


def test_a_bound_run_gives_what_a_plain_run_gives(shop):
    session = open_session(shop.artifact / "model.onnx", CPU)
    output = session.get_outputs()[0].name
    ids = np.array([[1, 2, 3], [3, 2, 1]], dtype=np.int64)
    feed = {
        tensor.name: np.ones_like(ids) if tensor.name == "attention_mask" else ids * (tensor.name == "input_ids")
        for tensor in session.get_inputs()
    }
    np.testing.assert_array_equal(
        run_session(session, output, feed), run_session(session, output, feed, bound_to="cpu")
    )


def test_padded_batches_as_an_accelerator_runs_them_agree_with_texts_alone(shop):
    alone, together = OnnxEncoder(shop.artifact), OnnxEncoder(shop.artifact, batch_tokens=64)
    np.testing.assert_allclose(alone.encode(TEXTS, role="query"), together.encode(TEXTS, role="query"), atol=1e-5)


def test_searches_of_one_batch_are_those_of_single_searches(shop):
    engine = load_engine(shop.config())
    assert isinstance(engine, SearchEngine)
    wishes = [Wish("red shoe", 3), Wish("blue lamp", 5), Wish("red shoe", 1, 2.0)]
    many = engine.search_many(wishes)
    assert [answer.json for answer in many] == [engine.search(wish).json for wish in wishes]
    assert [len(answer.product_ids) for answer in many] == [3, 5, 0]
