"""The best configuration: chosen on dev, within a budget, and never by the test set."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_matrix import record

from orchestrator.best import best, parse_budget
from orchestrator.commands.common import told
from orchestrator.errors import UserError
from orchestrator.matrix import Matrix
from orchestrator.report import best_table


def cell(dev: float, test: float = 0.5, bits: float = 100.0, seconds: float = 10.0, **given: Any) -> dict[str, Any]:
    """A finished record with these scores and costs."""
    found = record(value=test, **({"features": "discrete", "codebook": 100} | given))
    primary = found["primary"]
    found["dev"] = {primary: dev}
    found["cost"] = {**found["cost"], "bits_per_second": bits, "train_seconds": seconds}
    return found


def winner(cells: list[dict[str, Any]], *budget: str) -> dict[str, Any]:
    (choice,) = best(Matrix("mine", cells), "asr", parse_budget(budget))
    return choice.winner.coordinates


def shown(choices: list[Any]) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(best_table.terminal(choices, {}))
    return console.file.getvalue()


scores = st.floats(0.01, 1, allow_nan=False)


@given(st.lists(st.tuples(scores, scores, st.floats(1, 1e6)), min_size=1, max_size=8), st.floats(1, 1e6))
def test_no_configuration_within_the_budget_is_better_on_dev_than_the_winner(rows, limit):
    cells = [cell(dev, test, bits, codebook=10 + i) for i, (dev, test, bits) in enumerate(rows)]
    fitting = [dev for dev, _, bits in rows if bits <= limit]
    if not fitting:
        with pytest.raises(UserError, match="the least is"):
            winner(cells, f"bitrate={limit!r}")
        return
    (choice,) = best(Matrix("mine", cells), "asr", {"bits_per_second": limit})
    assert choice.winner.dev == min(fitting) and len(choice.within) + len(choice.beyond) == len(rows)


@given(scores, scores)
def test_the_test_score_plays_no_part(one, other):
    cells = [cell(0.2, one, codebook=10), cell(0.3, other, codebook=20)]
    assert winner(cells)["codebook"] == 10


def test_a_score_that_is_better_when_higher_is_maximised():
    cells = [cell(0.2, primary="accuracy", codebook=10), cell(0.9, primary="accuracy", codebook=20)]
    assert winner(cells)["codebook"] == 20


def test_seeds_are_averaged_and_a_lucky_one_does_not_win():
    lucky = [cell(dev, codebook=10, seed=seed) for seed, dev in enumerate((0.1, 0.9))]
    steady = [cell(dev, codebook=20, seed=seed) for seed, dev in enumerate((0.3, 0.3))]
    assert winner(lucky + steady)["codebook"] == 20


def test_of_equals_the_one_of_fewer_bits_wins():
    assert winner([cell(0.2, bits=300, codebook=10), cell(0.2, bits=30, codebook=20)])["codebook"] == 20


def test_several_limits_hold_together_and_the_lower_of_two_counts():
    cells = [cell(0.1, bits=300, seconds=5, codebook=10), cell(0.2, bits=30, seconds=50, codebook=20)]
    cells.append(cell(0.3, bits=30, seconds=5, codebook=30))
    assert winner(cells, "bitrate=100", "train_seconds=20")["codebook"] == 30
    assert winner(cells, "bitrate=1000", "bitrate=100")["codebook"] == 20


def test_a_cost_that_was_not_measured_fits_no_budget():
    with pytest.raises(UserError, match="first_token_seconds: not measured for 1 of 1"):
        winner([cell(0.2)], "latency=1")


def test_the_decoder_without_speech_is_never_the_best():
    assert winner([cell(0.1, features="none", codebook=None), cell(0.9)])["features"] == "discrete"


def test_every_corpus_and_variant_has_a_best_of_its_own():
    cells = [cell(dev, corpus=corpus, codebook=k) for corpus, k, dev in (("a", 1, 0.2), ("a", 2, 0.3), ("b", 3, 0.9))]
    choices = best(Matrix("mine", cells), "asr", {})
    assert [(c.question["corpus"], c.winner.coordinates["codebook"]) for c in choices] == [("a", 1), ("b", 3)]


def test_configurations_are_compared_over_the_folds_that_all_have_finished():
    easy, hard = {"fold": "1", "seed": 0}, {"fold": "2", "seed": 0}
    cells = [cell(0.2, codebook=10, **easy), cell(0.1, codebook=20, **easy), cell(0.6, codebook=20, **hard)]
    (choice,) = best(Matrix("mine", cells), "asr", {})
    assert choice.winner.coordinates["codebook"] == 20 and choice.winner.dev == 0.1
    assert "over the 1 that every configuration has finished" in shown([choice])


def test_configurations_that_differ_in_their_learning_rate_alone_have_different_names():
    cells = [cell(dev, recipe=f"tuned/lr={rate}") for dev, rate in ((0.2, 1e-5), (0.3, 1e-4))]
    assert all(recipe in shown(best(Matrix("mine", cells), "asr", {})) for recipe in ("1e-05", "0.0001"))


def test_a_space_with_nothing_that_hears_is_told_so():
    with pytest.raises(UserError, match="hears speech"):
        best(Matrix("mine", [cell(0.1, features="none", codebook=None)]), "asr", {})


def test_a_test_score_that_is_no_number_is_left_out():
    (choice,) = best(Matrix("mine", [cell(0.2, test=float("nan"))]), "asr", {})
    assert choice.winner.tests == {} and "NaN" not in best_table.to_json([choice], {}) and shown([choice])


def test_unfinished_configurations_are_counted_and_nothing_finished_is_an_error():
    missing = record("missing", features="discrete", codebook=9)
    (choice,) = best(Matrix("mine", [cell(0.2), missing]), "asr", {})
    assert choice.unfinished == 1
    with pytest.raises(UserError, match="run the space first"):
        best(Matrix("mine", [missing]), "asr", {})


def test_a_task_that_the_space_does_not_have_gets_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'asr'"):
        best(Matrix("mine", [cell(0.2)]), "asrr", {})


def test_every_wrong_entry_of_a_budget_is_named_at_once():
    with pytest.raises(UserError) as told:
        parse_budget(["bitrat=5", "latency", "flops=-1", "rtf=fast", "train_seconds=nan"])
    for entry in ("bitrat", "latency", "flops", "rtf", "train_seconds"):
        assert f"'{entry}" in str(told.value)
    assert "did you mean 'bitrate'" in str(told.value)


def test_json_names_the_cells_that_can_be_exported():
    cells = [cell(0.2, seed=0), cell(0.2, seed=1)]
    body = json.loads(best_table.to_json(best(Matrix("mine", cells), "asr", {}), {}))
    (choice,) = body["choices"]
    assert choice["best"]["cells"] == [one["cell"] for one in cells] and choice["best"]["dev"] == 0.2


def test_the_command_tells_the_winner_and_what_to_do_with_it(tokengrid, tmp_path):
    code, out, err = tokengrid("best", "demo", "--task", "asr", "--store", tmp_path / "state")
    assert (code, out) == (2, "") and "run the space first" in err
    choices = best(Matrix("mine", [cell(0.2)]), "asr", {})
    console = Console(file=io.StringIO(), width=200)
    console.print(
        best_table.terminal(choices, {}, told("my store")), best_table.terminal(choices, {}, told(".tokengrid"))
    )
    (named, bare) = [line for line in console.file.getvalue().splitlines() if "export" in line]
    assert named.rstrip().endswith("FOLDER --store 'my store'") and bare.rstrip().endswith("FOLDER")
