"""Datasets that come as folders: where they lie. Written by ``rankops import``, or by anything in the same form."""

from __future__ import annotations

from dagster import ConfigurableResource
from pydantic import Field


class ImportedDatasets(ConfigurableResource):
    """Which datasets are folders rather than windows of days; the others come from the shop."""

    folders: dict[str, str] = Field(
        default={}, description="folder or URL by dataset name, e.g. {'icecat': '/data/icecat'}"
    )

    def folder(self, dataset: str) -> str | None:
        """Where a dataset lies; None where it is made of days of traffic."""
        return self.folders.get(dataset)
