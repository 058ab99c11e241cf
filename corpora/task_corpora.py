"""Write small corpora for the tasks other than language modelling, the same bytes from the same seed everywhere.

    python corpora/task_corpora.py [OUT_DIR]

Each corpus ``NAME.tsv`` comes with ``NAME_heldout.tsv``, drawn by the same grammar. A checksum divides what a
grammar can say: two content words that follow each other (of names: the name; of tunes: the chords) are
*reserved* one time in ten or so. No training record holds anything reserved, every held-out one does, and no
record occurs twice. Apart from names, a held-out record has no word that training lacks.

- ``kitchen_tags``: sentences as lines ``token TAB tag``, blank lines between them, with universal parts of speech.
  It asks for both sides of a word: in "that can falls" and "that can fall", in "the old fish near the pond ." and
  "the old fish near the pond sleeps .", nothing before a word tells its tag, and what follows does. No sentence
  has two readings.
- ``persons``: the same columns, the tag 1 for the parts of a person's name and 0 for all else (titles, towns and
  streets among it). Names are common words too ("Will Rose mark the page ?"), towns share their spellings with
  surnames, and held-out sentences have names that training lacks: what tells is the context.
- ``reviews``: ``label TAB text``, one sentence on a restaurant. What is said of the one label is said, mirrored, of
  the other, so its adjectives tell little: negation, contrast and disappointed hope turn them round. Where two
  things are praised and blamed in one review, the main clause or the one after "but" decides.
- ``places``: ``label TAB name``, invented names of five kinds that differ in their letters.
- ``phrases``: ``english TAB spanish``. The target differs in order (adjectives, possessors and subjects of
  questions come later; whom something pleases comes first) and length (dropped pronouns, "no", "al", "del"), and
  its words agree in gender, number and person with words far from them.
- ``tunes``: ``genre TAB piece``, a piece being steps with a space between them, a step the MIDI numbers of the keys
  that sound, or ``-``. A waltz has three steps to the bar, bass and two chords; a march four, low, with bass and
  off-beat in turn; a lullaby six, broken chords that rock between tonic and subdominant.
"""

# Lists of words read better in one string.
# ruff: noqa: SIM905

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from kitchen_grammar import IRREGULAR, RESERVED_DIGIT, checksum, choose

SEED = 20260
Grammar = dict[str, list[str]]


@dataclass(frozen=True)
class Record:
    """What is drawn: as the file has it; the words that a held-out one may not be first to use; whether it is one."""

    text: str
    words: Iterable[str]
    reserved: bool


Draw = Callable[[Random, str], Record]


def reserved(text: str) -> bool:
    """Tell whether only held-out records may hold this."""
    return checksum(text) % 10 == RESERVED_DIGIT


def combines(content: Iterable[str]) -> bool:
    """Tell whether two content words of a sentence, one after the other, are a reserved pair."""
    return any(reserved(" ".join(pair)) for pair in pairwise(content))


def expand(random: Random, grammar: Grammar, text: str) -> list[str]:
    """Replace every symbol of the grammar in a text by one of its alternatives, until only words are left."""
    words = []
    for symbol in text.split():
        words += expand(random, grammar, choose(random, grammar[symbol])) if symbol in grammar else [symbol]
    return words


def with_articles(words: Sequence[str]) -> list[str]:
    """Write "a" as "an" where it belongs."""
    return ["an" if word == "a" and after[0] in "aeiou" else word for word, after in pairwise([*words, "."])]


def joined(words: Iterable[str]) -> str:
    """Write words as a sentence, the marks close to them."""
    return " ".join(words).replace(" ,", ",").replace(" ?", "?").replace("¿ ", "¿")


# --- kitchen_tags: the first part of a symbol's name is its words' tag ---

