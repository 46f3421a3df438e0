"""The LaTeX table has the places of the matrix, and no text in it can break it."""

import re
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st
from test_comparisons import CONTINUOUS, DISCRETE, Space, predictions
from test_matrix import demo, record, spaces

from orchestrator.matrix import Matrix
from orchestrator.report.latex import LONG, SPECIAL, escape, latex
from orchestrator.statistics import judged

WORDS = {command.removesuffix("{}"): sign for sign, command in SPECIAL.items()}
COMMAND = re.compile(r"\\([a-zA-Z]+)\{\}|\\([^a-zA-Z])|-\{\}")
texts = st.text(st.characters(exclude_categories=["Cs"]))


def unescaped(text: str) -> str:
    """What LaTeX prints of an escaped text."""

    def sign(found: re.Match[str]) -> str:
        return "-" if found[0] == "-{}" else WORDS[f"\\{found[1]}"] if found[1] else found[2]

    return COMMAND.sub(sign, text)


@given(texts | st.text('\\~^<>|"&%$#_{}-[* ab'))
def test_escaped_text_is_printed_as_it_was(text):
    escaped = escape(text)
    printable = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text)
    assert unescaped(escaped) == " ".join(printable.split())
    left = COMMAND.sub("", escaped)
    assert not set(left) & set('\\~^<>|"&%$#_{}') and "--" not in escaped


def body(text: str) -> list[list[str]]:
    """The rows of a table, heads among them, each as its cells; a cell over several columns counts as so many."""
    start = re.search(r"\\toprule\n", text).end()
    end = text.index(r"\bottomrule", start) if r"\end{tabular}" in text else text.index(r"\end{longtable}")
    rows = []
    for line in text[start:end].splitlines():
        if not line.endswith(r" \\"):
            continue
        cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
        spans = [int(found[1]) if (found := re.match(r"\s*\\multicolumn\{(\d+)\}", cell)) else 1 for cell in cells]
        rows.append([cell.strip() for cell, span in zip(cells, spans, strict=True) for _ in range(span)])
    return rows


def sound(text: str) -> None:
    """Balanced braces and environments."""
    depth = 0
    for found in re.finditer(r"\\.|[{}]", "\n".join(line for line in text.splitlines() if not line.startswith("%"))):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        assert depth >= 0
    assert depth == 0
    opened: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if what == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened


@given(texts, spaces, st.booleans())
@settings(max_examples=60)
def test_every_row_has_every_column_whatever_things_are_called(space, cells, intervals):
    layout = Matrix(space, cells).layout
    text = latex(layout, intervals)
    sound(text)
    columns = re.search(r"\\begin\{(?:tabular|longtable)\}\{(l+r*)\}", text)[1]
    rows = body(text)
    assert {len(row) for row in rows} == {len(columns)} == {len(layout.labels) + len(layout.columns)}
    assert len([row for row in rows if row]) - len(layout.rows) in (2, 3)
    assert not re.search(r"^(\\midrule )?[\[*]", text, re.MULTILINE)  # nothing that an option could be read from


def test_the_table_has_the_scores_of_the_matrix_with_their_marks():
    layout = demo().layout
    rows = body(latex(layout))[2:]
    for row, label, entries in zip(rows, map(layout.label, layout.rows), layout.entries, strict=True):
        assert [unescaped(cell).removeprefix(r"\midrule ") for cell in row[: len(label)]] == [
            text.replace("–", "--") for text in label
        ]
        for cell, entry in zip(row[len(label) :], entries, strict=True):
            assert (cell == f"\\textbf{{{entry.text}}}") == (entry.best and not entry.marks)
            shown = re.sub(r"\\textbf\{([^}]*)\}", r"\1", cell)
            shown = re.sub(r"\\textsuperscript\{((?:[^{}]|\{\})*)\}", r"\1", shown)
            assert shown.replace(r"\dag{}", "†").replace(r"\ddag{}", "‡") == entry.text + entry.marks
    text = latex(layout)
    assert text.startswith("% Needs \\usepackage{booktabs") and r"\label{tab:demo}" in text
    assert r"WER \% $\downarrow$" in text and r"BLEU $\uparrow$" in text and "longtable" not in text
    assert r"\dag{} stopped by its budget" in text and "diverged at step 210" in text
    assert r"\midrule none" in text


def test_test_sets_of_a_task_stand_under_one_head():
    cells = [record(value=0.1, **CONTINUOUS), record(value=0.2, task="phoneme", primary="per", **CONTINUOUS)]
    cells[0]["results"].append(cells[0]["results"][0] | {"test_set": "test_other", "metrics": {"wer": 0.3}})
    text = latex(Matrix("two", cells).layout)
    assert r"\multicolumn{2}{c}{asr} & phoneme" in text and r"\cmidrule(lr){2-3}" in text
    names, tests, _ = body(text)[:3]
    assert names[0] == "" and len(names) == 4 and tests == ["", "test", r"test\_other", ""]


def test_a_long_table_breaks_over_pages_with_its_head_on_each():
    cells = [record(codebook=k, **{k: v for k, v in DISCRETE.items() if k != "codebook"}) for k in range(1, LONG + 2)]
    text = latex(Matrix("large", cells).layout)
    sound(text)
    assert "{booktabs,longtable" in text and r"\begin{table}" not in text and r"\begin{tabular}" not in text
    assert text.index(r"\endfirsthead") < text.index(r"\endhead") < text.index(r"\endfoot")
    assert text.count("WER") == 2 and len(body(text)) == len(cells) + 1 + 2 * 2


def test_intervals_stand_beside_the_scores_only_where_they_are_wanted(tmp_path):
    space = Space(tmp_path)
    space.add(predictions(0.1), **CONTINUOUS)
    space.add(predictions(0.6), **DISCRETE)
    matrix = Matrix("s", judged(space.records, space.read, tmp_path, resamples=300))
    low, high = (f"{100 * end:.1f}" for end in matrix.cells[1]["results"][0]["interval"]["wer"])
    assert rf"\textsuperscript{{*}} {{\scriptsize({low}--{high})}}" in latex(matrix.layout, intervals=True)
    assert r"\scriptsize" not in latex(matrix.layout) and r"\par * differs from its baseline" in latex(matrix.layout)


def test_published_figures_stand_in_brackets():
    figure = {"test_set": "test", "metric": "wer", "value": 0.0456, "grade": "S"}
    layout = Matrix("s", [record(value=0.1) | {"reference": [figure]}, record(value=0.2, **DISCRETE)]).layout
    assert r"\textbf{10.0} [4.56 S] \\" in latex(layout)
