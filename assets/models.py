"""The models of this repository. Adding a model = adding one ModelSpec here (and its overlay folders)."""

from __future__ import annotations

from rankops.specs import ModelSpec

RETRIEVER = ModelSpec(
    name="retriever",
    task="retrieval",
    description="Finds the products that a search query means (bi-encoder over queries and product texts).",
)

MODELS: tuple[ModelSpec, ...] = (RETRIEVER,)
