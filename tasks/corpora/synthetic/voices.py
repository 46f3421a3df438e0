"""Who speaks, how, and where: voices, prosodic emotions, rooms and noise."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import gcd

import numpy as np

from tasks.corpora.synthetic import espeak

SAMPLE_RATE = 16_000
"""Hz, of the corpus."""

# espeak-ng's names for the accents of English
_ACCENTS = {
    "us": "en-us",
    "gb": "en",
    "rp": "en-gb-x-rp",
    "scotland": "en-gb-scotland",
    "lancaster": "en-gb-x-gbclan",
    "newyork": "en-us-nyc",
    "caribbean": "en-029",
}
# Variants of espeak-ng that sound like people, not like robots (Alicia is left out: a phone recogniser trained on the
# others gets six phones of ten wrong). A variant is heard in one split only.
_VARIANTS = {
    "train": (
        "m1 f2 m3 f5 Alex linda m5 belinda Reed f1 adam Annie norbert f3 m2 shelby edward "
        "steph rob Michael m8 Andy Denis Gene Hugo Henrique Jacky Lee Marco Mike antonio benjamin boris david "
        "ed grandpa gustave ian iven john max michel miguel pablo paul pedro sandro victor zac caleb"
    ).split(),
    "dev": "m4 aunty travis Andrea Diogo".split(),
    "test": "m7 f4 robert steph2 Mario anika marcelo grandma m6 quincy".split(),
}


@dataclass(frozen=True)
class Voice:
    """A speaker.

    Attributes:
        accent: of English, such as `us`.
        variant: of espeak-ng, changes the vocal tract and the source.
        rate: words a minute.
        pitch, range: espeak-ng's, 0 to 100 around the variant's own 50.
        size: of the vocal tract: formants and pitch are divided by it. Variants are few, sizes are not.
    """

    accent: str
    variant: str
    rate: int
    pitch: int
    range: int
    size: float

    @property
    def id(self) -> str:
        """Names the speaker in the corpus."""
        return f"{self.accent}-{self.variant}-{self.rate}-{self.pitch}-{self.size:.2f}"

    @property
    def espeak(self) -> str:
        """Names the voice for espeak-ng."""
        return f"{_ACCENTS[self.accent]}+{self.variant}"


@dataclass(frozen=True)
class Manner:
    """A prosodic emotion, relative to the speaker's own way: prosody only, with no claim about real emotion.

    Attributes:
        rate: a factor.
        pitch, range: added, in espeak-ng's units.
        level: dB.
        tilt: dB an octave around 1 kHz, brighter where positive.
        slope: dB of level from the first to the last sample.
    """

    rate: float = 1.0
    pitch: float = 0.0
    range: float = 0.0
    level: float = 0.0
    tilt: float = 0.0
    slope: float = 0.0


EMOTIONS: dict[str, Manner] = {
    "neutral": Manner(range=-10),
    "happy": Manner(rate=1.12, pitch=22, range=45, level=2, tilt=1.0, slope=4),
    "sad": Manner(rate=0.76, pitch=-14, range=-42, level=-6, tilt=-3.0, slope=-6),
    "angry": Manner(rate=1.25, pitch=-2, range=10, level=6, tilt=3.5, slope=-3),
}


@dataclass(frozen=True)
class Scene:
    """What happens to the voice on its way to the microphone.

    Attributes:
        size: of the speaker's vocal tract.
        level: of the speech, dB relative to full scale (root mean square).
        tilt, slope: as in Manner.
        reverberation: seconds until the room's response has fallen by 60 dB; 0 for no room.
        wetness: dB of the room's response relative to the direct sound.
        snr: dB of the speech above the noise.
        colour: of the noise, whose power falls with frequency to this power: 0 white, 1 pink, 2 brown.
        before, after: seconds of noise around the speech.
        seed: of the room's response and the noise.
    """

    size: float
    level: float
    tilt: float
    slope: float
    reverberation: float
    wetness: float
    snr: float
    colour: float
    before: float
    after: float
    seed: int


_SIZES = (0.88, 1.12)


def cast(split: str, size: int, accents: tuple[str, ...], seed: int) -> tuple[Voice, ...]:
    """The voices of a split, in which variants and accents take turns. No variant belongs to two splits."""
    draw = random.Random(f"voices {split} {seed}")
    variants = _VARIANTS[split]
    first = draw.randrange(len(accents))
    voices: dict[str, Voice] = {}
    while len(voices) < size:
        number = len(voices)
        # Every round through the variants shifts the accents by one, so that they meet each other.
        accent = accents[(first + number + number // len(variants)) % len(accents)]
        variant = variants[number % len(variants)]
        ways = draw.randint(185, 225), draw.randint(35, 65), draw.randint(40, 65), round(draw.uniform(*_SIZES), 2)
        voice = Voice(accent, variant, *ways)
        voices[voice.id] = voice
    return tuple(voices.values())


def render(samples: bytes, scene: Scene) -> np.ndarray:
    """Puts a synthesised voice into a room with noise.

    Args:
        samples: 16-bit integers at espeak-ng's rate.

    Returns:
        float32 [samples] at 16 kHz, |x| < 1, in steps of 2^-15: files of 16 bits hold it exactly.
    """
    from scipy.signal import fftconvolve, resample_poly

    speech = np.frombuffer(samples, np.int16).astype(np.float64)
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max(initial=1.0))
    speech = speech[loud[0] : loud[-1] + 1]
    # A larger vocal tract sounds like the same samples played more slowly; its owner speaks faster to make up for it.
    played = round(espeak.SAMPLE_RATE / scene.size, -2)
    common = gcd(SAMPLE_RATE, int(played))
    speech = resample_poly(speech, SAMPLE_RATE // common, int(played) // common)
    speech = _tilt(speech, scene.tilt) * _amplitude(np.linspace(-scene.slope / 2, scene.slope / 2, len(speech)))
    speech *= _amplitude(scene.level) / _power(speech) ** 0.5
    draw = np.random.default_rng(scene.seed)
    speech = np.pad(speech, (round(scene.before * SAMPLE_RATE), round(scene.after * SAMPLE_RATE)))
    if scene.reverberation:
        speech = fftconvolve(speech, _room(scene, draw))[: len(speech)]
    wave = speech + _noise(len(speech), scene, draw)
    wave *= min(1.0, 0.98 / np.abs(wave).max())
    return (np.round(wave * 2**15) / 2**15).astype(np.float32)


def _amplitude(decibels: float | np.ndarray) -> float | np.ndarray:
    return 10 ** (decibels / 20)


def _power(wave: np.ndarray) -> float:
    return float(np.mean(wave**2))


def _tilt(wave: np.ndarray, decibels: float) -> np.ndarray:
    """Raises the level by so many dB with every octave, around 1 kHz and down to 50 Hz."""
    from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

    length = next_fast_len(len(wave), real=True)
    octaves = np.log2(np.maximum(rfftfreq(length, 1 / SAMPLE_RATE), 50) / 1000)
    return irfft(rfft(wave, length) * _amplitude(decibels * octaves), length)[: len(wave)]


def _room(scene: Scene, draw: np.random.Generator) -> np.ndarray:
    """The direct sound, then noise that falls by 60 dB within the reverberation time."""
    time = np.arange(1, round(scene.reverberation * SAMPLE_RATE)) / SAMPLE_RATE
    tail = draw.standard_normal(len(time)) * _amplitude(-60 * time / scene.reverberation)
    return np.concatenate([[1.0], tail * _amplitude(scene.wetness) / np.linalg.norm(tail)])


def _noise(length: int, scene: Scene, draw: np.random.Generator) -> np.ndarray:
    noise = _tilt(draw.standard_normal(length), -10 * np.log10(2) * scene.colour)
    return noise * _amplitude(scene.level - scene.snr) / _power(noise) ** 0.5
