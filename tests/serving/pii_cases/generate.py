"""Write the labelled sets beside this file: queries with personal data, and hard negatives from product search.

Nothing here looks at :mod:`rankops.pii`. Names, addresses and mail come from Faker, telephone numbers from Google's
libphonenumber (valid ones, formatted as each country writes them), and national ids are made by the rules of their
registers and proved by python-stdnum. ``tuning.tsv`` is what the remover may be improved on; ``held_out.tsv`` comes from
another seed and measures it. Run by hand, in an environment of its own:

    pip install Faker==40.63.0 phonenumbers==9.0.43 python-stdnum==2.2
    python tests/serving/pii_cases/generate.py

Columns: class, kind, query, personal (the part of the query that must not be kept; empty in a negative).
"""

from __future__ import annotations

import itertools
import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
SEEDS = {"tuning": 1, "held_out": 20261127}

COUNTRIES = ("DE", "FR", "GB", "US", "ES", "IT", "NL", "PL", "PT", "BR", "IN", "CN", "JP", "AU", "CH", "AT", "SE", "DK",
             "BE", "TR")  # fmt: skip
LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "pt_BR", "en_IN", "sv_SE", "tr_TR")
GOODS = ("red shoes", "usb c hub", "ssd 1tb", "coffee machine", "iphone case", "winter jacket size 42", "27 inch monitor",
         "toner black", "lego 75192", "desk lamp", "running shoes 9.5", "hdmi cable 2m")  # fmt: skip

Row = tuple[str, str, str, str]


def around(rng: random.Random, personal: str, *contexts: str) -> tuple[str, str]:
    """A query around the personal part: alone, with goods, or in one of the contexts; half of them in lower case."""
    context = rng.choice(("{}", "{goods} {}", "{} {goods}", *contexts, *contexts))
    query = context.replace("{goods}", rng.choice(GOODS)).replace("{}", personal)
    return (query.lower(), personal.lower()) if rng.random() < 0.5 else (query, personal)


def emails(rng: random.Random) -> Iterator[Row]:
    from faker import Faker

    for locale in LOCALES:
        fake = Faker(locale)
        fake.seed_instance(rng.getrandbits(32))
        for _ in range(5):
            address = rng.choice((fake.email, fake.free_email, fake.company_email, fake.ascii_safe_email))()
            local, domain = address.split("@")
            form = rng.choice(("plain", "plain", "plus", "spaced", "(at)", "[at]", "at dot"))
            text = {
                "plain": address, "plus": f"{local}+shop@{domain}", "spaced": f"{local} @ {domain}",
                "(at)": f"{local}(at){domain}", "[at]": f"{local} [at] {domain}",
                "at dot": f"{local} at {domain.replace('.', ' dot ')}",
            }[form]  # fmt: skip
            yield (
                "email",
                form,
                *around(rng, text, "invoice to {}", "my email is {}", "rückgabe {}", "contact {} about {goods}"),
            )


def phones(rng: random.Random) -> Iterator[Row]:
    import phonenumbers as pn

    forms = (pn.PhoneNumberFormat.INTERNATIONAL, pn.PhoneNumberFormat.E164, pn.PhoneNumberFormat.NATIONAL)
    for country in COUNTRIES:
        for index in range(12):
            kind = (pn.PhoneNumberType.MOBILE, pn.PhoneNumberType.FIXED_LINE)[index % 2]
            example = pn.example_number_for_type(country, kind) or pn.example_number(country)
            while True:
                digits = str(example.national_number)
                keep = rng.randint(2, 4)
                changed = digits[:keep] + "".join(rng.choice(string.digits) for _ in digits[keep:])
                number = pn.parse(pn.format_number(example, pn.PhoneNumberFormat.E164)[: -len(digits)] + changed, None)
                if pn.is_valid_number(number) and pn.region_code_for_number(number) == country:
                    break
            form = forms[index % 3]
            text = pn.format_number(number, form)
            name = {0: "e164", 1: "international", 2: "national"}[int(form)]
            if name == "e164" and rng.random() < 0.3:
                text, name = "00" + text[1:], "00"
            contexts = (
                ("tel {}", "call me {}", "{goods} phone {}", "handy: {}", "whatsapp {} {goods}")
                if name == "national"
                else ("call {}", "{goods} for {}")
            )
            yield f"phone {country}", name, *around(rng, text, *contexts)


