"""Matrices for the figures' tests: records with scores, intervals, curves, stages and published values, in any grid."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.matrix import COORDINATES, KEYS, Matrix

METRICS = {"asr": "wer", "translation": "bleu", "intent": "accuracy", "emotion": "accuracy"}
BEST = {"wer": 0.05, "bleu": 45.0, "accuracy": 0.92}
CONTINUOUS = {"features": "continuous", "downsample": 2}
DISCRETE = {"features": "discrete", "codebook_seed": 0, "dedup": True}
DEMO = (
    CONTINUOUS,
    *({**DISCRETE, "codebook": k, "bpe": bpe} for k in (50, 200) for bpe in (None, 400)),
    {"features": "centroids", "codebook": 200, "codebook_seed": 0, "dedup": False, "downsample": 2},
    {"features": "none"},
)


def cell(status: str = "ok", **given: Any) -> dict[str, Any]:
    """A record; what isn't given is made up, the same for the same coordinates."""
    at = dict.fromkeys(COORDINATES) | {
        "task": "asr",
        "corpus": "spoken",
        "decoder": "tiny",
        "recipe": "demo",
        "seed": 0,
    }
    at |= {"features": "continuous"} | {name: given.pop(name) for name in COORDINATES if name in given}
    if at["features"] != "none":
        at |= {"encoder": at["encoder"] or "apc", "layer": 1 if at["layer"] is None else at["layer"]}
    name = hashlib.sha256(json.dumps(at).encode()).hexdigest()[:12]
    chance = random.Random(name)
    metric = METRICS.get(at["task"], "accuracy")
    body = dict.fromkeys(KEYS) | {"cell": name} | at | {"status": status, "primary": metric, "results": [], "curve": []}
    if status == "ok":
        value = given.pop("value", None)
        value = _score(at, metric, chance) if value is None else value
        body |= {"stopped": chance.choice(["plateau", "plateau", "budget"]), "metrics": {metric: value}}
        body |= {"dev": {metric: value}, "curve": curve(chance), "cost": cost(at, chance), "baseline": _floor(metric)}
        body["results"] = [result("test", metric, value, at["features"])]
    else:
        body["reason"] = "diverged at step 210"
    return body | given


def result(test_set: str, metric: str, value: float, features: str = "continuous") -> dict[str, Any]:
    """A test result with its interval; other features than continuous differ from it."""
    far = 0.1 * abs(value) + 1e-3
    compared = {
        "against": "0" * 12,
        "baseline": "features=continuous",
        "difference": {metric: far},
        "interval": {metric: [far / 2, far * 2]},
        "p": {metric: 0.001},
        "p_holm": {metric: 0.01},
    }
    return {
        **{"test_set": test_set, "split": "test", "n": 120, "metrics": {metric: value}, "baseline": _floor(metric)},
        **{"interval": {metric: [value - far, value + far]}, "resampled": "speaker", "groups": 12, "seeds": None},
        **{"comparison": None if features == "continuous" else compared, "uncompared": None},
    }


def curve(chance: random.Random, evaluations: int = 6) -> list[dict[str, Any]]:
    """A learning curve that falls, unevenly."""
    pace, rows = chance.uniform(0.6, 2.0), []
    for i in range(1, evaluations + 1):
        error = 0.05 + 0.6 / (i * pace) + chance.uniform(0, 0.05)
        rows.append(
            {"step": 90 * i, "epoch": float(i), "tokens": 5000 * i, "flops": pace * 1e11 * i, "seconds": pace * 4.5 * i}
            | {"train_loss": 3 * error, "dev_loss": 2 * error, "dev_error": error}
        )
    return rows


def cost(at: Mapping[str, Any], chance: random.Random) -> dict[str, Any]:
    """What a cell took."""
    cheap = 1.0 if at["features"] == "continuous" else 0.3 + chance.uniform(0, 0.3)
    bits = {"continuous": 102_400.0, "centroids": 700.0, "discrete": 200.0 + (at["bpe"] or 0) / 10, "none": 0.0}
    size = {"tiny": 455_616, "small": 2_400_000, "large": 31_000_000}.get(at["decoder"], 10**9)
    shared = {"recordings": 31.0, "pretraining": 29.0, "sample": 4.5, "encoder pass": 11.7}
    stages = [{"stage": name, "name": name, "seconds": s, "share": s / 24, "cells": 24} for name, s in shared.items()]
    stages += [{"stage": name, "name": name, "seconds": s, "share": s, "cells": 1} for name, s in
               (("training", 40 * cheap), ("scoring", 0.5))]  # fmt: skip
    return {
        **{
            "train_seconds": 40 * cheap,
            "seconds_to_best": 35 * cheap,
            "best_epoch": 6 * cheap,
            "best_step": 540 * cheap,
        },
        **{"steps": 564, "epochs": 6.0, "tokens": 297_624, "tokens_to_best": 250_000 * cheap, "trials_at_once": 2},
        **{
            "flops_to_best": 7e11 * cheap,
            "tokens_per_second_of_audio": 25 * cheap,
            "parameters": size,
            "stages": stages,
        },
        **{"bits_per_second": bits[at["features"]]},
    }


