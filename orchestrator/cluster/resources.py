"""How a cluster's processors and GPUs are shared between shared stages and trials, so that neither waits for ever.

Tune keeps the resources of its actors between trials, and asks for the next trial's before it gives back the last one's.
A stage that asked for processors while trials run could therefore wait for ever. So on processors trials ask for what
they use, stages ask for next to nothing, and it is counted here how many of each run at once. GPUs are asked for
truly; trials leave them to the stages until those are built, unless there are plenty.

A training that takes several GPUs is run by processes beside its trial, which asks for next to nothing itself. Its GPUs
are counted here like those of so many trials.
"""

from __future__ import annotations

from dataclasses import dataclass

import ray
from ray.tune import PlacementGroupFactory

from orchestrator.errors import StageError
from orchestrator.stage import Stage
from orchestrator.stages.training import Training

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
    def trials(self) -> int:
        """How many cells run at once."""
        return max(1, min(self.gpus or self.cpus, self.most_trials or 1 << 30))

    @property
    def trials_beside_works(self) -> int:
        """How many cells run at once while shared stages are being built."""
        if self.most_trials:
            return 0
        if self.gpus:
            return self.gpus // 2 if self.gpus >= PLENTY else 0
        return self.trials - 1

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
        return PlacementGroupFactory([{"CPU": NEXT_TO_NOTHING} if is_sharded(training) else self.process])

    def share(self, training: Training) -> int:
        """As how many of the trials that run at once a cell counts: none if it can't run here, and fails at once."""
        wanted = training.decoder.gpus
        return wanted if wanted <= (self.gpus or self.cpus) else 0

    def check(self, training: Training) -> None:
        """Raises StageError where a training would wait for ever."""
        there, wanted = self.gpus or self.cpus, training.decoder.gpus
        if wanted > there:
            came = f"{there} GPUs" if self.gpus else f"no GPU and {there} processors"
            raise StageError(
                f"the decoder '{training.decoder.name}' takes gpus: {wanted} for one training; the cluster has {came}. Set "
                f"gpus: {there} or less (its results stay the same), or say with --gpus to how many the cluster may grow."
            )

    def work(self, stage: Stage) -> dict[str, float]:
        """What a task that builds a stage asks Ray for."""
        computes = stage.gpu and not (isinstance(stage, Training) and is_sharded(stage))
        return {"num_cpus": NEXT_TO_NOTHING, "num_gpus": int(computes and self.gpus > 0)}


def is_sharded(training: Training) -> bool:
    """Whether several processes run a training."""
    return training.decoder.gpus > 1
