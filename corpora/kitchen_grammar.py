"""Write the kitchen corpus and its three test sets, the same bytes from the same seed everywhere.

    python corpora/kitchen_grammar.py [OUT_DIR]

The corpus asks of a word model what the lecture notes promise of one: that it prefers "the apple and pear
salad" to "the apple and pair salad", and that it remembers, over many words, whether "the cats that ... were
full" began with one cat or several.

- ``kitchen.txt``: 24,000 sentences to learn from: agreement sentences, sentences around one spelling of a
  pair of homophones, menu lines and plain sentences, mixed.
- ``kitchen_heldout.txt``: further sentences of the same kinds, each with a reserved combination in it.
- ``kitchen_homophones.tsv``: held-out sentences with one homophone each, and the other spelling of it.
- ``kitchen_agreement.tsv``: held-out sentences with a verb 1 to 24 words after its subject, and the verb in
  the other number.

Reserved combinations. The *content words* of a sentence are those the lexicon names: nouns, the adjectives
before them, and homophones. Two content words with only other words between them combine. About one
combination in ten is reserved (``reserved_combinations``), and so are the menus of ``RESERVED_MENUS``: no
line of ``kitchen.txt`` holds a reserved combination, every held-out line holds at least one, and in a
homophone test the homophone is part of it. So a model passes by what it has learned of kinds of words, not
by heart.

Agreement. The number of the subject and that of every noun after it are drawn independently; the verbs of
inner clauses are in the past tense, which has no number. So no word but the subject tells its verb's number.
All words are lower case, without punctuation, one space apart.
"""

# Lists of words read better in one string.
# ruff: noqa: SIM905

import argparse
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random

SEED = 20240
TRAINING_LINES = 24_000
HELDOUT_LINES = 1_000
HOMOPHONE_TESTS_PER_SPELLING = 34
AGREEMENT_TESTS_PER_DISTANCE = 44
LONGEST_DISTANCE = 24
RESERVED_DIGIT = 2  # chosen so that each context of each homophone has both free and reserved combinations

SINGULAR = {
    "PERSON": "cook chef baker butcher waiter gardener farmer maid guest boy girl sister visitor".split(),
    "ANIMAL": "cat dog hen mouse goose rabbit duck kitten puppy".split(),
    "THING": "pan pot kettle bowl plate cup spoon fork knife jar basket tray jug ladle whisk mug".split(),
    "PLACE": "stove oven table shelf cupboard door window sink counter bench chair barrel wall lamp".split(),
}
IRREGULAR = {"mouse": "mice", "goose": "geese", "knife": "knives", "shelf": "shelves", "puppy": "puppies"}
LEXICON = {
    **SINGULAR,
    "PERSON_ADJ": "old young tall happy clever quiet kind tired".split(),
    "ANIMAL_ADJ": "old young black white little brown clever lazy".split(),
    "THING_ADJ": "old little heavy black white round plain pretty".split(),
    "PLACE_ADJ": "old little heavy tall white narrow wide plain".split(),
    "FRUIT": "apple pear plum cherry fig peach lemon orange berry apricot quince grape".split(),
    "NUT": "walnut almond hazelnut chestnut pecan peanut".split(),
    "VEGETABLE": "leek beet carrot onion potato cabbage tomato turnip mushroom pepper spinach celery".split(),
    "BAKED": "cake tart pie crumble pudding flan".split(),
    "SWEET": "salad cake tart pie crumble pudding flan".split(),
    "SAVOURY": "soup stew curry broth salad omelette".split(),
    "FOOD_ADJ": "fresh sweet warm cold little simple".split(),
    "COLOUR": "red yellow blue purple pink violet scarlet golden".split(),
    "WORN": "gloves boots mittens slippers socks shoes scissors tongs".split(),
    "ORDINAL": "first second third last".split(),
}
LEXICON |= {
    f"{kind}S": [IRREGULAR.get(noun, noun + ("es" if noun.endswith("ch") else "s")) for noun in nouns]
    for kind, nouns in SINGULAR.items()
}

