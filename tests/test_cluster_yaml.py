"""The files that Ray's own launcher reads: cluster.yaml passes its validator, run.py takes a space's name."""

from __future__ import annotations

import copy
import runpy
import sys
from pathlib import Path

import pytest
import yaml

import orchestrator.cli

PROJECT = Path(__file__).parents[1]
CLUSTER = yaml.safe_load((PROJECT / "cluster.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def accept():
    """Ray's own validation, as `ray up` does it before it asks the cloud for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    return lambda config: validate_config(prepare_config(copy.deepcopy(config)))


def test_ray_s_own_validator_accepts_the_cluster(accept):
    accept(CLUSTER)


def test_the_validator_would_notice_a_mistake(accept):
    with pytest.raises(Exception, match="head_nod_type"):
        accept({**CLUSTER, "head_nod_type": "head"})
    with pytest.raises(Exception, match=r"resources|head"):
        accept({**CLUSTER, "head_node_type": "nowhere"})


def test_the_head_has_no_gpu_and_workers_come_and_go_with_the_work():
    types = CLUSTER["available_node_types"]
    assert "GPU" not in types[CLUSTER["head_node_type"]]["resources"]
    workers = [one for name, one in types.items() if name != CLUSTER["head_node_type"]]
    assert workers and all(one["resources"]["GPU"] and one["min_workers"] == 0 < one["max_workers"] for one in workers)
    assert CLUSTER["max_workers"] > 0 and CLUSTER["idle_timeout_minutes"] > 0


def test_every_file_that_the_cluster_is_given_is_there():
    mounted = [source for source in CLUSTER["file_mounts"].values() if not source.startswith("~/.ray/")]
    assert mounted
    for source in mounted:
        assert (PROJECT / source / "pyproject.toml").is_file()
    commands = " ".join(CLUSTER["setup_commands"] + CLUSTER["head_start_ray_commands"])
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in commands
    assert "make install" in commands and "\ninstall:" in (PROJECT / "Makefile").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["smoke", "--only", "task=nonsense", "--store"], 2, "no cell of smoke has task=nonsense"),
        (["smok"], 2, "did you mean 'smoke'"),
        ([], 2, "SPACE"),
    ],
)
def test_run_py_is_the_command_run_on_the_whole_cluster(monkeypatch, capsys, tmp_path, arguments, code, words):
    """What `ray submit cluster.yaml run.py smoke …` calls on the head."""
    if arguments and arguments[-1] == "--store":
        arguments = [*arguments, str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(PROJECT / "run.py"), run_name="__main__")
    assert sys.argv[:4] == ["run.py", "run", "--address", "auto"]
    shown = capsys.readouterr()
    assert ended.value.code == code and words in shown.err and "Traceback" not in shown.err


def test_the_command_has_the_name_that_the_project_installs():
    from importlib.metadata import entry_points

    (command,) = [entry for entry in entry_points(group="console_scripts") if entry.name == "tokengrid"]
    assert command.load() is orchestrator.cli.main
