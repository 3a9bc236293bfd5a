"""National identity, tax, health and insurance numbers: the form that a register prescribes, and its check digits.

Where nine or ten plain digits are all there is (Dutch BSN, British NHS, Canadian SIN ...), any article number would do:
those count only where the query says what they are. Sources are the registers' own rules, as collected by
python-stdnum, against which the tests' cases are proved.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_START, _END = r"(?<![\w.,/+-])", r"(?![\w/-]|[.,]\d)"

_TOLD = re.compile(
    r"\b(?P<what>ssn|social security|social insurance|sin|itin|bsn|burgerservicenummer|sofinummer|nhs"
    r"|national insurance"
    r"|nino?|aadhaa?r|adhaar|pesel|cpf|steuer-?\s?id\w*|steuer-?identifikationsnummer|steuernummer|idnr|tax id|tin"
    r"|dni|nie|nif"
    r"|codice fiscale|personnummer|personnr|cpr|henkil[öo]tunnus|hetu|ahv|avs|svnr|sozialversicherungs\w*"
    r"|rijksregister\w*"
    r"|tc kimlik|tckn|curp|rfc|passport|reisepass\w*|passeport|pasaporte|personalausweis\w*|driver'?s licen[cs]e"
    r"|s[ée]cu\w*"
    r"|insee|num[ée]ro de s[ée]cu\w*|tfn|medicare)\b[\s.:#-]*(?:no|nr|number|num|nummer|n°|is)?[\s.:#-]*"
    r"(?P<number>(?=(?:[^\s\d]{0,6}[\s./-]?\d){6})[a-z0-9](?:[\s./-]?[a-z0-9]){6,19})(?!\w)",
    re.IGNORECASE,
)
_NEEDS_ONLY_DIGITS = {"sin", "tin", "nie", "nino", "nin", "hetu", "avs"}
"""Words of other meanings: after these, the number must be one, without letters."""

_CHECK_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_CHECK_HETU = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_ODD_CF = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21),
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        ),
        strict=True,
    )
)
_VERHOEFF_D = tuple(
    tuple(((i % 5 + j) % 5 if j < 5 else (i % 5 + j) % 5 + 5) if i < 5 else ((i - j) % 5 + 5 if j < 5 else (i - j) % 5)
          for j in range(10))
    for i in range(10)
)  # fmt: skip
_VERHOEFF_P = ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4))


_SOME = re.compile(r"(?:\d[ ./+-]?){6}|\d\d[a-z]\d\d[a-z]\d", re.IGNORECASE)


def remove_ids(text: str) -> str:
    """``text`` with ``<id>``."""
    if not _SOME.search(text):
        return text
    for form, is_valid in _FORMS:
        text = form.sub(lambda m: "<id>" if is_valid(_bare(m.group())) else m.group(), text)  # noqa: B023 (used at once)
    return _TOLD.sub(_told, text)


def _told(match: re.Match[str]) -> str:
    number, rest = match["number"], ""
    # A word behind the number is no part of it: "ssn 123456789 red shoes".
    if end := re.search(r"\s[^\W\d_]{2,}", number):
        number, rest = number[: end.start()], number[end.start() :]
    digits = sum(character.isdigit() for character in number)
    letters = sum(character.isalpha() for character in number)
    if digits < 6 or letters > 8 or (letters and match["what"].lower() in _NEEDS_ONLY_DIGITS):
        return match.group()
    return match.group()[: match.start("number") - match.start()] + "<id>" + rest


def _bare(text: str) -> str:
    return "".join(character for character in text if character.isalnum()).upper()


def _date(year: str, month: str, day: str) -> bool:
    return year.isdigit() and 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def _luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def _ssn(number: str) -> bool:
    """US: no area 000, 666 or 9xx, no group 00, no serial 0000; there is no check digit."""
    return number[:3] not in ("000", "666") and number[0] != "9" and number[3:5] != "00" and number[5:] != "0000"


def _nino(number: str) -> bool:
    """UK: prefixes that are never given out."""
    return number[:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


def _steuer_id(number: str) -> bool:
    """Germany: one digit of the first ten is there twice or three times; ISO 7064 mod 11,10."""
    counts = sorted(number[:10].count(d) for d in set(number[:10]))
    if number[0] == "0" or counts[-1] not in (2, 3) or counts[-2] != 1:
        return False
    check = 10
    for digit in number[:10]:
        check = 2 * ((check + int(digit)) % 10 or 10) % 11
    return (11 - check) % 10 == int(number[10])


def _pesel(number: str) -> bool:
    """Poland: the month tells the century; weighted sum mod 10."""
    return _date(number[:2], str(int(number[2:4]) % 20), number[4:6]) and (
        (_weighted(number[:10], (1, 3, 7, 9) * 3) + int(number[10])) % 10 == 0
    )


def _cpf(number: str) -> bool:
    """Brazil: two check digits mod 11; eleven equal digits are none."""
    if len(set(number)) == 1:
        return False
    for length in (9, 10):
        check = _weighted(number[:length], tuple(range(length + 1, 1, -1))) * 10 % 11 % 10
        if check != int(number[length]):
            return False
    return True


def _tc_kimlik(number: str) -> bool:
    """Turkey: two check digits."""
    d = [int(digit) for digit in number]
    return d[0] != 0 and (7 * sum(d[0:9:2]) - sum(d[1:8:2])) % 10 == d[9] and sum(d[:10]) % 10 == d[10]


def _eleven_digits(number: str) -> bool:
    if number[:3] in ("015", "016", "017"):  # a German mobile telephone
        return False
    return _steuer_id(number) or _pesel(number) or _cpf(number) or _tc_kimlik(number) or _rijksregister(number)


def _nir(number: str) -> bool:
    """France: 97 minus the rest of 13 digits; Corsica's 2A and 2B stand for 19 and 18."""
    body = number[:13].replace("2A", "19", 1) if number[5:7] == "2A" else number[:13].replace("2B", "18", 1)
    if not body.isdigit() or not 1 <= int(number[3:5]) % 20 <= 12:
        return False
    return 97 - int(body) % 97 == int(number[13:])