# The contexts of each homophone, which leave a reader in no doubt; the two of a pair follow each other.
# A word in upper case stands for any word of that kind.
TEMPLATES = {
    "pear": ["the PERSON peeled a ripe pear for the SWEET", "the NUT and pear SWEET",
             "a ripe pear fell on the PLACE", "a FOOD_ADJ FRUIT and pear SWEET"],
    "pair": ["the PERSON bought a pair of WORN", "a pair of WORN hung near the PLACE",
             "the ORDINAL pair of WORN lay on the PLACE", "the PERSON_ADJ pair danced beside the PLACE",
             "the happy pair thanked the PERSON"],
    "flour": ["the PERSON sifted the flour into the THING_ADJ THING",
              "a sack of flour stood beside the PLACE_ADJ PLACE",
              "mix the flour with the FRUIT and the sugar",
              "the PERSON weighed two cups of flour for the FRUIT BAKED"],
    "flower": ["a COLOUR flower bloomed near the PLACE_ADJ PLACE",
               "the PERSON picked a COLOUR flower in the garden",
               "the petals of the flower fell on the PLACE", "the PERSON watered the flower in the garden"],
    "leek": ["the PERSON chopped a leek and a VEGETABLE for the SAVOURY", "the VEGETABLE and leek SAVOURY",
             "a FOOD_ADJ leek and VEGETABLE SAVOURY", "the PERSON sliced the leek with the knife"],
    "leak": ["water dripped from the leak under the PLACE_ADJ PLACE",
             "the plumber fixed the leak behind the PLACE",
             "the PERSON heard a leak in the pipe near the PLACE"],
    "meat": ["the butcher sold the meat to the PERSON_ADJ PERSON",
             "the PERSON roasted the meat with the VEGETABLE", "the ANIMAL stole the meat from the THING",
             "cold meat with VEGETABLE SAVOURY"],
    "meet": ["the PERSONS will meet beside the PLACE_ADJ PLACE", "the PERSONS often meet the PERSONS at noon",
             "we shall meet the PERSON_ADJ PERSON at the market",
             "the PERSONS and the PERSONS will meet on monday"],
    "thyme": ["the PERSON rubbed the VEGETABLE with thyme and garlic",
              "add a sprig of thyme to the VEGETABLE SAVOURY", "the PERSON seasoned the SAVOURY with thyme",
              "the PERSON chopped thyme for the VEGETABLE SAVOURY"],
    "time": ["it was time to wash the THING_ADJ THING", "this time the PERSON burned the VEGETABLE SAVOURY",
             "there was no time to find the PERSON_ADJ PERSON",
             "the PERSONS came just in time for the VEGETABLE SAVOURY"],
    "steak": ["the PERSON grilled the steak with the VEGETABLE", "a rare steak with VEGETABLE and mustard",
              "the PERSON ordered a tender steak with VEGETABLE SAVOURY"],
    "stake": ["the gardener drove the stake into the ground near the PLACE_ADJ PLACE",
              "the PERSON tied the VEGETABLE plant to a stake in the garden",
              "the PERSON hammered a sharp stake into the soil beside the PLACE_ADJ PLACE"],
    "berry": ["the FRUIT and berry SWEET", "the ANIMAL ate a ripe berry from the THING",
              "the PERSON found a juicy berry under the PLACE", "a FOOD_ADJ FRUIT and berry SWEET"],
    "bury": ["the ANIMALS bury the bones near the PLACE",
             "the ANIMAL_ADJ ANIMAL will bury a bone behind the PLACE",
             "the PERSONS must bury the broken THING in the garden"],
    "dough": ["the PERSON rolled the dough on the PLACE", "leave the dough in the THING for one hour",
              "the dough rose in the THING near the PLACE", "the PERSON pressed the FRUIT into the dough"],
    "doe": ["a shy doe ran from the ANIMAL_ADJ ANIMAL",
            "the PERSON_ADJ PERSON saw a doe behind the ANIMAL_ADJ ANIMALS",
            "the ANIMAL_ADJ ANIMALS followed the doe into the forest",
            "the doe and her fawn fled from the PERSON_ADJ PERSON"],
    "beet": ["the VEGETABLE and beet SAVOURY", "the PERSON boiled the beet with the VEGETABLE",
             "the PERSON pickled a beet in the THING"],
    "beat": ["beat the eggs and the cream in the THING_ADJ THING", "the PERSON beat the eggs with the THING",
             "you must beat the butter in the THING_ADJ THING"],
    "piece": ["the PERSON cut a piece of BAKED", "a piece of the FRUIT BAKED fell on the PLACE",
              "the ANIMAL stole a piece of FRUIT BAKED", "one more piece of NUT BAKED"],
    "peace": ["the PERSONS ate the SAVOURY in peace", "the ANIMAL slept in peace beside the PLACE",
              "the PERSON_ADJ PERSON wanted peace and quiet", "the PERSONS made peace with the PERSONS"],
    "bread": ["the PERSON_ADJ PERSON sliced the bread on the PLACE", "fresh bread with FRUIT jam",
              "the PERSON spread FRUIT jam on the bread", "a loaf of bread lay on the PLACE_ADJ PLACE"],
    "bred": ["the PERSON bred ANIMAL_ADJ ANIMALS on the farm",
             "the ANIMAL_ADJ ANIMALS were bred by the PERSON_ADJ PERSON",
             "the ANIMALS bred by the PERSONS won a prize"],
    "knead": ["knead the pastry on the PLACE", "the PERSON began to knead the paste on the PLACE",
              "knead the mixture with the FRUIT until it is smooth"],
    "need": ["we need a THING_ADJ THING", "the PERSONS need more VEGETABLE SAVOURY",
             "you need the THING for the SAVOURY"],
}
PAIRS = list(zip([*TEMPLATES][::2], [*TEMPLATES][1::2], strict=True))
MENU = ["the FRUIT and FRUIT SWEET", "the FRUIT and NUT SWEET", "a FOOD_ADJ FRUIT and FRUIT SWEET",
        "a FOOD_ADJ FRUIT and NUT SWEET", "the NUT and FRUIT SWEET", "the VEGETABLE and VEGETABLE SAVOURY",
        "a FOOD_ADJ VEGETABLE and VEGETABLE SAVOURY", "FOOD_ADJ FRUIT BAKED with cream"]
