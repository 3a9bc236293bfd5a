"""The product index: every product's vector, a way to find candidates among them, and exact scores.

``vectors.npy`` holds the full-precision vectors as a memory map. A finder (:mod:`rankops.release.finders`, chosen by
measurement, see :mod:`rankops.release.formats`) proposes rows; what is returned of them is scored with those vectors,
so a score is the exact cosine whatever the format. Rows are sorted by product id, so that equal scores have one order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rankops.encoding import Encoder
from rankops.errors import BadInput, IntegrityError
from rankops.files import write_json
from rankops.fusion import DIGITS, Wanted, rescored, top_rows
from rankops.lexical import Floats
from rankops.release.finders import Finder, FullScan, dots, open_finder
from rankops.release.formats import Chosen, choose
from rankops.release.vectors import write_vectors
from rankops.specs import IndexFormat
from rankops.text import product_text

if TYPE_CHECKING:
    from rankops.vector_cache import CachedVectors

VECTORS, PRODUCT_IDS, DESCRIPTION = "vectors.npy", "product_ids.json", "index.json"
_REBUILD = "rematerialize the release: the index must be built with the encoder that it ships with"


class IndexEncoder(Encoder, Protocol):
    """An encoder that can say which one it is, as :class:`rankops.encoding.OnnxEncoder` can."""

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        ...

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the encoder's files."""
        ...


def read_catalogue(parquet: Path) -> list[dict[str, Any]]:
    """The rows of a catalogue parquet, sorted by ``product_id``.

    Raises :class:`BadInput` naming the missing file or column, or the row whose id is empty or repeated.
    """
    import pyarrow.parquet as pq

    if not parquet.is_file():
        raise BadInput(f"{parquet} is missing", "rematerialize the dataset asset")
    table = pq.read_table(parquet)
    absent = sorted({"product_id", "title"} - set(table.column_names))
    if absent:
        raise BadInput(f"{parquet} has no column {', '.join(absent)}", "a catalogue has product_id and title")
    return sorted_products(table.to_pylist(), source=str(parquet))


def sorted_products(products: Sequence[Mapping[str, Any]], *, source: str = "catalogue") -> list[dict[str, Any]]:
    """Rows by ``product_id``. Raises :class:`BadInput` for no rows, or naming the row with a bad id."""
    if not products:
        raise BadInput(f"{source} holds no product", "an index needs at least one product")
    seen: set[str] = set()
    for row, product in enumerate(products):
        product_id = product.get("product_id")
        if not isinstance(product_id, str) or not product_id or product_id in seen:
            what = "repeats" if product_id in seen else "has no text in"
            raise BadInput(f"{source}, row {row}: {what} product_id ({product_id!r})", "give each product its own id")
        seen.add(product_id)
    return sorted((dict(p) for p in products), key=lambda p: str(p["product_id"]))


