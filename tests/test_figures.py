"""Figures show what the table says, in named units, and leave nothing out in silence, whatever matrix there is."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from figure_material import DEMO, DISCRETE, cell, curve, grid, matrices
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.matrix import Matrix
from orchestrator.report import FIGURES, describe, draw, drawable
from orchestrator.report.compute import COSTS, best_so_far, equal_compute, within
from orchestrator.report.cost_parts import comparisons
from orchestrator.report.drawing import save_all, svg
from orchestrator.report.front import dominates, front
from orchestrator.report.panels import panels, selected
from orchestrator.report.scales import log_ticks, si

OURS = [name for name in FIGURES if name not in ("heatmap", "token_distribution")]
ALL = list(matrices())


@cache
def matrix(name: str) -> Matrix:
    return matrices()[name]


def texts(figure: Any) -> list[str]:
    """Every text of a figure, that of its axes and legends included."""
    return [found.get_text() for found in figure.findobj(mpl.text.Text) if found.get_text()]


points = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9)) | st.tuples(st.floats(0, 1e9), st.floats(-1, 1)), max_size=25
)


@given(points, st.sampled_from([1, -1]))
def test_nothing_on_the_front_is_dominated_and_all_else_is(found: list[tuple[float, float]], better: int):
    on = front(found, better)
    assert len(set(on)) == len(on) and [found[i][0] for i in on] == sorted(found[i][0] for i in on)
    for i, one in enumerate(found):
        assert (i in on) != any(dominates(other, one, better) for other in found)


errors = st.none() | st.floats(0, 1) | st.just(float("nan"))
curves = st.lists(st.tuples(st.floats(0.1, 1e6), errors), max_size=12).map(
    lambda rows: [
        {"flops": sum(step for step, _ in rows[: i + 1]), "dev_error": error} for i, (_, error) in enumerate(rows)
    ]
)


@given(curves, st.floats(0, 2e7))
def test_the_best_so_far_never_rises_and_a_larger_budget_never_reaches_less(rows: list[dict[str, Any]], budget: float):
    found = best_so_far(rows, "flops")
    assert [error for _, error in found] == sorted((error for _, error in found), reverse=True)
    assert {error for _, error in found} <= {row["dev_error"] for row in rows}
    reached = within(rows, "flops", budget)
    known = [
        r["dev_error"] for r in rows if r["flops"] <= budget and r["dev_error"] is not None and r["dev_error"] >= 0
    ]
    assert reached == min(known, default=None)
    more = within(rows, "flops", 2 * budget)
    assert reached is None or more <= reached


def test_compute_is_equal_only_up_to_what_every_configuration_has_spent():
    made = matrix("seeds")
    for cost in COSTS:
        tables = equal_compute(made, cost)
        assert [one.title for one in tables] == ["asr", "intent"]
        for one, panel in zip(tables, panels(made), strict=True):
            ends = [c["curve"][-1][cost] for place in panel.speech for c in place.cells]
            assert one.budgets == tuple(share * min(ends) for share in (0.25, 0.5, 1.0))
            assert [line.label for line in one.lines] == [place.label for place in panel.speech]
            for line, place in zip(one.lines, panel.speech, strict=True):
                last = [within(c["curve"], cost, min(ends)) for c in place.cells]
                assert line.seeds == 3 and line.errors[-1] == pytest.approx(sum(last) / 3)
            assert one.best(-1).errors[-1] == min(line.errors[-1] for line in one.lines)


def test_an_error_of_some_seeds_alone_is_no_mean():
    late = [row | {"flops": row["flops"] + 1e12} for row in curve(random.Random(0))]
    cells = [cell(seed=0, curve=curve(random.Random(1))), cell(seed=1, curve=late), cell(**DEMO[1], curve=late)]
    (table,) = equal_compute(Matrix("s", cells), "flops", shares=[1.0])
    assert [line.errors for line in table.lines] == [(None,), (None,)] and table.best(0) is None


@pytest.mark.parametrize("name", ALL)
def test_places_show_the_entries_of_the_table_and_lose_no_finished_cell(name: str):
    made = matrix(name)
    found = panels(made)
    for panel, c in zip(found, range(len(made.layout.columns)), strict=True):
        for place in panel.places:
            assert place.entry is made.layout.entries[place.row][c]
            if place.values:
                assert place.entry.value == pytest.approx(sum(place.values) / len(place.values))
            assert (place.entry.value is None) == (not place.values)
    standing = {one["cell"] for panel in found for place in panel.places for one in place.cells}
    assert standing == {one["cell"] for one in made.cells if one["status"] == "ok"}


def test_a_codebook_of_the_own_corpus_and_a_recipe_for_each_task_lose_no_cell_either():
    own = [
        cell(task=task, corpus=task, recipe=task, codebook_corpus=task, **DISCRETE, codebook=8, value=0.5)
        for task in ("asr", "intent")
    ]
    assert [[len(place.cells) for place in panel.places] for panel in panels(Matrix("s", own))] == [[1], [1]]


@pytest.mark.parametrize("name", ALL)
def test_every_figure_is_drawn_for_every_matrix(name: str):
    made = matrix(name)
    for figure in OURS:
        drawn = draw(figure, made)
        assert drawn.get_label() == describe(figure, made) and len(drawn.get_label()) > 20
        assert drawn.axes or "yet" in " ".join(texts(drawn)) or "known" in " ".join(texts(drawn))
        assert max(drawn.get_size_inches()) < 60
        assert not re.search(r"\bnan\b|\binf\b|None", " ".join(texts(drawn)))


def test_what_is_drawn_has_something_to_say():
    speaking = {name: set(drawable(matrix(name))) & set(OURS) for name in ALL}
    assert all(not speaking[name] for name in ("empty", "all missing", "none alone")) or speaking["none alone"] == {
        "curves",
        "cost_parts",
    }
    assert speaking["demo"] == set(OURS) - {"layers", "decoder_size"}
    assert speaking["layers"] >= {"layers"} and speaking["decoders"] >= {"decoder_size"}


@pytest.mark.parametrize("figure", OURS)
def test_axes_are_named_with_units_and_the_direction_that_is_better(figure: str):
    made = matrix({"layers": "layers", "decoder_size": "decoders"}.get(figure, "demo"))
    drawn = draw(figure, made)
    units = "seconds|FLOPs|bits per second|% |BLEU|epoch|layer|parameters|vocabulary|size|nats|share"
    for axes in drawn.axes:
        named = [axes.get_xlabel(), *([axes.get_ylabel()] if axes.get_ylabel() else [])]
        assert any(re.search(units, text) for text in named if text) or axes.get_ylabel()
    words = " ".join(texts(drawn))
    if figure != "cost_parts":
        assert "↓" in words
    assert ("log" in words) == any("log" in (axes.get_xscale(), axes.get_yscale()) for axes in drawn.axes)


def test_scores_of_different_units_never_share_a_panel():
    made = matrix("demo")
    for figure in ("arms", "bitrate", "pareto"):
        headings = [
            heading for axes in draw(figure, made).axes
            for heading in (axes.get_xlabel().split("\n")[0], axes.get_ylabel()) if heading.endswith(("↑", "↓"))
        ]  # fmt: skip
        assert headings == [column.heading for column in made.layout.columns]


def test_bars_begin_at_zero_and_costs_that_are_not_logarithmic_too():
    for name in ("demo", "seeds", "large"):
        for figure in ("cost_parts", "pareto"):
            for axes in draw(figure, matrix(name)).axes:
                if axes.get_xscale() == "linear" and "seconds" in axes.get_xlabel():
                    assert axes.get_xlim()[0] == 0


def test_an_absent_pair_of_k_and_bpe_is_blank_and_never_zero():
    cells = [one for one in grid(tasks=["asr"]) if (one["codebook"], one["bpe"]) != (50, 400)]
    drawn = draw("codebook_by_bpe", Matrix("s", cells))
    (axes,) = drawn.axes
    assert len(axes.patches) == 3
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["none", "400"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["50", "200"]


def test_a_cell_that_its_budget_stopped_is_hollow():
    def fills(stopped: str) -> set[str]:
        cells = [one | {"stopped": stopped} for one in grid(tasks=["asr"]) if one["features"] != "none"]
        (axes,) = draw("pareto", Matrix("s", cells)).axes
        return {line.get_markerfacecolor() for line in axes.lines if line.get_marker() in "os^"}

    assert fills("budget") == {"#ffffff"} and "#ffffff" not in fills("plateau")


def test_the_published_band_stands_only_where_it_was_published():
    assert "published, seconds" in " ".join(texts(draw("cost_parts", matrix("published"))))
    assert "published" not in " ".join(texts(draw("cost_parts", matrix("demo"))))


def test_ratios_are_those_of_the_table_and_seconds_are_epochs_times_seconds_an_epoch():
    from orchestrator.report.layout import ROW
    from orchestrator.report.ratios import training_ratios

    made = matrix("demo")
    lines = training_ratios(made.cells, ROW)
    found = [one for one in comparisons(made) if one.ratios]
    assert len(lines) == len(found) > 0
    for line, one in zip(lines, found, strict=True):
        count = len(one.ratios["seconds_to_best"])
        assert f"({count} pairs" in line and (f"{one.left_out} left out" in line or one.left_out == 0)
        parts = ("seconds_to_best", "best_epoch", "seconds_per_epoch")
        for whole, epochs, each in zip(*(one.ratios[part] for part in parts), strict=True):
            assert whole == pytest.approx(epochs * each)


def test_decoders_are_joined_within_their_family_alone():
    sizes = {"qwen-0.5b": 5e8, "qwen-7b": 7e9, "llama-1b": 1e9, "tiny": 1e5, "small": 2e5}
    cells = [cell(decoder=name) for name in sizes]
    for one in cells:
        one["cost"]["parameters"] = sizes[one["decoder"]]
    drawn = draw("decoder_size", Matrix("s", cells))
    lines = {line.get_label(): len(line.get_xdata()) for line in drawn.axes[0].lines if line.get_marker() == "o"}
    assert sorted(lines.values()) == [1, 2, 2]
    named = {text.get_text() for text in drawn.legends[0].get_texts()}
    assert named == {"continuous", "continuous qwen", "continuous llama"}


def test_nothing_is_highlighted_that_is_no_better_than_guessing():
    for value, said in ((0.5, 1), (1.0, 0)):
        drawn = draw("arms", Matrix("s", [cell(), cell(**DEMO[1], value=value)]))
        assert sum(text.get_text() == "best discrete" for text in drawn.legends[0].get_texts()) == said


def test_what_is_too_much_to_be_read_is_left_out_and_said():
    made = matrix("large")
    for figure in ("heatmap", "arms", "curves", "equal_compute", "layers"):
        said = " ".join(texts(draw(figure, made)))
        assert re.search(r"\b\d+ of \d+ (configurations|lines) are\s+shown", said), figure
    rows, note = selected(panels(made), 20)
    assert len(rows) == 20 and note.startswith("20 of 104")
    for panel in panels(made):
        assert {panel.best("continuous").row, panel.best("discrete").row} <= set(rows)


def test_a_configuration_without_a_score_is_shown_with_its_reason_or_counted():
    cells = [*grid(tasks=["asr"], arms=DEMO[:2]), cell("failed", **DEMO[2]), cell("missing", **DEMO[3])]
    said = texts(draw("arms", Matrix("s", cells)))
    assert {"discrete k50 bpe400", "failed", "discrete k200", "missing"} <= set(said)
    many = [*cells, *(cell("missing", **DISCRETE, codebook=k) for k in range(1000, 1030))]
    assert "10 configurations have no score yet" in " ".join(texts(draw("arms", Matrix("s", many))))


def test_names_in_figures_are_never_formulas_or_markup(tmp_path: Path):
    made = matrix("odd names")
    for figure in drawable(made):
        drawn = draw(figure, made)
        drawn.savefig(tmp_path / "x.png")
        text = svg(drawn, themed=True)
        assert "<script" not in text and "<b>" not in text
        ElementTree.fromstring(text)


def test_svg_is_of_its_own_in_a_page():
    made = matrix("demo")
    ids: set[str] = set()
    for figure in OURS[:-1]:
        if figure in drawable(made):
            text = svg(draw(figure, made), themed=True)
            root = ElementTree.fromstring(text)
            mine = [element.get("id") for element in root.iter() if element.get("id")]
            assert len(mine) == len(set(mine)) and not ids & set(mine)
            ids |= set(mine)
            for element in root.iter():
                for name, value in element.attrib.items():
                    if name.endswith("href"):
                        assert value.startswith("#") and value[1:] in mine
                    for used in re.findall(r"url\(([^)]*)\)", value):
                        assert used.startswith("#") and used[1:] in mine
            assert "<style" not in text and "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
            assert root.get("role") == "img" and root.get("aria-label") == describe(figure, made)
            assert root[0].tag.endswith("title") and root[0].text == describe(figure, made)


def test_text_stays_text_and_a_themed_figure_has_the_ink_of_the_page():
    drawn = draw("arms", matrix("demo"))
    plain, themed = svg(drawn, themed=False), svg(drawn, themed=True)
    for text in (plain, themed):
        written = {"".join(e.itertext()) for e in ElementTree.fromstring(text).iter() if e.tag.endswith("}text")}
        assert {"WER % ↓", "discrete k200 bpe400", "continuous"} <= written
    assert "#000000" not in themed and "#333333" not in themed and "#ffffff" not in themed
    assert "currentColor" in themed and "currentColor" not in plain


def test_the_same_matrix_gives_the_same_files_and_nothing_of_the_style_stays_behind(tmp_path: Path):
    before = dict(mpl.rcParams)
    made = Matrix("one", grid(tasks=["asr"], arms=DEMO[:2]))
    first, again = (save_all(made, tmp_path / folder) for folder in ("a", "b"))
    assert [path.name for path in first] == [f"{n}.{end}" for n in drawable(made) for end in ("png", "svg")]
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert dict(mpl.rcParams) == before


@given(st.floats(1e-3, 1e18), st.floats(1.2, 1e9))
@settings(max_examples=200)
def test_every_logarithmic_axis_has_a_few_ticks_within_it(low: float, factor: float):
    for most in (3, 5):
        ticks = log_ticks(low, low * factor, most)
        assert 2 <= len(ticks) <= most and all(low * 0.9 <= tick <= low * factor * 1.1 for tick in ticks)
        assert ticks == sorted(set(ticks))


def test_numbers_are_short():
    assert [si(value) for value in (0, 3.873, 20, 999.6, 1500, 102_400, 7.7e11)] == [
        "0", "3.87", "20", "1e+03", "1.5 k", "102 k", "770 G"
    ]  # fmt: skip


def test_speech_embeddings_alone_do_not_make_two_sizes_of_one_decoder():
    cells = [
        {**cell, "cost": {**cell["cost"], "parameters": 400_000 + 96 * (cell["codebook"] or 0)}}
        if cell["cost"]
        else cell
        for cell in matrix("demo").cells
    ]
    assert len({cell["cost"]["parameters"] for cell in cells if cell["cost"]}) > 1
    assert "decoder_size" not in drawable(Matrix("demo", cells))
