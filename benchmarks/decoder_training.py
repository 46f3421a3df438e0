"""How fast the training loop is, against a plain one: whole batches padded to their longest, logits everywhere.

    python benchmarks/decoder_training.py [--hidden 96] [--layers 4]

Both take the same optimiser steps on the same utterances of random speech tokens, in turn, in one process, on one
thread; read the ratio, not the seconds.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import torch
import typer

from orchestrator.decoders import Example, Recipe, SpeechLM, SpeechSpec, TinySpec, train
from orchestrator.decoders.batches import collate, order, prepare

CODES = 200


def utterances(count: int, seed: int) -> list[Example]:
    """Random tokens in the lengths of short spoken commands, log-normal around 50, with answers of five words."""
    draw = np.random.default_rng(seed)
    lengths = np.clip(draw.lognormal(np.log(50), 0.35, count), 10, 200).astype(int)
    words = ["red", "door", "open", "kitchen", "lamp", "please", "turn", "on"]
    return [
        Example(id=f"{seed}-{i}", speech=draw.integers(0, CODES, n), target=" ".join(draw.choice(words, 5)))
        for i, n in enumerate(lengths)
    ]


def plain(model: SpeechLM, training: list[Example], recipe: Recipe) -> int:
    """One epoch as a straightforward loop does it. Returns the tokens read, padding not counted."""
    ready = prepare(training, model.speech, model.text, model.longest, answered=True)
    places = order([e.id for e in training], 0, 0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate)
    model.train()
    for start in range(0, len(places), recipe.batch):
        batch = collate([ready[i] for i in places[start : start + recipe.batch]], model.speech)
        labels = torch.full(batch.real.shape, -100).flatten()
        labels[batch.predict] = batch.answers
        logits = model.lm(inputs_embeds=model.embed(batch), attention_mask=batch.real.long(), use_cache=False).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        optimiser.step()
        optimiser.zero_grad()
    return sum(utterance.length for utterance in ready)


def main(hidden: int = 96, layers: int = 4, batch: int = 16, count: int = 320, rounds: int = 3) -> None:
    """Prints tokens a second and the ratio."""
    torch.set_num_threads(1)
    training, dev = utterances(count, 0), utterances(8, 1)
    targets = [e.target for e in training]
    decoder = TinySpec(hidden=hidden, layers=layers, heads=4, kv_heads=4, intermediate=2 * hidden)
    recipe = Recipe(batch=batch, learning_rate=1e-3, max_epochs=1)
    speeds: dict[str, list[float]] = {"plain loop": [], "ours": []}
    for _ in range(rounds):
        for name in speeds:
            model = SpeechLM.create(
                decoder, SpeechSpec(kind="discrete", tokens=CODES), ("Transcribe.\n{speech}",), targets, seed=0
            )
            started = time.perf_counter()
            tokens = (
                plain(model, training, recipe)
                if name == "plain loop"
                else train(model, training, dev, recipe, 0).tokens
            )
            speeds[name].append(tokens / (time.perf_counter() - started))
    base = median(speeds["plain loop"])
    for name, measured in speeds.items():
        print(f"{name:12} {median(measured):9.0f} tokens/s   {median(measured) / base:5.2f} ×")


if __name__ == "__main__":
    typer.run(main)
