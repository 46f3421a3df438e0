"""Sample: a seeded uniform sample of real training frames of one layer, with mean and deviation per dimension."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import xxhash
from safetensors.numpy import load_file, save_file

from orchestrator import device
from orchestrator.encoders import EncoderSpec
from orchestrator.errors import StageError
from orchestrator.stage import Build, Progress, Stage, silent
from orchestrator.stages.encoding import BeyondHalf, encode
from orchestrator.stages.recordings import Recording, read_recordings
from orchestrator.store import Artifact, Store

SPARE = 4
"""A large corpus is not encoded whole for its sample: utterances are drawn until they hold this many times the frames."""


@dataclass(frozen=True, kw_only=True)
class Sample(Stage):
    """Files: `sample.safetensors` with frames fp16 `[N, D]` in random order, mean and std float32 `[D]`.

    Mean and deviation are of all frames of the utterances drawn, the frames `[N, D]` a uniform choice of these.
    """

    name: ClassVar[str] = "sample"
    version: ClassVar[int] = 2  # 2: frames are chosen as they come, so that many layers are sampled in one pass
    gpu: ClassVar[bool] = True

    recordings: Stage
    selection: Stage
    encoder: EncoderSpec
    layer: int
    frames: int
    sample_seed: int = 0

    @property
    def readable(self) -> str:
        return f"{self.recordings.readable}-{self.encoder.name}-layer{self.layer}"

    def build(self, at: Build) -> None:
        _fill([(self, at.folder)], at.open, at.progress)


def together(stage: Sample) -> str:
    """The same for samples that one pass can fill: those that differ in their layer alone."""
    return replace(stage, layer=0).identity


def fill_together(store: Store, stages: Sequence[Sample], progress: Progress = silent) -> None:
    """Builds samples that differ in their layer alone by one pass over the audio, each as it would be built alone.

    Raises:
        StageError: none of the recordings can be encoded; or some layers can't be kept in fp16, and the others are there.
    """
    if len({together(stage) for stage in stages}) > 1:
        raise ValueError("these samples differ in more than their layer: no single pass fills them")
    left, reasons = list(stages), []
    while left:
        try:
            _pass(store, left, progress)
            break
        except BeyondHalf as error:  # it takes down its own layer only, as if each were built alone
            reasons.append(str(error))
            left = [stage for stage in left if stage.layer != error.layer]
    if reasons:
        raise StageError("; ".join(reasons))


def _pass(store: Store, stages: Sequence[Sample], progress: Progress) -> None:
    with ExitStack() as leases:
        # In one order for everybody: two passes never hold what the other one waits for.
        partials = [(s, leases.enter_context(store.making(s))) for s in sorted(stages, key=lambda s: s.identity)]
        if todo := [(stage, folder) for stage, folder in partials if folder is not None]:
            _fill(todo, store.open, progress)


def _fill(todo: Sequence[tuple[Sample, Path]], open: Callable[[Stage], Artifact], progress: Progress) -> None:
    """Writes the files of samples that differ in their layer alone.

    In memory are one batch of frames of all layers, then the sample of one layer at a time: frames that may be chosen
    wait on disk.
    """
    stage = todo[0][0]
    wanted = set(open(stage.selection).json("ids.json"))
    recordings = [r for r in read_recordings(open(stage.recordings)) if r.id in wanted]
    drawn = draw(recordings, stage.frames * SPARE / stage.encoder.frame_rate, stage.sample_seed)
    layers = sorted(one.layer for one, _ in todo)
    encoder = stage.encoder.load(open, device.available(), deepest=layers[-1])
    lottery = Lottery(stage.frames, stage.sample_seed)
    reason = ""
    with ExitStack() as spools:
        gathered = {one.layer: spools.enter_context(_Layer(folder)) for one, folder in todo}
        for done, (recording, frames) in enumerate(encode(encoder, drawn, layers), 1):
            if isinstance(frames, str):
                reason = reason or f", the first, '{recording.id}': {frames}"
            else:
                kept = lottery.draw(recording.id, len(frames[layers[0]]))
                for layer, values in frames.items():
                    gathered[layer].add(values, kept)
            progress(done, len(drawn), "utterances")
        if not lottery.seen:
            name = stage.encoder.name
            raise StageError(f"none of the {len(drawn)} training recordings gives a frame of {name}{reason}")
        winners = lottery.winners()
        for one in gathered.values():
            one.write(winners)


class Lottery:
    """A uniform choice of `size` frames of however many come, made as they come.

    Every frame has a random number, by seed, utterance and place; those with the smallest numbers win. So the choice
    depends neither on the order of utterances nor on the layer, and few of the frames that come are kept meanwhile.
    """

    def __init__(self, size: int, seed: int):
        self.seen = 0
        self._size = size
        self._seed = seed
        self._kept = 0
        self._bound = 1.0
        self._numbers: list[np.ndarray] = []
        self._places: list[np.ndarray] = []
        self._held = 0

    def draw(self, name: str, frames: int) -> np.ndarray:
        """Which frames of an utterance may win yet, bool `[T]`. Their places count on, over all utterances."""
        generator = np.random.default_rng([self._seed, xxhash.xxh3_64_intdigest(name.encode())])
        numbers = generator.random(frames)
        kept = numbers < self._bound
        count = int(kept.sum())
        self._numbers.append(numbers[kept])
        self._places.append(np.arange(self._kept, self._kept + count))
        self._kept += count
        self._held += count
        self.seen += frames
        if self._held > self._size * 5 // 4:
            self._cut()
        return kept

    def winners(self) -> np.ndarray:
        """The places of the winners among the frames that were kept, int64 `[N]`, in random order."""
        self._cut()
        return self._places[0]

    def _cut(self) -> None:
        """Forgets all but the winners so far, and orders these by their numbers."""
        numbers, places = np.concatenate(self._numbers), np.concatenate(self._places)
        winning = np.argsort(numbers)[: self._size]
        self._numbers, self._places, self._held = [numbers[winning]], [places[winning]], len(winning)
        if len(winning) == self._size:
            self._bound = float(numbers[winning[-1]])


class _Layer:
    """What is gathered of one layer: running mean and squares, and on disk the frames that may be chosen."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._path = folder / "frames.tmp"
        self._file = self._path.open("wb")
        self._count = 0
        self._mean: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def __enter__(self) -> _Layer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, frames: np.ndarray, kept: np.ndarray) -> None:
        """Takes an utterance's frames fp16 `[T, D]`, of which those of `kept` may be chosen."""
        self._file.write(frames[kept].tobytes())
        values = frames.astype(np.float64)
        mean = values.mean(0)
        # Chan et al. 1979: means and sums of squares around them, merged without cancellation.
        total = self._count + len(values)
        apart = mean - self._mean
        between = np.square(apart) * (self._count * len(values) / total)
        self._squares = self._squares + np.square(values - mean).sum(0) + between
        self._mean = self._mean + apart * (len(values) / total)
        self._count = total

    def write(self, winners: np.ndarray) -> None:
        """Writes the sample, of the frames at these places of the file."""
        self._file.close()
        mean, squares = np.asarray(self._mean), np.asarray(self._squares)
        frames = np.memmap(self._path, np.float16, "r").reshape(-1, len(mean))[winners]
        save_file(
            {
                "frames": np.asarray(frames),
                "mean": mean.astype(np.float32),
                "std": np.sqrt(squares / self._count).astype(np.float32),
            },
            self._folder / "sample.safetensors",
        )
        self._path.unlink()


def draw(recordings: list[Recording], seconds: float, seed: int) -> list[Recording]:
    """Recordings in seeded random order until they last `seconds`: all of a small corpus, a part of a large one."""
    order = sorted(recordings, key=lambda r: r.id)
    random.Random(seed).shuffle(order)
    total, drawn = 0.0, []
    for recording in order:
        if total >= seconds:
            break
        drawn.append(recording)
        total += recording.seconds
    return drawn


def read_sample(artifact: Artifact) -> dict[str, np.ndarray]:
    """frames fp16 `[N, D]`, mean `[D]`, std `[D]`."""
    return load_file(artifact.file("sample.safetensors"))
