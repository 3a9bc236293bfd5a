"""Request and response bodies: how large, how long to wait for, how compressed.

A body counts with its size after decompression, and decompression stops at the limit: a few kilobytes of gzip can hold
gigabytes.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Collection

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request

from rankops.serving.config import ServerConfig
from rankops.serving.web import ApiError

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Window bits that make zlib write each content coding; ``deflate`` is the zlib format (RFC 9110, section 8.4.1.2)."""
_WORTH = 256
"""Bytes from which a response is compressed when asked for: below, headers outweigh what is saved."""
_ON_LOOP = 64 * 1024
"""Bytes up to which compressing takes about a millisecond; more of them leave the event loop."""
CLOSE = {"Connection": "close"}
JSON_TYPES = ("application/json",)


async def read_body(request: Request, config: ServerConfig, types: Collection[str] = JSON_TYPES) -> bytes:
    """The body, decompressed.

    Raises :class:`ApiError` 413 for more than ``max_body_bytes``, 408 for a body that takes longer than
    ``body_seconds`` to arrive, 415 for a ``Content-Type`` that is none of ``types`` or a ``Content-Encoding`` that is
    neither gzip, deflate nor identity, 400 for a broken compressed one.
    """
    check_type(request.headers.get("content-type"), types)
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "", *_WINDOW):
        offered = {"Accept-Encoding": ", ".join(_WINDOW), **CLOSE}
        raise ApiError(415, f"content encoding {coding[:32]!r} is not known; send gzip, deflate or none", offered)
    limit = config.max_body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:19]) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(config.body_seconds):
            body = await _collect(request, limit)
    except ClientDisconnect:
        raise ApiError(499, "the caller has gone") from None
    except TimeoutError:
        raise ApiError(408, f"the request body did not arrive within {config.body_seconds:g} s", CLOSE) from None
    return decompress(body, coding, limit) if coding in _WINDOW else body


async def _collect(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> ApiError:
    # The connection ends with the answer: nobody wants to read the rest of what was refused.
    return ApiError(413, f"the request body is larger than {limit} bytes", CLOSE)


def check_type(given: str | None, types: Collection[str]) -> None:
    """Raises :class:`ApiError` 415 where a media type is given and is not accepted.

    Forms and plain text are refused on purpose: a page of another origin may send those without asking first.
    """
    kind = (given or "").partition(";")[0].strip().lower()
    if kind and kind not in types and not (kind.startswith("application/") and kind.endswith("+json")):
        raise ApiError(415, f"content type {kind[:64]!r} is not known; send {' or '.join(types)}", CLOSE)


def decompress(data: bytes, coding: str, limit: int) -> bytes:
    """At most ``limit`` bytes. Raises :class:`ApiError` 413 for more, 400 for what is broken or cut off.

    ``deflate`` may also be the bare format without zlib's header, which some clients send.
    """
    bare = coding == "deflate" and not _has_zlib_header(data)
    reader = zlib.decompressobj(-zlib.MAX_WBITS if bare else _WINDOW[coding])
    try:
        body = reader.decompress(data, limit + 1)
    except zlib.error as error:
        raise ApiError(400, f"the request body is not {coding}: {error}") from error
    if len(body) > limit:
        raise _too_large(limit)
    if not reader.eof or reader.unused_data:
        raise ApiError(400, f"the request body is not {coding}: it is cut off or has bytes behind its end")
    return body


def _has_zlib_header(data: bytes) -> bool:
    return len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def wanted_coding(accept: str | None) -> str | None:
    """The content coding that ``Accept-Encoding`` prefers among ours; None where it prefers none, or asks for none.

    >>> wanted_coding("br, gzip;q=0.5, deflate"), wanted_coding("gzip;q=0"), wanted_coding(None)
    ('deflate', None, None)
    """
    best, best_weight = None, 0.0
    for part in (accept or "").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = _weight(parameters)
        if name in _WINDOW and weight > best_weight:
            best, best_weight = name, weight
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


async def compressed(body: bytes, accept: str | None) -> tuple[bytes, dict[str, str]]:
    """The body as the caller wants it, and the headers that say so."""
    headers = {"Vary": "Accept-Encoding"}
    coding = wanted_coding(accept)
    if coding is None or len(body) < _WORTH:
        return body, headers
    packed = _pack(body, coding) if len(body) <= _ON_LOOP else await anyio.to_thread.run_sync(_pack, body, coding)
    return packed, {**headers, "Content-Encoding": coding}


def _pack(body: bytes, coding: str) -> bytes:
    # level 1: embeddings hardly shrink any further, and the caller waits
    writer = zlib.compressobj(1, zlib.DEFLATED, _WINDOW[coding])
    return writer.compress(body) + writer.flush()
