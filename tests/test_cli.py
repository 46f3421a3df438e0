"""The command line: exit codes, words for the user, and what scripts read from standard output."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from grid_material import Log, artifacts, content, process, tiny

from orchestrator import cli
from orchestrator.grid import Grid
from orchestrator.matrix import COORDINATES, COST, KEYS, Matrix
from orchestrator.tracking import Tracker

PROJECT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "orchestrator.cli"]


def written(path: Path, text: str | dict) -> Path:
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text), "utf-8")
    return path


@pytest.fixture(scope="module")
def half(spoken, tmp_path_factory) -> tuple[Path, Path]:
    """The file of the tiny space, and a store in which the half of its cells has run: those without a codebook."""
    folder = tmp_path_factory.mktemp("half")
    root = Path(shutil.copytree(spoken.store.root, folder / "state"))
    only = {"features": ["continuous", "none"], "task": ["keyword"]}
    assert Grid(tiny(), root, only).run(local=True, monitor=Log(), track=False).counts()["ok"] == 2
    return written(folder / "tiny.yaml", content()), root


def test_the_json_is_the_contract_and_nothing_else_is_on_standard_output(half):
    """As a script calls it: a process of its own, standard output parsed strictly."""
    space, root = half
    ended = subprocess.run(
        [*COMMAND, "matrix", str(space), "--store", str(root), "--format", "json"], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    body = json.loads(ended.stdout, parse_constant=refuse)
    assert list(body) == ["space", "cells", "about"] and body["space"] == "tiny"
    assert Counter(cell["status"] for cell in body["cells"]) == {"ok": 2, "missing": 4}
    for cell in body["cells"]:
        assert list(cell)[: len(KEYS)] == list(KEYS)
        assert re.fullmatch("[0-9a-f]{12}", cell["cell"])
        if cell["status"] == "missing":
            assert cell["results"] == [] and cell["metrics"] is cell["cost"] is cell["stopped"] is cell["dev"] is None
            continue
        first = cell["results"][0]
        assert {"test_set", "split", "n", "metrics", "baseline"} <= set(first) and first["split"] == "test"
        assert cell["metrics"] == first["metrics"] and cell["baseline"] == first["baseline"]
        assert cell["stopped"] in ("plateau", "budget") and cell["primary"] == "accuracy" and cell["reason"] is None
        assert 0 <= cell["metrics"]["accuracy"] <= 1 and set(cell["dev"]) == set(cell["metrics"])
        assert set(COST) <= set(cell["cost"]) and cell["cost"]["train_seconds"] > 0
        codebook = [cell[key] for key in ("codebook", "codebook_corpus", "codebook_seed", "dedup", "bpe")]
        assert codebook == [None] * 5


def test_the_contract_has_the_coordinates_that_name_a_cell():
    expected = """task variant corpus fold encoder layer features downsample codebook codebook_corpus codebook_seed
        dedup bpe decoder recipe init seed"""
    assert tuple(expected.split()) == COORDINATES
    expected = """train_seconds steps epochs tokens trials_at_once tokens_per_second_of_audio bits_per_second
        seconds_to_best flops flops_to_best peak_memory_bytes own_seconds shared_seconds shared_out_seconds total_seconds
        rtf first_token_seconds rtf_batched first_token_seconds_batched"""
    assert tuple(expected.split()) == COST


def test_every_format_of_the_matrix_shows_every_cell_also_half_way(tokengrid, half):
    space, root = half
    code, out, err = tokengrid("matrix", space, "--store", root, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err) == (0, "") and Counter(row["status"] for row in rows) == {"ok": 2, "missing": 4}
    code, out, _ = tokengrid("matrix", space, "--store", root, "--format", "md")
    assert code == 0 and "| discrete" in out and "missing" in out
    code, out, _ = tokengrid("matrix", space, "--store", root)
    assert code == 0 and "2 of 6 cells finished" in out and "missing" in out and "none" in out
    code, out, _ = tokengrid("matrix", space, "--store", root, "--format", "json", "--only", "task=keyword")
    assert code == 0 and len(Matrix.from_json(out).cells) == 3


def test_a_plan_of_a_part_done_says_what_is_cached_and_builds_nothing(tokengrid, half):
    space, root = half
    before = artifacts(root)
    code, out, _ = tokengrid("plan", space, "--store", root)
    lines = {line.split()[0]: line.split()[1:4] for line in out.splitlines() if line.strip()}
    assert code == 0 and "6 cells, 2 finished, 4 to run" in out
    assert lines["recordings"] == lines["pretraining"] == lines["features"] == ["1", "1", "0"]
    assert lines["codebook"] == lines["units"] == lines["bpe"] == ["1", "0", "1"]
    assert lines["training"] == lines["scoring"] == ["6", "2", "4"]
    assert re.search(r"corpus spoken: 0\.\d\d h of audio", out)
    assert artifacts(root) == before
    code, out, _ = tokengrid("plan", space, "--store", root, "--only", "task=keyword", "--only", "features=none")
    assert code == 0 and "1 cells, 1 finished, 0 to run" in out


def test_a_plan_before_anything_is_known_builds_nothing_and_says_what_it_cannot_know(tokengrid, tmp_path):
    code, out, _ = tokengrid("plan", "smoke", "--store", tmp_path / "new")
    assert code == 0 and "15 cells, 0 finished, 15 to run" in out
    assert "corpus spoken: hours unknown until its audio is made or indexed" in out and "rough" in out
    corpus = speakers(tmp_path)
    space = written(tmp_path / "mine.yaml", own(corpus))
    code, out, _ = tokengrid("plan", space, "--store", tmp_path / "new")
    assert code == 0 and "corpus mine is not indexed yet" in out
    assert artifacts(tmp_path / "new") == {}


def test_a_valid_space_is_counted_and_things_are_listed(tokengrid):
    assert tokengrid("validate", "smoke")[:2] == (0, "smoke is valid: 15 cells\n")
    code, out, _ = tokengrid("ls")
    assert code == 0 and all(word in out for word in ("asr", "manifest", "logmel", "tiny", "smoke", "demo"))
    code, out, _ = tokengrid("ls", "tasks")
    assert code == 0 and "translation" in out and "manifest" not in out


def test_every_problem_of_a_space_is_named_at_once_with_its_place_and_the_nearest_name(tokengrid, tmp_path):
    broken = content(task=["keyword", "intnt"], encoder="app", seed=[], colour="red")
    broken["corpora"]["spoken"]["preset"] = "smok"
    broken["recipes"]["small"]["learning_rate"] = "fast"
    code, out, err = tokengrid("validate", written(tmp_path / "broken.yaml", broken))
    assert (code, out) == (2, "")
    for wanted in (
        "broken.yaml",
        "'intnt'",
        "'intent'",
        "'app'",
        "'apc'",
        "seed",
        "empty",
        "colour",
        "'smok'",
        "'smoke'",
    ):
        assert wanted in err
    assert "learning_rate" in err and "fast" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grid: [", "not valid YAML"),
        ("- 1\n- 2\n", "should hold a mapping"),
        ("", "should hold a mapping"),
        ("question: why\n", "corpora: this key is missing"),
        ("!!python/object/apply:os.system [exit 3]\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_space_is_the_user_s_to_mend(tokengrid, tmp_path, text, words):
    code, out, err = tokengrid("run", written(tmp_path / "x.yaml", text), "--store", tmp_path / "s")
    assert (code, out) == (2, "") and words in err.replace("grid: this key", "corpora: this key")


@pytest.mark.parametrize("command", ["validate", "plan", "run", "matrix"])
def test_an_unknown_space_is_named_with_the_nearest_one(tokengrid, tmp_path, command):
    store = [] if command == "validate" else ["--store", tmp_path]
    code, out, err = tokengrid(command, "smoek", *store)
    assert (code, out) == (2, "") and "no search space 'smoek'; did you mean 'smoke'" in err
    code, _, err = tokengrid(command, tmp_path / "gone.yaml", *store)
    assert code == 2 and "gone.yaml" in err


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("tsk=asr", "did you mean 'task'"),
        ("task", "coordinate=value"),
        ("task=", "coordinate=value"),
        ("task=emotion", "no cell of smoke has task=emotion"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run", "matrix"])
def test_an_unknown_part_is_refused(tokengrid, tmp_path, command, only, words):
    code, out, err = tokengrid(command, "smoke", "--only", only, "--store", tmp_path)
    assert (code, out) == (2, "") and words in err
    assert artifacts(tmp_path) == {}


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "smoke", "--stoer", "x"], ["matrix", "smoke", "--format", "xml"], ["ls", "cheese"], ["rnu"]],
)
def test_a_command_that_is_not_understood_is_refused(tokengrid, arguments):
    code, out, err = tokengrid(*arguments)
    assert (code, out) == (2, "") and err.startswith("error:")


@pytest.mark.parametrize("command", ["plan", "run", "matrix"])
def test_a_store_that_cannot_be_written_is_refused(tokengrid, tmp_path, command):
    (tmp_path / "file").write_text("not a folder")
    code, out, err = tokengrid(command, "smoke", "--store", tmp_path / "file" / "store")
    assert (code, out) == (2, "") and "can't be written" in err and "--store" in err
    (tmp_path / "old" / "store").mkdir(parents=True)
    (tmp_path / "old" / "store" / "FORMAT").write_text("99\n")
    code, out, err = tokengrid(command, "smoke", "--store", tmp_path / "old")
    assert (code, out) == (2, "") and "format 99" in err
    code, out, err = tokengrid(command, "smoke", "--store", "s3://bucket/store")
    assert (code, out) == (2, "") and "s3://bucket/store" in err


def test_a_cluster_that_is_not_there_is_the_user_s_to_mend(tokengrid, half, tmp_path):
    from mlflow import MlflowClient

    space, root = half[0], Path(shutil.copytree(half[1], tmp_path / "state"))
    code, _, err = tokengrid("run", space, "--store", root, "--address", "127.0.0.1:1")
    assert code == 2 and "no Ray cluster answers at '127.0.0.1:1'" in err and "--local" in err
    client = MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    assert not client.search_runs([experiment]), "a launch that never began should leave no run to look at"


def speakers(folder: Path, **changes: dict[int, str]) -> Path:
    """A table of 24 short recordings of two words; `changes`: column → row → value."""
    rows = []
    for i in range(24):
        name = f"{i:02}.wav"
        time_ = np.arange(6400) / 16000
        soundfile.write(folder / name, 0.3 * np.sin(2 * np.pi * (300 + 40 * i) * time_), 16000)
        split = "train" if i < 14 else "dev" if i < 18 else "test"
        rows.append({"id": f"u{i}", "audio": name, "split": split, "keyword": "yes" if i % 2 else "no"})
    for column, values in changes.items():
        for row, value in values.items():
            rows[row][column] = value
    with (folder / "mine.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return folder / "mine.csv"


def own(table: Path, **settings: object) -> dict:
    """A space over a user's own table."""
    space = content(task="keyword", corpus="mine", encoder="logmel", layer=0, features=["none"])
    return {**space, "corpora": {"mine": {"reader": "manifest", "path": str(table), **settings}}, "encoders": {}}


