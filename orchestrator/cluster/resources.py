"""How a cluster's processors and GPUs are shared between shared stages and trials, so that neither waits for ever.

Tune keeps the resources of its actors between trials, and asks for the next trial's before it gives back the last one's.
A stage that asked for processors while trials run could therefore wait for ever. So on processors trials ask for what
they use, stages ask for next to nothing, and it is counted here how many of each run at once. GPUs are asked for
truly; trials leave them to the stages until those are built, unless there are plenty.
"""

from __future__ import annotations

from dataclasses import dataclass

import ray

from orchestrator.stage import Stage

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
    def trial(self) -> dict[str, float]:
        """What a trial asks Tune for."""
        # A little less than a processor: the idle trials of several launches must not take all from everybody's stages.
        return {"cpu": 1 - NEXT_TO_NOTHING, "gpu": 1 if self.gpus else 0}

    def work(self, stage: Stage) -> dict[str, float]:
        """What a task that builds a stage asks Ray for."""
        return {"num_cpus": NEXT_TO_NOTHING, "num_gpus": int(stage.gpu and self.gpus > 0)}
