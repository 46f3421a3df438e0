"""What a training takes on its device: told beforehand from configurations, held against what the allocator gives."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from decoder_material import make_checkpoint, speech_spec

from orchestrator.decoders import PRESETS, HfSpec, LoraSettings, Recipe, SpeechLM, SpeechSpec, TinySpec
from orchestrator.decoders.memory import Memory, MicroBatch, peaks, training_memory
from orchestrator.decoders.published import PUBLISHED, configuration

pytestmark = pytest.mark.slow

LOAD = MicroBatch(sequences=2, length=40, speech=20, answers=8)
TINY = TinySpec(hidden=32, layers=3, heads=2, kv_heads=1, intermediate=48, text_vocabulary=300)


def told(decoder: Any = TINY, speech: SpeechSpec | None = None, load: MicroBatch = LOAD, **recipe: Any) -> Memory:
    config = configuration(decoder)
    assert config is not None
    return training_memory(config, decoder, speech or speech_spec("continuous"), Recipe(**recipe), load)


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark, whose comparison with the allocator is the test's, too."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("decoder_memory")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> HfSpec:
    """A checkpoint on disk, in bfloat16 as a frozen decoder is."""
    folder = make_checkpoint(tmp_path_factory.mktemp("small"), family="llama")
    return HfSpec(checkpoint=str(folder), content="c", dtype="bfloat16", lora=LoraSettings(rank=2))


def test_it_is_what_the_allocator_gives_for_a_tiny_decoder(bench):
    cases = list(bench.cases())
    cases = [
        *cases[0:5:2],
        cases[5],
        replace(cases[0], is_alone=True),
        replace(cases[0], speech=speech_spec("discrete")),
    ]
    for case in cases:
        case = replace(case, sequences=2, positions=30, words=5)
        estimate, measured = bench.compare(bench.configuration_of("tiny"), case)
        assert estimate.bytes == pytest.approx(measured, rel=0.25), case.name
        passing = measured - sum(estimate.kept.values())
        assert sum(estimate.passing.values()) == pytest.approx(passing, rel=0.25), case.name


def test_it_is_what_the_allocator_gives_for_a_medium_decoder(bench):
    case = replace(next(bench.cases()), sequences=1, positions=60)
    estimate, measured = bench.compare(bench.configuration_of("medium"), case)
    assert estimate.bytes == pytest.approx(measured, rel=0.25)
    assert estimate.parameters > 25e6


@pytest.mark.parametrize(
    ("load", "again"),
    [(MicroBatch(1, 4, 2, 1), False), (MicroBatch(2, 300, 250, 4), True), (MicroBatch(4, 90, 5, 80), False)],
)
def test_a_few_layers_tell_what_all_of_them_take(load: MicroBatch, again: bool):
    """Whether the table's gradient, the layers or the answers weigh most."""
    decoder = replace(TINY, layers=8, text_vocabulary=2000, gradient_checkpointing=again)
    speech, recipe = speech_spec("continuous"), Recipe(dtype="bfloat16")
    passing = sum(told(decoder, load=load, dtype="bfloat16").passing.values())
    assert passing == max(peaks(configuration(decoder), decoder, speech, recipe, load, layers=8))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("smollm2-135m", 134_515_008),
        ("qwen1.5-0.5b", 463_987_712),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-1.5b", 1_543_714_304),
        ("qwen2.5-3b", 3_085_938_688),
        ("qwen2.5-7b", 7_615_616_512),
        ("llama3.2-1b", 1_235_814_400),
        ("llama3.2-3b", 3_212_749_824),
        ("llama3.1-8b", 8_030_261_248),
    ],
)
def test_published_configurations_have_the_published_number_of_weights(name: str, parameters: int):
    from transformers import AutoModelForCausalLM

    config = configuration(PRESETS[name].of_content("c"))
    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(config)
    assert sum(weight.numel() for weight in lm.parameters()) == parameters


def test_every_decoder_that_a_grid_can_name_has_its_published_configuration():
    assert {preset.checkpoint for preset in PRESETS.values()} == set(PUBLISHED)


@pytest.mark.parametrize(
    ("kind", "tokens"), [("continuous", "own"), ("discrete", "own"), ("none", "own"), ("discrete", "vocabulary")]
)
def test_the_number_of_weights_is_that_of_the_real_model(small: HfSpec, kind: str, tokens: str):
    for decoder in (small, replace(small, lora=None, dtype="float32")):
        decoder = replace(decoder, speech_tokens=tokens)
        model = SpeechLM(decoder._lm(Path(decoder.checkpoint), seed=0), None, speech_spec(kind), decoder)
        memory = told(decoder, speech_spec(kind))
        assert memory.parameters == model.parameters_count
        assert memory.trained == sum(weight.numel() for weight in model.trained.values())
        weights = sum(weight.nbytes for weight in [*model.parameters(), *model.buffers()])
        assert memory.kept["weights"] == weights


def test_more_of_anything_never_takes_less():
    base = told(dtype="bfloat16").bytes
    for larger in ({"layers": 4}, {"hidden": 64}, {"text_vocabulary": 500}):
        assert told(replace(TINY, **larger), dtype="bfloat16").bytes > base, larger
    for longer in ({"sequences": 3}, {"answers": 20}):
        assert told(load=replace(LOAD, **longer), dtype="bfloat16").bytes >= base, longer
    assert told(dtype="bfloat16", averaging=0.9).bytes > base


def test_frozen_half_precise_and_computed_again_take_less(small: HfSpec):
    long = MicroBatch(sequences=4, length=200, speech=100, answers=4)
    assert told(replace(small, gradient_checkpointing=True), load=long).bytes < told(small, load=long).bytes
    # LoRA keeps activations of its own: of a tiny decoder, with few positions only it takes less than all weights do.
    full = told(replace(small, lora=None)).bytes
    assert told(small).bytes < full < told(replace(small, lora=None, dtype="float32")).bytes


def test_several_gpus_share_what_is_kept_and_no_micro_batch():
    memory = Memory({"weights": 100}, {"activations": 30}, 25, 25)
    assert (memory.bytes, memory.on(1), memory.on(2)) == (130, 130, 80)
    assert list(memory.parts) == ["weights", "activations"]


def test_a_checkpoint_of_which_nothing_is_known_has_no_configuration():
    assert configuration(HfSpec(checkpoint="org/strange", content="c")) is None


def test_an_estimate_leaves_the_process_as_it_was():
    """In a process of its own: what libraries import while sizes are told must not stay without values."""
    script = (
        "from orchestrator.decoders import PRESETS, Recipe, SpeechSpec\n"
        "from orchestrator.decoders.memory import MicroBatch, training_memory\n"
        "from orchestrator.decoders.published import configuration\n"
        "decoder = PRESETS['llama3.1-8b'].of_content('unknown')\n"
        "training_memory(configuration(decoder), decoder, SpeechSpec(kind='none'), Recipe(), MicroBatch(1, 64, 1, 8))\n"
        "import numpy as np\n"
        "from orchestrator.encoders.spectral import log_mels\n"
        "print(log_mels(np.random.default_rng(0).normal(size=8000).astype(np.float32), bins=24, cmn=True).shape)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.strip()) == (0, "(24, 24)"), ended.stderr
