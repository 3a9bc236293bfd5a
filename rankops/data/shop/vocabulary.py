"""The plain words of the generated shop: families, product types, attributes, brands, and their translations.

Only data. A type's ``synonym`` is ordinary English that never appears in product text; jargon, which no general
model knows, is made in :mod:`rankops.data.shop.jargon`.
"""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = ("de", "fr", "es")


@dataclass(frozen=True)
class ProductType:
    """A kind of product. ``price`` is the median in the shop's currency; ``sizes`` names a scale in ``SIZES``."""

    name: str
    synonym: str
    price: float
    sizes: str
    translations: tuple[str, str, str]
    purpose: str


@dataclass(frozen=True)
class Family:
    """A top category with its types, and the materials and features that its products can have."""

    name: str
    types: tuple[ProductType, ...]
    materials: tuple[str, ...]
    features: tuple[str, ...]
    season: float  # +1 in season under seasonal_shift, -1 out of season


SIZES: dict[str, tuple[str, ...]] = {
    "shoe": ("36", "38", "39", "40", "41", "42", "43", "44", "46"),
    "wear": ("small", "medium", "large", "xlarge"),
    "cm": ("20 cm", "24 cm", "28 cm", "32 cm"),
    "wide": ("60 cm", "80 cm", "120 cm", "160 cm"),
    "inch": ("13 inch", "15 inch", "24 inch", "27 inch"),
    "ml": ("50 ml", "100 ml", "250 ml", "500 ml"),
    "none": (),
}

