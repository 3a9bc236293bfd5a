"""Where parcels go and what they are called: postal addresses, and numbers of orders, parcels and customers.

Addresses are recognized by what a street is called in nine languages, with a house number beside it; that catches most
and not all. A number counts as an order's only where the query says so.
"""

from __future__ import annotations

import re

_WORD = r"[^\W\d_]{1,30}(?:['’.-][^\W\d_]{1,30})?\.?"
_HOUSE = r"\d{1,3}\s?(?:[a-h]\b)?(?:\s?[-/]\s?\d{1,3}[a-h]?\b)?"
_UNIT = r"mm|cm|m|kg|g|ml|l|x|gb|tb|v|w|zoll|inch|teilig|stk|er|packs?|-?p|m?hz|ghz|mah|ohm|st|pcs|seiten|pages"
_FLAT = r"(?:,?\s+(?:apt|apartment|appartamento|piso|puerta|piano|suite|flat|unit|etage|stock)\b\.?\s*\d{1,4}){0,2}"
_BEHIND = rf"[,\s]+(?:n[ro°º]?\.?\s*)?{_HOUSE}(?!\s?(?:{_UNIT})\b)(?![\w\"/x]){_FLAT}"
_GOODS = (
    r"inch|in|mm|cm|m|gb|tb|mb|w|v|x|pack|pcs|piece|pieces|pairs?|speed|lane|way|ports?|channel|sets?|ml|l|kg|g|oz"
    r"|mens?"
    r"|womens?|kids|lbs?|ft|hz|mah|season|series|cd|dvd|pk|ct"
)
_KINDS = (  # what a street is called: before the number ...
    (  # at the end of a German, Dutch, Swedish word
        rf"\b(?:{_WORD}[\s-]){{0,2}}?[^\W\d_]{{0,30}}(?:stra(?:ß|ss)e|str\.|(?:(?<=\w\w)|(?<=\w-))(?:weg|allee|platz"
        rf"|gasse"
        r"|(?<!st)(?<!sp)(?<!ear)ring|(?<![äa])ufer|damm|straat|laan|plein|gracht|kade|dreef|steeg|singel|v[äa]gen"
        r"|gatan"
        rf"|gr[äa]nd|st[ií]gen|torget)\b){_BEHIND}"
    ),
    (  # as a word before a Spanish, Italian, Portuguese, Polish name
        r"\b(?:calle|avenida|avda\.?|paseo|plaza|ronda|callej[óo]n|cuesta|glorieta|pasadizo|acceso|urbanizaci[óo]n"
        r"|alameda"
        r"|rambla|via(?!\s(?:usb|hdmi|bluetooth|wi-?fi|w?lan|sata|pci|app))|viale|piazza|piazzetta|corso|largo|vicolo"
        r"|contrada|(?<!da\s)strada|borgo|incrocio|rotonda|lungomare|rua|travessa|pra[çc]a|rodovia|viela|ladeira"
        r"|trevo|esta[çc][ãa]o"
        r"|condom[íi]nio|loteamento|esplanada|c/|c\.|ul\.|ulica|al\.|aleja|pl\.|plac|os\.|osiedle)\s+"
        rf"(?:d[aeio]s?\s|de\s?l[ao]?\s|del\s)?(?:{_WORD}\s?){{1,4}}?{_BEHIND}"
    ),
    rf"\b(?:{_WORD}\s){{1,3}}(?:sok(?:ak|ağı)?|cad(?:de|desi)|mah(?:alle|allesi)|bulvar[ıi]?)\b\.?(?:{_BEHIND})?",
    r"\b(?:p\.?\s?o\.?\s?box|postfach|apartado|bo[îi]te\spostale)\s+\d{2,6}\b",
    # ... or after it
    rf"(?<![\w.,-])\d{{1,5}}(?:/\d{{1,4}})?[a-z]?,?\s+(?!(?:{_GOODS})\b)(?:{_WORD}\s+){{1,3}}?"
    r"(?:street|st|avenue|ave|lane|ln|boulevard|blvd|road|rd|crescent|terrace|turnpike|parkway|highway|grove|nagar"
    r"|chowk"
    r"|marg|ganj|circles?|mews|court|gardens|heights|lodge|roads|streets|trail|path)\b\.?"
    rf"(?!\s(?:bike|wheels?|tyres?|tires?|shoes?|lamp|book|light|set|for|ssd|hdd|usb|running|glove|s))(?:{_FLAT})",
    rf"(?<![\w.,-])\d{{1,4}}(?:\s?(?:bis|ter))?,?\s+(?:rue|avenue|av\.?|boulevard|bd\.?|place(?!\s(?:sett|mat))"
    rf"|chemin|impasse|all[ée]e|quai"
    rf"|cours)\s+(?:d(?:e|u|es)\s|de\sla\s|d['’]|l['’]|la\s|le\s)?{_WORD}(?:[\s-]{_WORD}){{0,2}}",
    rf"\b(?:rue|boulevard|chemin|impasse|all[ée]e)\s+(?:d(?:e|u|es)\s|de\sla\s|d['’]|l['’]|la\s|le\s)?{_WORD}"
    rf"(?:\s{_WORD}){{0,2}}?{_BEHIND}",
)
_ADDRESSES = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _KINDS)
_MAY_HOLD_ONE = re.compile(
    r"straße|strasse|str\.|weg\b|allee|platz\b|gasse|ring\b|ufer\b|damm|straat|laan|plein|gracht|kade|dreef|steeg"
    r"|singel"
    r"|gatan|v[äa]gen|gr[äa]nd|st[ií]gen|torget|\b(?:calle|avenida|avda|paseo|plaza|ronda|callej|cuesta|glorieta"
    r"|pasadizo"
    r"|acceso|urbaniz|alameda|rambla|via|viale|piazz|corso|largo|vicolo|contrada|strada|borgo|incrocio|rotonda"
    r"|lungomare"
    r"|rua|travessa|pra[çc]a|rodovia|viela|ladeira|trevo|esta[çc]|condom|loteamento|esplanada|c/|c\.|ul\.|ulica|al\."
    r"|aleja"
    r"|pl\.|plac|os\.|osiedle|sok|cad|mah|bulvar|p\.?\s?o\.?\s?box|postfach|apartado|bo[îi]te|street|st|avenue|ave"
    r"|lane|ln"
    r"|boulevard|blvd|road|rd|crescent|terrace|turnpike|parkway|highway|grove|nagar|chowk|marg|ganj|circles?|mews|court"
    r"|gardens|heights|lodge|trail|path|rue|av|bd|place|chemin|impasse|all[ée]e|quai|cours)\b",
    re.IGNORECASE,
)
_SENT_TO = re.compile(
    r"\b(?P<cue>(?:deliver|delivery|ship|shipping|send|sent|mail)\s(?:it\s)?to|lieferung\san|lieferadresse:?"
    r"|livrer\s[àa]"
    r"|livraison\s[àa]|entregar\s(?:a|en)|spedire\sa|bezorgen\sop)\s+(?P<place>(?=[^\d]{0,60}\d)[^<>]{5,120}$)",
    re.IGNORECASE,
)
_NO_PLACE = re.compile(r"\b(?:usb|hdmi|v|gb|tb|mm|cm|mah|labels?|stickers?|buch|book|stempel)\b", re.IGNORECASE)

