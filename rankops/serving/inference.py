"""Inferences of the protocol v2: from a body to texts, from tensors to a body; JSON and binary tensors, also mixed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankops.serving.config import ServerConfig
from rankops.serving.engines import Engine, Tensor
from rankops.serving.schemas import InferInput, InferOutput, InferRequest, Requests, parse_json
from rankops.serving.tensors import HEADER_LENGTH, TensorError, decode_texts, encode_tensor, split_body, split_tensors
from rankops.serving.web import ApiError, check_text

BINARY_TYPE, JSON_TYPE = "application/octet-stream", "application/json"
_SHARED_MEMORY = "shared_memory_region"


@dataclass(frozen=True)
class Inference:
    """Checked texts of each input, and the outputs that are wanted (and which of them as bytes)."""

    identity: str | None
    texts: dict[str, list[str]]
    outputs: tuple[tuple[Tensor, bool], ...]
    timeout_ms: float | None = None

    @property
    def rows(self) -> int:
        """Texts of each input."""
        return len(next(iter(self.texts.values())))


def read_inference(
    body: bytes, header_length: str | None, engine: Engine, requests: Requests, config: ServerConfig
) -> Inference:
    """The inference in a body. Raises :class:`ApiError` 400 naming what breaks the protocol, or which limit."""
    if header_length == "0":
        return _raw(body, engine, config)
    try:
        head, tail = split_body(body, header_length)
        request = requests.infer(parse_json(head))
        given = _named(request.inputs, engine)
        sizes = [(name, size) for name, tensor in given.items() if (size := _binary_size(tensor)) is not None]
        binary = split_tensors(tail, sizes)
        texts = {name: _texts(tensor, binary.get(name), config.max_batch) for name, tensor in given.items()}
    except TensorError as error:
        raise ApiError(400, str(error)) from error
    timeout = _milliseconds(request.parameters.get("timeout"))
    return Inference(request.id, _limited(texts, engine, config), _wanted(request, engine), timeout)


def _raw(body: bytes, engine: Engine, config: ServerConfig) -> Inference:
    """Triton's raw binary request: no JSON object at all, the whole body is the one text of the one input."""
    if len(engine.inputs) != 1:
        raise ApiError(400, f"{HEADER_LENGTH} is 0, which only a model with one input understands")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    texts = {engine.inputs[0].name: [text]}
    return Inference(None, _limited(texts, engine, config), tuple((tensor, True) for tensor in engine.outputs))


def _named(inputs: Sequence[InferInput], engine: Engine) -> dict[str, InferInput]:
    """The request's inputs by name, in the request's order."""
    expected = [tensor.name for tensor in engine.inputs]
    found: dict[str, InferInput] = {}
    for tensor in inputs:
        if tensor.name not in expected or tensor.name in found:
            raise ApiError(400, f"unknown or repeated input {tensor.name[:64]!r}; the inputs are {_names(expected)}")
        if tensor.datatype != "BYTES":
            raise ApiError(400, f"input {tensor.name!r} has datatype {tensor.datatype[:16]!r}, the model takes 'BYTES'")
        if _SHARED_MEMORY in tensor.parameters:
            raise ApiError(400, f"input {tensor.name!r} is in shared memory, which is not supported; send its data")
        found[tensor.name] = tensor
    if len(found) < len(expected):
        raise ApiError(400, f"the model's inputs are {_names(expected)}; the request has {len(found)}")
    return found


def _binary_size(tensor: InferInput) -> int | None:
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ApiError(
            400, f"input {tensor.name!r}: 'binary_data_size' must be a number of bytes, not {str(size)[:32]}"
        )
    if tensor.data is not None:
        raise ApiError(400, f"input {tensor.name!r} has both 'data' and 'binary_data_size'; give one of them")
    return size


