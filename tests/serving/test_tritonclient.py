"""The client that Triton's users have, unmodified, against our server: all three tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from rankops.serving.config import ServerConfig
from rankops.specs import Task
from tests.serving.conftest import running
from tests.support.tiny_tasks import TaskRelease, make_releases

http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException

INPUTS = {
    "retriever": {"query": ["red shoe", "Größe 42 – schwarz", "青い 靴"]},
    "ranker": {"query": ["red shoe", "lamp", "x"], "product": ["red shoe", "blue tent", "y"]},
    "recommender": {"items": ["p000 p001", "p007", "unknown"]},
}
OUTPUTS = {
    "retriever": {"embedding": ("FP32", [3, 32])},
    "ranker": {"score": ("FP32", [3])},
    "recommender": {"product_ids": ("BYTES", [3, 20]), "scores": ("FP32", [3, 20])},
}
MODELS = list(INPUTS)


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> Mapping[Task, TaskRelease]:
    return make_releases(tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="module")
def addresses(releases) -> Iterator[dict[str, str]]:
    with contextlib.ExitStack() as stack:
        found = {}
        for release in releases.values():
            config = ServerConfig(release=release.folder, public_key=release.public_key, port=0)
            found[release.manifest.model] = stack.enter_context(running(config)).removeprefix("http://")
        yield found


@pytest.fixture(params=MODELS)
def model(request) -> str:
    return request.param


@pytest.fixture
def client(addresses, model):
    with http.InferenceServerClient(addresses[model], concurrency=4) as found:
        yield found


@pytest.fixture
def digest(releases, model) -> str:
    return next(r.manifest.digest for r in releases.values() if r.manifest.model == model)


def tensors(model: str, *, binary: bool | None = True, texts: Mapping[str, list[str]] | None = None):
    """Inputs of the client; ``binary`` None sends the first one as bytes and the rest as JSON."""
    found = []
    for number, (name, values) in enumerate((texts or INPUTS[model]).items()):
        array = np.array([value.encode() for value in values], dtype=object)
        tensor = http.InferInput(name, list(array.shape), "BYTES")
        found.append(tensor.set_data_from_numpy(array, binary_data=number == 0 if binary is None else binary))
    return found


def values(result, model):
    return {name: result.as_numpy(name) for name in OUTPUTS[model]}


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def strings(result):
    """JSON gives texts where bytes give bytes."""
    return {
        name: np.vectorize(lambda v: v.decode() if isinstance(v, bytes) else v)(a) if a.dtype == object else a
        for name, a in result.items()
    }


def test_health_and_metadata(client, model, digest):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(model)
    assert client.is_model_ready(model, digest)
    assert not client.is_model_ready("other")
    assert not client.is_model_ready(model, "1")
    server = client.get_server_metadata()
    assert server["name"] == "rankops"
    assert {"binary_tensor_data", "model_configuration", "statistics"} <= set(server["extensions"])
    metadata = client.get_model_metadata(model, digest)
    assert metadata["versions"] == [digest]
    assert [tensor["name"] for tensor in metadata["inputs"]] == list(INPUTS[model])
    assert {t["name"]: t["datatype"] for t in metadata["outputs"]} == {n: d for n, (d, _) in OUTPUTS[model].items()}


def test_the_configuration_says_the_same_as_the_metadata(client, model):
    metadata, config = client.get_model_metadata(model), client.get_model_config(model)
    assert config["max_batch_size"] == 0
    for ours, theirs in (("inputs", "input"), ("outputs", "output")):
        for tensor, configured in zip(metadata[ours], config[theirs], strict=True):
            assert (tensor["name"], tensor["shape"]) == (configured["name"], configured["dims"])
            assert configured["data_type"] == {"BYTES": "TYPE_STRING"}.get(tensor["datatype"], "TYPE_FP32")


def test_binary_json_and_mixed_requests_give_the_same_tensors(client, model, digest):
    asked = [http.InferRequestedOutput(name, binary_data=False) for name in OUTPUTS[model]]
    binary = client.infer(model, tensors(model), request_id="seven")
    as_json = client.infer(model, tensors(model, binary=False), outputs=asked, model_version=digest)
    mixed = client.infer(model, tensors(model, binary=None), outputs=asked[:1])
    response = binary.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("seven", model, digest)
    assert "id" not in as_json.get_response()
    for name, (datatype, shape) in OUTPUTS[model].items():
        for result in (binary, as_json):
            assert (result.get_output(name)["datatype"], result.get_output(name)["shape"]) == (datatype, shape)
        assert "data" not in binary.get_output(name)
        assert "data" in as_json.get_output(name)
    assert same(strings(values(binary, model)), strings(values(as_json, model)))
    first = next(iter(OUTPUTS[model]))
    assert np.array_equal(mixed.as_numpy(first), as_json.as_numpy(first))
    assert [output["name"] for output in mixed.get_response()["outputs"]] == [first]


@pytest.mark.parametrize("asked", ["gzip", "deflate"])
def test_requests_and_responses_are_compressed_where_the_client_asks(client, model, asked):
    plain = client.infer(model, tensors(model))
    packed = client.infer(
        model, tensors(model), request_compression_algorithm=asked, response_compression_algorithm=asked
    )
    assert same(values(plain, model), values(packed, model))
    wide = {name: column * 20 for name, column in INPUTS[model].items()}
    body, length = http.InferenceServerClient.generate_request_body(tensors(model, texts=wide))
    headers = {"Accept-Encoding": asked, "Inference-Header-Content-Length": length}
    response = client._post(f"v2/models/{model}/infer", body, headers, None)
    assert response.get("Content-Encoding") == asked
    assert response.get("Content-Type") == "application/octet-stream"


def test_many_inferences_at_a_time(client, model):
    alone = values(client.infer(model, tensors(model)), model)
    running_requests = [client.async_infer(model, tensors(model), request_id=str(n)) for n in range(32)]
    for number, request in enumerate(running_requests):
        result = request.get_result()
        assert result.get_response()["id"] == str(number)
        assert same(values(result, model), alone)


def test_statistics_count_what_was_inferred(client, model, digest):
    def page():
        (found,) = client.get_inference_statistics(model)["model_stats"]
        assert (found["name"], found["version"]) == (model, digest)
        return found

    before = page()
    client.infer(model, tensors(model))
    with pytest.raises(InferenceServerException):
        client.infer(model, tensors(model, texts={name: [" "] for name in INPUTS[model]}))
    after = page()
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["execution_count"] == before["execution_count"] + 1
    assert after["last_inference"] > 1_700_000_000_000
    for outcome in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"):
        old, new = before["inference_stats"][outcome], after["inference_stats"][outcome]
        assert new["count"] == old["count"] + 1
        assert new["ns"] > old["ns"]
    assert 3 in [batch["batch_size"] for batch in after["batch_stats"]]
    assert client.get_inference_statistics()["model_stats"] == [page()]


def test_the_repository_shows_one_model_and_changes_only_by_a_deploy(client, model, digest):
    assert client.get_model_repository_index() == [{"name": model, "version": digest, "state": "READY", "reason": ""}]
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="deploy"):
            change(model)


def test_errors_reach_the_client_as_its_own_exception(client, model):
    for call, status in (
        (lambda: client.infer("other", tensors(model)), "404"),
        (lambda: client.infer(model, tensors(model), model_version="1"), "404"),
        (lambda: client.infer(model, tensors(model)[:0] or [http.InferInput("nothing", [1], "BYTES")]), "400"),
        (lambda: client.infer(model, tensors(model), outputs=[http.InferRequestedOutput("logits")]), "400"),
        (lambda: client.infer(model, tensors(model), outputs=_in_shared_memory(model)), "400"),
        (lambda: client.infer(model, tensors(model), outputs=_classes(model)), "400"),
        (lambda: client.get_model_metadata("other"), "404"),
        (lambda: client.get_trace_settings(model), "404"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert caught.value.status() == status
        assert caught.value.message()


def test_a_timeout_that_has_passed_is_504(client, model):
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, tensors(model), timeout=1)
    assert caught.value.status() == "504"
    assert client.infer(model, tensors(model), timeout=10_000_000).get_response()["model_name"] == model


def _in_shared_memory(model):
    output = http.InferRequestedOutput(next(iter(OUTPUTS[model])))
    output.set_shared_memory("region", 64)
    return [output]


def _classes(model):
    return [http.InferRequestedOutput(next(iter(OUTPUTS[model])), class_count=3)]


def test_a_raw_binary_request_is_one_text(client, model):
    headers = {"Inference-Header-Content-Length": "0"}
    response = client._post(f"v2/models/{model}/infer", b"red shoe", headers, None)
    if model == "ranker":
        assert response.status_code == 400
        return
    assert response.status_code == 200
    result = http.InferResult(response, False)
    one = {next(iter(INPUTS[model])): ["red shoe"]}
    assert same(values(result, model), values(client.infer(model, tensors(model, texts=one)), model))
