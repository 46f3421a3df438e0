"""The report page says what the matrix says, loads nothing, and takes no text for markup."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from page_material import HOSTILE, LOG, QUESTION, hostile, many, matrix, mistakes, without_results
from test_matrix import record, spaces

from orchestrator.matrix import STATUSES, Matrix
from orchestrator.report.page import render
from orchestrator.report.page.payload import FIELDS, as_json, payload
from orchestrator.report.page.scales import ink, luminance
from orchestrator.report.page.sources import allowed
from orchestrator.report.page.table import Table
from orchestrator.report.places import places

ordinary = st.lists(
    st.builds(
        record,
        status=st.sampled_from(STATUSES),
        value=st.floats(0, 1) | st.just(math.nan),
        baseline=st.none() | st.floats(0, 1),
        task=st.sampled_from(["asr", "keyword"]),
        features=st.sampled_from(["continuous", "discrete", "none"]),
        codebook=st.none() | st.integers(1, 9999),
        bpe=st.none() | st.integers(1, 9999),
        seed=st.integers(0, 3),
    ),
    max_size=12,
    unique_by=lambda cell: cell["cell"],
)
"""Cells with scores as they can be."""

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """A page taken apart: its elements in order, and the text within each table, script and heading."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        return " ".join("".join(text for tag, text in self.texts if tag not in ("script", "style")).split())

    def data(self) -> dict:
        return json.loads(next(text for tag, text in self.texts if tag == "script"))


@pytest.fixture(scope="module")
def page() -> str:
    of = matrix()
    return render(of, mistakes(of))


def test_every_element_is_closed_headings_are_in_order_and_ids_are_unique(page):
    parsed = Page(page)
    assert parsed.open == []
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"answer", "matrix", "cost", "mistakes", "ran"} <= set(ids)


def test_nothing_is_loaded_from_anywhere(page):
    parsed = Page(page)
    assert not parsed.of("link") and not parsed.of("img") and not parsed.of("iframe")
    for _, attributes in parsed.elements:
        assert not (attributes.get("src") or "")
        assert (attributes.get("href") or "#").startswith("#")
    style = "".join(text for tag, text in parsed.texts if tag == "style")
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in parsed.of("meta")[1]["content"]