def test_every_problem_of_a_manifest_is_named_at_once(tokengrid, tmp_path):
    table = speakers(
        tmp_path, audio={2: "gone.wav", 5: "[gone] too.wav"}, id={4: "u3"}, keyword={20: "maybe"}, split={7: "trian"}
    )
    space = written(tmp_path / "mine.yaml", own(table))
    for command in ("run", "plan", "matrix"):
        code, out, err = tokengrid(command, space, "--store", tmp_path / "state")
        assert (code, out) == (2, "")
        for words in ("gone.wav", "[gone] too.wav", "missing", "u3", "once", "maybe", "never in train", "trian"):
            assert words in err, f"{words} is not in {err}"
    assert artifacts(tmp_path / "state") == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": {"keyword": "wrod"}}, "no column 'wrod'"),
        ({"columns": {"keywrod": "keyword"}}, "did you mean 'keyword'"),
        ({"where": {"split": "nowhere"}}, "'nowhere' is never in 'split'"),
        ({"where": {"split": ["train", "test"]}}, "dev_from: train"),
        ({"path": "elsewhere.csv"}, "elsewhere.csv"),
    ],
)
def test_settings_that_do_not_fit_a_manifest_are_named(tokengrid, tmp_path, settings, words):
    space = written(tmp_path / "mine.yaml", own(speakers(tmp_path), **settings))
    code, out, err = tokengrid("run", space, "--store", tmp_path / "state", "--local")
    assert (code, out) == (2, "") and words in err


