"""The sentences of the dataset: a small grammar for each of three languages, and some random word sequences.

With grammatical sentences only, the decoder would learn to guess the next word instead of listening. Words that sound
alike are left out, unless the words around them make clear which one is meant.
"""

import random
import re
from dataclasses import dataclass

LANGUAGES = ("en", "es", "fr")
"""Whisper's language codes."""

RESERVED = frozenset({"The quick brown fox jumps over the lazy dog."})
"""Left out of the dataset, because the product's tests use them."""

_WORD_SALAD_PROBABILITY = 0.12
_WORD_SALAD_LENGTHS = range(3, 8)

_CONTRACTIONS = {
    "en": {r"\ba (?=[aeiou])": "an "},
    "es": {r"\bde el ": "del ", r"\ba el ": "al "},
    "fr": {r"\bl[ea] (?=[aeého])": "l'"},
}
"""Contractions, and "an" for "a", as regular expressions and replacements. They are applied to text in lower case."""


@dataclass(frozen=True)
class Grammar:
    templates: tuple[str, ...]
    """A name in braces stands for a random entry of that slot."""
    slots: dict[str, tuple[str, ...]]
    salad_words: tuple[str, ...]
    """Words for random sequences: each can be recognized by its sound alone."""


def make_sentence(language: str, rng: random.Random) -> str:
    """Return a sentence of 3 to about 12 words, with a capital first letter and a full stop."""
    grammar = GRAMMARS[language]
    while True:
        if rng.random() < _WORD_SALAD_PROBABILITY:
            text = " ".join(rng.sample(grammar.salad_words, rng.choice(_WORD_SALAD_LENGTHS)))
        else:
            text = rng.choice(grammar.templates)
            while "{" in text:
                text = re.sub(r"\{(\w+)\}", lambda slot: rng.choice(grammar.slots[slot[1]]), text, count=1)
        for pattern, contraction in _CONTRACTIONS[language].items():
            text = re.sub(pattern, contraction, text)
        sentence = f"{text[0].upper()}{text[1:]}."
        if sentence not in RESERVED:
            return sentence


def _slots(**lists: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(entry.strip() for entry in entries.split(",")) for name, entries in lists.items()}


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


_EN_SLOTS = _slots(
    animal="dog, cat, fox, bird, horse, cow, duck, fish, rabbit, mouse, sheep, goat, bear, lion, monkey, turtle, frog, "
    "chicken, pig, snake, bee, spider, elephant, tiger, wolf, owl",
    animals="dogs, cats, foxes, birds, horses, cows, ducks, rabbits, goats, lions, monkeys, frogs, chickens, wolves",
    person="man, woman, boy, girl, teacher, doctor, farmer, baker, king, queen, driver, child, friend, brother, "
    "sister, mother, father, neighbour, pilot, singer",
    name="Anna, Peter, Maria, Tom, Lucy, David, Sarah, Jack, Emma, Paul",
    object="book, ball, box, cup, chair, table, lamp, clock, key, bag, hat, shoe, coat, phone, camera, picture, "
    "letter, bottle, knife, spoon, plate, bicycle, boat, car, train, bus, umbrella, guitar, computer, window, door, "
    "bed, snowman, kite, drum, basket, bucket, ladder, candle, mirror",
    objects="books, balls, boxes, cups, chairs, tables, lamps, clocks, keys, bags, hats, shoes, bottles, plates, "
    "boats, cars, letters, candles, baskets",
    colour="red, green, blue, yellow, orange, purple, black, white, brown",
    drawn="red, green, blue, yellow, orange, purple, black, white",
    shape="circle, square, triangle, star, cross",
    size="large, small",
    spot="on the left, on the right, at the top, at the bottom, in the centre, in the middle, in the corner, "
    "at the top left, at the top right, at the bottom left, at the bottom right",
    quality="big, small, little, old, young, quick, slow, happy, sad, tall, lazy, tired, clean, dirty, heavy, quiet, "
    "loud, strong, beautiful, friendly, hungry, warm, cold, strange, clever",
    place="garden, kitchen, house, school, park, forest, street, market, station, river, bridge, mountain, village, "
    "city, farm, field, hospital, library, shop, beach, island, museum, church, tower, gate, tree, wall, lake",
    relation="in, near, behind, under, in front of, next to, beside, above",
    number="two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, twenty, thirty, fifty, a hundred",
    day="Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
    month="January, February, March, April, May, June, July, August, September, October, November, December",
    when="today, tomorrow, in the morning, in the evening, at night, at noon, every day, this week, after lunch, "
    "on {day}, in {month}, yesterday, now, again, before dinner, in the afternoon",
    weather="sunny, cloudy, windy, rainy, cold, warm, hot, dark, foggy",
    sky="rain, snow, wind, fog, thunder",
    season="spring, summer, autumn, winter",
    food="bread, cheese, soup, rice, cake, butter, sugar, salt, honey, chocolate, an apple, an orange, a banana, "
    "a lemon, an egg, a sandwich, fish, salad, a pear",
    drink="water, milk, coffee, tea, juice, wine",
    fruit="apple, cherry, lemon, orange, banana",
    past="opened, closed, found, lost, carried, cleaned, painted, bought, sold, broke, dropped, moved, took, wanted, "
    "showed, hid, washed, repaired, remembered, pushed, pulled",
    moves="runs, walks, jumps, sleeps, sits, stands, waits, plays, sings, swims, climbs, dances, hides, works, lives",
    over="over, around, towards, past, behind",
    order="open, close, clean, bring, take, find, move, watch, carry, paint, wash, hold, count",
    thing="the {object}, a {object}, the {colour} {object}, the {quality} {object}",
    someone="the {person}, the {person}, the {quality} {person}, {name}, my {person}, a {person}",
    beast="the {animal}, a {animal}, the {colour} {animal}, the {quality} {animal}, the {quality} {colour} {animal}",
)

