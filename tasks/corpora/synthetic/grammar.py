"""A bilingual grammar of short spoken commands: English text, its German translation and its intent.

A template is a pair of strings with the same slots. On the English side `{room}` is the plain word. On the German side
a slot says which form it needs: `{room:dat}` is `der Küche`, `{time:de}` is `jetzt`, and `{colour thing:ein acc}`, a
noun with an adjective, is `einen roten Ball`. So case, gender and the endings of adjectives follow from the nouns, and
word order from the template.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

Language = Literal["tiny", "small", "rich"]
Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")

# Endings by gender (m f n) of: articles, `ein`, and adjectives after `der`, after `ein` and on their own.
_DER = {"nom": "der die das", "acc": "den die das", "dat": "dem der dem"}
_EIN = {"nom": " e ", "acc": "en e ", "dat": "em er em"}
_ADJECTIVE = {
    "der": {"nom": "e e e", "acc": "en e e", "dat": "en en en"},
    "ein": {"nom": "er e es", "acc": "en e es", "dat": "en en en"},
    "bare": {"nom": "er e es", "acc": "en e es", "dat": "em er em"},
}
_CONTRACTIONS = {"in das": "ins", "in dem": "im", "an dem": "am", "zu dem": "zum", "zu der": "zur"}
_IMPERATIVE = re.compile(r"(?!please|can|i|the)\w+ ")
"""A command that may be said with "please" before it, in both languages."""
_APART = re.compile(rf"\b({'|'.join(_CONTRACTIONS)})\b")


@dataclass(frozen=True)
class Word:
    """A word that is the same in every place."""

    en: str
    de: str

    def __format__(self, form: str) -> str:
        return self.de if form == "de" else self.en


@dataclass(frozen=True)
class Noun:
    """A noun with its German gender, perhaps with an adjective before it.

    Its German forms are `[der|ein|mein|bare] nom|acc|dat` and, for the verb that puts the thing somewhere, `put`
    (imperative) and `to put` (infinitive): what stands upright is gestellt, the rest gelegt.
    """

    en: str
    de: str
    gender: Literal["m", "f", "n"]
    upright: bool = False
    adjective: str = ""

    def with_adjective(self, adjective: Word) -> Noun:
        """`red cup` from `cup`; the German adjective is given as its stem."""
        return replace(self, en=f"{adjective.en} {self.en}", adjective=adjective.de)

    def __format__(self, form: str) -> str:
        if not form:
            return self.en
        if form in ("put", "to put"):
            verb = "stell" if self.upright else "leg"
            return verb + "en" * (form == "to put")
        *given, case = form.split()
        article = given[0] if given else "der"
        kind = "ein" if article == "mein" else article
        words = [] if kind == "bare" else [_by_gender(_DER[case], self.gender)]
        if kind == "ein":
            words = [article + _by_gender(_EIN[case], self.gender)]
        if self.adjective:
            words.append(self.adjective + _by_gender(_ADJECTIVE[kind][case], self.gender))
        return " ".join([*words, self.de])


Term = Word | Noun


@dataclass(frozen=True)
class Sentence:
    """One command. `held_out`: its template is spoken in the test split only."""

    intent: str
    template: int
    held_out: bool
    text: str
    translation: str


# A slot's terms, English German [gender [up]]: up to the bar in the small language, all in the rich one.
_SLOTS: dict[str, str] = {
    "room": "kitchen Küche f, garden Garten m, bedroom Schlafzimmer n | hall Flur m, office Büro n, bathroom Bad n, "
    "cellar Keller m, garage Garage f, library Bibliothek f, workshop Werkstatt f, nursery Kinderzimmer n",
    "device": "lamp Lampe f, radio Radio n, fan Ventilator m | heater Heizung f, light Licht n, "
    "television Fernseher m, printer Drucker m, screen Bildschirm m, pump Pumpe f",
    "opening": "door Tür f, window Fenster n, box Kiste f | cupboard Schrank m, gate Tor n, curtain Vorhang m, "
    "drawer Schublade f",
    "thing": "cup Tasse f up, ball Ball m, book Buch n, bottle Flasche f up | plate Teller m up, key Schlüssel m, "
    "knife Messer n, towel Handtuch n, candle Kerze f up, hat Hut m, glass Glas n up, fork Gabel f, hammer Hammer m, "
    "shirt Hemd n, spoon Löffel m, letter Brief m, basket Korb m up",
    "place": "table Tisch m, chair Stuhl m, shelf Regal n | bench Bank f, bed Bett n, sofa Sofa n, piano Klavier n",
    "person": "mother Mutter f, brother Bruder m, sister Schwester f | doctor Arzt m, father Vater m, uncle Onkel m, "
    "aunt Tante f, friend Freund m, teacher Lehrer m, boss Chef m",
    "tune": "song Lied n, waltz Walzer m, march Marsch m | melody Melodie f, dance Tanz m",
    "sound": "music Musik f, radio Radio n, song Lied n | waltz Walzer m, television Fernseher m, piano Klavier n",
    "drink": "tea Tee m, water Wasser n, coffee Kaffee m | milk Milch f, juice Saft m, soup Suppe f, cocoa Kakao m",
    "colour": "red rot, small klein, blue blau | old alt, green grün, black schwarz, white weiß, big groß, new neu, "
    "heavy schwer, yellow gelb, round rund",
    "style": "slow langsam, new neu, sad traurig | short kurz, quiet leis, loud laut",
    "warmth": "hot heiß, cold kalt | warm warm",
    "extra": "sugar Zucker, honey Honig | ice Eis, lemon Zitrone",
    "number": "two zwei, ten zehn, five fünf, eight acht | three drei, six sechs, seven sieben, four vier, nine neun, "
    "eleven elf, twelve zwölf",
    "degree": "twenty zwanzig, ten zehn, thirty dreißig, eight acht | twelve zwölf, fifteen fünfzehn, forty vierzig",
    "unit": "minutes Minuten, hours Stunden",
    "side": "left links, right rechts",
    "time": "now jetzt, later später, tonight heute_Abend, tomorrow morgen | today heute",
    "day": "tomorrow morgen, tonight heute_Abend | today heute",
}

# Per intent: English = German. `*` is held out for test; its words occur in the others. `+` is of the rich language.
_TEMPLATES: dict[str, str] = {
    "switch_on": """
        turn on the {colour device} {time} = schalte {colour device:acc} {time:de} an
        turn the {colour device} on = schalte {colour device:acc} an
        turn on the {device} in the {room} = schalte {device:acc} in {room:dat} an
        + can you turn on the {colour device} {time} = kannst du {colour device:acc} {time:de} anschalten
        * please turn on the {colour device} = bitte schalte {colour device:acc} an""",
    "switch_off": """
        turn off the {colour device} {time} = schalte {colour device:acc} {time:de} aus
        turn the {colour device} off = schalte {colour device:acc} aus
        turn off the {device} in the {room} = schalte {device:acc} in {room:dat} aus
        + can you turn off the {colour device} {time} = kannst du {colour device:acc} {time:de} ausschalten
        * please turn off the {colour device} = bitte schalte {colour device:acc} aus""",
    "open": """
        open the {colour opening} {time} = öffne {colour opening:acc} {time:de}
        can you open the {colour opening} = kannst du {colour opening:acc} öffnen
        open the {opening} in the {room} = öffne {opening:acc} in {room:dat}
        + i want to open the {colour opening} {time} = ich möchte {time:de} {colour opening:acc} öffnen
        * please open the {colour opening} = bitte öffne {colour opening:acc}""",
    "close": """
        close the {colour opening} {time} = schließ {colour opening:acc} {time:de}
        can you close the {colour opening} = kannst du {colour opening:acc} schließen
        close the {opening} in the {room} = schließ {opening:acc} in {room:dat}
        + i want to close the {colour opening} {time} = ich möchte {time:de} {colour opening:acc} schließen
        * please close the {colour opening} = bitte schließ {colour opening:acc}""",
    "go": """
        go to the {colour place} {time} = geh {time:de} zu {colour place:dat}
        go to the {room} {time} = geh {time:de} in {room:acc}
        please go to the {colour place} = bitte geh zu {colour place:dat}
        + can you go to the {room} and wait = kannst du in {room:acc} gehen und warten
        * please go to the {room} {time} = bitte geh {time:de} in {room:acc}""",
    "turn": """
        turn {side} at the {colour place} = dreh dich an {colour place:dat} nach {side:de}
        turn {side} in the {room} {time} = dreh dich {time:de} in {room:dat} nach {side:de}
        please turn {side} {time} = bitte dreh dich {time:de} nach {side:de}
        + turn {side} and go to the {colour place} = dreh dich nach {side:de} und geh zu {colour place:dat}
        * please turn {side} at the {place} = bitte dreh dich an {place:dat} nach {side:de}""",
    "fetch": """
        bring me the {colour thing} {time} = bring mir {time:de} {colour thing:acc}
        bring the {colour thing} to the {room} = bring {colour thing:acc} in {room:acc}
        i need the {thing} {time} = ich brauche {time:de} {thing:acc}
        + bring me the {colour thing} from the {room} = bring mir {colour thing:acc} aus {room:dat}
        + can you bring me the {colour thing} {time} = kannst du mir {time:de} {colour thing:acc} bringen
        * i need the {colour thing} = ich brauche {colour thing:acc}""",
    "put": """
        put the {colour thing} on the {place} = {colour thing:put} {colour thing:acc} auf {place:acc}
        put down the {colour thing} {time} = {colour thing:put} {colour thing:acc} {time:de} hin
        put the {thing} in the {room} = {thing:put} {thing:acc} in {room:acc}
        + can you put down the {colour thing} {time} = kannst du {colour thing:acc} {time:de} hin{colour thing:to put}
        + i want the {colour thing} on the {place} = ich möchte {colour thing:acc} auf {place:dat} haben
        * please put down the {colour thing} = bitte {colour thing:put} {colour thing:acc} hin""",
    "play": """
        play a {style tune} {time} = spiel {time:de} {style tune:ein acc}
        play a {style tune} in the {room} = spiel in {room:dat} {style tune:ein acc}
        play the {style tune} again = spiel {style tune:acc} noch einmal
        + i want to hear a {style tune} {time} = ich möchte {time:de} {style tune:ein acc} hören
        * please play a {style tune} = bitte spiel {style tune:ein acc}""",
    "louder": """
        make the {sound} louder {time} = mach {sound:acc} {time:de} lauter
        turn up the {sound} {time} = dreh {sound:acc} {time:de} auf
        turn up the {sound} in the {room} = dreh {sound:acc} in {room:dat} auf
        the {sound} is too quiet = {sound:nom} ist zu leise
        + the {sound} in the {room} is too quiet {time} = {sound:nom} in {room:dat} ist {time:de} zu leise
        * please make the {sound} louder = bitte mach {sound:acc} lauter""",
    "quieter": """
        make the {sound} quieter {time} = mach {sound:acc} {time:de} leiser
        turn down the {sound} {time} = dreh {sound:acc} {time:de} leise
        turn down the {sound} in the {room} = dreh {sound:acc} in {room:dat} leise
        the {sound} is too loud = {sound:nom} ist zu laut
        + the {sound} in the {room} is too loud {time} = {sound:nom} in {room:dat} ist {time:de} zu laut
        * please make the {sound} quieter = bitte mach {sound:acc} leiser""",
    "timer": """
        wake me in {number} {unit} = weck mich in {number:de} {unit:de}
        wake me {day} at {number} = weck mich {day:de} um {number:de}
        wake my {person} at {number} = weck {person:mein acc} um {number:de}
        set a timer for {number} {unit} = stell einen Timer auf {number:de} {unit:de}
        + can you wake my {person} in {number} {unit} = kannst du {person:mein acc} in {number:de} {unit:de} wecken
        * please wake me at {number} = bitte weck mich um {number:de}""",
    "heat": """
        heat the {room} {time} = heiz {room:acc} {time:de}
        heat the {room} for {number} {unit} = heiz {room:acc} {number:de} {unit:de} lang
        heat the {room} to {degree} degrees = heiz {room:acc} auf {degree:de} Grad
        the {room} is too cold = {room:nom} ist zu kalt
        + i want {degree} degrees in the {room} = ich möchte {degree:de} Grad in {room:dat} haben
        * please heat the {room} {time} = bitte heiz {room:acc} {time:de}""",
    "drink": """
        make a cup of {warmth drink} = mach eine Tasse {warmth drink:bare acc}
        bring me {warmth drink} {time} = bring mir {time:de} {warmth drink:bare acc}
        bring me {drink} with {extra} {time} = bring mir {time:de} {drink:bare acc} mit {extra:de}
        i want {warmth drink} with {extra} = ich möchte {warmth drink:bare acc} mit {extra:de}
        + can you make {warmth drink} with {extra} = kannst du {warmth drink:bare acc} mit {extra:de} machen
        * i want {warmth drink} {time} = ich möchte {time:de} {warmth drink:bare acc}""",
    "clean": """
        clean the {colour place} {time} = mach {colour place:acc} {time:de} sauber
        clean the {thing} in the {room} = mach {thing:acc} in {room:dat} sauber
        the {colour opening} is dirty = {colour opening:nom} ist schmutzig
        + can you clean the {place} in the {room} = kannst du {place:acc} in {room:dat} sauber machen
        * please clean the {colour place} = bitte mach {colour place:acc} sauber""",
    "call": """
        call my {person} at {number} = ruf {person:mein acc} um {number:de} an
        call my {person} in {number} {unit} = ruf {person:mein acc} in {number:de} {unit:de} an
        can you call my {person} {time} = kannst du {time:de} {person:mein acc} anrufen
        + i want to call my {person} at {number} = ich möchte {person:mein acc} um {number:de} anrufen
        * please call my {person} {time} = bitte ruf {time:de} {person:mein acc} an""",
}

INTENTS = tuple(_TEMPLATES)
_SHARES = {"dev": 0.07, "test": 0.1}


@cache
def sentences(language: Language) -> tuple[Sentence, ...]:
    """Every sentence of a language: `tiny` has two terms a slot, `small` the commoner ones, `rich` all."""
    terms = {slot: tuple(_terms(listed, language)) for slot, listed in _SLOTS.items()}
    unique: dict[str, Sentence] = {}
    for sentence in itertools.chain.from_iterable(_expand(intent, terms, language) for intent in INTENTS):
        # A held-out template keeps its sentences to itself: one that another template gives too is never trained on.
        if sentence.held_out or sentence.text not in unique:
            unique[sentence.text] = sentence
    return tuple(unique.values())


@cache
def by_split(language: Language) -> dict[Split, tuple[Sentence, ...]]:
    """The sentences of each split. A hash of the text decides, whatever the seed; held-out templates go to test."""
    found: dict[Split, list[Sentence]] = {"train": [], "dev": [], "test": []}
    for _, group in itertools.groupby(sentences(language), key=lambda sentence: sentence.intent):
        every = list(group)
        found["test"] += [sentence for sentence in every if sentence.held_out]
        shuffled = sorted((s for s in every if not s.held_out), key=lambda s: hashlib.sha256(s.text.encode()).digest())
        dev, test = (max(1, round(share * len(shuffled))) for share in _SHARES.values())
        found["dev"] += shuffled[:dev]
        found["test"] += shuffled[dev : dev + test]
        found["train"] += shuffled[dev + test :]
    return {split: tuple(listed) for split, listed in found.items()}


def _by_gender(forms: str, gender: str) -> str:
    return forms.split(" ")["mfn".index(gender)]


def _terms(listed: str, language: Language) -> Iterator[Term]:
    common, _, rare = listed.partition(" | ")
    entries = common.split(", ") + (rare.split(", ") if rare and language == "rich" else [])
    for entry in entries[: 2 if language == "tiny" else None]:
        match [part.replace("_", " ") for part in entry.split()]:
            case [en, de]:
                yield Word(en, de)
            case [en, de, "m" | "f" | "n" as gender, *up]:
                yield Noun(en, de, gender, upright=bool(up))


def _fillers(slot: str, terms: dict[str, tuple[Term, ...]]) -> list[Term]:
    *adjectives, nouns = [terms[name] for name in slot.split()]
    if not adjectives:
        return list(nouns)
    return [noun.with_adjective(word) for noun, word in itertools.product(nouns, *adjectives)]


def _expand(intent: str, terms: dict[str, tuple[Term, ...]], language: Language) -> Iterator[Sentence]:
    for number, line in enumerate(_TEMPLATES[intent].strip().splitlines()):
        english, german = line.strip(" *+").split(" = ")
        if "+" in line and language != "rich":
            continue
        slots = [name for _, name, _, _ in string.Formatter().parse(english) if name]
        for chosen in itertools.product(*(_fillers(slot, terms) for slot in slots)):
            filled = dict(zip(slots, chosen, strict=True))
            translation = _APART.sub(lambda found: _CONTRACTIONS[found[0]], german.format(**filled))
            text = english.format(**filled)
            yield Sentence(intent, number, "*" in line, text, translation)
            if "*" not in line and _IMPERATIVE.match(text):
                yield Sentence(intent, number, False, f"please {text}", f"bitte {translation}")
