"""Utterances of the synthetic corpus: who says what, how and where. No audio yet."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.errors import UserError, suggest
from tasks.corpora.synthetic.espeak import Speech
from tasks.corpora.synthetic.grammar import KEYWORDS, SPLITS, Language, Sentence, Split, by_split
from tasks.corpora.synthetic.lexicon import phonemes
from tasks.corpora.synthetic.voices import EMOTIONS, Manner, Scene, Voice, cast

_SHORT = 5
"""The most words of a sentence that is spoken with emotion."""


@dataclass(frozen=True)
class Preset:
    """The size and the difficulty of a corpus. Numbers are of train, dev and test.

    Attributes:
        language: of the grammar.
        commands, keywords, emotions: utterances.
        voices: speakers.
        accents: that the speakers of every split have.
        unseen: an accent that only test speakers have, besides.
        snr: dB of the speech above the noise, lowest and highest.
        reverberation: seconds, shortest and longest.
    """

    language: Language
    commands: tuple[int, int, int]
    keywords: tuple[int, int, int]
    emotions: tuple[int, int, int]
    voices: tuple[int, int, int]
    accents: tuple[str, ...] = ("us", "gb")
    unseen: str = "rp"
    snr: tuple[float, float] = (28, 45)
    reverberation: tuple[float, float] = (0.05, 0.12)


PRESETS: dict[str, Preset] = {
    "smoke": Preset("tiny", (60, 12, 16), (40, 10, 20), (40, 8, 16), (8, 3, 4)),
    "demo": Preset("small", (1500, 80, 120), (300, 60, 120), (400, 60, 120), (100, 8, 12)),
    "large": Preset(
        "rich",
        commands=(6000, 400, 800),
        keywords=(2000, 200, 400),
        emotions=(2000, 200, 400),
        voices=(120, 12, 30),
        accents=("us", "gb", "newyork", "lancaster", "caribbean"),
        unseen="scotland",
        snr=(12, 40),
        reverberation=(0.1, 0.4),
    ),
}


@dataclass(frozen=True)
class Annotations:
    """What is said about an utterance; None where it does not apply.

    Attributes:
        text: English, lower case, without punctuation.
        phonemes: ARPAbet without stress, separated by blanks.
    """

    text: str | None = None
    phonemes: str | None = None
    translation_de: str | None = None
    intent: str | None = None
    keyword: str | None = None
    emotion: str | None = None


@dataclass(frozen=True, kw_only=True)
class Utterance(Annotations):
    """One utterance: its annotations and everything that makes its sound.

    Attributes:
        speaker: the id of the voice.
        speech: what the synthesiser is told.
        scene: the room and the noise.
    """

    id: str
    speaker: str
    split: Split
    speech: Speech
    scene: Scene


def utterances(preset: str, seed: int) -> list[Utterance]:
    """The utterances of a corpus: commands, keywords, emotions, each in the order train, dev, test.

    Raises:
        UserError: there is no such preset.
    """
    if preset not in PRESETS:
        raise UserError(f"the synthetic corpus has no preset '{preset}': {suggest(preset, PRESETS)}")
    plan = PRESETS[preset]
    return [
        utterance
        for group, sizes in (("command", plan.commands), ("keyword", plan.keywords), ("emotion", plan.emotions))
        for split, size, voices in zip(SPLITS, sizes, plan.voices, strict=True)
        for utterance in _group(group, split, size, voices, plan, seed)
    ]


def _group(group: str, split: Split, size: int, speakers: int, plan: Preset, seed: int) -> Iterator[Utterance]:
    accents = (*plan.accents, plan.unseen) if split == "test" else plan.accents
    voices = cast(split, speakers, accents, seed)
    shared = random.Random(f"{group} {split} {seed}")
    content = _CONTENT[group](by_split(plan.language)[split], size, shared)
    for index, (spoken, manner, said) in enumerate(content):
        name = f"{group}-{split}-{index:04d}"
        own = random.Random(f"{name} {seed}")
        voice = own.choice(voices)
        yield Utterance(
            id=name,
            speaker=voice.id,
            split=split,
            speech=_speech(spoken, voice, manner, own),
            scene=_scene(voice, manner, plan, own),
            **said,
        )


_Content = Iterator[tuple[str, Manner, dict[str, str]]]
"""What is spoken, in which manner, and its annotations."""


def _commands(pool: Sequence[Sentence], size: int, draw: random.Random) -> _Content:
    for sentence in _take(pool, size, draw):
        annotations = {
            "text": sentence.text,
            "phonemes": phonemes(sentence.text),
            "translation_de": sentence.translation,
            "intent": sentence.intent,
        }
        yield sentence.text, Manner(), annotations


def _keywords(_: Sequence[Sentence], size: int, draw: random.Random) -> _Content:
    for word in _balanced(KEYWORDS, size, draw):
        yield word, Manner(rate=draw.uniform(0.8, 1.1), pitch=draw.uniform(-10, 10)), {"keyword": word}


def _emotions(pool: Sequence[Sentence], size: int, draw: random.Random) -> _Content:
    short = [sentence for sentence in pool if len(sentence.text.split()) <= _SHORT]
    for sentence, emotion in zip(_take(short, size, draw), _balanced(EMOTIONS, size, draw), strict=True):
        yield sentence.text, EMOTIONS[emotion], {"emotion": emotion}


_CONTENT: dict[str, Callable[[Sequence[Sentence], int, random.Random], _Content]] = {
    "command": _commands,
    "keyword": _keywords,
    "emotion": _emotions,
}


def _speech(text: str, voice: Voice, manner: Manner, draw: random.Random) -> Speech:
    """The voice's own way, bent by the manner, never twice the same."""
    return Speech(
        text=text,
        voice=voice.espeak,
        rate=round(voice.rate * voice.size * manner.rate * draw.uniform(0.95, 1.05)),
        pitch=_percent(voice.pitch + manner.pitch + draw.uniform(-4, 4)),
        range=_percent(voice.range + manner.range + draw.uniform(-5, 5)),
    )