_EN_TEMPLATES = _lines("""
    {beast} {moves} {relation} the {place}
    {beast} {moves} {over} {beast}
    {beast} jumps over {beast}
    the {quality} {colour} {animal} {moves} {over} the {quality} {animal}
    {someone} {past} {thing}
    {someone} {past} {thing} {when}
    {someone} {past} {thing} {relation} the {place}
    {someone} {moves} {relation} the {place} {when}
    {someone} is {quality} {when}
    {someone} and {someone} {past} {thing}
    {thing} is {relation} the {place}
    {thing} is {relation} {thing}
    a {size} {drawn} {shape} is {spot}
    a {drawn} {shape} is {spot}
    there is a {size} {drawn} {shape} {spot}
    there is a {drawn} {shape} {spot}
    a {drawn} {shape}, a {drawn} {shape} and a {drawn} {shape}
    a {drawn} {shape} and a {size} {drawn} {shape} are {spot}
    the {size} {drawn} {shape} is {spot}
    a {object}, a {object} and a {object}
    a {animal}, a {object} and a {person}
    a {object} and a {animal}
    i see {number} {animals} {relation} the {place}
    i see {thing} and {beast}
    there are {number} {objects} {relation} the {place}
    there is {beast} {relation} the {place}
    we have {number} {objects} and {number} {animals}
    {number} {animals} are {relation} the {place}
    please {order} {thing}
    please {order} {thing} {when}
    please {order} the gate when you leave
    please {order} {thing} when you leave
    {order} {thing} before you go
    the {place} is {quality} {when}
    it is {weather} {when}
    the weather is {weather} {when}
    there is a lot of {sky} in {season}
    {sky} is coming from the {place}
    good morning and welcome to the {place}
    good evening and welcome to our {place}
    welcome to the {place}
    hello {name} and good morning
    thank you very much and good night
    the {fruit} trees are in bloom this week
    the {fruit} trees are in bloom {when}
    the flowers are in bloom {when}
    we eat {food} and {food} {when}
    {someone} likes {food} with {drink}
    {someone} drinks {drink} {when}
    i would like {drink} and {food}
    the {object} costs {number} dollars
    the train leaves at {number} {when}
    the meeting begins at {number} {when}
    {name} has {number} {objects}
    {name} lives {relation} the {place}
    my {person} works in the {place}
    the {quality} {person} {moves} {when}
    today is {day} and tomorrow is {day}
    we go to the {place} {when}
    they go to the {place} with {someone}
    she has a {colour} {object} and a {colour} {object}
    he gave {thing} to {someone}
    this is a {quality} {object}
    that is my {colour} {object}
    can you see {thing}
    do not forget {thing}
    {thing} and {thing} are {relation} the {place}
""")

