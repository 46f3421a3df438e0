"""Launches on real Ray clusters: the same results as one process gives, each stage once, whoever is killed when."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from grid_material import Log, artifacts, content, contents, leftovers, timeless, tiny

from orchestrator.grid import Grid

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
COMMAND = [sys.executable, "-m", "orchestrator.cli"]


@dataclass(frozen=True)
class Cluster:
    """A running Ray cluster of two processors on this machine."""

    address: str
    dashboard: str


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[dict[str, str]]:
    """Of every process here: no tokens, no statistics, the project's commands on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield dict(os.environ)


@pytest.fixture(scope="module")
def cluster(environment) -> Iterator[Cluster]:
    """`ray start --head`, with a dashboard for jobs; at the end its processes are ended, and no others."""
    port, dashboard, client = free_ports(3)
    # Ray keeps sockets there, whose paths must be short.
    folder = tempfile.mkdtemp(prefix="tg", dir="/tmp")
    command = [BIN / "ray", "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += [f"--ray-client-server-port={client}", "--include-dashboard=true", f"--temp-dir={folder}"]
    log = (Path(folder) / "start.log").open("w")
    head = subprocess.Popen([*map(str, command)], stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        wait_for(lambda: answers(dashboard) and answers(port), 180)
        yield Cluster(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}")
    finally:
        end(family(head.pid))
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def spoken_only(spoken, tmp_path) -> Path:
    """A store with the recordings alone."""
    recordings = Path("store") / "recordings"
    shutil.copytree(spoken.store.root / recordings, tmp_path / "state" / recordings)
    return tmp_path / "state"


@pytest.fixture(scope="module")
def expected(spoken, tmp_path_factory) -> Path:
    """The store of an uninterrupted local launch of the tiny space."""
    root = Path(shutil.copytree(spoken.store.root, tmp_path_factory.mktemp("expected") / "state"))
    assert Grid(tiny(), root).run(local=True, monitor=Log(), track=False).counts()["ok"] == 6
    return root


@pytest.fixture
def space(tmp_path) -> Path:
    """The file of the tiny space."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content()), "utf-8")
    return path


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def family(pid: int) -> list[psutil.Process]:
    """A process and all that come from it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(ours: list[psutil.Process]) -> None:
    """Ends processes, gently first."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        for one in ours:
            if one.is_running():
                one.send_signal(how)
        _, ours = psutil.wait_procs(ours, timeout=5)


def launch(space: Path | str, root: Path, *options: str) -> subprocess.Popen:
    """`tokengrid run` in a session of its own; its words go to a file beside the store."""
    log = root.with_suffix(".log").open("a")
    command = [*COMMAND, "run", str(space), "--store", str(root), *options]
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def is_at(root: Path, what: str) -> bool:
    """Whether a launch is in the middle of something."""
    return {
        "recordings": lambda: any((root / "store/recordings").glob("*.partial/audio/*")),
        "pass": lambda: any((root / "store/units").glob("*.lease")),
        "training": lambda: any((root / "store/training").glob("*.partial/checkpoint/*")),
    }[what]()


def test_ray_gives_what_one_process_gives_each_stage_once(cluster, tmp_path):
    """The shipped smoke space, speech included: the same identities, every stored file the same, byte for byte."""
    log = Log()
    by_ray = Grid("smoke", tmp_path / "ray").run(address=cluster.address, monitor=log, track=False)
    here = Grid("smoke", tmp_path / "local").run(local=True, monitor=Log(), track=False)
    assert by_ray.counts()["ok"] == 15
    assert artifacts(tmp_path / "ray").keys() == artifacts(tmp_path / "local").keys()
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert timeless(by_ray) == timeless(here)

    started = [line.split(" ", 1)[1] for line in log.text.splitlines() if line.endswith(": started")]
    works = Grid("smoke", tmp_path / "ray").graph.shared()
    assert len(started) == len(set(started)) == len(works) + 15
    identities = [one["identity"] for one in artifacts(tmp_path / "ray").values()]
    assert len(identities) == len(set(identities)) and leftovers(tmp_path / "ray") == []
    assert not list((tmp_path / "ray" / "progress").glob("*.json"))


def test_a_second_launch_computes_nothing(cluster, expected, tmp_path):
    root = Path(shutil.copytree(expected, tmp_path / "state"))
    before = artifacts(root)
    log = Log()
    assert Grid(tiny(), root).run(address=cluster.address, monitor=log).counts()["ok"] == 6
    assert artifacts(root) == before and "started" not in log.text


def test_a_failure_takes_down_what_it_does_in_one_process(cluster, spoken_only, tmp_path):
    """A codebook that is larger than the sample, in the same encoder pass as a good one; and a training that diverges."""
    features = [{"kind": "discrete", "codebook": [12, 3900]}, "none"]
    space = tiny(task="keyword", features=features, recipe=["small", "wild"])
    shutil.copytree(spoken_only, tmp_path / "other")
    here = Grid(space, tmp_path / "other").run(local=True, monitor=Log(), track=False)
    by_ray = Grid(space, spoken_only).run(address=cluster.address, monitor=Log(), track=False)
    assert by_ray.counts() == {"ok": 2, "failed": 4, "missing": 0, "stale": 0}

    def told(matrix):
        return [{**record, "log": None} for record in timeless(matrix)]

    assert told(by_ray) == told(here)


@pytest.mark.parametrize("stage", ["training", "pretraining"])
def test_what_a_process_that_dies_was_doing_is_done_again(cluster, expected, spoken_only, stage):
    """Killed as with its spot instance: a cell and a shared stage alike are tried again at once."""
    seen: list[int] = []

    def kill() -> None:
        wait_for(lambda: any((spoken_only / "store" / stage).glob("*.lease")))
        for lease in (spoken_only / "store" / stage).glob("*.lease"):
            seen.append(int(lease.read_text().split()[1]))
            os.kill(seen[0], signal.SIGKILL)
            return

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    first = Grid(tiny(), spoken_only).run(address=cluster.address, monitor=Log(), track=False)
    killer.join()
    assert seen and seen[0] != os.getpid()
    assert timeless(first) == timeless(Grid(tiny(), expected).matrix(statistics=True)) and contents(spoken_only) == {
        key: contents(expected)[key] for key in contents(spoken_only)
    }


def test_two_launches_at_the_same_time_both_finish_and_build_each_stage_once(cluster, expected, spoken_only, space):
    made: dict[str, set[int]] = {}
    both = [launch(space, spoken_only, "--address", cluster.address) for _ in range(2)]
    try:
        while any(one.poll() is None for one in both):
            for path in spoken_only.glob("store/*/*-*/artifact.json"):
                made.setdefault(path.parent.name, set()).add(path.stat().st_ino)
            time.sleep(0.2)
        assert [one.returncode for one in both] == [0, 0], spoken_only.with_suffix(".log").read_text()
    finally:
        end([process for one in both for process in family(one.pid)])
    assert all(len(inodes) == 1 for inodes in made.values())
    assert timeless(Grid(space, spoken_only).matrix()) == timeless(Grid(tiny(), expected).matrix())
    assert leftovers(spoken_only) == []


@pytest.mark.parametrize("at", ["recordings", "pass", "training"])
def test_a_launch_that_is_killed_goes_on_to_the_same_matrix(expected, spoken_only, tmp_path, space, at):
    """`kill -9` of the driver, with a cluster of its own: what it started ends with it."""
    root = tmp_path / "fresh" if at == "recordings" else spoken_only
    driver = launch(space, root)
    wait_for(lambda: is_at(root, at) or driver.poll() is not None, 300)
    ours = family(driver.pid)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    _, left = psutil.wait_procs(ours, timeout=60)
    for one in left:
        one.kill()
    assert not left, "Ray outlived its driver"
    before = artifacts(root)

    matrix = Grid(space, root).run(local=True, monitor=Log(), track=False)
    assert before.items() <= artifacts(root).items()
    assert timeless(matrix) == timeless(Grid(tiny(), expected).matrix(statistics=True))
    assert leftovers(root) == []


@pytest.mark.parametrize("at", ["pass", "training"])
def test_ctrl_c_ends_a_launch_at_once_with_a_word(expected, spoken_only, space, at):
    """As a terminal sends it, to every process of the group."""
    driver = launch(space, spoken_only)
    ours: list[psutil.Process] = []
    try:
        wait_for(lambda: is_at(spoken_only, at) or driver.poll() is not None, 300)
        ours = family(driver.pid)
        os.killpg(driver.pid, signal.SIGINT)
        assert driver.wait(90) == 130
        _, left = psutil.wait_procs(ours, timeout=30)
        # Ray's agents look for their parent about once a minute; everything that computes ends at once.
        left = [one for one in left if "Agent" not in one.name()]
        assert not left, "Ray outlived its driver"
    finally:
        end(ours)
    told = spoken_only.with_suffix(".log").read_text()
    assert "interrupted: what is finished is kept" in told and "Traceback" not in told
    before = Grid(space, spoken_only).matrix()
    assert before.counts()["failed"] == 0
    matrix = Grid(space, spoken_only).run(local=True, monitor=Log())
    assert timeless(matrix) == timeless(Grid(tiny(), expected).matrix(statistics=True))


def test_the_trainable_runs_in_a_tuner_of_the_user_s_own(cluster, expected, spoken_only, tmp_path):
    import ray
    from ray import tune

    grid = Grid(tiny(), spoken_only, {"task": ["keyword"]})
    grid.prepare(Log())
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        run_config = tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0)
        found = tune.Tuner(grid.trainable(), param_space=grid.param_space(), run_config=run_config).fit()
    finally:
        ray.shutdown()
    assert not found.errors and {one.metrics["status"] for one in found} == {"ok"}
    frame = grid.matrix().frame()
    assert sorted(frame["accuracy"]) == sorted(one.metrics["accuracy"] for one in found)
    cells = {record["cell"]: record for record in timeless(Grid(tiny(), expected).matrix())}
    assert all(cells[record["cell"]] == record for record in timeless(grid.matrix()))


def test_a_submitted_job_runs_a_space_and_prints_its_matrix(cluster, tmp_path):
    """As the README says it, from a checkout, whose throw-away copy is the job's working directory."""
    root = tmp_path / "store"
    command = [BIN / "ray", "job", "submit", "--address", cluster.dashboard, "--working-dir", ".", "--"]
    command += ["tokengrid", "run", "smoke", "--only", "task=keyword", "--address", "auto", "--store", root]
    job = subprocess.run([*map(str, command)], cwd=PROJECT, capture_output=True, text=True, timeout=600)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "smoke: 5 of 5 cells finished" in job.stdout and "Traceback" not in job.stdout + job.stderr
    matrix = Grid("smoke", root, {"task": ["keyword"]}).matrix()
    assert matrix.counts()["ok"] == 5
    assert (root / "mlflow.db").exists() and json.loads(matrix.to_json())["cells"][0]["cost"]["trials_at_once"] == 2
