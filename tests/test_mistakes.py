"""Mistakes add up to the scores, the worst come first, and their audio is where it is said to be."""

import base64
import io
import random
import shutil
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import soundfile
from conftest import Speech
from grid_material import Log, content
from hypothesis import given
from hypothesis import strategies as st
from test_comparisons import CONTINUOUS, DISCRETE
from test_matrix import record

from orchestrator.audio import read
from orchestrator.evidence import describe, mistakes
from orchestrator.grid import Grid
from orchestrator.matrix import Matrix
from orchestrator.report.contest import contests
from orchestrator.report.mistakes import LABELS, NOTHING, Answer, Shown, chosen
from orchestrator.report.mistakes import mistakes as of_column
from orchestrator.report.places import places
from orchestrator.space_file import parse
from orchestrator.stages.recordings import Recording, read_recordings
from tasks import TASKS
from tasks.corpora import READERS

WORDS = ["turn", "Turn", "the", "light", "on.", "well-known", "don't", "ÄRGER", "two", "2", "灯"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join)
pairs = st.lists(st.tuples(texts, st.just("") | texts), min_size=1, max_size=8)


def answers(of: list[tuple[str, str]]) -> tuple[Answer, ...]:
    return tuple(Answer(f"u{number:02}", f"s{number % 3}", *pair) for number, pair in enumerate(of))


def shown(of: list[tuple[str, str]], cell: str = "c") -> Shown:
    return Shown(cell, cell, 0.0, answers(of))


@given(pairs, st.sampled_from(["asr", "phoneme"]))
def test_edits_add_up_to_the_error_rate(of, name):
    task = TASKS[name]
    found = of_column(task, None, [shown(of)], limit=100)
    counts = found["cells"][0]["counts"]
    edits = counts["substitutions"] + counts["deletions"] + counts["insertions"]
    rate = task.score([r for r, _ in of], [a for _, a in of])[task.primary]
    assert edits / counts["reference"] == rate
    assert counts["hits"] + counts["substitutions"] + counts["deletions"] == counts["reference"]
    words = {f"u{n:02}": len(task.normalise(r).split()) for n, (r, _) in enumerate(of)}
    listed = [(one["id"], one["answers"][0]["errors"]) for one in found["utterances"]]
    assert sum(errors * words[name] for name, errors in listed) == pytest.approx(edits)
    assert found["total"] == len(of) and found["wrong"] == len(listed)


@given(pairs, st.sampled_from([("asr", None), ("phoneme", None), ("translation", "de"), ("translation", "zh")]))
def test_aligned_spans_are_the_reference_and_the_answer_as_they_are_scored(of, asked):
    task, variant = TASKS[asked[0]], asked[1]
    blank = "" if variant == "zh" else " "
    found = of_column(task, variant, [shown(of)], limit=100)
    for one in found["utterances"]:
        (said,) = one["answers"]
        for side, text in ((1, one["reference"]), (2, said["answer"])):
            spans = [span[side] for span in said["diff"] if span[side]]
            assert blank.join(spans) == blank.join(task.normalise(text).split())
        for operation, reference, answer in said["diff"]:
            if operation == "equal":
                assert reference == answer
            assert bool(reference) == (operation != "insert") and bool(answer) == (operation != "delete")
    edits = Counter(operation for one in found["utterances"] for operation, *_ in one["answers"][0]["diff"])
    counts = found["cells"][0]["counts"]
    assert bool(edits["insert"]) == bool(counts["insertions"]) and bool(edits["delete"]) == bool(counts["deletions"])


@given(pairs)
def test_a_translation_is_as_wrong_as_its_characters(of):
    from sacrebleu import sentence_chrf

    found = of_column(TASKS["translation"], "de", [shown(of)], limit=100)
    for one in found["utterances"]:
        (said,) = one["answers"]
        assert said["errors"] == pytest.approx(1 - sentence_chrf(said["answer"], [one["reference"]]).score / 100)


labels = st.sampled_from(["yes", "no", "stop", "go"])


