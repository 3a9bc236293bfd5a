"""Ways to find candidates among the products' vectors: scans of the whole catalogue, and a graph.

A finder only proposes rows. What is returned of them is scored with the full-precision vectors (see
:mod:`rankops.release.index`), so a format can lose a product (its recall is measured), never misstate a score.
Needs numpy and onnxruntime; ``f16`` and ``hnsw`` need usearch too, which only images built for them have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rankops.errors import BadInput, IntegrityError
from rankops.fusion import Wanted, top_rows
from rankops.lexical import Floats

CODES, SCAN, ROTATION, HALVES, GRAPH = "codes.bin", "scan.onnx", "rotation.npy", "halves.npy", "graph.usearch"
_REBUILD = "rematerialize the release: its index is damaged"
_BLOCK = 1 << 24
"""Cosines held at a time, 64 MB: large catalogues are scanned for a few queries at once."""


class Finder(Protocol):
    """Finds candidates. Safe to share between threads."""

    def find(self, queries: Floats, wanted: Sequence[Wanted]) -> list[NDArray[np.intp]]:
        """For each of ``queries`` (n, d) the rows of its candidates, ascending; ``also`` is not looked at.

        What one query finds does not depend on the others.
        """
        ...


class Scan:
    """A finder that compares a query with every product."""

    def __init__(self, count: int) -> None:
        self._count = count

    def find(self, queries: Floats, wanted: Sequence[Wanted]) -> list[NDArray[np.intp]]:
        """See :class:`Finder`."""
        found: list[NDArray[np.intp]] = []
        step = max(1, _BLOCK // max(1, self._count))
        for start in range(0, len(queries), step):
            block = self.cosines(queries[start : start + step])
            found += [_best(row, asked) for row, asked in zip(block, wanted[start : start + step], strict=True)]
        return found

    def cosines(self, queries: Floats) -> Floats:
        """float32 ``(n, N)``, as near to the cosines as the format can be."""
        raise NotImplementedError


class FullScan(Scan):
    """The vectors themselves. A dot product is made a row, so that a score does not depend on the row's place."""

    def __init__(self, vectors: Floats) -> None:
        super().__init__(len(vectors))
        self._vectors = vectors

    def cosines(self, queries: Floats) -> Floats:
        """See :class:`Scan`."""
        return np.stack([dots(self._vectors, query) for query in queries])


class HalfScan(Scan):
    """The vectors in half precision, from a memory map."""

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        super().__init__(shape[0])
        usearch_or_refuse("f16")
        self._halves = _array(folder / HALVES, np.float16, shape)

    def cosines(self, queries: Floats) -> Floats:
        """See :class:`Scan`."""
        import numkong

        found = numkong.cdist(queries.astype(np.float16), self._halves, metric="dot")
        return np.asarray(found, dtype=np.float32).reshape(len(queries), self._count)


class Int8Scan(Scan):
    """Products in 7 bits and a scale each, queries in 8: one integer matrix product by ONNX Runtime.

    ``scan.onnx`` reads the codes from ``codes.bin`` beside it, (d, N), as a memory map, and packs them for the CPU's
    instructions: N x d bytes of memory a process. Seven bits, for CPUs without VNNI saturate sums of two products
    of eight. Sums of integers are exact, so every machine finds the same.
    ``rotation.npy`` (D, d), where it is there, takes the query from D to the d principal components that were kept.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        from rankops.onnx_session import CPU, open_session

        super().__init__(shape[0])
        rotation = folder / ROTATION
        self._rotation = _matrix(rotation, np.float32, rows=shape[1]) if rotation.is_file() else None
        width = shape[1] if self._rotation is None else self._rotation.shape[1]
        if (size := (folder / CODES).stat().st_size if (folder / CODES).is_file() else 0) != shape[0] * width:
            raise IntegrityError(f"{folder / CODES} has {size:,} bytes, not {shape[0]:,} x {width}", _REBUILD)
        self._session = open_session(folder / SCAN, CPU)

    def cosines(self, queries: Floats) -> Floats:
        """See :class:`Scan`."""
        if self._rotation is not None:
            queries = np.stack([query @ self._rotation for query in queries])  # one by one: equal bits in any batch
        scales = np.maximum(np.abs(queries).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(127)
        codes = (np.rint(queries / scales) + 128).astype(np.uint8)
        (found,) = self._session.run(None, {"queries": codes})
        return np.asarray(np.multiply(found, scales, out=found), dtype=np.float32)


class Graph:
    """A hierarchical navigable small world, viewed in the file (Malkov & Yashunin, TPAMI 2020), by usearch.

    Words have no place in the graph: their best products are candidates beside the nearest vectors.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], *, expansion: int) -> None:
        usearch_or_refuse("hnsw")
        from usearch.index import Index

        self._count, self._expansion = shape[0], expansion
        try:
            index: Any = Index.restore(str(folder / GRAPH), view=True)
        except Exception as error:  # usearch raises bare RuntimeErrors and ValueErrors
            raise IntegrityError(f"{folder / GRAPH} cannot be viewed: {error}", _REBUILD) from error
        if index is None or (len(index), index.ndim) != shape:
            raise IntegrityError(f"{folder / GRAPH} is not a graph of {shape[0]:,} vectors of {shape[1]}", _REBUILD)
        index.expansion_search = expansion
        self._index = index

    def find(self, queries: Floats, wanted: Sequence[Wanted]) -> list[NDArray[np.intp]]:
        """See :class:`Finder`."""
        return [self._find(query, asked) for query, asked in zip(queries, wanted, strict=True)]

    def _find(self, query: Floats, asked: Wanted) -> NDArray[np.intp]:
        near = self._index.search(query, min(asked.depth, self._expansion, self._count), threads=1)
        rows: NDArray[np.intp] = np.sort(np.asarray(near.keys).astype(np.intp))
        if asked.words is None:
            return rows
        said = top_rows(asked.words, asked.depth)
        return np.union1d(rows, said[asked.words[said] > 0])


