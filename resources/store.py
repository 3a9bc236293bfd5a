"""The artifact store, and the I/O manager that hands typed references from asset to asset."""

from __future__ import annotations

import json
from typing import Any

from dagster import ConfigurableIOManager, ConfigurableResource, InputContext, OutputContext
from pydantic import BaseModel, Field

from rankops.errors import BadInput
from rankops.state import LocalState
from rankops.store import ArtifactStore


class Store(ConfigurableResource):
    """Immutable artifacts under one fsspec root (``file://``, ``s3://``, ``gs://``)."""

    root: str = Field(default="", description="fsspec URL; empty: $RANKOPS_STORE, else .rankops/store")

    def open(self) -> ArtifactStore:
        """The library's store over this root."""
        state = LocalState.current()
        return ArtifactStore(self.root or state.store_url, cache=state.root / "cache")


class ReferenceIOManager(ConfigurableIOManager):
    """Keeps what assets return (small pydantic models) as JSON beside the artifacts they refer to; never pickle.

    One file per asset (and partition), replaced by each materialization: the reference is the asset's current
    value, and every consumer checks by digest that what it was handed belongs together.
    """

    root: str = Field(default="", description="fsspec URL; empty: $RANKOPS_STORE, else .rankops/store")

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Write the model that the asset returned."""
        if not isinstance(obj, BaseModel):
            raise TypeError(f"{context.asset_key.to_user_string()} returned {type(obj).__name__}, not a pydantic model")
        store = Store(root=self.root).open()
        keys = context.asset_partition_keys if context.has_asset_partitions else [None]
        if len(keys) != 1:
            raise TypeError("assets that run for several partitions write each reference themselves")
        store.write_json(reference_name(list(context.asset_key.path), keys[0]), obj.model_dump(mode="json"))

    def load_input(self, context: InputContext) -> Any:
        """Read the model of the upstream asset with the type that the consumer declares."""
        model = context.dagster_type.typing_type
        partition = context.asset_partition_key if context.has_asset_partitions else None
        return read_reference(Store(root=self.root).open(), list(context.asset_key.path), partition, model)


def reference_name(path: list[str], partition: str | None) -> str:
    """The record's name under the store root."""
    return "/".join(["references", *path]) + (f"/{partition}.json" if partition else ".json")


def read_reference(store: ArtifactStore, path: list[str], partition: str | None, model: type[BaseModel]) -> Any:
    """The reference that an asset wrote. Raises :class:`BadInput` naming the asset that was never materialized."""
    found = find_reference(store, path, partition, model)
    if found is None:
        where = "/".join(path) + (f" [{partition}]" if partition else "")
        raise BadInput(f"{where} was never materialized in {store.root}", f"materialize {where} first")
    return found


def find_reference(store: ArtifactStore, path: list[str], partition: str | None, model: type[BaseModel]) -> Any:
    """The reference that an asset wrote, or None where it was never materialized."""
    value = store.read_json(reference_name(path, partition))
    return None if value is None else model.model_validate_json(json.dumps(value))
