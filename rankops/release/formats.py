"""The formats of the vector index: written, measured on the release's own queries, and one of them chosen.

A format must find at least :data:`MIN_RECALL` of what exact search finds in its first hundred. Of those that do, the
simplest wins that is not clearly slower than the fastest: timings are noisy, and a format that would save less than
:data:`WORTH_MS` a query is not worth its files. So the same inputs choose alike, and what was measured never enters
the release digest (it is told in ``release.json``); the choice does.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from rankops.errors import BadInput, IntegrityError
from rankops.files import sha256_file, write_bytes
from rankops.fusion import DIGITS, Wanted, rescored, top_rows
from rankops.lexical import Floats
from rankops.release.finders import CODES, GRAPH, HALVES, ROTATION, SCAN, Finder, FullScan, dots, open_finder
from rankops.specs import IndexFormat

MIN_RECALL = 0.99
DEPTH = 100
WORTH_MS = 0.1
CLEARLY = 1.5
_ROUNDS = 3
_MAX_QUERIES = 200
_LEVELS = 63  # of 7 bits
_CONNECTIVITY, _EXPANSION_ADD = 16, 128  # usearch's own defaults
EXPANSIONS = (128, 256, 512, 1024, 2048)
_REBUILD = "rematerialize the release; if this is a served release, roll back to the last one that verified"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Chosen:
    """What ``index.json`` says of the format: its name, settings, and the SHA-256 of each of its files."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def require_files(self, folder: Path) -> None:
        """Raise :class:`IntegrityError` for a file that is not the one that was written.

        Native code reads them: a graph that is cut short must not reach it.
        """
        for name, expected in self.files.items():
            path = folder / name
            if Path(name).name != name or not path.is_file():
                raise IntegrityError(f"{path} is missing", _REBUILD)
            if (found := sha256_file(path)) != expected:
                raise IntegrityError(
                    f"{path} is not the file of this index ({found[:16]}, not {expected[:16]})", _REBUILD
                )


@dataclass(frozen=True)
class Measured:
    """One format: recall@100 of exact search, milliseconds a query (one thread), bytes beside the vectors, verdict."""

    name: str
    recall: float | None
    ms: float | None
    bytes: int
    build_seconds: float
    kept: bool
    reason: str


def choose(
    vectors: Floats,
    folder: Path,
    queries: Floats | None,
    formats: Sequence[IndexFormat],
    progress: Progress = lambda _: None,
) -> tuple[Chosen, list[Measured]]:
    """Write the files of the best format for ``vectors`` (N, d) into ``folder``; all that were measured are returned.

    ``queries`` (n, d) are unit vectors, of which the first 200 are asked. Without any, the simplest allowed format is
    taken. Formats are not tried any more once there is nothing left to save. Raises :class:`BadInput` where none
    reaches the recall, naming each.
    """
    known = [name for name in get_args(IndexFormat) if name in formats]
    asked = None if queries is None or not len(queries) else np.asarray(queries[:_MAX_QUERIES], np.float32)
    truth = None if asked is None else exact(vectors, asked)
    tried: dict[str, tuple[Chosen, Path]] = {}
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".formats-") as scratch:
        for name in get_args(IndexFormat):
            place = Path(scratch) / name
            if name not in known:
                measured.append(_untried(name, "not among spec.serving.index_formats"))
            elif measured and (reason := _pointless(measured, asked, vectors.shape[1], name)):
                measured.append(_untried(name, reason))
            else:
                chosen, one = _try(name, vectors, place, asked, truth)
                tried[name] = chosen, place
                measured.append(one)
                progress(f"index: {describe(one)}")
        best, verdicts = verdict(measured)
        chosen, place = tried[best]
        for file in chosen.files:
            shutil.copyfile(place / file, folder / file)
    return chosen, verdicts