PLAIN = ["the PERSON_ADJ PERSON washed the THING_ADJ THING", "the PERSONS carried the THINGS to the PLACE",
         "we ate the FRUIT and NUT SWEET with cream", "the PERSON baked a FRUIT BAKED for the PERSONS",
         "the PERSON served the VEGETABLE SAVOURY in a THING", "the ANIMALS slept under the PLACE",
         "the PERSONS lost a pair of WORN each", "the PERSON washed the COLOUR WORN",
         "the ORDINAL ANIMAL chased the COLOUR ANIMAL", "the THING_ADJ THING fell from the PLACE_ADJ PLACE",
         "the PERSON put the THING on the PLACE"]
MENU_EXAMPLES = ["the apple and walnut salad", "the plum and pear salad", "a fresh apple and pear cake"]
RESERVED_MENUS = [("apple", "pear", "salad"), ("plum", "berry", "pie"), ("potato", "leek", "soup")]
CONTENT_WORDS = frozenset(TEMPLATES).union(*LEXICON.values())

# For the agreement sentences: what each kind of noun can be, do, be near, and have done to it.
PREDICATES = {
    "PERSON": "hungry late angry asleep busy full", "ANIMAL": "hungry full asleep wet happy hidden",
    "THING": "clean dirty empty broken full cold", "PLACE": "clean dirty wet dusty broken cold",
}
PREPOSITIONS = {
    "PERSON": "near beside behind", "ANIMAL": "near under behind",
    "THING": "on under beside", "PLACE": "near beside behind",
}
INTRANSITIVES = {
    "PERSON": "laughed waited sang", "ANIMAL": "slept waited played",
    "THING": "fell rattled shone", "PLACE": "creaked shook shone",
}
TRANSITIVES = {
    ("PERSON", "PERSON"): "praised helped watched called", ("PERSON", "ANIMAL"): "fed chased watched called",
    ("PERSON", "THING"): "washed bought dried broke", ("PERSON", "PLACE"): "painted cleaned repaired",
    ("ANIMAL", "PERSON"): "followed watched", ("ANIMAL", "ANIMAL"): "chased followed watched",
    ("ANIMAL", "THING"): "licked broke found", ("ANIMAL", "PLACE"): "scratched found",
}
OPENINGS = ["today", "this morning", "on sunday", "at noon"]
OTHER_NUMBER = {"was": "were", "were": "was", "is": "are", "are": "is"}


def choose(random: Random, options: Sequence[str]) -> str:
    """Return one of the options, by ``random()`` alone, whose stream no version of Python has changed."""
    return options[int(random.random() * len(options))]


def checksum(text: str) -> int:
    """Return a number from 0 to 255 that depends on the text alone."""
    return sha256(text.encode()).digest()[0]


