"""From cells to the graph of stages: what is shared, in which order, and what one cell needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator import corpora, decoders, encoders
from orchestrator.cell import WEIGHTED, Cell, Init
from orchestrator.corpora import Indexed
from orchestrator.decoders import DecoderSpec, HfDecoderConfig
from orchestrator.encoders import EncoderSpec
from orchestrator.encoders.published import stand_in
from orchestrator.errors import UserError, suggest
from orchestrator.hub import NotAtHand
from orchestrator.space import Space
from orchestrator.space_file import unset_variables
from orchestrator.stage import Progress, Stage, silent, walk
from orchestrator.stages import annotations as notes
from orchestrator.stages.analysis import Analysis
from orchestrator.stages.annotations import Annotations, Selection
from orchestrator.stages.bpe import Bpe
from orchestrator.stages.codebook import Codebook
from orchestrator.stages.features import Features
from orchestrator.stages.sample import Sample, together
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.speech import CentroidsSpeech, ContinuousSpeech, DiscreteSpeech, NoSpeech, Speech
from orchestrator.stages.training import TaskSpec, Training
from orchestrator.stages.units import Units
from orchestrator.store import Store
from tasks import TASKS


@dataclass(frozen=True)
class Work:
    """Stages that are built together: one, or all that an encoder pass fills.

    Attributes:
        id: of the first stage.
        needs: ids of the works whose output it reads.
    """

    id: str
    stages: tuple[Stage, ...]
    needs: tuple[str, ...]

    @property
    def is_pass(self) -> bool:
        return isinstance(self.stages[0], (Features, Units))

    @property
    def is_sample(self) -> bool:
        return isinstance(self.stages[0], Sample)

    @property
    def name(self) -> str:
        """For progress lines: `codebook spoken-apc-layer2-k100`."""
        if len(self.stages) > 1:
            first, what = self.stages[0], "encoder pass" if self.is_pass else "sample"
            return f"{what} {first.recordings.readable}-{first.encoder.name} ({len(self.stages)} outputs)"
        return f"{self.stages[0].name} {self.stages[0].readable} {self.stages[0].identity[:6]}"

    def without(self, failed: Collection[str]) -> Work | None:
        """What is left of it when the stages of these identities failed: an encoder pass fills the others none the less."""
        left = tuple(s for s in self.stages if not any(below.identity in failed for below in walk(s)))
        return dataclasses.replace(self, stages=left) if left else None


@dataclass
class Graph:
    """A space over indexed corpora.

    Attributes:
        space: it was made from.
        scorings: the last stage of every cell.
        analyses: of the tokens or the frames that a cell's decoder is fed.
        corpora: by name.
        leaves: stages whose content is known already, each with what writes it.
        absent: checkpoints that are not at hand, each with the reason; only a plan goes on without them.
    """

    space: Space
    scorings: dict[Cell, Scoring]
    corpora: dict[str, Indexed]
    analyses: dict[Cell, Analysis] = field(default_factory=dict)
    leaves: dict[Stage, Callable[[Path], None]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> list[Cell]:
        return list(self.scorings)

    def put_leaves(self, store: Store) -> None:
        """Stores what needs no computing: tables of recordings, annotations, selections."""
        for corpus in self.corpora.values():
            corpus.put(store)
        for stage, write in self.leaves.items():
            store.put(stage, write)

    def shared(self, cells: Iterable[Cell] | None = None) -> list[Work]:
        """The work that these cells (all by default) share, inputs first; the cells' own stages are left out."""
        wanted = self.cells if cells is None else list(cells)
        roots = [self.scorings[cell] for cell in wanted] + [self.analyses[c] for c in wanted if c in self.analyses]
        stages = [s for s in walk(*roots) if not self._is_own(s) and not self._is_leaf(s)]
        alike: dict[tuple[str, ...], list[Stage]] = {}
        for stage in stages:
            alike.setdefault(_together(stage), []).append(stage)
        groups: dict[str, tuple[Stage, ...]] = {s.identity: tuple(alike[_together(s)]) for s in stages}
        works: dict[str, Work] = {}
        for stage in stages:
            group = groups[stage.identity]
            inputs = {i.identity for s in group for i in s.inputs}
            needs = tuple(sorted({groups[i][0].identity for i in inputs if i in groups}))
            works[group[0].identity] = Work(group[0].identity, group, needs)
        return _ordered(works)

    def needs(self, cell: Cell) -> list[Stage]:
        """The shared stages that a cell reads directly or through others."""
        return [s for s in walk(self.scorings[cell]) if not self._is_own(s)]

    def _is_own(self, stage: Stage) -> bool:
        """Whether a stage is a cell's own: its scoring, and its training unless others start from that."""
        return isinstance(stage, Scoring) or (isinstance(stage, Training) and stage.identity not in self._started_from)

    @cached_property
    def _started_from(self) -> set[str]:
        trainings = [s for s in walk(*self.scorings.values()) if isinstance(s, Training)]
        return {s.init.identity for s in trainings if s.init is not None}

    def _is_leaf(self, stage: Stage) -> bool:
        return stage in self.leaves or type(stage).build is Stage.build