_ES_SLOTS = _slots(
    animal="perro, gato, zorro, pájaro, caballo, pato, conejo, ratón, oso, león, mono, burro, cerdo, lobo, elefante",
    animalf="vaca, oveja, cabra, tortuga, rana, gallina, serpiente, abeja, mariposa, araña",
    animals="perros, gatos, pájaros, caballos, patos, conejos, monos, lobos, leones",
    person="hombre, niño, maestro, médico, rey, amigo, hermano, padre, abuelo, vecino, panadero, pintor",
    personf="mujer, niña, maestra, reina, amiga, hermana, madre, abuela, vecina, doctora",
    name="Ana, Pedro, María, Tomás, Lucía, David, Sara, Carlos, Elena, Pablo",
    object="libro, zapato, sombrero, reloj, vaso, plato, cuchillo, barco, coche, tren, autobús, teléfono, tambor, "
    "espejo, cuadro, paraguas, abrigo, papel, lápiz, balón",
    objectf="mesa, silla, caja, llave, bolsa, lámpara, carta, botella, cuchara, puerta, ventana, cama, bicicleta, "
    "cámara, guitarra, pelota, escalera, vela, cesta",
    objects="libros, zapatos, sombreros, relojes, vasos, platos, barcos, coches, trenes, lápices",
    objectsf="mesas, sillas, cajas, llaves, cartas, botellas, puertas, ventanas, velas, guitarras",
    colour="rojo, negro, blanco, amarillo, morado, verde, azul, gris",
    colourf="roja, negra, blanca, amarilla, morada, verde, azul, gris",
    shape="círculo, cuadrado, triángulo",
    shapef="estrella, cruz",
    size="grande, pequeño",
    sizef="grande, pequeña",
    spot="a la izquierda, a la derecha, arriba, abajo, en el centro, en la esquina, en el medio",
    quality="pequeño, viejo, joven, rápido, lento, feliz, triste, alto, perezoso, cansado, limpio, sucio, tranquilo, "
    "fuerte, bonito, simpático",
    qualityf="pequeña, vieja, joven, rápida, lenta, feliz, triste, alta, perezosa, cansada, limpia, sucia, tranquila, "
    "fuerte, bonita, simpática",
    place="el jardín, la cocina, la escuela, el parque, el bosque, la calle, el mercado, la estación, el río, "
    "el puente, la montaña, el pueblo, la ciudad, la granja, el campo, el hospital, la biblioteca, la tienda, "
    "la playa, la isla, el museo, la iglesia, la torre, el árbol, el lago",
    relation="en, cerca de, detrás de, debajo de, delante de, sobre",
    number="dos, tres, cuatro, cinco, seis, siete, ocho, nueve, diez, once, doce, veinte, treinta, cien",
    day="lunes, martes, miércoles, jueves, viernes, sábado, domingo",
    month="enero, febrero, marzo, abril, mayo, junio, julio, agosto, septiembre, octubre, noviembre, diciembre",
    when="hoy, mañana, por la mañana, por la tarde, por la noche, cada día, esta semana, después de comer, el {day}, "
    "en {month}, ayer, ahora, otra vez",
    weather="frío, calor, sol, viento, buen tiempo, mal tiempo",
    sky="lluvia, nieve, niebla",
    season="la primavera, el verano, el otoño, el invierno",
    food="pan, queso, sopa, arroz, mantequilla, azúcar, sal, miel, chocolate, una manzana, una naranja, un plátano, "
    "un limón, un huevo, pescado, ensalada, un pastel",
    drink="agua, leche, café, té, zumo, vino",
    past="abrió, cerró, encontró, perdió, llevó, limpió, pintó, compró, vendió, rompió, movió, tomó, quería, lavó, "
    "buscó",
    moves="corre, camina, salta, duerme, espera, juega, canta, nada, baila, trabaja, vive, descansa",
    order="abre, cierra, limpia, trae, toma, busca, mueve, mira, lleva, pinta, lava, cuenta",
    thing="el {object}, un {object}, la {objectf}, una {objectf}, el {object} {colour}, la {objectf} {colourf}, "
    "un {object} {quality}, una {objectf} {qualityf}",
    someone="el {person}, la {personf}, {name}, mi {person}, mi {personf}, un {person} {quality}, "
    "una {personf} {qualityf}",
    beast="el {animal}, la {animalf}, un {animal}, el {animal} {colour}, la {animalf} {colourf}, "
    "el {animal} {quality}, una {animalf} {qualityf}",
    drawn="un {shape} {colour}, un {shape} {size} {colour}, una {shapef} {colourf}, una {shapef} {sizef} {colourf}",
    lot="{number} {objects}, {number} {objectsf}, {number} {animals}",
)

