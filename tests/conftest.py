"""Shared by all tests: one thread, and the smoke corpus spoken once a session."""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import labelled_layouts
import pytest
import torch
from hypothesis import settings
from rich.console import Console

from orchestrator import cli, corpora
from orchestrator.encoders import EncoderSpec
from orchestrator.encoders.spectral import SpectralSpec
from orchestrator.monitor import Monitor
from orchestrator.stage import Stage
from orchestrator.stages import annotations as notes
from orchestrator.stages.codebook import Codebook
from orchestrator.stages.features import Features
from orchestrator.stages.sample import Sample
from orchestrator.stages.units import Units
from orchestrator.store import Store
from orchestrator.tracking import Tracker
from orchestrator.tracking.tags import CELL
from tasks.corpora import READERS

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")  # a busy machine is no flaw in what is tested

BINS = 24
"""Of the log-mels that stand for an encoder: real frames at no cost."""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "state")


@dataclass(frozen=True)
class Speech:
    """Stages over the smoke corpus, with what they share built already: recordings, sample, codebooks of 8 and 16.

    Attributes:
        recordings: what features and units are of.
        sampled: the recordings that codebooks are fitted on.
    """

    store: Store
    recordings: Stage
    sampled: Stage
    selection: Stage
    encoder: EncoderSpec

    def features(self) -> Features:
        return Features(recordings=self.recordings, encoder=self.encoder, layer=0)

    def sample(self) -> Sample:
        return Sample(recordings=self.sampled, selection=self.selection, encoder=self.encoder, layer=0, frames=6000)

    def units(self, k: int) -> Units:
        codebook = Codebook(sample=self.sample(), k=k)
        return Units(recordings=self.recordings, encoder=self.encoder, layer=0, codebook=codebook)


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    """The smoke corpus in a store that tests only read; see `speech`."""
    store = Store(tmp_path_factory.mktemp("spoken"))
    indexed = corpora.index("spoken", READERS["synthetic"](preset="smoke"), store)
    train = indexed.table.loc[indexed.table["split"] == "train", "id"]
    selection, ids = notes.selection("spoken", train)
    store.put(selection, lambda folder: notes.write_selection(folder, ids))
    store.build(indexed.recordings)
    made = indexed.recordings
    found = Speech(store, made, made, selection, SpectralSpec(kind="logmel", bins=BINS))
    store.build(found.sample())
    for k in (8, 16):
        store.build(found.units(k).codebook)
    return found


@pytest.fixture
def speech(spoken: Speech, tmp_path: Path) -> Speech:
    """The smoke corpus in a store of the test's own."""
    shutil.copytree(spoken.store.root, tmp_path / "speech")
    return replace(spoken, store=Store(tmp_path / "speech"))


def quiet() -> Monitor:
    """A monitor that says nothing."""
    return Monitor(Console(quiet=True))


def start(action: Callable[..., None], *args: Any) -> Any:
    """Runs an action in a real process."""
    process = multiprocessing.get_context("fork").Process(target=action, args=args, daemon=True)
    process.start()
    return process


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Callable[[str], Path]:
    """A corpus' folder in its layout, that tests only read."""
    there: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in there:
            there[name] = getattr(labelled_layouts, name)(tmp_path_factory.mktemp("official") / name)
        return there[name]

    return make


@pytest.fixture
def copied(made, tmp_path) -> Callable[[str], Path]:
    """The same, in a folder that the test may damage."""
    return lambda name: Path(shutil.copytree(made(name), tmp_path / name))


@pytest.fixture
def tokengrid(monkeypatch, capsys):
    """Runs a command in this process and returns its exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tokengrid", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return int(ended.value.code or 0), shown.out, shown.err

    return call


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A state folder (with a blank in its name), and a client to look into its MLflow database."""
    from mlflow import MlflowClient

    root = tmp_path_factory.mktemp("state of mine")
    Tracker(None, root, "warm-up")
    return SimpleNamespace(root=root, client=MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db"))


@pytest.fixture
def tracker(state: SimpleNamespace, request: pytest.FixtureRequest) -> Tracker:
    """Of a space that has the name of the test."""
    return Tracker(None, state.root, request.node.name)


def children(tracker: Tracker, state: SimpleNamespace) -> Any:
    """The runs of cells."""
    return state.client.search_runs([tracker.experiment], f"tags.`{CELL}` != ''")
