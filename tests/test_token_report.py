"""The table and the figure of tokens show every configuration once, whatever cells there are, and lose no number."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from orchestrator import evenness, spectrum, tokens
from orchestrator.matrix import COORDINATES, KEYS, Matrix
from orchestrator.report import draw, drawable
from orchestrator.report.token_distribution import _groups, _styles
from orchestrator.report.token_table import OF_DECODERS, PARTS, rows, terminal, to_csv, to_json
from orchestrator.stages.analysis import FEWER_THAN


def analysis(kind: str, vocabulary: int = 0, seed: int = 0, tests: tuple[str, ...] = ("test",)) -> dict[str, Any]:
    """What `analysis.json` has, from random counts and frames."""
    chance = np.random.default_rng([vocabulary, seed])
    covariance = spectrum.covariance(chance.normal(size=(50, 4)) * [1, 2, 3, 9])
    body: dict[str, Any] = {
        **{"kind": kind, "quantiles": evenness.QUANTILES, "utterances": 9, "without_frames": 0, "seconds": 90.0},
        **{"frames": 4500, "frame_rate": 50.0, "downsample": 2, "positions": 900, "positions_per_second": 10.0},
        "positions_per_utterance": {"mean": 100.0, "p95": 140.2, "longest": 150},
        **{"nominal_bits_per_second": 500.0, "bits_per_second": 110.0},
        "spectrum": {"frames": 50, "variance_kept": 0.7}
        | {name: spectrum.describe(covariance) for name in ("raw", "normalised")},
    }
    if kind == "continuous":
        return body | {"dimension": 4, "bits_per_second_concatenated": 120.0}
    counts = chance.integers(0, 90, vocabulary)
    return body | {
        "distribution": tokens.summary(counts, 90.0) | {"curve": evenness.curve(counts[counts > 0])},
        "seen_less": [tokens.seen_less(counts, dict.fromkeys((*tests, "all"), counts), n) for n in FEWER_THAN],
        "compression": {"dedup": 2.0, "bpe": 1.5, "both": 3.0},
        **{"entropy_rate": 90.0, "mean_run_length": 2.0, "units": 2250, "tokens": 1500},
    }


def cell(of: dict[str, Any] | None = None, **coordinates: Any) -> dict[str, Any]:
    """A record with an analysis, or without one."""
    at = {"task": "asr", "corpus": "spoken", "decoder": "tiny", "recipe": "demo", "seed": 0, "features": "none"}
    empty = {"status": "missing", "results": [], "primary": "wer"}
    return dict.fromkeys((*KEYS, *COORDINATES)) | at | empty | coordinates | ({"analysis": of} if of else {})


def grid(tasks: tuple[str, ...] = ("asr", "keyword"), seeds: int = 2) -> list[dict[str, Any]]:
    """30 token configurations and two continuous ones a task, some cells without any analysis, several seeds."""
    found = []
    for task in tasks:
        for seed in range(seeds):
            at = {"task": task, "seed": seed, "encoder": "wavlm"}
            found.append(cell(**at | {"encoder": None}))
            for layer in (9, 21):
                of = analysis("continuous", seed=layer)
                found.append(cell(of, **at, features="continuous", downsample=2, layer=layer))
            for k in (100, 200, 300):
                for bpe in (None, 400, 600, 800, 1000):
                    for dedup in (True, False):
                        of = analysis("discrete", bpe or k, seed=2 * k + dedup)
                        one = {"codebook": k, "bpe": bpe, "dedup": dedup, "layer": 21, "codebook_seed": 0}
                        found.append(cell(of, **at, **one, features="discrete"))
    return found


def printed(found: list[dict[str, Any]], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(terminal(found, width))
    return console.file.getvalue().splitlines()


def test_a_configuration_has_one_row_a_task_however_many_seeds_and_decoders():
    cells = grid(seeds=3)
    found = rows(cells)
    assert len(found) == 2 * 32
    assert len({json.dumps([row[c] for c in COORDINATES if c not in OF_DECODERS]) for row in found}) == len(found)
    assert not set(OF_DECODERS) & set(found[0])
    assert rows(cells + [record | {"decoder": "other"} for record in cells]) == found


def test_rows_have_the_same_keys_and_the_numbers_of_the_analysis():
    found = rows(
        [cell(analysis("continuous"), features="continuous"), cell(analysis("discrete", 50), features="discrete")]
    )
    assert list(found[0]) == list(found[1])
    assert {key for *_, headings in PARTS for key, _, _ in headings} <= set(found[0])
    continuous, discrete = found
    of = analysis("discrete", 50)
    assert continuous["vocabulary"] is None and continuous["bits_per_second"] == 110.0
    assert discrete["rarest_fifth_share"] == of["distribution"]["rarest_fifth_share"]
    assert discrete["types_seen_less_than_10"] == of["seen_less"][2]["types"]
    assert discrete["test_seen_less_than_100"] == discrete["tests_seen_less_than_100"]
    assert discrete["raw_effective_rank"] == of["spectrum"]["raw"]["effective_rank"]
    assert discrete["normalised_directions_95"] == of["spectrum"]["normalised"]["directions"]["95"]


def test_every_test_set_has_columns_of_its_own():
    found = rows([cell(analysis("discrete", 50, tests=("test-clean", "test-other")), features="discrete")])
    assert {"test-clean_seen_less_than_1", "test-other_seen_less_than_100"} <= set(found[0])


def test_csv_and_json_hold_every_row_and_digit():
    found = rows(grid())
    assert json.loads(to_json(found)) == found
    back = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(back) == len(found)
    for row, line in zip(found, back, strict=True):
        assert {key: "" if value is None else str(value) for key, value in row.items()} == line
    assert (rows([]), to_json([]), to_csv([]).strip()) == ([], "[]\n", "")


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_terminal_shows_every_number_within_its_width(width: int):
    found = rows(grid())
    lines = printed(found, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "encoder wavlm" in text and all(title in text for title, *_ in PARTS)
    for row in found:
        if row["entropy"] is not None:
            assert f"{row['entropy']:.2f}" in text and f"{100 * row['rarest_fifth_share']:.1f}" in text
        assert f"{row['raw_effective_rank']:.1f}" in text
    assert "nan" not in text and "None" not in text
    # No table counts on being squeezed: it has the same width where there is room.
    notes = {note for _, note, _ in PARTS}
    console = Console(width=1000, file=io.StringIO(), force_terminal=False)
    console.print(terminal(found, width))
    roomy = [line for line in console.file.getvalue().splitlines()[1:] if line.strip() not in notes]
    assert max(map(len, map(str.rstrip, roomy))) <= width


def test_labels_that_change_no_number_of_a_table_are_left_out_of_it():
    shared = analysis("discrete", 50)["spectrum"]
    cells = [
        cell(
            analysis("discrete", bpe or 50) | {"spectrum": shared},
            features="discrete",
            codebook=50,
            bpe=bpe,
            dedup=True,
        )
        for bpe in (None, 60, 70)
    ]
    lines = printed(rows(cells), 100)
    start = next(i for i, line in enumerate(lines) if line.startswith("Spectrum of variance, frames"))
    body = [line for line in lines[start:] if line.startswith("discrete")]
    assert len(body) == 2  # one for each of the two tables of spectra
    assert (
        sum(line.startswith("discrete") for line in lines[:start]) == 3 * 3 + 1
    )  # of use, types and tests; rates are the same


def test_without_an_analysis_the_table_says_so_and_the_figure_is_not_drawn():
    cells = [cell(), cell(features="discrete", codebook=8)]
    assert "no cell has an analysis" in printed(rows(cells), 80)[0]
    assert "token_distribution" not in drawable(Matrix("s", cells))
    assert "token_distribution" in drawable(Matrix("s", [*cells, cell(analysis("discrete", 8), features="discrete")]))


def test_the_figure_is_drawn_for_one_kind_for_both_and_for_many(tmp_path: Path):
    one = [cell(analysis("continuous"), features="continuous")]
    other = [cell(analysis("discrete", 8), features="discrete", codebook=8)]
    for name, cells in {"one": one, "other": other, "both": one + other, "many": grid()}.items():
        figure = draw("token_distribution", Matrix(name, cells))
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        named = [text.get_text() for text in figure.legends[0].get_texts()]
        assert len(named) == len(set(named))
        for axes in figure.axes:
            assert axes.get_xlabel().endswith("(%)") and axes.get_xlim() == axes.get_ylim() == (0, 100)


def test_tasks_with_the_same_curves_share_a_row_and_others_have_their_own():
    cells = grid(tasks=("asr", "phoneme"))
    assert list(_groups(cells)) == ["asr, phoneme · spoken"]
    other = [record | {"task": "keyword", "analysis": analysis("discrete", 77)} for record in cells[3:4]]
    assert list(_groups(cells + other)) == ["asr, phoneme · spoken", "keyword · spoken"]


def test_a_codebook_of_the_own_corpus_has_one_name_and_one_look_everywhere():
    def of(corpus: str, codebook_corpus: str, k: int) -> dict[str, Any]:
        body = analysis("discrete", k, seed=len(corpus + codebook_corpus))
        return cell(body, corpus=corpus, codebook_corpus=codebook_corpus, codebook=k, features="discrete", dedup=True)

    own = [of(corpus, corpus, k) for corpus in ("ls", "slurp") for k in (8, 16)]
    first, second = _groups(own).values()
    assert [c.label for c in first[0]] == [c.label for c in second[0]] == ["k8", "k16"]
    assert [c.colour for c in first[0]] == [c.colour for c in second[0]]
    assert "codebook corpus" not in "\n".join(printed(rows(own), 100))
    lent = [*own, of("slurp", "ls", 8)]
    assert len(_groups(lent)["asr · slurp"][0]) == 3
    assert "codebook corpus" in "\n".join(printed(rows(lent), 120))


def test_no_two_configurations_look_alike():
    panels = next(iter(_groups(grid(seeds=1)).values()))
    assert [len(panel) for panel in panels] == [30, 2 + 3, 2 + 3]
    for panel in panels:
        styles = _styles(panel)
        assert len({json.dumps(style, default=str) for style in styles.values()}) == len(styles) == len(panel)


@given(
    st.lists(st.tuples(st.sampled_from(["asr", "kws"]), st.integers(0, 35), st.booleans()), max_size=10, unique=True)
)
@settings(max_examples=15, deadline=None)
def test_every_grid_of_layers_has_its_table(members: list[tuple[str, int, bool]]):
    cells = [
        cell(
            analysis("discrete", 9 + layer) if discrete else analysis("continuous"), task=task, layer=layer, encoder="e"
        )
        | {"features": "discrete" if discrete else "continuous"}
        for task, layer, discrete in members
    ]
    found = rows(cells)
    assert len(found) == len(cells)
    assert printed(found, 100)
    drawn = sum(len(panels[0]) for panels in _groups(cells).values())
    assert drawn <= sum(discrete for *_, discrete in members)
