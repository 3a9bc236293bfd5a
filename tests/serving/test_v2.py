from __future__ import annotations

import numpy as np
import pytest

from rankops.encoding import OnnxEncoder

MODEL = "/v2/models/retriever"


def request(texts, **changes):
    tensor = {"name": "query", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return {"inputs": [tensor | changes]}


def test_server_and_model_metadata_follow_the_protocol(shop, client):
    assert client.get("/v2").body.keys() == {"name", "version", "extensions"}
    assert client.get("/v2/health/live").body == {"live": True}
    assert client.get("/v2/health/ready").body == {"ready": True}
    meta = client.get(MODEL).body
    assert meta["name"] == "retriever"
    assert meta["versions"] == [shop.manifest.digest]
    assert meta["inputs"] == [{"name": "query", "datatype": "BYTES", "shape": [-1]}]
    assert meta["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 32]}]
    assert client.get(f"{MODEL}/ready").body == {"name": "retriever", "ready": True}
    assert client.get(f"{MODEL}/versions/{shop.manifest.digest}").body == meta


def test_inference_returns_the_vectors_of_the_encoder(shop, client):
    texts = ["red shoe", "Blue  LAMP", "green tent"]
    reply = client.post(f"{MODEL}/infer", request(texts) | {"id": "seven", "outputs": [{"name": "embedding"}]})
    assert reply.status == 200
    assert (reply.body["id"], reply.body["model_name"]) == ("seven", "retriever")
    assert reply.body["model_version"] == shop.manifest.digest
    (output,) = reply.body["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("embedding", "FP32", [3, 32])
    expected = OnnxEncoder(shop.artifact).encode([t.lower().replace("  ", " ") for t in texts], role="query")
    assert np.array_equal(np.array(output["data"], np.float32).reshape(3, 32), expected)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "an object with 'inputs'"),
        ({}, "'inputs' is missing; it must be a list of objects"),
        ({"inputs": []}, "the request has 0"),
        ({"inputs": [1]}, "'inputs[0]' must be an object with 'name' and 'shape' and 'datatype'"),
        (request(["a"], name="text"), "unknown or repeated input 'text'"),
        (request(["a"], datatype="FP32"), "datatype 'FP32'"),
        (request(["a"], shape=[2]), r"its data has shape [1]"),
        (request(["a"], shape=[1, 1]), "the model takes [n]"),
        (request(["a"], shape=None), "'inputs[0].shape' must be a list of whole numbers"),
        (request(["a"], data=["a", 1]), "list of texts"),
        (request([]), "not empty"),
        (request(["a", " "]), "text 1"),
        (request(["a" * 513]), "513 characters"),
        (request(["a"] * 65), "at most 64"),
        (request(["a"]) | {"outputs": [{"name": "logits"}]}, "unknown output 'logits'"),
        (request(["a"]) | {"outputs": "all"}, "list of objects"),
        (request(["a"]) | {"id": 7}, "'id' must be a text"),
    ],
)
def test_a_request_that_breaks_the_protocol_is_400_and_says_how(client, body, message):
    reply = client.post(f"{MODEL}/infer", body)
    assert reply.status == 400
    assert list(reply.body) == ["error"]
    assert message in reply.body["error"]


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/other/ready", f"{MODEL}/versions/1", "/v2/nowhere"])
def test_unknown_models_and_versions_are_404(client, path):
    reply = client.get(path)
    assert reply.status == 404
    assert reply.body["error"]
