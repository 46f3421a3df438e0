"""The documentation: it builds without a warning, its links lead somewhere, and what it tells people to type exists."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import typer
import yaml

from orchestrator import best, space_file
from orchestrator.cli import app
from orchestrator.decoders import Recipe
from orchestrator.matrix import COORDINATES, COST
from orchestrator.report import FIGURES, words
from orchestrator.report.costs import COSTS
from orchestrator.report.intervals import ALPHA, DIFFERS
from orchestrator.report.ratios import PARTS
from orchestrator.space import ARMS, Block, SampleSettings, Space
from orchestrator.stages.analysis import FEWER_THAN
from orchestrator.stages.speech import BITS_STORED
from orchestrator.statistics.answers import RESAMPLES
from orchestrator.tracking import predictions, tags, values
from tasks import TASKS
from tasks.corpora.corpus import ANNOTATIONS, Corpus
from tasks.metrics import signature

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
PAGES = {path.name: path.read_text("utf-8") for path in sorted(DOCS.glob("*.md"))}
TEXTS = PAGES | {name: (PROJECT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md")}
COMMANDS = typer.main.get_command(app).commands
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every code block of a language."""
    return [(name, text) for name, page in TEXTS.items() for kind, text in FENCE.findall(page) if kind == language]


def labelled(found: list[tuple[str, str]]) -> list:
    return [pytest.param(text, id=f"{name}-{i}") for i, (name, text) in enumerate(found)]


# What is built


LOADS = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "audio": "src",
    "object": "data",
}
"""Tag → the attribute with the address of what the browser loads for it."""


class Links(HTMLParser):
    """What a page links to, what it loads, and the ids that it has."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if (key := LOADS.get(tag)) in found:
            self.loads.append(found[str(key)])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HTML, built as `make docs` builds it. A warning fails it: a broken reference, a missing picture, a lost page."""
    folder = tmp_path_factory.mktemp("docs")
    command = ["-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "-d", str(folder / "trees")]
    ended = subprocess.run(
        [sys.executable, *command, str(DOCS), str(folder / "html")], capture_output=True, text=True, cwd=PROJECT
    )
    assert ended.returncode == 0, ended.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {path: Links(path) for path in site.rglob("*.html")}


def test_every_page_is_built_and_reached_from_the_first(site, pages):
    reached, todo = set(), [site / "index.html"]
    while todo:
        page = todo.pop()
        if page not in reached:
            reached.add(page)
            links = (urldefrag(link).url for link in pages[page].links)
            todo += [found for link in links if (found := (page.parent / unquote(link)).resolve()) in pages]
    assert {site / f"{Path(name).stem}.html" for name in PAGES} <= reached


def test_links_within_the_documentation_lead_to_pages_and_anchors_that_exist(pages):
    broken = []
    for page, found in pages.items():
        for link in found.links:
            address, anchor = urldefrag(link)
            if re.match(r"[a-z]+:", address):
                continue
            target = (page.parent / unquote(address)).resolve() if address else page
            known = pages[target].ids if target in pages else set()
            if not target.exists() or (anchor and anchor not in known):
                broken.append(f"{page.name}: {link}")
    assert not broken


def test_links_of_texts_outside_the_documentation_lead_to_files():
    broken = []
    for name in set(TEXTS) - set(PAGES):
        for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", TEXTS[name])):
            if not re.match(r"[a-z]+:|#", link) and not (PROJECT / urldefrag(link).url).exists():
                broken.append(f"{name}: {link}")
    assert not broken


def test_pages_load_nothing_from_a_network(site, pages):
    loads = {load for found in pages.values() for load in found.loads}
    styles = [path.read_text("utf-8") for path in site.rglob("*.css")]
    loads |= {found for style in styles for found in re.findall(r"url\(\s*['\"]?([^'\")]+)", style)}
    loads |= {found for style in styles for found in re.findall(r"@import\s+['\"]([^'\"]+)", style)}
    assert "_static/styles/furo.css" in {urldefrag(load).url.partition("?")[0] for load in loads}
    assert not [load for load in loads if re.match(r"(?!data:)([a-z]+:)?//", load)]


def test_formulas_are_drawn_by_the_browser_itself(site):
    text = (site / "metrics.html").read_text("utf-8")
    assert text.count("<math") > 10
    assert "$" not in re.sub(r"<(script|pre|code)\b.*?</\1>", "", text, flags=re.DOTALL)


def test_every_picture_of_the_gallery_is_shown():
    shown = {path for page in PAGES.values() for path in re.findall(r"^!\[.+\]\(gallery/(.+)\)$", page, re.MULTILINE)}
    assert {path.name for path in DOCS.glob("gallery/*")} == shown


def test_every_figure_is_explained():
    missing = [name for name in FIGURES if f"\n### {name}\n" not in PAGES["report.md"]]
    assert not missing


# What is told to be typed


def typed() -> Iterator[tuple[str, list[str]]]:
    """(page, words after `tokengrid`) of every command line in code blocks and in running text.

    Of a usage, such as `tokengrid matrix SPACE [--format csv\\|json]`, every alternative.
    """
    for name, text in blocks("bash"):
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\||;", line):
                words = shlex.split(part, comments=True)
                if "tokengrid" in words:
                    yield name, words[words.index("tokengrid") + 1 :]
    for name, text in TEXTS.items():
        for found in re.findall(r"`tokengrid ([^`]+)`", FENCE.sub("", text)):
            words = re.sub(r"[\[\]\\]", "", found).split()
            for alternative in itertools.product(*(word.split("|") for word in words)):
                yield name, list(alternative)


@pytest.mark.parametrize("line", sorted({shlex.join(words) for _, words in typed()}))
def test_commands_that_are_shown_exist_with_their_options(line):
    name, *arguments = (word for word in shlex.split(line) if word not in ("--debug", "--help"))
    assert name in COMMANDS, f"there is no command {name}"
    # Running text may name a command without its arguments; whatever is said is checked.
    with COMMANDS[name].make_context(name, list(arguments), resilient_parsing=not arguments):
        pass


def test_every_command_has_an_example_in_the_page_of_commands():
    shown = {words[0] for name, words in typed() if name == "commands.md"}
    assert not set(COMMANDS) - shown


# What is told to be written


@pytest.mark.parametrize("text", labelled(blocks("yaml")))
def test_search_spaces_in_code_blocks_are_valid(text, tmp_path):
    """A whole space as it is; a part of one in the demo's place of it."""
    content = yaml.safe_load(text)
    unknown = set(content) - set(Space.model_fields) - {"common", "extends", "values"}
    assert not unknown
    if "extends" not in content and not {"corpora", "grid"} <= set(content):
        content["extends"] = "demo"
        if "grid" in content:
            content["grid"] = {"task": "asr", "corpus": "spoken", "features": "continuous"} | content["grid"]
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(content), "utf-8")
    assert space_file.load(tmp_path / "space.yaml").cells()


