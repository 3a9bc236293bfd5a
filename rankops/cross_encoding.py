"""Pairs of texts to a probability: what the server, the offline evaluation and compression all use.

Needs numpy, onnxruntime and tokenizers only. An artifact folder (written by ``rankops.compression``) holds
``model.onnx``, ``tokenizer.json``, ``cross_encoder.json`` (see :class:`PairConfig`) and the files of what is blended in
(:mod:`rankops.pair_parts`). A checkpoint folder holds the same description beside its PyTorch weights.

``score = sigmoid(neural * logit + lexical * margin + words * margin + bias)``: the network's logit, the log-odds of the
lexical model and the word model's log chance, weighed on the dev split, so that a score is a calibrated probability.

On a CPU each pair runs alone: see :mod:`rankops.encoding` for why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rankops.errors import IntegrityError
from rankops.files import combine_digests
from rankops.onnx_session import (
    ACCELERATOR_BATCH_TOKENS,
    CPU,
    CUDA,
    DEFAULT,
    REBUILD,
    SessionSettings,
    open_session,
    part_digests,
    require_parts,
    run_session,
    similar_lengths,
)
from rankops.pair_features import clean_text
from rankops.pair_parts import Parts, load_parts, part_files
from rankops.pair_tokens import Pair, PairTokenizer, PairTokens, padded

DESCRIPTION, MODEL, TOKENIZER = "cross_encoder.json", "model.onnx", "tokenizer.json"
LOGITS = "logits"
Logits = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Ids, mask and types ``(n, tokens)`` to logits ``(n,)``."""
_DIGITS = 6


class PairScorer(Protocol):
    """Anything that gives pairs of texts a probability."""

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """float64 ``(len(pairs),)`` in 0..1, in input order."""
        ...


@dataclass(frozen=True)
class Blend:
    """Weights of the score's parts; see the module."""

    neural: float = 1.0
    lexical: float = 0.0
    words: float = 0.0
    bias: float = 0.0

    def probabilities(self, parts: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """float64 ``(n,)`` in 0..1 from the parts' arrays ``(n,)``."""
        total = np.asarray(sum(getattr(self, name) * values for name, values in parts.items()) + self.bias)
        chances: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(total, -60, 60)))
        return chances


@dataclass(frozen=True)
class PairConfig:
    """``cross_encoder.json``: how pairs are read and scored.

    ``marked``: shared words have token types of their own. ``both_orders``: the logit is the mean over both orders of
    a pair. ``threshold``: the probability from which two offers match (None for a ranker). ``files``: SHA-256 of the
    files that belong together.
    """

    max_pair_tokens: int
    marked: bool
    both_orders: bool
    blend: Blend
    threshold: float | None
    files: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> PairConfig:
        """Raises :class:`IntegrityError` naming the file and what is wrong with it."""
        try:
            facts = json.loads(path.read_text())
            threshold = facts["threshold"]
            return cls(
                max_pair_tokens=int(facts["max_pair_tokens"]),
                marked=bool(facts["marked"]),
                both_orders=bool(facts["both_orders"]),
                blend=Blend(**{name: float(weight) for name, weight in facts["blend"].items()}),
                threshold=None if threshold is None else float(threshold),
                files=dict(facts.get("files", {})),
                facts=facts,
            )
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"{path} is not a cross-encoder description: {error!r}", REBUILD) from error

    def described(self) -> dict[str, Any]:
        """The JSON that :meth:`read` reads, without ``files``."""
        return {
            "max_pair_tokens": self.max_pair_tokens,
            "marked": self.marked,
            "both_orders": self.both_orders,
            "blend": {name: weight for name, weight in asdict(self.blend).items() if weight or name != "words"},
            "threshold": self.threshold,
        }