@given(st.lists(st.tuples(labels, labels | st.sampled_from(["", "never meant"])), min_size=1, max_size=30))
def test_the_diagonal_of_a_confusion_matrix_is_the_accuracy(of):
    task = TASKS["keyword"]
    found = of_column(task, None, [shown(of)], ["yes", "no", "never there"], limit=100)
    (cell,) = found["cells"]
    table, names = np.array(cell["confusion"]), cell["labels"]
    assert table.sum() == len(of) and table.shape == (len(names), len(names))
    accuracy = task.score([r for r, _ in of], [a for _, a in of])["accuracy"]
    assert table.trace() / len(of) == accuracy
    assert {"yes", "no", "never there", *(r for r, _ in of), *(a or NOTHING for _, a in of)} == set(names)
    for label in names:
        at = names.index(label)
        assert table[at].sum() == sum(r == label for r, _ in of)
        assert table[:, at].sum() == sum((a or NOTHING) == label for _, a in of)
    assert table[names.index("never there")].sum() == table[:, names.index("never there")].sum() == 0
    assert [one["answers"][0]["errors"] for one in found["utterances"]] == [1.0] * sum(r != a for r, a in of)


def test_of_many_labels_the_most_confused_stay_and_the_others_share_a_place():
    chance = random.Random(0)
    names = [f"intent {number:03}" for number in range(90)]
    right = [(name, name) for name in names] * 3
    wrong = [(chance.choice(names[:50]), chance.choice(names[:50])) for _ in range(400)]
    of = right + wrong + [("intent 000", "intent 001")] * 20
    cells = of_column(TASKS["intent"], None, [shown(of, "a"), shown(right, "b")])["cells"]
    assert cells[0]["labels"] == cells[1]["labels"] and len(cells[0]["labels"]) == LABELS
    for cell, asked in zip(cells, (of, right), strict=True):
        table = np.array(cell["confusion"])
        rest = cell["labels"][-1]
        assert rest == f"{91 - LABELS} others" and cell["others"]["labels"] == 91 - LABELS
        assert table.sum() == len(asked)
        assert table.trace() - cell["others"]["confused"] == sum(r == a for r, a in asked)
    assert {"intent 000", "intent 001"} < set(cells[0]["labels"]) and cells[0]["others"]["confused"] > 0


@given(pairs, st.randoms(), st.integers(0, 5))
def test_the_worst_come_first_in_whatever_order_they_are_read(of, random, limit):
    def listed(given: tuple[Answer, ...], limit: int) -> list[dict]:
        cells = [Shown("a", "a", 0.0, given), Shown("b", "b", 0.0, answers([(r, "turn") for r, _ in of]))]
        return of_column(TASKS["asr"], None, cells, limit=limit)["utterances"]

    every = listed(answers(of), 100)
    means = [np.mean([one["errors"] for one in utterance["answers"]]) for utterance in every]
    assert [(-mean, one["id"]) for mean, one in zip(means, every, strict=True)] == sorted(
        (-mean, one["id"]) for mean, one in zip(means, every, strict=True)
    )
    mixed = list(answers(of))
    random.shuffle(mixed)
    assert listed(tuple(mixed), limit) == every[:limit]


def test_cells_that_were_asked_different_utterances_stand_beside_what_they_were_asked():
    mine = Shown("a", "a", 0.0, (Answer("u1", None, "turn on", "off"), Answer("u2", None, "stop", "go")))
    theirs = Shown("b", "b", 0.0, (Answer("u1", None, "turn left", "off"), Answer("u3", None, "stop", "", "no audio")))
    found = of_column(TASKS["asr"], None, [mine, theirs])
    asked = {(one["id"], one["reference"]): [a["cell"] for a in one["answers"]] for one in found["utterances"]}
    assert asked == {("u1", "turn on"): ["a"], ("u1", "turn left"): ["b"], ("u2", "stop"): ["a"], ("u3", "stop"): ["b"]}
    assert [a["error"] for one in found["utterances"] if one["id"] == "u3" for a in one["answers"]] == ["no audio"]


def test_dev_chooses_what_is_shown_of_each_kind_of_features():
    def cell(value: float, dev: float | None, **arm) -> dict:
        return record(value=value, **arm) | {"dev": None if dev is None else {"wer": dev}}

    cells = [
        cell(0.1, 0.5, **CONTINUOUS),
        cell(0.9, 0.4, **CONTINUOUS, seed=1),
        cell(0.2, None, **DISCRETE),
        cell(0.8, 0.7, **(DISCRETE | {"codebook": 7})),
        cell(0.1, 0.8, **(DISCRETE | {"codebook": 8})),
        record("failed", "boom", features="centroids", codebook=7),
        cell(0.0, 0.0, features="none"),
    ]
    matrix = Matrix("s", cells)
    (contest,) = contests(matrix.layout, places(matrix.layout, matrix.cells))
    assert [cells.index(one) for one in chosen(contest)] == [1, 3]


