"""Commands that use trained cells: answers on raw audio, and a folder to take one away."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import track

from orchestrator.commands.common import StoreOption, err, out
from orchestrator.errors import UserError
from orchestrator.inference.pcm import Encoding, Pcm
from orchestrator.store import DEFAULT_STORE

if TYPE_CHECKING:
    from orchestrator.inference.pipeline import Pipeline, Prediction

STDIN = "-"


class PredictFormat(StrEnum):
    """How `predict` prints."""

    text = "text"
    json = "json"
    csv = "csv"


CellArgument = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="The id of a finished cell, or the beginning of it: tokengrid best names the best, matrix --format csv all.",
    ),
]
SpaceOption = Annotated[
    str | None, typer.Option(help="The space of the cell; only needed where the place of a checkpoint isn't known.")
]


def predict(
    cell: Annotated[
        str,
        typer.Argument(
            metavar="CELL", help="The id of a finished cell, the beginning of it, or the folder of an export."
        ),
    ],
    audio: Annotated[
        list[str],
        typer.Argument(
            metavar="AUDIO…", help="Files (WAV, FLAC, Ogg, MP3 at any rate), folders, or - for raw samples on stdin."
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    space: SpaceOption = None,
    base: Annotated[Path | None, typer.Option(help="The folder of the checkpoint that an export refers to.")] = None,
    format: Annotated[PredictFormat, typer.Option("--format", help="json: one object a line.")] = PredictFormat.text,
    rate: Annotated[int, typer.Option(min=1000, max=1_000_000, help="Of raw samples, in Hz.")] = 16_000,
    encoding: Annotated[Encoding, typer.Option(help="Of raw samples.")] = Encoding.s16le,
    channels: Annotated[int, typer.Option(min=1, max=1024, help="Of raw samples, interleaved.")] = 1,
    chunk: Annotated[
        float | None, typer.Option(min=0.1, max=3600, help="Answer raw samples every so many seconds, as they come.")
    ] = None,
) -> None:
    """Answers recordings with a trained cell: `arecord -q -t raw -f S16_LE -r 16000 | tokengrid predict CELL -`.

    A recording that can't be used is named with the reason, the others are answered, and the exit code is 1.
    """
    from orchestrator import inference

    if audio.count(STDIN) > 1:
        raise UserError("standard input (-) can be read once: name it once")
    if STDIN in audio and sys.stdin is None:
        raise UserError("standard input (-) is closed: pipe raw samples into it")
    with err.status("loading the cell …"):
        pipeline = inference.load(cell, store, space, base)
    if not pipeline.hears:
        err.print("[yellow]this cell hears nothing (features: none): its answers are guesses[/]")
    show, bad = _printer(format), 0
    for found in _answers(pipeline, audio, Pcm(rate, channels, encoding), chunk):
        show(found)
        if found.error is not None:
            bad += 1
            err.print(f"[red]error:[/] {escape(found.audio)}: {escape(found.error)}", highlight=False, soft_wrap=True)
    if bad:
        raise typer.Exit(1)


def export(
    cell: CellArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New, empty, or an older export of the same cell.")],
    store: StoreOption = DEFAULT_STORE,
    space: SpaceOption = None,
    with_base: Annotated[
        bool, typer.Option("--with-base", help="Copy checkpoints of any size, and the one that LoRA left as it is.")
    ] = False,
) -> None:
    """Packages a trained cell as a folder that needs neither the store nor the corpus: safetensors, JSON, a model card."""
    from orchestrator import inference

    with err.status("packaging …"):
        written = inference.export(cell, folder, store, space, with_base)
    out.print(f"{written}: tokengrid predict {written} audio.wav", highlight=False, soft_wrap=True, markup=False)


def _answers(pipeline: Pipeline, audio: list[str], pcm: Pcm, chunk: float | None) -> Iterator[Prediction]:
    from orchestrator.inference import listening

    limits = pipeline.trained.limits
    paths = listening.files(name for name in audio if name != STDIN)
    found = pipeline.predict(listening.look(path, limits) for path in paths)
    silent = len(paths) < 2 or not err.is_terminal
    yield from track(found, "answering", total=len(paths), console=err, transient=True, disable=silent)
    if STDIN in audio:
        for heard in listening.hear(sys.stdin.buffer, pcm, limits, chunk):
            yield from pipeline.predict([heard])  # at once, not when there are many


def _printer(format: PredictFormat) -> Callable[[Prediction], None]:
    """Prints answers as they come."""
    rows = csv.writer(sys.stdout, lineterminator="\n")
    if format is PredictFormat.csv:
        rows.writerow(("audio", "seconds", "answer", "error"))

    def show(found: Prediction) -> None:
        if format is PredictFormat.json:
            print(json.dumps(asdict(found), ensure_ascii=False))
        elif format is PredictFormat.csv:
            rows.writerow((found.audio, found.seconds, found.answer, found.error))
        elif found.answer is not None:
            print(found.audio, " ".join(found.answer.splitlines()), sep="\t")
        sys.stdout.flush()

    return show
