"""Trained cells of every kind of features, encoder and decoder over the smoke corpus, run once a session."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import tiny_models as test_models
from conftest import Speech
from grid_material import Log, content

from orchestrator import local, space_file
from orchestrator.grid import Grid
from orchestrator.inference.trained import Trained
from orchestrator.stages.recordings import Recording, read_recordings
from orchestrator.store import Store
from search_spaces.tiny_models import make_decoder

TESTS = ("train", "dev")
"""Splits that are no test sets."""
CELLS = 16
FEATURES = [
    {"kind": "continuous", "downsample": 4},
    {"kind": "discrete", "codebook": 12, "dedup": [True, False]},
    {"kind": "discrete", "codebook": 12, "bpe": 24},
    {"kind": "centroids", "codebook": 12, "downsample": 3, "dedup": [False, True]},
    "none",
]
LORA = {"rank": 2, "alpha": 4}
_made: dict[Path, Grid] = {}


def space(models: Path):
    """All features of an APC encoder, then other encoders, layers and decoders, sequences, a start, searches."""
    body = content()
    body["encoders"] |= {"hubert": {"kind": "hf", "checkpoint": str(models / "hubert")}}
    body["decoders"] |= {
        "whole": {"kind": "hf", "checkpoint": str(models / "qwen")},
        "lora": {"kind": "hf", "checkpoint": str(models / "qwen"), "lora": LORA},
        "rows": {"kind": "hf", "checkpoint": str(models / "qwen"), "lora": LORA, "speech_tokens": "vocabulary"},
    }
    learning = {"batch": 16, "learning_rate": 4e-3, "warmup_steps": 2, "max_epochs": 3, "patience": 9}
    body["recipes"] = {"small": learning, "searching": learning | {"beams": 3}}
    shared = body["grid"][0] | {"task": "keyword"}
    discrete = [{"kind": "discrete", "codebook": 12}]
    body["grid"] = [
        shared | {"features": FEATURES},
        shared | {"task": "asr", "encoder": "logmel", "layer": 0, "features": [FEATURES[0], FEATURES[2]]},
        shared | {"encoder": "logmel", "layer": 0, "features": FEATURES[:1], "init": "asr"},
        shared | {"task": "asr", "recipe": "searching", "features": discrete},
        shared | {"recipe": "searching", "features": discrete},
        shared | {"encoder": "hubert", "layer": "weighted", "features": FEATURES[:1]},
        shared | {"encoder": "hubert", "layer": 2, "features": FEATURES[:1], "decoder": "whole"},
        shared | {"encoder": "hubert", "layer": 2, "features": discrete, "decoder": ["lora", "rows"]},
    ]
    return space_file.parse({**body, "name": "trained"})


def trained(spoken: Speech) -> Grid:
    """The space, after a launch. Tests only read its store, or copy it."""
    root = spoken.store.root.parent / "trained"
    if root not in _made:
        test_models.make_encoder(root / "models" / "hubert", "hubert-layer-stable")
        make_decoder(root / "models" / "qwen", "qwen2", 16, 1, seed=0)
        shutil.copytree(spoken.store.root / "store" / "recordings", root / "state" / "store" / "recordings")
        grid = Grid(space(root / "models"), root / "state")
        grid.graph.analyses.clear()  # nothing here looks at them
        local.run(grid.graph, grid.store, grid.cells, Log())
        assert grid.matrix().counts()["ok"] == len(grid.cells) == CELLS
        _made[root] = grid
    return _made[root]


def asked(found: Trained) -> pd.DataFrame:
    """What a cell was asked in its test sets, and what it answered: its predictions."""
    table = pd.read_parquet(found.open(found.scoring).file("predictions.parquet"))
    return table[~table["split"].isin(TESTS)]


def recordings(grid: Grid) -> dict[str, Recording]:
    """What the utterances of the corpus are heard in."""
    stage = grid.graph.corpora["spoken"].recordings
    return {one.id: one for one in read_recordings(Store(grid.store.root).open(stage))}