def ibans(rng: random.Random) -> Iterator[Row]:
    from faker import Faker

    for locale in (
        "de_DE",
        "fr_FR",
        "es_ES",
        "it_IT",
        "nl_NL",
        "pl_PL",
        "pt_PT",
        "de_AT",
        "de_CH",
        "en_GB",
        "tr_TR",
        "fi_FI",
    ):
        fake = Faker(locale)
        fake.seed_instance(rng.getrandbits(32))
        for _ in range(4):
            iban = fake.iban()
            text = iban if rng.random() < 0.5 else " ".join(iban[i : i + 4] for i in range(0, len(iban), 4))
            yield "iban", locale, *around(rng, text, "refund to {}", "iban {}", "erstattung auf {}")


def cards(rng: random.Random) -> Iterator[Row]:
    from faker import Faker

    fake = Faker("en_US")
    fake.seed_instance(rng.getrandbits(32))
    for brand in ("visa16", "mastercard", "amex", "discover", "jcb16", "maestro", "diners"):
        for _ in range(7):
            number = fake.credit_card_number(brand) if brand != "maestro" else luhn_complete(rng, "6759", 16)
            separator = rng.choice(("", " ", "-"))
            groups = (4, 6, len(number) - 10) if len(number) in (14, 15) else (4,) * (len(number) // 4)
            cut = [sum(groups[:i]) for i in range(len(groups) + 1)]
            text = separator.join(number[a:b] for a, b in itertools.pairwise(cut))
            yield "card", brand, *around(rng, text, "pay with {}", "card {} exp 12/27", "{goods} visa {}")


def digits(rng: random.Random, n: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(n))


def luhn_complete(rng: random.Random, prefix: str, length: int) -> str:
    from stdnum import luhn

    body = prefix + digits(rng, length - 1 - len(prefix))
    return body + luhn.calc_check_digit(body)


def until(rng: random.Random, make: Callable[[], str], valid: Callable[[str], bool]) -> str:
    """The first candidate that the register's rules accept."""
    while not valid(candidate := make()):
        pass
    return candidate


def born(rng: random.Random, form: str) -> str:
    parts = {"Y": f"{rng.randint(1940, 2007)}", "m": f"{rng.randint(1, 12):02}", "d": f"{rng.randint(1, 28):02}"}
    return "".join(parts["Y"][2:] if c == "y" else parts.get(c, c) for c in form)


def national_ids(rng: random.Random) -> Iterator[Row]:  # noqa: C901 (a register each)
    from stdnum import verhoeff
    from stdnum.be import nn
    from stdnum.br import cpf
    from stdnum.ca import sin
    from stdnum.ch import ssn as ahv
    from stdnum.cn import ric
    from stdnum.de import idnr
    from stdnum.dk import cpr
    from stdnum.es import dni, nie
    from stdnum.fi import hetu
    from stdnum.fr import nir
    from stdnum.gb import nhs
    from stdnum.in_ import aadhaar
    from stdnum.it import codicefiscale
    from stdnum.nl import bsn
    from stdnum.pl import pesel
    from stdnum.se import personnummer
    from stdnum.tr import tckimlik
    from stdnum.us import ssn

    letters = string.ascii_uppercase

    def us() -> str:
        return until(rng, lambda: f"{digits(rng, 3)}-{digits(rng, 2)}-{digits(rng, 4)}", ssn.is_valid)

    def uk_nino() -> str:
        first, second = rng.choice("ABCEGHJKLMNOPRSTWXYZ"), rng.choice("ABCEGHJKLMNPRSTWXYZ")
        if first + second in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"):
            return uk_nino()
        number, end = digits(rng, 6), rng.choice("ABCD")
        spaced = f"{first}{second} {number[:2]} {number[2:4]} {number[4:]} {end}"
        return rng.choice((f"{first}{second}{number}{end}", spaced))

    def german_tax() -> str:
        number = until(rng, lambda: digits(rng, 11), idnr.is_valid)
        return rng.choice((number, f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}"))

    def french() -> str:
        place = rng.choice(("75", "13", "69", "33", "59", "2A", "01"))
        body = rng.choice("12") + born(rng, "ym") + place + f"{rng.randint(1, 400):03}{rng.randint(1, 400):03}"
        number = body + nir.calc_check_digits(body)
        assert nir.is_valid(number)
        spaced = " ".join((number[0], number[1:3], number[3:5], number[5:7], number[7:10], number[10:13], number[13:]))
        return rng.choice((number, spaced))

    def spanish() -> str:
        if rng.random() < 0.5:
            number = digits(rng, 8)
            return rng.choice((f"{number}{dni.calc_check_digit(number)}", f"{number}-{dni.calc_check_digit(number)}"))
        number = rng.choice("XYZ") + digits(rng, 7)
        return until(rng, lambda: number + nie.calc_check_digit(number), nie.is_valid)

    def italian() -> str:
        body = "".join(rng.choice("BCDFGLMNPRSTVZ") for _ in range(6))
        body += born(rng, "y") + rng.choice("ABCDEHLMPRST") + f"{rng.randint(1, 28) + 40 * rng.randint(0, 1):02}"
        body += rng.choice("AFHLG") + f"{rng.randint(100, 999)}"
        return until(rng, lambda: body + codicefiscale.calc_check_digit(body), codicefiscale.is_valid)

    def dutch() -> str:
        return until(rng, lambda: digits(rng, 9), bsn.is_valid)

    def polish() -> str:
        body = born(rng, "ymd") + digits(rng, 4)
        return (
            until(rng, lambda: body + pesel.calc_check_digit(body), pesel.is_valid)
            if pesel.is_valid(body + pesel.calc_check_digit(body))
            else polish()
        )

    def brazilian() -> str:
        number = until(rng, lambda: digits(rng, 11), cpf.is_valid)
        return rng.choice((number, cpf.format(number)))

    def indian() -> str:
        body = rng.choice("23456789") + digits(rng, 10)
        number = body + verhoeff.calc_check_digit(body)
        if not aadhaar.is_valid(number):  # no palindromes
            return indian()
        return rng.choice(
            (number, f"{number[:4]} {number[4:8]} {number[8:]}", f"{number[:4]}-{number[4:8]}-{number[8:]}")
        )

    def swedish() -> str:
        number = until(rng, lambda: born(rng, "ymd") + "-" + digits(rng, 4), personnummer.is_valid)
        return rng.choice((number, "19" + number)) if personnummer.is_valid("19" + number) else number

    def danish() -> str:
        return until(rng, lambda: born(rng, "dmy") + "-" + digits(rng, 4), cpr.is_valid)

    def finnish() -> str:
        body = born(rng, "dmy"), f"{rng.randint(2, 899):03}"
        return next(
            f"{body[0]}-{body[1]}{last}"
            for last in letters + string.digits
            if hetu.is_valid(f"{body[0]}-{body[1]}{last}")
        )

    def swiss() -> str:
        number = until(rng, lambda: "756" + digits(rng, 10), ahv.is_valid)
        return rng.choice((number, ahv.format(number)))

    def belgian() -> str:
        number = until(rng, lambda: born(rng, "ymd") + digits(rng, 5), nn.is_valid)
        return f"{number[:2]}.{number[2:4]}.{number[4:6]}-{number[6:9]}.{number[9:]}"

    def turkish() -> str:
        return until(rng, lambda: rng.choice("123456789") + digits(rng, 10), tckimlik.is_valid)

    def chinese() -> str:
        place = rng.choice(("110101", "310101", "440304", "510104"))
        return until(rng, lambda: place + born(rng, "Ymd") + digits(rng, 3) + rng.choice("0123456789X"), ric.is_valid)

    def british_health() -> str:
        number = until(rng, lambda: digits(rng, 10), nhs.is_valid)
        return f"{number[:3]} {number[3:6]} {number[6:]}"

    def canadian() -> str:
        number = until(rng, lambda: digits(rng, 9), sin.is_valid)
        return f"{number[:3]} {number[3:6]} {number[6:]}"

    # An id that is nine or ten plain digits looks like any article number: people who paste one say what it is.
    told: dict[str, tuple[Callable[[], str], tuple[str, ...]]] = {
        "NL BSN": (dutch, ("bsn {}", "burgerservicenummer: {}")),
        "GB NHS": (british_health, ("nhs number {}", "nhs no {}")),
        "CA SIN": (canadian, ("sin {}", "social insurance number {}")),
        "US SSN, plain": (lambda: us().replace("-", ""), ("ssn {}", "social security number {}", "ssn: {} {goods}")),
    }
    alone: dict[str, tuple[Callable[[], str], tuple[str, ...]]] = {
        "US SSN": (us, ("ssn {}",)),
        "GB NINO": (uk_nino, ("national insurance {}",)),
        "DE Steuer-ID": (german_tax, ("steuer-id {}",)),
        "FR INSEE": (french, ("numéro de sécu {}",)),
        "ES DNI/NIE": (spanish, ("dni {}",)),
        "IT codice fiscale": (italian, ("codice fiscale {}",)),
        "PL PESEL": (polish, ("pesel {}",)),
        "BR CPF": (brazilian, ("cpf {}",)),
        "IN Aadhaar": (indian, ("aadhaar {}",)),
        "SE personnummer": (swedish, ("personnummer {}",)),
        "DK CPR": (danish, ("cpr {}",)),
        "FI HETU": (finnish, ("henkilötunnus {}",)),
        "CH AHV": (swiss, ("ahv {}",)),
        "BE rijksregister": (belgian, ("rijksregisternummer {}",)),
        "TR TC kimlik": (turkish, ("tc kimlik no {}",)),
        "CN resident id": (chinese, ("id {}",)),
    }
    for kind, (make, contexts) in alone.items():
        for _ in range(12):
            yield f"id {kind}", kind, *around(rng, make(), *contexts)
    for kind, (make, contexts) in told.items():
        for _ in range(12):
            personal = make()
            query = rng.choice(contexts).replace("{goods}", rng.choice(GOODS)).replace("{}", personal)
            yield f"id {kind}", "told", query, personal


def people(rng: random.Random) -> Iterator[Row]:
    from faker import Faker

    said = {
        "en": (
            "order for {}",
            "my name is {}",
            "gift for {} {goods}",
            "deliver to {}",
            "attn {}",
            "{goods} for customer {}",
            "order of {}",
        ),
        "de": (
            "bestellung für {}",
            "mein name ist {}",
            "lieferung an {}",
            "kunde {}",
            "z.hd. {}",
            "bestellung von {} {goods}",
        ),
        "fr": ("commande pour {}", "je m'appelle {}", "livraison à {}", "commande de {}"),
        "es": ("pedido para {}", "me llamo {}", "pedido de {}", "entregar a {}"),
        "it": ("ordine per {}", "mi chiamo {}", "ordine di {}"),
        "nl": ("bestelling voor {}", "mijn naam is {}", "bestelling van {}"),
        "pl": ("zamówienie dla {}", "nazywam się {}"),
        "pt": ("pedido para {}", "meu nome é {}", "encomenda para {}"),
        "sv": ("beställning till {}", "jag heter {}"),
        "tr": ("order for {}", "adım {}"),
    }
    titles = {"en": ("mr", "mrs", "ms", "Mr.", "Dr."), "de": ("Herr", "Frau", "herrn", "Dr."), "fr": ("monsieur", "madame", "Mme"),
              "es": ("señor", "señora", "Sra."), "it": ("signor", "signora", "sig."), "nl": ("mevrouw", "dhr.", "meneer"),
              "pl": ("pan", "pani"), "pt": ("senhor", "senhora"), "sv": ("herr", "fru"), "tr": ("mr", "mrs")}  # fmt: skip
    for locale in LOCALES:
        fake, language = Faker(locale), locale[:2]
        fake.seed_instance(rng.getrandbits(32))
        for _ in range(7):
            name = f"{fake.first_name()} {fake.last_name()}"
            query = rng.choice(said[language]).replace("{goods}", rng.choice(GOODS)).replace("{}", name)
            yield "name, announced", locale, query.lower(), name.lower()
        for _ in range(5):
            name = rng.choice((f"{fake.first_name()} {fake.last_name()}", fake.last_name()))
            query = f"{rng.choice(titles[language])} {name}"
            if rng.random() < 0.4:
                query = f"{rng.choice(GOODS)} {query}"
            yield "name, with title", locale, query.lower(), name.lower()
        for _ in range(5):
            name = f"{fake.first_name()} {fake.last_name()}"
            yield "name, bare", locale, *around(rng, name)


def addresses(rng: random.Random) -> Iterator[Row]:
    from faker import Faker

    for locale in LOCALES:
        fake = Faker(locale)
        fake.seed_instance(rng.getrandbits(32))
        for _ in range(6):
            street = fake.street_address().split("\n")[0]
            yield "address", locale, *around(rng, street, "deliver to {}", "ship to {}", "{goods} to {}")


def orders(rng: random.Random) -> Iterator[Row]:
    said = ("order number {}", "order no. {}", "order #{}", "bestellnummer {}", "bestellnr. {}", "auftragsnummer {}", "tracking number {}",
            "sendungsnummer {}", "where is my order {}", "numéro de commande {}", "número de pedido {}", "customer number {}",
            "kundennummer {}", "rechnung nr {}", "invoice no {}", "numero ordine {}", "ordernummer {}", "return order {}")  # fmt: skip
    makes: tuple[Callable[[], str], ...] = (
        lambda: f"{rng.randint(100, 999)}-{digits(rng, 7)}-{digits(rng, 7)}",
        lambda: digits(rng, rng.randint(6, 12)),
        lambda: rng.choice(("SO", "ORD-", "A", "RE-2025-")) + digits(rng, 8),
        lambda: "1Z" + "".join(rng.choice(string.ascii_uppercase + string.digits) for _ in range(6)) + digits(rng, 10),
    )
    for _ in range(60):
        personal = rng.choice(makes)()
        query = rng.choice(said).replace("{}", personal)
        yield (
            ("order number", "told", query.lower(), personal.lower())
            if rng.random() < 0.7
            else ("order number", "told", query, personal)
        )


def check_ean(body: str) -> str:
    total = sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body)))
    return body + str(-total % 10)


