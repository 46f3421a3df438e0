"""How long the statistics of a large grid take: intervals of all cells, and paired comparisons with their baselines.

python benchmarks/bootstrap.py [--cells 100] [--utterances 2600] [--resamples 10000] [--speakers 0]

A test set of 2,600 utterances is LibriSpeech test-clean; without speakers every utterance is a group of its own, which
is the dearest case. Predictions come from Parquet files, as those of a store do; nothing is kept from before.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.cell import Cell
from orchestrator.statistics import judged
from orchestrator.statistics.predictions import read
from tasks import TASKS

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "klmnrst"]
LABELS = 60


def main() -> None:
    """Prints seconds for each task."""
    parser = argparse.ArgumentParser()
    for name, default in (("cells", 100), ("utterances", 2600), ("resamples", 10_000), ("speakers", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tasks", nargs="*", default=["asr", "phoneme", "translation", "intent"])
    given = parser.parse_args()
    about = f"{given.cells} cells, {given.utterances} utterances, {given.resamples} resamples"
    print(f"{about}, {given.speakers or 'no'} speakers")
    for task in given.tasks:
        with tempfile.TemporaryDirectory() as folder:
            records = [_cell(Path(folder), task, number, given) for number in range(given.cells)]
            begun = time.perf_counter()
            files = {record["cell"]: Path(folder) / f"{record['cell']}.parquet" for record in records}
            found = judged(
                records,
                lambda cell, splits, files=files: read(files[cell], splits),
                Path(folder) / "kept",
                resamples=given.resamples,
            )
            first = time.perf_counter() - begun
            begun = time.perf_counter()
            judged(records, _never, Path(folder) / "kept", resamples=given.resamples)
            compared = sum(one["results"][0]["comparison"] is not None for one in found)
            print(
                f"{task} ({', '.join(TASKS[task].metrics)}): {first:.1f} s, {compared} comparisons; "
                f"from what is kept {time.perf_counter() - begun:.2f} s",
                flush=True,
            )


def _never(cell: str, splits: Any) -> Any:
    raise AssertionError("everything should be kept")


def _cell(folder: Path, task: str, number: int, given: argparse.Namespace) -> dict[str, Any]:
    """A finished record, and its predictions: the first is continuous, the others have codebooks."""
    asked, own = random.Random(0), random.Random(number + 1)
    classes = TASKS[task].kind == "classification"
    texts = [
        asked.choice(WORDS[:LABELS]) if classes else " ".join(asked.choices(WORDS, k=asked.randint(5, 35)))
        for _ in range(given.utterances)
    ]
    wrong = 0.1 + 0.002 * number
    table = pd.DataFrame(
        {
            "id": [f"u{i:06}" for i in range(given.utterances)],
            "split": "test",
            "speaker": [f"s{i % given.speakers}" if given.speakers else None for i in range(given.utterances)],
            "reference": texts,
            "answer": [" ".join(own.choice(WORDS) if own.random() < wrong else w for w in t.split()) for t in texts],
        }
    )
    variant = TASKS[task].variants[0] if TASKS[task].variants else None
    kind: dict[str, Any] = {"features": "discrete", "codebook": number} if number else {"features": "continuous"}
    cell = Cell(task=task, variant=variant, corpus="c", encoder="e", layer=1, decoder="d", recipe="r", seed=0, **kind)
    table.to_parquet(folder / f"{cell.id}.parquet", index=False)
    result = {"test_set": "test", "split": "test", "n": given.utterances, "metrics": {}}
    about = {"status": "ok", "primary": TASKS[task].primary, "identity": cell.id, "dev": None, "results": [result]}
    return {"cell": cell.id, **cell.coordinates, **about}


if __name__ == "__main__":
    main()
