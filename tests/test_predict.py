"""A trained cell on raw audio answers as it was scored, and says in one line what it can't answer."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from grid_material import Log
from hypothesis import given
from hypothesis import strategies as st
from trained_material import CELLS, asked, recordings, trained
from typer.testing import CliRunner

from orchestrator import audio, cli, inference, space_file
from orchestrator.cell import Cell
from orchestrator.commands.trained import predict as answered
from orchestrator.decoders import DecoderSpec, Recipe
from orchestrator.encoders import EncoderSpec
from orchestrator.encoders.published import UnknownEncoder
from orchestrator.errors import StageError, UserError
from orchestrator.grid import Grid
from orchestrator.inference import finding, places
from orchestrator.inference.listening import hear, look
from orchestrator.inference.pcm import Encoding, Pcm
from orchestrator.inference.pipeline import Pipeline
from orchestrator.inference.restore import PARTS, STAGES
from orchestrator.stage import Stage, walk
from orchestrator.stages.analysis import Analysis
from orchestrator.stages.inference import Inference
from orchestrator.stages.speech import Speech
from orchestrator.store import Store

pytestmark = pytest.mark.slow

WILD = Recipe(batch=16, learning_rate=1e30, warmup_steps=0, max_epochs=3)
"""Nothing stays finite with it."""


@pytest.fixture(scope="module")
def grid(spoken) -> Grid:
    return trained(spoken)


@pytest.fixture(scope="module")
def heard(grid):
    return recordings(grid)


@pytest.fixture(scope="module")
def asr(grid) -> Pipeline:
    """A cell that writes what it hears, loaded."""
    return inference.load(one(grid, task="asr", features="continuous").id, grid.store.root)


def one(grid: Grid, **wanted: object) -> Cell:
    return next(c for c in grid.cells if all(getattr(c, key) == value for key, value in wanted.items()))


# As it was scored


@pytest.fixture(scope="module", params=range(CELLS))
def pipeline(grid: Grid, request) -> Pipeline:
    """Each cell of the space, loaded."""
    return inference.load(grid.cells[request.param].id[:8], grid.store.root)


def test_from_raw_audio_every_answer_is_the_one_that_was_scored(pipeline: Pipeline, heard):
    table = asked(pipeline.trained)
    answers = list(pipeline.predict(look(heard[name].path, pipeline.trained.limits) for name in table["id"]))
    assert [a.error for a in answers] == [None] * len(table)
    assert [a.answer for a in answers] == table["answer"].tolist()


def test_what_the_decoder_reads_is_what_it_was_trained_with(pipeline: Pipeline, grid: Grid, heard):
    """Token by token and value by value, from waveforms, also for training utterances."""
    speech = grid.graph.scorings[pipeline.trained.cell].training.speech
    ids = grid.graph.corpora["spoken"].table["id"].iloc[::9].tolist()
    ours = pipeline.tokens(pipeline.encode([audio.read(*heard[name].part) for name in ids]))
    if not pipeline.hears:
        assert ours == [None] * len(ids)
        return
    stored = speech.load(grid.store.open, ids)
    for name, values in zip(ids, ours, strict=True):
        expected, got = np.asarray(stored[name]), np.asarray(values)
        assert got.shape == expected.shape and got.dtype == expected.dtype
        if (
            speech.kind == "continuous"
        ):  # another batch differs in the last bits of float32, and so rarely in one of fp16
            assert np.allclose(got, expected, rtol=2e-3, atol=1e-3)
        else:
            assert np.array_equal(got, expected)


def test_answers_tell_utterances_apart(grid: Grid):
    """Else the equality above would say little."""
    found = finding.find(Store(grid.store.root), one(grid, task="asr", features="discrete").id)
    assert asked(found)["answer"].nunique() > 3


def test_a_cell_needs_neither_its_space_nor_its_corpus_nor_what_was_computed_of_it(grid: Grid, tmp_path: Path, heard):
    """Only recordings.parquet is left of the corpus; features and units are gone, but for their manifests."""
    shutil.copytree(grid.store.root, tmp_path / "state", ignore=shutil.ignore_patterns("*.flac", "shard-*"))
    cell = one(grid, features="discrete", bpe=24, task="keyword")
    found = finding.find(Store(tmp_path / "state"), cell.id)
    row = asked(found).iloc[0]
    assert Pipeline(found).read(heard[row["id"]].path) == row["answer"]


def test_what_is_restored_from_manifests_is_what_the_graph_made(grid: Grid):
    for cell in grid.cells:
        found = finding.find(Store(grid.store.root), cell.id)
        made = grid.graph.scorings[cell]
        assert found.scoring.identity == made.identity and found.cell == cell
        assert [s.identity for s in walk(found.scoring)] == [s.identity for s in walk(made)]


def test_whatever_a_cell_can_be_made_of_can_be_restored():
    """An encoder, a decoder or a kind of features that is added is named in restore.py, or no cell of it can be used."""
    specs = {*descendants(EncoderSpec), *descendants(DecoderSpec), *get_args(Speech)} - {UnknownEncoder}
    ours = {kind for kind in specs if kind.__module__.startswith("orchestrator.")}
    assert ours <= set(PARTS.values())
    stages = {kind for kind in descendants(Stage) if kind.__module__.startswith("orchestrator.")}
    assert stages - {Analysis, Inference} == set(STAGES)


def descendants(kind: type) -> set[type]:
    return {below for child in kind.__subclasses__() for below in (child, *descendants(child))}


def test_one_waveform_and_many_have_the_same_answers(grid: Grid, asr: Pipeline, heard):
    waves = [audio.read(*recording.part) for recording in list(heard.values())[:6]]
    assert asr(waves) == [asr([wave])[0] for wave in waves]
    with pytest.raises(StageError, match="too short"):
        asr([waves[0], waves[0][:100]])


# What is heard


@pytest.mark.parametrize(("rate", "channels", "ending"), [(8_000, 1, "wav"), (44_100, 2, "flac"), (22_050, 1, "ogg")])
def test_any_rate_and_any_channels_come_in_as_they_do_in_a_corpus(
    asr: Pipeline, heard, tmp_path, rate, channels, ending
):
    wave = np.resize(audio.read(next(iter(heard.values())).path), 2 * rate)
    path = tmp_path / f"sound.{ending}"
    soundfile.write(path, np.stack([wave] * channels, 1), rate)
    assert asr.read(path) == asr([audio.read(path)])[0]


@pytest.mark.parametrize("encoding", list(Encoding))
def test_samples_on_a_pipe_are_answered_as_the_same_samples_in_a_file(
    asr: Pipeline, heard, tmp_path, encoding: Encoding
):
    for recording in list(heard.values())[:3]:
        wave, rate = soundfile.read(recording.path, dtype="int16" if encoding is Encoding.s16le else "float32")
        raw = io.BytesIO(wave.tobytes())
        (found,) = [next(asr.predict([one])) for one in hear(raw, Pcm(rate, 1, encoding), asr.trained.limits)]
        assert found.answer == asr.read(recording.path) and found.audio == "-"


@given(samples=st.lists(st.integers(-30_000, 30_000), min_size=2, max_size=400), channels=st.integers(1, 3))
def test_raw_samples_are_kept_exactly_and_an_incomplete_one_is_left_out(tmp_path_factory, samples, channels):
    path = tmp_path_factory.mktemp("pcm") / "x.wav"
    pcm = Pcm(8_000, channels)
    raw = np.array(samples, "<i2").tobytes()
    pcm.save(raw + b"\x07", path)
    read, rate = soundfile.read(path, dtype="int16", always_2d=True)
    whole = len(samples) // channels
    assert rate == 8_000 and read.flatten().tolist() == samples[: whole * channels]


def test_a_stream_is_answered_chunk_by_chunk_as_it_comes(asr: Pipeline, heard):
    recording = max(list(heard.values())[:30], key=lambda r: r.seconds)
    wave, rate = soundfile.read(recording.path, dtype="int16")

    class Slow(io.BytesIO):
        """Gives little at a time, as a microphone does."""

        def read(self, size: int = -1) -> bytes:
            return super().read(min(size, 1001) if size > 0 else size)

    seconds, given = [], 0
    for found in hear(Slow(wave.tobytes()), Pcm(rate), asr.trained.limits, chunk=0.5):
        seconds.append(found.seconds)
        assert found.name == f"-@{given / rate:.2f}" and next(asr.predict([found])).audio == found.name
        given += round(found.seconds * rate)
    left = len(wave) - given
    assert 0 <= left < 0.1 * rate and seconds[:-1] == [0.5] * (len(seconds) - 1) and len(seconds) > 1


# On the command line


@pytest.fixture
def predict(grid: Grid) -> Callable[..., tuple[int, str, str]]:
    """`tokengrid predict` over the finished store: exit code, output, errors."""

    def call(*arguments: object, store: Path | None = None, raw: bytes = b"") -> tuple[int, str, str]:
        return command("predict", *arguments, "--store", store or grid.store.root, raw=raw)

    return call


def command(*arguments: object, raw: bytes = b"") -> tuple[int, str, str]:
    """A command, with the user's errors in the words that the command line prints."""
    ended = CliRunner().invoke(cli.app, [*map(str, arguments)], input=raw)
    if isinstance(ended.exception, UserError):
        return 2, ended.stdout, str(ended.exception)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.stdout, ended.stderr


