"""Invariants of the tasks, their metrics and their trivial baselines."""

import itertools
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.errors import StageError, UserError
from tasks import TASKS, Task
from tasks.metrics import HIGHER_IS_BETTER, basic, direction, measure

SENTENCES = [
    "please turn on the light in the kitchen",
    "what is the weather like today in the old town",
    "play some quiet music for me and the children",
    "stop the timer now and call my brother",
]
LABELS = ["yes", "no", "yes", "stop"]
VARIANTS = [(task, variant) for task in TASKS.values() for variant in task.variants or (None,)]
NAMES = [f"{task.name}-{variant}" if variant else task.name for task, variant in VARIANTS]

words = st.lists(st.sampled_from("abcde"), min_size=1, max_size=6).map(" ".join)
answers = st.lists(st.sampled_from("abcde"), max_size=8).map(" ".join)
pairs = st.lists(st.tuples(words, answers), min_size=1, max_size=8)


def targets(task: Task) -> list[str]:
    return LABELS if task.kind == "classification" else SENTENCES


def test_the_six_tasks_are_registered_by_their_names():
    assert list(TASKS) == ["asr", "phoneme", "translation", "intent", "keyword", "emotion"]
    assert all(name == task.name for name, task in TASKS.items())


@pytest.mark.parametrize(("task", "variant"), VARIANTS, ids=NAMES)
def test_perfect_answers_have_the_best_score(task, variant):
    texts = targets(task) if variant != "zh" else ["请把厨房里的灯打开", "今天老城的天气怎么样呢"]
    for metric, value in task.score(texts, texts, variant).items():
        best = {"bleu": 100, "chrf": 100}.get(metric, 1 if HIGHER_IS_BETTER[metric] else 0)
        assert value == pytest.approx(best), metric


@pytest.mark.parametrize(("task", "variant"), VARIANTS, ids=NAMES)
def test_empty_answers_are_answers_and_score_the_worst(task, variant):
    scores = task.score(targets(task), [""] * 4, variant)
    assert set(scores) == set(task.metrics)
    for metric, value in scores.items():
        assert value == (0 if HIGHER_IS_BETTER[metric] else 1), metric


@pytest.mark.parametrize(("task", "variant"), VARIANTS, ids=NAMES)
def test_the_order_of_utterances_does_not_matter(task, variant):
    references = targets(task)
    said = [references[1], references[1], "", references[3]]
    scores = task.score(references, said, variant)
    for order in itertools.permutations(range(4)):
        again = task.score([references[i] for i in order], [said[i] for i in order], variant)
        assert again == pytest.approx(scores)


def distance(reference: list[str], answer: list[str]) -> int:
    row = list(range(len(answer) + 1))
    for i, r in enumerate(reference, 1):
        last, row[0] = row[0], i
        for j, a in enumerate(answer, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (r != a))
    return row[-1]


@settings(max_examples=50, deadline=None)
@given(pairs)
@example([("a", "b"), ("a b c d e", "a b c d e")])
def test_error_rates_are_ratios_of_sums(pairs):
    references, said = zip(*pairs, strict=True)
    errors = [distance(r.split(), a.split()) for r, a in pairs]
    lengths = [len(r.split()) for r in references]
    for metric in ("wer", "per"):
        assert measure(metric, references, said) == pytest.approx(sum(errors) / sum(lengths))


def test_a_ratio_of_sums_is_not_a_mean_of_ratios():
    assert measure("wer", ["a", "a b c d e"], ["b", "a b c d e"]) == pytest.approx(1 / 6)  # The mean would be 1/2.


def test_macro_f1_averages_over_the_labels_of_the_references_only():
    # yes: F1 2/3; no: F1 0. `stop` is said but never right, and counts only as an error.
    assert measure("macro_f1", ["yes", "yes", "no"], ["yes", "stop", "stop"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", sorted(HIGHER_IS_BETTER))
def test_a_metric_refuses_empty_references_and_lists_of_other_lengths(metric):
    for references, said in ((["a", " "], ["a", "b"]), (["a"], []), ([], [])):
        with pytest.raises(StageError):
            measure(metric, references, said)


def test_directions_are_signs_and_an_unknown_metric_names_the_nearest():
    assert {metric: direction(metric) for metric in ("wer", "bleu")} == {"wer": -1, "bleu": 1}
    with pytest.raises(UserError, match="did you mean 'bleu'"):
        direction("blue")


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert basic(basic(text)) == basic(text)


def test_what_says_something_is_what_is_left_of_it_for_every_character():
    for character in map(chr, range(sys.maxunicode + 1)):
        assert TASKS["asr"].says(character) == bool(basic(character)), hex(ord(character))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Don’t   STOP, well-known Ｆｕｌｌ　width! ", "don't stop well known full width"),
        ("it's 'fine' …", "it's 'fine'"),
        ("\ufeffStraße\u200b", "straße"),
        ("?!", ""),
    ],
)
def test_the_normaliser_keeps_words_and_apostrophes(text, normal):
    assert basic(text) == normal


def test_only_asr_is_normalised_and_every_result_says_how():
    assert {name: task.normaliser for name, task in TASKS.items() if task.normaliser != "none"} == {"asr": "basic-1"}
    assert TASKS["asr"].score(["Turn it ON!"], ["turn it on"])["wer"] == 0
    assert TASKS["phoneme"].score(["T ER N"], ["t er n"])["per"] == 1
    assert TASKS["asr"].details() == {"normaliser": "basic-1", "signature": {}}


def test_translations_are_tokenised_for_their_language_and_carry_the_signature():
    task = TASKS["translation"]
    for variant, tokenizer, language in (("de", "13a", "German"), ("zh", "zh", "Chinese")):
        signature = task.details(variant)["signature"]
        assert f"tok:{tokenizer}|" in signature["bleu"] and "version:" in signature["chrf"]
        assert task.templates_for(variant) == (f"Translate the speech into {language}.\n{{speech}}",)
        asked = task.templates_for(variant, ("{speech} in {language}?", "Say it in {language}: {speech}"))
        assert asked == (f"{{speech}} in {language}?", f"Say it in {language}: {{speech}}")
        assert task.column_for(variant) == f"translation_{variant}"
    # Without word boundaries the default tokenizer sees one long word, and a nearly right answer scores nothing.
    assert task.score(["请把厨房里的灯打开吧"], ["请把厨房里的灯关上吧"], "zh")["bleu"] > 30


def test_variants_are_asked_for_and_refused():
    with pytest.raises(UserError, match="did you mean 'de'"):
        TASKS["translation"].column_for("dee")
    with pytest.raises(UserError, match="one of its variants, and none was given"):
        TASKS["translation"].templates_for()
    with pytest.raises(UserError, match="has no variants"):
        TASKS["asr"].score(["a"], ["a"], "de")


@given(st.lists(st.sampled_from("abc"), min_size=1), st.integers(0, 5))
def test_the_baseline_of_a_classification_is_the_commonest_training_label(labels, n):
    guess = TASKS["keyword"].baseline(labels, n)
    assert len(guess) == n
    assert all(labels.count(guess[0]) >= labels.count(label) for label in labels) if n else guess == []


def test_equal_labels_are_guessed_by_name_and_sequences_by_nothing():
    assert TASKS["intent"].baseline(["b", "a", "b", "a"], 2) == ["a", "a"]
    assert TASKS["asr"].baseline(["hello"], 2) == ["", ""]
    with pytest.raises(StageError, match="no training label"):
        TASKS["intent"].baseline([], 2)