def grid(
    tasks: Iterable[str] = tuple(METRICS), arms: Iterable[Mapping[str, Any]] = DEMO, **axes: Iterable[Any]
) -> list[dict[str, Any]]:
    """Every task with every arm and every combination of the axes, each a coordinate with its values."""
    rows = itertools.product(tasks, arms, *axes.values())
    cells = [cell(**{"task": task, **arm, **dict(zip(axes, values, strict=True))}) for task, arm, *values in rows]
    return list({one["cell"]: one for one in cells}.values())


def matrices() -> dict[str, Matrix]:
    """Spaces of every kind that the figures have to bear."""
    odd = grid()
    for i, one in enumerate(odd):
        if i % 3 == 0:
            odd[i] = cell("failed" if i % 2 else "missing", **{name: one[name] for name in COORDINATES})
    nan = grid(tasks=["asr"])
    for one in nan[1:3]:
        one["results"][0]["metrics"] = {"wer": float("nan")}
        one["cost"] |= {"seconds_to_best": float("nan"), "bits_per_second": None, "parameters": float("inf")}
        one["curve"] = [row | {"dev_error": float("nan"), "dev_loss": None} for row in one["curve"]]
    two = grid(tasks=["asr"])
    for one in two:
        one["results"].append(result("test-other", "wer", one["metrics"]["wer"] + 0.05, one["features"]))
    published = grid(tasks=["asr", "intent"])
    for one in published:
        metric, one["stopped"] = one["primary"], "plateau"
        one["reference"] = [{"test_set": None, "metric": metric, "value": one["metrics"][metric] * 1.1, "grade": "S"}]
    about = {"source": "arXiv 2411.08742", "grade": "S", "meaning": "summarised", "notes": []}
    odd_names = [cell(**arm, encoder="a$x$b<script>&\"'", task="asr", variant="$\\frac{x$ <b>") for arm in DEMO]
    seeds = seeded(grid(tasks=["asr", "intent"], seed=(0, 1, 2)))
    large = [{**DISCRETE, "codebook": k, "bpe": bpe} for k in (100, 200, 500) for bpe in (None, 300, 600, 900)]
    return {
        "empty": Matrix("empty", []),
        "all missing": Matrix("all missing", [cell("missing", **arm) for arm in DEMO]),
        "single": Matrix("single", [cell()]),
        "none alone": Matrix("none alone", [cell(features="none")]),
        "one task": Matrix("one task", grid(tasks=["asr"])),
        "demo": Matrix("demo", grid()),
        "some failed": Matrix("some failed", odd),
        "not a number": Matrix("not a number", nan),
        "two test sets": Matrix("two test sets", two),
        "published": Matrix("published", published, about),
        "odd names": Matrix("<odd> $names$", odd_names),
        "seeds": Matrix("seeds", seeds),
        "layers": Matrix("layers", grid(tasks=["asr", "intent"], layer=(3, 9, 21, 24, "weighted"))),
        "decoders": Matrix("decoders", grid(tasks=["asr", "intent"], decoder=("tiny", "small", "large"))),
        "large": Matrix(
            "large", grid(["asr", "intent"], [CONTINUOUS, *large], layer=(3, 9, 15, 21), encoder=("hubert", "wavlm"))
        ),
    }


def seeded(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with what statistics say of several seeds of a place."""
    for one in cells:
        for of in one["results"]:
            of["seeds"] = {name: of[name] for name in ("interval", "comparison", "uncompared")} | {
                "cells": [one["cell"]]
            }
    return cells


def _score(at: Mapping[str, Any], metric: str, chance: random.Random) -> float:
    worse = {"continuous": 0.0, "centroids": 0.15, "discrete": 0.3, "none": 0.95}[at["features"]] + chance.uniform(
        0, 0.05
    )
    return BEST[metric] + (_floor(metric) - BEST[metric]) * worse


def _floor(metric: str) -> float:
    return {"wer": 1.0, "bleu": 0.0, "accuracy": 0.1}[metric]