def _scene(voice: Voice, manner: Manner, plan: Preset, draw: random.Random) -> Scene:
    return Scene(
        size=voice.size,
        level=-27 + manner.level + draw.uniform(-2, 2),
        tilt=manner.tilt + draw.uniform(-0.5, 0.5),
        slope=manner.slope,
        reverberation=draw.uniform(*plan.reverberation),
        wetness=draw.uniform(-18, -8),
        snr=draw.uniform(*plan.snr),
        colour=draw.uniform(0, 2),
        before=draw.uniform(0.03, 0.08),
        after=draw.uniform(0.05, 0.1),
        seed=draw.getrandbits(63),
    )


def _percent(value: float) -> int:
    return round(min(99.0, max(0.0, value)))


def _balanced(labels: Iterable[str], size: int, draw: random.Random) -> list[str]:
    """Every label as often as the others, in random order."""
    listed = list(itertools.islice(itertools.cycle(labels), size))
    draw.shuffle(listed)
    return listed


def _take(pool: Sequence[Sentence], size: int, draw: random.Random) -> list[Sentence]:
    """Sentences of a pool in which intents take turns, none twice before its intent has no other left.

    Within an intent the held-out template and the others take turns, within the others the templates.
    """
    intents = [itertools.cycle(_turns(group, draw, "held_out", "template")) for group in _by(pool, "intent")]
    return [next(intents[number % len(intents)]) for number in range(size)]


def _turns(pool: Sequence[Sentence], draw: random.Random, *keys: str) -> list[Sentence]:
    """Shuffles sentences so that those of different keys take turns, the first key first."""
    if not keys:
        return draw.sample(pool, len(pool))
    groups = [_turns(group, draw, *keys[1:]) for group in _by(pool, keys[0])]
    draw.shuffle(groups)
    return [sentence for turn in itertools.zip_longest(*groups) for sentence in turn if sentence]


def _by(pool: Sequence[Sentence], key: str) -> list[list[Sentence]]:
    groups: dict[object, list[Sentence]] = {}
    for sentence in pool:
        groups.setdefault(getattr(sentence, key), []).append(sentence)
    return list(groups.values())