def test_too_many_broken_recordings_end_a_run_and_a_few_do_not(tokengrid, tmp_path):
    table = speakers(tmp_path)
    for i in (1, 3, 6):
        (tmp_path / f"{i:02}.wav").write_bytes(b"RIFF, but nothing more")
    space = written(tmp_path / "mine.yaml", own(table))
    code, out, err = tokengrid("run", space, "--store", tmp_path / "state", "--local")
    assert (code, out) == (2, "") and "max_broken" in err and "u1 is not audio" in err
    space = written(tmp_path / "mine.yaml", own(table, max_broken=0.2))
    code, out, err = tokengrid("plan", space, "--store", tmp_path / "state")
    assert code == 0 and "3 recordings quarantined" in out


def test_a_task_that_a_corpus_has_nothing_for_is_named(tokengrid, tmp_path):
    space = own(speakers(tmp_path))
    space["grid"][0]["task"] = ["keyword", "emotion"]
    code, out, err = tokengrid("run", written(tmp_path / "m.yaml", space), "--store", tmp_path / "state", "--local")
    assert (code, out) == (2, "") and "needs the column 'emotion'" in err and "corpus 'mine'" in err


def test_a_failed_cell_gives_exit_code_1_and_its_reason(tokengrid, half, tmp_path):
    root = Path(shutil.copytree(half[1], tmp_path / "state"))
    space = content(features=[{"kind": "discrete", "codebook": 3900}, "none"], task="keyword")
    path = written(tmp_path / "tiny.yaml", space)
    code, out, err = tokengrid("run", path, "--store", root, "--local")
    assert code == 1 and "1 of 2 cells finished" in out and "3900" in out and "failed: " in err
    code, out, _ = tokengrid("matrix", path, "--store", root)
    assert code == 0 and "needs at least 3900 frames" in re.sub(r"\s+", " ", out)