TAG_WORDS = {
    "NOUN_AGENT": "cook gardener waiter baker girl guest", "NOUN_AGENTS": "cooks gardeners waiters bakers girls guests",
    "NOUN_THING": "can light plant drink order pickle pan plum bottle", "NOUN_FOODS": "plums pears leeks onions",
    "NOUN_THINGS": "cans lights plants drinks orders pickles pans plums bottles", "NOUN_FOLK": "old young",
    "NOUN_PLACE": "kitchen garden oven stove shelf pond", "NOUN_MASS": "water light dust smoke oil butter",
    "NOUN_EATER": "cook fish",
    "VERB_T": "can light dust water plant oil butter cook order pickle clean dry warm open empty",
    "VERB_TS": "cans lights dusts waters plants oils butters cooks orders pickles cleans dries warms opens empties",
    "VERB_TED": "canned dusted watered planted oiled ordered pickled cleaned dried opened emptied",
    "VERB_I": "cook fish drink smoke sleep wait", "VERB_IS": "cooks fishes drinks smokes sleeps waits",
    "VERB_FALL": "fall break shine dry", "VERB_FALLS": "falls breaks shines dries", "VERB_EAT": "cook fish",
    "ADJ_ANY": "old young clean cold", "ADJ_THING": "light dry clean warm open empty cold old heavy",
}
TAG_OF = {
    "DET": "the this these", "PRON": "they we", "ADP": "near beside behind", "AUX": "is are must",
    "ADV": "early here", "NUM": "two", "PUNCT": ". ? ,", "VERB": "say know go goes",
}
TAG_GRAMMAR: Grammar = {
    **{kind: [f"{word}/{kind.split('_')[0]}" for word in words.split()] for kind, words in TAG_WORDS.items()},
    "WHO": ["they", "we", "the NOUN_AGENTS", "two NOUN_AGENTS", "the ADJ_ANY NOUN_AGENTS"],
    "ONE": ["the NOUN_AGENT", "the ADJ_ANY NOUN_AGENT", "this NOUN_AGENT"],
    "WHAT": ["the NOUN_THINGS", "the NOUN_THING", "the ADJ_THING NOUN_THINGS", "these NOUN_THINGS"],
    "AT": ["near the NOUN_PLACE", "beside the NOUN_PLACE", "behind the NOUN_PLACE"],
    "MAYBE": ["", "", "AT", "early", "here", "inside/ADV", "inside/ADP the NOUN_PLACE"],
    "ACTS": ["VERB_I", "VERB_T WHAT"],  # after "can", "must", "to"
    "START": [
        # "can" after a subject: another verb, or an object
        "WHO can/AUX ACTS MAYBE .", "WHO can/VERB WHAT MAYBE .", "WHO can/VERB NOUN_FOODS MAYBE .",
        "WHO can/AUX can/VERB WHAT .", "ONE can/AUX ACTS MAYBE .", "ONE VERB_TS WHAT MAYBE .", "ONE VERB_IS MAYBE .",
        "WHO VERB_T WHAT MAYBE .", "WHO must ACTS MAYBE .",
        # the first word: an order, an adjective, a noun, a question
        "VERB_T the NOUN_THINGS MAYBE .", "ADJ_THING NOUN_THINGS VERB_FALL MAYBE .", "NOUN_MASS VERB_FALLS MAYBE .",
        "NOUN_AGENTS VERB_T the NOUN_THINGS .", "can/VERB the NOUN_FOODS MAYBE .", "can/AUX the NOUN_AGENTS ACTS ?",
        # "that": this one here, or this fact
        "that/DET NOUN_THING VERB_FALLS MAYBE .", "that/DET can/NOUN VERB_FALLS MAYBE .",
        "that/DET NOUN_THING is ADJ_THING .", "that/PRON is ADJ_THING .", "that/PRON can/AUX VERB_FALL MAYBE .",
        "that/PRON VERB_TS the NOUN_THINGS .", "WHO say that/CONJ NOUN_AGENTS VERB_T the NOUN_THINGS .",
        "WHO say that/DET NOUN_AGENT VERB_TS the NOUN_THINGS .", "WHO know that/PRON .",
        "WHO know that/DET NOUN_AGENT .", "WHO know that/CONJ NOUN_FOODS VERB_FALL .",
        # "the old": those who are old, or an old one
        "the NOUN_FOLK VERB_T WHAT .", "the NOUN_FOLK can/AUX ACTS .", "the NOUN_FOLK can/VERB WHAT .",
        "the ADJ_ANY can/NOUN VERB_FALLS MAYBE .", "the can/NOUN VERB_FALLS MAYBE .",
        "the can/NOUN can/AUX VERB_FALL .", "the NOUN_FOLK VERB_EAT AT .", "the ADJ_ANY NOUN_EATER AT sleeps/VERB .",
        "the ADJ_ANY NOUN_EATER VERB_TS WHAT .", "the ADJ_ANY NOUN_THINGS VERB_FALL MAYBE .",
        "the ADJ_ANY NOUN_THING VERB_FALLS .",
        # and further words whose tag comes after them
        "the NOUN_PLACE lights/NOUN VERB_FALL MAYBE .", "the NOUN_PLACE lights/VERB the NOUN_PLACE .",
        "after/ADP the NOUN_THINGS , ONE VERB_IS .", "after/CONJ the NOUN_THINGS VERB_FALL , ONE VERB_IS .",
        "before/ADP the NOUN_THINGS , WHO VERB_I .", "before/CONJ the NOUN_THINGS VERB_FALL , WHO VERB_I .",
        "WHO go to/ADP the NOUN_PLACE .", "WHO go to/PART ACTS .", "ONE goes to/ADP the NOUN_PLACE .",
        "ONE goes to/PART ACTS .", "WHO have/AUX VERB_TED the NOUN_THINGS MAYBE .",
        "WHO have/VERB the NOUN_THINGS MAYBE .", "inside/ADV , ONE VERB_IS .",
        "inside/ADP the NOUN_PLACE , ONE VERB_IS .",
    ],
}
TAG_CONTENT = {word for words in TAG_WORDS.values() for word in words.split()} - {"can"}


