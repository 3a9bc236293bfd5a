"""Datasets that come as folders: where they lie. Written by ``rankops import``, or by anything in the same form."""

from __future__ import annotations

import os
from pathlib import Path

from dagster import ConfigurableResource
from pydantic import Field

from rankops.state import REPOSITORY


class ImportedDatasets(ConfigurableResource):
    """Which datasets are folders rather than windows of days; the others come from the shop."""

    folders: dict[str, str] = Field(
        default={}, description="folder or URL by dataset name, e.g. {'icecat': '/data/icecat'}"
    )

    def folder(self, dataset: str) -> str | None:
        """Where a dataset lies; None where it is made of days of traffic."""
        return self.folders.get(dataset)


class SharedData(ImportedDatasets):
    """Published sets below one folder: ``$RANKOPS_SHARED_DATA``, or ``shared/data`` beside the repository."""

    def folder(self, dataset: str) -> str | None:
        """Where a dataset lies."""
        name = self.folders.get(dataset)
        shared = Path(os.environ.get("RANKOPS_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
        return None if name is None else str(shared / name)