def interruptible(arguments: list[str], errors: Path) -> None:
    """For a process of its own: a command, with what it tells the user in a file."""
    sys.argv = ["tokengrid", *arguments]
    sys.stderr = errors.open("w", encoding="utf-8", buffering=1)
    cli.main()


def test_ctrl_c_ends_a_run_with_a_word_and_it_goes_on_from_there(tokengrid, half, tmp_path):
    root = Path(shutil.copytree(half[1], tmp_path / "state"))
    long = content(task="keyword")
    long["recipes"]["small"] |= {"max_epochs": 5000, "patience": 5000}
    path = written(tmp_path / "tiny.yaml", long)
    running = process(interruptible, ["run", str(path), "--store", str(root), "--local"], tmp_path / "errors")
    while not list((root / "store" / "training").glob("*.partial/checkpoint/*")) and running.is_alive():
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    running.join(60)
    told = (tmp_path / "errors").read_text()
    assert running.exitcode == 130 and "interrupted: what is finished is kept" in told and "Traceback" not in told

    code, out, _ = tokengrid("matrix", path, "--store", root, "--format", "json")
    assert code == 0 and {cell["status"] for cell in json.loads(out)["cells"]} <= {"missing", "stale"}
    client = Tracker(None, root, "tiny")._client
    launch, *_ = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])  # the newest first
    assert launch.info.status == "KILLED"
    code, out, _ = tokengrid("plan", path, "--store", root)
    assert code == 0 and "0 finished, 3 to run" in out


def test_doctor_says_what_there_is_and_what_is_missing(tokengrid, tmp_path):
    code, out, _ = tokengrid("doctor", "--store", tmp_path)
    assert all(word in out for word in ("torch", "processors", "espeak", "FLAC", str(tmp_path)[:20]))
    assert code == (1 if "✗" in out else 0)
    (tmp_path / "file").write_text("")
    code, out, _ = tokengrid("doctor", "--store", tmp_path / "file" / "x")
    assert code == 1 and "can't be written" in out


def test_the_ui_wants_something_to_show(tokengrid, tmp_path):
    code, out, err = tokengrid("ui", "--store", tmp_path)
    assert (code, out) == (2, "") and "tokengrid run" in err


@pytest.mark.slow
def test_the_ui_answers_on_this_machine_alone_and_has_the_launch(half, tmp_path):
    from mlflow import MlflowClient

    space, root = half[0], Path(shutil.copytree(half[1], tmp_path / "state"))
    Grid(space, root, {"task": ["keyword"], "features": ["none"]}).run(local=True, monitor=Log())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "log").open("w")
    command = [*COMMAND, "ui", "--store", str(root), "--port", str(port)]
    server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
            assert b"MLflow" in page.read()
        listening = Path("/proc/net/tcp").read_text().splitlines()
        assert not any(line.split()[1] == f"00000000:{port:04X}" for line in listening[1:])
        client = MlflowClient(tracking_uri=f"http://127.0.0.1:{port}")
        runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
        cells = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        (launch,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        assert len(cells) == 1 and cells[0].data.params["features"] == "none" and "primary" in cells[0].data.metrics
        assert client.get_metric_history(cells[0].info.run_id, "curve/dev_loss")
        assert {"matrix.json", "figures", "report.html"} <= {
            file.path for file in client.list_artifacts(launch.info.run_id)
        }
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
