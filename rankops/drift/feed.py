"""What the product feed did: prices that moved, fields that broke."""

from __future__ import annotations

from statistics import median

from rankops.drift import statistics as st
from rankops.drift.findings import Finding, not_measured, percent
from rankops.drift.summaries import CatalogueSummary, DaySummary, median_of_bins

PRICE_THRESHOLD = 0.05
MIN_PRODUCTS = 20
JUMP = 5.0
"""A price this many times up or down is a broken feed (cents for units), not inflation."""


def price_inflation(reference: DaySummary, current: DaySummary) -> Finding:
    """Median over products on both sides of new price / old price, minus one, as an absolute value.

    Paired by product, so a changed assortment does not look like inflation; ratios beyond a factor of five are left
    to :func:`broken_feed`. With fewer than 20 common products: the ratio of the median clicked prices. Threshold
    0.05; significance: sign test over the products whose price moved (Arbuthnott 1710, normal approximation).
    """
    ratios = {key: ratio for key, ratio in _ratios(reference, current).items() if 1 / JUMP < ratio < JUMP}
    if len(ratios) < MIN_PRODUCTS:
        return _clicked_prices(reference, current, len(ratios))
    change = median(ratios.values()) - 1
    up, down = sum(r > 1.0005 for r in ratios.values()), sum(r < 0.9995 for r in ratios.values())
    z = (abs(up - down) - 1) / (up + down) ** 0.5 if up + down else 0.0
    moved = sorted(ratios.items(), key=lambda item: (-abs(item[1] - 1), item[0]))[:3]
    return Finding(
        name="price_inflation",
        score=abs(change),
        threshold=PRICE_THRESHOLD,
        significant=2 * st.normal_tail(z) < st.ALPHA,
        evidence=f"the median price of {len(ratios):,} products sold on both sides "
        f"{'rose' if change >= 0 else 'fell'} by {percent(abs(change))} ({up} rose, {down} fell).",
        examples=tuple(f"{key}: x{ratio:.2f}" for key, ratio in moved),
    )


def _clicked_prices(reference: DaySummary, current: DaySummary, common: int) -> Finding:
    before, after = median_of_bins(reference.clicked_price), median_of_bins(current.clicked_price)
    n, m = sum(reference.clicked_price.values()), sum(current.clicked_price.values())
    if before is None or after is None or min(n, m) < MIN_PRODUCTS:
        why = f"{common} products and {m} clicked prices on both sides; {MIN_PRODUCTS} are needed"
        return not_measured("price_inflation", PRICE_THRESHOLD, why)
    _, p = st.kolmogorov_smirnov(reference.clicked_price, current.clicked_price)
    change = after / before - 1
    return Finding(
        name="price_inflation",
        score=abs(change),
        threshold=2 * PRICE_THRESHOLD,  # medians of an eighth-octave histogram are exact to 9 %
        significant=p < st.ALPHA,
        evidence=f"the median clicked price went from {before:.2f} to {after:.2f} (only {common} common products).",
    )


def _ratios(reference: DaySummary, current: DaySummary) -> dict[str, float]:
    before, after = _mean_cents(reference.catalogue), _mean_cents(current.catalogue)
    return {key: after[key] / before[key] for key in sorted(before.keys() & after.keys())}


def _mean_cents(catalogue: CatalogueSummary) -> dict[str, float]:
    priced = catalogue.priced.entries
    return {k: row[0] / priced[k][0] for k, row in catalogue.cents.entries.items() if k in priced and row[0] > 0}


BROKEN_THRESHOLD = 0.02


def broken_feed(reference: DaySummary, current: DaySummary) -> Finding:
    """The largest gain, over fields, of the share of products whose field is missing, garbled, or a price that jumped.

    Garbled: placeholders (``#N/A``, ``undefined``, ``???``) and marks of a wrong character set. Jumped: at least five
    times up or down against the reference, counted over common products. Threshold 0.02; two-proportion test.
    """
    then, now = one_snapshot(reference), one_snapshot(current)
    if not then.rows or not now.rows:
        return not_measured("broken_feed", BROKEN_THRESHOLD, "no catalogue to compare")
    rows: list[tuple[float, float, str]] = []
    for kind, before, after in (("missing", then.nulls, now.nulls), ("garbled", then.garbled, now.garbled)):
        for field in sorted({*before, *after}):
            a, b = before.get(field, 0), after.get(field, 0)
            rows.append(_gain(f"{field} {kind}", a, then.rows, b, now.rows))
    ratios = _ratios(reference, current)
    jumps = sum(not 1 / JUMP < ratio < JUMP for ratio in ratios.values())
    if ratios:
        rows.append(_gain(f"price off by x{JUMP:.0f} or more", 0, len(ratios), jumps, len(ratios)))
    rows.sort(key=lambda row: (-row[0], row[2]))
    gain, p, text = rows[0] if rows else (0.0, 1.0, "no field is missing or garbled")
    return Finding(
        name="broken_feed",
        score=max(0.0, gain),
        threshold=BROKEN_THRESHOLD,
        significant=p < st.ALPHA,
        evidence=f"of {now.rows:,} products: {text}.",
        examples=tuple(row[2] for row in rows if row[0] >= BROKEN_THRESHOLD)[:6],
    )


def one_snapshot(summary: DaySummary) -> CatalogueSummary:
    """The mean of a summary's snapshots: a product that stands in ten of them is one product, not ten."""
    feed = summary.catalogue
    if feed.snapshots < 2:
        return feed
    tallies = {
        name: {key: round(count / feed.snapshots) for key, count in getattr(feed, name).items()}
        for name in ("by_category", "nulls", "garbled")
    }
    return feed.model_copy(update={"rows": round(feed.rows / feed.snapshots), **tallies})


def _gain(what: str, a: int, n: int, b: int, m: int) -> tuple[float, float, str]:
    return b / m - a / n, st.rate_increase_p(a, n, b, m), f"{what} {percent(a / n)} → {percent(b / m)}"
