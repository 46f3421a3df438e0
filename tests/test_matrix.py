"""The matrix loses no cell and no digit, whatever it is written as."""

import csv
import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.matrix import COORDINATES, COST, KEYS, STATUSES, Matrix
from orchestrator.report import FIGURES, draw
from orchestrator.report.layout import COLUMN, ROW

TASKS = {  # primary metric, trivial baseline, `none`, best value to be had
    ("asr", None): ("wer", 1.0, 0.93, 0.11),
    ("phoneme", None): ("per", 1.0, 0.81, 0.08),
    ("translation", "de"): ("bleu", 0.0, 9.3, 71.2),
    ("intent", None): ("accuracy", 0.09, 0.08, 0.97),
    ("keyword", None): ("accuracy", 0.11, 0.1, 0.99),
    ("emotion", None): ("accuracy", 0.26, 0.25, 0.88),
}
ARMS = (
    {"features": "continuous", "downsample": 2},
    {"features": "discrete", "codebook": 100, "codebook_seed": 0, "dedup": True},
    {"features": "discrete", "codebook": 250, "codebook_seed": 0, "dedup": True},
    {"features": "discrete", "codebook": 250, "codebook_seed": 0, "dedup": True, "bpe": 500},
    {"features": "none"},
)


def record(
    status: str = "ok", reason: str | None = None, value: float = 0.5, baseline: float | None = 1.0, **given: object
) -> dict:
    """A record of the contract: every key, null where it does not apply."""
    at = {name: given.pop(name, None) for name in COORDINATES}
    at |= {"decoder": at["decoder"] or "tiny", "recipe": at["recipe"] or "demo", "seed": at["seed"] or 0}
    at |= {
        "task": at["task"] or "asr",
        "corpus": at["corpus"] or "synthetic",
        "features": at["features"] or "continuous",
    }
    if at["features"] != "none":
        at |= {"encoder": at["encoder"] or "apc", "layer": 1 if at["layer"] is None else at["layer"]}
    primary = given.pop("primary", "wer")
    name = hashlib.sha256(json.dumps(at).encode()).hexdigest()[:16]
    body = dict.fromkeys(KEYS) | {"cell": name} | at | {"status": status, "reason": reason, "primary": primary}
    if status == "ok":
        metrics = {primary: value, "macro_f1": value / 2} if primary == "accuracy" else {primary: value}
        cost = {"train_seconds": 31.25, "steps": 420, "epochs": 12.5, "tokens": 801_234, "trials_at_once": 2}
        cost |= {"tokens_per_second_of_audio": 21.7, "bits_per_second": 173.2}
        body |= {"stopped": "plateau", "dev": {primary: value}, "metrics": metrics, "baseline": baseline, "cost": cost}
        body["results"] = [
            {"test_set": "test", "split": "test", "n": 120, "metrics": metrics, "baseline": baseline},
        ]
    return body | given


def demo(space: str = "demo") -> Matrix:
    """30 cells as the demo has them: 27 finished (one by its budget, one no better than guessing), the others not."""
    cells = []
    for (task, variant), (primary, baseline, none, best) in TASKS.items():
        for i, arm in enumerate(ARMS):
            value = none if arm["features"] == "none" else best + (none - best) * i * 0.17
            cells.append(record(task=task, variant=variant, primary=primary, value=value, baseline=baseline, **arm))
    for place, status, reason in (
        (3, "failed", "diverged at step 210: the loss is | not a number"),
        (8, "missing", None),
    ):
        cells[place] = record(
            status, reason, primary=cells[place]["primary"], **{k: cells[place][k] for k in COORDINATES}
        )
    cells[16] = record(
        "stale", "trained by an older version", primary="accuracy", **{k: cells[16][k] for k in COORDINATES}
    )
    cells[1]["stopped"] = "budget"
    cells[28] |= {"metrics": {"accuracy": 0.2}, "results": [cells[28]["results"][0] | {"metrics": {"accuracy": 0.2}}]}
    return Matrix(space, cells)