def resolve(
    space: Space,
    store: Store,
    progress: Progress = silent,
    only_cached: bool = False,
    cells: Sequence[Cell] | None = None,
) -> Graph:
    """Indexes the corpora that the cells use and makes every cell's stages.

    Args:
        cells: of the space; all by default. What only others need is not looked at.
        only_cached: reads no audio that isn't known yet, and goes on without checkpoints that are not at hand; for `plan`.

    Raises:
        UserError: lists everything that keeps cells from being made.
    """
    return _Resolver(space, store, progress, only_cached, space.cells() if cells is None else cells).graph()


@dataclass(frozen=True)
class _TaskNotes:
    """What is said about a corpus for one task.

    Attributes:
        all, taught: all of it, and what training sees.
        covered: which utterances of which splits it is said about, whatever it is.
        labels: of a classification.
    """

    all: Annotations
    taught: Annotations
    covered: Annotations
    labels: tuple[str, ...]


class _Resolver:
    def __init__(self, space: Space, store: Store, progress: Progress, only_cached: bool, cells: Sequence[Cell]):
        self._space = space
        self._cells = cells
        self._corpora = self._index(store, progress, only_cached)
        self._leaves: dict[Stage, Callable[[Path], None]] = {}
        self._annotations: dict[tuple[str, str, str | None], _TaskNotes] = {}
        self._selections: dict[tuple[str, str | None], Selection] = {}
        self._encoders: dict[tuple[str, str, str | None], EncoderSpec] = {}
        self._decoders: dict[str, DecoderSpec] = {}
        self._goes_on = only_cached
        self._absent: dict[str, str] = {}
        self._trainings: dict[Cell, Training] = {}

    def _index(self, store: Store, progress: Progress, only_cached: bool) -> dict[str, Indexed]:
        names = sorted({name for cell in self._cells for name in (cell.corpus, cell.codebook_corpus) if name})
        problems, found = [], {}
        for name in names:
            if unset := unset_variables(self._space.corpora[name]):
                problems.append(f"corpus '{name}' wants the environment variable {' and '.join(unset)} to be set")
                continue
            try:
                found[name] = corpora.index(name, self._space.corpora[name], store, progress, only_cached)
            except UserError as error:
                problems.append(str(error))
        self._check(problems)
        return found

    def _check(self, problems: Iterable[str]) -> None:
        """Raises UserError with every problem, and with what the space says about its first run."""
        if problems := list(problems):
            setup = f"\n{self._space.name} says: {self._space.setup}" if self._space.setup else ""
            raise UserError(
                f"{self._space.name} can't be run as it is:\n" + "\n".join(f"  {p}" for p in problems) + setup
            )

    def graph(self) -> Graph:
        problems: dict[str, None] = {}
        scorings: dict[Cell, Scoring] = {}
        analyses: dict[Cell, Analysis] = {}
        for cell in self._cells:
            try:
                scorings[cell] = self._scoring(cell)
            except UserError as error:
                problems[str(error)] = None
            else:
                if cell.features != "none" and cell.layer != WEIGHTED:  # a sum that is not learned yet has no frames
                    speech = scorings[cell].training.speech
                    analyses[cell] = Analysis(speech=speech, annotations=self._annotate(cell).covered)
        self._check(problems)
        return Graph(self._space, scorings, self._corpora, analyses, self._leaves, self._absent)

    def _scoring(self, cell: Cell) -> Scoring:
        training, recordings = self._training(cell), self._corpora[cell.corpus].recordings
        beams = self._space.recipe(cell.recipe).beams
        return Scoring(training=training, annotations=self._annotate(cell).all, beams=beams, recordings=recordings)

    def _training(self, cell: Cell) -> Training:
        if cell not in self._trainings:
            task, notes_of = TASKS[cell.task], self._annotate(cell)
            training = Training(
                task=TaskSpec(
                    name=task.name,
                    version=task.version,
                    variant=cell.variant,
                    templates=self._space.templates(cell.task, cell.variant),
                    labels=notes_of.labels,
                ),
                annotations=notes_of.taught,
                speech=self._speech(cell),
                decoder=self._decoder(cell.decoder),
                recipe=self._space.recipe(cell.recipe),
                init=self._start(cell),
                seed=cell.seed,
                label=cell.label,
            )
            training.check()
            self._trainings[cell] = training
        return self._trainings[cell]

    def _start(self, cell: Cell) -> Training | None:
        """The training that a cell starts from."""
        if cell.init is None:
            return None
        variants = TASKS[Init.parse(cell.init).task].variants
        return self._training(cell.start(variants[0] if variants else None))

    def _annotate(self, cell: Cell) -> _TaskNotes:
        task = TASKS[cell.task]
        column = task.column_for(cell.variant)
        key = (cell.corpus, column, cell.fold)
        if key not in self._annotations:
            table = notes.scorable(cell.corpus, column, self._corpora[cell.corpus].splits(cell.fold), task.says)
            if column not in table or table[column].isna().all():
                filled = [c for c in table.columns if table[c].notna().any()]
                raise UserError(
                    f"task '{cell.task}' needs the column '{column}', which corpus '{cell.corpus}' doesn't have; "
                    f"{suggest(column, filled)}"
                )
            stage, rows = notes.annotations(cell.corpus, column, table)
            splits = set(rows["split"])
            if lacking := [s for s in ("train", "dev", "test") if not any(split.startswith(s) for split in splits)]:
                where = f"task '{cell.task}' on corpus '{cell.corpus}'"
                raise UserError(f"{where}: no utterance of the split {' and '.join(lacking)} has '{column}'")
            # What a training sees has an identity of its own: a mended test transcript scores again, and trains nothing.
            seen = table[table["split"].isin(("train", "dev"))].assign(speaker=None)
            taught, taught_rows = notes.annotations(cell.corpus, column, seen)
            said = table[table[column].notna()].assign(speaker=None, covered=lambda rows: rows["split"])
            covered, covered_rows = notes.annotations(cell.corpus, "covered", said)
            self._leaves[covered] = lambda folder: notes.write_annotations(folder, covered_rows)
            self._leaves[stage] = lambda folder: notes.write_annotations(folder, rows)
            self._leaves[taught] = lambda folder: notes.write_annotations(folder, taught_rows)
            targets = rows.loc[rows["split"] == "train", "target"]
            labels = tuple(sorted(set(targets))) if task.kind == "classification" else ()
            self._annotations[key] = _TaskNotes(stage, taught, covered, labels)
        return self._annotations[key]

    def _select(self, corpus: str, fold: str | None) -> Selection:
        if (corpus, fold) not in self._selections:
            table = self._corpora[corpus].splits(fold)
            stage, ids = notes.selection(corpus, table.loc[table["split"] == "train", "id"])
            self._leaves[stage] = lambda folder: notes.write_selection(folder, ids)
            self._selections[corpus, fold] = stage
        return self._selections[corpus, fold]

    def _speech(self, cell: Cell) -> Speech:
        if cell.features == "none":
            return NoSpeech()
        recordings = self._corpora[cell.corpus].recordings
        encoder = self._encoder(cell)
        if cell.features == "continuous":
            layers = range(encoder.layers + 1) if cell.layer == WEIGHTED else (cell.layer,)
            for layer in layers:
                encoder.check_layer(layer)
            if len({encoder.dimension_of(layer) for layer in layers}) > 1:
                raise UserError(f"the layers of '{cell.encoder}' differ in their dimensions: they have no weighted sum")
            return ContinuousSpeech(
                features=tuple(Features(recordings=recordings, encoder=encoder, layer=layer) for layer in layers),
                samples=tuple(self._sample(cell, encoder, cell.corpus, layer) for layer in layers),
                downsample=cell.downsample,
            )
        encoder.check_layer(cell.layer)
        codebook = Codebook(
            sample=self._sample(cell, encoder, cell.codebook_corpus or cell.corpus, cell.layer),
            k=cell.codebook,
            codebook_seed=cell.codebook_seed,
        )
        units = Units(recordings=recordings, encoder=encoder, layer=cell.layer, codebook=codebook)
        if cell.features == "centroids":
            sample = self._sample(cell, encoder, cell.corpus, cell.layer)
            return CentroidsSpeech(units=units, dedup=cell.dedup, downsample=cell.downsample, sample=sample)
        if cell.bpe is None:
            return DiscreteSpeech(units=units, dedup=cell.dedup)
        bpe = Bpe(units=units, selection=self._select(cell.corpus, cell.fold), vocabulary=cell.bpe, dedup=cell.dedup)
        return DiscreteSpeech(units=units, dedup=cell.dedup, bpe=bpe)

    def _sample(self, cell: Cell, encoder: EncoderSpec, corpus: str, layer: int) -> Sample:
        return Sample(
            recordings=self._corpora[corpus].recordings,
            # Another corpus has folds of its own: its official training split is taken.
            selection=self._select(corpus, cell.fold if corpus == cell.corpus else None),
            encoder=encoder,
            layer=layer,
            frames=self._space.sample.frames,
            sample_seed=self._space.sample.seed,
        )

    def _encoder(self, cell: Cell) -> EncoderSpec:
        key = (cell.encoder, cell.corpus, cell.fold)
        if key not in self._encoders:
            config = self._space.encoders.get(cell.encoder) or encoders.config(cell.encoder)
            recordings = self._corpora[cell.corpus].recordings
            selection = self._select(cell.corpus, cell.fold)
            self._encoders[key] = self._at_hand(config, lambda: config.spec(recordings, selection), stand_in)
        return self._encoders[key]

    def _decoder(self, name: str) -> DecoderSpec:
        if name not in self._decoders:
            config = self._space.decoders.get(name) or decoders.config(name)
            self._decoders[name] = self._at_hand(config, config.spec, HfDecoderConfig.of_content)
        return self._decoders[name]

    def _at_hand(self, config: Any, spec: Callable[[], Any], otherwise: Callable[[Any, str], Any]) -> Any:
        """The spec of an encoder or a decoder; where its checkpoint is not at hand, in a plan, one without its content."""
        checkpoint = getattr(config, "checkpoint", "")
        if unset := unset_variables(config):
            raise UserError(f"checkpoint '{checkpoint}' wants the environment variable {' and '.join(unset)} to be set")
        if checkpoint not in self._absent:  # the hub is asked once
            try:
                return spec()
            except NotAtHand as error:
                if not self._goes_on:
                    raise
                self._absent[checkpoint] = str(error)
        return otherwise(config, unknown(checkpoint))


def unknown(checkpoint: str) -> str:
    """What stands for the content of a checkpoint that is not at hand."""
    return f"unknown content of {checkpoint}"


def _together(stage: Stage) -> tuple[str, ...]:
    """A key that the stages share which one pass through the audio fills; every other stage has its own."""
    if isinstance(stage, (Features, Units)):
        # The identities of features of the same recordings and encoder differ by the layer alone.
        return "pass", Features(recordings=stage.recordings, encoder=stage.encoder, layer=0).identity
    if isinstance(stage, Sample):
        return "sample", together(stage)
    return (stage.identity,)


def _ordered(works: dict[str, Work]) -> list[Work]:
    ordered: dict[str, Work] = {}

    def visit(work: Work) -> None:
        if work.id not in ordered:
            for need in work.needs:
                visit(works[need])
            ordered[work.id] = work

    for work in works.values():
        visit(work)
    return list(ordered.values())
