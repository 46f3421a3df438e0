"""Training: a decoder learns one task from one kind of speech features."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from orchestrator.decoders import DecoderSpec, Example, Recipe, check_template
from orchestrator.decoders.spec import differences
from orchestrator.errors import StageError, UserError
from orchestrator.provenance import PeakMemory
from orchestrator.stage import Build, Stage, runtime
from orchestrator.stages.annotations import Annotations, read_annotations
from orchestrator.stages.speech import Open, Speech, load_all, unreadable

if TYPE_CHECKING:
    from orchestrator.decoders import SpeechLM


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What of a task shapes a training: a task's `version` is raised when its protocol changes.

    Attributes:
        templates: prompts with `{speech}` where the speech stands; with several, training varies them.
        labels: of a classification, sorted; empty for sequences.
    """

    name: str
    version: int
    variant: str | None
    templates: tuple[str, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training(Stage):
    """Files: the model (`model/…`), `curve.json` (a row an evaluation) and `training.json` (how it ended and its cost).

    Attributes:
        init: a training, of another task as a rule, whose model this one starts from.
    """

    name: ClassVar[str] = "training"
    gpu: ClassVar[bool] = True
    resumable: ClassVar[bool] = True

    task: TaskSpec
    annotations: Annotations
    speech: Speech
    decoder: DecoderSpec
    recipe: Recipe
    seed: int
    init: Training | None = None
    label: str = runtime("")
    trials_at_once: int = runtime(1)

    @property
    def readable(self) -> str:
        return self.label or f"{self.task.name}-{self.speech.kind}"

    def check(self) -> None:
        """Raises UserError for what can be told before any work: what is wrong with templates, speech or start."""
        for template in self.task.templates:
            check_template(template)
        self.decoder.check_speech(self.speech.kind)
        if self.init is None:
            return
        if self.init.speech.kind != self.speech.kind:
            raise UserError(
                f"a training with {self.speech.kind} features can't start from one with {self.init.speech.kind} features"
            )
        if told := differences(self.init.decoder, self.decoder):
            raise UserError(
                f"a training can only start from one with the same decoder; that of {self.init.readable} differs in {told}"
            )

    def build(self, at: Build) -> None:
        """As every stage; in a process group, its processes build it together and the first one writes."""
        from orchestrator.decoders import SpeechLM, save, train  # torch with them, which a plan never needs
        from orchestrator.decoders.parallel import Parallel

        self.check()
        memory = PeakMemory()
        parallel = Parallel.here()
        if self.decoder.gpus > parallel.size == 1:
            logging.getLogger(__name__).warning(
                "%s: trained on one device; its decoder's gpus: %d is for launches on a cluster",
                self.readable,
                self.decoder.gpus,
            )
        table = read_annotations(at.open(self.annotations))
        splits = {split: examples(table, split, self.speech, at.open) for split in ("train", "dev")}
        for split, found in splits.items():
            if not found:
                raise StageError(f"the {split} split of {self.annotations.readable} has no utterance with frames")
        model = SpeechLM.create(
            decoder=self.decoder,
            speech=self.speech.spec(at.open),
            templates=self.task.templates,
            targets=[e.target for e in splits["train"]],
            seed=self.seed,
            start=self._start(at),
        ).to(parallel.home)
        result = train(
            model,
            splits["train"],
            splits["dev"],
            self.recipe,
            seed=self.seed,
            checkpoint=at.folder / "checkpoint",
            progress=at.progress,
            parallel=parallel,
        )
        if not parallel.is_first:
            return
        shutil.rmtree(at.folder / "checkpoint")
        save(model, at.folder / "model")
        report = (
            result.summary()
            | {"train_seconds": round(result.seconds, 3), "trials_at_once": self.trials_at_once}
            # Here and not in the artifact's manifest: with several processes, whoever writes that is none of them.
            | {"peak_memory_bytes": memory.bytes()}
            | self._before(at)
            | self.speech.cost(at.open)
        )
        if model.layer_weights is not None:
            report["layer_weights"] = model.layer_weights
        (at.folder / "curve.json").write_text(json.dumps(result.curve), "utf-8")
        (at.folder / "training.json").write_text(json.dumps(report, indent=1), "utf-8")

    def _start(self, at: Build) -> SpeechLM | None:
        from orchestrator.decoders import load

        if self.init is None:
            return None
        trained = at.open(self.init)
        return load(trained.folder / "model", file=trained.file, decoder=self.decoder)

    def _before(self, at: Build) -> dict[str, float]:
        """Seconds and steps of the trainings that came before this one, the whole chain of them."""
        if self.init is None:
            return {"init_train_seconds": 0.0, "init_steps": 0}
        report = at.open(self.init).json("training.json")
        return {
            "init_train_seconds": round(report["train_seconds"] + report["init_train_seconds"], 3),
            "init_steps": report["steps"] + report["init_steps"],
        }


def examples(table: pd.DataFrame, split: str, speech: Speech, open: Open) -> list[Example]:
    """The examples of a split whose speech can be read, in the order of their ids."""
    rows = table[(table["split"] == split) & ~table["id"].isin(unreadable(speech, open))]
    loaded = load_all(speech, open, rows["id"])
    return [Example(id=r.id, speech=loaded[r.id], target=r.target) for r in rows.itertuples()]