_ES_TEMPLATES = _lines("""
    {beast} {moves} {relation} {place}
    {beast} salta sobre {beast}
    {beast} {moves} con {beast} {when}
    {someone} {past} {thing}
    {someone} {past} {thing} {when}
    {someone} {past} {thing} {relation} {place}
    {someone} {moves} {relation} {place} {when}
    {someone} y {someone} {past} {thing}
    {thing} está {relation} {place}
    {thing} está {relation} {thing}
    hay {drawn} {spot}
    {drawn} está {spot}
    {drawn} y {drawn}
    {drawn} y {drawn} están {spot}
    {thing}, {thing} y {beast}
    hay {lot} {relation} {place}
    veo {lot} y {thing}
    veo {beast} {relation} {place}
    tenemos {lot} y {lot}
    por favor {order} {thing}
    por favor {order} {thing} {when}
    por favor cierra la puerta cuando salgas
    {order} {thing} antes de salir
    hace {weather} {when}
    hay mucha {sky} en {season}
    en {season} hace {weather}
    buenos días y bienvenidos
    buenas noches y muchas gracias
    hola {name} y buenos días
    bienvenidos a nuestra casa
    los árboles tienen flores {when}
    comemos {food} y {food} {when}
    a {name} le gusta comer {food}
    {someone} bebe {drink} {when}
    quiero {drink} y {food}
    {thing} cuesta {number} euros
    el tren sale a las {number} {when}
    {name} tiene {lot}
    {name} vive {relation} {place}
    hoy es {day} y mañana es {day}
    vamos a comer {food} {when}
    ella tiene {thing} y {thing}
    este es mi {object} {colour}
    esta es mi {objectf} {colourf}
    no olvides {thing}
    me gusta {place} en {season}
""")

_FR_SLOTS = _slots(
    animal="chien, chat, renard, cheval, canard, lapin, mouton, lion, singe, cochon, loup, tigre, serpent, oiseau",
    animalf="vache, chèvre, tortue, grenouille, poule, abeille, souris, girafe, mouche",
    animals="chiens, chats, renards, canards, lapins, moutons, lions, singes, loups, tigres, oiseaux",
    person="garçon, professeur, médecin, roi, voisin, frère, boulanger, fermier, facteur, chanteur, pilote, monsieur",
    personf="femme, fille, maîtresse, reine, voisine, sœur, grand-mère, dame, chanteuse, cousine",
    name="Anne, Pierre, Marie, Thomas, Lucie, David, Sarah, Jacques, Emma, Paul",
    object="livre, ballon, chapeau, manteau, verre, couteau, bateau, train, téléphone, tambour, miroir, tableau, "
    "parapluie, vélo, lit, stylo, journal, crayon, panier, sac",
    objectf="table, chaise, boîte, lampe, montre, lettre, bouteille, cuillère, porte, fenêtre, voiture, guitare, "
    "bougie, clé, chaussure, photo, horloge, valise",
    objects="livres, ballons, chapeaux, verres, bateaux, trains, miroirs, vélos, stylos, paniers",
    objectsf="tables, chaises, boîtes, lampes, lettres, bouteilles, portes, voitures, bougies, valises",
    colour="rouge, vert, bleu, jaune, noir, blanc, gris, orange, violet, brun",
    colourf="rouge, verte, bleue, jaune, noire, blanche, grise, orange, violette, brune",
    shape="cercle, carré, triangle",
    shapef="étoile, croix",
    size="grand, petit",
    sizef="grande, petite",
    spot="à gauche, à droite, en haut, en bas, au centre, au milieu, dans le coin, en haut à gauche, en bas à droite",
    quality="jeune, rapide, triste, fatigué, propre, tranquille, fort, magnifique, content, étrange, calme",
    qualityf="jeune, rapide, triste, fatiguée, propre, tranquille, forte, magnifique, contente, étrange, calme",
    place="le jardin, la cuisine, la maison, le parc, la forêt, la rue, le marché, la gare, la rivière, le pont, "
    "la montagne, le village, la ville, la ferme, le champ, le musée, la plage, la tour, le lac, la boutique, "
    "le château",
    relation="dans, devant, derrière, sous, sur, vers",
    number="deux, trois, quatre, cinq, six, sept, huit, neuf, dix, onze, douze, vingt, trente, cinquante",
    day="lundi, mardi, mercredi, jeudi, vendredi, samedi, dimanche",
    month="janvier, février, mars, avril, mai, juin, juillet, août, septembre, octobre, novembre, décembre",
    when="demain, le matin, le soir, la nuit, à midi, chaque jour, cette semaine, après le repas, en {month}, "
    "hier, maintenant, encore, ce {day}",
    weather="froid, chaud, beau, mauvais",
    sky="pluie, neige, brume",
    season="au printemps, en été, en automne, en hiver",
    food="du pain, du fromage, de la soupe, du riz, du beurre, du sucre, du chocolat, une pomme, une banane, "
    "un citron, une salade, du poisson, un gâteau, une poire",
    drink="de l'eau, du lait, du café, du thé, du jus, du vin",
    past="trouve, regarde, porte, nettoie, cherche, prend, vend, casse, pousse, montre, ouvre, cache, lave, dessine",
    moves="court, marche, saute, dort, attend, joue, chante, nage, danse, travaille, habite",
    order="regarde, porte, nettoie, cherche, prends, pousse, montre, ouvre, lave, compte",
    thing="le {object}, un {object}, la {objectf}, une {objectf}, le {object} {colour}, la {objectf} {colourf}, "
    "un {object} {quality}, une {objectf} {qualityf}, le grand {object}, la petite {objectf}",
    someone="le {person}, la {personf}, {name}, mon {person}, ma {personf}, un {person} {quality}, "
    "une {personf} {qualityf}",
    beast="le {animal}, la {animalf}, un {animal}, le {animal} {colour}, la {animalf} {colourf}, le petit {animal}, "
    "une {animalf} {qualityf}, la grande {animalf}",
    drawn="un {shape} {colour}, un {size} {shape} {colour}, une {shapef} {colourf}, une {sizef} {shapef} {colourf}",
    lot="{number} {objects}, {number} {objectsf}, {number} {animals}",
)