def paths(heard, count: int) -> Sequence[Path]:
    return [recording.path for recording in list(heard.values())[:count]]


def test_every_format_names_each_recording_and_its_answer(predict, asr: Pipeline, heard):
    files = paths(heard, 3)
    expected = [asr.read(path) for path in files]
    cell = asr.trained.cell.id
    code, out, _ = predict(cell, *files)
    assert code == 0 and out.splitlines() == [f"{p}\t{a}" for p, a in zip(files, expected, strict=True)]
    code, out, _ = predict(cell, *files, "--format", "json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["answer"] for row in rows] == expected and all(row["seconds"] > 0 for row in rows)
    code, out, _ = predict(cell, *files, "--format", "csv")
    assert [row["answer"] for row in csv.DictReader(io.StringIO(out))] == expected


def test_bad_recordings_are_named_with_their_reason_and_the_others_are_answered(
    predict, asr: Pipeline, heard, tmp_path
):
    good = paths(heard, 2)
    rate, tone = 16_000, np.sin(np.arange(16_000) / 5).astype(np.float32)
    bad = {
        "silent.wav": (np.zeros(rate), "is silent"),
        "short.wav": (tone[:100], "too short"),
        "long.wav": (np.tile(tone, 31), "too long"),
        "nan.wav": (np.where(np.arange(rate) == 7, np.nan, tone), "not numbers"),
        "empty.wav": (tone[:0], "holds no samples"),
    }
    for name, (wave, _) in bad.items():
        soundfile.write(tmp_path / name, wave, rate, subtype="FLOAT")
    (tmp_path / "junk.wav").write_text("no audio")
    (tmp_path / "nothing").mkdir()
    reasons = {name: reason for name, (_, reason) in bad.items()}
    reasons |= {"junk.wav": "not audio", "absent.wav": "no such file", "nothing": "folder without audio"}
    code, out, err = predict(asr.trained.cell.id, good[0], *(tmp_path / name for name in reasons), good[1])
    assert code == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(path) for path in good]
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == len(reasons) and "Traceback" not in err
    for line, (name, reason) in zip(lines, reasons.items(), strict=True):
        assert str(tmp_path / name) in line and reason in line


