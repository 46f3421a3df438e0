"""The models of the tiny twins: random weights in the real Hugging Face format, a few thousand of them each.

    python -m search_spaces.tiny_models [FOLDER]

writes them into `tiny-models/`, where the twins look for them. They know nothing: what a twin shows is that its space
runs, through the code that runs the real one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = "tiny-models"
WORDS = "transcribe the speech what does speaker want which keyword is said translate into german phonemes of emotion"
"""Of which the decoders' tokenizer knows pieces; it can write any text in bytes."""
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SIZES = {
    "qwen-1": ("qwen2", 16, 1),
    "qwen-2": ("qwen2", 24, 2),
    "qwen-3": ("qwen2", 32, 2),
    "qwen-4": ("qwen2", 48, 3),
    "llama-1": ("llama", 16, 1),
    "llama-2": ("llama", 32, 2),
    "llama-3": ("llama", 48, 3),
}
"""Decoders: family, hidden size, layers; sizes of one family grow, as a ladder of real ones does."""


def make_all(folder: Path) -> None:
    """Writes every model that the twins name."""
    for seed, family in enumerate(("hubert", "wavlm")):
        make_encoder(folder / family, family, seed)
    for seed, (name, (family, hidden, layers)) in enumerate(SIZES.items()):
        make_decoder(folder / name, family, hidden, layers, seed)


def make_encoder(folder: Path, family: str, seed: int) -> None:
    """Writes a HuBERT or WavLM in the shape of the large ones (layer norm first) with three blocks of 24 dimensions."""
    import torch
    import transformers

    config_class, model_class = {
        "hubert": (transformers.HubertConfig, transformers.HubertModel),
        "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
    }[family]
    config = config_class(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(12,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)
    preprocessor = {"do_normalize": True, "sampling_rate": 16000, "feature_size": 1}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), "utf-8")


def make_decoder(folder: Path, family: str, hidden: int, layers: int, seed: int) -> None:
    """Writes a causal LM with a byte-level tokenizer and a chat template."""
    import torch
    import transformers

    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    config_class, model_class = {
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    }[family]
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=2 * hidden,
        max_position_embeddings=4096,
        initializer_range=0.5 * hidden**-0.5,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[0])
    fast.chat_template = CHAT
    return fast


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER)
    make_all(target)
    print(f"the models of the tiny twins are in {target.absolute()}")
