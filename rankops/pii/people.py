"""Names of people, where the query announces one: a title ("mr smith") or a phrase ("order for anna schmidt").

After "my name is" or "order for" stands a name unless the word is plainly something else; after what is also said of
goods ("gift for", "frau") only a name that is known counts. Titles that are half of a brand are left alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection

from rankops.pii.names import BRANDS, CUES, FAMILY, GIVEN, NOT_A_NAME

_WORD = r"[^\W\d_]+(?:['’.-][^\W\d_]+)*\.?(?!\w)"
_PARTICLE = r"(?:van|von|vom|der|den|de|la|las|los|da|das|dos|do|du|del|della|di|le|el|bin|al|ter|ten|te|zu|zur|y|e|op)"
_NAME = rf"(?:{_PARTICLE}\s+){{0,2}}{_WORD}(?:\s+(?:{_PARTICLE}\s+){{0,2}}{_WORD}){{0,2}}"

_SURE = re.compile(
    r"\b(?P<cue>my\sname\sis|i\sam\scalled|mein\sname\sist|ich\shei(?:ß|ss)e|je\sm['’]appelle|mon\snom\sest"
    r"|me\sllamo|mi\snombre\ses|mi\schiamo"
    r"|il\smio\snome\s[èe]|mijn\snaam\sis|ik\sheet|nazywam\ssi[ęe]|meu\snome\s[ée]|me\schamo|jag\sheter"
    r"|mitt\snamn\s[äa]r|ad[ıi]m|attn\.?:?|c/o|z\.?\s?hd\.?"
    r"|(?:an\s)?order(?:ed)?\s(?:for|of|by|from)|(?:deliver|delivery|ship|send)\s(?:it\s)?to|for\s(?:customer"
    r"|client)|customer:|client:|kund(?:e|in|en):?"
    r"|bestellung\s(?:f[üu]r|von)|liefer\w*\san|commande\s(?:pour|de)|livraison\s(?:[àa]|pour)|livrer\s[àa]"
    r"|pedido\s(?:para|de|a\snombre\sde)|entregar\sa|entrega\spara"
    r"|ordine\s(?:per|di)|consegna\sa|bestelling\s(?:voor|van)|bezorgen\sbij|zam[óo]wienie\s(?:dla|od)"
    r"|encomenda\s(?:para|de)|best[äa]llning\s(?:till|fr[åa]n|f[öo]r))"
    rf"\s+(?P<name>{_NAME})",
    re.IGNORECASE,
)
_MAYBE = re.compile(
    r"\b(?P<cue>(?:gift|present|package|parcel|birthday|engraved|personali[sz]ed)\s(?:for|from|with)"
    r"|geschenk\w*\s(?:f[üu]r|von)|paket\s(?:f[üu]r|von)|cadeau\spour"
    rf"|regalo\s(?:para|per)|prezent\sdla|present\still|dear|hello|hallo|ciao)\s+(?P<name>{_NAME})",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"(?<![\w-])(?P<cue>mrs?|ms|miss|mister|dr|prof|herrn?|frau|fr(?=\.)|hr(?=\.)|monsieur|madame|mademoiselle|mme"
    r"|mlle|señora?|senora?|sra?|signora?|signore|sig(?=\.)"
    rf"|mevrouw|mevr|meneer|dhr|pan|pani|panu|senhora?|dona|fru|fr[öo]ken|sayın)(?P<dot>\.?)\s+(?P<name>{_NAME})",
    re.IGNORECASE,
)
_TITLE_MAYBE = frozenset({"ms", "miss", "dr", "herr", "frau", "madame", "pan", "fru", "sr", "dona", "prof", "pani"})


def remove_people(text: str) -> str:
    """``text`` with ``<name>`` for each name that is announced."""
    if CUES.isdisjoint(text.lower().split()):
        return text
    text = _TITLE.sub(_titled, text)
    text = _SURE.sub(lambda m: _replaced(m, _sure(m["name"].split())), text)
    return _MAYBE.sub(lambda m: _replaced(m, _known(m["name"].split())), text)


def may_name_someone(text: str, known: Collection[str] = ()) -> bool:
    """Whether two words beside each other may be somebody's name; brands that look like names are left out.

    With ``known``, the words of the catalogue in lower case, two words that it lacks are suspect as well: that finds
    nearly every name, and takes misspelled goods for one. Without, only frequent names are found.

    >>> may_name_someone("anna schmidt"), may_name_someone("calvin klein jeans"), may_name_someone("red shoes")
    (True, False, False)
    """
    words = [word.strip(".,;:!?()'") for word in text.lower().split()]
    words = [word for word in words if not _is_particle(word)]
    return any(
        _may_be_name(first, second, known)
        for first, second in itertools.pairwise(words)
        if _is_word(first) and _is_word(second) and f"{first} {second}" not in BRANDS
    )


def _may_be_name(first: str, second: str, known: Collection[str]) -> bool:
    if first in NOT_A_NAME or second in NOT_A_NAME:
        return False
    if first in GIVEN:
        return not known or second in FAMILY or second in GIVEN or second not in known
    if not known:
        return False
    return first not in known and (second in FAMILY or second in GIVEN or second not in known)


def _titled(match: re.Match[str]) -> str:
    words = match["name"].split()
    cue, first = match["cue"].lower(), words[0].lower().strip(".")
    if f"{cue} {first}" in BRANDS or _plain(_first(words)):
        return match.group()
    if cue not in _TITLE_MAYBE:
        return _replaced(match, _taken(words, 2))
    if count := _known(words):
        return _replaced(match, count)
    # "frau musterfrau": two words that are no goods, with the title in front of everything or after "for".
    before = match.string[: match.start()].split()
    opens = not before or before[-1].lower() in (
        "for",
        "für",
        "an",
        "von",
        "to",
        "pour",
        "para",
        "per",
        "voor",
        "dla",
        "till",
    )
    return _replaced(match, _taken(words, 2)) if opens or match["dot"] else match.group()


def _sure(words: list[str]) -> int:
    return 0 if _plain(_first(words)) else _taken(words, 2)


def _known(words: list[str]) -> int:
    """How many words a name takes that begins with a known given or family name, else 0."""
    first = words[0].lower().strip(".'’")
    if not (first in GIVEN or first in FAMILY) or " ".join(words[:2]).lower() in BRANDS:
        return 0
    return _taken(words, 2)


def _first(words: list[str]) -> str:
    """The first word that is more than a particle ("de", "van der")."""
    return next((word for word in words if not _is_particle(word)), "")


def _taken(words: list[str], most: int) -> int:
    """How many words a name takes: ``most``, or three where two given names come first; particles are not counted."""
    count, found = 0, list[str]()
    for position, word in enumerate(words):
        bare = word.lower().strip(".")
        if _is_particle(bare):
            continue
        if (found and _plain(bare)) or (len(found) == most and not set(found) <= GIVEN) or len(found) > most:
            break
        found.append(bare)
        count = position + 1
    return count


def _replaced(match: re.Match[str], count: int) -> str:
    """The match with the first ``count`` words of its name taken out."""
    if not count:
        return match.group()
    words = re.findall(r"\S+\s*", match["name"])
    rest = "".join(words[count:])
    start = match.start("name") - match.start()
    return match.group()[:start] + "<name>" + (" " if rest else "") + rest


def _is_particle(word: str) -> bool:
    return re.fullmatch(_PARTICLE, word.lower()) is not None


def _plain(word: str) -> bool:
    return word.lower().strip(".'’") in NOT_A_NAME or len(word) < 2


def _is_word(word: str) -> bool:
    return len(word) > 1 and word.replace("-", "").replace("'", "").replace("’", "").isalpha()