def reserved_combinations(words: Sequence[str]) -> list[tuple[str, ...]]:
    """List the combinations in a sentence that only held-out ones may hold; a checksum serves as the list."""
    content = [word for word in words if word in CONTENT_WORDS]
    triples = zip(content, content[1:], content[2:], strict=False)
    pairs = [pair for pair in pairwise(content) if checksum(" ".join(pair)) % 10 == RESERVED_DIGIT]
    return [*pairs, *(triple for triple in triples if triple in RESERVED_MENUS)]


def repeats(words: Sequence[str]) -> bool:
    """Tell whether a word follows itself, or combines with itself as in "the plum and plum cake"."""
    content = [word for word in words if word in CONTENT_WORDS]
    return any(first == second for first, second in [*pairwise(words), *pairwise(content)])


def fill(random: Random, template: str) -> list[str]:
    """Replace each upper-case word of a template by a word of that kind, and "a" by "an" where it belongs."""
    words = [choose(random, LEXICON[word]) if word.isupper() else word for word in template.split()]
    pairs = zip(words, [*words[1:], "."], strict=True)
    return ["an" if word == "a" and after[0] in "aeiou" else word for word, after in pairs]


def plain_phrase(random: Random, kind: str, length: int) -> list[str]:
    """Return "the", up to two adjectives and a noun: ``length`` words, 2 to 4, the noun in either number."""
    adjectives = [choose(random, LEXICON[kind + "_ADJ"]) for _ in range(length - 2)]
    return ["the", *adjectives, choose(random, LEXICON[choose(random, [kind, kind + "S"])])]


def place_phrase(random: Random, kind: str, length: int, inside: bool) -> list[str]:
    """Return exactly ``length`` words, 3 or more, that say where a noun of that kind is.

    Only ``inside`` a clause, before its verb, may "and" join two places: at the end of a subject it would
    make two subjects of one ("the cat near the stove and the wall").
    """
    size = length - 1
    if length > 5:  # what follows takes three words or more
        size = 2 + int(random.random() * (min(4, length - 4) - 1))
    phrase = [choose(random, PREPOSITIONS[kind].split()), *plain_phrase(random, "PLACE", size)]
    if length == size + 1:
        return phrase
    rest = place_phrase(random, "PLACE", length - size - 1, inside)
    return [*phrase, *(["and", *rest[1:]] if inside and random.random() < 0.5 else rest)]


def long_phrase(random: Random, kind: str, length: int, depth: int, inside: bool) -> list[str]:
    """Return a noun phrase of exactly ``length`` words, 2 or more, with what is said about its noun."""
    size = 2 + int(random.random() * min(3, length - 1))
    return plain_phrase(random, kind, size) + modifier(random, kind, length - size, depth, inside)


def modifier(random: Random, kind: str, length: int, depth: int, inside: bool = False) -> list[str]:
    """Return exactly ``length`` words to follow a noun of that kind: places and relative clauses.

    Up to ``depth`` clauses open within each other; ``inside`` is true where a clause's verb is still to come.
    """
    if length == 0:
        return []
    if length == 1:
        return [choose(random, ["upstairs", "outside", "downstairs"])]
    if length == 2:
        return ["that", choose(random, INTRANSITIVES[kind].split())]
    others = [subject for subject, target in TRANSITIVES if target == kind]
    victims = [target for subject, target in TRANSITIVES if subject == kind]
    form = random.random()
    if depth == 0 or length == 3 or form < 0.2:
        return place_phrase(random, kind, length, inside)
    if victims and form < 0.5:  # "that chased the mice near the door"
        other = choose(random, victims)
        verb = choose(random, TRANSITIVES[kind, other].split())
        return ["that", verb, *long_phrase(random, other, length - 2, depth - 1, inside)]
    # "that the old cook near the stove fed behind the door", the words left split at random about the verb
    other = choose(random, others)
    verb = choose(random, TRANSITIVES[other, kind].split())
    after = int(random.random() * (length - 3))
    after = after if after > 2 else 0  # to say where takes three words
    where = place_phrase(random, "ANIMAL", after, inside) if after else []
    return ["that", *long_phrase(random, other, length - 2 - after, depth - 1, True), verb, *where]


