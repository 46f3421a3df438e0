"""Card: the README.md of a package, a model card as the Hugging Face hub reads them (hub-docs, "Model cards")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.report.words import HEADINGS, OF_HUNDRED
from tasks import TASKS

PIPELINES = {
    "asr": "automatic-speech-recognition",
    "phoneme": "automatic-speech-recognition",
    "translation": "audio-text-to-text",
}
"""The hub's word for what a task does; every other task puts recordings into classes."""
CLASSES = "audio-classification"
CHECK = "unknown: check before you pass it on"
TEXT = """# {title}

A speech LLM that reads {speech}. It was trained and scored by tokengrid.

| | |
|---|---|
| task | {task}: {prompt} |
| decoder | {decoder} |
| cell | `{cell}`, scoring `{identity}` |
{labels}
## Use

```python
from orchestrator.inference import load

pipeline = load("this/folder")
print(pipeline.read("hello.wav"))
```

or `tokengrid predict this/folder hello.wav`. Any sample rate and number of channels comes in. The folder holds safetensors and JSON
alone; every file is checked against `tokengrid.json` when it is loaded.{needs}

## Scores

{scores}

Intervals are 95 %, from a bootstrap over test {resampled}s; *without listening* is what a trivial answer scores ({trivial}).
Normaliser and signatures are those of the task in tokengrid, version {version}.

## Data

Corpus `{corpus}`{fold}; utterances that have this task's annotation:

{data}

## Training

{training}

## Limits

* It knows what its corpus holds: {utterances} training utterances. Other accents, microphones, noise and words are untested.
* {kind}
* Recordings shorter than {shortest:g} s, longer than {longest:g} s or silent are refused.
* One training run, seed {seed}: another seed gives other answers.

## Licences

* encoder: {encoder_licence}
* decoder: {decoder_licence}
* corpus `{corpus}`: {check}
* this model: derived from all of these, so {check}
"""


def card(index: Mapping[str, Any]) -> str:
    """The model card of a package.

    Args:
        index: the content of its `tokengrid.json`.
    """
    return f"---\n{_front_matter(index)}\n---\n\n{_text(index)}"


def title(index: Mapping[str, Any]) -> str:
    """Names the model for people."""
    where = index["coordinates"]
    parts = [index["task"]["name"], index["task"]["variant"], where["features"], where["encoder"]]
    return " ".join(str(part) for part in (*parts, f"on {where['corpus']}") if part)