@pytest.fixture(scope="module")
def grid(spoken, tmp_path_factory) -> Grid:
    """Four finished cells: keywords of the smoke corpus, and sentences that are parts of the user's one long file."""
    root = tmp_path_factory.mktemp("mistakes")
    shutil.copytree(spoken.store.root, root / "state")
    body = content(encoder="logmel", layer=0, features=KINDS)
    body["recipes"]["small"] |= {"max_epochs": 1}
    body["corpora"]["mine"] = {"reader": "manifest", "path": str(manifest(spoken, root / "my words"))}
    body["grid"] = [body["grid"][0] | asked for asked in ({"task": "keyword"}, {"task": "asr", "corpus": "mine"})]
    made = Grid(parse(body | {"name": "two-corpora"}), root / "state")
    assert made.run(local=True, monitor=Log(), track=False).counts()["ok"] == 4
    return made


KINDS = [{"kind": "continuous", "downsample": 4}, {"kind": "discrete", "codebook": 12}]


def manifest(spoken: Speech, folder: Path) -> Path:
    """The sentences of the smoke corpus one after the other in a file whose name a URL must escape, and their table."""
    folder.mkdir()
    heard = {one.id: read(one.path) for one in read_recordings(spoken.store.open(spoken.recordings))}
    table = READERS["synthetic"](preset="smoke").table()
    table = table[table["text"].notna()]
    waves = [heard[name] for name in table["id"]]
    ends = np.cumsum([len(wave) for wave in waves]) / 16_000
    soundfile.write(folder / "tape #1.wav", np.concatenate(waves), 16_000)
    seconds = np.diff(ends, prepend=0.0)
    rows = table[["id", "speaker", "split", "text"]].assign(audio="tape #1.wav", start=ends - seconds, seconds=seconds)
    rows.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_stored_predictions_give_the_stored_scores(grid, tmp_path):
    matrix = grid.matrix()
    found = mistakes(grid.graph, grid.store, matrix, tmp_path, audio="none")
    assert [(one["title"], one["kind"], one["metric"]) for one in found] == [
        ("keyword spoken", "classification", "accuracy"),
        ("asr mine", "sequence", "wer"),
    ]
    scores = {cell["cell"]: cell for cell in matrix.cells}
    for one in found:
        assert [cell["label"] for cell in one["cells"]] == ["continuous", "discrete"] and one["unread"] == []
        for cell in one["cells"]:
            (result,) = scores[cell["cell"]]["results"]
            assert cell["score"] == result["metrics"][one["metric"]] and one["total"] == result["n"]
            if one["kind"] == "sequence":
                counts = cell["counts"]
                edits = counts["substitutions"] + counts["deletions"] + counts["insertions"]
                assert edits / counts["reference"] == cell["score"]
            else:
                assert np.trace(cell["confusion"]) / result["n"] == cell["score"]
                training = grid.graph.scorings[next(c for c in grid.cells if c.id == cell["cell"])].training
                assert set(training.task.labels) <= set(cell["labels"])
        assert 0 < len(one["utterances"]) <= 30
        assert {u["audio"]["why"] for u in one["utterances"]} == {"not asked for"}


def test_links_lead_from_the_page_to_the_audio(grid):
    page = grid.store.root / "reports"
    keyword, asr = mistakes(grid.graph, grid.store, grid.matrix(), page, limit=3)
    for one, whole in ((keyword, True), (asr, False)):
        for utterance in one["utterances"]:
            audio = utterance["audio"]
            url = urlsplit(audio["src"])
            assert audio["why"] is None and not url.path.startswith("/") and not url.query
            found = (page / unquote(url.path)).resolve()  # the page is still to be written
            start, seconds = audio["start"], audio["seconds"]
            if whole:
                assert url.fragment == "" and found.stem == utterance["id"]
                assert len(read(found)) / 16_000 == pytest.approx(seconds) and start == 0
            else:
                assert url.fragment == f"t={start:.3f},{start + seconds:.3f}" and found.name == "tape #1.wav"


