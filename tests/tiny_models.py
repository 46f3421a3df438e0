"""Tiny speech encoders with random weights, saved as real ones are, to be loaded as real ones are."""

from __future__ import annotations

import json
from pathlib import Path

ENCODERS = (
    "hubert-group",
    "hubert-layer-stable",
    "hubert-batch-norm",
    "wavlm-group",
    "wavlm-layer-stable",
    "wav2vec2-group",
    "wav2vec2-layer-stable",
    "data2vec",
)
"""The architectures: group norm and post-norm as the base models have, layer norm and pre-norm as the large ones."""


def make_encoder(folder: Path, kind: str = "hubert-group", *, seed: int = 0, normalise: bool = True) -> Path:
    """Saves a random encoder of a kind in `ENCODERS` (three blocks of 32 dimensions) and returns its folder."""
    import torch
    import transformers

    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embedding_groups": 4,
    }
    if kind == "data2vec":
        config = transformers.Data2VecAudioConfig(**sizes, num_conv_pos_embeddings=3, conv_pos_kernel_size=7)
        make = transformers.Data2VecAudioModel
    else:
        family, _, norm = kind.partition("-")
        config_class, make = {
            "hubert": (transformers.HubertConfig, transformers.HubertModel),
            "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
            "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
        }[family]
        config = config_class(
            **sizes,
            num_conv_pos_embeddings=16,
            feat_extract_norm="layer" if norm.startswith("layer") else "group",
            conv_bias=norm.startswith("layer"),
            do_stable_layer_norm=norm.endswith("stable"),
        )
        if norm == "batch-norm":
            config.conv_pos_batch_norm = True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(config)
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            # Norms and biases start as ones and zeros, which would hide mistakes that trained weights show.
            if value.ndim == 1 and value.is_floating_point():
                value.data += 0.2 * torch.rand_like(value)
            if name.endswith(("gru_rel_pos_linear.weight", "rel_attn_embed.weight")):
                value.data = torch.randn_like(value)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": normalise, "sampling_rate": 16000, "feature_size": 1})
    )
    return folder