def agreement(random: Random, distance: int) -> tuple[list[str], int]:
    """Return a sentence whose verb comes ``distance`` words after its subject, and the verb's index."""
    kind = choose(random, list(SINGULAR))
    plural = random.random() < 0.5
    opening = choose(random, OPENINGS).split() if random.random() < 0.25 else []
    adjective = [choose(random, LEXICON[kind + "_ADJ"])] if random.random() < 0.3 else []
    subject = [*opening, "the", *adjective, choose(random, LEXICON[kind + "S" if plural else kind])]
    subject += modifier(random, kind, distance, 2)
    verb = choose(random, ["were", "are"] if plural else ["was", "is"])
    return [*subject, verb, choose(random, PREDICATES[kind].split())], len(subject)


def sentence(random: Random, heldout: bool) -> list[str]:
    """Return a sentence of any kind, with a reserved combination if it is held out and without one if not."""
    while True:
        # The kind is drawn once and its words again and again, lest the long sentences, with more
        # combinations in them, become rare; but not every kind has room for a reserved one.
        share, distance = random.random(), int(random.random() * (LONGEST_DISTANCE + 1))
        template = choose(random, MENU if share > 0.88 else PLAIN)
        if share < 0.73:
            template = choose(random, TEMPLATES[choose(random, list(TEMPLATES))])
        for _ in range(50):
            words = agreement(random, distance)[0] if share < 0.34 else fill(random, template)
            if bool(reserved_combinations(words)) == heldout and not repeats(words):
                return words


def training_lines() -> Iterator[str]:
    """Yield the lines of ``kitchen.txt``, the menu lines of the notes first."""
    random = Random(SEED)
    yield from MENU_EXAMPLES
    for _ in range(TRAINING_LINES - len(MENU_EXAMPLES)):
        yield " ".join(sentence(random, heldout=False))


def heldout_lines() -> Iterator[str]:
    """Yield the lines of ``kitchen_heldout.txt``, each once, "the apple and pear salad" first."""
    random = Random(SEED + 1)
    lines = [f"the {first} and {second} {dish}" for first, second, dish in RESERVED_MENUS]
    while len(lines) < HELDOUT_LINES:
        line = " ".join(sentence(random, heldout=True))
        if line not in lines:
            lines.append(line)
    yield from lines


def homophone_rows() -> Iterator[str]:
    """Yield the lines of ``kitchen_homophones.tsv``: as many for each spelling, each sentence once."""
    random = Random(SEED + 2)
    yield "right\twrong\tpair"
    for pair in PAIRS:
        for spelling, other in (pair, pair[::-1]):
            rows: list[str] = []
            while len(rows) < HOMOPHONE_TESTS_PER_SPELLING:
                words = fill(random, choose(random, TEMPLATES[spelling]))
                wrong = [other if word == spelling else word for word in words]
                row = "\t".join([" ".join(words), " ".join(wrong), "/".join(pair)])
                alone = [word for word in words if word in TEMPLATES] == [spelling]
                held_out = any(spelling in combination for combination in reserved_combinations(words))
                if alone and held_out and row not in rows and not repeats(words):
                    rows.append(row)
            yield from rows


def agreement_rows() -> Iterator[str]:
    """Yield the lines of ``kitchen_agreement.tsv``: as many for each distance, each sentence once."""
    random = Random(SEED + 3)
    yield "right\twrong\tdistance"
    for distance in range(1, LONGEST_DISTANCE + 1):
        rows: list[str] = []
        while len(rows) < AGREEMENT_TESTS_PER_DISTANCE:
            words, verb = agreement(random, distance)
            wrong = [*words[:verb], OTHER_NUMBER[words[verb]], *words[verb + 1:]]
            row = "\t".join([" ".join(words), " ".join(wrong), str(distance)])
            if reserved_combinations(words) and row not in rows and not repeats(words):
                rows.append(row)
        yield from rows


def main() -> None:
    """Write the four files into the folder named on the command line, or beside this one."""
    parser = argparse.ArgumentParser(description="Write the kitchen corpus and its test sets.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent, metavar="OUT_DIR")
    folder = parser.parse_args().folder
    files = {"kitchen.txt": training_lines, "kitchen_heldout.txt": heldout_lines,
             "kitchen_homophones.tsv": homophone_rows, "kitchen_agreement.tsv": agreement_rows}
    for name, lines in files.items():
        (folder / name).write_bytes("".join(line + "\n" for line in lines()).encode("ascii"))


if __name__ == "__main__":
    main()