def open_finder(folder: Path, name: str, facts: Mapping[str, Any], vectors: Floats) -> Finder:
    """The finder that ``index.json`` names, over the files in ``folder``.

    Raises :class:`IntegrityError` for files that do not fit, :class:`BadInput` where usearch is needed and absent.
    """
    shape = (len(vectors), vectors.shape[1])
    if name == "f32":
        return FullScan(vectors)
    if name == "f16":
        return HalfScan(folder, shape)
    if name.startswith("int8"):
        return Int8Scan(folder, shape)
    if name.startswith("hnsw"):
        return Graph(folder, shape, expansion=int(facts["expansion"]))
    raise IntegrityError(f"{folder}: unknown index format {name!r}", "serve it with the rankops that built it")


def dots(vectors: Floats, query: Floats) -> Floats:
    """float32 ``(n,)`` inner products, each made alone: a product's score depends on no other and on no place."""
    found: Floats = np.vecdot(vectors, query)
    return found


def usearch_or_refuse(name: str) -> None:
    """Raise :class:`BadInput` where usearch is not installed."""
    from importlib.util import find_spec

    if find_spec("usearch") is None:
        raise BadInput(
            f"an index of format {name} needs usearch, which is not installed",
            "install rankops[serving,ann] (image: --build-arg EXTRAS=usearch), or leave it out of "
            "spec.serving.index_formats and rematerialize the release",
        )


def _best(cosines: Floats, asked: Wanted) -> NDArray[np.intp]:
    """Ascending rows of the best, ties by row.

    A crowd of equal products (one text for many variants) may reach over the cut and fill the margin that approximate
    cosines need. Then as many of the next best are candidates too.
    """
    values = cosines if asked.words is None else np.float32(asked.weight) * cosines + asked.words
    k = asked.depth
    if k >= len(values):
        return np.arange(len(values))
    threshold = np.partition(values, len(values) - k)[len(values) - k]
    rows = np.flatnonzero(values >= threshold)
    if len(rows) > k:  # more than k: the last of those that are equal at the cut go
        level = rows[values[rows] == threshold]
        rows = np.setdiff1d(rows, level[len(level) - (len(rows) - k) :], assume_unique=True)
        below = np.flatnonzero(values < threshold)
        rows = np.union1d(rows, below[top_rows(values[below], k)])
    return rows


def _array(path: Path, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A memory map of a ``.npy`` file of exactly this form."""
    found = _matrix(path, dtype, rows=shape[0])
    if found.shape != shape:
        raise IntegrityError(f"{path} has the shape {found.shape}, not {shape}", _REBUILD)
    return found


def _matrix(path: Path, dtype: Any, *, rows: int) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}", _REBUILD) from error
    if found.ndim != 2 or len(found) != rows or found.dtype != dtype:
        raise IntegrityError(f"{path} is {found.dtype} {found.shape}, not {np.dtype(dtype)} ({rows}, ...)", _REBUILD)
    return np.asarray(found)
