"""Everyday shop words of four languages: what :mod:`rankops.drift.languages` learns its letter patterns from.

Only data. Words were chosen for being common in shops in general; a team adds the words of its own trade here.
"""

from __future__ import annotations

WORDS: dict[str, str] = {
    "de": """der die das und für mit ohne von zum zur im aus ein eine einen nicht günstig billig kaufen damen herren
        kinder mädchen jungen groß klein kleine neu rot rote roter blau blaue hellblau dunkelgrün schwarz schwarze weiß
        weiße grün gelb braun grau schuhe stiefel halbschuhe sportschuhe turnschuhe jacke winterjacke hose hemd kleid
        pullover mütze handschuhe strümpfe socken unterwäsche schlafsack tasche handtasche rucksack koffer geldbörse
        uhr armbanduhr wecker stuhl bürostuhl tisch schreibtischlampe nachttisch schrank kleiderschrank regal spiegel
        teppich vorhang leuchte glühbirne kerze messer küchenmesser gabel löffel teller becher schüssel pfanne topf
        kochtopf backblech schneebrett wasserkocher kühlschrank waschmaschine staubsauger bügeleisen drucker rechner
        maus festplatte kabel ladegerät fernseher lautstärke hörer spieler leder wolle baumwolle seide kunstleder
        edelstahl holz eisen stein glas leise leicht robust haltbar tragbar faltbar dehnbar wasserfest winddicht
        drahtlos elektrisch verstellbare aufladbar atmend hund katze vogel fisch futter käfig garten gartenstuhl
        gießkanne schaufel blumen pflanze erde zaun spielzeug puppenhaus würfel ball fahrrad helm schläger zelt gewicht
        creme seifenspender haarbürste zahnbürste handtuch bettwäsche kissen decke matratze werkzeug schraube
        schraubendreher bohrer zange säge nagel leiste kasten halter schutz verteiler netzteil wetter regen schnee""",
    "fr": """le la les des du de et pour avec sans une un sur aux en pas cher acheter homme femme enfant fille garçon
        bébé grand grande petit petite nouveau nouvelle noir noire blanc blanche rouge bleu bleue vert verte jaune gris
        grise violet chaussures bottes bottines chaussettes veste manteau blouson pantalon jupe robe chemise chemisier
        pull bonnet gants ceinture écharpe maillot sac valise portefeuille montre réveil chaise fauteuils bureau table
        armoire étagère miroir tapis rideau lampe ampoule bougie couteau fourchette cuillère assiette tasse bol poêle
        casserole bouilloire réfrigérateur lave aspirateur fer imprimante ordinateurs souris claviers disque câble
        chargeur téléviseur enceintes écouteurs cuir laine coton soie acier bois verre pierre léger légère solide
        pliante réglables imperméables électrique rechargeables silencieuse portable confortable chien chat oiseau
        poisson nourriture cage jardin arrosoir pelle fleur plante terre clôture jouet poupées ballon vélo casques
        tente crème savonnette brosse serviette drap oreiller couverture matelas outil outillage vis tournevis perceuses
        pince scie clou marteaux échelles boîte cadre coffre cuisine maison chambre salle bain lumière pluie neige
        eau cheveux visage parfumerie dentifrice ciseaux moulin machine à d l au""",
    "es": """el la los las del de y para con sin una un en barato barata comprar hombre mujer niño niña bebé grande
        pequeño pequeña nuevo nueva negro negra blanco blanca rojo roja azul verde amarillo amarilla morado zapatos
        zapato botas botines calcetines chaqueta abrigo pantalón pantalones falda vestido camisa camiseta jersey gorro
        guantes cinturón bufanda bañador bolso maleta mochila cartera reloj despertador silla sillas mesa escritorios
        armario estante espejo alfombra cortina lámparas bombilla vela cuchillo tenedor cuchara plato taza cuenco olla
        cazuela hervidor nevera lavadora aspiradora plancha impresora ordenador ratón teclados disco cargador televisor
        altavoces audífonos cuero lana algodón seda hierro madera vidrio piedra ligero ligera fuerte duradero plegables
        ajustables inalámbrica eléctrico recargables silenciosa portátiles cómodo perro gato pájaro pez comida jaulas
        jardín regadera pala flor planta tierra valla juguete muñecas pelota bicicleta cascos raquetas tienda carpa
        cremas jabones cepillo toalla sábana almohada manta colchón herramienta tornillo destornillador taladradora
        alicates sierra clavo martillos escaleras caja marco cocina casa habitación baño luces lluvia nieve agua
        cabello cara dientes tijeras molinillo máquina pesas esterillas zapatilla césped cortadora""",
    "en": """the and for with without of from in on my new cheap best buy men women kids large small black white red
        blue green yellow grey brown pink purple shoes shoe boots sneakers trainers jacket coat trousers jeans skirt
        dress shirt blouse sweater hoodie hat gloves socks belt scarf swimsuit bag suitcase backpack wallet watch clock
        chair armchair desk table wardrobe shelf bookshelf mirror rug curtain lamp light bulb candle knife fork spoon
        plate cup bowl pan pot kettle fridge washing washer vacuum cleaner iron printer computer laptop mouse keyboard
        drive cable charger television speaker headphones microphone player leather wool cotton silk steel wood glass
        stone lightweight light sturdy durable foldable adjustable waterproof wireless electric rechargeable quiet
        washable organic handmade portable comfortable breathable compact dog cat bird fish food cage garden hose
        mower watering shovel flower plant soil fence toy doll doll train blocks ball bike helmet racket tent weight
        cream soap brush towel sheet pillow blanket mattress tool screw screwdriver drill pliers saw nail hammer ladder
        box frame kitchen house bedroom bathroom rain snow water hair face toothpaste scissors machine board game mat
        bed ceiling floor night outdoor indoor winter summer sport running hiking cutting baking classic inch size set
        pack ceramic plastic bamboo silicone aluminium mesh suede polyester oak gift holder stand case cover cushion
        turntable headset mic torch slippers sandals pyjamas toolbox perfume shampoo equipment exercise hand tennis
        router monitor screen display pendant grapple case cage planter pruning shears puppy baby figure wash""",
}
