"""Pretraining: an APC encoder, trained on the training recordings alone (Chung et al. 2019, arXiv 1904.03240)."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from orchestrator.encoders.encoder import HOP, SAMPLE_RATE, WINDOW
from orchestrator.errors import StageError
from orchestrator.stage import Build, Stage
from orchestrator.stages.recordings import read_recordings
from orchestrator.stages.sample import draw

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from orchestrator.encoders.apc_network import ApcNetwork

CHECKPOINT = "checkpoint.safetensors"
PIECE_SECONDS = 3.0
"""Utterances are cut into pieces of this length: a batch is then wide rather than long, which a GRU needs to be fast."""
CHECKPOINT_STEPS = 50
"""Steps between two checkpoints; what an interrupted build loses at most."""
NORM = 1.0
"""Gradients are clipped to this norm."""
WARM_UP = 0.05
"""Share of the steps in which the learning rate rises; after it, it falls to zero along a cosine."""


@dataclass(frozen=True, kw_only=True)
class Pretraining(Stage):
    """Files: `weights.safetensors`, and `curve.json` with the loss of every step and that of copying the current frame.

    Attributes:
        recordings, selection: what there is, and which utterances may be learnt from.
        hidden: units of each GRU.
        layers: how many GRUs.
        bins: of the log-mels.
        ahead: how many frames ahead it predicts.
        steps: of Adam.
        batch_seconds: of speech a step, padding included.
        learning_rate: its highest value.
        seed: of the first weights, of the order of batches, and of the part that is drawn from a large corpus.
        most_seconds: of speech; a larger selection is sampled, since its log-mels are held in memory (29 MB an hour).
    """

    name: ClassVar[str] = "pretraining"
    # The matrices of a GRU are small: a second thread gains a tenth on an idle machine and loses tenfold on a busy one.
    resumable: ClassVar[bool] = True

    recordings: Stage
    selection: Stage
    hidden: int = 128
    layers: int = 2
    bins: int = 40
    ahead: int = 3
    steps: int = 250
    batch_seconds: float = 60.0
    learning_rate: float = 4e-3
    seed: int = 0
    most_seconds: float = 36_000.0

    @property
    def readable(self) -> str:
        return f"{self.recordings.readable}-apc-{self.layers}x{self.hidden}"

    def build(self, at: Build) -> None:
        import torch
        from safetensors.torch import save_file

        from orchestrator.encoders.apc_network import ApcNetwork

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = ApcNetwork(self.bins, self.hidden, self.layers)
        utterances = self._log_mels(at, network)
        # The network sees values of about one in every bin; the scale travels with its weights.
        network.scale.copy_(torch.cat(utterances).std(dim=0).clamp_min(1e-3))
        pieces = [piece for x in utterances for piece in _cut(x / network.scale) if len(piece) > self.ahead]

        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        curve = _resume(at.folder / CHECKPOINT, network, optimiser)
        for step, batch in itertools.islice(enumerate(self._batches(pieces)), len(curve), self.steps):
            optimiser.param_groups[0]["lr"] = self.learning_rate * _schedule((step + 1) / self.steps)
            curve.append(self._step(network, optimiser, batch, step))
            if (step + 1) % CHECKPOINT_STEPS == 0:
                _save(at.folder / CHECKPOINT, network, optimiser, curve)
            at.progress(step + 1, self.steps, "steps")

        save_file(network.state_dict(), at.folder / "weights.safetensors")
        rows = [{"step": step, "loss": loss, "copy": copy} for step, (loss, copy) in enumerate(curve, 1)]
        (at.folder / "curve.json").write_text(json.dumps(rows), "utf-8")
        for leftover in at.folder.glob(f"{CHECKPOINT}*"):
            leftover.unlink()

    def _log_mels(self, at: Build, network: ApcNetwork) -> list[Tensor]:
        """Log-mels `[T, bins]` of the training utterances that have a frame to predict."""
        from orchestrator import audio

        chosen = set(at.open(self.selection).json("ids.json"))
        recordings = [r for r in read_recordings(at.open(self.recordings)) if r.id in chosen]
        shortest = (WINDOW + self.ahead * HOP) / SAMPLE_RATE
        drawn = draw([r for r in recordings if r.seconds >= shortest], self.most_seconds, self.seed)
        waves = (audio.read(*recording.part) for recording in drawn)
        found = [x for wave in waves if len(wave) >= WINDOW for x in network.inputs([wave]) if len(x) > self.ahead]
        if not found:
            raise StageError(
                f"none of the {len(chosen)} training utterances is long enough to pretrain an encoder on "
                f"({shortest:.2f} s). Expected recordings of the training split; see the corpus' split and quarantine."
            )
        return found

    def _batches(self, pieces: list[Tensor]) -> Iterator[list[Tensor]]:
        """Batches of pieces of like lengths, without end: a function of the seed, so a resumed build goes on."""
        lengths = np.array([len(x) for x in pieces])
        frames = self.batch_seconds * SAMPLE_RATE / HOP
        for epoch in itertools.count():
            chance = np.random.default_rng([self.seed, epoch])
            # Sorted by roughly their length: little padding, other neighbours in every epoch.
            order = np.argsort(lengths * chance.uniform(0.8, 1.25, len(lengths)))
            batches: list[list[int]] = [[]]
            longest = 0
            for index in order:
                longest = max(longest, lengths[index])
                if batches[-1] and longest * (len(batches[-1]) + 1) > frames:
                    batches.append([])
                    longest = lengths[index]
                batches[-1].append(index)
            for number in chance.permutation(len(batches)):
                yield [pieces[index] for index in batches[number]]

    def _step(
        self, network: ApcNetwork, optimiser: torch.optim.Optimizer, batch: list[Tensor], step: int
    ) -> tuple[float, float]:
        """One step. Returns the mean absolute error of the prediction, and of the current frame taken for it."""
        import torch

        from orchestrator.encoders.apc_network import padded

        x = padded(batch)
        real = padded([torch.ones(len(one) - self.ahead, dtype=torch.bool) for one in batch])
        target, current = x[:, self.ahead :][real], x[:, : -self.ahead][real]
        loss = (network(x[:, : -self.ahead])[real] - target).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), NORM)
        if not math.isfinite(loss.item() + norm.item()):
            raise StageError(
                f"the pretraining diverged at step {step + 1} of {self.steps} (loss {loss.item():g}). "
                f"Lower its learning_rate, which is {self.learning_rate:g}."
            )
        optimiser.step()
        return loss.item(), (current - target).abs().mean().item()


def _cut(x: Tensor) -> tuple[Tensor, ...]:
    """An utterance `[T, D]` in near-equal pieces of at most `PIECE_SECONDS`."""
    import torch

    return torch.tensor_split(x, math.ceil(len(x) * HOP / SAMPLE_RATE / PIECE_SECONDS))


def _schedule(done: float) -> float:
    """The learning rate as a share of its highest value, when `done` of the steps are taken."""
    return min(done / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * max(done - WARM_UP, 0) / (1 - WARM_UP)))


def _save(path: Path, network: ApcNetwork, optimiser: torch.optim.Optimizer, curve: list[tuple[float, float]]) -> None:
    """Writes weights, optimiser and curve atomically. Batches are a function of seed and step: no random state."""
    import torch
    from safetensors.torch import save_file

    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in moments.items()}
    tensors["curve"] = torch.tensor(curve, dtype=torch.float64)
    temporary = path.with_suffix(".safetensors.tmp")
    save_file(tensors, temporary)
    temporary.replace(path)


def _resume(path: Path, network: ApcNetwork, optimiser: torch.optim.Optimizer) -> list[tuple[float, float]]:
    """Loads a checkpoint, if there is one, and returns its curve: a row for every step that has been taken."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError):
        return []
    network.load_state_dict({n.removeprefix("network."): v for n, v in tensors.items() if n.startswith("network.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, index, moment = name.split(".")
            state.setdefault(int(index), {})[moment] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return [tuple(row) for row in tensors["curve"].tolist()]
