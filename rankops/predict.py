"""Predictions of a release over the queries of a dataset, for scoring by others: a TREC run, no labels needed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rankops.errors import BadInput
from rankops.files import write_text
from rankops.state import LocalState
from rankops.text import normalize_query, product_texts

if TYPE_CHECKING:
    from rankops.encoding import OnnxEncoder

Progress = Callable[[str], None]
QuerySplit = Literal["all", "train", "dev", "test"]

_CHUNK = 1024
_DIGITS = 6  # of a score in the run; products whose scores agree to that are in order of their ids


@dataclass(frozen=True)
class Questions:
    """Queries (id, text), the catalogue they are asked of, and products that must be ranked whatever their place."""

    queries: list[tuple[str, str]]
    product_ids: list[str]
    product_texts: list[str]
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved:
    """A release on this machine whose signature and digest hold."""

    folder: Path
    model: str
    digest: str


def resolve_release(model: str, public_key: Path, state: LocalState) -> Resolved:
    """Find the release that ``model`` means and verify it completely.

    ``model`` is a release's folder or URL, or the name of a model: then the release that staging pins, which
    ``releases/<model>.json`` in the state folder names. Raises :class:`BadInput` for neither, and
    :class:`rankops.errors.IntegrityError` when a byte, the signature or the digest is wrong.
    """
    from rankops.release.signing import verify

    pinned = state.root / "releases" / f"{model}.json"
    uri: str = model
    digest: str | None = None
    if "/" not in model and pinned.is_file():
        uri, digest = _read_pin(pinned)
    elif "://" not in model and not Path(model).is_dir():
        raise BadInput(
            f"{model!r} is neither a release (folder or URL) nor a model with a release ({pinned} is missing)",
            f"materialize {model}/deploy for staging, or give the release's URL",
        )
    folder = _local(uri, state)
    manifest = verify(folder, public_key, digest)
    return Resolved(folder, manifest.model, manifest.digest)


def _read_pin(path: Path) -> tuple[str, str]:
    try:
        record = json.loads(path.read_text())
        return str(record["uri"]), str(record["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged: {error}", "materialize the model's deploy for staging again") from error


def _local(uri: str, state: LocalState) -> Path:
    if "://" not in uri:
        return Path(uri)
    from rankops.store import fetch_folder

    return fetch_folder(uri.rstrip("/"), state.root / "cache" / "releases" / uri.rstrip("/").rsplit("/", 1)[-1])


def read_questions(folder: Path, split: QuerySplit = "all") -> Questions:
    """Queries and catalogue of a dataset folder of ours, or of a folder like ``search_icecat``; labels are not read.

    Raises :class:`BadInput` naming the file that is missing or the split that has no query.
    """
    if (folder / "catalogue.parquet").is_file():
        questions, splits = _dataset(folder)
    elif (folder / "products.jsonl.gz").is_file():
        questions, splits = _icecat(folder)
    else:
        raise BadInput(
            f"{folder} holds neither catalogue.parquet nor products.jsonl.gz",
            "give a rankops dataset folder, or one with products.jsonl.gz and queries.tsv",
        )
    kept = [query for query, of in zip(questions.queries, splits, strict=True) if split in ("all", of)]
    if not kept:
        raise BadInput(f"{folder} has no query in split {split!r}", f"its splits are {', '.join(sorted(set(splits)))}")
    return Questions(kept, questions.product_ids, questions.product_texts, questions.pools)


def _dataset(folder: Path) -> tuple[Questions, list[str]]:
    import polars as pl

    if not (folder / "queries.parquet").is_file():
        raise BadInput(f"{folder / 'queries.parquet'} is missing", "rematerialize the dataset asset")
    catalogue = pl.read_parquet(folder / "catalogue.parquet")
    return _questions(catalogue, pl.read_parquet(folder / "queries.parquet"), {})


def _icecat(folder: Path) -> tuple[Questions, list[str]]:
    import polars as pl

    from rankops.data.importers import _icecat_products, _tsv
    from rankops.data.tables import check_table

    products = folder / "products.jsonl.gz"
    catalogue = check_table("catalogue", _icecat_products(products), str(products))
    queries = _tsv(folder / "queries.tsv", ["query_id", "query", "split", "group_id"])
    pools: dict[str, list[str]] = {}
    if (pool := folder / "candidates_test.tsv").is_file():
        pairs = _tsv(pool, ["query_id", "product_id"]).select(pl.all().cast(pl.String))
        for query_id, product_id in pairs.iter_rows():
            pools.setdefault(query_id, []).append(product_id)
    return _questions(catalogue, queries, pools)


def _questions(catalogue: Any, queries: Any, pools: Mapping[str, Sequence[str]]) -> tuple[Questions, list[str]]:
    products, asked = catalogue.sort("product_id"), queries.sort("query_id")
    found = Questions(
        queries=list(zip(asked["query_id"].to_list(), asked["query"].to_list(), strict=True)),
        product_ids=products["product_id"].to_list(),
        product_texts=product_texts(products.iter_rows(named=True)),
        pools=pools,
    )
    return found, asked["split"].to_list()


def predict(release: Resolved, questions: Questions, out: Path, *, k: int, tag: str, progress: Progress) -> int:
    """Write the run to ``out``, all or nothing, and return its number of lines.

    One line for each of the ``k`` best products of a query, by exact search: ``query_id Q0 product_id rank score
    tag``. Products of the query's pool that are not among them follow in order of score, so that a scorer that only
    looks at judged products finds all of them ranked.
    """
    from rankops.encoding import OnnxEncoder

    if k < 1:
        raise BadInput(f"k is {k}", "ask for at least one product")
    encoder = OnnxEncoder(release.folder / "encoder", threads=os.cpu_count() or 1)
    vectors = _product_vectors(release, encoder, questions, progress)
    asked = encoder.encode([normalize_query(text) for _, text in questions.queries], role="query")
    place = {product: row for row, product in enumerate(questions.product_ids)}
    lines: list[str] = []
    for (query_id, _), vector in zip(questions.queries, asked, strict=True):
        scores = np.round(vectors @ vector, _DIGITS)
        rows = _ranked(scores, k, [place[p] for p in questions.pools.get(query_id, ()) if p in place])
        lines += [
            f"{query_id} Q0 {questions.product_ids[row]} {rank} {scores[row]:.{_DIGITS}f} {tag}"
            for rank, row in enumerate(rows, 1)
        ]
    write_text(out, "\n".join(lines) + "\n")
    return len(lines)


def _ranked(scores: np.ndarray, k: int, pool: Sequence[int]) -> list[int]:
    """The ``k`` best rows and those of the pool, best first; equal scores by row, that is by product id."""
    from rankops.release.index import top_rows

    wanted = np.union1d(top_rows(scores, k), np.asarray(pool, dtype=np.int64))
    return [int(row) for row in wanted[np.lexsort((wanted, -scores[wanted]))]]


def _product_vectors(release: Resolved, encoder: OnnxEncoder, questions: Questions, progress: Progress) -> np.ndarray:
    """(products, dimension) float32: the release's own index where it is of this very catalogue, else encoded now."""
    from rankops.release.index import DESCRIPTION, ProductIndex, catalogue_digest

    description = json.loads((release.folder / "index" / DESCRIPTION).read_text())
    if description["catalogue_digest"] == catalogue_digest(questions.product_ids, questions.product_texts):
        progress("the release's own index is of this catalogue")
        return ProductIndex.open(release.folder / "index", encoder_digest=encoder.digest).vectors
    parts, total = [], len(questions.product_texts)
    for start in range(0, total, _CHUNK):
        parts.append(encoder.encode(questions.product_texts[start : start + _CHUNK], role="product"))
        progress(f"encoded {min(start + _CHUNK, total):,} of {total:,} products")
    return np.concatenate(parts)