_T = ProductType
FAMILIES: tuple[Family, ...] = (
    Family(
        "Shoes",
        (
            _T(
                "hiking boots",
                "trekking footwear",
                110,
                "shoe",
                ("wanderschuhe", "chaussures de randonnée", "botas de montaña"),
                "muddy trails",
            ),
            _T("running shoes", "trainers", 85, "shoe", ("laufschuhe", "baskets", "zapatillas"), "daily training"),
            _T("sandals", "flip flops", 40, "shoe", ("sandalen", "sandales", "sandalias"), "warm days"),
            _T("slippers", "mules", 25, "shoe", ("hausschuhe", "chaussons", "pantuflas"), "quiet evenings"),
        ),
        ("leather", "suede", "mesh"),
        ("waterproof", "lightweight", "breathable", "washable"),
        0.4,
    ),
    Family(
        "Clothing",
        (
            _T("rain jacket", "mackintosh", 90, "wear", ("regenjacke", "imperméable", "chubasquero"), "wet weather"),
            _T("hoodie", "sweatshirt", 45, "wear", ("kapuzenpulli", "sweat à capuche", "sudadera"), "cool mornings"),
            _T("jeans", "denims", 60, "wear", ("jeanshose", "pantalon en jean", "vaqueros"), "every day"),
            _T("pyjamas", "nightwear", 35, "wear", ("schlafanzug", "tenue de nuit", "pijama"), "a good night"),
        ),
        ("cotton", "wool", "polyester"),
        ("waterproof", "breathable", "organic", "washable"),
        0.3,
    ),
    Family(
        "Kitchen",
        (
            _T("frying pan", "skillet", 45, "cm", ("bratpfanne", "poêle", "sartén"), "crisp potatoes"),
            _T("kettle", "water boiler", 40, "none", ("wasserkocher", "bouilloire", "hervidor"), "tea and coffee"),
            _T("chef knife", "carving blade", 55, "cm", ("kochmesser", "couteau", "cuchillo"), "clean cuts"),
            _T(
                "cutting board",
                "chopping block",
                25,
                "cm",
                ("schneidebrett", "planche à découper", "tabla de cortar"),
                "busy cooks",
            ),
        ),
        ("steel", "ceramic", "bamboo"),
        ("compact", "durable", "handmade", "washable"),
        0.0,
    ),
    Family(
        "Furniture",
        (
            _T("desk", "writing table", 220, "wide", ("schreibtisch", "bureau", "escritorio"), "focused work"),
            _T(
                "bookcase",
                "library shelving",
                150,
                "wide",
                ("bücherregal", "bibliothèque", "estantería"),
                "long novels",
            ),
            _T("armchair", "lounge seat", 260, "none", ("sessel", "fauteuil", "sillón"), "slow afternoons"),
            _T("bed frame", "bedstead", 310, "wide", ("bettgestell", "cadre de lit", "cama"), "deep sleep"),
        ),
        ("oak", "steel", "bamboo"),
        ("foldable", "adjustable", "durable", "handmade"),
        -0.3,
    ),
    Family(
        "Lighting",
        (
            _T(
                "floor lamp",
                "standing light",
                95,
                "none",
                ("stehlampe", "lampadaire", "lámpara de pie"),
                "reading corners",
            ),
            _T("ceiling light", "pendant", 80, "wide", ("deckenleuchte", "plafonnier", "luz de techo"), "large rooms"),
            _T("night light", "bedside glow", 20, "none", ("nachtlicht", "veilleuse", "luz nocturna"), "calm nights"),
            _T("torch", "flashlight", 30, "none", ("taschenlampe", "torche", "linterna"), "dark paths"),
        ),
        ("glass", "aluminium", "plastic"),
        ("rechargeable", "wireless", "adjustable", "compact"),
        -0.8,
    ),
    Family(
        "Audio",
        (
            _T("headphones", "headset", 120, "none", ("kopfhörer", "casque audio", "auriculares"), "long flights"),
            _T("speaker", "boombox", 90, "none", ("lautsprecher", "enceinte", "altavoz"), "garden parties"),
            _T(
                "turntable",
                "record player",
                240,
                "none",
                ("plattenspieler", "platine vinyle", "tocadiscos"),
                "old vinyl",
            ),
            _T("microphone", "mic", 75, "none", ("mikrofon", "micro", "micrófono"), "clear calls"),
        ),
        ("aluminium", "plastic", "leather"),
        ("wireless", "rechargeable", "foldable", "quiet"),
        -0.2,
    ),
    Family(
        "Computers",
        (
            _T(
                "laptop",
                "notebook",
                850,
                "inch",
                ("klapprechner", "ordinateur portable", "portátil"),
                "work on the move",
            ),
            _T("monitor", "display screen", 260, "inch", ("bildschirm", "écran", "pantalla"), "sharp text"),
            _T("keyboard", "typing board", 70, "none", ("tastatur", "clavier", "teclado"), "fast typing"),
            _T("router", "wifi box", 95, "none", ("netzwerkverteiler", "routeur", "enrutador"), "the whole house"),
        ),
        ("aluminium", "plastic", "glass"),
        ("wireless", "compact", "quiet", "lightweight"),
        -0.4,
    ),
    Family(
        "Sports",
        (
            _T(
                "yoga mat", "exercise pad", 35, "none", ("yogamatte", "tapis de yoga", "esterilla"), "morning stretches"
            ),
            _T("dumbbell", "hand weight", 40, "none", ("hantel", "haltère", "mancuerna"), "home workouts"),
            _T("tennis racket", "racquet", 110, "none", ("tennisschläger", "raquette", "raqueta"), "fast rallies"),
            _T("bike helmet", "cycling headgear", 65, "wear", ("fahrradhelm", "casque de vélo", "casco"), "safe rides"),
        ),
        ("silicone", "steel", "plastic"),
        ("lightweight", "foldable", "breathable", "adjustable"),
        0.9,
    ),
    Family(
        "Garden",
        (
            _T("lawn mower", "grass cutter", 290, "none", ("rasenmäher", "tondeuse", "cortacésped"), "even lawns"),
            _T(
                "garden hose",
                "watering pipe",
                35,
                "none",
                ("gartenschlauch", "tuyau d'arrosage", "manguera"),
                "dry summers",
            ),
            _T("plant pot", "flower planter", 22, "cm", ("blumentopf", "pot de fleurs", "maceta"), "green balconies"),
            _T(
                "pruning shears",
                "secateurs",
                28,
                "none",
                ("gartenschere", "sécateur", "tijeras de podar"),
                "tidy hedges",
            ),
        ),
        ("steel", "plastic", "ceramic"),
        ("durable", "rechargeable", "quiet", "lightweight"),
        1.0,
    ),
    Family(
        "Toys",
        (
            _T("building blocks", "construction bricks", 35, "none", ("bauklötze", "cubes", "bloques"), "small hands"),
            _T("doll", "baby figure", 28, "none", ("puppe", "poupée", "muñeca"), "tea parties"),
            _T(
                "board game",
                "tabletop",
                32,
                "none",
                ("brettspiel", "jeu de société", "juego de mesa"),
                "family evenings",
            ),
            _T(
                "toy train",
                "railway set",
                55,
                "none",
                ("spielzeugeisenbahn", "petit train", "tren"),
                "living room tours",
            ),
        ),
        ("oak", "plastic", "cotton"),
        ("organic", "washable", "handmade", "durable"),
        -0.9,
    ),
    Family(
        "Beauty",
        (
            _T("shampoo", "hair wash", 12, "ml", ("haarwaschmittel", "shampooing", "champú"), "soft hair"),
            _T("face cream", "moisturiser", 24, "ml", ("gesichtscreme", "crème visage", "crema facial"), "dry skin"),
            _T("perfume", "fragrance", 65, "ml", ("parfüm", "parfum", "colonia"), "special evenings"),
            _T("soap", "cleansing bar", 8, "none", ("seife", "savon", "jabón"), "clean hands"),
        ),
        ("glass", "plastic", "bamboo"),
        ("organic", "handmade", "lightweight", "compact"),
        -0.1,
    ),
    Family(
        "Tools",
        (
            _T("cordless drill", "power driver", 120, "none", ("akkuschrauber", "perceuse", "taladro"), "home repairs"),
            _T("hammer", "mallet", 24, "none", ("vorschlaghammer", "marteau", "martillo"), "straight nails"),
            _T(
                "toolbox",
                "equipment case",
                45,
                "none",
                ("werkzeugkasten", "boîte à outils", "caja de herramientas"),
                "tidy vans",
            ),
            _T("ladder", "steps", 85, "none", ("leiter", "échelle", "escalera"), "high shelves"),
        ),
        ("steel", "aluminium", "oak"),
        ("durable", "rechargeable", "foldable", "compact"),
        0.2,
    ),
)

