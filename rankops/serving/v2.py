"""Open Inference Protocol v2 (KServe, Triton) over HTTP with JSON tensors.

Inputs are BYTES tensors of shape [n], one text a row; outputs are FP32, row-major; which there are is the engine's to
say. The version of the model is the release digest. See https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rankops import __name__ as _library
from rankops.serving.engines import Engine, Tensor
from rankops.serving.service import Service
from rankops.serving.web import ApiError, check_text, read_json


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
            "inputs": [_described(tensor) for tensor in engine.inputs],
            "outputs": [_described(tensor) for tensor in engine.outputs],
        }
    )


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


async def model_ready(request: Request) -> Response:
    """``GET /v2/models/{model}/ready``."""
    return JSONResponse({"name": _engine(request).manifest.model, "ready": True})


async def infer(request: Request) -> Response:
    """``POST /v2/models/{model}/infer``."""
    service, engine = _service(request), _engine(request)
    body = await read_json(request, service.config.max_body_bytes)
    texts, wanted = _inputs(body, engine, service), _wanted(body, engine)
    started = time.perf_counter()
    found = await service.run(lambda: engine.infer(texts))
    service.metrics.stage_seconds.labels("encode").observe(time.perf_counter() - started)
    outputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(found[tensor.name].shape),
            "data": found[tensor.name].ravel().tolist(),
        }
        for tensor in engine.outputs
        if tensor.name in wanted
    ]
    answer = {"model_name": engine.manifest.model, "model_version": engine.manifest.digest, "outputs": outputs}
    return JSONResponse(answer | ({"id": body["id"]} if "id" in body else {}))


def _inputs(body: Any, engine: Engine, service: Service) -> dict[str, list[str]]:
    """The texts of each input. Raises :class:`ApiError` 400 naming what breaks the protocol."""
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise ApiError(400, "the request must be an object with a list 'inputs'")
    if "id" in body and not isinstance(body["id"], str):
        raise ApiError(400, "'id' must be a text")
    expected = [tensor.name for tensor in engine.inputs]
    config = service.config
    limits = {t.name: config.max_text_chars if t.long else config.max_query_chars for t in engine.inputs}
    given = body["inputs"]
    if len(given) != len(expected) or not all(isinstance(tensor, dict) for tensor in given):
        raise ApiError(400, f"the model's inputs are {_names(expected)}; the request has {len(given)}")
    found: dict[str, list[str]] = {}
    for tensor in given:
        name = tensor.get("name")
        if name not in expected or name in found:
            raise ApiError(400, f"unknown or repeated input {name!r}; the model's inputs are {_names(expected)}")
        if tensor.get("datatype") != "BYTES":
            raise ApiError(400, f"input {name!r} has datatype {tensor.get('datatype')!r}, the model takes 'BYTES'")
        found[name] = _texts(name, tensor.get("data"), tensor.get("shape"), limits[name], config.max_batch)
    if len({len(texts) for texts in found.values()}) > 1:
        raise ApiError(400, f"the inputs {_names(expected)} differ in length")
    return found


def _wanted(body: Any, engine: Engine) -> list[str]:
    """Names of the outputs that the request asks for: all of them unless it says which."""
    outputs, known = body.get("outputs", []), [tensor.name for tensor in engine.outputs]
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise ApiError(400, "'outputs' must be a list of objects")
    for output in outputs:
        if output.get("name") not in known:
            raise ApiError(400, f"unknown output {output.get('name')!r}; the model's outputs are {_names(known)}")
    return [str(output["name"]) for output in outputs] or known


def _texts(name: str, data: Any, shape: Any, longest: int, most: int) -> list[str]:
    if not isinstance(data, list) or not data or not all(isinstance(text, str) for text in data):
        raise ApiError(400, f"input {name!r}: 'data' must be a list of texts that is not empty (no binary tensors)")
    if shape != [len(data)] or isinstance(shape[0], bool):
        raise ApiError(400, f"input {name!r} has shape {shape!r}, its data has shape [{len(data)}]")
    if len(data) > most:
        raise ApiError(400, f"input {name!r} has {len(data)} texts, at most {most} are allowed")
    for row, text in enumerate(data):
        check_text(f"input {name!r}, text {row}", text, longest)
    return data


def _names(names: list[str]) -> str:
    return ", ".join(map(repr, names))


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