def test_embedded_audio_is_the_utterance_itself(grid, spoken, tmp_path):
    heard = {one.id: read(one.path) for one in read_recordings(spoken.store.open(spoken.recordings))}
    for one in mistakes(grid.graph, grid.store, grid.matrix(), tmp_path, 2, "embed"):
        for utterance in one["utterances"]:
            audio, original = utterance["audio"], heard[utterance["id"]]
            wave = decoded(audio["src"])
            assert audio["start"] == 0 and audio["seconds"] == pytest.approx(len(original) / 16_000, abs=1e-3)
            length = min(len(wave), len(original))
            assert np.corrcoef(wave[:length], original[:length])[0, 1] > 0.95
            assert len(audio["src"]) < len(original)  # less than half of what 16 bits a sample take


def decoded(source: str) -> np.ndarray:
    head, _, body = source.partition(",")
    assert head == "data:audio/mpeg;base64"
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(body)))
    assert rate == 16_000
    return wave


def test_predictions_that_cannot_be_read_are_said(grid, tmp_path):
    root = Path(shutil.copytree(grid.store.root, tmp_path / "copy"))
    copy = Grid(grid.space, root)
    matrix = copy.matrix()
    broken = next(c for c in copy.cells if c.task == "asr" and c.features == "continuous")
    path = copy.store.folder(copy.graph.scorings[broken]) / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-8])
    found = mistakes(copy.graph, copy.store, matrix, root)[-1]
    assert [one["cell"] for one in found["unread"]] == [broken.id] and "bytes" in found["unread"][0]["why"]
    assert [one["label"] for one in found["cells"]] == ["discrete"] and found["utterances"]


def test_a_table_of_recordings_that_rotted_takes_away_the_audio_alone(grid, tmp_path):
    root = Path(shutil.copytree(grid.store.root, tmp_path / "copy"))
    copy = Grid(grid.space, root)
    (asr,) = {cell.corpus for cell in copy.cells if cell.task == "asr"}
    path = copy.store.folder(copy.graph.corpora[asr].recordings) / "recordings.parquet"
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))
    found = mistakes(copy.graph, copy.store, copy.matrix(), root)[-1]
    assert found["utterances"] and all("checksum" in one["audio"]["why"] for one in found["utterances"])


@pytest.fixture
def tone(tmp_path) -> Path:
    """Four seconds, each louder than the one before, in a folder whose name a URL must escape."""
    path = tmp_path / "my words #1" / "ä 100%?.wav"
    path.parent.mkdir()
    loud = np.repeat([0.1, 0.2, 0.4, 0.8], 16_000)
    soundfile.write(path, loud * np.sin(np.arange(len(loud)) / 20), 16_000)
    return path


def test_a_part_of_a_longer_file_is_linked_as_a_fragment_and_embedded_alone(tone, tmp_path):
    part = Recording("u", tone, 2.0, 1.0, whole=False)
    page = tmp_path / "pages" / "today"
    link = describe(part, None, page, "link")
    url = urlsplit(link["src"])
    assert url.fragment == "t=2.000,3.000" and not url.query and not url.scheme
    assert (page / unquote(url.path)).resolve() == tone and (link["start"], link["seconds"]) == (2.0, 1.0)
    embedded = describe(part, None, page, "embed")
    wave = decoded(embedded["src"])
    assert embedded["start"] == 0.0 and len(wave) == pytest.approx(16_000, abs=2_000)
    assert np.abs(wave[2_000:14_000]).max() == pytest.approx(0.4, abs=0.05)
    whole = describe(Recording("u", tone, None, 4.0, whole=True), None, page, "link")
    assert "#" not in whole["src"] and whole["start"] == 0.0


def test_audio_that_cannot_be_heard_says_why(tone, tmp_path):
    def why(path: Path, how: str, inside: Path | None = None) -> str:
        found = describe(Recording("u", path, None, 4.0, whole=True), inside, tmp_path, how)
        assert found["src"] is None and found["seconds"] == 4.0
        return found["why"]

    wave, rate = soundfile.read(tone)
    aiff, text = tmp_path / "a.wav", tmp_path / "b.wav"
    soundfile.write(aiff, wave, rate, format="AIFF")  # whatever it is called
    text.write_text("not audio")
    assert "browsers don't play AIFF files" in why(aiff, "link")
    assert describe(Recording("u", aiff, None, 4.0, whole=True), None, tmp_path, "embed")["src"]
    assert "can't be read as audio" in why(text, "link") and "can't be read as audio" in why(text, "embed")
    for how in ("link", "embed"):
        assert "is not there any more" in why(tmp_path / "gone.wav", how)
        for outside in (Path("../a.wav"), tone, Path("x/../../a.wav")):
            assert "outside" in why(outside, how, inside=tmp_path / "pages")