def test_a_folder_is_all_audio_in_it_sorted(predict, asr: Pipeline, heard, tmp_path):
    for name, path in zip(("b.flac", "a/c.flac", "a/d.FLAC"), paths(heard, 3), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / name)
    (tmp_path / "notes.txt").write_text("not audio")
    code, out, _ = predict(asr.trained.cell.id, tmp_path)
    there = [Path(line.split("\t")[0]).relative_to(tmp_path).as_posix() for line in out.splitlines()]
    assert code == 0 and there == ["a/c.flac", "a/d.FLAC", "b.flac"]


def test_standard_input_is_read_once_and_not_when_empty(predict, asr: Pipeline, heard):
    wave, _ = soundfile.read(paths(heard, 1)[0], dtype="int16")
    cell = asr.trained.cell.id
    code, out, _ = predict(cell, "-", raw=wave.tobytes())
    assert (code, out) == (0, f"-\t{asr.read(paths(heard, 1)[0])}\n")
    code, _, err = predict(cell, "-")
    assert code == 1 and "no samples came" in err
    assert predict(cell, "-", "-")[0] == 2


def test_a_cell_that_hears_nothing_says_so(predict, grid: Grid, heard):
    code, _, err = predict(one(grid, features="none").id, paths(heard, 1)[0])
    assert code == 0 and "hears nothing" in err