def isbn10(rng: random.Random) -> str:
    body = rng.choice("03") + digits(rng, 8)
    check = -sum(int(d) * (10 - i) for i, d in enumerate(body)) % 11
    return body + ("X" if check == 10 else str(check))


def negatives(rng: random.Random) -> Iterator[Row]:
    def row(kind: str, query: str) -> Row:
        return "negative", kind, query, ""

    for _ in range(40):
        yield row(
            "ean-13",
            rng.choice(("{}", "ean {}", "{goods} {}"))
            .replace("{goods}", rng.choice(GOODS))
            .replace("{}", check_ean(rng.choice(("40", "50", "88", "69", "00", "76", "87")) + digits(rng, 10))),
        )
        yield row("upc-a", check_ean(rng.choice("01678") + digits(rng, 10)))
        yield row("isbn", rng.choice((check_ean(rng.choice(("978", "979")) + digits(rng, 9)), isbn10(rng))))
    for _ in range(60):
        yield row("article number", rng.choice((
            f"{digits(rng, 3)}.{digits(rng, 3)}.{digits(rng, 2)}", f"{digits(rng, 6)}-{digits(rng, 3)}", f"{digits(rng, 2)}-{digits(rng, 4)}-{digits(rng, 2)}",
            f"art. nr. {digits(rng, 8)}", f"artikelnummer {digits(rng, 7)}", f"part number {digits(rng, 6)}-{digits(rng, 2)}1", f"sku {digits(rng, 8)}",
            f"{digits(rng, 5)}", f"{digits(rng, 7)}", f"mpn {digits(rng, 4)} {digits(rng, 3)}", f"asin b0{digits(rng, 2)}{''.join(rng.choice(string.ascii_lowercase) for _ in range(4))}{digits(rng, 2)}")))  # fmt: skip
        letters = "".join(rng.choice(string.ascii_lowercase) for _ in range(2))
        yield row("model number", rng.choice((
            f"{letters}-{digits(rng, 4)}{rng.choice('abx')}", f"{letters}{digits(rng, 3)} {digits(rng, 2)}", f"wh-{digits(rng, 4)}xm{digits(rng, 1)}",
            f"{letters} {digits(rng, 4)} series {digits(rng, 1)}", f"{letters}{digits(rng, 2)}{letters}{digits(rng, 4)}", f"ideapad {digits(rng, 1)} {digits(rng, 2)}{letters}{digits(rng, 2)}",
            f"hp {digits(rng, 3)}{rng.choice('ax')} toner", f"rtx {digits(rng, 4)} {rng.choice(('8gb', '12gb', '24gb'))}")))  # fmt: skip
    for _ in range(40):
        a, b, c = rng.randint(1, 300), rng.randint(1, 300), rng.randint(1, 99)
        yield row("size or price", rng.choice((
            f"{a} x {b} x {c} cm", f"{a}x{b}", f"{a} {b} {c} mm", f"{a},{c:02} eur", f"under {a * 10} dollars", f"{a}-{a + b} eur",
            f"${a}.{c:02}", f"{a * 100}mah", f"{a} ml 3 pack", f"size {c % 20 + 30} {c % 9 + 1}/2", f"{b}/{c % 60 + 30} r{c % 8 + 13}", f"{a} 000 lumen {b} 000 h",
            f"m{c % 20 + 2} x {a}", f"{c}% cotton", f"1.{a} 2.{b} ghz", f"2025-{c % 12 + 1:02}-{c % 28 + 1:02} calendar")))  # fmt: skip
    for query in BY_HAND:
        yield row("brands, sayings, places", query)


