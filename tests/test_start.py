"""Stages of training and scoring: a start from another task's model, searching, and what their reports say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Speech
from decoder_material import ASKED, WORDS, examples, make_checkpoint, speech_spec

from orchestrator import corpora
from orchestrator.decoders import HfDecoderConfig, Recipe, SpeechLM, TinySpec, load, save, train
from orchestrator.decoders.batches import collate, prepare
from orchestrator.encoders.spectral import SpectralSpec
from orchestrator.errors import StageError, UserError
from orchestrator.stage import Stage, walk
from orchestrator.stages import annotations as notes
from orchestrator.stages.annotations import Annotations, Selection
from orchestrator.stages.features import Features
from orchestrator.stages.recordings import Recordings
from orchestrator.stages.sample import Sample
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.speech import ContinuousSpeech, DiscreteSpeech, NoSpeech
from orchestrator.stages.training import TaskSpec, Training
from orchestrator.store import Artifact, Store
from tasks.corpora import READERS

TINY = TinySpec(hidden=16, layers=1, heads=2, kv_heads=1, intermediate=24, text_vocabulary=280)
RECIPE = Recipe(batch=8, learning_rate=3e-3, warmup_steps=2, max_epochs=1, patience=9, evaluate_every=0.5)
RECORDED = Recordings(content="c0ffee", corpus="mine")
SAMPLED = Sample(
    recordings=RECORDED,
    selection=Selection(content="5e1ec7", corpus="mine"),
    encoder=SpectralSpec(kind="logmel"),
    layer=0,
    frames=9,
)
FRAMES = ContinuousSpeech(
    features=(Features(recordings=RECORDED, encoder=SAMPLED.encoder, layer=0),), samples=(SAMPLED,), downsample=2
)
ASR = TaskSpec(name="asr", version=1, variant=None, templates=ASKED)


def note(store: Store, column: str, table: pd.DataFrame) -> Annotations:
    stage, rows = notes.annotations("mine", column, table)
    store.put(stage, lambda folder: notes.write_annotations(folder, rows))
    return stage


@dataclass
class Mine:
    """Sentences without speech, with a keyword each: two tasks over the same utterances."""

    store: Store
    rows: list[dict[str, Any]] = field(default_factory=list)

    def make(self) -> Mine:
        for n, example in enumerate(examples(48, 1, "none")):
            split = ("train", "train", "dev", "test")[n % 4]
            keyword = "lights_on" if n % 3 else "door"
            row = {"id": example.id, "speaker": f"s{n % 5}", "split": split}
            self.rows.append(row | {"text": example.target, "keyword": keyword})
        return self

    def training(self, column: str = "text", **fields: Any) -> Training:
        labels = tuple(sorted({row[column] for row in self.rows})) if column == "keyword" else ()
        task = TaskSpec(name="asr" if column == "text" else "keyword", version=1, variant=None, templates=ASKED)
        task = replace(task, labels=labels)
        made = {"task": task, "annotations": note(self.store, column, pd.DataFrame(self.rows)), "speech": NoSpeech()}
        return Training(**made | {"decoder": TINY, "recipe": RECIPE, "seed": 0} | fields)

    def build(self, last: Stage) -> Artifact:
        for stage in walk(last):
            self.store.build(stage)
        return self.store.open(last)

    def weights(self, training: Training) -> dict[str, torch.Tensor]:
        model = load(self.build(training).folder / "model")
        return {name: value.detach() for name, value in model.named_parameters()}

    def report(self, training: Training) -> dict[str, Any]:
        return self.build(training).json("training.json")


@pytest.fixture
def mine(store: Store) -> Mine:
    return Mine(store).make()


def test_a_training_may_start_from_one_of_another_task(mine: Mine):
    first = mine.training("text")
    second = mine.training("keyword", init=first, recipe=replace(RECIPE, learning_rate=1e-12, warmup_steps=0))
    assert first in walk(second) and second.identity != mine.training("keyword", recipe=second.recipe).identity
    before, after = mine.weights(first), mine.weights(second)
    assert before.keys() == after.keys()
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in before.items())
    texts = [json.loads((mine.store.open(s).folder / "model" / "tokenizer.json").read_text()) for s in (first, second)]
    assert texts[0] == texts[1]
    scored = mine.build(Scoring(training=second, annotations=second.annotations))
    answers = pd.read_parquet(scored.file("predictions.parquet"))
    assert set(answers["answer"]) <= {"lights_on", "door"}


def test_the_report_adds_up_the_whole_chain_of_trainings(mine: Mine):
    first = mine.training("text")
    second = mine.training("keyword", init=first)
    third = mine.training("text", init=second, seed=1)
    reports = [mine.report(training) for training in (first, second, third)]
    assert [r["init_steps"] for r in reports] == [0, reports[0]["steps"], reports[0]["steps"] + reports[1]["steps"]]
    seconds = [0, reports[0]["train_seconds"], reports[0]["train_seconds"] + reports[1]["train_seconds"]]
    assert [r["init_train_seconds"] for r in reports] == pytest.approx(seconds, abs=1e-2)


def test_a_start_from_another_decoder_says_what_differs(mine: Mine):
    """Before any work; and the model itself is checked when it is read."""
    first = mine.training("text", decoder=replace(TINY, layers=2))
    second = mine.training("keyword", init=first)
    with pytest.raises(UserError, match=r"differs in layers \(2, not 1\)"):
        second.check()
    mine.build(first)
    with pytest.raises(UserError, match=r"differs in layers \(2, not 1\)"):
        mine.store.build(second)
    with pytest.raises(StageError, match=r"made from another decoder; it differs in layers \(2, not 1\)"):
        load(mine.store.open(first).folder / "model", decoder=TINY)


def test_what_can_be_told_before_any_work_is(mine: Mine):
    plain = mine.training("text")
    plain.check()
    for wrong, told in (
        ({"task": replace(plain.task, templates=("Write.",))}, "exactly once"),
        ({"decoder": replace(TINY, speech_tokens="vocabulary"), "speech": FRAMES}, "for discrete features"),
        ({"init": plain, "speech": FRAMES}, "continuous features can't start from one with none features"),
    ):
        with pytest.raises(UserError, match=told):
            replace(plain, **wrong).check()


@pytest.mark.parametrize(
    ("kind", "other", "told"),
    [
        ("discrete", {"tokens": 30}, r"its speech differs in tokens \(27, not 30\)"),
        ("continuous", {"concatenate": 1}, r"its speech differs in concatenate \(2, not 1\)"),
        ("continuous", {"mean": (1.0,) * 12}, r"its speech differs in mean\."),
    ],
)
def test_a_start_from_other_speech_says_what_differs(kind: str, other: dict[str, Any], told: str):
    start = SpeechLM.create(TINY, speech_spec(kind), ASKED, WORDS, 0)
    with pytest.raises(StageError, match=told):
        SpeechLM.create(TINY, replace(speech_spec(kind), **other), ASKED, WORDS, 0, start=start)


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_a_decoder_from_hugging_face_goes_on_with_the_prompt_of_its_new_task(lora, tmp_path: Path):
    spec = HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path / "lm")), lora=lora).spec()
    first = SpeechLM.create(spec, speech_spec("discrete"), ASKED, [], 0)
    train(first, examples(16, 1, "discrete"), examples(4, 2, "discrete"), RECIPE, 0)
    save(first, tmp_path / "model")
    start = load(tmp_path / "model", decoder=spec)
    asked = ("Which command is it?\n{speech}", "{speech}\nName the command.")
    second = SpeechLM.create(spec, speech_spec("discrete"), asked, [], 5, start=start)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert second.trained.keys() == first.trained.keys()
    assert second.text.prompts == SpeechLM.create(spec, speech_spec("discrete"), asked, [], 0).text.prompts
    assert second.text.prompts != first.text.prompts


def test_a_resumed_training_that_started_from_another_equals_an_uninterrupted_one(mine: Mine, tmp_path: Path):
    first = mine.training("text")
    second = mine.training("keyword", init=first, recipe=replace(RECIPE, max_epochs=2))
    expected = mine.weights(second)
    other = Mine(Store(tmp_path / "other"), mine.rows)
    again = other.training("keyword", init=other.training("text"), recipe=second.recipe)
    assert again.identity == second.identity
    other.build(again.init)
    calls = iter(range(100))

    def interrupt(done: float, total: float, unit: str) -> None:
        if next(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        other.store.build(again, progress=interrupt)
    assert all(torch.equal(value, expected[name]) for name, value in other.weights(again).items())


@pytest.mark.parametrize("column", ["text", "keyword"])
def test_beams_search_in_scoring_and_train_nothing_anew(mine: Mine, column: str):
    trainings = [mine.training(column, recipe=replace(RECIPE, beams=beams)) for beams in (1, 3)]
    assert trainings[0].identity == trainings[1].identity
    scorings = [Scoring(training=t, annotations=t.annotations, beams=t.recipe.beams) for t in trainings]
    assert scorings[0].identity != scorings[1].identity
    metrics = [mine.build(scoring).json("metrics.json") for scoring in scorings]
    assert [m["details"]["beams"] for m in metrics] == [1, 3]


# Sums of layers


@dataclass
class Mapped:
    """Frames that lie elsewhere until their values are asked for, as a memory-mapped file's do."""

    values: np.ndarray
    read: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    @property
    def ndim(self) -> int:
        return self.values.ndim

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self.read += 1
        return np.array(self.values, dtype)


