"""The models of this repository. Adding a model = adding one ModelSpec here (and its overlay folders)."""

from __future__ import annotations

from rankops.specs import (
    GateSpec,
    HybridSpec,
    ModelSpec,
    RankingSpec,
    RecommendationSpec,
    TeacherSpec,
    TrainingSpec,
    WordModelSpec,
)

RETRIEVER = ModelSpec(
    name="retriever",
    task="retrieval",
    description="Finds the products that a search query means (bi-encoder over queries and product texts).",
    hybrid=HybridSpec(taught=WordModelSpec(min_chance=0.02)),
)

RANKER = ModelSpec(
    name="ranker",
    task="ranking",
    description="Orders the products that the retriever found (cross-encoder, counts of shared words, a word model).",
    # The word model carries most of it: the network gets two minutes of training on two cores, and no more.
    training=TrainingSpec(max_steps=200, warm_steps=200, evaluate_every=200, precision="auto"),
    ranking=RankingSpec(
        objective="graded",
        max_pair_tokens=56,
        swap=False,
        first_stage="retriever",
        candidates=40,
        features=16,
        word_model=WordModelSpec(),
    ),
    gates=GateSpec(floors=("random", "bm25", "base", "first-stage")),
)

RECOMMENDER = ModelSpec(
    name="recommender",
    task="recommendation",
    description="Names the next product for a basket or session (baskets and product texts).",
    # The last day is judged by; what is shipped has learned from it too. A shop of fifty baskets a day needs four weeks
    # to prove anything; here a day has three hundred, and of a drift of three days the judged model must know some.
    recommendation=RecommendationSpec(test_days=1, dev_days=2),
    gates=GateSpec(metric="hr@20", floors=("random", "popularity", "item-item", "text")),
)

MODELS: tuple[ModelSpec, ...] = (RETRIEVER, RANKER, RECOMMENDER)
"""What the code location has assets for. Simulated users of a data set meet its first model."""

ICECAT = ModelSpec(
    name="icecat",
    task="retrieval",
    description="Searches an electronics catalogue (search_icecat).",
    dataset="icecat",
    # Half a hundred training queries can nudge a good model and soon overfit it: few and small steps, half of the way.
    # Titles and descriptions are twice as long as the generated shop's texts, so twice the tokens are read.
    training=TrainingSpec(
        start="base",
        max_steps=16,
        batch_size=16,
        learning_rate=2e-5,
        evaluate_every=16,
        max_product_tokens=64,
        start_weight=0.5,
        # A larger model says of made-up queries which products answer them: what so few labels cannot teach.
        teacher=TeacherSpec(),
    ),
    # Thirty queries cannot prove five points over BM25; the folds of benchmarks/relevance_icecat.py can.
    gates=GateSpec(floors=("random", "base")),
)

MATCHER = ModelSpec(
    name="matcher",
    task="ranking",
    description="Decides whether two offers are one product (matching_wdc).",
    dataset="matching",
    # Three epochs of 7,184 pairs; the number was fixed beforehand, so that the dev pairs have no say in it.
    training=TrainingSpec(
        start="base", max_steps=672, evaluate_every=672, batch_size=32, learning_rate=1e-4, precision="auto"
    ),
    ranking=RankingSpec(objective="match", max_pair_tokens=72),
    gates=GateSpec(metric="f1", floors=("random", "text", "base")),
)

RETAIL = ModelSpec(
    name="retail",
    task="recommendation",
    description="Names the next product for a basket (retail).",
    dataset="retail",
    # The last month is judged on, the month before it chooses the settings.
    recommendation=RecommendationSpec(test_days=31, dev_days=30),
    gates=GateSpec(metric="hr@20", floors=("random", "popularity", "item-item", "text")),
)

PUBLISHED: tuple[ModelSpec, ...] = (ICECAT, MATCHER, RETAIL)
"""One model a task, for published data sets: `rankops fit DIR --model NAME` makes their releases (`make models`)."""
