"""Inference: a trained cell on raw audio, from a store or from the folder of an export, and how long it takes.

from orchestrator.inference import load

pipeline = load("3d7cdf2d", store=".tokengrid")  # or the folder of an export
print(pipeline.read("hello.wav"))
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.store import DEFAULT_STORE, Store

if TYPE_CHECKING:
    from orchestrator.inference.pipeline import Pipeline
    from orchestrator.inference.trained import Trained


def load(
    cell: str | Path,
    store: str | Path | None = None,
    space: str | None = None,
    base: str | Path | None = None,
    on: str | None = None,
) -> Pipeline:
    """A trained cell, ready to answer.

    Args:
        cell: the id of a finished cell or the beginning of it, or the folder of an export.
        store: the state folder; an export needs none.
        space: that defines the cell, where a checkpoint's place is not known otherwise.
        base: the folder of the checkpoint that an export refers to.
        on: where it computes, as torch names it; None for the best that is there.

    Raises:
        UserError: there is no such cell, or it is not finished; or a file of the export was changed.
    """
    from orchestrator.inference.pipeline import Pipeline

    return Pipeline(find(cell, store, space, base), on)


def find(
    cell: str | Path, store: str | Path | None = None, space: str | None = None, base: str | Path | None = None
) -> Trained:
    """A trained cell, not loaded yet; the arguments are those of `load`."""
    from orchestrator.inference import finding, package

    if package.is_export(Path(cell)):
        return package.open_export(Path(cell), Path(base) if base else None)
    return finding.find(Store(store or os.environ.get("TOKENGRID_STORE") or DEFAULT_STORE), str(cell), space)


def export(
    cell: str,
    folder: str | Path,
    store: str | Path | None = None,
    space: str | None = None,
    with_base: bool = False,
) -> Path:
    """Packages a finished cell as a folder that needs neither the store nor the corpus, and returns that folder.

    Args:
        cell, store, space: as `load` takes them.
        folder: new, empty, or an older export of the same cell, which is replaced.
        with_base: copies checkpoints of any size, and the one that LoRA leaves as it is; by default large encoders and
            that one are named by their content only.

    Raises:
        UserError: there is no such cell, or the folder holds something else.
    """
    from orchestrator.inference import exporting, finding

    root = Store(store or os.environ.get("TOKENGRID_STORE") or DEFAULT_STORE)
    return exporting.export(root, finding.find(root, cell, space), Path(folder), with_base)
