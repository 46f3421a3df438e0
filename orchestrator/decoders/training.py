"""Training: one loop for every decoder and every kind of speech, with one stopping rule."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.decoders import checkpoint as checkpoints
from orchestrator.decoders.batches import Batch, Utterance, collate, hide, order, prepare
from orchestrator.decoders.cost import training_flops
from orchestrator.decoders.model import SpeechLM
from orchestrator.decoders.parallel import Parallel
from orchestrator.decoders.result import State, TrainingResult
from orchestrator.decoders.spec import Example, Recipe
from orchestrator.errors import StageError
from orchestrator.stage import Progress, canonical, silent


def train(
    model: SpeechLM,
    train: Sequence[Example],
    dev: Sequence[Example],
    recipe: Recipe,
    seed: int,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    parallel: Parallel | None = None,
) -> TrainingResult:
    """Trains what of a model can be trained until its plateau on dev or its budget, and leaves the best weights in it.

    Each step sees the same utterances in the same order for every kind of speech, and its loss is the mean over the
    answer tokens of all of them.

    Args:
        checkpoint: a folder; a checkpoint is kept there at every evaluation, and a training that finds its own goes on
            from it, to the same weights and curve as an uninterrupted one (seconds aside). The caller removes it.
        progress: told the epochs done, after every step.
        parallel: the processes that train it together, each called with the same arguments; this one alone by default.

    Raises:
        StageError: the training diverged, or there are examples that the decoder can't read.
    """
    # Of the GPU in use alone: a process may see all of a machine's.
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        return _Training(model, train, dev, recipe, seed, checkpoint, parallel or Parallel()).run(progress)


class _Training:
    def __init__(
        self,
        model: SpeechLM,
        train: Sequence[Example],
        dev: Sequence[Example],
        recipe: Recipe,
        seed: int,
        checkpoint: Path | None,
        parallel: Parallel,
    ):
        for split, examples in (("training", train), ("dev", dev)):
            if not examples:
                raise StageError(f"the {split} split is empty; a training needs at least one utterance in it")
        self.model, self.recipe, self.seed, self.folder = parallel.wrap(model), recipe, seed, checkpoint
        self.result, self.parallel = model, parallel
        self.ids = [e.id for e in train]
        self.train = prepare(train, model.speech, model.text, model.longest, answered=True, seed=seed)
        dev_utterances = prepare(dev, model.speech, model.text, model.longest, answered=True)
        groups = parallel.share([u.length for u in dev_utterances], recipe.micro_batch_tokens)
        # Laid out when it is their turn: all of dev at once would fill a GPU with frames.
        self.dev = [([dev_utterances[i] for i in group], weight) for group, weight in groups]
        self.per_epoch = math.ceil(len(train) / recipe.batch)
        # Frozen weights are in no optimiser, no copy and no checkpoint.
        self.weights = self.model.trained
        self.best: dict[str, Tensor] = {}
        self.average = {name: w.detach().clone() for name, w in self.weights.items()} if recipe.averaging else {}
        self.optimiser = _optimiser(list(self.weights.values()), recipe)
        self.state = State()
        # A checkpoint of another training is not ours to go on from.
        content = [seed, canonical(recipe), [(e.id, e.target) for e in train]]
        self.key = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def run(self, progress: Progress) -> TrainingResult:
        self._resume()
        state, recipe = self.state, self.recipe
        last = recipe.max_epochs * self.per_epoch
        every = max(1, round(recipe.evaluate_every * self.per_epoch))
        clock = time.perf_counter() - state.seconds
        while not state.stopped:
            self._step()
            state.seconds = time.perf_counter() - clock
            progress(state.step / self.per_epoch, recipe.max_epochs, "epochs")
            if state.step % every == 0 or state.step == last:
                self._evaluate()
                state.seconds = time.perf_counter() - clock
                state.curve[-1]["seconds"] = round(state.seconds, 3)
                if state.waited >= recipe.patience:
                    state.stopped = "plateau"
                elif state.step == last:
                    state.stopped = "budget"
                self._save()
        with torch.no_grad():
            for name, weight in self.result.trained.items():
                weight.copy_(self.parallel.whole(self.best[name]))
        self.result.eval()
        return state.result(self.model.parameters_count, sum(w.numel() for w in self.weights.values()))

    def _step(self) -> None:
        state, recipe = self.state, self.recipe
        chance = np.random.default_rng([self.seed, state.step, 1])
        # For the dropout of decoders that have some, of other utterances in every process.
        torch.manual_seed(int(chance.integers(1 << 62)) + self.parallel.rank)
        chosen = self._chosen(state.step)
        hidden = None
        if recipe.speech_mask or recipe.answer_mask:
            # A generator of its own for the answers: the length of the speech, another in each arm, must not move it.
            second = np.random.default_rng([self.seed, state.step, 2])
            shares = recipe.speech_mask, recipe.answer_mask
            hidden = [hide(u, (chance, second), shares) for u in chosen]
        answers = sum(len(u.answer) for u in chosen)
        self.model.train()
        total = 0.0
        for group, weight in self.parallel.share([u.length for u in chosen], recipe.micro_batch_tokens):
            batch = self._collate([chosen[i] for i in group], hidden and [hidden[i] for i in group])
            with self._precision():
                logits = self.model(batch)
            loss = F.cross_entropy(
                logits.float(), batch.answers, reduction="sum", label_smoothing=recipe.label_smoothing
            )
            (loss * weight / answers).backward()
            total += loss.item() * weight
        (total,) = self.parallel.sum(total)
        clipped = torch.nn.utils.clip_grad_norm_(self.weights.values(), recipe.gradient_clip)
        norm = self.parallel.whole(clipped).item()
        if not math.isfinite(total + norm):
            raise StageError(
                f"diverged at step {state.step + 1} (loss {total / answers}, gradient norm {norm}). Expected finite "
                f"numbers: lower the recipe's learning_rate ({recipe.learning_rate}) or raise its warmup_steps "
                f"({recipe.warmup_steps})."
            )
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (state.step + 1) / (recipe.warmup_steps + 1))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        state.step += 1
        if self.average:
            # At first the average is of the few steps that there are, not of the first weights.
            share = 1 - min(recipe.averaging, state.step / (state.step + 10))
            for name, average in self.average.items():
                average.lerp_(self.weights[name].detach(), share)
        state.tokens += sum(u.length for u in chosen)
        state.squares += sum(u.length**2 for u in chosen)
        state.answers += answers
        state.loss += total
        state.loss_tokens += answers

    def _chosen(self, step: int) -> list[Utterance]:
        epoch, place = divmod(step, self.per_epoch)
        if place == 0 or not hasattr(self, "_order"):
            self._order = order(self.ids, self.seed, epoch)
        return [self.train[i] for i in self._order[place * self.recipe.batch : (place + 1) * self.recipe.batch]]

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Adds a row to the curve, and keeps the weights where the monitor is at its lowest."""
        state = self.state
        self.model.eval()
        loss, wrong, count = 0.0, 0.0, 0.0
        with self._averaged():
            for utterances, weight in self.dev:
                batch = self._collate(utterances)
                with self._precision():
                    logits = self.model(batch).float()
                loss += F.cross_entropy(logits, batch.answers, reduction="sum").item() * weight
                wrong += int((logits.argmax(-1) != batch.answers).sum()) * weight
                count += len(batch.answers) * weight
        loss, wrong, count = self.parallel.sum(loss, wrong, count)
        if not math.isfinite(loss):
            raise StageError(
                f"diverged at step {state.step}: the loss on dev is {loss}. Lower the recipe's learning_rate."
            )
        row = {
            "step": state.step,
            "epoch": round(state.step / self.per_epoch, 4),
            "tokens": state.tokens,
            "flops": training_flops(self.model, state.tokens, state.squares, state.answers),
            "seconds": 0.0,
            "train_loss": state.loss / state.loss_tokens,
            "dev_loss": loss / count,
            "dev_error": wrong / count,
        }
        state.curve.append(row)
        state.loss, state.loss_tokens = 0.0, 0
        value = row[self.recipe.monitor]
        if state.best < 0 or value < state.curve[state.best][self.recipe.monitor]:
            state.best = len(state.curve) - 1
            kept = self.average or self.weights
            self.best = {name: weight.detach().clone() for name, weight in kept.items()}
        if value < state.gain * (1 - self.recipe.minimal_gain):
            state.gain, state.waited = value, 0
        else:
            state.waited += 1

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model with its averaged weights for a while, where the recipe averages."""
        own = {name: self.weights[name].detach().clone() for name in self.average}
        self._set(self.average)
        yield
        self._set(own)

    @torch.no_grad()
    def _set(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.weights[name].copy_(value)

    def _collate(self, utterances: list[Utterance], hidden: list[np.ndarray] | None = None) -> Batch:
        return collate(utterances, self.model.speech, hidden=hidden).to(self.model.device)

    def _precision(self) -> AbstractContextManager[object]:
        if self.recipe.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.model.device.type, torch.bfloat16)

    def _save(self) -> None:
        if self.folder is None:
            return
        tensors = {f"best.{name}": value for name, value in self.best.items()}
        if not self.state.stopped:
            tensors |= {f"weights.{name}": value for name, value in self.weights.items()}
            tensors |= {f"average.{name}": value for name, value in self.average.items()}
            tensors |= {f"optimiser.{name}": value for name, value in self._moments()}
        kept = {}
        for name, value in tensors.items():  # one at a time: only the process that writes has room for all
            whole = self.parallel.whole(value.detach())
            if self.parallel.is_first:
                kept[name] = whole.cpu()
        if self.parallel.is_first:
            checkpoints.write(self.folder, kept, asdict(self.state) | {"key": self.key})

    def _moments(self) -> Iterator[tuple[str, Tensor]]:
        for name, weight in self.weights.items():
            for moment, value in self.optimiser.state[weight].items():
                yield f"{name}.{moment}", value

    def _resume(self) -> None:
        found = checkpoints.read(self.folder, self.model.device, self.parallel.part) if self.folder else None
        is_ours = found is not None and found[1].pop("key") == self.key
        if is_ours:
            self._restore(*found)
        self.parallel.agree(self.state.step)

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.state = State(**state)
        self.best = _under("best.", tensors)
        if self.state.stopped:
            return
        self._set(_under("weights.", tensors))
        self.average = _under("average.", tensors)
        for name, weight in self.weights.items():
            self.optimiser.state[weight] = _under(f"optimiser.{name}.", tensors)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimiser(trained: list[Tensor], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW in one fused kernel. Norms, biases and the weights of layers are not decayed."""
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), fused=True)