def printed(matrix: Matrix, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(matrix.table(width))
    return console.file.getvalue()


def test_json_is_the_contract():
    body = json.loads(demo().to_json())
    assert list(body) == ["space", "cells"] and body["space"] == "demo" and len(body["cells"]) == 30
    for cell in body["cells"]:
        assert tuple(cell) == KEYS
        assert cell["status"] in STATUSES
        assert (cell["cost"] is None) == (cell["status"] != "ok")


def test_every_coordinate_has_a_place_in_the_layout():
    assert {*ROW, *COLUMN, "seed"} == set(COORDINATES)


numbers = st.none() | st.integers(-(2**40), 2**40) | st.floats()
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
records = st.builds(
    record,
    status=st.sampled_from(STATUSES),
    reason=st.none() | texts,
    value=st.floats(0, 1) | st.floats(),
    baseline=st.none() | st.floats(),
    task=st.sampled_from(["asr", "keyword"]),
    features=st.sampled_from(["continuous", "discrete", "none"]),
    codebook=st.none() | st.integers(1, 9999),
    bpe=st.none() | st.integers(1, 9999),
    dedup=st.none() | st.booleans(),
    recipe=texts,
    seed=st.integers(0, 3),
)
spaces = st.lists(records, max_size=12, unique_by=lambda r: json.dumps([r[name] for name in COORDINATES]))


@given(texts, spaces)
@settings(max_examples=60, deadline=None)
def test_json_is_strict_and_comes_back_as_it_was_written(space, cells):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = Matrix(space, cells).to_json()
    json.loads(text, parse_constant=refuse)
    again = Matrix.from_json(text)
    assert again.to_json() == text
    for ours, theirs in zip(cells, again.cells, strict=True):
        assert {name: ours[name] for name in COORDINATES} == {name: theirs[name] for name in COORDINATES}


@given(spaces)
@settings(max_examples=40, deadline=None)
def test_every_rendering_takes_every_matrix(cells):
    matrix = Matrix("any [bold]space[/]", cells)
    for text in (matrix.to_csv(), matrix.to_markdown(), matrix.to_html(), printed(matrix)):
        assert text
    assert len(matrix.frame()) == len(cells)
    assert "<script" not in matrix.to_html()


@given(spaces, st.randoms())
@settings(max_examples=40, deadline=None)
def test_no_cell_is_lost_between_the_records_and_the_layout(cells, random):
    def count(status: str, of: list) -> int:
        layout = Matrix("s", of).layout
        return sum(entry.status == status for line in layout.entries for entry in line)

    alone = [cell | {"seed": 0} for cell in cells]
    alone = list({json.dumps([cell[name] for name in COORDINATES]): cell for cell in alone}.values())
    counted = {status: count(status, alone) for status in ("failed", "stale")}
    assert counted == {s: sum(c["status"] == s for c in alone) for s in counted}
    random.shuffle(alone)
    assert counted == {status: count(status, alone) for status in counted}


def test_csv_has_the_cells_of_the_json_with_whole_numbers_whole():
    matrix = demo()
    rows = list(csv.DictReader(io.StringIO(matrix.to_csv())))
    cells = json.loads(matrix.to_json())["cells"]
    assert [row["cell"] for row in rows] == [cell["cell"] for cell in cells]
    for row, cell in zip(rows, cells, strict=True):
        for name in COORDINATES:
            assert row[name] == ("" if cell[name] is None else str(cell[name]))
        for name in COST:
            value = (cell["cost"] or {}).get(name)
            assert (row[f"cost_{name}"] == "") if value is None else (float(row[f"cost_{name}"]) == value)
        for name, value in (cell["metrics"] or {}).items():
            assert float(row[name]) == value
        assert row["status"] == cell["status"]


def test_the_frame_keeps_metrics_of_further_test_sets():
    cell = record(value=0.1)
    cell["results"].append(cell["results"][0] | {"test_set": "test-other", "metrics": {"wer": 0.3}})
    frame = Matrix("two", [cell, record("missing", layer=2)]).frame()
    assert frame.loc[0, ["value", "wer", "test-other.wer"]].tolist() == [0.1, 0.1, 0.3]
    assert frame.loc[1, ["value", "wer", "test-other.wer"]].isna().all()
    assert Matrix("none", []).frame().empty


def test_a_test_set_is_a_column_of_its_own():
    cell = record(value=0.1)
    cell["results"].append(cell["results"][0] | {"test_set": "test-other", "metrics": {"wer": 0.3}, "baseline": 0.9})
    layout = Matrix("two", [cell, record("failed", "boom", layer=2)]).layout
    assert [column.title for column in layout.columns] == ["asr test", "asr test-other"]
    assert [[entry.text for entry in line] for line in layout.entries] == [
        ["10.0", "30.0"],
        ["failed", "failed"],
        ["100.0", "90.0"],
    ]


def test_a_row_is_named_by_what_varies_and_the_rest_is_said_once():
    layout = demo().layout
    assert layout.labels == ["features", "codebook", "bpe"]
    assert [layout.label(row) for row in layout.rows] == [
        ["continuous", "–", "–"],
        ["discrete", "100", "–"],
        ["discrete", "250", "–"],
        ["discrete", "250", "500"],
        ["none", "–", "–"],
        ["baseline", "", ""],
    ]
    assert "encoder apc · layer 1" in layout.caption and "codebook" not in layout.caption.replace("codebook seed", "")


def test_the_name_of_a_cell_s_own_corpus_does_not_tear_a_row_apart():
    own = [record(task=t, corpus=t, features="discrete", codebook=100, codebook_corpus=t) for t in ("asr", "keyword")]
    assert len([row for row in Matrix("s", own).layout.rows if row.kind == "speech"]) == 1
    lent = [*own, own[1] | {"codebook_corpus": "asr"}]
    assert len([row for row in Matrix("s", lent).layout.rows if row.kind == "speech"]) == 2


def test_nothing_is_cut_in_a_terminal_of_a_hundred_characters():
    text = printed(demo())
    assert "…" not in text and max(map(len, text.splitlines())) <= 100
    for word in ("translation", "failed", "missing", "stale", "24.9†", "20.0‡", "WER % ↓", "BLEU ↑", "acc % ↑"):
        assert word in text
    assert "diverged at step 210" in text and "trained by an older version" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_columns_that_do_not_fit_go_into_a_further_table(width):
    text = printed(demo(), width)
    assert max(map(len, text.splitlines())) <= width
    for word in ("asr", "translation", "emotion", "71.2", "88.0", "tokens"):
        assert word in text


def test_the_best_is_bold_whichever_way_the_metric_points():
    layout = demo().layout
    best = [[line[c].text for line in layout.entries if line[c].best] for c in range(len(layout.columns))]
    assert best == [["11.0"], ["8.0"], ["71.2"], ["97.0"], ["99.0"], ["88.0"]]
    assert "**11.0**" in demo().to_markdown() and '<td class="best">11.0' in demo().to_html()


def test_a_cell_has_learned_only_if_it_beats_none_and_the_baseline():
    def marks(value: float, none: float, baseline: float) -> str:
        cells = [record(value=value, baseline=baseline), record(features="none", value=none, baseline=baseline)]
        return Matrix("s", cells).layout.entries[0][0].marks

    assert marks(0.5, none=0.9, baseline=1.0) == ""
    assert marks(0.9, none=0.9, baseline=1.0) == "‡"
    assert marks(0.95, none=0.9, baseline=1.0) == "‡"
    assert marks(0.95, none=1.2, baseline=1.0) == ""
    # `none` of another decoder is no judge.
    cells = [record(value=0.5), record(value=0.4, features="none", decoder="large"), record(value=0.6, features="none")]
    assert Matrix("s", cells).layout.entries[0][0].marks == ""


def test_seeds_share_a_place_with_mean_and_spread():
    values = (0.1, 0.2, 0.4)
    cells = [record(seed=seed, value=value) for seed, value in enumerate(values)]
    layout = Matrix("s", cells).layout
    assert layout.entries[0][0].text == f"{100 * np.mean(values):.1f} ±{100 * np.std(values, ddof=1):.1f}"
    assert len(Matrix("s", cells).frame()) == 3
    cells[1] = record("failed", "boom", seed=1)
    assert Matrix("s", cells).layout.entries[0][0].text == "25.0 ±21.2 (2/3)"
    assert "boom" in Matrix("s", cells).to_markdown()


def test_costs_are_compared_over_the_columns_that_every_row_has_finished():
    costly = record(task="asr", layer=2) | {"cost": dict.fromkeys(COST, 1000)}
    cheap = [
        record(task=task, layer=layer) | {"cost": dict.fromkeys(COST, 10)} for task in ("asr", "x") for layer in (1,)
    ]
    layout = Matrix("s", [costly, *cheap, record("failed", "boom", task="x", layer=2)]).layout
    assert [line[0] for line in layout.costs if line] == ["1,000", "10"]
    assert "over the column that every row" in layout.cost_caption
    assert "x" in [column.title for column in layout.columns]


def test_reasons_are_told_once_with_the_place_of_the_log():
    cells = [record("failed", "no <space> left", layer=layer) | {"log": "/logs/a.txt"} for layer in range(5)]
    layout = Matrix("s", cells).layout
    assert len(layout.problems) == 1
    assert "and 2 more: no <space> left (log: /logs/a.txt)" in layout.problems[0]
    assert "no &lt;space&gt; left" in Matrix("s", cells).to_html()


def test_text_from_records_stays_one_cell_of_a_markdown_table():
    table = demo().to_markdown().split("\n\n")[2].splitlines()
    assert len({line.count("|") - line.count("\\|") for line in table}) == 1
    assert "the loss is \\| not a number" in demo().to_markdown()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn_for_small_empty_and_large_spaces(name, tmp_path):
    large = [
        record(task=task, layer=layer, value=layer / 30, primary="accuracy", baseline=0.1, **arm)
        for task in ("intent", "keyword", "emotion")
        for layer in range(14)
        for arm in ARMS[:4]
    ]
    for i, matrix in enumerate(
        (demo(), Matrix("empty", []), Matrix("all missing", [record("missing")]), Matrix("l", large))
    ):
        draw(name, matrix).savefig(tmp_path / f"{i}.png")
        assert (tmp_path / f"{i}.png").read_bytes().startswith(b"\x89PNG")


def test_colours_run_from_guessing_to_the_best_of_the_column():
    from orchestrator.report.heatmap import scores

    layout = demo().layout
    for c, column in enumerate(layout.columns):
        entries = [line[c] for line in layout.entries]
        found = scores(entries, column, layout.floors[c])
        assert all(0 <= score <= 1 for score in found)
        assert all((score == 1) == entry.best for entry, score in zip(entries, found, strict=True))
        guesses = [score for row, score in zip(layout.rows, found, strict=True) if row.kind != "speech"]
        assert guesses == [0, 0]
        turned = scores(
            [replace(e, value=e.value and -e.value) for e in entries],
            replace(column, better=-column.better),
            -layout.floors[c],
        )
        assert turned == pytest.approx(found)


def test_a_recipe_for_each_task_never_tears_the_rows_of_the_demo_apart():
    from orchestrator.space_file import load

    absent = dict.fromkeys(("reason", "stopped", "dev", "metrics", "baseline", "cost"))
    cells = [
        {"cell": cell.id, **cell.coordinates, "status": "missing", "primary": "accuracy", "results": [], **absent}
        for cell in load("demo").cells()
    ]
    layout = Matrix("demo", cells).layout
    assert [row.coordinates["features"] for row in layout.rows] == [
        "continuous",
        "discrete",
        "discrete",
        "discrete",
        "none",
    ]
    assert "sentences (asr, phoneme, translation)" in layout.caption
