"""Open Inference Protocol v2 (KServe, Triton) over HTTP with JSON tensors.

One input, ``query`` (BYTES, shape [n]), one output, ``embedding`` (FP32, shape [n, d], row-major). The version of the
model is the release digest. See https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rankops import __name__ as _library
from rankops.serving.engine import Engine
from rankops.serving.service import Service
from rankops.serving.web import ApiError, check_text, read_json

INPUT, OUTPUT = "query", "embedding"


async def server_metadata(request: Request) -> Response:
    """``GET /v2``."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version(_library)
    except PackageNotFoundError:  # run from a source tree
        number = "0"
    return JSONResponse({"name": "rankops", "version": number, "extensions": []})


async def live(request: Request) -> Response:
    """``GET /v2/health/live``."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """``GET /v2/health/ready``."""
    is_ready = _service(request).release is not None
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


async def model_metadata(request: Request) -> Response:
    """``GET /v2/models/{model}``."""
    engine = _engine(request)
    return JSONResponse(
        {
            "name": engine.manifest.model,
            "versions": [engine.manifest.digest],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, engine.dimension]}],
        }
    )


async def model_ready(request: Request) -> Response:
    """``GET /v2/models/{model}/ready``."""
    return JSONResponse({"name": _engine(request).manifest.model, "ready": True})


async def infer(request: Request) -> Response:
    """``POST /v2/models/{model}/infer``."""
    service, engine = _service(request), _engine(request)
    body = await read_json(request, service.config.max_body_bytes)
    texts = _texts(body, service)
    started = time.perf_counter()
    vectors = await service.run(lambda: engine.embed(texts))
    service.metrics.stage_seconds.labels("encode").observe(time.perf_counter() - started)
    output = {
        "name": OUTPUT,
        "datatype": "FP32",
        "shape": list(vectors.shape),
        "data": vectors.ravel().tolist(),
    }
    answer = {"model_name": engine.manifest.model, "model_version": engine.manifest.digest, "outputs": [output]}
    return JSONResponse(answer | ({"id": body["id"]} if "id" in body else {}))


def _texts(body: Any, service: Service) -> list[str]:
    """The texts of an inference request. Raises :class:`ApiError` 400 naming what breaks the protocol."""
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise ApiError(400, "the request must be an object with a list 'inputs'")
    if "id" in body and not isinstance(body["id"], str):
        raise ApiError(400, "'id' must be a text")
    _check_outputs(body.get("outputs", []))
    if len(body["inputs"]) != 1 or not isinstance(body["inputs"][0], dict):
        raise ApiError(400, f"the model has one input, {INPUT!r}; the request has {len(body['inputs'])}")
    tensor = body["inputs"][0]
    if tensor.get("name") != INPUT:
        raise ApiError(400, f"unknown input {tensor.get('name')!r}; the model's input is {INPUT!r}")
    if tensor.get("datatype") != "BYTES":
        raise ApiError(400, f"input {INPUT!r} has datatype {tensor.get('datatype')!r}, the model takes 'BYTES'")
    return _check_data(tensor.get("data"), tensor.get("shape"), service)


def _check_outputs(outputs: Any) -> None:
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise ApiError(400, "'outputs' must be a list of objects")
    for output in outputs:
        if output.get("name") != OUTPUT:
            raise ApiError(400, f"unknown output {output.get('name')!r}; the model's output is {OUTPUT!r}")


def _check_data(data: Any, shape: Any, service: Service) -> list[str]:
    config = service.config
    if not isinstance(data, list) or not data or not all(isinstance(text, str) for text in data):
        raise ApiError(400, f"input {INPUT!r}: 'data' must be a list of texts that is not empty (no binary tensors)")
    if shape != [len(data)] or isinstance(shape[0], bool):
        raise ApiError(400, f"input {INPUT!r} has shape {shape!r}, its data has shape [{len(data)}]")
    if len(data) > config.max_batch:
        raise ApiError(400, f"input {INPUT!r} has {len(data)} texts, at most {config.max_batch} are allowed")
    for row, text in enumerate(data):
        check_text(f"input {INPUT!r}, text {row}", text, config.max_query_chars)
    return data


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _engine(request: Request) -> Engine:
    """The engine, when the path names its model and version. Raises :class:`ApiError` 404 or 503."""
    engine = _service(request).engine()
    model, version = request.path_params["model"], request.path_params.get("version")
    if model != engine.manifest.model:
        raise ApiError(404, f"there is no model {model!r}; this server has {engine.manifest.model!r}")
    if version is not None and version != engine.manifest.digest:
        raise ApiError(404, f"model {model!r} has no version {version!r}; its version is {engine.manifest.digest}")
    return engine


def routes() -> list[Route]:
    """All ``/v2`` routes."""
    per_model = [
        route
        for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
        for route in (
            Route(base, model_metadata, methods=["GET"]),
            Route(f"{base}/ready", model_ready, methods=["GET"]),
            Route(f"{base}/infer", infer, methods=["POST"]),
        )
    ]
    return [
        Route("/v2", server_metadata, methods=["GET"]),
        Route("/v2/health/live", live, methods=["GET"]),
        Route("/v2/health/ready", ready, methods=["GET"]),
        *per_model,
    ]
