import pytest

from rankops.drift.languages import CLEAR_LEAD, LIKELY_LEAD, guess_language


@pytest.mark.parametrize(
    ("query", "language"),
    [
        ("rote schuhe für damen", "de"),
        ("wasserdichte winterjacke", "de"),
        ("chaussures de femme noires", "fr"),
        ("écouteurs sans fil", "fr"),
        ("zapatillas rojas de hombre", "es"),
        ("cuchillo de cocina", "es"),
        ("red shoes", "unmarked"),
        ("wireless keyboard 13 inch", "unmarked"),
        ("", "unmarked"),
        ("4711", "unmarked"),
        ("кроссовки", "cyrillic"),
        ("運動靴", "cjk"),
        ("γυαλιά ηλίου", "greek"),
    ],
)
def test_a_query_gets_its_language(query: str, language: str) -> None:
    assert guess_language(query) == language


def test_words_that_the_lists_do_not_hold_are_recognised_by_their_letters() -> None:
    german = ["schuhschrank", "taschenrechner", "kaffeebecher", "regenschirm", "fensterbank", "bilderrahmen"]
    spanish = ["cafetera", "cortina corta", "sombrero", "tostadora", "lavavajillas", "ventilador"]
    french = ["bouteille", "cafetière", "poussette", "parapluie", "couteaux", "tabouret"]
    for queries, language in ((german, "de"), (spanish, "es"), (french, "fr")):
        assert sum(guess_language(query) == language for query in queries) >= 4, language


def test_a_smaller_lead_finds_more() -> None:
    assert guess_language("cama", CLEAR_LEAD) == "unmarked"
    assert guess_language("cama", LIKELY_LEAD) == "es"