NEW_FAMILY = Family(
    "Pets",
    (
        _T("dog bed", "puppy cushion", 55, "wide", ("hundebett", "lit pour chien", "cama de perro"), "tired paws"),
        _T("cat tree", "scratching tower", 90, "none", ("kratzbaum", "arbre à chat", "rascador"), "proud climbers"),
        _T("aquarium", "fish tank", 130, "none", ("fischbecken", "bocal à poissons", "acuario"), "bright fish"),
        _T("bird cage", "aviary", 75, "none", ("vogelkäfig", "volière", "jaula"), "early singers"),
        _T("dog leash", "walking lead", 22, "none", ("hundeleine", "laisse", "correa"), "long walks"),
    ),
    ("cotton", "steel", "plastic"),
    ("washable", "foldable", "durable", "adjustable"),
    0.0,
)
"""What a ``new_category`` drift adds."""

COLOURS: dict[str, tuple[str, str, str]] = {
    "black": ("schwarz", "noir", "negro"),
    "white": ("weiß", "blanc", "blanco"),
    "red": ("rot", "rouge", "rojo"),
    "navy": ("dunkelblau", "bleu marine", "azul marino"),
    "green": ("grün", "vert", "verde"),
    "yellow": ("gelb", "jaune", "amarillo"),
    "pink": ("rosa", "rose", "rosado"),
    "brown": ("braun", "marron", "marrón"),
    "grey": ("grau", "gris", "gris claro"),
    "orange": ("orangefarben", "orangé", "naranja"),
}
FEATURES: dict[str, tuple[str, str, str]] = {
    "waterproof": ("wasserdicht", "étanche", "impermeable"),
    "lightweight": ("leicht", "léger", "ligero"),
    "breathable": ("atmungsaktiv", "respirant", "transpirable"),
    "washable": ("waschbar", "lavable", "lavable a mano"),
    "compact": ("kompakt", "peu encombrant", "compacto"),
    "durable": ("robust", "solide", "resistente"),
    "handmade": ("handgemacht", "fait main", "hecho a mano"),
    "foldable": ("klappbar", "pliable", "plegable"),
    "adjustable": ("verstellbar", "réglable", "ajustable"),
    "rechargeable": ("wiederaufladbar", "rechargeable usb", "recargable"),
    "wireless": ("kabellos", "sans fil", "inalámbrico"),
    "quiet": ("leise", "silencieux", "silencioso"),
    "organic": ("ökologisch", "bio", "ecológico"),
}
MATERIALS: dict[str, tuple[str, str, str]] = {
    "leather": ("leder", "cuir", "cuero"),
    "suede": ("wildleder", "daim", "ante"),
    "mesh": ("netzstoff", "maille", "malla"),
    "cotton": ("baumwolle", "coton", "algodón"),
    "wool": ("wolle", "laine", "lana"),
    "polyester": ("kunstfaser", "fibre polyester", "poliéster"),
    "steel": ("stahl", "acier", "acero"),
    "ceramic": ("keramik", "céramique", "cerámica"),
    "bamboo": ("bambus", "bambou", "bambú"),
    "oak": ("eiche", "chêne", "roble"),
    "glass": ("glas", "verre", "vidrio"),
    "aluminium": ("alu", "alu léger", "aluminio"),
    "plastic": ("kunststoff", "plastique", "plástico"),
    "silicone": ("silikon", "silicone souple", "silicona"),
}
BRANDS: tuple[str, ...] = (
    "Nordvik", "Halden", "Corvino", "Tamaro", "Brightly", "Oakhurst", "Velanto", "Kestrel", "Moreau", "Sunfield",
    "Arctis", "Pellworm", "Delmare", "Fjordis", "Grantley", "Hikari", "Ilmari", "Jasper", "Kolibri", "Lumero",
    "Mistral", "Novaro", "Orsted", "Petrini", "Quillon", "Rosenthal", "Solano", "Tindra", "Umbrio", "Vantaa",
    "Westmoor", "Xanthos", "Yarrow", "Zephyr", "Alderney", "Bellini", "Castell", "Dorado", "Elmwood", "Falken",
)  # fmt: skip
BRANDS_PER_FAMILY = 6
LINES: tuple[str, ...] = ("Classic", "Terra", "Aero", "Urban", "Prime", "Nova", "Alpine", "Studio")


def all_types() -> tuple[ProductType, ...]:
    """Every type in a fixed order: the old families first, then the new one."""
    return tuple(kind for family in (*FAMILIES, NEW_FAMILY) for kind in family.types)


def all_families() -> tuple[Family, ...]:
    """Every family in a fixed order; the last is the one that ``new_category`` adds."""
    return (*FAMILIES, NEW_FAMILY)