def tagged(words: Iterable[str], tag_of: dict[str, str]) -> list[tuple[str, str]]:
    """Split "word/tag", and look up the tag of words that have none."""
    cut = [word.partition("/") for word in words]
    return [(word, tag or tag_of.get(word, "0")) for word, _, tag in cut]


def columns(rows: Iterable[tuple[str, str]]) -> str:
    """Write a sentence as lines of two columns."""
    return "".join(f"{word}\t{tag}\n" for word, tag in rows)


def tag_record(random: Random, _: str) -> Record:
    """Draw a sentence with parts of speech."""
    tag_of = {word: tag for tag, words in TAG_OF.items() for word in words.split()}
    rows = tagged(expand(random, TAG_GRAMMAR, "START"), tag_of)
    words = [word for word, _ in rows]
    return Record(columns(rows), words, combines(word for word in words if word in TAG_CONTENT))


# --- persons ---

WORD_FIRSTS = "Rose Mark Will May Grace Hope Bill Olive Basil Ginger Pearl Joy Dawn".split()
WORD_LASTS = "Baker Cook Potter Miller Brown White Young Black King Bell Rice Berry".split()
FIRSTS = [start + end for start in "Al Bel Cor Dan El Fer Gal Hed Il Jor Kar Lin Mar Nor Or Per Rin Sel Tam Vel".split()
          for end in "a an bert da ena ick ia in is ko mina o ric ron sy us wen win".split()]
# Many towns are called as people are, and the others nearly so: the letters do not tell.
LASTS = [start + end for start in "Ash Bran Carl Darn Elm Fal Hol Kel Lang Mar Nor Pen Rad Stan Thorn Wal".split()
         for end in "bury by combe don field ford ham ley more stead ton wick worth".split()]
TOWNS = LASTS + [start + end for start in "Bex Crom Ebb Gar Hex Ing Lud Odd Ply Rush Sax Tarn Ux Wex Yar".split()
                 for end in "bury ford ham ley mouth pool stead ton wick".split()]
INVENTED = {*FIRSTS, *LASTS}
PERSON_WORDS = {
    "THING": "pan cup bell rose table shelf page window basket", "THINGS": "pans cups bells pages baskets",
    "AGENT": "baker cook gardener waiter potter miller king guest", "AGENTS": "bakers cooks potters millers guests",
    "DID": "washed found painted opened bought carried broke filled", "FOOD": "rice soup bread fish berry basil ginger",
    "DO": "wash find paint open buy carry break mark", "KIND": "kind young old happy quiet",
    "COLOUR": "white brown black",
}
PERSON_CONTENT = {word for words in PERSON_WORDS.values() for word in words.split()}
PERSON_GRAMMAR: Grammar = {
    **{kind: words.split() for kind, words in PERSON_WORDS.items()},
    "FIRST": ["WORD_FIRST", "NEW_FIRST"], "LAST": ["WORD_LAST", "NEW_LAST", "NEW_LAST"],
    "WORD_FIRST": [word + "/1" for word in WORD_FIRSTS], "WORD_LAST": [word + "/1" for word in WORD_LASTS],
    "NEW_FIRST": [name + "/1" for name in FIRSTS], "NEW_LAST": [name + "/1" for name in LASTS], "TOWN": TOWNS,
    "TITLE": ["Mr", "Mrs", "Dr", "Aunt"],
    "PERSON": ["FIRST", "FIRST", "FIRST LAST", "FIRST LAST", "TITLE LAST", "TITLE FIRST LAST"],
    "DAY": ["Monday", "Tuesday", "Friday"], "MONTH": ["March", "May", "June"],
    "STREET": ["Rose Street", "Baker Street", "King Street", "Miller Street", "Grace Street", "White Street"],
    "WHERE": ["in TOWN", "near TOWN", "in STREET", "on DAY", "in MONTH", "for PERSON", "with PERSON"],
    "THE": ["the", "the KIND"],
    "START": [
        "PERSON DID the THING .", "PERSON DID the THING WHERE .", "PERSON and PERSON went to TOWN .",
        "PERSON will DO the THING .", "PERSON may DO the THING WHERE .", "PERSON is a KIND AGENT WHERE .",
        "PERSON leaves the THING WHERE .", "PERSON lives in TOWN .", "PERSON likes FOOD from TOWN .",
        "THE AGENT called PERSON WHERE .", "Yesterday PERSON DID the THING .", "The THING belongs to PERSON .",
        "We met PERSON in TOWN .", "On DAY PERSON DID the THING .", "The KIND AGENT is PERSON .",
        "Will PERSON DO the THING ?", "May PERSON DO the THING WHERE ?", "TITLE LAST likes the THING in TOWN .",
        "Mark the THING for PERSON .", "Bill PERSON for the FOOD .", "Cook the FOOD for PERSON .",
        # and the same words where they name no one
        "The AGENT DID the THING WHERE .", "Will the AGENT DO the THING ?", "May the AGENT DO the THING ?",
        "Mark the THING with a THING .", "Mark the THING WHERE .", "Bill the AGENT for the FOOD .",
        "Cook the FOOD with the FOOD .", "In MONTH the AGENT DID the THING .", "May is a KIND month WHERE .",
        "Rose petals fell near the THING .", "Rose bushes grow in TOWN .", "Olive oil is good with FOOD .",
        "Olive trees grow near TOWN .", "Basil leaves fell near the THING .", "Ginger tea is good with FOOD .",
        "Pearl buttons shone WHERE .", "Hope and patience help a KIND AGENT .", "Dawn broke over TOWN .",
        "Grace and patience help a KIND AGENT .", "Joy filled the AGENT WHERE .", "TOWN is a KIND town .",
        "Young AGENTS and old AGENTS went to TOWN .", "White THINGS and COLOUR THINGS fell in TOWN .",
        "The COLOUR THING fell WHERE .", "Brown bread is good with FOOD .", "TOWN and TOWN lie in the hills .",
        "TOWN lies near TOWN .", "STREET lies in TOWN .", "We went to TOWN in May .", "The AGENT lives in STREET .",
    ],
}