def verdict(measured: Sequence[Measured]) -> tuple[str, list[Measured]]:
    """The name of the best (the order is that of simplicity), and every format with why it was kept or not.

    Raises :class:`BadInput` where none is good enough.
    """
    good = [one for one in measured if one.ms is not None and (one.recall is None or one.recall >= MIN_RECALL)]
    if not good:
        told = "; ".join(describe(one) for one in measured)
        raise BadInput(f"no index format reaches recall@{DEPTH} {MIN_RECALL}: {told}", "add f32 to index_formats")
    fastest = min(one.ms for one in good if one.ms is not None)
    bound = max(fastest * CLEARLY, fastest + WORTH_MS)
    best = next(one for one in good if one.ms is not None and one.ms <= bound)

    def reason(one: Measured) -> str:
        if one.ms is None:
            return one.reason
        if one.recall is not None and one.recall < MIN_RECALL:
            return f"recall@{DEPTH} {one.recall:.4f} is below {MIN_RECALL}"
        if one.name == best.name:
            return "the simplest that is as fast as any, but for noise"
        return f"slower than {best.name}" if one.ms > bound else f"saves less than {WORTH_MS} ms over {best.name}"

    return best.name, [replace(one, kept=one.name == best.name, reason=reason(one)) for one in measured]


def describe(one: Measured) -> str:
    """One line for people."""
    if one.ms is None:
        return f"{one.name}: {one.reason}"
    recall = "" if one.recall is None else f"recall@{DEPTH} {one.recall:.4f}, "
    return f"{one.name}: {recall}{one.ms:.3f} ms a query, {one.bytes / 1e6:.1f} MB beside the vectors"


def write_format(name: IndexFormat, vectors: Floats, folder: Path) -> Chosen:
    """Write the files of a format for ``vectors`` (N, d); the same vectors give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {}
    if name == "f16":
        np.save(folder / HALVES, vectors.astype(np.float16), allow_pickle=False)
    elif name == "int8":
        write_int8(vectors, folder)
    elif name == "int8-pca":
        rotation = principal_components(vectors, vectors.shape[1] // 2)
        np.save(folder / ROTATION, rotation, allow_pickle=False)
        write_int8(vectors @ rotation, folder)
        facts["dimension"] = rotation.shape[1]
    elif name == "hnsw":
        write_graph(vectors, folder / GRAPH, "f16")
        facts |= {"expansion": EXPANSIONS[0], "connectivity": _CONNECTIVITY, "precision": "f16"}
    return Chosen(name, facts, {path.name: sha256_file(path) for path in sorted(folder.iterdir())})


def write_int8(vectors: Floats, folder: Path) -> None:
    """Codes of 7 bits with a scale a product, and the graph that multiplies by them; see ``finders.Int8Scan``."""
    from onnx import TensorProto, helper

    count, width = vectors.shape
    scales = np.maximum(np.abs(vectors).max(axis=1), np.float32(1e-12)) / np.float32(_LEVELS)
    codes = np.rint(vectors / scales[:, None]).astype(np.int8)
    write_bytes(folder / CODES, np.ascontiguousarray(codes.T).tobytes())
    weights = TensorProto(
        name="codes", data_type=TensorProto.INT8, dims=[width, count], data_location=TensorProto.EXTERNAL
    )
    weights.external_data.add(key="location", value=CODES)
    weights.external_data.add(key="offset", value="0")
    weights.external_data.add(key="length", value=str(codes.nbytes))
    graph = helper.make_graph(
        [
            helper.make_node(
                "MatMulIntegerToFloat",
                ["queries", "codes", "one", "scales", "zero"],
                ["cosines"],
                domain="com.microsoft",
            )
        ],
        "scan",
        [helper.make_tensor_value_info("queries", TensorProto.UINT8, ["n", width])],
        [helper.make_tensor_value_info("cosines", TensorProto.FLOAT, ["n", count])],
        [
            weights,
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor("scales", TensorProto.FLOAT, [count], scales.astype("<f4").tobytes(), raw=True),
            helper.make_tensor("zero", TensorProto.UINT8, [], [128]),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="rankops")
    write_bytes(folder / SCAN, model.SerializeToString(deterministic=True))


def principal_components(vectors: Floats, width: int) -> Floats:
    """float32 ``(d, width)``: the directions with the largest second moments, which keep most of inner products."""
    moments = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), 4096):
        block = vectors[start : start + 4096].astype(np.float64)
        moments += block.T @ block
    _, directions = np.linalg.eigh(moments)
    kept = directions[:, ::-1][:, : max(1, width)]
    signs = np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
    return np.ascontiguousarray(kept * np.where(signs == 0, 1, signs), dtype=np.float32)


def write_graph(vectors: Floats, path: Path, precision: str) -> None:
    """A graph by usearch, of one thread: several would insert in another order each time."""
    from rankops.release.finders import usearch_or_refuse

    usearch_or_refuse("hnsw")
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype=precision,
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        multi=False,
    )
    index.add(np.arange(len(vectors), dtype=np.uint64), np.ascontiguousarray(vectors), threads=1)
    index.save(str(path))


def exact(vectors: Floats, queries: Floats, k: int = DEPTH) -> list[set[int]]:
    """The ``k`` best rows of each query, by exact search with ties in order of row."""
    return [set(top_rows(np.round(dots(vectors, query), DIGITS), k).tolist()) for query in queries]


def recall_and_time(
    finder: Finder, vectors: Floats, queries: Floats, truth: Sequence[set[int]], rounds: int = _ROUNDS
) -> tuple[float, float]:
    """``(mean recall@100, ms a query)`` of candidates scored exactly; the best of the rounds' medians."""
    wanted = [Wanted(rescored(DEPTH))]
    hits, medians = [], []
    for number in range(rounds):
        taken = []
        for query, expected in zip(queries, truth, strict=True):
            started = time.perf_counter()
            (rows,) = finder.find(query[None], wanted)
            best = rows[top_rows(np.round(dots(vectors[rows], query), DIGITS), DEPTH)]
            taken.append(time.perf_counter() - started)
            if number == 0:
                hits.append(len(expected.intersection(best.tolist())) / max(1, len(expected)))
        medians.append(float(np.median(taken)) * 1e3)
    return float(np.mean(hits)), min(medians)


