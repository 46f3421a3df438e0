"""A plan answers before anything is downloaded or indexed, and marks what it can't know."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from grid_material import artifacts, content, tiny
from rich.console import Console

from orchestrator import space_file
from orchestrator.decoders.memory import Memory
from orchestrator.errors import UserError
from orchestrator.estimates import GPU_BYTES, TrainingMemory
from orchestrator.graph import resolve
from orchestrator.grid import Grid
from orchestrator.plan import Plan
from orchestrator.stage import walk
from orchestrator.stages.features import Features
from orchestrator.store import Store

DISCRETE = {"kind": "discrete", "codebook": 2000, "bpe": 6000}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and nothing in the hub's cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def study(encoders: dict | None = None, decoders: dict | None = None, **changes: Any) -> space_file.Space:
    body = content(
        task="asr", encoder=["hubert-large", "wavlm-large"], layer=21, features=["continuous", DISCRETE, "none"],
        decoder="qwen1.5-0.5b", recipe="paper",
    )  # fmt: skip
    body["recipes"]["paper"] = {"dtype": "bfloat16", "micro_batch_tokens": 16384}
    body["grid"][0] |= changes
    body |= {"encoders": encoders or {}, "decoders": decoders or {}}
    return space_file.parse({**body, "name": "study"})


def shown(plan: Plan) -> str:
    console = Console(file=io.StringIO(), width=1000)
    console.print(plan.render())
    return console.file.getvalue()


def test_a_plan_answers_without_its_checkpoints_and_names_them(tmp_path: Path):
    plan = Grid(study(), tmp_path / "state").plan()
    assert set(plan.absent) == {"hubert-large", "wavlm-large", "Qwen/Qwen1.5-0.5B"}
    assert (plan.cells, plan.finished) == (5, 0)
    needed = {line.stage: line.needed for line in plan.lines}
    assert needed["features"] == needed["codebook"] == 2, "two absent encoders are two encoders"
    (told,) = plan.memories
    assert told.verdict == "fits on one 80 GB GPU" and told.memory.trained > 463_987_712 and not told.is_partial
    text = shown(plan)
    assert "checkpoint Qwen/Qwen1.5-0.5B is not at hand" in text and "hf download" in text
    assert "memory of qwen1.5-0.5b with recipe paper: 42" in text and "activations of the layers" in text
    assert {line.stage: line.time for line in plan.lines}["training"] == "?"
    assert artifacts(tmp_path / "state") == {}
    assert Grid(study(), tmp_path / "state").plan().memories == plan.memories, "remembered, and the same"


def test_eight_billion_weights_fit_with_lora_and_learning_rates_make_no_line_of_their_own(tmp_path: Path):
    space = study(decoder="llama3.1-8b", encoder="hubert-large", recipe="tuned")
    (told,) = Grid(space, tmp_path / "state").plan().memories
    assert told.recipe == "tuned" and told.needed == 1
    assert told.memory.parameters > 8_030_261_248 and told.memory.trained < 1e8


def test_what_nothing_is_known_of_is_marked(tmp_path: Path):
    space = study(
        encoders={"odd": {"kind": "hf", "checkpoint": "org/odd"}},
        decoders={"strange": {"kind": "hf", "checkpoint": "org/strange"}},
        encoder=["odd", "hubert-large"],
        decoder=["strange", "qwen1.5-0.5b"],
        features=["continuous"],
    )
    plan = Grid(space, tmp_path / "state").plan()
    told = {one.decoder: one for one in plan.memories}
    assert told["strange"].memory is None and told["qwen1.5-0.5b"].is_partial
    assert "unknown until its checkpoint is at hand" in shown(plan) and "at least" in shown(plan)
    assert {line.stage: line.bytes for line in plan.lines}["features"] is None


def test_only_a_plan_goes_on_without_checkpoints(tmp_path: Path):
    with pytest.raises(UserError, match=r"doesn't hold 'config.json' of .* 'facebook/hubert-large-ll60k'"):
        resolve(study(), Store(tmp_path / "state"))


def test_a_checkpoint_that_is_nowhere_keeps_a_plan_from_being_made(tmp_path: Path):
    gone = {"gone": {"kind": "hf", "checkpoint": "./gone"}}
    with pytest.raises(UserError, match=r"no checkpoint folder './gone'"):
        Grid(study(encoders=gone, encoder="gone"), tmp_path / "state").plan()


def test_every_layer_of_a_weighted_sum_takes_its_own_disk(tmp_path: Path):
    space = study(layer="weighted", encoder="hubert-large", features=["continuous"])
    graph = resolve(space, Store(tmp_path / "state"), only_cached=True)
    layers = {s.layer for s in walk(*graph.scorings.values()) if isinstance(s, Features)}
    assert layers == set(range(25))


def test_the_verdict_says_how_many_gpus():
    def told(kept: float, passing: float, gpus: int = 1) -> str:
        memory = Memory({"weights": int(kept * GPU_BYTES)}, {"activations": int(passing * GPU_BYTES)}, 1, 1)
        return TrainingMemory("d", "r", gpus, 512, memory).verdict

    assert told(0.5, 0.4) == "fits on one 80 GB GPU"
    assert told(1.5, 0.4) == "needs 3 GPUs of 80 GB, not 1: see gpus of the decoder"
    assert told(1.5, 0.2, gpus=2) == "fits on its 2 GPUs of 80 GB"
    assert told(0.1, 1.1) == "fits on no number of 80 GB GPUs: lower micro_batch_tokens (512) of the recipe"


def test_a_tiny_decoder_is_told_too(tmp_path: Path):
    (told,) = Grid(tiny(), tmp_path / "state").plan().memories
    assert 0 < told.memory.bytes < 1e8 and told.needed == 1