def _dni(number: str) -> bool:
    """Spain: the letter is the number mod 23; X, Y and Z of foreigners stand for 0, 1 and 2."""
    digits = number[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return _CHECK_DNI[int(digits) % 23] == number[-1]


def _codice_fiscale(number: str) -> bool:
    """Italy: the check letter over odd and even places."""
    total = sum(
        _ODD_CF[c] if i % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for i, c in enumerate(number[:15])
    )
    return chr(65 + total % 26) == number[15]


def _aadhaar(number: str) -> bool:
    """India: Verhoeff. Twelve digits may be a UPC-A, too: a valid one is left alone."""
    check = 0
    for place, digit in enumerate(reversed(number)):
        turned = int(digit)
        for _ in range(place % 8):
            turned = _VERHOEFF_P[1][turned]
        check = _VERHOEFF_D[check][turned]
    return check == 0


def _aadhaar_unbroken(number: str) -> bool:
    return _aadhaar(number) and _weighted(number, (3, 1) * 6) % 10 != 0


def _personnummer(number: str) -> bool:
    """Sweden: a date (the day plus 60 for coordination numbers) and Luhn; Denmark's has no check digit any more."""
    number = number[-10:]
    return _date(number[:2], number[2:4], str(int(number[4:6]) % 60)) and _luhn(number)


def _day_first(number: str) -> bool:
    return _date(number[4:6], number[2:4], number[:2])


def _hetu(number: str) -> bool:
    """Finland: the date and serial mod 31."""
    return _day_first(number) and _CHECK_HETU[int(number[:6] + number[-4:-1]) % 31] == number[-1]


def _ahv(number: str) -> bool:
    """Switzerland: 756 and the check digit of an EAN."""
    return (_weighted(number[:12], (1, 3) * 6) + int(number[12])) % 10 == 0


def _rijksregister(number: str) -> bool:
    """Belgium: 97 minus the rest of nine digits, with a 2 before them from 2000 on."""
    month = int(number[2:4]) % 20
    return (
        month <= 12
        and int(number[4:6]) <= 31
        and int(number[9:]) in (97 - int(number[:9]) % 97, 97 - int("2" + number[:9]) % 97)
    )


def _resident_id(number: str) -> bool:
    """China: ISO 7064 mod 11-2, and a date of birth."""
    total = sum(int(d) * pow(2, 17 - i, 11) for i, d in enumerate(number[:17]))
    return _date(number[6:10], number[10:12], number[12:14]) and "10X98765432"[total % 11] == number[17]


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(f"{_START}(?:{pattern}){_END}", re.IGNORECASE)


_FORMS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (_form(r"[1-9]\d{5}(?:19|20)\d{9}[\dx]"), _resident_id),
    (_form(r"[12][ .]?\d\d[ .]?\d\d[ .]?(?:\d\d|2[ab])[ .]?\d{3}[ .]?\d{3}[ .]?\d\d"), _nir),
    (_form(r"[a-z]{6}\d\d[abcdehlmprst]\d\d[a-z]\d{3}[a-z]"), _codice_fiscale),
    (_form(r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d\d"), _ahv),
    (_form(r"[2-9]\d{3}([ -])\d{4}\1\d{4}"), _aadhaar),
    (_form(r"[2-9]\d{11}"), _aadhaar_unbroken),
    (_form(r"\d{11}"), _eleven_digits),
    (_form(r"[1-9]\d \d{3} \d{3} \d{3}"), _steuer_id),
    (_form(r"\d{3}\.\d{3}\.\d{3}[-.]\d\d"), _cpf),
    (_form(r"\d\d[. ]\d\d[. ]\d\d[- ]\d{3}[. ]\d\d"), _rijksregister),
    (_form(r"(?:19|20)?\d{6}[-+]\d{4}"), _personnummer),
    (_form(r"\d{6}-\d{4}"), _day_first),
    (_form(r"\d{6}[-+a-fu-y]\d{3}[\da-y]"), _hetu),
    (_form(r"\d{3}-\d\d-\d{4}"), _ssn),
    (_form(r"[a-ceghj-prstw-z][a-ceghj-npr-tw-z] ?\d\d ?\d\d ?\d\d ?[a-d]"), _nino),
    (_form(r"\d{8}[- ]?[a-hj-np-tv-z]|[xyz]-?\d{7}-?[a-hj-np-tv-z]"), _dni),
)
