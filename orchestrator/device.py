"""Where a stage computes."""

from __future__ import annotations


def available() -> str:
    """The GPU that this process may use (Ray shows each worker its own), else the processor."""
    import torch  # late: thin commands never need it

    return "cuda" if torch.cuda.is_available() else "cpu"


def name() -> str:
    """That device as people call it."""
    import torch

    return torch.cuda.get_device_name() if available() == "cuda" else "cpu"
