"""Numbers that reach a person: bank accounts, payment cards, telephones.

IBANs by ISO 13616 (length by country, mod 97), cards by ISO/IEC 7812 (ranges of the brands, Luhn), telephone numbers by
the forms in which the world writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_IBAN_START = re.compile(r"(?<![a-z0-9])[a-z]{2}\d{2}", re.IGNORECASE)
_IBAN_COUNTRIES = (  # ISO 13616 registry: country, characters
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 "
    "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LI21 LT20 "
    "LU20 LV21 MC27 MD24 ME22 MK19 MT31 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 SK24 SM27 "
    "TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN_LENGTHS = {part[:2]: int(part[2:]) for part in _IBAN_COUNTRIES.split()}

_CARD_START = re.compile(r"(?<!\d)(?<!\d[.,-])(?:[3-6]\d|2[2-7])")
_CARD_BRANDS: tuple[tuple[re.Pattern[str], tuple[int, ...]], ...] = (
    (re.compile(r"4"), (19, 16)),  # 13 digits are history, and look like a European EAN
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"3(?:0[0-5]|[68])"), (14,)),
    (re.compile(r"35|6"), (19, 18, 17, 16)),
    (re.compile(r"5[06-8]"), (19, 18, 17, 16)),
)

_SEPARATED = r"[\s().\/-]{0,3}"
_INTERNATIONAL = re.compile(rf"(?<![\w.])(?<!\d-)(?:\(?\+\s?|00)[1-9](?:{_SEPARATED}\d){{6,14}}(?!\d)")
_NORTH_AMERICAN = re.compile(r"(?<![\w.-])(?:1[\s.-])?(?:\([2-9]\d{2}\)\s?|[2-9]\d{2}[\s.-])\d{3}[\s.-]\d{4}(?!\w)")
_NATIONAL = re.compile(  # but no article numbers as watches and their makers have them: 027/4701.00, 010-11654-03
    r"(?<![\w.,-])(?!\(?0\d\d/\d{4}\.\d\d(?!\d)"
    r"|\(?01\d-\d{5}-\d\d(?!\d))\(?0[1-9]\d{0,4}\)?(?:[\s.\/-]{1,3}\d{2,8}){1,5}(?![\w])"
)
_UNBROKEN = re.compile(r"(?<![\w.,-])0[1-9]\d{8,10}(?!\w)")
_CLOSED = re.compile(  # countries without a trunk zero, in the groups that they write
    r"(?<![\w.,/+-])(?:"
    r"\([1-9]\d\)\s?9?\d{4}-\d{4}|[1-9]\d\s9\d{4}-\d{4}"  # Brazil
    r"|1[3-9]\d\s\d{4}\s\d{4}|1[3-9]\d-\d{4}-\d{4}|1[3-9]\d{9}"  # China
    r"|[6-9]\d{4}\s\d{5}"  # India
    r"|[6-9]\d{2}\s\d{2}\s\d{2}\s\d{2}"  # Spain
    r"|[1-8]\d\s\d{3}\s\d{2}\s\d{2}"  # Poland
    r"|(?!\d00\s\d00\s\d00)[2-9]\d{2}\s\d{3}\s\d{3}"  # Poland, Portugal, Spain
    r"|(?!\d0\s\d0\s\d0)[2-9]\d\s\d{2}\s\d{2}\s\d{2}"  # Denmark
    r")(?![\w,/-]|\s\d(?!\d?\s(?:inch|zoll|pcs)\b)|\.\d|\s(?:mm|cm|m|v|w|ml|g|kg|mah|gb|ohm|hz|x)\b)"
)
_ANNOUNCED = re.compile(
    r"\b(?:tel|telef\w*|telephone|phone|call(?: me)?(?: at| on)?|mobile|mobil|handy\w*|whatsapp|fax|cell|tlf|tfno"
    r"|t[ée]l"
    r"|portable|celular|cellulare|telefoon|gsm|m[oó]vil|rufnummer|hotline)\b[.:]?\s*(?:no|nr|number|is|num)?[.:]?\s*"
    r"(?P<number>\(?\d(?:[\s().\/-]{0,2}\d){6,14})(?!\w)",
    re.IGNORECASE,
)
_MOBILE = re.compile(r"0[67]\d{8}|01[567]\d+")


_IBAN_RUN = re.compile(r"[a-z]{2}\d\d(?:[ .-]?[a-z0-9]){11}", re.IGNORECASE)
_CARD_RUN = re.compile(r"(?:\d[ .-]?){13}")
_RUN = re.compile(r"\d(?:[\s().\/-]{0,3}\d){6}")


def remove_accounts(text: str) -> str:
    """``text`` with ``<iban>`` and ``<card>``."""
    if _IBAN_RUN.search(text):
        text = _replace(text, _IBAN_START, _iban_end, "<iban>")
    return _replace(text, _CARD_START, _card_end, "<card>") if _CARD_RUN.search(text) else text


def remove_phones(text: str) -> str:
    """``text`` with ``<phone>``."""
    if not _RUN.search(text):
        return text
    text = _INTERNATIONAL.sub(lambda m: m.group() if _is_long_ean(m.group()) else "<phone>", text)
    text = _NORTH_AMERICAN.sub("<phone>", text)
    text = _NATIONAL.sub(lambda m: "<phone>" if 9 <= len(_digits(m.group())) <= 13 else m.group(), text)
    text = _UNBROKEN.sub(lambda m: m.group() if _is_article_number(m.group()) else "<phone>", text)
    text = _CLOSED.sub("<phone>", text)
    return _ANNOUNCED.sub(lambda m: m.group()[: m.start("number") - m.start()] + "<phone>", text)


def _replace(text: str, start: re.Pattern[str], end: Callable[[str, int], int | None], label: str) -> str:
    """Replace each span from a match of ``start`` to what ``end(text, position)`` says, where it says so."""
    parts, position = [], 0
    for match in start.finditer(text):
        if match.start() < position or (stop := end(text, match.start())) is None:
            continue
        parts += [text[position : match.start()], label]
        position = stop
    return "".join([*parts, text[position:]])


def _walk(text: str, start: int, separators: str) -> Iterator[tuple[str, int]]:
    """Letters and digits from ``start`` with the position after each; single separators are skipped."""
    gap = 0
    for position in range(start, len(text)):
        character = text[position]
        if character.isascii() and character.isalnum():
            gap = 0
            yield character, position + 1
        elif character in separators and gap == 0:
            gap = 1
        else:
            return


def _iban_end(text: str, start: int) -> int | None:
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    taken = [pair for pair, _ in zip(_walk(text, start, " -."), range(length or 0), strict=False)]
    if length is None or len(taken) < length or text[taken[-1][1] : taken[-1][1] + 1].isalnum():
        return None
    letters = "".join(character for character, _ in taken).upper()
    number = "".join(str(int(character, 36)) for character in letters[4:] + letters[:4])
    return taken[-1][1] if int(number) % 97 == 1 else None


def _card_end(text: str, start: int) -> int | None:
    taken: list[tuple[str, int]] = []
    for character, end in _walk(text, start, " -."):
        if not character.isdigit() or len(taken) == 19:
            break
        taken.append((character, end))
    digits = "".join(character for character, _ in taken)
    for prefix, lengths in _CARD_BRANDS:
        for length in lengths if prefix.match(digits) else ():
            whole = len(digits) >= length and not text[taken[length - 1][1] : taken[length - 1][1] + 1].isalnum()
            if whole and len(set(text[start : taken[length - 1][1]]) & set(" -.")) < 2 and _luhn(digits[:length]):
                return taken[length - 1][1]
    return None


def _luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def _is_long_ean(number: str) -> bool:
    """A valid EAN-13 that starts with 00, or fewer digits than any number that is dialled with 00."""
    if not number.startswith("00"):
        return False
    if len(number) < 11:
        return number.isdigit()
    values = [int(d) for d in number] if number.isdigit() and len(number) == 13 else [1]
    return (sum(values[0::2]) + 3 * sum(values[1::2])) % 10 == 0


def _is_article_number(digits: str) -> bool:
    """A valid ISBN-10 or UPC-A that does not start like a mobile number."""
    if _MOBILE.fullmatch(digits):
        return False
    values = [int(d) for d in digits]
    if len(values) == 10:
        return sum(value * (10 - i) for i, value in enumerate(values)) % 11 == 0
    return len(values) == 12 and (sum(values[0::2]) * 3 + sum(values[1::2])) % 10 == 0
