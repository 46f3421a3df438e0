"""How a cluster's processors and GPUs are shared between shared stages and trials, so that neither waits for ever.

Tune keeps the resources of its actors between trials, and asks for the next trial's before it gives back the last one's.
A stage that asked for processors while trials run could therefore wait for ever. So on processors trials ask for what
they use, stages ask for next to nothing, and it is counted here how many of each run at once. GPUs are asked for
truly; trials leave them to the stages until those are built, unless there are plenty.

A training that takes several GPUs is run by processes beside its trial, which asks for next to nothing itself. Its GPUs
are counted here like those of so many trials.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray

from orchestrator.errors import StageError
from orchestrator.stage import Stage
from orchestrator.stages.training import Training

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

NEXT_TO_NOTHING = 0.001
"""Processors: Ray wants a number above zero to place a task where there are any."""
PLENTY = 8
"""GPUs, of which trials may use half while stages are being built."""


@dataclass(frozen=True)
class Resources:
    """Of a whole cluster.

    Attributes:
        most_trials: what the space allows at once, to measure times; shared stages are then built before any trial.
    """

    cpus: int
    gpus: int
    most_trials: int | None = None

    @classmethod
    def of_cluster(cls, gpus: int = 0, most_trials: int | None = None) -> Resources:
        """What the connected cluster has now, or the GPUs to which it may grow: asking for them is what makes it grow."""
        total = ray.cluster_resources()
        return cls(int(total.get("CPU", 1)), max(gpus, int(total.get("GPU", 0))), most_trials)

    @property
    def slots(self) -> int:
        """How many processes train at once: one a GPU, or one a processor where there is no GPU."""
        return max(1, self.gpus or self.cpus)

    @property
    def slots_beside_works(self) -> int:
        """How many while shared stages are being built."""
        if self.most_trials:
            return 0
        if self.gpus:
            return self.gpus // 2 if self.gpus >= PLENTY else 0
        return self.slots - 1

    def trials(self, smallest: int = 1) -> int:
        """How many cells run at once, where each takes at least so many slots."""
        return max(1, min(self.slots // smallest, self.most_trials or self.slots))

    def free(self, running: Collection[Training], beside_works: bool) -> int:
        """How many slots are left to the next cell."""
        if self.most_trials and len(running) >= self.most_trials:
            return 0
        slots = self.slots_beside_works if beside_works else self.slots
        return slots - sum(self.share(training) for training in running)

    @property
    def works(self) -> int:
        """How many shared stages are built at once."""
        return max(1, self.cpus - 1)

    @property
    def process(self) -> dict[str, float]:
        """What a process that trains or scores asks Ray for."""
        # A little less than a processor: the idle trials of several launches must not take all from everybody's stages.
        return {"CPU": 1 - NEXT_TO_NOTHING, "GPU": 1 if self.gpus else 0}

    def trial(self, training: Training) -> PlacementGroupFactory:
        """What the trial of a cell asks Tune for."""
        from ray.tune import PlacementGroupFactory  # workers of stages don't need it

        return PlacementGroupFactory([{"CPU": NEXT_TO_NOTHING} if is_sharded(training) else self.process])

    def share(self, training: Training) -> int:
        """How many slots a cell takes: none if there will never be enough, and it fails at once."""
        wanted = training.decoder.gpus
        return wanted if wanted <= self.slots else 0

    def check(self, training: Training) -> None:
        """Raises StageError where a training would wait for ever."""
        wanted = training.decoder.gpus
        if wanted > self.slots:
            came = f"{self.gpus} GPUs" if self.gpus else f"no GPU and {self.cpus} processors"
            raise StageError(
                f"the decoder '{training.decoder.name}' takes gpus: {wanted} for one training; the cluster has {came}. Set "
                f"gpus: {self.slots} or less (its results stay the same), or say with --gpus to how many the cluster may grow."
            )

    def work(self, stage: Stage) -> dict[str, float]:
        """What a task that builds a stage asks Ray for."""
        computes = stage.gpu and not (isinstance(stage, Training) and is_sharded(stage))
        return {"num_cpus": NEXT_TO_NOTHING, "num_gpus": int(computes and self.gpus > 0)}


def is_sharded(training: Training) -> bool:
    """Whether several processes run a training."""
    return training.decoder.gpus > 1