def test_the_number_of_cells_of_the_first_space_is_the_one_that_is_told(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(next(text for name, text in blocks("yaml") if name == "spaces.md"), "utf-8")
    assert f"These are {len(space_file.load(path).cells())} cells" in PAGES["spaces.md"]


@pytest.mark.parametrize("text", labelled(blocks("python")))
def test_python_in_code_blocks_compiles_and_imports_what_exists(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("orchestrator", "tasks"):
            module = importlib.import_module(str(node.module))
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]


def test_a_space_of_the_page_on_python_makes_a_grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (text,) = [text for name, text in blocks("python") if name == "python.md" and "parse(" in text]
    found: dict = {}
    exec(text, found)
    assert [cell.features for cell in found["grid"].cells] == ["none", "continuous"]


# What is said of the code


RECIPE = Recipe()
"""The defaults."""
PLAIN = (
    "batch",
    "max_epochs",
    "patience",
    "minimal_gain",
    "averaging",
    "beams",
    "evaluate_every",
    "micro_batch_tokens",
)
SAID = {
    "metrics.md": [
        f"again {RESAMPLES:,} times",
        f"1 / {RESAMPLES:,}",
        f"`p_holm` < {ALPHA}",
        f"($n$ = {', '.join(map(str, FEWER_THAN))})",
        f"of continuous features {BITS_STORED} bits × dimensions",
        *(
            f"`{str(signature(metric, tokenizer)).rpartition('|')[0]}`".replace("|", "\\|")
            for metric, tokenizer in (("bleu", "13a"), ("bleu", "zh"), ("chrf", "13a"))
        ),
        *(f"`{task.normaliser}`" for task in TASKS.values()),
    ],
    "reading.md": [
        *(f"| `{mark}` |" for mark in (words.BUDGET, words.GUESSING, words.ABSENT, words.NONE, DIFFERS)),
        *(f"| `{kind}` |" for kind in ARMS),
    ],
    "cost.md": [
        f"{BITS_STORED} bits × dimensions",
        f"({RECIPE.minimal_gain * 100:g} % by default)",
        f"`{RECIPE.monitor}` by default",
        *(f"| {word} | `{cost}` |" for cost, word in PARTS.items()),
        *(f"| {heading} | `{cost}` |" for cost, heading in COSTS.items()),
        *(f"`{cost}`" for cost in COST),
    ],
    "spaces.md": [
        *(f"| `{name}` | {getattr(RECIPE, name):g} |" for name in PLAIN),
        *(f"| `{name}` | `{getattr(RECIPE, name)}` |" for name in ("monitor", "dtype")),
        *(f"| `{name}` |" for name in Block.model_fields),
        *(f"`{name}`" for name in ANNOTATIONS),
        *(f"`{name}` ({Corpus.model_fields[name].default:g})" for name in ("min_seconds", "max_seconds", "max_broken")),
        f"`sample: {{frames: {SampleSettings().frames}, seed: {SampleSettings().seed}}}`",
    ],
    "mlflow.md": [
        *(f"`{name}`" for name in (*COORDINATES, tags.CELL, tags.IDENTITY, tags.STATUS, tags.REASON)),
        *(f"`tokengrid.{name}`" for name in tags.GROUPS),
        *(f"`curve/{name}`" for name in values.JUDGES),
        f"{predictions.ROWS} utterances",
    ],
    "commands.md": [f"`{name}`" for pair in best.ALIASES.items() for name in pair],
}


@pytest.mark.parametrize("page", SAID)
def test_constants_and_names_that_pages_quote_are_those_of_the_code(page):
    assert not [said for said in SAID[page] if said not in PAGES[page]]


def test_metrics_of_tasks_are_told_as_they_are():
    for names in {task.metrics for task in TASKS.values()}:
        told = ", ".join({"macro_f1": "macro F1", "accuracy": "accuracy"}.get(n, words.HEADINGS[n]) for n in names)
        assert f"| {told} |" in PAGES["metrics.md"]


def test_no_document_names_a_place_on_somebodys_machine():
    places = r"(?<![\w.:/$}>-])/(?:home|root|Users|work|tmp|mnt|opt|var|usr|private)\b|[A-Z]:\\\\"
    found = [f"{name}: {line}" for name, text in TEXTS.items() for line in text.splitlines() if re.search(places, line)]
    assert not found + [name for name, text in TEXTS.items() if str(PROJECT) in text or str(Path.home()) + "/" in text]
