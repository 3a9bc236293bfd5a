"""Open Inference Protocol v2 (KServe, Triton) over HTTP: what a server and a model are, and inferences.

Inputs are BYTES tensors of shape [n], one text a row; outputs are FP32, row-major; which there are is the engine's to
say. The version of the model is the release digest. See https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rankops.serving.answers import (
    InferAnswer,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    Repository,
    ServerLive,
    ServerMetadata,
    ServerReady,
    StatisticsAnswer,
)
from rankops.serving.body import compressed, read_body
from rankops.serving.caller import caller
from rankops.serving.documented import READING, WORKING, documented
from rankops.serving.engines import Engine, Tensor
from rankops.serving.inference import BINARY_TYPE, JSON_TYPE, read_inference, write_answer
from rankops.serving.observed import observed
from rankops.serving.openapi import library_version
from rankops.serving.service import Service
from rankops.serving.statistics import STEPS, Book
from rankops.serving.tensors import HEADER_LENGTH
from rankops.serving.web import ApiError

PLATFORM = "onnxruntime_onnx"


EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics")
"""What we do beyond the protocol, named as Triton names it."""
_REPOSITORY_IS_GIT = "releases are loaded by deploying them: materialize deploy, or see k8s-overlays/README.md"


@documented("The server and its extensions", tag="inference protocol v2", answers=(ServerMetadata,))
async def server_metadata(request: Request) -> Response:
    """``GET /v2``."""
    return JSONResponse({"name": "rankops", "version": library_version(), "extensions": list(EXTENSIONS)})


@documented("Liveness", tag="inference protocol v2", answers=(ServerLive,), open=True)
async def live(request: Request) -> Response:
    """``GET /v2/health/live``."""
    return JSONResponse({"live": True})


@documented("Readiness", tag="inference protocol v2", answers=(ServerReady,), same=(503,), open=True)
async def ready(request: Request) -> Response:
    """``GET /v2/health/ready``."""
    is_ready = _service(request).release is not None
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@documented("A model's tensors", tag="inference protocol v2", answers=(ModelMetadata,), errors=(404, 503))
async def model_metadata(request: Request) -> Response:
    """``GET /v2/models/{model}``."""
    engine = _engine(request)
    return JSONResponse(
        {
            "name": engine.manifest.model,
            "versions": [engine.manifest.digest],
            "platform": PLATFORM,
            "inputs": [_described(tensor) for tensor in engine.inputs],
            "outputs": [_described(tensor) for tensor in engine.outputs],
        }
    )


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


@documented("Readiness of a model", tag="inference protocol v2", answers=(ModelReady,), errors=(404, 503))
async def model_ready(request: Request) -> Response:
    """``GET /v2/models/{model}/ready``."""
    return JSONResponse({"name": _engine(request).manifest.model, "ready": True})


@documented("A model's configuration", tag="inference protocol v2", answers=(ModelConfig,), errors=(404, 503))
async def model_config(request: Request) -> Response:
    """``GET /v2/models/{model}/config``, as the model configuration extension has it.

    ``max_batch_size`` is 0: the first axis of our tensors is the number of texts, not a batch of the client's making.
    """
    service, engine = _service(request), _engine(request)
    limit = {"string_value": str(service.config.max_batch)}
    return JSONResponse(
        {
            "name": engine.manifest.model,
            "platform": PLATFORM,
            "backend": "onnxruntime",
            "version_policy": {"specific": {"versions": [engine.manifest.digest]}},
            "max_batch_size": 0,
            "input": [_configured(tensor) for tensor in engine.inputs],
            "output": [_configured(tensor) for tensor in engine.outputs],
            "instance_group": [{"name": "engine", "kind": "KIND_CPU", "count": service.config.threads}],
            "parameters": {"max_texts": limit},
        }
    )


def _configured(tensor: Tensor) -> dict[str, Any]:
    kind = {"BYTES": "TYPE_STRING"}.get(tensor.datatype, f"TYPE_{tensor.datatype}")
    return {"name": tensor.name, "data_type": kind, "dims": list(tensor.shape)}


@documented(
    "Counts and times of inferences", tag="inference protocol v2", answers=(StatisticsAnswer,), errors=(404, 503)
)
async def statistics(request: Request) -> Response:
    """``GET /v2/models/stats`` and ``GET /v2/models/{model}/stats``."""
    engine = _engine(request) if "model" in request.path_params else _service(request).engine()
    page = _book(request).of(engine.manifest)
    return JSONResponse({"model_stats": [page.as_json(engine.manifest)]})


@documented("The models that are served", tag="inference protocol v2", answers=(Repository,))
async def repository_index(request: Request) -> Response:
    """``POST /v2/repository/index``: the one model that is served."""
    release = _service(request).release
    if release is None:
        return JSONResponse([])
    manifest = _service(request).engine().manifest
    return JSONResponse([{"name": manifest.model, "version": manifest.digest, "state": "READY", "reason": ""}])


@documented("Loading and unloading are refused", tag="inference protocol v2", errors=(400,))
async def repository_change(request: Request) -> Response:
    """``POST /v2/repository/models/{model}/load`` and ``/unload``: refused, as Triton does without explicit control."""
    raise ApiError(400, f"models are neither loaded nor unloaded over HTTP: {_REPOSITORY_IS_GIT}")


@documented(
    "Embeddings, scores or recommendations",
    tag="inference protocol v2",
    takes=("infer",),
    answers=(InferAnswer,),
    errors=(*READING, *WORKING),
    binary=True,
)
async def infer(request: Request) -> Response:
    """``POST /v2/models/{model}/infer``."""
    service, engine = _service(request), _engine(request)
    page, started = _book(request).of(engine.manifest), time.perf_counter()
    try:
        body = await read_body(request, service.config, (JSON_TYPE, BINARY_TYPE))
        header_length = request.headers.get(HEADER_LENGTH)
        inference = read_inference(body, header_length, engine, request.app.state.requests, service.config)
        if inference.timeout_ms is not None and (who := caller()) is not None:
            who.ask(inference.timeout_ms)
        parsed = time.perf_counter()
        found, began, ended = await service.run(lambda: _timed(engine, inference.texts))
        observed().stage("encode", ended - began)
        answer, headers = write_answer(inference, engine, found)
        written = time.perf_counter()
    except BaseException:  # also a caller who went away
        page.failed(time.perf_counter() - started)
        raise
    steps = (began - parsed, parsed - started, ended - began, written - ended)
    page.succeeded(inference.rows, dict(zip(STEPS, steps, strict=True)))
    packed, coding = await compressed(answer, request.headers.get("accept-encoding"))
    return Response(packed, headers={**headers, **coding})


def _timed(engine: Engine, texts: dict[str, list[str]]) -> tuple[dict[str, Any], float, float]:
    began = time.perf_counter()
    found = engine.infer(texts)
    return found, began, time.perf_counter()


def _book(request: Request) -> Book:
    book: Book = request.app.state.statistics
    return book


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
            Route(f"{base}/config", model_config, methods=["GET"]),
            Route(f"{base}/stats", statistics, methods=["GET"]),
            Route(f"{base}/infer", infer, methods=["POST"]),
        )
    ]
    return [
        Route("/v2", server_metadata, methods=["GET"]),
        Route("/v2/health/live", live, methods=["GET"]),
        Route("/v2/health/ready", ready, methods=["GET"]),
        Route("/v2/models/stats", statistics, methods=["GET"]),
        Route("/v2/repository/index", repository_index, methods=["POST"]),
        Route("/v2/repository/models/{model}/load", repository_change, methods=["POST"]),
        Route("/v2/repository/models/{model}/unload", repository_change, methods=["POST"]),
        *per_model,
    ]
