"""How well the memory of a training is told beforehand: the estimate of `tokengrid plan` against what the allocator gives.

    python benchmarks/decoder_memory.py [--decoder tiny|medium|qwen1.5-0.5b|llama3.1-8b|…] [--dtype bfloat16] [--lora]

The decoders have random weights. Two steps of two micro-batches each go through the real training loop, with a look at
dev after each. On a GPU the measured bytes are torch's peak of allocated memory; on a processor the largest running sum of
the allocations and releases that torch's profiler records, on top of the weights that were there before.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import typer
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from orchestrator.decoders import PRESETS, Example, HfSpec, LoraSettings, Recipe, SpeechLM, SpeechSpec
from orchestrator.decoders.batches import prepare
from orchestrator.decoders.lora import add_lora
from orchestrator.decoders.memory import Memory, MicroBatch, training_memory
from orchestrator.decoders.published import PUBLISHED
from orchestrator.decoders.text import train_text
from orchestrator.decoders.training import train
from orchestrator.device import available

FRAMES = SpeechSpec(kind="continuous", dimension=64, concatenate=2)
SIZES = {
    "tiny": {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 256},
    "medium": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 1408},
}
"""Shapes beside the published ones."""
VOCABULARY = {"tiny": 512, "medium": 8192}
WORDS = tuple(f"{value:x}" for value in np.random.default_rng(0).integers(1 << 24, size=50))
RECIPE = Recipe(max_epochs=1, evaluate_every=0.5)


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        sequences: of a micro-batch.
        is_alone: whether a step has one micro-batch; two otherwise.
        positions, words: of speech and of the answer, in each sequence.
    """

    decoder: HfSpec
    speech: SpeechSpec = FRAMES
    recipe: Recipe = RECIPE
    sequences: int = 4
    is_alone: bool = False
    positions: int = 80
    words: int = 10

    @property
    def name(self) -> str:
        """Which weights are trained, in which precision, and whether activations are computed again."""
        again = ", activations again" if self.decoder.gradient_checkpointing else ""
        return f"{'LoRA' if self.decoder.lora else 'full'}, {self.recipe.dtype}{again}"


def configuration_of(size: str) -> PretrainedConfig:
    """Of a Qwen2 of one of `SIZES`, or of a decoder that a grid can name."""
    if size in SIZES:
        heads = {"num_key_value_heads": SIZES[size]["num_attention_heads"], "tie_word_embeddings": True}
        values = {"model_type": "qwen2", "vocab_size": VOCABULARY[size], **SIZES[size], **heads}
    else:
        values = dict(PUBLISHED[PRESETS[size].checkpoint])
    return AutoConfig.for_model(values.pop("model_type"), **values)


def compare(config: PretrainedConfig, case: Case) -> tuple[Memory, int]:
    """The estimate of a training's memory, and the bytes that it really takes."""
    chance = np.random.default_rng(0)
    count = 2 * case.sequences * (1 if case.is_alone else 2)
    utterances = [_utterance(case, f"{i:02d}", chance) for i in range(count)]
    model = _model(config, case)
    ready = prepare(utterances, model.speech, model.text, model.longest, answered=True)
    longest = max(u.length for u in ready)
    recipe = replace(case.recipe, batch=count // 2, micro_batch_tokens=case.sequences * longest)
    answers = round(np.mean([len(u.answer) for u in ready]))
    load = MicroBatch(case.sequences, longest, case.positions, answers, case.is_alone)
    estimate = training_memory(config, case.decoder, case.speech, recipe, load)
    measure = _on_gpu if available() == "cuda" else _on_processor
    return estimate, measure(model, utterances, recipe)


def _utterance(case: Case, name: str, chance: np.random.Generator) -> Example:
    if case.speech.kind == "discrete":
        speech = chance.integers(0, case.speech.tokens, case.positions)
    else:
        frames = case.positions * case.speech.concatenate, case.speech.width
        speech = chance.normal(size=frames).astype(np.float16)
    return Example(name, speech, " ".join(chance.choice(WORDS, case.words)))


def _model(config: PretrainedConfig, case: Case) -> SpeechLM:
    with torch.device(available()):
        lm = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, case.decoder.dtype))
        if case.decoder.lora is not None:
            add_lora(lm, case.decoder.lora, 0, case.decoder.name)
        return SpeechLM(lm, train_text(WORDS, 400), case.speech, case.decoder)


def _on_processor(model: SpeechLM, utterances: list[Example], recipe: Recipe) -> int:
    before = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in model.parameters()}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        train(model, utterances, utterances[:1], recipe, seed=0)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return sum(before.values()) + int(np.cumsum(changes).max())


def _on_gpu(model: SpeechLM, utterances: list[Example], recipe: Recipe) -> int:
    torch.cuda.reset_peak_memory_stats()
    train(model, utterances, utterances[:1], recipe, seed=0)
    return torch.cuda.max_memory_allocated()


def cases() -> Iterator[Case]:
    """All weights, and LoRA (over weights of the recipe's dtype); activations kept, and computed again."""
    for lora in (None, LoraSettings()):
        for again in (False, True):
            for dtype in ("float32", "bfloat16"):
                own = dtype if lora else "float32"
                decoder = HfSpec(checkpoint="random", content="", dtype=own, lora=lora, gradient_checkpointing=again)
                yield Case(decoder, recipe=replace(RECIPE, dtype=dtype))


def main(
    decoder: str = "tiny", sequences: int = 4, positions: int = 80, words: int = 10, dtype: str = "", lora: bool = False
) -> None:
    """Prints a line a training; only those with a dtype (bfloat16 is slow on processors) or with LoRA if so asked."""
    config = configuration_of(decoder)
    print(f"{decoder} on {available()}, micro-batches of {sequences} sequences with {positions} positions of speech")
    for case in cases():
        if (dtype and case.recipe.dtype != dtype) or (lora and not case.decoder.lora):
            continue
        case = replace(case, sequences=sequences, positions=positions, words=words)
        estimate, measured = compare(config, case)
        gc.collect()
        told = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in list(estimate.parts.items())[:4])
        ratio = estimate.bytes / measured
        print(
            f"{case.name:36} {estimate.bytes / 1e6:9.1f} MB told {measured / 1e6:9.1f} measured {ratio:5.2f}   ({told})"
        )


if __name__ == "__main__":
    typer.run(main)