def _front_matter(index: Mapping[str, Any]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    task, where = index["task"], index["coordinates"]
    kind = PIPELINES.get(task["name"], CLASSES)
    results = [
        EvalResult(
            task_type=kind,
            dataset_type=where["corpus"],
            dataset_name=where["corpus"],
            dataset_split=result["test_set"],
            metric_type=metric,
            metric_name=HEADINGS.get(metric, metric),
            metric_value=round(value, 6),
        )
        for result in index["scores"]
        for metric, value in result["metrics"].items()
    ]
    hubs = [part["checkpoint"] for part in (index["encoder"], index["base"]) if part and part["hub"]]
    data = ModelCardData(
        license="unknown",
        library_name="tokengrid",
        pipeline_tag=kind,
        tags=["tokengrid", "speech-llm", f"{where['features']}-speech-features", task["name"]],
        base_model=hubs or None,
        model_name=title(index),
        eval_results=results,
    )
    return data.to_yaml()


def _text(index: Mapping[str, Any]) -> str:
    task, where, limits = index["task"], index["coordinates"], index["limits"]
    is_class = TASKS[task["name"]].kind == "classification" if task["name"] in TASKS else bool(task["labels"])
    needs = "".join(_needed(part) for part in (index["encoder"], index["base"]) if part and not part["included"])
    shown = ", ".join(f"`{label}`" for label in task["labels"])
    return TEXT.format(
        title=title(index),
        task=task["name"] + (f" ({task['variant']})" if task["variant"] else ""),
        prompt=f"`{_line(task['prompt'])}`",
        speech=_speech(where),
        decoder=f"`{where['decoder']}`, recipe `{where['recipe']}`, {_number(index['training'].get('parameters'))} weights",
        cell=index["cell"],
        identity=index["identity"],
        labels=f"\nIts answer is always one of {len(task['labels'])} labels: {shown}.\n" if task["labels"] else "",
        needs=needs,
        scores=_scores(index["scores"]),
        resampled=next((result["resampled"] for result in index["scores"] if result["resampled"]), "utterance"),
        trivial="the commonest training label" if is_class else "an empty one",
        version=task["version"],
        corpus=where["corpus"],
        fold=f", fold {where['fold']}" if where["fold"] else "",
        data=_data(index["data"]["splits"]),
        training=_training(index),
        utterances=index["data"]["splits"].get("train", {}).get("utterances", "unknown"),
        kind=_kind(where),
        shortest=limits["min_seconds"],
        longest=limits["max_seconds"],
        seed=where["seed"],
        encoder_licence=_licence(
            index["encoder"], where["encoder"], "part of tokengrid or trained by it: no licence of others"
        ),
        decoder_licence=_decoder_licence(index),
        check=CHECK,
    )


def _needed(part: Mapping[str, Any]) -> str:
    """Where a checkpoint comes from that the package doesn't hold."""
    content = part["content"][:12]
    where = f"it is fetched from the hub at {content}" if part["hub"] else f"`--base` names a copy (content {content})"
    return f" The checkpoint `{part['checkpoint']}` is not in it: {where}."


def _speech(where: Mapping[str, Any]) -> str:
    """How speech comes in, in words."""
    if where["features"] == "none":
        return "no speech at all: it answers by guessing, a control"
    source = f"`{where['encoder']}`, layer {where['layer']}"
    repeats = "repeats collapsed" if where["dedup"] else "with repeats"
    if where["features"] == "discrete":
        bpe = f", BPE of {where['bpe']}" if where["bpe"] else ""
        return f"discrete tokens of {source}: k-means of {where['codebook']} codes, {repeats}{bpe}"
    if where["features"] == "centroids":
        return f"k-means centroids ({where['codebook']}, {repeats}) of {source}, every {where['downsample']} of them concatenated"
    return f"continuous features of {source}, every {where['downsample']} frames concatenated"


def _kind(where: Mapping[str, Any]) -> str:
    if where["features"] == "none":
        return "It does not listen: whatever the recording, it answers what is likely."
    return (
        "It answers every recording that it takes, also one without speech: it has no way to say that it doesn't know."
    )


def _scores(results: list[Mapping[str, Any]]) -> str:
    rows = ["| test set | n | metric | score | 95 % interval | without listening |", "|---|---|---|---|---|---|"]
    for result in results:
        for metric, value in result["metrics"].items():
            ends = (result["interval"] or {}).get(metric)
            interval = f"{_score(metric, ends[0])} to {_score(metric, ends[1])}" if ends else "–"
            cells = (result["test_set"], result["n"], HEADINGS.get(metric, metric), _score(metric, value), interval)
            rows.append("| " + " | ".join(map(str, (*cells, _score(metric, result["baseline"][metric])))) + " |")
    return "\n".join(rows)


def _score(metric: str, value: float) -> str:
    return f"{value:.1f}" if metric in OF_HUNDRED else f"{100 * value:.1f} %"


def _data(splits: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ["| split | utterances | hours |", "|---|---|---|"]
    for name, one in splits.items():
        rows.append(
            f"| {name} | {one['utterances']} | {'unknown' if one['hours'] is None else format(one['hours'], '.3g')} |"
        )
    return "\n".join(rows)


def _training(index: Mapping[str, Any]) -> str:
    told, stage = index["training"], next(s for s in index["stages"].values() if s["stage"] == "training")
    parts = [
        f"{_number(told['steps'])} steps, {told['epochs']:g} epochs, {_number(told['tokens'])} tokens, "
        f"{told['train_seconds']:.0f} s on {stage['device']}, {told['trials_at_once']} at a time on the machine.",
        f"It ended by its {'plateau rule' if told['stopped'] == 'plateau' else 'budget, before its plateau'}.",
    ]
    if flops := told.get("flops"):
        parts.insert(1, f"{flops:.1e} floating-point operations.")
    return " ".join(parts)


def _decoder_licence(index: Mapping[str, Any]) -> str:
    decoder = index["stages"][index["identity"]]["config"]["training"].rpartition(":")[2]
    spec = index["stages"][decoder]["config"]["decoder"]
    if spec["is"] == "TinySpec":
        return "trained from scratch by tokengrid: no licence of others"
    return _licence(index["base"], index["coordinates"]["decoder"], f"`{index['coordinates']['decoder']}`, {CHECK}")


def _licence(part: Mapping[str, Any] | None, name: str | None, otherwise: str) -> str:
    if name is None:
        return "none is used"
    if part is None:
        return otherwise
    said = f"{part['licence']}, as its model card says" if part["licence"] else CHECK
    return f"`{part['checkpoint']}`: {said}"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "an unknown number of"


def _line(text: str) -> str:
    return " ⏎ ".join(text.replace("`", "'").splitlines())
