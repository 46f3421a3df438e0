"""Evidence: the predictions behind a matrix and the audio that they are of, read from the store for people to look at."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from orchestrator.errors import UserError
from orchestrator.report.contest import contests
from orchestrator.report.mistakes import LIMIT, Answer, Audio, Shown, chosen
from orchestrator.report.mistakes import mistakes as of_column
from orchestrator.report.places import label, places
from orchestrator.stages.recordings import Recording, Recordings
from tasks import TASKS

if TYPE_CHECKING:
    from orchestrator.graph import Graph
    from orchestrator.matrix import Matrix
    from orchestrator.stages.scoring import Scoring
    from orchestrator.store import Store

How = Literal["link", "embed", "none"]
"""How a page has audio: as a link to the file where it lies, within the page itself, or not at all."""

PLAYED = {"WAV", "WAVEX", "FLAC", "OGG", "MP3", "MPEG"}
"""libsndfile's names of formats that browsers play."""
MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.8}
"""Embedded audio: about 35 kbit/s at 16 kHz, and every browser plays it."""


def mistakes(
    graph: Graph, store: Store, matrix: Matrix, page_folder: Path | str, limit: int = LIMIT, audio: How = "link"
) -> list[dict[str, Any]]:
    """What was answered wrongly in each column of a matrix (orchestrator/report/mistakes.py), with the audio.

    Args:
        matrix: of this graph and store.
        page_folder: where the page will lie; links are relative to it.
        limit: of utterances in each column.
        audio: how the page has it.

    Returns:
        For each column that has a finished cell: what `report.mistakes.mistakes` gives, with `title`, `task`, `variant`,
        `test_set`, `metric`, and `unread`: cells whose predictions can't be read, each with `why`.
    """
    layout = matrix.layout
    scorings = {cell.id: scoring for cell, scoring in graph.scorings.items()}
    heard = cache(lambda corpus: _audio(graph, store, corpus, Path(page_folder), audio))
    found = []
    for contest in contests(layout, places(layout, matrix.cells)):
        column = contest.column
        shown, unread = [], []
        cells = chosen(contest)
        if not cells:
            continue
        names = {
            cell["cell"]: label(layout, layout.rows[place.row])
            for place in (*contest.ranked, *contest.elsewhere)
            for cell in place.cells
        }
        for cell in cells:
            result = next(one for one in cell["results"] if one["test_set"] == column.test_set)
            try:
                answers = _answers(store, scorings[cell["cell"]], result["test_set"])
            except UserError as error:
                unread.append({"cell": cell["cell"], "label": names[cell["cell"]], "why": str(error)})
                continue
            shown.append(Shown(cell["cell"], names[cell["cell"]], result["metrics"][column.metric], answers))
        first = cells[0]
        labels = scorings[first["cell"]].training.task.labels
        where = heard(first["corpus"])
        about = {"title": column.title, "task": first["task"], "variant": first["variant"]}
        about |= {"test_set": column.test_set, "metric": column.metric, "unread": unread}
        found.append(about | of_column(TASKS[first["task"]], first["variant"], shown, labels, limit, where))
    return found


def _answers(store: Store, scoring: Scoring, split: str) -> tuple[Answer, ...]:
    import pandas as pd

    names = ["id", "speaker", "reference", "answer", "error"]
    path = store.open(scoring).file("predictions.parquet")
    table = pd.read_parquet(path, columns=names, filters=[("split", "==", split)]).sort_values("id").astype(object)
    table = table.where(table.notna(), None)
    return tuple(Answer(*row) for row in table[names].itertuples(index=False))


def _audio(graph: Graph, store: Store, corpus: str, page_folder: Path, how: How) -> Audio:
    """Tells of each utterance of a corpus where its audio is."""
    if how == "none":
        return lambda _: _absent("not asked for")
    stage = graph.corpora[corpus].recordings
    if not store.has(stage):
        return lambda _: _absent("the store has no recordings of this corpus")
    artifact = store.open(stage)
    try:
        table = artifact.file("recordings.parquet")
    except UserError as error:
        why = str(error)
        return lambda _: _absent(why)
    # What is made here lies in its own folder; the user's files were checked when they were indexed.
    inside = None if isinstance(stage, Recordings) else artifact.folder
    known = cache(lambda: _Recordings(table))  # read only where something is shown

    @cache
    def of(name: str) -> Mapping[str, Any]:
        recording = known().get(name)
        if recording is None:
            return _absent("the corpus has no recording of this utterance")
        return describe(recording, inside, page_folder, how)

    return of


class _Recordings:
    """The recordings of a table by their ids, which may be many while few are asked for."""

    def __init__(self, table: Path):
        import pandas as pd

        self._rows = pd.read_parquet(table, columns=["id", "audio", "start", "seconds"]).set_index("id")

    def get(self, name: str) -> Recording | None:
        if name not in self._rows.index:
            return None
        row = self._rows.loc[name]
        start = float(row["start"])
        whole = start != start
        return Recording(name, Path(row["audio"]), None if whole else start, float(row["seconds"]), whole)


def describe(recording: Recording, inside: Path | None, page_folder: Path, how: How) -> dict[str, Any]:
    """Where the audio of an utterance is: `{"src": URL or None, "start", "seconds", "why": reason where None}`.

    `start` is where it begins in what `src` gives; a link to a part of a longer file has it as a media fragment too.

    Args:
        inside: the folder that the file must lie in, to which its path is relative; None where it may lie anywhere.
    """
    path = recording.path if inside is None else inside / recording.path
    if inside is not None and not path.resolve().is_relative_to(inside.resolve()):
        return _absent(f"{recording.path} lies outside the recordings", recording)
    if not path.is_file():
        return _absent(f"{path.name} is not there any more", recording)
    if how == "embed":
        return _embedded(path, recording)
    if problem := _unplayable(path):
        return _absent(problem, recording)
    source = quote(Path(os.path.relpath(path.resolve(), page_folder.resolve())).as_posix())
    start = recording.start or 0.0
    if not recording.whole:
        source += f"#t={start:.3f},{start + recording.seconds:.3f}"
    return {"src": source, "start": start, "seconds": recording.seconds, "why": None}


def _absent(why: str, recording: Recording | None = None) -> dict[str, Any]:
    return {"src": None, "start": None, "seconds": recording.seconds if recording else None, "why": why}


def _unplayable(path: Path) -> str | None:
    """Why browsers don't play a file; None where they do. Its content counts, not what it is called."""
    import soundfile

    try:
        kind = soundfile.info(path).format
    except (soundfile.SoundFileError, OSError):
        return f"{path.name} can't be read as audio"
    return (
        None
        if kind in PLAYED
        else f"browsers don't play {kind} files ({path.name}); audio within the page is converted"
    )


def _embedded(path: Path, recording: Recording) -> dict[str, Any]:
    """The utterance within a URL: as MP3, or as FLAC where libsndfile was built without it."""
    import soundfile

    from orchestrator.audio import SAMPLE_RATE, AudioError, read

    try:
        wave = read(path, *recording.part[1:])
    except AudioError as error:
        return _absent(str(error), recording)
    small = "MP3" in soundfile.available_formats()
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, SAMPLE_RATE, **(MP3 if small else {"format": "FLAC"}))
    body = base64.b64encode(buffer.getvalue()).decode("ascii")
    source = f"data:audio/{'mpeg' if small else 'flac'};base64,{body}"
    return {"src": source, "start": 0.0, "seconds": len(wave) / SAMPLE_RATE, "why": None}