def person_record(random: Random, _: str) -> Record:
    """Draw a sentence with the names of persons in it, or without."""
    words, tags = zip(*tagged(expand(random, PERSON_GRAMMAR, "START"), {}), strict=True)
    words = with_articles([words[0][0].upper() + words[0][1:], *words[1:]])
    new = any(word in INVENTED and reserved(word) for word in words)
    new |= combines(word for word in words if word in PERSON_CONTENT)
    known = [word for word, tag in zip(words, tags, strict=True) if tag == "0"]
    return Record(columns(zip(words, tags, strict=True)), known, new)


# --- reviews: N is a thing, S an adjective of the label, O one of the other label, C and D comparatives ---

JUDGED = {  # things, and what is good and bad of them
    "FOOD": ("soup stew salad curry fish pie cake broth", "delicious tasty fresh crisp", "bland stale burnt soggy"),
    "STAFF": ("waiter owner cook girl", "friendly kind quick helpful", "rude slow careless unfriendly"),
    "ROOM": ("room terrace table kitchen", "cosy clean bright quiet", "dirty noisy gloomy cramped"),
}
JUDGEMENTS = {"good": "wonderful excellent lovely good great perfect", "bad": "awful terrible dreadful bad poor dismal"}
COMPARED = {"good": "better fresher tastier finer", "bad": "worse blander duller poorer"}
TEMPLATES = [
    # plainly
    "the N1 was VERY S1", "S1 N1 and S2 N2", "the N1 was S1 , and the N2 was just as S2", "what a S1 N1",
    "never have i known such a S1 N1", "i have never tasted C NFOOD", "i found the N1 VERY S1 and the N2 S2",
    # denied
    "the N1 was not O1", "the N1 was not O1 at all", "the N1 was never O1", "the N1 was anything but O1",
    "nobody could call the N1 O1", "there was nothing O1 about the N1", "i cannot say that the N1 was O1",
    "it is not true that the N1 was O1", "it is not true that the N1 was not S1", "the N1 was not O1 but S1",
    "the N1 was not O1 , and the N2 was not O2", "i have tasted D NFOOD elsewhere", "the N1 was far from O1",
    # turned round
    "O1 N1 , but everything else was S2", "the N1 was O1 , but the rest was VERY S2",
    "the N1 was O1 , but the N2 was S2", "although the N1 was O1 , the N2 was S2",
    "the N1 was S1 although the N2 was O2", "the N1 was not S1 , but the N2 was not O2",
    "my friend found the N1 O1 , but to me it was S1", "people say the N1 is O1 , but it is not",
    # hoped and feared
    "i expected the N1 to be O1 , and it was not", "i expected the N1 to be S1 , and it was",
    "i expected it to be O1 , but the N1 was not", "we were told that the N1 was O1 , but it was S1",
    "we were told that the N1 was S1 , and it was", "i had thought that the N1 was not S1 , but it was",
]
REVIEW_CONTENT = {word for words in JUDGED.values() for word in " ".join(words).split()}.union(
    *(words.split() for words in [*JUDGEMENTS.values(), *COMPARED.values()]))


def review_record(random: Random, label: str) -> Record:
    """Draw a review that is good or bad."""
    other = "bad" if label == "good" else "good"
    grammar = {"VERY": ["", "", "very", "really"], "NFOOD": JUDGED["FOOD"][0].split(),
               "C": COMPARED[label].split(), "D": COMPARED[other].split()}
    for number in "12":
        things, *own = JUDGED[choose(random, list(JUDGED))]
        kinds = {kind: f"{JUDGEMENTS[kind]} {words}".split() for kind, words in zip(("good", "bad"), own, strict=True)}
        grammar |= {"N" + number: things.split(), "S" + number: kinds[label], "O" + number: kinds[other]}
    while True:
        words = with_articles(expand(random, grammar, choose(random, TEMPLATES)))
        content = [word for word in words if word in REVIEW_CONTENT]
        if len(set(content)) == len(content):
            return Record(f"{label}\t{joined(words)}\n", words, combines(content))


