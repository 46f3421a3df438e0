"""Frames of Hugging Face checkpoints, family by family: those of the model itself, alone or batched, no block too many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_material import EXACT, LENGTHS, assert_alone_equals_batched, nothing, speech
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import ENCODERS as KINDS
from tiny_models import WHISPER_SECONDS, make_encoder

from orchestrator.encoders.hf import resolve
from orchestrator.encoders.wavlm import fuse
from orchestrator.errors import StageError

ONE_OF_EACH_FAMILY = ("hubert-group", "wavlm-layer-stable", "data2vec", "whisper", "w2v-bert")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: make_encoder(root / kind, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_an_utterance_in_a_batch_has_the_frames_it_has_alone(models, kind):
    encoder = resolve(str(models[kind])).load(nothing)
    assert_alone_equals_batched(encoder, [speech(n) for n in (*LENGTHS, 400)], [0, 1, 2, 3])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "whisper"])
@pytest.mark.parametrize("samples", [11_111, 11_200])
def test_a_layer_is_the_hidden_state_that_the_model_itself_reports(models, kind, samples):
    from transformers import AutoFeatureExtractor, AutoModel

    wave = speech(samples)
    prepared = AutoFeatureExtractor.from_pretrained(models[kind])(wave, sampling_rate=16_000, return_tensors="pt")
    model = AutoModel.from_pretrained(models[kind]).eval()
    with torch.no_grad():
        states = model(**prepared, output_hidden_states=True).hidden_states
    # w2v-BERT's own mask leaves out a last frame that is half padding.
    real = int(prepared["attention_mask"].sum()) if kind == "w2v-bert" else states[0].shape[1]
    frames = resolve(str(models[kind])).load(nothing).frames([wave], [0, 1, 2, 3])[0]
    for layer in frames:
        np.testing.assert_allclose(frames[layer], states[layer][0, :real].numpy(), rtol=1e-4, atol=2e-6)


def test_a_layer_of_whisper_is_that_of_the_whole_model_cut_to_the_utterance(models):
    from transformers import AutoFeatureExtractor, AutoModel

    folder, wave = models["whisper"], speech(11_111)
    mels = AutoFeatureExtractor.from_pretrained(folder)(wave, sampling_rate=16_000, return_tensors="pt").input_features
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model.encoder(mels, output_hidden_states=True)
        frames = resolve(str(folder)).load(nothing).frames([wave], [0, 1, 2, 3])[0]
        last = model.encoder.layer_norm(torch.from_numpy(frames[3])).numpy()
    assert len(frames[0]) == 35  # 11,111 samples of 320 a frame
    for layer in (0, 1, 2):
        np.testing.assert_allclose(frames[layer], output.hidden_states[layer][0, :35].numpy(), rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(last, output.last_hidden_state[0, :35].numpy(), rtol=1e-4, atol=2e-6)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(300, 12_000), min_size=1, max_size=5),
    kind=st.sampled_from(ONE_OF_EACH_FAMILY),
    layers=st.sets(st.integers(0, 3), min_size=1),
)
def test_padding_never_changes_a_frame(models, lengths, kind, layers):
    encoder = resolve(str(models[kind])).load(nothing)
    assert_alone_equals_batched(encoder, [speech(n, seed) for seed, n in enumerate(lengths)], sorted(layers))


@pytest.mark.parametrize("kind", ["hubert-layer-stable", *ONE_OF_EACH_FAMILY])
def test_only_the_blocks_that_are_needed_are_loaded_and_give_the_same_frames(models, kind):
    spec, waves = resolve(str(models[kind])), [speech(9_000), speech(5_000)]
    whole = spec.load(nothing).frames(waves, [0, 1, 2, 3])
    for deepest in (0, 1, 2):
        part = spec.load(nothing, deepest=deepest)
        assert len(part.blocks) == max(deepest, 1)
        for one, other in zip(whole, part.frames(waves, [deepest]), strict=True):
            np.testing.assert_allclose(other[deepest], one[deepest], rtol=1e-5, atol=1e-6)
        with pytest.raises(StageError, match=rf"loaded up to layer {max(deepest, 1)}, not 3"):
            part.frames(waves, [3])


@pytest.mark.parametrize("kind", ONE_OF_EACH_FAMILY)
def test_only_the_blocks_that_are_needed_are_computed(models, kind):
    encoder = resolve(str(models[kind])).load(nothing)
    ran = []
    for number, block in enumerate(encoder.blocks, 1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    encoder.frames([speech(4_000)], [0, 2])
    assert ran == [1, 2]


@pytest.mark.parametrize("kind", ["hubert-group", "wavlm-layer-stable", "wav2vec2-layer-stable", "whisper", "w2v-bert"])
def test_a_checkpoint_that_holds_more_than_the_encoder_gives_the_same_frames(models, tmp_path, kind):
    """Weights trained with a head, as many on the hub: their names begin with that of the model inside."""
    from safetensors.torch import load_file, save_file

    whole = make_encoder(tmp_path / kind, kind, head=True)
    inner = load_file(models[kind] / "model.safetensors")
    outer = load_file(whole / "model.safetensors")
    prefixes = {"hubert", "wavlm", "wav2vec2", "model", "wav2vec2_bert"}
    renamed = {name: inner.get(name.partition(".")[2], value) for name, value in outer.items()}
    assert sum(name.partition(".")[0] in prefixes and name.partition(".")[2] in inner for name in outer) == len(inner)
    save_file(renamed, whole / "model.safetensors", {"format": "pt"})
    wave = [speech(5_000)]
    one, other = (resolve(str(folder)).load(nothing).frames(wave, [3])[0][3] for folder in (models[kind], whole))
    np.testing.assert_array_equal(one, other)


# Whisper


def test_the_decoder_half_of_a_whisper_is_not_loaded(models):
    encoder = resolve(str(models["whisper"])).load(nothing)
    assert not [name for name, _ in encoder.model.named_parameters() if "decoder" in name or "encoder_attn" in name]
    assert len(encoder.blocks) == 3


def test_whisper_takes_its_window_and_no_more(models):
    spec = resolve(str(models["whisper"]))
    encoder, longest = spec.load(nothing), WHISPER_SECONDS * 16_000
    assert spec.longest == longest
    assert len(encoder.frames([speech(longest)], [1])[0][1]) == 50 * WHISPER_SECONDS
    with pytest.raises(StageError, match=r"too long .* 2\.0 s, it takes at most 2 s\. Set max_seconds of the corpus"):
        encoder.frames([speech(longest + 1)], [1])


def test_more_utterances_than_windows_at_once_come_back_in_their_order(models):
    encoder = resolve(str(models["whisper"])).load(nothing)
    waves = [speech(600 + 320 * n) for n in range(19)]
    frames = encoder.frames(waves, [0, 2])
    assert [len(one[2]) for one in frames] == [2 + n for n in range(19)]
    np.testing.assert_allclose(frames[17][2], encoder.frames([waves[17]], [2])[0][2], rtol=1e-4, atol=1e-6)


# w2v-BERT


def test_w2v_bert_normalises_each_mel_bin_of_an_utterance_before_it_is_padded(models):
    """So another microphone, a filter that changes every bin by its own factor, makes little difference."""
    near = speech(9_000)
    far = np.convolve(near, [1.0, -0.9])[:9_000].astype(np.float32)
    apart = {}
    for normalise in (None, False):
        encoder = resolve(str(models["w2v-bert"]), normalise=normalise).load(nothing)
        frames = encoder.frames([near, far, speech(16_000)], [0])
        apart[normalise] = np.abs(frames[0][0] - frames[1][0]).mean()
    assert apart[None] < 0.3 * apart[False]


# WavLM


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # the original's own
@pytest.mark.parametrize("kind", ["wavlm-group", "wavlm-layer-stable"])
@pytest.mark.parametrize("lengths", [(40,), (61, 60, 7, 1), (1000, 850)], ids=["alone", "batch", "beyond the buckets"])
def test_fused_attention_equals_the_original(models, kind, lengths):
    from transformers import AutoModel

    original, fused = (AutoModel.from_pretrained(models[kind]).eval() for _ in range(2))
    fuse(fused.encoder.layers)
    longest = max(lengths)
    x = torch.randn(len(lengths), longest, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    kept: dict[str, list[torch.Tensor]] = {"original": [], "fused": []}
    for name, model in (("original", original), ("fused", fused)):
        for block in model.encoder.layers:
            block.register_forward_hook(lambda _, __, output, name=name: kept[name].append(output[0][mask]))
        with torch.no_grad():
            model.encoder(x.clone(), attention_mask=mask)
    for one, other in zip(kept["original"], kept["fused"], strict=True):
        assert (one - other).abs().max() <= EXACT * one.abs().max()


def test_fused_attention_is_given_to_the_loaded_model_alone(models):
    from transformers.models.wavlm.modeling_wavlm import WavLMAttention, WavLMModel

    before = WavLMAttention.forward
    encoder = resolve(str(models["wavlm-group"])).load(nothing)
    assert WavLMAttention.forward is before
    assert all("forward" in vars(block.attention) for block in encoder.blocks)
    other = WavLMModel.from_pretrained(models["wavlm-group"])
    assert not any("forward" in vars(block.attention) for block in other.encoder.layers)