def layered(count: int, seed: int, useful: int = 1):
    """Examples whose frames hold three layers, of which one has the speech and the others noise."""
    made = []
    for number, example in enumerate(examples(count, seed, words=1)):
        chance = np.random.default_rng([seed, number, 3])
        layers = [(3 + 2 * chance.normal(size=example.speech.shape)).astype(np.float16) for _ in range(3)]
        layers[useful] = example.speech
        made.append(replace(example, speech=np.concatenate(layers, 1), target=example.target.split()[0]))
    return made


SUM = replace(speech_spec("continuous"), layers=3, mean=(3.0,) * 36, std=(2.0,) * 36)


def test_a_sum_of_layers_begins_equal_and_comes_before_the_concatenation():
    model = SpeechLM.create(TINY, SUM, ASKED, WORDS, 0).eval()
    assert model.layer_weights == pytest.approx([1 / 3] * 3)
    with torch.no_grad():
        model.front.layers.copy_(torch.tensor([0.0, 2.0, -1.0]))
    shares = torch.tensor(model.layer_weights)
    utterances = prepare(layered(5, 2), model.speech, model.text, model.longest, answered=True)
    [*_, last] = utterances
    frames = torch.from_numpy(last.speech.astype(np.float32))
    frames = torch.cat([frames, frames[-1:].expand(len(frames) % 2, -1)])
    summed = (((frames - 3) / 2).view(len(frames), 3, 12) * shares[:, None]).sum(1)
    expected = model.front.linear(summed.reshape(-1, 24))
    batch = collate([last], model.speech)
    assert torch.allclose(model.front(batch.speech), expected, atol=1e-5)


