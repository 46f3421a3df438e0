"""Cells whose decoder takes several GPUs, on a real Ray cluster: here its processes share two processors."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from grid_material import Log, content, leftovers

from orchestrator.decoders import load
from orchestrator.grid import Grid
from orchestrator.matrix import Matrix
from orchestrator.space import Space
from orchestrator.space_file import parse
from search_spaces.tiny_models import make_decoder

pytestmark = pytest.mark.slow

EPOCHS = 30


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Ray in this process, with two processors and no GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        from orchestrator.cluster import environment

        environment.prepare(None)
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoders in the real format."""
    folder = tmp_path_factory.mktemp("models")
    for name, hidden in (("first", 16), ("second", 24)):
        make_decoder(folder / name, "qwen2", hidden, layers=2, seed=0)
    return folder


def space(models: Path, gpus: int, *blocks: dict[str, Any]) -> Space:
    """Cells of the smoke corpus; `two` takes so many GPUs, `many` more than there are."""
    made = content(task="keyword", features=[{"kind": "discrete", "codebook": 12}], decoder="two")
    made["decoders"] = {
        "two": {"kind": "hf", "checkpoint": str(models / "first"), "gpus": gpus},
        "many": {"kind": "hf", "checkpoint": str(models / "second"), "gpus": 3},
    }
    made["recipes"]["long"] = made["recipes"]["small"] | {"max_epochs": EPOCHS, "patience": EPOCHS}
    [block] = made["grid"]
    made["grid"] = [block | changes for changes in blocks or [{}]]
    return parse({**made, "name": "sharded"})


@pytest.fixture(scope="module")
def prepared(spoken, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with everything but trainings."""
    root = tmp_path_factory.mktemp("prepared") / "state"
    shutil.copytree(spoken.store.root / "store" / "recordings", root / "store" / "recordings")
    Grid(space(models, 1, {"task": ["keyword", "intent"]}), root).prepare(Log())
    return root


@dataclass(frozen=True)
class Launched:
    """A launch with two processes a training, of which one was killed, and a local one.

    Attributes:
        before: the curve of the training as its last checkpoint had it when the process was killed.
        log: of the first.
        failures: by cell, of both.
        warnings: of the second.
    """

    sharded: Path
    local: Path
    before: list[dict[str, float]]
    log: str
    failures: tuple[dict[str, str], dict[str, str]]
    warnings: list[str]


@pytest.fixture(scope="module")
def launched(models: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """A training that another cell starts from, that cell, one with too many GPUs, and one that diverges."""
    blocks = {"recipe": "long"}, {"task": "intent", "init": ["keyword"], "recipe": "long"}, {"decoder": "many"}
    blocks += ({"recipe": "wild"},)
    folder = tmp_path_factory.mktemp("launched")
    sharded, local = (Path(shutil.copytree(prepared, folder / name)) for name in ("sharded", "local"))
    before: list[dict[str, float]] = []
    killer = threading.Thread(target=kill_one, args=(sharded, before), daemon=True)
    killer.start()
    log = Log()
    matrix = Grid(space(models, 2, *blocks), sharded).run(monitor=log, track=False)
    killer.join()
    warnings = Listener()
    logging.getLogger("orchestrator").addHandler(warnings)
    alone = Grid(space(models, 1, *blocks), local).run(local=True, monitor=Log(), track=False)
    logging.getLogger("orchestrator").removeHandler(warnings)
    return Launched(sharded, local, before, log.text, (failures(matrix), failures(alone)), warnings.messages)


def failures(matrix: Matrix) -> dict[str, str]:
    """Reasons, by what tells the cells of this launch apart."""
    assert not matrix.counts()["missing"]
    failed = [record for record in json.loads(matrix.to_json())["cells"] if record["status"] == "failed"]
    return {f"{record['decoder']} {record['recipe']}": record["reason"] for record in failed}


class Listener(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def kill_one(root: Path, before: list[dict[str, float]]) -> None:
    """Kills a process of a training in the middle of it."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not before:
        for file in root.glob("store/training/*.partial/checkpoint/checkpoint.safetensors"):
            seen = json.loads(json.loads(header(file))["__metadata__"]["state"])["curve"]
            found = [p for p in psutil.Process().children(recursive=True) if "TrainWorker" in " ".join(p.cmdline())]
            if len(seen) >= 2 and found:
                before.extend(seen)
                os.kill(max(p.pid for p in found), signal.SIGKILL)
        time.sleep(0.02)


def header(file: Path) -> bytes:
    """Of a safetensors file."""
    with file.open("rb") as opened:
        return opened.read(int.from_bytes(opened.read(8), "little"))


def trained(root: Path) -> dict[str, list[dict[str, float]]]:
    """The curves of a store's trainings, by the names of their folders, which end with their identities."""
    paths = root.glob("store/training/*/curve.json")
    return {path.parent.name: json.loads(path.read_text("utf-8")) for path in paths}


def test_two_processes_give_what_one_gives(launched: Launched):
    """Also where one of them is replaced on the way, and where a training starts from another one."""
    sharded, local = trained(launched.sharded), trained(launched.local)
    assert len(sharded) == 2 and sharded.keys() < local.keys()
    for name, curve in sharded.items():
        assert [row["tokens"] for row in curve] == [row["tokens"] for row in local[name]]
        for row, expected in zip(curve, local[name], strict=True):
            assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)
            assert row["dev_loss"] == pytest.approx(expected["dev_loss"], rel=1e-3)
        ours, theirs = (root / "store" / "training" / name for root in (launched.sharded, launched.local))
        assert files(ours) == files(theirs)
        weights, others = load(ours / "model").trained, load(theirs / "model").trained
        assert weights.keys() == others.keys()
        for weight, value in weights.items():
            if not weight.endswith("k_proj.bias"):  # attention doesn't depend on it: its gradient is rounding errors
                assert (value - others[weight]).abs().max() < 1e-2, weight


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_process_that_dies_is_replaced_and_the_training_goes_on(launched: Launched):
    assert 2 <= len(launched.before) < EPOCHS
    # Seconds are those of no other training: these evaluations were not done again.
    assert any(curve[: len(launched.before)] == launched.before for curve in trained(launched.sharded).values())


def test_a_cell_that_takes_more_gpus_than_there_are_fails_at_once(launched: Launched):
    sharded, alone = launched.failures
    assert sharded.keys() - alone.keys() == {"many small"}, launched.log
    assert "takes gpus: 3 for one training; the cluster has no GPU and 2 processors" in sharded["many small"]


def test_what_is_wrong_is_told_as_by_one_process(launched: Launched):
    """And it is not tried again, as after a death."""
    sharded, alone = (failed["two wild"] for failed in launched.failures)
    assert re.match(r"diverged at step \d+ ", sharded)[0] == re.match(r"diverged at step \d+ ", alone)[0]
    assert "Traceback" not in sharded and "lower the recipe's learning_rate" in sharded


def test_no_more_is_left_over_than_by_one_process(launched: Launched):
    """The checkpoints of the training that failed."""
    assert leftovers(launched.sharded) == leftovers(launched.local)
    assert not list((launched.sharded / "train").iterdir())


def test_a_launch_without_ray_says_that_it_trains_on_one_device(launched: Launched):
    [message] = launched.warnings
    assert message.endswith("trained on one device; its decoder's gpus: 3 is for launches on a cluster")
