"""Trainings whose decoder takes several GPUs: Ray Train starts the processes, and each runs the stage's own code.

Whoever asks for such a training holds its lease and waits, with next to no resources; what finds itself in a process
group shares its work out there (see decoders/parallel.py).
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.cell import Cell
from orchestrator.cluster.resources import Resources
from orchestrator.errors import StageError, UserError
from orchestrator.execution import attempt, do_cell, threads
from orchestrator.stage import Build, Progress, silent
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.training import Training
from orchestrator.store import Store

ATTEMPTS = 2
"""A process may die with its spot instance: once more, from the last checkpoint."""


def build(store: Store, training: Training, resources: Resources, progress: Progress = silent) -> None:
    """Builds a training by as many processes as its decoder takes GPUs, unless it is there.

    Raises:
        StageError: the cluster has fewer GPUs than that; or as the training itself raises it.
    """
    from ray import train  # takes seconds, which every trial would lose

    if store.has(training):
        return
    resources.check(training)
    with store.making(training) as folder:
        if folder is None:
            return
        settings = {"root": str(store.root), "training": training, "progress": progress}
        for left in reversed(range(ATTEMPTS)):
            try:
                return _fit(store.root / "train" / f"{training.identity}-{uuid.uuid4().hex[:8]}", settings, resources)
            except train.TrainingFailedError as error:
                causes = list(getattr(error, "worker_failures", {}).values())
                if told := next((cause for cause in causes if isinstance(cause, UserError)), None):
                    raise StageError(str(told)) from error  # the other processes then fail for want of that one
                if not left:
                    first = next(iter(causes), error)
                    reason = next(iter(str(first).strip().splitlines()), "")
                    raise StageError(
                        f"its processes failed {ATTEMPTS} times: {type(first).__name__}: {reason}"
                    ) from error


def _fit(folder: Path, settings: dict[str, Any], resources: Resources) -> None:
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        _work,
        train_loop_config=settings,
        torch_config=TorchConfig(backend="nccl" if resources.gpus else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=settings["training"].decoder.gpus,
            use_gpu=resources.gpus > 0,
            resources_per_worker=resources.process,
        ),
        # Ray's own record of it is of no use to anybody: checkpoints lie with the artifact.
        run_config=train.RunConfig(name=folder.name, storage_path=str(folder.parent)),
    )
    try:
        trainer.fit()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _work(settings: dict[str, Any]) -> None:
    """One process of a training."""
    from ray import train

    store, training = Store(settings["root"]), settings["training"]
    is_first = train.get_context().get_world_rank() == 0
    with threads(training):
        training.build(Build(store.partial(training), store.open, settings["progress"] if is_first else silent))


def finish(
    store: Store, cell: Cell, scoring: Scoring, at_once: int, resources: Resources, progress: Progress = silent
) -> str | None:
    """Scores a cell whose training is there on a GPU of its own. Returns the reason if that failed."""
    task = _finish.options(
        num_cpus=resources.process["CPU"],
        num_gpus=resources.process["GPU"],
        # Not within what the caller has asked for.
        scheduling_strategy=PlacementGroupSchedulingStrategy(placement_group=None),
    )
    return ray.get(task.remote(str(store.root), cell, scoring, at_once, progress))


@ray.remote(max_retries=1)
def _finish(root: str, cell: Cell, scoring: Scoring, at_once: int, progress: Progress) -> str | None:
    store = Store(root)
    return attempt(store, [scoring], lambda: do_cell(store, cell, scoring, at_once, progress))