def test_the_policy_allows_the_script_of_the_page_and_no_other(page):
    parsed = Page(page)
    scripts = [text for tag, text in parsed.texts if tag == "script"]
    digest = base64.b64encode(hashlib.sha256(scripts[-1].encode()).digest()).decode()
    policy = next(one["content"] for one in parsed.of("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert f"script-src 'sha256-{digest}'" in policy
    assert [one.get("type") for one in parsed.of("script")] == ["application/json", None]


def test_every_place_of_the_matrix_stands_in_the_table_as_in_the_layout(page):
    layout = matrix().layout
    table = page[page.index('<table id="grid"') :].split("</table>", 1)[0]
    cells = [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td class.*?</td>", table)]
    assert cells == [entry.text + entry.after for line in layout.entries for entry in line]
    assert table.count('scope="row"') == len(layout.rows) * len(layout.labels)


def test_what_failed_is_told_with_its_reason_and_its_log(page):
    text = Page(page).text()
    for cell in matrix().cells:
        if cell["reason"]:
            assert cell["reason"] in text
    assert LOG in text and "silent: u1" in text and QUESTION in text


def test_the_data_of_the_script_has_interval_difference_and_costs_of_every_finished_place(page):
    data = Page(page).data()
    layout = matrix().layout
    for line, entries in zip(data["places"], layout.entries, strict=True):
        for place, entry in zip(line, entries, strict=True):
            if place is None or len(place) < len(FIELDS):
                assert entry.certainty is None
                continue
            known = dict(zip(data["fields"], place, strict=True))
            assert known["value"] == pytest.approx(entry.value, rel=1e-5)
            assert [known["low"], known["high"]] == pytest.approx(list(entry.certainty.interval), rel=1e-5)
            assert (known["difference"] is None) is (entry.certainty.difference is None)
            assert known["difference"] is None or known["difference"] == pytest.approx(
                entry.certainty.difference, rel=1e-5
            )
            assert known["p"] == entry.certainty.p
            assert dict(zip((name for name, *_ in data["costs"]), known["costs"], strict=True))["flops"] == 7.7e11


def test_what_cells_share_is_counted_once_whole_and_shared_out_to_each(page):
    table = page[page.index("Every stage that was built") :].split("</table>", 1)[0]
    assert re.findall(r">codebook</th>.*?</tr>", table) == [
        '>codebook</th><th scope="row" class="name">codebook-x</th><td>30</td><td>3 cells</td><td>10</td><td>cpu</td>'
        "<td>1,074</td></tr>"
    ]
    assert f"{27} of them" in table
    assert "in batches of 16" in Page(page).text()
    assert len(Page(page).data()["stages"]) == 1


def test_a_table_whose_lines_do_not_fit_its_headings_is_refused():
    with pytest.raises(ValueError, match="headings"):
        Table("costs", ["a", "b"], [["1", "2"], ["3"]])


def test_markup_in_the_data_stays_text():
    of = hostile()
    parsed = Page(render(of, mistakes(of, HOSTILE)))
    assert not parsed.of("img")
    assert len(parsed.of("script")) == 2
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert HOSTILE.split("\u2028")[0] in parsed.text()
    assert parsed.data()["mistakes"][0]["utterances"][0]["reference"] == HOSTILE


@given(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.floats() | st.integers() | st.lists(st.text(), max_size=3), max_size=3
    )
)
def test_json_in_the_page_is_what_was_given_and_has_no_markup(value):
    text = as_json({"value": value})
    assert not set(text) & set("<>&\u2028\u2029")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@given(st.text())
def test_texts_come_back_from_the_json_of_the_page(text):
    assert json.loads(as_json(text)) == text


@settings(max_examples=50)
@given(spaces)
def test_every_cell_of_every_space_is_in_the_data_of_the_script(cells):
    of = Matrix("any", cells)
    data = json.loads(as_json(payload(of, places(of.layout, of.cells), [])))
    known = [name for line in data["places"] for place in line if place for name in _cells(place)]
    assert sorted(known) == sorted(cell["cell"] for cell in cells)


def _cells(place: list) -> list[str]:
    unfinished = [cell for _, cell, *_ in place[FIELDS.index("problems")]]
    return place[FIELDS.index("cells")] if len(place) == len(FIELDS) else unfinished


@settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a page takes long to be shrunk
@given(ordinary)
def test_every_space_gives_a_page(cells):
    parsed = Page(render(Matrix("any", cells)))
    assert parsed.open == [] and len(parsed.data()["places"]) == len(Matrix("any", cells).layout.rows)


def test_the_same_matrix_gives_the_same_bytes(page):
    of = matrix()
    assert render(of, mistakes(of)).encode() == page.encode()


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("audio/a b.flac#t=1.5,2", True),
        ("../store/x.wav", True),
        ("/data/x.wav", True),
        ("file:///data/x.wav", True),
        ("data:audio/mpeg;base64,AAAA", True),
        ("https://host/x.wav", False),
        ("//host/x.wav", False),
        ("/\\host/x.wav", False),
        ("file://host/x.wav", False),
        ("data:text/html,<script>", False),
        ("javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        (" https://host/x.wav", False),
        ("http://[", False),
    ],
)
def test_audio_is_played_from_files_and_from_the_page_only(address, may):
    assert allowed(address) is may


def test_audio_from_elsewhere_is_left_out_with_a_reason(page):
    audio = Page(page).data()["mistakes"][0]["utterances"][0]["audio"]
    assert audio["src"] is None and audio["why"]
    assert "elsewhere.org" not in page


@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_ink_is_legible_on_every_ground(colour):
    ground, text = luminance(colour), luminance((1, 1, 1) if ink(colour) == "#fff" else (0, 0, 0))
    assert (max(ground, text) + 0.05) / (min(ground, text) + 0.05) >= 4.5


def test_a_space_without_a_result_says_what_is_missing_and_how_to_run_it():
    text = Page(render(without_results(matrix()))).text()
    assert "tokengrid run demo" in text and "30 missing" in text


@pytest.mark.parametrize("value", [0.5, math.nan])
def test_one_cell_alone_and_a_value_that_is_no_number_give_a_page(value):
    parsed = Page(render(Matrix("one", [record(value=value)])))
    assert parsed.open == [] and parsed.data()["places"]


def test_a_metric_that_is_the_same_everywhere_gives_a_page():
    cells = [record(value=0.5, features=features) for features in ("continuous", "none")]
    assert "50.0" in Page(render(Matrix("constant", cells))).text()


def test_half_of_a_surrogate_pair_can_be_written_as_a_file():
    cell = record("failed", "no such file: \udce4.wav")
    assert render(Matrix("one", [cell])).encode("utf-8")


def test_a_matrix_without_statistics_or_provenance_gives_a_page():
    of = matrix()
    cells = [{**cell, "results": [_plain(result) for result in cell["results"]]} for cell in of.cells]
    assert "no interval" not in Page(render(replace(of, cells=cells, about=None))).text()


def _plain(result: dict) -> dict:
    return {key: result[key] for key in ("test_set", "split", "n", "metrics", "baseline")}


def test_two_thousand_cells_take_less_than_half_a_kilobyte_each():
    of = many()
    assert len(of.cells) == 1998
    assert len(as_json(payload(of, places(of.layout, of.cells), []))) < 500 * len(of.cells)