def build_index(
    encoder: IndexEncoder,
    products: Sequence[Mapping[str, Any]],
    out: Path,
    *,
    queries: Floats | None = None,
    formats: Sequence[IndexFormat] = ("f32",),
    cache: CachedVectors | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Embed ``products`` and write their index to ``out``: vectors, ids, the chosen format's files, ``index.json``.

    The format is chosen among ``formats`` by its recall and speed with ``queries`` (n, d), unit vectors. Vectors that
    ``cache`` holds are not embedded again; memory does not grow with the catalogue. The same products, encoder and
    choice give the same bytes. Returns what was measured and how many were embedded, for people. Raises
    :class:`BadInput` as :func:`sorted_products` or where no format is good enough, :class:`IntegrityError` for
    vectors that are not finite, ``OSError`` when the disk is full.
    """
    rows = sorted_products(products)
    out.mkdir(parents=True, exist_ok=True)
    texts = [product_text(row) for row in rows]
    counts = write_vectors(encoder, texts, out / VECTORS, dimension=encoder.dimension, cache=cache, progress=progress)
    ids = [str(row["product_id"]) for row in rows]
    write_json(out / PRODUCT_IDS, ids)
    vectors = np.load(out / VECTORS, mmap_mode="r", allow_pickle=False)
    chosen, measured = choose(np.asarray(vectors), out, queries, formats, progress)
    description = {
        "encoder_digest": encoder.digest,
        "count": len(rows),
        "dimension": encoder.dimension,
        "catalogue_digest": catalogue_digest(ids, texts),
        "format": asdict(chosen),
    }
    write_json(out / DESCRIPTION, description)
    return {**counts, "products": len(rows), "format": chosen.name, "formats": [asdict(one) for one in measured]}


def catalogue_digest(ids: Sequence[str], texts: Sequence[str]) -> str:
    """Hex SHA-256 over what the encoder saw: each product's id and text."""
    digest = sha256()
    for product_id, text in zip(ids, texts, strict=True):
        digest.update(json.dumps([product_id, text], ensure_ascii=False).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class ProductIndex:
    """An opened index. ``vectors`` (N, d) lies in a read-only memory map: processes share its pages."""

    vectors: Floats
    product_ids: list[str]
    encoder_digest: str
    catalogue_digest: str
    finder: Finder
    format: str = "f32"

    @classmethod
    def of(cls, vectors: Floats, ids: list[str], *, encoder_digest: str, catalogue_digest: str) -> ProductIndex:
        """An index in memory that is searched exactly."""
        return cls(vectors, ids, encoder_digest, catalogue_digest, FullScan(vectors))

    @classmethod
    def open(cls, folder: Path, *, encoder_digest: str) -> ProductIndex:
        """Open what :func:`build_index` wrote.

        Raises :class:`IntegrityError` when the index was built with another encoder (both digests are named), or its
        files contradict each other; :class:`BadInput` where its format needs a package that is not installed.
        """
        try:
            description = json.loads((folder / DESCRIPTION).read_text())
            ids = json.loads((folder / PRODUCT_IDS).read_text())
            vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
            built_with, catalogue = str(description["encoder_digest"]), str(description["catalogue_digest"])
            expected_shape = (int(description["count"]), int(description["dimension"]))
            chosen = Chosen(**description["format"])
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise IntegrityError(
                f"the index in {folder} cannot be read: {type(error).__name__}: {error}", _REBUILD
            ) from error
        if built_with != encoder_digest:
            raise IntegrityError(
                f"the index in {folder} was built with encoder {built_with}, the encoder of this release is "
                f"{encoder_digest}",
                _REBUILD,
            )
        if vectors.shape != expected_shape or vectors.dtype != np.float32 or len(ids) != len(vectors):
            raise IntegrityError(
                f"{folder}: {VECTORS} is {vectors.dtype} {vectors.shape}, {PRODUCT_IDS} names {len(ids)} products, "
                f"{DESCRIPTION} says float32 {expected_shape}",
                _REBUILD,
            )
        chosen.require_files(folder)
        plain = np.asarray(vectors)  # the same pages without the overhead of a memmap object at every slice
        finder = open_finder(folder, chosen.name, chosen.facts, plain)
        return cls(plain, ids, built_with, catalogue, finder, chosen.name)

    def __len__(self) -> int:
        return len(self.product_ids)

    def scores(self, vector: Floats) -> Floats:
        """float32 ``(N,)``: each product's inner product with ``vector`` (d,), the cosine for unit vectors.

        Raises :class:`BadInput` for a vector of another width, or one that is not finite.
        """
        self._check(vector)
        return dots(self.vectors, vector)

    def candidates(self, queries: Floats, wanted: Sequence[Wanted]) -> list[NDArray[np.intp]]:
        """For each of ``queries`` (n, d) the rows of its candidates, ascending. Raises as :meth:`scores`."""
        for query in queries:
            self._check(query)
        found = self.finder.find(queries, wanted)
        return [
            np.union1d(rows, asked.also) if len(asked.also) else rows for rows, asked in zip(found, wanted, strict=True)
        ]

    def score(self, query: Floats, rows: NDArray[np.intp]) -> Candidates:
        """Candidates of a query with their exact cosines."""
        vectors = np.take(self.vectors, rows, axis=0, mode="clip")  # half the time of indexing; rows are in range
        return Candidates(rows, vectors, dots(vectors, query))

    def nearest(self, queries: Floats, k: int) -> list[tuple[NDArray[np.intp], Floats]]:
        """For each of ``queries`` (n, d) the ``k`` best rows and their cosines, rounded; ties by product id."""
        wanted = [Wanted(rescored(k))] * len(queries)
        scored = map(self.score, queries, self.candidates(queries, wanted))
        return [best_of(found.rows, np.round(found.cosines, DIGITS), k) for found in scored]

    def _check(self, vector: Floats) -> None:
        if vector.shape != (self.vectors.shape[1],):
            raise BadInput(f"a query vector of shape {vector.shape} does not fit an index of {self.vectors.shape[1]}")
        if not np.isfinite(vector).all():
            raise BadInput("a query vector holds NaN or infinite values", "check the model that made it")


@dataclass(frozen=True)
class Candidates:
    """Candidates of one query: ``rows`` (C,) ascending, their ``vectors`` (C, d) and exact ``cosines`` (C,)."""

    rows: NDArray[np.intp]
    vectors: Floats
    cosines: Floats


def best_of(
    rows: NDArray[np.intp], scores: Floats, k: int, also: Sequence[int] = ()
) -> tuple[NDArray[np.intp], Floats]:
    """The ``k`` best of candidates (``rows`` ascending) and those of ``also``, best first; equal scores by row."""
    best = top_rows(scores, k)
    if len(also):
        wanted = np.union1d(best, np.flatnonzero(np.isin(rows, np.asarray(also))))
        best = wanted[np.lexsort((wanted, -scores[wanted]))]
    return rows[best], scores[best]
