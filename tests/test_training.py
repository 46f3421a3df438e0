"""Training: the same for both arms, with one stopping rule, and resumed equal to uninterrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from decoder_material import ASKED, WORDS, examples, make_checkpoint, speech_spec
from pydantic import ValidationError

from orchestrator.decoders import Example, HfDecoderConfig, Recipe, SpeechLM, TinySpec, answer, train
from orchestrator.decoders import training as loop
from orchestrator.decoders.batches import collate, hide, prepare
from orchestrator.errors import StageError
from orchestrator.stage import canonical

TINY = TinySpec(hidden=32, layers=2, heads=2, kv_heads=1, intermediate=48, text_vocabulary=280)
RECIPE = Recipe(
    batch=8,
    learning_rate=3e-3,
    warmup_steps=4,
    max_epochs=4,
    patience=100,
    averaging=0.9,
    speech_mask=0.1,
    answer_mask=0.2,
)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def make(kind: str = "continuous", decoder: TinySpec = TINY) -> SpeechLM:
    return SpeechLM.create(decoder, speech_spec(kind), ASKED, [e.target for e in examples(30, 1)], 0)


def fit(kind: str = "continuous", recipe: Recipe = RECIPE, seed: int = 0, **options):
    model = make(kind)
    return model, train(model, examples(30, 1, kind), examples(10, 2, kind), recipe, seed, **options)


def weights(model: SpeechLM) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def timeless(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in curve]


@pytest.mark.parametrize("kind", ["continuous", "discrete", "none"])
@pytest.mark.parametrize("interrupted_at", [1, 6])
def test_a_resumed_training_equals_an_uninterrupted_one(kind: str, interrupted_at: int, tmp_path: Path):
    """Killed once in the middle of an epoch and once more later; evaluations fall within epochs as well."""
    recipe = replace(RECIPE, evaluate_every=0.5)
    model, result = fit(kind, recipe)

    def interrupt(step: int):
        calls = iter(range(1, 100))

        def progress(done: float, total: float, unit: str) -> None:
            if next(calls) == step:
                raise KeyboardInterrupt

        return progress

    for step in (interrupted_at, 3):
        with pytest.raises(KeyboardInterrupt):
            fit(kind, recipe, checkpoint=tmp_path, progress=interrupt(step))
    again, resumed = fit(kind, recipe, checkpoint=tmp_path)
    assert timeless(resumed.curve) == timeless(result.curve)
    assert same(weights(model), weights(again))
    assert resumed.summary().keys() == result.summary().keys()


def test_a_finished_training_is_not_done_again(tmp_path: Path):
    model, result = fit(checkpoint=tmp_path)
    steps: list[float] = []
    again, resumed = fit(checkpoint=tmp_path, progress=lambda done, total, unit: steps.append(done))
    assert not steps
    assert resumed == result
    assert same(weights(model), weights(again))


@pytest.mark.parametrize("spoil", ["torn", "of another recipe", "of another seed"])
def test_a_checkpoint_that_does_not_belong_is_not_used(spoil: str, tmp_path: Path):
    expected = weights(fit()[0])
    other = {"of another recipe": {"recipe": replace(RECIPE, learning_rate=1e-3)}, "of another seed": {"seed": 1}}
    fit(checkpoint=tmp_path, **other.get(spoil, {}))
    if spoil == "torn":
        [file] = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:5000])
    assert same(weights(fit(checkpoint=tmp_path)[0]), expected)


def test_every_arm_sees_the_same_utterances_in_each_step(monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, list[list[str]]] = {}
    for kind in ("continuous", "discrete", "none"):
        steps: list[list[str]] = []
        original = loop._Training._chosen

        def spy(self, step, steps=steps, original=original):
            chosen = original(self, step)
            ids = {id(u): name for u, name in zip(self.train, self.ids, strict=True)}
            steps.append([ids[id(u)] for u in chosen])
            return chosen

        with monkeypatch.context() as patch:
            patch.setattr(loop._Training, "_chosen", spy)
            # Budgets that cut the arms' steps differently.
            fit(kind, replace(RECIPE, micro_batch_tokens=60 if kind == "discrete" else 500))
        seen[kind] = steps
    assert seen["continuous"] == seen["discrete"] == seen["none"]
    epoch = seen["none"][:4]
    assert [len(step) for step in epoch] == [8, 8, 8, 6]
    assert len({name for step in epoch for name in step}) == 30


def test_micro_batches_shape_memory_and_not_the_training():
    losses = [fit(recipe=replace(RECIPE, micro_batch_tokens=n))[1].curve[-1]["dev_loss"] for n in (1, 100, 10_000)]
    assert np.allclose(losses, losses[0], rtol=1e-3)
    first, second = (canonical(replace(RECIPE, micro_batch_tokens=n)) for n in (1, 100))
    assert first == second != canonical(replace(RECIPE, batch=9))


def test_the_loss_of_a_step_is_the_mean_over_its_answer_tokens():
    """One step of plain gradient descent by hand, on the whole batch at once, moves the weights as the loop does."""
    recipe = Recipe(batch=30, learning_rate=3e-3, max_epochs=1, warmup_steps=0, weight_decay=0.0)
    model = make()
    utterances = prepare(examples(30, 1), model.speech, model.text, model.longest, answered=True)
    batch = collate(utterances, model.speech)
    loss = F.cross_entropy(model(batch), batch.answers)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
    torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0).step()
    trained, result = fit(recipe=replace(recipe, micro_batch_tokens=100))
    assert result.curve[0]["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
    for name, value in trained.named_parameters():
        assert torch.allclose(value, dict(model.named_parameters())[name], atol=2e-4), name


def test_the_best_weights_are_kept_and_the_result_says_where_they_were():
    model, result = fit(recipe=replace(RECIPE, max_epochs=6, learning_rate=0.02))
    best = min(result.curve, key=lambda row: row["dev_loss"])
    assert (result.best_step, result.best_dev_loss) == (best["step"], best["dev_loss"])
    assert result.tokens_to_best == best["tokens"] <= result.tokens
    utterances = prepare(examples(10, 2), model.speech, model.text, model.longest, answered=True)
    batch = collate(utterances, model.speech)
    with torch.no_grad():
        assert F.cross_entropy(model(batch), batch.answers).item() == pytest.approx(best["dev_loss"], rel=1e-4)


def test_a_plateau_stops_the_training_and_a_budget_says_so():
    _, result = fit(recipe=replace(RECIPE, max_epochs=50, minimal_gain=0.9, patience=2))
    assert (result.stopped, len(result.curve)) == ("plateau", 3)
    _, result = fit(recipe=replace(RECIPE, max_epochs=2))
    assert (result.stopped, result.epochs, result.steps) == ("budget", 2.0, 8)


def test_what_is_hidden_in_training_is_speech_and_answers_read_back_never_the_prompt():
    model = make()
    utterances = prepare(examples(30, 1), model.speech, model.text, model.longest, answered=True)
    around = len(model.text.prompts[0].prefix), len(model.text.prompts[0].suffix)
    shares = []
    for utterance in utterances * 20:
        chances = np.random.default_rng([len(shares), 1]), np.random.default_rng([len(shares), 2])
        hidden = hide(utterance, chances, (0.3, 0.5))
        answer_at = around[0] + utterance.positions + around[1]
        assert not hidden[: around[0]].any() and not hidden[answer_at - around[1] : answer_at].any()
        shares.append((hidden[around[0] : answer_at - around[1]].mean(), hidden[answer_at:].mean()))
    assert np.allclose(np.nanmean(shares, axis=0), (0.3, 0.5), atol=0.06)


def test_the_monitor_may_be_the_error_on_dev():
    _, result = fit(recipe=replace(RECIPE, monitor="dev_error"))
    assert result.best_dev_error == min(row["dev_error"] for row in result.curve)


def test_costs_count_real_positions_and_answers():
    model, result = fit(recipe=replace(RECIPE, max_epochs=1))
    utterances = prepare(examples(30, 1), model.speech, model.text, model.longest, answered=True)
    assert result.tokens == sum(u.length for u in utterances)
    assert result.answer_tokens == sum(len(u.answer) for u in utterances)
    assert result.flops > 6 * result.tokens * 1000
    assert result.parameters == sum(p.numel() for p in model.parameters())


def test_training_depends_on_its_seed_alone():
    torch.manual_seed(1)
    first = fit()[0]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = fit()[0]
    assert torch.equal(torch.get_rng_state(), before)
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(fit(seed=1)[0]))


def test_a_diverging_training_says_at_which_step_and_what_to_do():
    with pytest.raises(StageError, match=r"diverged at step 1 .*learning_rate"):
        model = make()
        with torch.no_grad():
            model.front.linear.weight[0, 0] = torch.inf
        train(model, examples(30, 1), examples(10, 2), RECIPE, 0)


def test_an_empty_split_and_an_id_that_occurs_twice_are_errors():
    with pytest.raises(StageError, match="dev split is empty"):
        train(make(), examples(3, 1), [], RECIPE, 0)
    with pytest.raises(StageError, match="occurs twice"):
        train(make(), examples(3, 1) * 2, examples(3, 2), RECIPE, 0)


def test_a_recipe_names_every_value_that_is_wrong_at_once():
    with pytest.raises(ValidationError) as error:
        Recipe(batch=0, monitor="wer", learning_rat=1.0)
    assert {problem["loc"][0] for problem in error.value.errors()} == {"batch", "monitor", "learning_rat"}


def test_a_checkpoint_from_hugging_face_is_trained_whole(tmp_path: Path):
    spec = HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path))).spec()
    model = SpeechLM.create(spec, speech_spec("discrete"), ASKED, [], 0)
    before = weights(model)
    recipe = replace(RECIPE, dtype="bfloat16", label_smoothing=0.1)
    result = train(model, examples(30, 1, "discrete"), examples(10, 2, "discrete"), recipe, 0)
    assert result.curve[-1]["dev_loss"] < result.curve[0]["dev_loss"]
    changed = [name for name, value in weights(model).items() if not torch.equal(value, before[name])]
    assert len(changed) == len(before)


LEARNER = TinySpec(hidden=64, layers=2, heads=2, kv_heads=2, intermediate=128, text_vocabulary=270)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_a_tiny_decoder_learns_to_write_what_it_hears(kind: str):
    recipe = Recipe(batch=16, learning_rate=3e-3, warmup_steps=20, max_epochs=20, patience=5, averaging=0.98)
    training, dev, unheard = (examples(n, seed, kind) for n, seed in ((500, 11), (40, 12), (60, 13)))
    model = SpeechLM.create(LEARNER, speech_spec(kind), ASKED, [e.target for e in training], 0)
    train(model, training, dev, recipe, 0)
    answers = answer(model, unheard, max_new_tokens=20)
    assert np.mean([a != e.target for a, e in zip(answers, unheard, strict=True)]) < 0.1


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_a_tiny_decoder_learns_to_classify_what_it_hears(kind: str):
    """And without speech it can only guess."""
    recipe = Recipe(batch=16, learning_rate=3e-3, warmup_steps=20, max_epochs=5, patience=3)
    correct = {}
    for arm in (kind, "none"):
        training, dev, unheard = (_first_words(n, seed, arm) for n, seed in ((240, 21), (30, 22), (60, 23)))
        model = SpeechLM.create(TINY, speech_spec(arm), ASKED, [e.target for e in training], 0)
        train(model, training, dev, recipe, 0)
        answers = answer(model, unheard, labels=WORDS)
        correct[arm] = np.mean([a == e.target for a, e in zip(answers, unheard, strict=True)])
    assert correct[kind] > 0.9
    assert correct["none"] < 0.5


def _first_words(count: int, seed: int, kind: str) -> list[Example]:
    return [replace(e, target=e.target.split()[0]) for e in examples(count, seed, kind, words=1)]


def test_the_hidden_answers_are_the_same_however_long_the_speech_is():
    model = make()
    masks = []
    for frames in (5, 50):
        speech = np.zeros((frames, model.speech.dimension), np.float32)
        [utterance] = prepare(
            [Example(id="a", speech=speech, target="open the door")],
            model.speech,
            model.text,
            model.longest,
            answered=True,
        )
        chances = np.random.default_rng([0, 1]), np.random.default_rng([0, 2])
        masks.append(hide(utterance, chances, (0.3, 0.5))[-len(utterance.answer) + 1 :])
    assert np.array_equal(*masks)
