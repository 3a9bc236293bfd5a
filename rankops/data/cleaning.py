"""Cleaning of tables from outside: markup, blanks, repeats, events of unknown products, and personal data.

Cleaning repairs or drops what is plainly broken and says so; what is merely unusual is the business of
:mod:`rankops.data.outliers`. Personal data goes first: nothing of it is in any example that a later step shows.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from hashlib import sha256

import polars as pl

from rankops.data.steps import Preparation, require_most, shown
from rankops.pii import remove_pii

TEXTS = ("title", "description", "category", "brand", "attributes")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>")
_SPACE = re.compile(r"\s+")
_PERSONAL_ID = re.compile(r"@|^\+?\d[\d ().-]{8,}$")
_LEAST_KNOWN = 0.5


def clean_text(text: str) -> str:
    """NFC, without HTML tags, entities and control characters; white space collapsed.

    >>> clean_text("Red&nbsp;<b>boots</b>\\n size&#x20;42")
    'Red boots size 42'
    """
    bare = html.unescape(_TAG.sub(" ", text)) if "<" in text or "&" in text else text
    printable = "".join(
        " " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in unicodedata.normalize("NFC", bare)
    )
    return _SPACE.sub(" ", printable).strip()


def remove_personal_data(interactions: pl.DataFrame, log: Preparation) -> pl.DataFrame:
    """Replace e-mail addresses, IBANs, cards and telephone numbers in queries, and user ids that are an address or
    a number by their hash (a pseudonym: whoever knows the address can find its events again).
    """
    queries = _mapping(interactions["query"], _without_pii)
    users = _mapping(interactions["user_id"], _pseudonym)
    table = interactions.with_columns(
        pl.col("query").replace(queries) if queries else pl.col("query"),
        pl.col("user_id").replace(users) if users else pl.col("user_id"),
    )
    touched = {
        "query with an address, card or number": _rows(interactions["query"], queries),
        "user id that is an address or number": _rows(interactions["user_id"], users),
    }
    log.change("personal data", "interactions", table.height, touched, sorted(set(queries.values()))[:3])
    return table


def remove_personal_queries(queries: pl.DataFrame, log: Preparation) -> pl.DataFrame:
    """The table ``queries`` without those that hold an address, a card or a number: they are nobody else's query."""
    personal = list(_mapping(queries["query"], _without_pii))
    rules = {"query with an address, card or number": ~pl.col("query").is_in(personal)}
    return log.drop("personal data", "queries", queries, rules, show=["query_id"])


def clean_catalogue(catalogue: pl.DataFrame, log: Preparation) -> pl.DataFrame:
    """Texts without markup, blank optional values as missing, one row for each product id, no blank title."""
    changed: dict[str, int] = {}
    columns, examples = [], []
    for name in (name for name in TEXTS if name in catalogue.columns):
        cleaned = _mapping(catalogue[name], clean_text)
        changed[name] = _rows(catalogue[name], cleaned)
        examples += [f"{name}: {shown((before,))!r}" for before in list(cleaned)[:1]]
        text = pl.col(name).replace(cleaned) if cleaned else pl.col(name)
        columns.append(text if name == "title" else pl.when(text.str.strip_chars() != "").then(text).alias(name))
    log.change("normalize texts", "catalogue", catalogue.height, changed, examples)
    rules = {
        "blank title": pl.col("title").str.strip_chars() != "",
        "product id repeated": pl.col("product_id").is_first_distinct(),
    }
    return log.drop("clean", "catalogue", catalogue.with_columns(columns), rules, show=["product_id", "title"])


def clean_interactions(interactions: pl.DataFrame, catalogue: pl.DataFrame, log: Preparation) -> pl.DataFrame:
    """Drop events without a query, of products that the catalogue lacks, and repeats within a search.

    A product that is no longer sold is no error, so its events are dropped and counted; where more than half of the
    events are of unknown products the catalogue must be another one. Raises :class:`rankops.errors.BadInput` then.
    """
    known = catalogue["product_id"].implode()
    rules = {
        "blank query": pl.col("query").str.strip_chars() != "",
        "product not in the catalogue": pl.col("product_id").is_in(known),
        "repeated in its search": pl.struct("search_id", "product_id").is_first_distinct(),
    }
    # Of a repeated product the row with the most information stays.
    order = interactions.sort(
        ["day", "search_id", "product_id", "purchased", "clicked", "position"],
        descending=[False, False, False, True, True, False],
        maintain_order=True,
    )
    kept = log.drop("clean", "interactions", order, rules, show=["search_id", "product_id"])
    unknown = log.steps[-1].reasons["product not in the catalogue"]
    require_most(
        "cleaning the interactions",
        interactions.height,
        interactions.height - unknown,
        _LEAST_KNOWN,
        "give interactions and catalogue of the same shop and the same days",
    )
    return kept.sort("day", "search_id", "position")


def _without_pii(query: str) -> str:
    removed = remove_pii(query)
    return query if removed == unicodedata.normalize("NFKC", query) else removed


def _pseudonym(user: str) -> str:
    return "h" + sha256(user.encode()).hexdigest()[:12] if _PERSONAL_ID.search(user) else user


def _mapping(values: pl.Series, change: Callable[[str], str]) -> dict[str, str]:
    """Distinct values that ``change`` changes, with what they become."""
    pairs = ((value, change(value)) for value in values.drop_nulls().unique(maintain_order=True).to_list())
    return {before: after for before, after in pairs if before != after}


def _rows(values: pl.Series, mapping: dict[str, str]) -> int:
    return int(values.is_in(list(mapping)).sum()) if mapping else 0
