"""What the endpoints take and give, once: these models validate requests, and the OpenAPI document is made from them.

Limits are a server's own (``--max-k``, ``--max-query-chars``, ...), so :class:`Requests` makes the request models for
one configuration; the classes here only name the fields and their types.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError, from_json

from rankops.serving.config import ServerConfig
from rankops.serving.explain import explained
from rankops.serving.web import ApiError
from rankops.text import normalize_query

MAX_ID_CHARS = 128
M = TypeVar("M", bound=BaseModel)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SearchRequest(_Request):
    """A query of which products are wanted."""

    query: str
    k: int
    only_available: bool


class RecommendRequest(_Request):
    """A basket or session of which the next products are wanted."""

    items: list[str]
    k: int
    exclude: list[str]
    max_per_category: int | None
    include_unavailable: bool


class Product(_Request):
    """A product that the release need not know."""

    id: str
    text: str


class RerankRequest(_Request):
    """Products that are wanted in the order in which they answer a query."""

    query: str
    products: list[Any]
    k: int | None


class Pair(_Request):
    """Two texts of which the score is wanted."""

    query: str
    product: str


class PairsRequest(_Request):
    """Pairs of which the scores are wanted, in their order."""

    pairs: list[Pair]


class InferInput(BaseModel):
    """An input tensor: its elements in ``data``, or behind the object (``binary_data_size`` bytes)."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    shape: list[Annotated[int, Field(ge=0)]]
    datatype: str = Field(examples=["BYTES"])
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="binary_data_size: bytes of this tensor behind the JSON object"
    )
    data: list[Any] | None = Field(default=None, description="the elements, row-major")


class InferOutput(BaseModel):
    """An output that is wanted."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict, description="binary_data: answer with bytes, not JSON")


class InferRequest(BaseModel):
    """An inference of the Open Inference Protocol v2."""

    model_config = ConfigDict(frozen=True, strict=True)

    id: str | None = Field(default=None, max_length=256, description="comes back in the answer")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="binary_data_output: answer with bytes wherever an output does not say"
    )
    inputs: list[InferInput] = Field(
        examples=[[{"name": "query", "shape": [1], "datatype": "BYTES", "data": ["red shoes"]}]]
    )
    outputs: list[InferOutput] = Field(default_factory=list, description="all of the model's, unless named")


class Requests:
    """The request models of one server: the classes above with its limits.

    Each attribute is called with parsed JSON and raises :class:`ApiError` 400 that names the field.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.search: Checked[SearchRequest] = Checked(_search_model(config))
        self.recommend: Checked[RecommendRequest] = Checked(_recommend_model(config))
        self.rerank: Checked[RerankRequest] = Checked(_rerank_model(config))
        self.pairs: Checked[PairsRequest] = Checked(_pairs_model(config))
        self.infer: Checked[InferRequest] = Checked(InferRequest)


def _search_model(config: ServerConfig) -> type[SearchRequest]:
    available = Field(False, description="leave out what the release's catalogue says cannot be bought")
    return create_model(
        "SearchRequest",
        __base__=SearchRequest,
        query=(_text(config.max_query_chars), Field(examples=["red shoes"])),
        k=_default_count(config),
        only_available=(bool, available),
    )


def _recommend_model(config: ServerConfig) -> type[RecommendRequest]:
    ids = _ids(config.max_items)
    context = Field(description="product ids of the basket or session; it may be empty", examples=[["p1", "p2"]])
    spread = Field(None, description="most products of one category")
    every = Field(False, description="name products too that the release's catalogue says cannot be bought")
    return create_model(
        "RecommendRequest",
        __base__=RecommendRequest,
        items=(ids, context),
        k=_default_count(config),
        exclude=(ids, Field([], description="product ids that must not be recommended")),
        max_per_category=(_count(config.max_k) | None, spread),
        include_unavailable=(bool, every),
    )


def _rerank_model(config: ServerConfig) -> type[RerankRequest]:
    text = _text(config.max_text_chars)
    product: Any = create_model(
        "Product", __base__=Product, id=(_ID, Field(description="your name for it")), text=(text, ...)
    )
    either = Annotated[
        Annotated[_ID, Tag("string")] | Annotated[product, Tag("object")],
        Discriminator(lambda given: "string" if isinstance(given, str) else "object"),
    ]
    products = Field(
        description="product ids that the release knows, or products with their text",
        examples=[[{"id": "mine", "text": "red shoes size 42"}]],
    )
    k = Field(None, description=f"how many products; all up to {config.default_k} unless said")
    return create_model(
        "RerankRequest",
        __base__=RerankRequest,
        query=(text, Field(examples=["red shoes"])),
        products=(_list(either, 1, config.max_items), products),
        k=(_count(max(config.max_k, config.max_items)) | None, k),
    )


def _pairs_model(config: ServerConfig) -> type[PairsRequest]:
    text = _text(config.max_text_chars)
    pair: Any = create_model("Pair", __base__=Pair, query=(text, ...), product=(text, ...))
    pairs = Field(examples=[[{"query": "red shoes", "product": "red shoes size 42"}]])
    return create_model("PairsRequest", __base__=PairsRequest, pairs=(_list(pair, 1, config.max_items), pairs))


def _default_count(config: ServerConfig) -> tuple[Any, Any]:
    return _count(config.max_k), Field(config.default_k, description="how many products")


class Checked(Generic[M]):
    """A request model that says in words what is wrong; ``schema`` is its JSON schema."""

    def __init__(self, model: type[M]) -> None:
        self.model = model
        self.schema = model.model_json_schema()

    def __call__(self, given: Any) -> M:
        """The request. Raises :class:`ApiError` 400."""
        try:
            return self.model.model_validate(given)
        except ValidationError as error:
            raise ApiError(400, explained(error, self.schema)) from error


def parse_json(body: bytes) -> Any:
    """The value of a JSON text. Raises :class:`ApiError` 400 for what is none, or is nested deeper than 200 levels."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the request body is not JSON: {error}") from error


_ID = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]


def _not_blank(text: str) -> str:
    if not normalize_query(text):
        raise PydanticCustomError("blank", "must be a text that is not empty")
    return text


def _text(limit: int) -> Any:
    # The pattern is for readers: Python decides what is blank, because a query is normalized first.
    described: Any = {"minLength": 1, "pattern": r"\S"}
    return Annotated[str, Field(max_length=limit, json_schema_extra=described), AfterValidator(_not_blank)]


def _count(most: int) -> Any:
    return Annotated[int, Field(ge=1, le=most)]


def _list(of: Any, least: int, most: int) -> Any:
    return Annotated[list[of], Field(min_length=least, max_length=most)]


def _ids(most: int) -> Any:
    return _list(_ID, 0, most)
