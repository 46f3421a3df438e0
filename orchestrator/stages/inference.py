"""Inference: how long a trained cell takes from a waveform in memory to its answer, alone and in batches."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from orchestrator import audio, device
from orchestrator.errors import StageError
from orchestrator.stage import Build, Stage, runtime
from orchestrator.stages.annotations import read_annotations
from orchestrator.stages.recordings import read_recordings
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.speech import unreadable

if TYPE_CHECKING:
    from orchestrator.inference.pipeline import Pipeline

DIGITS = 6
"""Of seconds: microseconds."""


@dataclass(frozen=True, kw_only=True)
class Inference(Stage):
    """File: `inference.json`, measured on test utterances that are the same for all cells of a task.

    device, threads, trials_at_once (how many trials shared the machine), utterances, audio_seconds, and two sides:
    `single`, one utterance at a time, and `batched`, as many at a time as the decoder's batches take. A side has batch
    (most utterances of one), first_token_seconds (median over the utterances) and first_token_seconds_p90, both from the
    waveforms to the first token of the answer (with a beam search: to the answer, since no token is certain before),
    seconds (of all utterances, wall clock), rtf (seconds / audio_seconds, the real-time factor) and parts: seconds of the
    encoder, of the tokens (nearest codes, de-duplication, BPE) and of the decoder.

    A first run that is not measured goes before each side; reading and decoding of files is no part of either.

    Attributes:
        recordings: what the utterances are heard in.
        utterances: how many are measured, of all test sets together.
        choice_seed: decides which.
    """

    name: ClassVar[str] = "inference"
    gpu: ClassVar[bool] = True

    scoring: Scoring
    recordings: Stage
    utterances: int = 16
    choice_seed: int = 0
    trials_at_once: int = runtime(1)

    @classmethod
    def of(cls, scoring: Scoring, trials_at_once: int = 1) -> Inference | None:
        """Of a cell; None where it isn't known what its utterances are heard in."""
        if scoring.recordings is None:
            return None
        return cls(scoring=scoring, recordings=scoring.recordings, trials_at_once=trials_at_once)

    @property
    def readable(self) -> str:
        return self.scoring.readable

    def build(self, at: Build) -> None:
        import torch

        from orchestrator.inference.pipeline import Pipeline  # it is made of stages itself
        from orchestrator.inference.trained import Trained

        waves = self._waves(at)
        pipeline = Pipeline(Trained(self.scoring, at.open))
        seconds = sum(map(len, waves)) / audio.SAMPLE_RATE
        report = {
            "device": device.name(),
            "threads": torch.get_num_threads(),
            "trials_at_once": self.trials_at_once,
            "utterances": len(waves),
            "audio_seconds": round(seconds, 3),
            "single": _side(pipeline, [[wave] for wave in waves], waves[:1], seconds),
            "batched": _side(pipeline, [waves], waves, seconds),
        }
        (at.folder / "inference.json").write_text(json.dumps(report, indent=1, allow_nan=False), "utf-8")

    def _waves(self, at: Build) -> list[np.ndarray]:
        """The waveforms of the chosen utterances, float32 `[samples]`."""
        table = read_annotations(at.open(self.scoring.annotations))
        tested = sorted(table.loc[~table["split"].isin(("train", "dev")), "id"], key=self._number)
        without = unreadable(self.scoring.training.speech, at.open)
        recordings = {one.id: one for one in read_recordings(at.open(self.recordings))}
        chosen = [name for name in tested if name in recordings and name not in without][: self.utterances]
        if not chosen:
            raise StageError("no test utterance can be heard, so there is nothing to measure inference on")
        return [audio.read(*recordings[name].part) for name in chosen]

    def _number(self, name: str) -> str:
        return hashlib.sha256(f"{self.choice_seed} {name}".encode()).hexdigest()


def _side(
    pipeline: Pipeline, batches: Sequence[Sequence[np.ndarray]], first: Sequence[np.ndarray], audio_seconds: float
) -> dict[str, Any]:
    """Measures batches of waveforms one after the other, when `first` has been answered unmeasured."""
    _answer(pipeline, first)
    runs = [_answer(pipeline, waves) for waves in batches]
    tokens = [one for run in runs for one in run["first_token_seconds"]]
    total = sum(run["seconds"] for run in runs)
    return {
        "batch": max(run["batch"] for run in runs),
        "first_token_seconds": round(float(np.median(tokens)), DIGITS),
        "first_token_seconds_p90": round(float(np.percentile(tokens, 90)), DIGITS),
        "seconds": round(total, DIGITS),
        "rtf": round(total / audio_seconds, DIGITS),
        "parts": {part: round(sum(run[part] for run in runs), DIGITS) for part in ("encoder", "tokens", "decoder")},
    }


def _answer(pipeline: Pipeline, waves: Sequence[np.ndarray]) -> dict[str, Any]:
    """Seconds of the parts, and of each utterance to the first token of its answer."""
    now = _clock(pipeline.device)
    began: dict[int, float] = {}
    sizes = [0]

    def begun(places: list[int]) -> None:
        sizes.append(len(places))
        began.update(dict.fromkeys(places, now()))

    start = now()
    frames = pipeline.encode(waves)
    if None in frames:
        raise StageError("a test utterance is too short for the encoder, so that inference can't be measured on it")
    encoded = now()
    speech = pipeline.tokens(frames)
    read = now()
    pipeline.decode(speech, begun)
    end = now()
    return {
        "batch": max(sizes),
        "first_token_seconds": [began.get(place, end) - start for place in range(len(waves))],
        "seconds": end - start,
        "encoder": encoded - start,
        "tokens": read - encoded,
        "decoder": end - read,
    }


def _clock(where: str) -> Callable[[], float]:
    """A clock that waits for what a GPU still computes."""
    import torch

    def now() -> float:
        if where.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    return now