@pytest.mark.parametrize("cell", ["", "zz", "../x"])
def test_a_cell_that_is_not_there_is_answered_with_those_that_are(predict, grid: Grid, cell: str):
    code, out, err = predict(cell, "a.wav")
    assert (code, out) == (2, "") and f"no finished cell begins with '{cell}'" in err
    assert all(one.id in err for one in grid.cells)


def test_a_beginning_that_several_cells_share_lists_them(grid: Grid):
    first = next(c.id[0] for c in grid.cells if sum(o.id[0] == c.id[0] for o in grid.cells) > 1)
    with pytest.raises(UserError, match=f"cells begin with '{first}'"):
        finding.find(Store(grid.store.root), first)


def test_a_cell_that_failed_or_is_not_finished_says_why(grid: Grid, tmp_path: Path):
    root = Path(shutil.copytree(grid.store.root, tmp_path / "state"))
    space = grid.space.model_copy(update={"recipes": {**grid.space.recipes, "wild": (WILD,)}})
    block = grid.space.grid[0].model_copy(update={"recipe": ("wild",)})
    space = space.model_copy(update={"grid": (block,)})
    bad = Grid(space, root, {"features": ["none"]})
    assert bad.run(local=True, monitor=Log(), track=False).counts()["failed"] == 1
    with pytest.raises(UserError, match=r"failed when it was last run: .*diverged"):
        finding.find(Store(root), bad.cells[0].id)
    with pytest.raises(UserError, match="is not finished: tokengrid run smoke"):
        finding.find(Store(root), space_file.load("smoke").cells()[0].id, "smoke")
    with pytest.raises(UserError, match="has no finished cell"):
        finding.find(Store(tmp_path / "new"), "abc")


def test_a_checkpoint_that_moved_is_found_where_the_store_or_the_space_says(grid: Grid, tmp_path: Path, heard):
    """Where it is, is noted when a cell is finished; without that note the space that defines it is asked for."""
    cell = one(grid, encoder="hubert", decoder="whole")
    root = Path(shutil.copytree(grid.store.root, tmp_path / "state"))
    content = grid.graph.scorings[cell].training.speech.encoder.content
    assert Path(places.recall(Store(root), content)).name == "hubert"
    shutil.rmtree(root / "checkpoints")
    with pytest.raises(UserError, match="name the space that defines it with --space"):
        finding.find(Store(root), cell.id)


def test_a_name_that_leaves_the_store_is_no_content():
    assert places.CONTENT.fullmatch("../../etc/passwd0000") is None


def test_standard_input_that_is_closed_or_named_twice_is_the_user_s_to_mend(monkeypatch):
    with pytest.raises(UserError, match="can be read once"):
        answered("0123", ["-", "-"])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="is closed: pipe raw samples into it"):
        answered("0123", ["-"])


@pytest.mark.parametrize("option", ["--rate=999999999999", "--channels=3000", "--chunk=1e12"])
def test_raw_samples_that_no_file_can_hold_are_refused(option: str):
    done = CliRunner().invoke(cli.app, ["predict", "0123", "-", option], input=b"\0" * 100)
    assert done.exit_code == 2 and option.partition("=")[0] in done.output


def test_a_file_whose_name_is_no_text_is_named_and_the_others_are_answered(predict, grid: Grid, heard, tmp_path: Path):
    odd, good = tmp_path / os.fsdecode(b"odd \xff.wav"), paths(heard, 1)[0]
    shutil.copy(good, odd)
    for shown in ("text", "json", "csv"):
        code, out, err = predict(one(grid, features="none").id, odd, good, "--format", shown)
        assert code == 1 and str(good) in out and "udcff.wav: its name is no text in UTF-8" in err
