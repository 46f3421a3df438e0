"""Checkpoints: everything that a training needs to go on, in one file that is replaced at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "checkpoint.safetensors"


def write(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Writes tensors and a JSON state, so that a reader finds the old checkpoint or the new one, never half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{FILE}.tmp"
    save_file({name: t.detach().contiguous() for name, t in tensors.items()}, temporary, {"state": json.dumps(state)})
    temporary.replace(folder / FILE)


def read(
    folder: Path, device: torch.device, part: Callable[[Tensor], Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last checkpoint of a folder, or None where there is none that can be read.

    Args:
        part: takes of each tensor, as it is read, what is to be kept.
    """
    try:
        with safe_open(folder / FILE, framework="pt", device=str(device)) as file:
            return {name: part(file.get_tensor(name)) for name in file.keys()}, json.loads(file.metadata()["state"])  # noqa: SIM118
    except (FileNotFoundError, SafetensorError):
        return None