def _texts(tensor: InferInput, binary: memoryview | None, most: int) -> list[str]:
    if len(tensor.shape) != 1:
        raise ApiError(400, f"input {tensor.name!r} has shape {str(tensor.shape)[:64]}, the model takes [n]")
    (count,) = tensor.shape
    if count > most:
        raise ApiError(400, f"input {tensor.name!r} has {count} texts, at most {most} are allowed")
    if binary is not None:
        try:
            return _filled(tensor.name, decode_texts(binary, count))
        except TensorError as error:
            raise ApiError(400, f"input {tensor.name!r}: {error}") from error
    data = tensor.data
    if data is None or not all(isinstance(text, str) for text in data):
        raise ApiError(400, f"input {tensor.name!r}: 'data' must be a list of texts that is not empty")
    if len(data) != count:
        raise ApiError(400, f"input {tensor.name!r} has shape [{count}], its data has shape [{len(data)}]")
    return _filled(tensor.name, data)


def _filled(name: str, texts: list[str]) -> list[str]:
    if not texts:
        raise ApiError(400, f"input {name!r}: 'data' must be a list of texts that is not empty")
    return texts


def _limited(texts: dict[str, list[str]], engine: Engine, config: ServerConfig) -> dict[str, list[str]]:
    for tensor in engine.inputs:
        limit = config.max_text_chars if tensor.long else config.max_query_chars
        for row, text in enumerate(texts[tensor.name]):
            check_text(f"input {tensor.name!r}, text {row}", text, limit)
    if len({len(column) for column in texts.values()}) > 1:
        raise ApiError(400, f"the inputs {_names(list(texts))} differ in length")
    return texts


def _wanted(request: InferRequest, engine: Engine) -> tuple[tuple[Tensor, bool], ...]:
    """The outputs that the request names, in its order; all of the model's unless it names some."""
    every = _flag(request.parameters, "binary_data_output", False)
    known = {tensor.name: tensor for tensor in engine.outputs}
    wanted = request.outputs or [InferOutput(name=name) for name in known]
    if len({output.name for output in wanted}) < len(wanted):
        raise ApiError(400, "'outputs' names an output twice")
    found = []
    for output in wanted:
        if output.name not in known:
            raise ApiError(400, f"unknown output {output.name[:64]!r}; the model's outputs are {_names(list(known))}")
        for parameter in (_SHARED_MEMORY, "classification"):
            if output.parameters.get(parameter):
                raise ApiError(400, f"output {output.name!r}: the parameter {parameter!r} is not supported")
        found.append((known[output.name], _flag(output.parameters, "binary_data", every)))
    return tuple(found)


def _milliseconds(timeout: Any) -> float | None:
    """The parameter ``timeout``, which is in microseconds; 0 and none are the server's own."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int) or not 0 <= timeout < 1e12:
        raise ApiError(400, f"the parameter 'timeout' must be a number of microseconds, not {str(timeout)[:32]!r}")
    return timeout / 1e3 or None


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise ApiError(400, f"the parameter {name!r} must be true or false, not {str(value)[:32]!r}")
    return value


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def write_answer(inference: Inference, engine: Engine, found: Mapping[str, np.ndarray]) -> tuple[bytes, dict[str, str]]:
    """The body of an answer and the headers that describe it."""
    outputs, blobs = [], []
    for tensor, binary in inference.outputs:
        values = found[tensor.name]
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(values.shape)}
        if binary:
            blobs.append(encode_tensor(tensor.datatype, values))
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"] = values.ravel().tolist()
        outputs.append(output)
    answer: dict[str, Any] = {"model_name": engine.manifest.model, "model_version": engine.manifest.digest}
    if inference.identity is not None:
        answer["id"] = inference.identity
    head = json.dumps(
        {**answer, "outputs": outputs}, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()
    if not blobs:
        return head, {"Content-Type": JSON_TYPE}
    return b"".join([head, *blobs]), {"Content-Type": BINARY_TYPE, HEADER_LENGTH: str(len(head))}
