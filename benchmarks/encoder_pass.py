"""What one encoder pass saves: all codebooks from one pass, against a pass a codebook, against stored features.

    python benchmarks/encoder_pass.py [--preset demo] [--codebooks 50 100 200 400]

The three are run in turn, several times, in one process; read the ratios, not the seconds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from orchestrator.execution import do_work, threads, todo
from orchestrator.graph import resolve
from orchestrator.space_file import parse
from orchestrator.stages.encoder_pass import run_locally
from orchestrator.stages.features import Features
from orchestrator.stages.units import Units
from orchestrator.store import Store, discard


def main(
    preset: str = "smoke",
    encoder: str = "apc",
    codebooks: Annotated[list[int] | None, typer.Option()] = None,
    rounds: int = 3,
) -> None:
    """Prints median seconds and ratios."""
    features = [{"kind": "continuous"}, {"kind": "discrete", "codebook": codebooks or [16, 32, 64]}]
    space = parse(
        {
            "name": "benchmark",
            "corpora": {"spoken": {"reader": "synthetic", "preset": preset}},
            "grid": {"task": "keyword", "corpus": "spoken", "encoder": encoder, "layer": 1, "features": features},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        graph = resolve(space, store)
        graph.put_leaves(store)
        works = todo(graph, store, graph.cells).works
        for work in works:
            if not work.is_pass:
                do_work(store, work)
        stages = next(work.stages for work in works if work.is_pass)
        units = [stage for stage in stages if isinstance(stage, Units)]
        kept = [stage for stage in stages if isinstance(stage, Features)]

        def timed(action: Callable[[], None], *, keep_features: bool = False) -> float:
            for stage in units + ([] if keep_features else kept):
                discard(store.folder(stage))
            started = time.perf_counter()
            with threads(stages[0]):
                action()
            return time.perf_counter() - started

        def one_by_one() -> None:
            for stage in units:
                run_locally(store, [stage])

        seconds: dict[str, list[float]] = {"one pass": [], "a pass a codebook": [], "from stored features": []}
        for _ in range(rounds):
            seconds["a pass a codebook"].append(timed(one_by_one))
            seconds["one pass"].append(timed(lambda: run_locally(store, stages)))
            seconds["from stored features"].append(timed(lambda: run_locally(store, units), keep_features=True))
        base = median(seconds["one pass"])
        for name, measured in seconds.items():
            print(f"{name:22} {median(measured):7.2f} s   {median(measured) / base:5.2f} × one pass")


if __name__ == "__main__":
    typer.run(main)
