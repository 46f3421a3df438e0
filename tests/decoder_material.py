"""Small material for the tests of decoders: artificial speech that can be learnt, and a tiny checkpoint on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.decoders import Example, SpeechSpec

ASKED = ("Write.\n{speech}",)
"""How a task is asked."""
DIMENSION = 12
WORDS = ("red", "green", "lamp", "door", "open", "close")


def examples(count: int, seed: int, kind: str = "continuous", words: int = 3) -> list[Example]:
    """Sentences whose characters are each 'spoken' as a few noisy copies of a prototype frame, or as its token."""
    chance = np.random.default_rng([seed, 7])
    prototypes = np.random.default_rng(0).normal(size=(27, DIMENSION))
    made = []
    for index in range(count):
        text = " ".join(chance.choice(WORDS, chance.integers(1, words + 1), replace=False))
        tokens = np.array([26 if c == " " else ord(c) - ord("a") for c in text])
        speech: np.ndarray | None = tokens
        if kind in ("continuous", "centroids"):
            frames = prototypes[np.repeat(tokens, chance.integers(1, 4, len(tokens)))]
            speech = (3 + 2 * (frames + 0.1 * chance.normal(size=frames.shape))).astype(np.float16)
        elif kind == "none":
            speech = None
        made.append(Example(f"{seed}-{index:04d}", speech, text))
    return made


def speech_spec(kind: str, concatenate: int = 2) -> SpeechSpec:
    """How that speech enters."""
    if kind == "discrete":
        return SpeechSpec(kind="discrete", tokens=27)
    if kind == "none":
        return SpeechSpec(kind="none")
    mean, std = (3.0,) * DIMENSION, (2.0,) * DIMENSION
    return SpeechSpec(kind=kind, dimension=DIMENSION, concatenate=concatenate, mean=mean, std=std)


def make_checkpoint(folder: Path, *, family: str = "qwen2", template: bool = True, seed: int = 0) -> Path:
    """Saves a random causal LM with its tokenizer, as `save_pretrained` saves real ones, and returns its folder."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["open the door", *WORDS], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[0])
    if template:
        fast.chat_template = (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        )
    fast.save_pretrained(folder)
    config_class, model_class = {
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
        "gemma2": (transformers.Gemma2Config, transformers.Gemma2ForCausalLM),
    }[family]
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": len(fast)}
    if family != "gpt2":
        sizes |= {"num_key_value_heads": 1, "intermediate_size": 48, "head_dim": 16}
    ids = {"eos_token_id": 0, "bos_token_id": None, "pad_token_id": None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config_class(**sizes, **ids, initializer_range=0.3))
    # What a checkpoint advises for chatting must not change answers.
    model.generation_config.repetition_penalty = 5.0
    model.save_pretrained(folder)
    return folder
