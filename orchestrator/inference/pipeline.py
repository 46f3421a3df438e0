"""Pipeline: a trained cell on raw audio. It takes the way that its training and scoring took, through the same functions.

recording ── encoder ── frames in fp16 ── codes, units, BPE ── decoder ── answer
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import device
from orchestrator.decoders import Example
from orchestrator.errors import StageError
from orchestrator.inference.listening import Heard, look
from orchestrator.inference.trained import Trained
from orchestrator.stages.encoding import Frames, encode, encode_batch
from orchestrator.stages.recordings import Recording
from orchestrator.stages.shards import MOST_SECONDS, MOST_UTTERANCES

TOO_SHORT = "too short for one frame of the encoder"
NO_SPEECH = "it has frames but no speech for the decoder"


@dataclass(frozen=True)
class Prediction:
    """What was answered.

    Attributes:
        audio: which recording, as it was named.
        seconds: its length.
        answer: None where there is none.
        error: why there is none.
    """

    audio: str
    seconds: float
    answer: str | None
    error: str | None = None


class Pipeline:
    """A trained cell, loaded.

    Args:
        trained: the cell.
        on: where it computes; None for the best that is there.

    Raises:
        StageError: a part of it can't be loaded.
    """

    def __init__(self, trained: Trained, on: str | None = None):
        self.trained = trained
        self.device = on or device.available()
        self._speech = trained.scoring.training.speech
        self._encoder = trained.load_encoder(self.device)
        self._read = self._speech.reader(trained.open, self.device)
        self._model = trained.load_model(self.device)
        self._longest = trained.most_tokens(self._model)

    @property
    def hears(self) -> bool:
        """Whether it hears anything: a cell with `features: none` answers by guessing."""
        return self._encoder is not None

    def __call__(self, waves: Sequence[np.ndarray]) -> list[str]:
        """Answers.

        Args:
            waves: float32 `[samples]` each, 16 kHz, mono, in ±1.

        Raises:
            StageError: one is too short or too long.
        """
        frames = self.encode(waves)
        if None in frames:
            raise StageError(f"waveform {frames.index(None)} is {TOO_SHORT}")
        return self.decode(self.tokens(frames))

    def read(self, path: Path | str) -> str:
        """The answer to a recording.

        Raises:
            StageError: it can't be read, or is too short, too long or silent.
        """
        (found,) = self.predict([look(Path(path), self.trained.limits)])
        if found.answer is None:
            raise StageError(f"{path}: {found.error}")
        return found.answer

    def encode(self, waves: Sequence[np.ndarray]) -> list[Frames | None]:
        """Frames of each waveform in fp16, layer by layer; None where it is too short for one, {} without an encoder."""
        if self._encoder is None:
            return [{} for _ in waves]
        return list(encode_batch(self._encoder, waves, self._speech.layers))

    def tokens(self, frames: Sequence[Frames]) -> list[Any]:
        """What the decoder reads of each: tokens, or frames side by side, or None without speech."""
        found = self._read({str(place): one for place, one in enumerate(frames)})
        speech = [found[str(place)] for place in range(len(frames))]
        if self.hears and any(len(one) == 0 for one in speech):
            raise StageError(NO_SPEECH)
        return speech

    def decode(self, speech: Sequence[Any], begun: Callable[[list[int]], None] | None = None) -> list[str]:
        """The answers, in their order.

        Args:
            begun: see `decoding.answer`.
        """
        asked = [Example(id=str(place), speech=one, target="") for place, one in enumerate(speech)]
        return self.trained.scoring.answers(self._model, asked, self._longest, begun)

    def predict(self, recordings: Iterable[Heard]) -> Iterator[Prediction]:
        """Answers recordings in their order, many at a time; a bad one has its reason, and the others are answered."""
        for group in _groups(recordings):
            good = {
                str(place): Recording(str(place), one.path, None, one.seconds, whole=True)
                for place, one in enumerate(group)
                if one.problem is None
            }
            found = self._answered(list(good.values()))
            for place, one in enumerate(group):
                answer = found.get(str(place), StageError(one.problem or ""))
                if isinstance(answer, StageError):
                    yield Prediction(one.name, one.seconds, None, str(answer))
                else:
                    yield Prediction(one.name, one.seconds, answer)

    def _answered(self, recordings: list[Recording]) -> dict[str, str | StageError]:
        """The answer to each recording, or why there is none."""
        if not recordings:
            return {}
        try:
            frames, found = self._frames(recordings)
            answers = self.decode(self.tokens(list(frames.values()))) if frames else []
            return found | dict(zip(frames, answers, strict=True))
        except StageError as error:
            if len(recordings) == 1:
                return {recordings[0].id: error}
        # One of them can't be answered: which one shows when each is alone.
        return {name: answer for one in recordings for name, answer in self._answered([one]).items()}

    def _frames(self, recordings: list[Recording]) -> tuple[dict[str, Frames], dict[str, str | StageError]]:
        """Frames by id, and the reasons of those that have none."""
        if self._encoder is None:
            return {one.id: {} for one in recordings}, {}
        frames: dict[str, Frames] = {}
        bad: dict[str, str | StageError] = {}
        for recording, values in encode(self._encoder, recordings, self._speech.layers):
            if isinstance(values, str):
                bad[recording.id] = StageError(values)
            else:
                frames[recording.id] = values
        return frames, bad


def _groups(recordings: Iterable[Heard]) -> Iterator[list[Heard]]:
    """As many at a time as a shard of the encoder pass has at most."""
    group: list[Heard] = []
    for one in recordings:
        if group and (len(group) == MOST_UTTERANCES or sum(o.seconds for o in group) + one.seconds > MOST_SECONDS):
            yield group
            group = []
        group.append(one)
    if group:
        yield group
