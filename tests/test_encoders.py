"""Encoders of every kind: layers, identities, names; and the spectral ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from encoder_material import LENGTHS, RECORDINGS, SELECTION, assert_alone_equals_batched, nothing, speech
from tiny_models import make_encoder

from orchestrator.encoders import ENCODERS, PRESETS, EncoderSpec
from orchestrator.encoders.hf import CHECKPOINTS, FAMILIES, HfConfig, resolve
from orchestrator.encoders.spectral import SpectralSpec
from orchestrator.errors import UserError
from orchestrator.stage import canonical
from orchestrator.stages.pretraining import Pretraining


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: make_encoder(root / kind, kind) for kind in ("hubert-group", "whisper", "w2v-bert")}


@pytest.mark.parametrize(
    "spec",
    [
        SpectralSpec(),
        SpectralSpec(bins=40, cmn=False),
        SpectralSpec(kind="mfcc", bins=40),
        SpectralSpec(kind="mfcc", deltas=False),
    ],
    ids=["logmel", "logmel-40", "mfcc", "mfcc-static"],
)
def test_spectral_frames_are_finite_repeatable_and_as_many_as_a_hubert_would_give(models, spec):
    waves = [speech(n) for n in (*LENGTHS, 400, 399)] + [np.zeros(8_000, np.float32)]
    encoder, hubert = spec.load(nothing), resolve(str(models["hubert-group"])).load(nothing)
    assert_alone_equals_batched(encoder, waves, [0])
    for ours, theirs in zip(encoder.frames(waves, [0]), hubert.frames(waves, [0]), strict=True):
        assert len(ours[0]) == len(theirs[0])
        assert np.isfinite(ours[0]).all()


def test_mean_normalisation_takes_the_gain_away_and_only_that():
    wave = speech(8_000)
    one, louder = (SpectralSpec().load(nothing).frames([wave * gain], [0])[0][0] for gain in (1.0, 3.0))
    np.testing.assert_allclose(one, louder, atol=2e-3)
    plain, louder = (SpectralSpec(cmn=False).load(nothing).frames([wave * gain], [0])[0][0] for gain in (1.0, 3.0))
    np.testing.assert_allclose(louder - plain, 2 * np.log(3), atol=2e-3)


# All kinds


def specs(models: dict[str, Path]) -> list[EncoderSpec]:
    made = [ENCODERS[kind]().spec(RECORDINGS, SELECTION) for kind in ENCODERS if kind != "hf"]
    return [*made, *(HfConfig(checkpoint=str(folder)).spec(RECORDINGS, SELECTION) for folder in models.values())]


def test_a_layer_that_is_not_there_is_an_error_naming_the_range(models):
    for spec in specs(models):
        for layer in range(spec.layers + 1):
            spec.check_layer(layer)
        for layer in (spec.layers + 1, -1, True):
            with pytest.raises(UserError, match=f"'{spec.name}' has no layer {layer}. It has layer"):
                spec.check_layer(layer)


def test_every_spec_is_a_stable_part_of_an_identity(models):
    forms = [json.dumps(canonical(spec), sort_keys=True) for spec in specs(models)]
    assert forms == [json.dumps(canonical(spec), sort_keys=True) for spec in specs(models)]
    assert len(set(forms)) == len(forms)
    assert all(spec.frame_rate == 50 for spec in specs(models))


def test_the_built_in_configurations_have_the_defaults_of_the_stage():
    spec = ENCODERS["apc"]().spec(RECORDINGS, SELECTION)
    assert spec.pretraining == Pretraining(recordings=RECORDINGS, selection=SELECTION)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError, match="hiden"):
        ENCODERS["apc"].model_validate({"hiden": 3})


# Names


def test_a_known_checkpoint_needs_no_definition():
    """The same encoder by its short name in a grid and in a definition."""
    assert PRESETS.keys() == CHECKPOINTS.keys()
    assert not PRESETS.keys() & ENCODERS.keys()
    for name, config in PRESETS.items():
        assert config == HfConfig.model_validate({"checkpoint": name})
    wanted = "hubert-large wavlm-large wav2vec2-large xlsr-300m mms-300m data2vec-large whisper-large-v3 w2v-bert-2.0"
    assert PRESETS.keys() >= set(wanted.split())
    assert PRESETS["hubert-large"].checkpoint in CHECKPOINTS


def test_every_family_is_the_class_that_its_checkpoints_load_as(models):
    for kind, model_type in (("hubert-group", "hubert"), ("whisper", "whisper"), ("w2v-bert", "wav2vec2-bert")):
        assert type(resolve(str(models[kind])).load(nothing)) is FAMILIES[model_type]


def test_naming_encoders_imports_no_torch():
    code = "import sys, orchestrator.encoders; print(sorted({'torch', 'transformers', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