_FR_TEMPLATES = _lines("""
    {beast} {moves} {relation} {place}
    {beast} saute sur {beast}
    {beast} {moves} avec {beast} {when}
    {someone} {past} {thing}
    {someone} {past} {thing} {when}
    {someone} {past} {thing} {relation} {place}
    {someone} {moves} {relation} {place} {when}
    {thing} est {relation} {place}
    {thing} est {relation} {thing}
    il y a {drawn} {spot}
    {drawn} est {spot}
    {drawn} et {drawn}
    {drawn} et {drawn} sont {spot}
    {thing}, {thing} et {beast}
    il y a {lot} {relation} {place}
    je vois {lot} et {thing}
    je vois {beast} {relation} {place}
    nous avons {lot} et {lot}
    {order} {thing} {when}
    fermez la porte avant de partir
    merci de fermer la fenêtre {when}
    il fait {weather} {when}
    {season} il fait {weather}
    il y a beaucoup de {sky} {season}
    bonjour et bienvenue dans {place}
    bonsoir et merci beaucoup
    bonjour {name} et bonne journée
    les arbres sont en fleurs {when}
    nous mangeons {food} et {food} {when}
    {someone} mange {food} {when}
    {someone} boit {drink} {when}
    je voudrais {drink} et {food}
    {thing} coûte {number} euros
    le train part à {number} heures {when}
    {name} possède {lot}
    {name} habite {relation} {place}
    nous sommes {day} et demain c'est {day}
    nous allons vers {place} {when}
    elle cherche {thing} et {thing}
    voici mon {object} {colour}
    voici ma {objectf} {colourf}
    n'oubliez pas {thing}
    j'aime {place} {season}
""")


def _salad_words(slots: dict[str, tuple[str, ...]], names: str) -> tuple[str, ...]:
    """Return the last word of each entry of the slots in `names` (separated by spaces), without duplicates."""
    words = (entry.split(" ")[-1] for name in names.split() for entry in slots[name])
    return tuple(dict.fromkeys(word for word in words if "{" not in word and "'" not in word))


GRAMMARS = {
    "en": Grammar(
        _EN_TEMPLATES,
        _EN_SLOTS,
        _salad_words(
            _EN_SLOTS,
            "animal person object colour shape size quality place number day weather sky food past moves order",
        ),
    ),
    "es": Grammar(
        _ES_TEMPLATES,
        _ES_SLOTS,
        _salad_words(
            _ES_SLOTS,
            "animal animalf person personf object objectf colour colourf shape quality place number day sky food past "
            "moves",
        ),
    ),
    "fr": Grammar(
        _FR_TEMPLATES,
        _FR_SLOTS,
        _salad_words(_FR_SLOTS, "animal animalf person personf object objectf shape shapef place number day sky moves"),
    ),
}
