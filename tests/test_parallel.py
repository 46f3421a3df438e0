"""Trainings by several processes: the numbers of one process, to the order of floating-point sums."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from decoder_material import ASKED, examples, make_checkpoint, speech_spec
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decoders import HfDecoderConfig, Recipe, SpeechLM, TinySpec, TrainingResult, load, save, train
from orchestrator.decoders.parallel import Parallel, Sharded, deal
from orchestrator.errors import StageError

RECIPE = Recipe(
    batch=8, learning_rate=3e-3, warmup_steps=2, max_epochs=2, patience=100, evaluate_every=0.5, micro_batch_tokens=200
)
LORA = {"rank": 4, "alpha": 8}
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"gradient_checkpointing": True},
    "full-vocabulary": {"speech_tokens": "vocabulary"},
    "lora": {"lora": LORA},
    "lora-vocabulary": {"lora": LORA, "speech_tokens": "vocabulary"},
    "lora-bfloat16": {"lora": LORA, "dtype": "bfloat16", "gradient_checkpointing": True},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: make_checkpoint(tmp_path_factory.mktemp(family), family=family) for family in ("llama", "gemma2")}


def make(folder: Path, variant: str = "full", kind: str = "discrete") -> SpeechLM:
    spec = HfDecoderConfig(checkpoint=str(folder), **VARIANTS[variant]).spec()
    return SpeechLM.create(spec, speech_spec(kind), ASKED, [], 0)


def fit(model: SpeechLM, recipe: Recipe = RECIPE, **options: Any) -> TrainingResult:
    kind = model.speech.kind
    return train(model, examples(30, 1, kind), examples(9, 2, kind), recipe, 0, parallel=Parallel.here(), **options)


def together(action: Callable[..., None], tmp_path: Path, *arguments: Any) -> None:
    """Runs an action in two processes of one group; fails if one of them does."""
    meeting = tmp_path / "meeting"
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_member, args=(rank, meeting, action, arguments), daemon=True) for rank in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(120)
    meeting.unlink(missing_ok=True)
    assert [one.exitcode for one in both] == [0, 0]


def _member(rank: int, meeting: Path, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    action(*arguments)
    torch.distributed.destroy_process_group()


def fit_and_save(folder: Path, variant: str, kind: str, to: Path, recipe: Recipe = RECIPE) -> None:
    model = make(folder, variant, kind)
    assert isinstance(Parallel.here(), Sharded)
    result = fit(model, recipe)
    # Whoever of them is asked: the best weights are in the model that each was given.
    save(model, to / str(torch.distributed.get_rank()))
    if Parallel.here().is_first:
        torch.save(result.curve, to / "curve")


def close(curve: list[dict[str, float]], other: list[dict[str, float]], tolerance: float) -> bool:
    exact = ("step", "epoch", "tokens", "flops")
    assert [[row[key] for key in exact] for row in curve] == [[row[key] for key in exact] for row in other]
    keys = ("train_loss", "dev_loss", "dev_error")
    return all(
        a[key] == pytest.approx(b[key], rel=tolerance) for a, b in zip(curve, other, strict=True) for key in keys
    )


def distance(model: SpeechLM, other: SpeechLM) -> float:
    """The largest difference between what was trained of two models."""
    assert model.trained.keys() == other.trained.keys()
    return max((w.float() - other.trained[name].float()).abs().max().item() for name, w in model.trained.items())


@pytest.mark.parametrize(
    ("family", "variant", "kind"),
    [
        ("llama", "full", "continuous"),
        ("gemma2", "full", "discrete"),  # its output layer is its table
        ("llama", "lora", "none"),
        ("llama", "full-vocabulary", "discrete"),
        ("gemma2", "lora-vocabulary", "discrete"),
        ("llama", "lora-bfloat16", "continuous"),
    ],
)
def test_two_processes_give_what_one_gives(family: str, variant: str, kind: str, folders, tmp_path: Path):
    recipe = replace(RECIPE, averaging=0.9, speech_mask=0.1)
    together(fit_and_save, tmp_path, folders[family], variant, kind, tmp_path, recipe)
    model = make(folders[family], variant, kind)
    result = fit(model, recipe)
    # Sums of bfloat16 numbers depend on the batch they are in, also in one process.
    tolerance = 2e-2 if "bfloat16" in variant else 1e-4
    assert close(result.curve, torch.load(tmp_path / "curve", weights_only=True), tolerance)
    first, second = (load(tmp_path / rank) for rank in "01")
    assert distance(model, first) < tolerance
    assert distance(first, second) == 0
    start = make(folders[family], variant, kind)
    assert distance(start, model) > 1e-2  # or it would be no wonder


def interrupted(folder: Path, checkpoint: Path, step: int) -> None:
    calls = iter(range(1, 100))

    def interrupt(done: float, total: float, unit: str) -> None:
        if next(calls) == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(make(folder), RECIPE, checkpoint=checkpoint, progress=interrupt)


def resumed(folder: Path, checkpoint: Path, to: Path) -> None:
    model = make(folder)
    steps: list[float] = []
    result = fit(model, RECIPE, checkpoint=checkpoint, progress=lambda done, total, unit: steps.append(done))
    if Parallel.here().is_first:
        save(model, to / "model")
        torch.save((len(steps), result.curve), to / "result")


@pytest.mark.parametrize("begins", ["one", "two"])
def test_what_one_process_began_two_go_on_with_and_the_other_way_round(begins: str, folders, tmp_path: Path):
    checkpoint = tmp_path / "checkpoint"
    expected = make(folders["llama"])
    result = fit(expected, RECIPE)
    if begins == "one":
        interrupted(folders["llama"], checkpoint, 5)
        together(resumed, tmp_path, folders["llama"], checkpoint, tmp_path)
    else:
        together(interrupted, tmp_path, folders["llama"], checkpoint, 5)
        resumed(folders["llama"], checkpoint, tmp_path)
    steps, curve = torch.load(tmp_path / "result", weights_only=True)
    assert steps == 8 - 4  # of two epochs of four steps, from the last evaluation on
    assert close(result.curve, curve, 1e-4)
    assert distance(expected, load(tmp_path / "model")) < 1e-4


def _lonely(folder: Path, checkpoint: Path) -> None:
    """Only the first process finds the checkpoint."""
    here = Parallel.here()
    with pytest.raises(StageError, match=f"process {here.rank} .* file system that every node sees"):
        fit(make(folder), RECIPE, checkpoint=checkpoint if here.is_first else checkpoint.with_name("elsewhere"))


def test_processes_that_find_different_checkpoints_say_so(folders, tmp_path: Path):
    interrupted(folders["llama"], tmp_path / "checkpoint", 5)
    together(_lonely, tmp_path, folders["llama"], tmp_path / "checkpoint")


def _without_layers(folder: Path) -> None:
    model = make(folder)
    model.lm._no_split_modules = None
    with pytest.raises(StageError, match=r"\(LlamaForCausalLM\) doesn't say what its layers are, .* set gpus: 1"):
        fit(model)


def test_a_decoder_that_cannot_be_shared_out_is_refused(folders, tmp_path: Path):
    together(_without_layers, tmp_path, folders["llama"])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 120), st.integers(1, 6))
def test_every_utterance_of_a_step_counts_once_and_all_take_as_many_passes(lengths, tokens, size):
    hands = deal(lengths, tokens, size)
    assert len({len(hand) for hand in hands}) == 1
    assert sorted(i for hand in hands for group, weight in hand if weight for i in group) == list(range(len(lengths)))
    for hand in hands:
        assert {weight for _, weight in hand} <= {0.0, 1.0}
        assert all(len(group) * max(lengths[i] for i in group) <= max(tokens, max(lengths)) for group, _ in hand)
    if size == 1:
        assert hands == [Parallel().share(lengths, tokens)]
    # Nobody has much more to do than anybody else.
    loads = [sum(lengths[i] for group, weight in hand if weight for i in group) for hand in hands]
    assert max(loads) - min(loads) <= 2 * max(lengths)


def test_one_process_alone_needs_no_group():
    here = Parallel.here()
    model = SpeechLM.create(TinySpec(hidden=16, layers=1), speech_spec("none"), ASKED, ["red"], 0)
    assert type(here) is Parallel and here.is_first and here.size == 1
    assert here.wrap(model) is model and here.sum(1.5, 2.0) == [1.5, 2.0]
