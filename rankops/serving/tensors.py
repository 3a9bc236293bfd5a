"""Tensors as bytes: the binary tensor data extension of the Open Inference Protocol v2.

A body is a JSON object followed by the tensors' bytes, in the order in which the object names them; the header
``Inference-Header-Content-Length`` says where the object ends. Numbers are little-endian and row-major without padding;
an element of a BYTES tensor is its length (4 bytes, unsigned, little-endian) and then its bytes. The extension is
described in Triton's documentation (``docs/protocol/extension_binary_data.md``) and in KServe's.

Pure functions; whatever is not as described is a :class:`TensorError` with a text for the caller.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np

HEADER_LENGTH = "Inference-Header-Content-Length"
_LENGTH = struct.Struct("<I")
_NUMBERS = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4"}


class TensorError(ValueError):
    """Bytes that are no tensor."""


def split_body(body: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """The JSON object and the bytes behind it; ``header`` is the value of :data:`HEADER_LENGTH`, None without it."""
    if header is None:
        return body, memoryview(b"")
    if not (header.isascii() and header.isdecimal() and len(header) < 20):
        raise TensorError(f"{HEADER_LENGTH} must be a whole number of bytes, not {header[:32]!r}")
    length = int(header)
    if length > len(body):
        raise TensorError(f"{HEADER_LENGTH} is {length}, the body has {len(body)} bytes")
    return body[:length], memoryview(body)[length:]


def split_tensors(data: memoryview, sizes: Sequence[tuple[str, int]]) -> dict[str, memoryview]:
    """The bytes of each named tensor. ``sizes`` (name, bytes) must fill ``data`` exactly."""
    total = sum(size for _, size in sizes)
    if total != len(data):
        raise TensorError(
            f"the tensors' 'binary_data_size' say {total} bytes, {len(data)} bytes follow the JSON object"
        )
    found, start = {}, 0
    for name, size in sizes:
        found[name] = data[start : start + size]
        start += size
    return found


def decode_texts(data: memoryview, count: int) -> list[str]:
    """The ``count`` elements of a BYTES tensor as UTF-8 texts."""
    found: list[str] = []
    at, end = 0, len(data)
    while at < end:
        if len(found) == count:
            raise TensorError(f"{end - at} bytes are left behind element {count}, the last one of its shape")
        if end - at < _LENGTH.size:
            raise TensorError(f"the length of element {len(found)} is cut off")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if length > end - at:
            raise TensorError(f"element {len(found)} has {length} bytes, {end - at} are left")
        try:
            found.append(str(data[at : at + length], "utf-8"))
        except UnicodeDecodeError as error:
            raise TensorError(f"element {len(found)} is not UTF-8: {error.reason} at byte {error.start}") from error
        at += length
    if len(found) < count:
        raise TensorError(f"its shape has {count} elements, its data {len(found)}")
    return found


def encode_texts(texts: Iterable[str]) -> bytes:
    """A BYTES tensor of UTF-8 texts."""
    parts: list[bytes] = []
    for text in texts:
        element = text.encode()
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def encode_tensor(datatype: str, values: np.ndarray) -> bytes:
    """A tensor of numbers, or of texts (datatype BYTES), row-major."""
    if datatype == "BYTES":
        return encode_texts(map(str, values.ravel().tolist()))
    return np.ascontiguousarray(values, dtype=_NUMBERS[datatype]).tobytes()
