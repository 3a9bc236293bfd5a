"""What the endpoints answer, for the OpenAPI document.

Handlers write these by hand because that is faster; tests and ``benchmarks/fuzz.py`` check real answers against them.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class Error(_Answer):
    """Any failure."""

    error: str = Field(description="what is wrong, and what to do about it")


class Document(RootModel[dict[str, Any]]):
    """An OpenAPI document."""


class Index(_Answer):
    """What this server is."""

    service: str
    state: str = Field(description="ready, loading, or failed: why")
    release: str | None = Field(description="digest of the release that is served")
    endpoints: list[str]


class Health(_Answer):
    """The process answers."""

    status: str


class Refused(_Answer):
    """A release that is pinned and not served."""

    release: str | None
    reason: str


class Readiness(_Answer):
    """Whether a verified release is served, and which."""

    ready: bool
    model: str | None = None
    release: str | None = None
    reason: str | None = Field(default=None, description="why nothing is served yet")
    refused: Refused | None = None


class Scored(_Answer):
    """A product, what is known of it for display, and its score."""

    product_id: str
    title: str | None = None
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    score: float
    match: bool | None = Field(default=None, description="whether the two are the same product (matchers only)")


class _Timed(_Answer):
    release: str = Field(description="digest of the release that answered")
    took_ms: float
    request_id: str


class SearchAnswer(_Timed):
    """Products, best first."""

    query: str
    results: list[Scored]


class RecommendAnswer(_Timed):
    """Products, best first."""

    known_items: list[str] = Field(description="the items that the model knows; only they counted")
    results: list[Scored]


class RerankAnswer(_Timed):
    """The products in the order in which they answer the query."""

    query: str
    results: list[Scored]


class Verdict(_Answer):
    """The score of one pair."""

    score: float
    match: bool | None = Field(default=None, description="whether the two are the same product (matchers only)")


class PairsAnswer(_Timed):
    """One verdict a pair, in the order of the request."""

    results: list[Verdict]


class ServerMetadata(_Answer):
    """``$metadata_server_response`` of the protocol."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(_Answer):
    """``$live`` of the protocol."""

    live: bool


class ServerReady(_Answer):
    """``$ready`` of the protocol."""

    ready: bool


class ModelReady(_Answer):
    """Whether a model can infer."""

    name: str
    ready: bool


class TensorMetadata(_Answer):
    """``$metadata_tensor`` of the protocol; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_Answer):
    """``$metadata_model_response`` of the protocol; the version is the release's digest."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorConfig(_Answer):
    """A tensor as the model configuration extension has it."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(_Answer):
    """The model configuration extension."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[TensorConfig]
    output: list[TensorConfig]


class ModelStatistics(_Answer):
    """``$model_stat`` of the statistics extension."""

    name: str
    version: str
    last_inference: int = Field(description="milliseconds since 1970")
    inference_count: int
    execution_count: int
    inference_stats: dict[str, dict[str, int]]
    batch_stats: list[dict[str, Any]]


class StatisticsAnswer(_Answer):
    """The statistics extension."""

    model_stats: list[ModelStatistics]


class RepositoryEntry(_Answer):
    """A model that is served."""

    name: str
    version: str
    state: str
    reason: str


class Repository(RootModel[list[RepositoryEntry]]):
    """The index of the model repository extension."""


class InferOutputTensor(_Answer):
    """An output tensor: its elements in ``data``, or behind the object (``binary_data_size`` bytes)."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferAnswer(_Answer):
    """``$inference_response`` of the protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutputTensor]
