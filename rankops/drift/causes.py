"""What drifted, by name: pure functions of two summaries, reference first.

Each test gives a score in units that people know, the threshold above which the change matters, and a significance
test at ``statistics.ALPHA``; a finding is *drifted* only when the effect is large **and** no accident.
:mod:`rankops.drift.reference` asks them, of a day or of several, and raises thresholds to what normal days score.
Causes say why (those of the product feed are in ``feed``); ``symptoms`` say that searchers feel it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from rankops.drift import statistics as st
from rankops.drift.feed import broken_feed, one_snapshot, price_inflation
from rankops.drift.findings import MIN_SEARCHES, Finding, not_measured, percent
from rankops.drift.languages import CLEAR_LEAD, LIKELY_LEAD, UNMARKED, guess_language
from rankops.drift.summaries import (
    NO_CATEGORY,
    DaySummary,
    Tally,
    by_top_level,
    words,
)
from rankops.drift.symptoms import score_shift, worse_results

Test = Callable[[DaySummary, DaySummary], Finding]

# --- queries -----------------------------------------------------------------------------------------------------

SLANG_THRESHOLD = 0.02


def new_slang(reference: DaySummary, current: DaySummary) -> Finding:
    """Share of query words that neither the reference's queries nor any product text knows, beyond the usual share.

    Score: U/N minus the share expected on a normal day, which is the mass of reference words that occur on one day
    only (leave-one-day-out; with a one-day reference the mass of words that occur once: Good 1953). Numbers do not
    count as words, nor do words that another cause accounts for: those used mostly in another language than the
    reference's, or mostly by searchers who click a category that is new. Threshold 0.02 of all words; significance:
    two-proportion test.
    """
    level = max(
        t.level for t in (reference.tokens, current.tokens, reference.catalogue.tokens, current.catalogue.tokens)
    )
    known = reference.tokens.at(level)
    product_words = reference.catalogue.tokens.entries.keys() | current.catalogue.tokens.entries.keys()
    unseen, total = _words(current, level), sum(row[0] for row in current.tokens.at(level).values())
    unseen = {word: n for word, n in unseen.items() if word not in known and word not in product_words}
    explained = _foreign(unseen, reference, current) | _of_new_categories(unseen, reference, current)
    others = sum(n for word, n in unseen.items() if word in explained)
    unseen = {word: n for word, n in unseen.items() if word not in explained}
    usable = (row for word, row in known.items() if _is_word(word) and word not in product_words)
    rare, rare_total = _of_one_day(usable, reference), sum(row[0] for row in known.values())
    if not total or not rare_total:
        return not_measured("new_slang", SLANG_THRESHOLD, "no query words to compare")
    share, usual = sum(unseen.values()) / total, rare / rare_total
    top = sorted(unseen.items(), key=lambda item: (-item[1], item[0]))[:8]
    more = f" ({percent(others / total)} more are foreign or name new categories)" if others else ""
    return Finding(
        name="new_slang",
        score=share - usual,
        threshold=SLANG_THRESHOLD,
        significant=st.rate_increase_p(rare, rare_total, sum(unseen.values()), total) < st.ALPHA,
        evidence=f"{percent(share)} of query words are in no reference query and in no product text; "
        f"{percent(usual)} is usual{more}.",
        examples=tuple(f"{word} ({n} searches)" for word, n in top),
    )


def _words(summary: DaySummary, level: int) -> Tally:
    return {word: row[0] for word, row in summary.tokens.at(level).items() if _is_word(word)}


def _is_word(token: str) -> bool:
    return not token.isnumeric() and len(token) > 1


def _foreign(unseen: Tally, reference: DaySummary, current: DaySummary) -> set[str]:
    """Unseen words that occur mostly in queries of another language than the reference's usual one.

    Once the mix of languages has drifted, a slighter lead is enough to call a query foreign: it is likely to be.
    """
    lead = LIKELY_LEAD if language_mix(reference, current).drifted else CLEAR_LEAD
    usual = max(reference.languages, key=lambda key: (reference.languages[key], key), default=UNMARKED)
    foreign: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for query, (count, _, _) in current.queries.entries.items():
        found = unseen.keys() & set(words(query))
        seen.update(dict.fromkeys(found, count))
        if found and guess_language(query, lead) not in (usual, UNMARKED):
            foreign.update(dict.fromkeys(found, count))
    return {word for word, count in foreign.items() if 2 * count >= seen[word]}


def _of_new_categories(unseen: Tally, reference: DaySummary, current: DaySummary) -> set[str]:
    """Unseen words whose searchers, in the row sample, click mostly categories that the reference hardly knows."""
    fresh, seen = Counter[str](), Counter[str]()
    for search in current.sample.values():
        if search.category is not None and (found := unseen.keys() & set(words(search.query))):
            seen.update(found)
            if _nearly_unseen(search.category, reference):
                fresh.update(found)
    return {word for word, count in fresh.items() if 2 * count >= seen[word]}


def _of_one_day(rows: Iterable[tuple[int, int, int]], reference: DaySummary) -> int:
    """Count of the keys that the reference would not have known without that very day (of one day: occurrence)."""
    several_days = len(reference.days) > 1
    return sum(count for count, first, last in rows if (first == last if several_days else count == 1))


LANGUAGE_THRESHOLD = 0.01


def language_mix(reference: DaySummary, current: DaySummary) -> Finding:
    """Jensen-Shannon divergence (bits, Lin 1991) of the languages of queries; significance: G test.

    Threshold 0.01: about what two points in a hundred turning up in a language that nobody used before cost.
    """
    keys = sorted({*reference.languages, *current.languages})
    if not reference.searches or not current.searches:
        return not_measured("language_mix", LANGUAGE_THRESHOLD, "no searches to compare")
    before, after = st.shares(reference.languages, keys), st.shares(current.languages, keys)
    grown = sorted(zip(keys, before, after, strict=True), key=lambda row: (row[1] - row[2], row[0]))
    name, was, now = grown[0]
    return Finding(
        name="language_mix",
        score=st.jensen_shannon(reference.languages, current.languages, keys),
        threshold=LANGUAGE_THRESHOLD,
        significant=st.homogeneity_p(reference.languages, current.languages, keys) < st.ALPHA,
        evidence=f"searches in '{name}' went from {percent(was)} to {percent(now)}.",
        examples=tuple(f"{key}: {percent(a)} → {percent(b)}" for key, a, b in grown if b > a)[:4],
    )


# --- categories --------------------------------------------------------------------------------------------------

NEW_CATEGORY_THRESHOLD = 0.02
NEARLY_UNSEEN = 0.001


def new_category(reference: DaySummary, current: DaySummary) -> Finding:
    """Share of clicks, of first places or of products in categories (nearly) unseen in the reference.

    A category is nearly unseen with at most 0.1 % of the reference's searches and products. Score: the largest gain
    of their share over the three places; threshold 0.02; significance: two-proportion test on searches or products.
    A catalogue that grows a family counts even when nobody clicks: an old model cannot find what it never saw.
    """
    places = (
        ("searches that clicked", reference.searches_by_clicked_category, current.searches_by_clicked_category),
        ("searches, in first place,", reference.searches_by_top_category, current.searches_by_top_category),
        ("products", one_snapshot(reference).by_category, one_snapshot(current).by_category),
    )
    fresh = {c for _, _, now in places for c in now if c != NO_CATEGORY and _nearly_unseen(c, reference)}
    best: tuple[float, float, float, str] = (0.0, 1.0, 0.0, "products")
    for label, before, after in places:
        n, m = sum(before.values()), sum(after.values())
        if not n or not m:
            continue
        old, new = sum(before.get(c, 0) for c in fresh), sum(after.get(c, 0) for c in fresh)
        best = max(best, (new / m - old / n, st.rate_increase_p(old, n, new, m), new / m, label))
    gain, p, share, label = best
    counts = {
        c: (current.catalogue.by_category.get(c, 0), current.searches_by_clicked_category.get(c, 0)) for c in fresh
    }
    top = sorted(counts.items(), key=lambda item: (-item[1][1], -item[1][0], item[0]))[:6]
    return Finding(
        name="new_category",
        score=gain,
        threshold=NEW_CATEGORY_THRESHOLD,
        significant=p < st.ALPHA,
        evidence=f"{percent(share)} of {label} are in {len(fresh)} categories that the reference hardly knows "
        f"({percent(share - gain)} then).",
        examples=tuple(f"{c} ({products} products, {clicks} clicked)" for c, (products, clicks) in top),
    )


def _nearly_unseen(category: str, reference: DaySummary) -> bool:
    tallies = (
        reference.searches_by_clicked_category,
        reference.searches_by_top_category,
        reference.catalogue.by_category,
    )
    return all(t.get(category, 0) <= NEARLY_UNSEEN * sum(t.values()) for t in tallies)


# --- products ----------------------------------------------------------------------------------------------------

NEW_PRODUCTS_THRESHOLD = 0.02


def new_products(reference: DaySummary, current: DaySummary) -> Finding:
    """Share of clicks on products that nobody clicked in the reference, beyond the usual share.

    What was learned from baskets knows nothing of them. Usual is the share of the reference's clicks that fell on
    products of one day only (see :func:`new_slang`). Threshold 0.02 of all clicks; significance: two-proportion test
    with one count per search that clicked, for clicks of one search (lines of one invoice) are not independent.
    """
    level = max(reference.clicks_by_product.level, current.clicks_by_product.level)
    known, now = reference.clicks_by_product.at(level), current.clicks_by_product.at(level)
    n, m = reference.searches_with_click, current.searches_with_click
    if min(n, m) < MIN_SEARCHES or not known or not now:
        why = f"{m} searches that clicked (reference {n}); {MIN_SEARCHES} are needed"
        return not_measured("new_products", NEW_PRODUCTS_THRESHOLD, why)
    fresh = {product: row[0] for product, row in now.items() if product not in known}
    share = sum(fresh.values()) / sum(row[0] for row in now.values())
    usual = _of_one_day(known.values(), reference) / sum(row[0] for row in known.values())
    top = sorted(fresh.items(), key=lambda item: (-item[1], item[0]))[:6]
    return Finding(
        name="new_products",
        score=share - usual,
        threshold=NEW_PRODUCTS_THRESHOLD,
        significant=st.rate_increase_p(round(usual * n), n, round(share * m), m) < st.ALPHA,
        evidence=f"{percent(share)} of clicks are on products that nobody clicked in the reference; "
        f"{percent(usual)} is usual.",
        examples=tuple(f"{product} ({count} clicks)" for product, count in top),
    )


# --- seasons -----------------------------------------------------------------------------------------------------

SEASON_THRESHOLD = 0.1


def seasonal_shift(reference: DaySummary, current: DaySummary) -> Finding:
    """PSI (Siddiqi 2006) of what searchers click, over the first level of the categories that the reference knows.

    One count per search (the first click; clicks of one search are not independent). Threshold 0.1 (moderate) plus
    what PSI reaches by chance for these numbers (``statistics.psi_noise``).
    """
    before, after = (
        by_top_level(reference.searches_by_clicked_category),
        by_top_level(current.searches_by_clicked_category),
    )
    n_ref = sum(before.values())
    keys = sorted(key for key, count in before.items() if count > NEARLY_UNSEEN * n_ref)
    n, m = sum(before.get(k, 0) for k in keys), sum(after.get(k, 0) for k in keys)
    if n < MIN_SEARCHES or m < MIN_SEARCHES or len(keys) < 2:
        why = f"{m} clicked searches in {len(keys)} known categories (reference {n}); {MIN_SEARCHES} in 2 are needed"
        return not_measured("seasonal_shift", SEASON_THRESHOLD, why)
    score, noise = st.psi(before, after, keys), st.psi_noise(n, m, len(keys))
    p, q = st.shares(before, keys), st.shares(after, keys)
    moved = sorted(zip(keys, p, q, strict=True), key=lambda row: (-abs(row[2] - row[1]), row[0]))
    name, was, now = moved[0]
    return Finding(
        name="seasonal_shift",
        score=score,
        threshold=max(SEASON_THRESHOLD, noise),
        significant=score > noise,
        evidence=f"the mix of clicked categories has PSI {score:.3f}; "
        f"most moved '{name}', {percent(was)} to {percent(now)}.",
        examples=tuple(f"{key}: {percent(a)} → {percent(b)}" for key, a, b in moved[:5]),
    )


# --- all of them -------------------------------------------------------------------------------------------------


FEED_TESTS: tuple[Test, ...] = (price_inflation, broken_feed)
ALL_TESTS: tuple[Test, ...] = (
    new_slang, new_category, new_products, seasonal_shift, *FEED_TESTS, language_mix, worse_results, score_shift,
)  # fmt: skip