# --- places ---

PLACES: dict[str, Grammar] = {
    "elf": {"START": ["BEGIN END", "BEGIN MIDDLE END", "BEGIN MIDDLE END"],
            "BEGIN": "Ae Eli Sil Lith Mir Nim Thal Fin Cae Ith Lor Aly".split(),
            "MIDDLE": "a e i ia ae la ri lo na the".split(),
            "END": "riel wen las thir thien nor lith rion seth miel vanya dis".split()},
    "robot": {"START": ["BEGIN MIDDLE END NUMBER", "BEGIN END NUMBER", "BEGIN MIDDLE END", "BEGIN NUMBER"],
              "BEGIN": "Zek Krot Bolt Grix Tek Vok Klank Drex Zap Rax Kub Mekk".split(),
              "MIDDLE": "o a i u".split(), "END": "tron bot x dyne mat tek zor k".split(),
              "NUMBER": [f"-{number}" for number in range(2, 100)]},
    "village": {"START": ["BEGIN END", "KIND _ BEGIN END"], "KIND": "Upper Nether Little Great Old".split(),
                "BEGIN": "Moss Hather Ash Thorn Barley Otter Willow Fern Goose Wether Crow Mill Bram Hazel".split(),
                "END": "bridge ham by well ford stead ley wick brook combe ton mere den cote".split()},
    "star": {"START": ["BEGIN MIDDLE END", "BEGIN MIDDLE END", "BEGIN END _ KIND"],
             "BEGIN": "Al Zub Den Men Ras Sad Mir Alph Fom Shau Adh Tau".split(),
             "MIDDLE": "a e ha ni ka u ira ube".split(), "KIND": "Minor Major Borealis Australis Prima".split(),
             "END": "phar rak zar lah ran dim nath bik mach kab rai lus".split()},
    "potion": {"START": ["BEGIN MIDDLE END", "BEGIN MIDDLE END", "KIND _ of _ BEGIN END"],
               "BEGIN": "Glim Fizz Bub Murk Slurp Gloop Snor Drow Wib Splut Squill Mump Gur Blub Twin Sog".split(),
               "MIDDLE": "ble le er y zle".split(), "KIND": "Oil Tonic Draught Essence".split(),
               "END": "brew wort fizz root sip balm dew drop juice mead syrup foam".split()},
}


def place_record(random: Random, label: str) -> Record:
    """Draw a name of a kind."""
    name = "".join(expand(random, PLACES[label], "START")).replace("_", " ")
    return Record(f"{label}\t{name}\n", [], reserved(name))


# --- phrases: "english:spanish", masculine unless it ends in "a" or is listed ---

FEMININE = "sartén leche mujer".split()
NOUNS = {
    "PERSON": "baker:panadero cook:cocinera boy:niño girl:niña woman:mujer",
    "ANIMAL": "cat:gato hen:gallina mouse:ratón", "VESSEL": "plate:plato cup:taza pan:sartén glass:vaso",
    "FRUIT": "apple:manzana lemon:limón onion:cebolla egg:huevo",
    "FOOD": "soup:sopa bread:pan cheese:queso", "DRINK": "water:agua milk:leche",
    "ROOM": "kitchen:cocina garden:jardín", "SEAT": "table:mesa chair:silla shelf:estante",
}
ADJECTIVES = {
    "PERSON": "old:viejo young:joven tired:cansado", "ANIMAL": "black:negro small:pequeño tired:cansado",
    "VESSEL": "red:rojo clean:limpio broken:roto", "FRUIT": "red:rojo small:pequeño cheap:barato",
    "FOOD": "cold:frío hot:caliente cheap:barato", "DRINK": "cold:frío hot:caliente",
    "ROOM": "big:grande old:viejo", "SEAT": "black:negro old:viejo small:pequeño",
}
PASSING = "frío caliente limpio roto cansado".split()  # such a thing "está", others it "es"
DETERMINERS = {  # of one thing, of a substance, of several things; in Spanish each with both genders; - is none
    "the the the": "el la el la los las", "a - -": "un una - - - -", "- some some": "- - - - unos unas",
    "this this these": "este esta este esta estos estas", "my my my": "mi mi mi mi mis mis",
    "- - two": "- - - - dos dos", "- - many": "- - - - muchos muchas", "no no no": "ningún ninguna - - - -",
    "- any any": "- - - - - -",
}
VERBS = {
    "wash washes washed": "lavar VESSEL FRUIT", "buy buys bought": "comprar VESSEL FRUIT FOOD DRINK",
    "eat eats ate": "comer FRUIT FOOD", "sell sells sold": "vender VESSEL FRUIT FOOD",
    "drink drinks drank": "beber DRINK", "break breaks broke": "romper VESSEL",
    "paint paints painted": "pintar ROOM SEAT", "call calls called": "llamar PERSON",
    "hide hides hid": "esconder VESSEL ANIMAL",
}
ENDINGS = {"ar": ("o as a amos an", "é aste ó amos aron"), "er": ("o es e emos en", "í iste ió imos ieron")}
PRONOUNS = {"i": ("", 0), "you": ("", 1), "he": ("él", 2), "she": ("ella", 2), "we": ("", 3), "they": ("ellos", 4)}
WHEN = [["today:hoy", "now:ahora", "every day:todos los días"], ["today:hoy", "yesterday:ayer"]]
FUNCTION_WORDS = frozenset("""the a an some any no this these my two many i you he she we they do does did not
    is are am there how where very in on near behind under today now every day yesterday like likes ?""".split())


