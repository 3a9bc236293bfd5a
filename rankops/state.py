"""Where local state lies: one folder, named once, read when it is needed (never at import).

``RANKOPS_STATE`` moves it; ``RANKOPS_STORE``, ``RANKOPS_GIT_URL``, ``RANKOPS_SIGNING_KEY``, ``RANKOPS_PUBLIC_KEY``,
``MLFLOW_TRACKING_URI`` replace single embedded defaults by a team's own services.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class LocalState:
    """Paths and URLs of the embedded defaults below ``root``."""

    root: Path

    @classmethod
    def current(cls) -> LocalState:
        """The state folder of this process: ``$RANKOPS_STATE``, else ``.rankops`` in the repository."""
        return cls(Path(os.environ.get("RANKOPS_STATE") or REPOSITORY / ".rankops").resolve())

    @property
    def store_url(self) -> str:
        """Root of the artifact store (any fsspec URL)."""
        return os.environ.get("RANKOPS_STORE") or (self.root / "store").as_uri()

    @property
    def git_url(self) -> str:
        """The GitOps remote; by default the bare repository that the demo seeds."""
        return os.environ.get("RANKOPS_GIT_URL") or (self.root / "gitops.git").as_uri()

    @property
    def signing_key(self) -> Path:
        """Private key that signs releases."""
        return Path(os.environ.get("RANKOPS_SIGNING_KEY") or self.root / "keys" / "release-signing.key")

    @property
    def public_key(self) -> Path:
        """Public key that verifies releases."""
        return Path(os.environ.get("RANKOPS_PUBLIC_KEY") or self.root / "keys" / "release-signing.pub")

    @property
    def tracking_uri(self) -> str:
        """MLflow tracking: an SQLite file unless ``MLFLOW_TRACKING_URI`` names a server."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME of ``make demo`` and ``make ui``."""
        return self.root / "dagster"

    @property
    def world(self) -> Path:
        """The world file of the generated shop."""
        return Path(os.environ.get("RANKOPS_WORLD") or REPOSITORY / "worlds" / "demo.yaml")

    @property
    def reports_url(self) -> str:
        """Base URL under which people's browsers reach the store's HTML reports; ``make ui`` serves this one."""
        return os.environ.get("RANKOPS_REPORTS_URL") or "http://127.0.0.1:3001"
