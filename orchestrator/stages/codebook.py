"""Codebook: k-means centroids of a sample of frames."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from safetensors.numpy import load_file, save_file

from orchestrator import tokens
from orchestrator.errors import StageError
from orchestrator.stage import Build, Stage
from orchestrator.stages.sample import Sample, read_sample
from orchestrator.store import Artifact

HELD_OUT = 0.1
"""Share of the sample that judges the codebook and never fits it."""
MOST_DEAD = 0.5
"""A codebook of which more codes than this win no held-out or fitted frame has collapsed: an error, not a result."""


@dataclass(frozen=True, kw_only=True)
class Codebook(Stage):
    """Files: `centroids.safetensors` (float32 `[k, D]`) and `statistics.json` (held-out inertia, dead codes, entropy)."""

    name: ClassVar[str] = "codebook"

    sample: Sample
    k: int
    codebook_seed: int = 0
    batch_frames: int = 4096
    max_passes: int = 30

    @property
    def readable(self) -> str:
        return f"{self.sample.readable}-k{self.k}"

    def build(self, at: Build) -> None:
        from sklearn.cluster import MiniBatchKMeans  # here, not above: a plan of a large grid never needs it

        frames = read_sample(at.open(self.sample))["frames"]
        held_out = frames[: max(1, int(len(frames) * HELD_OUT))].astype(np.float32)
        fitted = frames[len(held_out) :].astype(np.float32)
        if len(fitted) < self.k:
            raise StageError(
                f"a codebook of {self.k} needs at least {self.k} frames to be fitted on; the sample has {len(fitted)} "
                f"(and {len(held_out)} held out). Choose a smaller codebook, a larger sample or more training audio."
            )
        at.progress(0, 1, "fit")
        means = MiniBatchKMeans(
            self.k,
            random_state=self.codebook_seed,
            n_init=1,
            init_size=min(len(fitted), max(3 * self.k, self.batch_frames)),
            batch_size=max(self.batch_frames, self.k),
            max_iter=self.max_passes,
            reassignment_ratio=0.01,
            compute_labels=False,
        ).fit(fitted)
        centroids = np.ascontiguousarray(means.cluster_centers_, np.float32)
        report = judge(centroids, fitted, held_out)
        if report["used"] < 2 or report["dead"] > MOST_DEAD * self.k:
            raise StageError(
                f"the codebook of {self.k} collapsed: {report['dead']} codes win no frame. "
                "Are the frames constant? Choose a smaller codebook or another layer."
            )
        save_file({"centroids": centroids}, at.folder / "centroids.safetensors")
        (at.folder / "statistics.json").write_text(json.dumps(report, indent=1), "utf-8")
        at.progress(1, 1, "fit")


def judge(centroids: np.ndarray, fitted: np.ndarray, held_out: np.ndarray) -> dict[str, Any]:
    """What a codebook is worth: inertia per frame (fitted, held out, and of a single centroid), dead codes, entropy."""
    assigner = Assigner(centroids)
    seen, new = assigner(fitted), assigner(held_out)
    usage = tokens.statistics([seen, new], len(centroids), seconds=1.0)
    return {
        "k": len(centroids),
        "frames_fitted": len(fitted),
        "frames_held_out": len(held_out),
        "inertia": float(np.square(fitted - centroids[seen]).sum(1).mean()),
        "held_out_inertia": float(np.square(held_out - centroids[new]).sum(1).mean()),
        "total_variance": float(np.square(held_out - fitted.mean(0)).sum(1).mean()),
        **{key: usage[key] for key in ("used", "dead", "utilisation", "entropy", "normalised_entropy")},
    }


class Assigner:
    """Nearest centroid in Euclidean distance; callers pass frames that were rounded to fp16.

    Args:
        centroids: float32 `[k, D]`.
        device: where distances are computed; an encoder on a GPU would otherwise wait for the processor.
    """

    def __init__(self, centroids: np.ndarray, device: str = "cpu"):
        import torch

        self._centroids = torch.from_numpy(centroids).to(device)
        self._half_norms = self._centroids.square().sum(1) / 2

    def __call__(self, frames: np.ndarray, block: int = 1 << 14) -> np.ndarray:
        """Frames `[T, D]` → codes int64 `[T]`."""
        import torch

        values = torch.from_numpy(np.asarray(frames))
        # argmin |x - c|² = argmax x·c - |c|²/2
        parts = (part.to(self._centroids) for part in values.split(block))
        return torch.cat([(x @ self._centroids.T - self._half_norms).argmax(1).cpu() for x in parts]).numpy()


def read_centroids(artifact: Artifact) -> np.ndarray:
    """Float32 `[k, D]`."""
    return load_file(artifact.file("centroids.safetensors"))["centroids"]