class CrossEncoder:
    """Scores pairs with any network. Safe to share between threads where ``logits`` is."""

    def __init__(
        self,
        config: PairConfig,
        tokenizer: PairTokenizer,
        logits: Logits,
        others: Parts,
        *,
        threads: int = 1,
        batch_tokens: int = 1,
    ) -> None:
        self.config = config
        self._tokenizer = tokenizer
        self._logits = logits
        self._others = others
        self._threads = threads
        self._batch_tokens = batch_tokens

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """float64 ``(len(pairs),)``: probabilities, in input order, rounded to 6 digits. What weighs 0 is not run."""
        blend = self.config.blend
        return np.round(blend.probabilities(self._parts(pairs, lambda name: getattr(blend, name) != 0)), _DIGITS)

    def parts(self, pairs: Sequence[Pair]) -> dict[str, NDArray[np.float64]]:
        """What a score is blended from: ``neural`` and what there is beside the network, by name."""
        return self._parts(pairs, lambda name: True)

    def _parts(self, pairs: Sequence[Pair], wanted: Callable[[str], bool]) -> dict[str, NDArray[np.float64]]:
        """The wanted ones of :meth:`parts`."""
        cleaned = [(clean_text(left), clean_text(right)) for left, right in pairs]
        found = {"neural": self.neural(cleaned).astype(np.float64)} if wanted("neural") or not self._others else {}
        return {**found, **{name: part.margin(cleaned) for name, part in self._others.items() if wanted(name)}}

    def neural(self, cleaned: Sequence[Pair]) -> NDArray[np.float32]:
        """float32 ``(len(cleaned),)``: the network's logits of cleaned pairs.

        Raises :class:`IntegrityError` when the network answers with NaN or infinite values.
        """
        if not cleaned:
            return np.zeros(0, dtype=np.float32)
        found = self._run(self._tokenizer(cleaned))
        if self.config.both_orders:
            swapped = self._run(self._tokenizer([(right, left) for left, right in cleaned]))
            found = ((found + swapped) / 2).astype(np.float32)
        if not np.isfinite(found).all():
            raise IntegrityError("the cross-encoder answered with NaN or infinite values", REBUILD)
        return found

    def rank(
        self, query: str, product_ids: Sequence[str], texts: Sequence[str], k: int | None = None
    ) -> tuple[list[str], list[float]]:
        """Product ids and scores, best first; equal scores by product id."""
        scores = self.score([(query, text) for text in texts])
        order = sorted(range(len(product_ids)), key=lambda i: (-scores[i], product_ids[i]))[:k]
        return [product_ids[i] for i in order], [float(scores[i]) for i in order]

    def _run(self, rows: list[PairTokens]) -> NDArray[np.float32]:
        found = np.empty(len(rows), dtype=np.float32)

        def fill(batch: list[int]) -> None:
            found[batch] = self._logits(*padded([rows[i] for i in batch]))

        batches = similar_lengths([len(row) for row in rows], self._batch_tokens)
        if self._threads == 1 or len(batches) == 1:
            for batch in batches:
                fill(batch)
            return found
        with ThreadPoolExecutor(self._threads) as pool:  # the session releases the interpreter's lock
            list(pool.map(fill, batches))
        return found


class OnnxCrossEncoder(CrossEncoder):
    """An artifact folder, loaded. ``digest`` names its content.

    ``threads`` is the number of cores that one call with many pairs may use; scores do not depend on it.
    ``batch_tokens`` is how many tokens run together (None: one pair at a time on a CPU, large batches on an
    accelerator). Raises :class:`IntegrityError` naming the file when one is missing, unreadable, or does not belong
    to the others; :class:`rankops.errors.BadInput` for a provider this machine lacks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 1,
        providers: Sequence[str] = CPU,
        batch_tokens: int | None = None,
        session: SessionSettings = DEFAULT,
    ) -> None:
        self.folder = Path(folder)
        names = artifact_files(self.folder)
        digests = part_digests(self.folder, names)
        config = PairConfig.read(self.folder / DESCRIPTION)
        require_parts(self.folder, DESCRIPTION, config.files, digests)
        self.digest = combine_digests(digests)
        opened = open_session(self.folder / MODEL, providers, session)
        bound_to = "cuda" if tuple(providers) == CUDA else None
        accepted = {tensor.name for tensor in opened.get_inputs()}
        outputs = [tensor.name for tensor in opened.get_outputs()]
        output = LOGITS if LOGITS in outputs else outputs[0]

        def logits(ids: NDArray[np.int64], mask: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.float32]:
            offered = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
            feed = {name: value for name, value in offered.items() if name in accepted}
            try:
                found = run_session(opened, output, feed, bound_to=bound_to, device=session.device)
            except Exception as error:  # onnxruntime's own exceptions share no narrower base class
                raise IntegrityError(
                    f"{self.folder / MODEL} cannot run what {self.folder / TOKENIZER} makes: {error}", REBUILD
                ) from error
            if found.shape not in ((len(ids), 1), (len(ids),)):
                raise IntegrityError(f"{self.folder / MODEL} answers with {found.shape[1:]}, not one logit", REBUILD)
            return np.asarray(found, dtype=np.float32).reshape(-1)

        on_cpu = tuple(providers) == CPU
        super().__init__(
            config,
            PairTokenizer(self.folder / TOKENIZER, max_tokens=config.max_pair_tokens, marked=config.marked),
            logits,
            load_parts(self.folder, names),
            threads=threads,
            batch_tokens=batch_tokens or (1 if on_cpu else ACCELERATOR_BATCH_TOKENS),
        )


def artifact_files(folder: Path) -> tuple[str, ...]:
    """The files of an artifact: three, and those of the parts that the description names."""
    named = PairConfig.read(folder / DESCRIPTION).files
    return (DESCRIPTION, *part_files(named), MODEL, TOKENIZER)


def artifact_digest(folder: Path) -> str:
    """What :attr:`OnnxCrossEncoder.digest` would be, without loading the model. Raises :class:`IntegrityError`."""
    return combine_digests(part_digests(folder, artifact_files(folder)))