def _try(
    name: IndexFormat, vectors: Floats, place: Path, queries: Floats | None, truth: Sequence[set[int]] | None
) -> tuple[Chosen, Measured]:
    started = time.perf_counter()
    chosen = write_format(name, vectors, place)
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in place.iterdir())
    if queries is None or truth is None:
        return chosen, Measured(name, None, 0.0, size, seconds, False, "")
    for expansion in EXPANSIONS if "expansion" in chosen.facts else (None,):
        if expansion is not None:
            chosen = replace(chosen, facts={**chosen.facts, "expansion": expansion})
        finder = FullScan(vectors) if name == "f32" else open_finder(place, name, chosen.facts, vectors)
        recall, ms = recall_and_time(finder, vectors, queries, truth)
        if recall >= MIN_RECALL:
            break
    return chosen, Measured(name, round(recall, 6), round(ms, 4), size, round(seconds, 2), False, "")


def _pointless(measured: Sequence[Measured], queries: Floats | None, width: int, name: str) -> str | None:
    """Why a format need not be tried, given those before it; None where it may win."""
    good = [one for one in measured if one.ms is not None and (one.recall is None or one.recall >= MIN_RECALL)]
    if good and queries is None:
        return "no queries to measure it with"
    fastest = min((one.ms for one in good if one.ms is not None), default=float("inf"))
    if fastest <= WORTH_MS:
        return f"not tried: {fastest:.3f} ms a query leave nothing to save"
    return "not tried: too few dimensions to cut" if good and name == "int8-pca" and width < 64 else None


def _untried(name: str, reason: str) -> Measured:
    return Measured(name, None, None, 0, 0.0, False, reason)