@dataclass(frozen=True)
class Phrase:
    """A noun phrase in both languages, and the place of its verb's ending (0 for "i" to 4 for "they")."""

    english: str
    spanish: str
    person: int
    kind: str = "PERSON"
    feminine: bool = False


def several(english: str, spanish: str) -> tuple[str, str]:
    """Return the plurals of a noun and of its Spanish, which may be an adjective as well."""
    english = {**IRREGULAR, "woman": "women", "glass": "glasses"}.get(english, english + "s")
    if spanish[-1] in "aeo":
        return english, spanish + "s"
    stem = spanish[:-2] + spanish[-2:].translate(str.maketrans("éíó", "eio"))
    return english, "jóvenes" if spanish == "joven" else stem + "es"


def agreeing(adjective: str, feminine: bool, plural: bool) -> str:
    """Return a Spanish adjective in this gender and number."""
    adjective = adjective[:-1] + "a" if feminine and adjective[-1] == "o" else adjective
    return several("", adjective)[1] if plural else adjective


def is_feminine(noun: str) -> bool:
    """Tell the gender of a Spanish noun."""
    return noun[-1] == "a" or noun in FEMININE


def pair_of(random: Random, options: str) -> list[str]:
    """Choose a word and its translation."""
    return choose(random, options.split()).split(":")


