"""What the gate can see: how often it lets an equally good model through, and how often it catches a seeded loss.

A simulation at the data set's own size: test sets are drawn from the held-out queries (bootstrap over groups of
near-duplicates), a champion and an equally good challenger are laid on them, and in the slice of interest one in ten
queries (more for large losses) loses a share of its score, so that the slice loses ``loss`` of its mean. A metric that
is 0 or 1 loses whole hits. Two challengers stand for what happens in practice:

* ``unchanged``: the champion itself but for the loss (compression, another runtime, a damaged index);
* ``retrained``: as different from the champion, query by query, as the evaluated challenger is, but no better and no
  worse: each group's difference gets a random sign. Where the two differ much, a small loss drowns in the noise, and
  the figures say so.

The gate's rules against a champion are applied to each draw, with normal intervals in place of the bootstrap's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rankops.evaluation.bootstrap import SEED, holm
from rankops.evaluation.gate import Scores, slices_of
from rankops.evaluation.randomization import loss_p_values
from rankops.specs import GateSpec

LOSSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Shares of the slice's mean that are taken away."""
CAUGHT = 0.8
"""A loss counts as caught when the gate blocks at least this share of draws."""
DRAWS = 500
_HIT = 0.1  # share of the slice's queries that the loss falls on, for small losses

Floats = NDArray[np.float64]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Caught(_Record):
    """Share of draws that the gate blocks when the slice loses ``loss`` of its mean."""

    loss: float
    unchanged: float
    retrained: float | None


class GatePower(_Record):
    """The gate's power at this data set's size. ``level`` is the slice's mean under the reference.

    ``passes_*`` are shares of draws without any loss that the gate lets through. ``smallest_*`` is the smallest of the
    tried losses that is caught in at least 80 % of draws, None where none is. ``*_retrained`` is None without a
    champion, because nothing is known then about how much a retraining moves.
    """

    slice: str
    n: int
    level: float
    draws: int
    passes_unchanged: float
    passes_retrained: float | None
    caught: list[Caught]

    @property
    def smallest_unchanged(self) -> float | None:
        """The smallest tried loss of an otherwise unchanged model that is caught."""
        return next((row.loss for row in self.caught if row.unchanged >= CAUGHT), None)

    @property
    def smallest_retrained(self) -> float | None:
        """The same for a retrained model."""
        return next((row.loss for row in self.caught if (row.retrained or 0.0) >= CAUGHT), None)


def power(
    spec: GateSpec,
    scores: Scores,
    *,
    reference: str,
    challenger: str | None,
    part: str | None = None,
    losses: Sequence[float] = LOSSES,
    draws: int = DRAWS,
    seed: int = SEED,
) -> GatePower | None:
    """How often the gate of ``spec`` blocks a loss in ``part`` (``popularity=tail``, or the first large slice).

    ``scores`` has the gate's metric of ``reference`` and, for the noise of a retraining, of ``challenger`` (None:
    unknown). None where no slice of the gate has ``min_slice_queries`` queries.
    """
    shapes = _Shapes.of(spec, scores, part)
    if shapes is None:
        return None
    level = scores.values[reference]
    noise = None if challenger is None else scores.values[challenger] - level

    def blocked(loss: float, moved: Floats | None) -> float:
        return _blocked(spec, shapes, level, loss, moved, draws, seed)

    def both(loss: float) -> tuple[float, float | None]:
        return blocked(loss, None), None if noise is None else blocked(loss, noise)

    still, again = both(0.0)
    return GatePower(
        slice=shapes.name,
        n=int(shapes.target.sum()),
        level=float(level[shapes.target].mean()),
        draws=draws,
        passes_unchanged=1 - still,
        passes_retrained=None if again is None else 1 - again,
        caught=[Caught(loss=loss, unchanged=u, retrained=r) for loss in losses for u, r in [both(loss)]],
    )


@dataclass(frozen=True)
class _Shapes:
    """Which query is in which group and slice. ``members[0]`` is every query, the others are the tested slices."""

    name: str
    target: NDArray[np.bool_]
    codes: NDArray[np.intp]
    members: NDArray[np.bool_]

    @classmethod
    def of(cls, spec: GateSpec, scores: Scores, part: str | None) -> _Shapes | None:
        slices = slices_of(scores.queries, spec.slices)
        large = {name: rows for name, rows in slices if rows.sum() >= spec.min_slice_queries}
        name = next((wanted for wanted in (part, "popularity=tail", *large) if wanted in large), None)
        if name is None:
            return None
        _, codes = np.unique(np.asarray(scores.groups, dtype=object).astype(str), return_inverse=True)
        everyone = np.ones(scores.queries.height, dtype=bool)
        return cls(name, large[name], codes, np.stack([everyone, *large.values()]))

    def by_group(self, values: Floats) -> Floats:
        """Sums of ``values`` (n,): (slices, groups)."""
        groups = int(self.codes.max()) + 1
        return np.stack([np.bincount(self.codes[rows], values[rows], minlength=groups) for rows in self.members])


def _blocked(
    spec: GateSpec, shapes: _Shapes, level: Floats, loss: float, noise: Floats | None, draws: int, seed: int
) -> float:
    """The share of draws in which a rule against the champion fails."""
    rng = np.random.default_rng(seed)
    whole = bool(np.isin(level, (0.0, 1.0)).all())
    share = loss if whole else max(_HIT, min(1.0, 2 * loss))
    cost = np.where(shapes.target, level * (loss / share if loss else 0.0), 0.0)
    costs, sizes = shapes.by_group(cost), shapes.by_group(np.ones(len(level)))
    moves = None if noise is None else shapes.by_group(noise)
    groups = sizes.shape[1]
    drawn = rng.integers(0, groups, size=(draws, groups))
    hit = rng.random((draws, groups)) < share
    signs = rng.choice([-1.0, 1.0], size=(draws, groups))
    p_values, matters, failed = [], [], np.zeros(draws, dtype=bool)
    for place in range(len(shapes.members)):
        sums = -costs[place][drawn] * hit
        if moves is not None:
            sums += moves[place][drawn] * signs
        counts = sizes[place][drawn]
        means = sums.sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
        if place == 0:
            failed |= _overall(spec, sums, counts, means)
        else:
            p_values.append(loss_p_values(sums))
            matters.append(means < -spec.slice_margin)
    alpha = (1 - spec.confidence) / 2
    for row in range(draws):
        adjusted = holm([float(column[row]) for column in p_values])
        failed[row] |= any(p <= alpha and large[row] for p, large in zip(adjusted, matters, strict=True))
    return float(failed.mean())


def _overall(spec: GateSpec, sums: Floats, counts: Floats, means: Floats) -> NDArray[np.bool_]:
    """Rules 3 and 4 for each draw: a proven loss that matters, or a large one that cannot be ruled out."""
    from scipy.special import stdtrit

    groups = sums.shape[1]
    residuals = sums - means[:, None] * counts
    spread = np.sqrt((residuals**2).sum(axis=1) * groups / max(groups - 1, 1)) / counts.sum(axis=1)
    reach = float(stdtrit(max(groups - 1, 1), 1 - (1 - spec.confidence) / 2)) * spread
    worse = (means + reach < 0) & (means < -spec.margin)
    return worse | (means - reach <= -spec.max_plausible_loss)