def test_the_layer_that_has_the_speech_gets_the_weight():
    recipe = Recipe(batch=16, learning_rate=1e-2, warmup_steps=5, max_epochs=6, patience=9)
    model = SpeechLM.create(TINY, SUM, ASKED, WORDS, 0)
    train(model, layered(240, 1), layered(30, 2), recipe, 0)
    assert model.layer_weights[1] == max(model.layer_weights) > 0.4
    assert sum(model.layer_weights) == pytest.approx(1)


def test_a_sum_of_layers_is_saved_and_read_again(tmp_path: Path):
    model = SpeechLM.create(TINY, SUM, ASKED, WORDS, 0).eval()
    with torch.no_grad():
        model.front.layers.copy_(torch.tensor([0.0, 2.0, -1.0]))
    save(model, tmp_path / "model")
    assert load(tmp_path / "model").layer_weights == model.layer_weights


def test_frames_on_the_disk_are_read_when_a_batch_is_laid_out_and_not_before():
    model = SpeechLM.create(TINY, SUM, ASKED, WORDS, 0)
    plain = layered(6, 2)
    mapped = [replace(e, speech=Mapped(e.speech)) for e in plain]
    ours, theirs = (prepare(e, SUM, model.text, model.longest, answered=True) for e in (mapped, plain))
    assert all(e.speech.read == 0 for e in mapped)
    assert torch.equal(collate(ours, SUM).speech, collate(theirs, SUM).speech)
    assert all(e.speech.read == 1 for e in mapped)
    first = SpeechLM.create(TINY, SUM, ASKED, WORDS, 0)
    curves = [train(m, e, plain, RECIPE, 0).curve for m, e in ((model, mapped), (first, plain))]
    assert [row["dev_loss"] for row in curves[0]] == [row["dev_loss"] for row in curves[1]]


# On spoken features


def test_training_on_spoken_features_reports_what_it_learned(speech: Speech):
    store = speech.store
    table = corpora.index("spoken", READERS["synthetic"](preset="smoke"), store).table
    taught = note(store, "text", table[table["split"].isin(("train", "dev"))].assign(speaker=None))
    discrete = DiscreteSpeech(units=speech.units(8), dedup=True)
    frames = ContinuousSpeech(features=(speech.features(),), samples=(speech.sample(),), downsample=2)
    # The encoder of the tests has one layer: it stands for two.
    layers = replace(frames, features=frames.features * 2, samples=frames.samples * 2)
    for stage in walk(discrete.units, *frames.features):
        store.build(stage)
    for kind in (discrete, frames, layers):
        recipe = replace(RECIPE, batch=32)
        first = Training(task=ASR, annotations=taught, speech=kind, decoder=TINY, recipe=recipe, seed=0)
        second = replace(first, init=first, seed=1)
        reports = [store.build(training).json("training.json") for training in (first, second)]
        assert reports[1]["init_steps"] == reports[0]["steps"] > 0
        assert reports[1]["best_dev_loss"] < reports[0]["best_dev_loss"]
        assert reports[0]["trained_parameters"] == reports[0]["parameters"]
        shares = reports[0].get("layer_weights")
        assert shares == pytest.approx([0.5, 0.5], abs=0.1) if kind is layers else shares is None