BY_HAND = """
calvin klein jeans|tommy hilfiger polo|michael kors tasche|jack wolfskin jacke|paul smith wallet|hugo boss hemd|ralph lauren pullover|marc jacobs bag
karl lagerfeld sneaker|jack daniels grill sauce|john deere toy tractor|johnson baby oil|black and decker drill|smith & wesson knife|levi strauss 501
dr martens 1460|dr. oetker pizza|dr pepper 24 pack|dr. beckmann|dr. hauschka creme|dr browns bottles|mr coffee filter|mr muscle|mr. clean|mrs meyers soap|miss dior 50ml|mr potato head
jacke frau rot|schuhe für frau|kleid frau elegant|geschenk für frau|geschenke für männer|gift for men|gifts for mom|order form book|present for girlfriend|cadeau pour femme
phone case for iphone|headphones for kids|shoes for women|order by number game|call of duty 4|call of duty modern warfare 3|tel aviv travel guide|mobile home heater 2000 w
street triple 675 exhaust|26 inch road bike|sata via usb 3|connect via hdmi 2.1|2 lane road rug|wall street book|abbey road vinyl|via laufschuhe|rue 21|baker street sherlock dvd
main street monopoly|route 66 sign|via 8 port switch|place mat set of 4|square 45 mm tube|court shoes 38|way of kings book 1|drive 500 gb|hard drive 2 tb|lane assist 2
st john ambulance kit|st moritz ski|ring size 12|damen ring 54|ring 18 mm|platzset 6|weg mit schimmel 500 ml|wegeheizung 3|straße wandbild 100x70|gasse nr 1 buch
john lennon vinyl|harry potter lego|mario kart 8|luigi mansion 3|sonic frontiers|spider man 2 ps5|james bond collection|anna karenina book|emma bridgewater mug|max mara coat
james martin tea|george foreman grill|jamie oliver pfanne|martha stewart towels|rachel ray pan|nigella lawson book|gordon ramsay knife|taylor swift vinyl|adele 25 cd|bruno banani
mercedes benz modell|porsche design 911|henry hoover|dyson v15|philips hue|siemens eq 6|bosch gsr 18v|miele c3|hoover h-free|bauer skates|fischer ski 170|lange boots 26.5
at-at lego|at home cinema|look at me mask|mouse at 2.4 ghz|amplifier at 100 w|desk at ikea|back at school bag|dot 4 brake fluid|dot matrix printer|polka dot dress
ups battery 1500va|order 66 t-shirt|invoice book a5|customer display 2x20|receipt printer 80mm|order pad 50 sheets|return spring 5mm|order picker toy|tracking device gps|tracking number stickers
ssn 700 submarine model|sin city blu ray|bsn protein 2kg|pan 28 cm|pan pizza 32|frau holle buch|herr der ringe 4k|fru fru perfume|madame tussauds|signor rossi dvd|ms office 2021|ms word
name tag 40x75|my name is earl dvd season 1|names for cats book|ship to shore radio|deliver us game|attn speaker|gift for 2 year old|gift for teacher|order for 2 pizza cutter
iban wallet|swift boot 43|visa gift card 50|card game uno|credit card holder 12|postcode lottery|zip 100 mb disk|po box lock|address book a5|address labels 63x38
usb 3.2 gen 2|ddr4 3200 16gb|i7-12700k|ryzen 9 7950x3d|0.5 mm pencil|00 gauge track|1:18 model|24/7 display|50/60 hz|a4 80g 500|9v battery 6lr61|cr2032 10 pack|aa 2500 mah
5060 ti 16gb|1234 5678 puzzle|2024 2025 planner|1080p 1440p 2160p|100 200 300 ohm|3840x2160 144hz|192.168.1.1 router|10.0.0.1|iso 9001|din 933 m10x50|en 166|ip67 ip68
""".replace("\n", "|").strip("|").split("|")  # fmt: skip


def rows(seed: int) -> list[Row]:
    found: list[Row] = []
    for number, make in enumerate((emails, phones, ibans, cards, national_ids, people, addresses, orders, negatives)):
        found += make(random.Random(seed * 100 + number))
    return found


def main() -> None:
    for name, seed in SEEDS.items():
        lines = ["class\tkind\tquery\tpersonal", *("\t".join(row) for row in rows(seed))]
        (HERE / f"{name}.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
