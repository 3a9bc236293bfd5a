"""Small signed releases for tests: words become products, and every bundle is built by the library itself."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rankops.files import combine_digests
from rankops.fusion import Fusion
from rankops.release.manifest import (
    SIGNATURE,
    BaseModelRef,
    DatasetRef,
    GateResult,
    ReleaseFacts,
    ReleaseManifest,
    payload_digests,
    read_manifest,
)
from rankops.release.retrieval import build_bundle
from rankops.release.signing import sign

COLOURS = ("red", "blue", "green", "black", "white", "yellow")
THINGS = ("shoe", "boot", "jacket", "lamp", "desk", "phone", "kettle", "tent", "drill", "sofa")
VOCABULARY = (*COLOURS, *THINGS, "acme", "globex", "goods")
GOLDEN = tuple(f"{colour} {thing}" for colour, thing in itertools.product(COLOURS, THINGS))[::3]


def write_catalogue(path: Path) -> Path:
    """60 products, one of each colour and thing."""
    rows = [
        {
            "product_id": f"p{number:03}",
            "title": f"{colour} {thing}",
            "description": "",
            "category": "goods",
            "brand": "acme" if number % 2 else "globex",
            "attributes": "",
            "price": 10.0 + number,
        }
        for number, (colour, thing) in enumerate(itertools.product(COLOURS, THINGS))
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def release_facts(**changes: object) -> ReleaseFacts:
    """Facts of a release whose gates passed."""
    values: dict[str, object] = {
        "model": "retriever",
        "task": "retrieval",
        "target": "cpu-avx2",
        "base_model": BaseModelRef(name="tiny", revision="main"),
        "checkpoint": "1" * 64,
        "dataset": DatasetRef(name="shop", digest="2" * 64, first_day="2026-01-01", last_day="2026-01-31"),
        "code_commit": "3" * 40,
        "gates": [GateResult(name="better than bm25", passed=True, explanation="+0.10 [0.05, 0.15]")],
    }
    return ReleaseFacts.model_validate(values | changes)


def make_hybrid(artifact: Path, copy: Path) -> Path:
    """A copy of an artifact that weighs words too."""
    shutil.copytree(artifact, copy)
    first = {"dense": 0.5, "title": 0.3, "best field": 0.2}
    weights = {"dense": 0.4, "title": 0.3, "best field": 0.1, "feedback": 0.2}
    Fusion("learned", ("title", "brand"), 1.2, 0.75, first=first, weights=weights).save(copy)
    return copy


def make_release(folder: Path, *, artifact: Path, catalogue: Path, private_key: Path) -> ReleaseManifest:
    """Build and sign."""
    manifest = build_bundle(
        folder, artifact=artifact, catalogue_parquet=catalogue, golden_queries=GOLDEN, facts=release_facts()
    )
    sign(folder, private_key)
    return manifest


def break_and_resign(
    release: Path, broken: Path, change: Callable[[Path], None], *, private_key: Path, encoder_digest: str | None = None
) -> ReleaseManifest:
    """A copy with ``change`` applied whose manifest and signature are right again: only its meaning is wrong."""
    shutil.copytree(release, broken)
    change(broken)
    (broken / SIGNATURE).unlink()
    files = payload_digests(broken)
    facts = read_manifest(broken).model_dump() | {"files": files, "digest": combine_digests(files)}
    if encoder_digest is not None:
        facts["encoder_digest"] = encoder_digest
    manifest = ReleaseManifest.model_validate(facts)
    manifest.write(broken)
    sign(broken, private_key)
    return manifest