_ORDERS = re.compile(
    r"\b(?:(?:my|your|return|the)\s)?(?:order(?:s|nummer|nr)?|auftrags?(?:nummer|nr)?|bestell(?:ung|nummer|nr)?"
    r"|bestelling|ordine|pedido|commande|encomenda"
    r"|zam[óo]wienie|tracking|sendungs?(?:nummer|nr|verfolgung)?|parcel|paket(?:nummer|nr)?|shipment|invoice"
    r"|rechnungs?(?:nummer|nr)?"
    r"|faktura|facture|factura|customer|kunden(?:nummer|nr)?|membership|account|rma|retour\w*)"
    r"[\s.:#-]*(?:id|no|nr|num|number|nummer|n°|nº|#|ref)?[\s.:#-]*"
    r"(?P<number>(?=(?:[a-z]{0,4}[-/.]?){0,3}\d)(?=(?:[a-z./-]*\d){5})[a-z0-9](?:[-/.]?[a-z0-9]){4,29})(?!\w)",
    re.IGNORECASE,
)
_PARCEL = re.compile(r"\b1z[a-z0-9]{6}\d{10}\b", re.IGNORECASE)  # UPS


def remove_addresses(text: str) -> str:
    """``text`` with ``<address>``."""
    if _MAY_HOLD_ONE.search(text):
        for pattern in _ADDRESSES:
            text = pattern.sub("<address>", text)
    return _SENT_TO.sub(lambda m: m.group() if _NO_PLACE.search(m["place"]) else f"{m['cue']} <address>", text)


def remove_orders(text: str) -> str:
    """``text`` with ``<order>``."""
    text = _PARCEL.sub("<order>", text)
    return _ORDERS.sub(lambda m: m.group()[: m.start("number") - m.start()] + "<order>", text)
