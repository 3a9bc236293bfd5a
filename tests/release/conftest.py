from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rankops.release.manifest import ReleaseManifest
from rankops.release.signing import create_key_pair
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import VOCABULARY, make_release, write_catalogue


@dataclass(frozen=True)
class Shop:
    """A built and signed release, and what it was built from."""

    artifact: Path
    catalogue: Path
    private_key: Path
    public_key: Path
    release: Path
    manifest: ReleaseManifest


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    artifact = make_tiny_artifact(root / "artifact", VOCABULARY, seed=1)
    catalogue = write_catalogue(root / "catalogue.parquet")
    private, public = create_key_pair(root / "keys")
    manifest = make_release(root / "release", artifact=artifact, catalogue=catalogue, private_key=private)
    return Shop(artifact, catalogue, private, public, root / "release", manifest)
