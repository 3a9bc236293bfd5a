"""Removing personal data from queries before they are written anywhere: by the server, and on the way into a dataset.

People paste anything into a search box. What is recognized is replaced by a label: ``<email>``, ``<iban>``, ``<card>``,
``<phone>``, ``<id>`` (national identity, tax and insurance numbers), ``<order>`` (numbers of orders, parcels and
customers, where the query says so), ``<address>`` and ``<name>`` (where a title or a phrase announces one). Checksums,
dates and the forms that each register prescribes keep article numbers, EANs and sizes, which shop queries are full of.

A bare name ("anna schmidt") cannot be told from a brand ("calvin klein") with any certainty, so it is kept;
:func:`may_name_someone` finds most of them, for those who would rather log too little (``--request-log-names drop``).
What is caught and what is not is measured on labelled sets: see ``tests/serving/pii_cases``.
"""

from __future__ import annotations

import re
import unicodedata

from rankops.pii.ids import remove_ids
from rankops.pii.numbers import remove_accounts, remove_phones
from rankops.pii.people import may_name_someone, remove_people
from rankops.pii.places import remove_addresses, remove_orders

__all__ = ["may_name_someone", "remove_pii"]

_EMAIL = re.compile(r"[\w.+%-]+\s?(?:@|\(at\)|\[at\]|\{at\})\s?[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_SPOKEN = re.compile(r"[\w.+%-]+ at [\w-]+(?: ?\.[\w-]+| dot [\w-]+)*(?: dot [a-z]{2,12}\b)", re.IGNORECASE)
_SOME_DIGITS = re.compile(r"(?:\D*\d){5}")
_DIGIT = re.compile(r"\d")


def remove_pii(text: str) -> str:
    """``text`` (NFKC) with personal data replaced.

    >>> remove_pii("mail jane.doe@example.org or +49 171 2345678 about size 42")
    'mail <email> or <phone> about size 42'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if "@" in text or "at" in text.lower():
        text = _EMAIL.sub("<email>", text)
        if " dot " in text.lower():
            text = _SPOKEN.sub("<email>", text)
    if _SOME_DIGITS.match(text):
        # From the strictest forms to the loosest: what has a checksum first, what only looks like a number last.
        text = remove_accounts(text)
        text = remove_ids(text)
        text = remove_orders(text)
        text = remove_phones(text)
    if _DIGIT.search(text):
        text = remove_addresses(text)
    return remove_people(text)
