"""Tiny speech encoders with random weights, saved as real ones are, to be loaded as real ones are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

ENCODERS = (
    "hubert-group",
    "hubert-layer-stable",
    "hubert-batch-norm",
    "wavlm-group",
    "wavlm-layer-stable",
    "wav2vec2-group",
    "wav2vec2-layer-stable",
    "data2vec",
    "whisper",
    "w2v-bert",
)
"""The architectures: group norm and post-norm as the base models have, layer norm and pre-norm as the large ones."""

WHISPER_SECONDS = 2
"""The window of the tiny Whisper, where real ones have 30 s."""

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}


def make_encoder(
    folder: Path, kind: str = "hubert-group", *, seed: int = 0, normalise: bool = True, head: bool = False
) -> Path:
    """Saves a random encoder of a kind in `ENCODERS` (three blocks of 32 dimensions) and returns its folder.

    Args:
        folder: to save into.
        kind: of encoder.
        seed: of the weights.
        normalise: what its preprocessor says, where it says anything of that.
        head: saved as a part of a larger model, as many checkpoints are: names of weights begin with that of the model.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(kind, head)
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            # Norms and biases start as ones and zeros, which would hide mistakes that trained weights show.
            if value.ndim == 1 and value.is_floating_point():
                value.data += 0.2 * torch.rand_like(value)
            if name.endswith(("gru_rel_pos_linear.weight", "rel_attn_embed.weight", "distance_embedding.weight")):
                value.data = torch.randn_like(value)
    model.save_pretrained(folder)
    _save_preprocessor(folder, kind, normalise)
    return folder


def _model(kind: str, head: bool) -> nn.Module:
    import transformers

    if kind == "whisper":
        make = transformers.WhisperForConditionalGeneration if head else transformers.WhisperModel
        return make(_whisper_config())
    if kind == "w2v-bert":
        config = transformers.Wav2Vec2BertConfig(**SIZES, conv_depthwise_kernel_size=5, vocab_size=10)
        return (transformers.Wav2Vec2BertForCTC if head else transformers.Wav2Vec2BertModel)(config)
    sizes = SIZES | {"conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 4}
    if kind == "data2vec":
        return transformers.Data2VecAudioModel(
            transformers.Data2VecAudioConfig(**sizes, num_conv_pos_embeddings=3, conv_pos_kernel_size=7)
        )
    family, _, norm = kind.partition("-")
    config_class, plain, with_head = {
        "hubert": (transformers.HubertConfig, transformers.HubertModel, transformers.HubertForCTC),
        "wavlm": (transformers.WavLMConfig, transformers.WavLMModel, transformers.WavLMForCTC),
        "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model, transformers.Wav2Vec2ForPreTraining),
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
    return (with_head if head else plain)(config)


def _whisper_config() -> Any:
    import transformers

    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {"layers": 3, "attention_heads": 4, "ffn_dim": 48}.items()
    }
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return transformers.WhisperConfig(
        d_model=32, vocab_size=20, max_source_positions=50 * WHISPER_SECONDS, **sides, **tokens
    )


def _save_preprocessor(folder: Path, kind: str, normalise: bool) -> None:
    import transformers

    if kind == "whisper":
        transformers.WhisperFeatureExtractor(chunk_length=WHISPER_SECONDS).save_pretrained(folder)
    elif kind == "w2v-bert":
        transformers.SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(folder)
    else:
        settings = {"do_normalize": normalise, "sampling_rate": 16000, "feature_size": 1}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