def noun_phrase(random: Random, kinds: str, determiners: str, more: float = 0.3) -> Phrase:
    """Draw a noun phrase; more: how probable an adjective is, and half as much that an owner is named."""
    kind = choose(random, kinds.split())
    english, spanish = pair_of(random, NOUNS[kind])
    feminine = is_feminine(spanish)
    usable = [(number, en.split()[number], es.split()[2 * number + feminine])
              for en, es in DETERMINERS.items() if set(en.split()) & set(determiners.split())
              for number in ([1] if kind in {"FOOD", "DRINK"} else [0, 2])]
    number, the, el = choose(random, [row for row in usable if row[1] != "-"])
    el = {"la": "el", "una": "un"}.get(el, el) if spanish == "agua" else el
    english, spanish = several(english, spanish) if number == 2 else (english, spanish)
    if random.random() < more:
        adjective, suyo = pair_of(random, ADJECTIVES[kind])
        english, spanish = f"{adjective} {english}", f"{spanish} {agreeing(suyo, feminine, number == 2)}"
    if random.random() < more / 2 and the == "the" and kind != "PERSON":
        owner, of_whom = pair_of(random, NOUNS["PERSON"])
        english, spanish = f"{owner}'s {english}", f"{spanish} de {'la' if is_feminine(of_whom) else 'el'} {of_whom}"
    return Phrase(f"{the} {english}", f"{el} {spanish}", 2 + number // 2 * 2, kind, feminine)


def subject(random: Random, pronouns: str = "i you he she we they") -> Phrase:
    """Draw who does something: a pronoun or a noun phrase."""
    if random.random() < 0.5:
        return noun_phrase(random, "PERSON", "the this my two")
    pronoun = choose(random, pronouns.split())
    return Phrase(pronoun, *PRONOUNS[pronoun])


def where(random: Random) -> tuple[str, str]:
    """Draw a place."""
    place = noun_phrase(random, "ROOM SEAT", "the", more=0)
    english, spanish = ("in" if place.kind == "ROOM" else "on"), "en"
    if random.random() < 0.4:
        near = ["near:cerca de", "behind:detrás de", *(["under:debajo de"] if place.kind == "SEAT" else [])]
        english, spanish = choose(random, near).split(":")
    return f"{english} {place.english}", f"{spanish} {place.spanish}"


def doing(mood: str, who: Phrase, verb: str, rest: str, past: bool = False) -> str:
    """Return an English sentence that says, denies or asks something; verb: its forms "wash washes washed", or "be"."""
    base, third, was = verb.split() if verb != "be" else ("", "is", "")
    does = "did" if past else "does" if who.person == 2 else "do"
    if verb == "be":
        does = "am" if who.english == "i" else "is" if who.person == 2 else "are"
    if mood == "ask":
        return f"{does} {who.english} {base} {rest} ?"
    if mood == "deny":
        return f"{who.english} {does} not {base} {rest}"
    form = does if verb == "be" else was if past else third if who.person == 2 else base
    return f"{who.english} {form} {rest}"


def haciendo(mood: str, who: str, verb: str, rest: str, late: bool = False) -> str:
    """Return the Spanish sentence; late: the subject of a question comes last, not after its verb."""
    if mood == "ask":
        return f"¿ {verb} {rest} {who} ?" if late else f"¿ {verb} {who} {rest} ?"
    return f"{who} {'no' if mood == 'deny' else ''} {verb} {rest}"


def transitive(random: Random, mood: str) -> tuple[str, str]:
    """Draw "the cook does not wash the red plates"."""
    who, past, verb = subject(random), random.random() < 0.4, choose(random, list(VERBS))
    verbo, *kinds = VERBS[verb].split()
    determiners = {"say": "the a this my two many some"}.get(mood, "the a this my two any")
    what = noun_phrase(random, " ".join(kinds), "the this my two" if "PERSON" in kinds else determiners)
    end, fin = choose(random, WHEN[past]).split(":") if random.random() < 0.2 else ("", "")
    lava = verbo[:-2] + ENDINGS[verbo[-2:]][past].split()[who.person]
    cosa = f"{'a' if what.kind == 'PERSON' else ''} {what.spanish} {fin}"
    return doing(mood, who, verb, f"{what.english} {end}", past), haciendo(mood, who.spanish, lava, cosa)


def liking(random: Random, mood: str) -> tuple[str, str]:
    """Draw "the girl likes these pears", of which the pears are the subject in Spanish."""
    who, what = subject(random, "i you we"), noun_phrase(random, "FOOD DRINK FRUIT ROOM ANIMAL", "the this my")
    clitic = "me te le nos les".split()[who.person]
    gusta = f"{clitic} {'gusta' if what.person == 2 else 'gustan'}"
    liker = f"a {who.spanish}" if who.spanish else ""
    return doing(mood, who, "like likes -", what.english), haciendo(mood, liker, gusta, what.spanish, late=True)


def being(random: Random, mood: str) -> tuple[str, str]:
    """Draw "the soup is very cold", "we are hungry" or "the cats sleep under the table"."""
    form = random.random()
    if form < 0.5:
        who = noun_phrase(random, " ".join(NOUNS), "the this my", more=0)
        cold, frio = pair_of(random, ADJECTIVES[who.kind])
        very, muy = choose(random, [("", ""), ("", ""), ("very", "muy")])
        verb = ("está están" if frio in PASSING else "es son").split()[who.person // 4]
        frio = agreeing(frio, who.feminine, who.person == 4)
        return doing(mood, who, "be", f"{very} {cold}"), haciendo(mood, who.spanish, verb, f"{muy} {frio}", late=True)
    if form < 0.75:
        who, (hungry, hambre) = subject(random), pair_of(random, "hungry:hambre thirsty:sed")
        verb = "tengo tienes tiene tenemos tienen".split()[who.person]
        return doing(mood, who, "be", hungry), haciendo(mood, who.spanish, verb, hambre, late=True)
    who, (place, lugar) = noun_phrase(random, "PERSON ANIMAL", "the this my"), where(random)
    verb = "duerme" if who.person == 2 else "duermen"
    return doing(mood, who, "sleep sleeps -", place), haciendo(mood, who.spanish, verb, lugar)


def existing(random: Random, mood: str) -> tuple[str, str]:
    """Draw "there are two cups on the table", "where are the cups ?" or "how many cups are there on the table ?"."""
    kinds, (place, lugar), form = "ANIMAL VESSEL FOOD DRINK FRUIT", where(random), random.random()
    if mood == "ask" and form < 0.4:
        what = noun_phrase(random, kinds, "the this my")
        is_, verb = ("is", "está") if what.person == 2 else ("are", "están")
        return f"where {is_} {what.english} ?", f"¿ dónde {verb} {what.spanish} ?"
    if mood == "ask" and form < 0.6:
        what = noun_phrase(random, "ANIMAL VESSEL FRUIT", "many", more=0)
        many = "cuántas" if what.feminine else "cuántos"
        return f"how {what.english} are there {place} ?", f"¿ {many} {what.spanish.split()[1]} hay {lugar} ?"
    what = noun_phrase(random, kinds, {"say": "a two many some", "deny": "no", "ask": "a any"}[mood])
    is_ = "is" if what.person == 2 else "are"
    there = f"{is_} there {what.english} {place} ?" if mood == "ask" else f"there {is_} {what.english} {place}"
    return there, haciendo(mood, "", "hay", f"{what.spanish} {lugar}")


def phrase_record(random: Random, _: str) -> Record:
    """Draw an English phrase of 3 to 12 words with its Spanish."""
    while True:
        kind = choose(random, [transitive, transitive, transitive, transitive, liking, being, being, existing])
        english, spanish = kind(random, choose(random, ["say", "say", "deny", "ask"]))
        words, target = with_articles(english.split()), " ".join(spanish.replace("-", "").split())
        target = f" {target}".replace(" a el ", " al ").replace(" de el ", " del ").lstrip()
        content = [word for word in words if word not in FUNCTION_WORDS]
        once = len({word.removesuffix("'s") for word in content}) == len(content)
        if 3 <= len(words) - (words[-1] == "?") <= 12 and once:
            return Record(f"{joined(words)}\t{joined([target])}\n", [*words, *target.split()], combines(content))


# --- tunes ---

SCALE = [0, 2, 4, 5, 7, 9, 11]
GENRES = {
    # the tonics; the melody's lowest degree; the numbers of bars; the chords of four bars (0 is the tonic, 3 the
    # subdominant, 4 the dominant); of each step of a bar the chord's degrees, in base 16; a melody's rhythms
    "waltz": ([41, 43, 48, 50], 14, [8, 12, 16], "0044 0340 4400 0304", ["0", "9b", "9b"], "3 21 111"),
    "march": ([36, 38, 41, 43], 21, [8, 12, 16], "0004 0404 4040 0334", ["0", "", "4", "79"], "22 211 1111"),
    "lullaby": ([48, 50, 52, 53], 14, [4, 8], "0303 0033 3030 0003", list("049494"), "6 33 213 2121"),
}


def key_of(tonic: int, degree: int) -> str:
    """Return the MIDI number of a degree of the major scale above a tonic."""
    return str(tonic + 12 * (degree // 7) + SCALE[degree % 7])


def tune_record(random: Random, genre: str) -> Record:
    """Draw a piece: chord tones and passing notes in turn above the chords, at the end a cadence and a rest."""
    tonics, lowest, lengths, phrases, bar, rhythms = GENRES[genre]
    tonic, bars = choose(random, tonics), choose(random, lengths)
    chords = "".join(choose(random, phrases.split()) for _ in range(bars // 4))
    chords = chords[:-2] + ("30" if genre == "lullaby" else "40")
    steps, degree = [], lowest + 4
    for number, root in enumerate(map(int, chords)):
        last = number == bars - 1
        melody: list[set[int]] = []
        for place, length in enumerate(map(int, choose(random, rhythms.split()[:1 if last else None]))):
            near = [degree - 1, degree + 1] if place % 2 else range(degree - 3, degree + 4)
            near = [other for other in near if lowest <= other <= lowest + 8]
            degree = choose(random, [other for other in near if place % 2 or (other - root) % 7 in {0, 2, 4}])
            # What a march has struck ends at once.
            melody += [{degree}, *([set() if genre == "march" else {degree}] * (length - 1))]
        for step, (tones, notes) in enumerate(zip(bar, melody, strict=True)):
            sounding = {root + int(tone, 16) for tone in tones} | notes if not last or 2 * step < len(bar) else set()
            steps.append(",".join(key_of(tonic, other) for other in sorted(sounding)) or "-")
    return Record(f"{genre}\t{' '.join(steps)}\n", [], reserved(f"{genre} {tonic} {chords}"))


# --- the files ---

CORPORA: dict[str, tuple[Draw, list[str], int, int]] = {
    "kitchen_tags": (tag_record, [""], 2_000, 300),
    "persons": (person_record, [""], 2_000, 300),
    "reviews": (review_record, ["good", "bad"], 2_500, 400),
    "places": (place_record, list(PLACES), 3_000, 500),
    "phrases": (phrase_record, [""], 4_000, 300),
    "tunes": (tune_record, list(GENRES), 252, 42),
}


def records(draw: Draw, labels: list[str], sizes: Sequence[int], seed: int) -> list[list[str]]:
    """Draw the records for training and those held out, of each label as many."""
    random = Random(seed)
    files: list[list[str]] = []
    seen, known = set(), set()
    for heldout, size in enumerate(sizes):
        texts: list[str] = []
        while len(texts) < size:
            record = draw(random, labels[len(texts) % len(labels)])
            sayable = not heldout or known.issuperset(record.words)
            if record.reserved == heldout and record.text not in seen and sayable:
                texts.append(record.text)
                seen.add(record.text)
                known.update(record.words)
        files.append(texts)
    return files


def main() -> None:
    """Write the files into the folder named on the command line, or beside this one."""
    parser = argparse.ArgumentParser(description="Write the corpora of the tasks other than language modelling.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent, metavar="OUT_DIR")
    folder = parser.parse_args().folder
    for number, (name, (draw, labels, *sizes)) in enumerate(CORPORA.items()):
        between = "\n" if draw in {tag_record, person_record} else ""
        for suffix, texts in zip(("", "_heldout"), records(draw, labels, sizes, SEED + number), strict=True):
            (folder / f"{name}{suffix}.tsv").write_bytes(between.join(texts).encode())


if __name__ == "__main__":
    main()
