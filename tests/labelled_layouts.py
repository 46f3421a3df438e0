"""Folders in the official layout of published corpora, made of real speech that stands in for theirs.

The files are real and small, the layout is the published one; what is said about the files is true only as far as noted.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml

from orchestrator.errors import UserError
from tasks.corpora import READERS, Corpus

DATA = Path(os.environ.get("TOKENGRID_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
HERE = (DATA / "manifest.tsv").is_file()
ABSENT = f"there is no real speech at {DATA}: set TOKENGRID_SHARED_DATA to the folder that has its manifest.tsv"

Row = dict[str, str]


def utterances(name: str) -> list[Row]:
    """The rows of a set of the real speech, in the order of their paths."""
    with (DATA / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["set"] == name]
    return sorted(rows, key=lambda row: row["path"])


def wav(row: Row, target: Path) -> None:
    """Puts a recording there as WAV, 16 bits, 16 kHz."""
    target.parent.mkdir(parents=True, exist_ok=True)
    samples, rate = soundfile.read(DATA / row["path"], dtype="int16")
    soundfile.write(target, samples, rate, subtype="PCM_16")


def three_ways(rows: Iterable[Row], dev: int = 4) -> Iterable[tuple[str, Row]]:
    """train, dev and test: every `dev`-th training row of each label is dev."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row["label"]] += row["split"] == "train"
        yield ("dev" if row["split"] == "train" and seen[row["label"]] % dev == 0 else row["split"]), row


def slurp(folder: Path) -> Path:
    """Orders in a café: the intent is true (`takeaway_<drink>`), the sentence only names it. Both microphones are the same file."""
    lines: dict[str, list[str]] = {"train": [], "devel": [], "test": []}
    metadata: dict[str, dict] = {}
    audio = folder / "audio" / "slurp_real"
    audio.mkdir(parents=True)
    for number, (split, row) in enumerate(three_ways(utterances("barista_intent"), dev=3)):
        names = [f"audio-{1497872916 + number}-headset.flac", f"audio-{1497872916 + number}.flac"]
        for name in names:
            shutil.copy(DATA / row["path"], audio / name)
        entry = {
            "slurp_id": number,
            "sentence": f"order one {row['label']}",
            "sentence_annotation": f"order one [drink_type : {row['label']}]",
            "intent": f"takeaway_{row['label']}",
            "action": row["label"],
            "tokens": [{"surface": "order", "id": 0, "lemma": "order", "pos": "VB"}],
            "scenario": "takeaway",
            "recordings": [{"file": name, "wer": 0.0, "ent_wer": 0.0, "status": "correct"} for name in names],
            "entities": [{"span": [2], "type": "drink_type"}],
        }
        lines[{"dev": "devel"}.get(split, split)].append(json.dumps(entry))
        spoken = {"ansid": number, "recid": number, "status": "correct", "usrid": f"FE-{number // 4:03}"}
        metadata[str(number)] = {"nlub_id": number, "recordings": dict.fromkeys(names, spoken)}
    texts = folder / "dataset" / "slurp"
    texts.mkdir(parents=True)
    for name, entries in lines.items():
        (texts / f"{name}.jsonl").write_text("\n".join(entries) + "\n", "utf-8")
    (texts / "metadata.json").write_text(json.dumps(metadata), "utf-8")
    return folder


def slurp_synthetic(folder: Path) -> None:
    """Adds three synthesised sentences to a folder of SLURP (here they are real, too)."""
    (folder / "audio" / "slurp_synth").mkdir()
    with (folder / "dataset" / "slurp" / "train_synthetic.jsonl").open("w", encoding="utf-8") as file:
        for number, row in enumerate(utterances("barista_intent")[:3]):
            name = f"audio--{number}.flac"
            shutil.copy(DATA / row["path"], folder / "audio" / "slurp_synth" / name)
            entry = {"slurp_id": number, "sentence": "so", "scenario": "takeaway", "action": row["label"]}
            file.write(json.dumps(entry | {"recordings": [{"file": name}]}) + "\n")


def fluent_speech_commands(folder: Path) -> Path:
    """Orders in a café: the object is true (the drink), the rest of the intent and the transcription are made up."""
    rows: dict[str, list[list[str]]] = {"train": [], "valid": [], "test": []}
    for number, (split, row) in enumerate(three_ways(utterances("barista_intent"), dev=3)):
        speaker = f"{split}{number % 3}"
        name = f"wavs/speakers/{speaker}/{Path(row['path']).stem}.wav"
        wav(row, folder / name)
        table = rows[{"dev": "valid"}.get(split, split)]
        table.append([str(len(table)), name, speaker, f"One {row['label']}, please", "bring", row["label"], "none"])
    (folder / "data").mkdir()
    for split, table in rows.items():
        with (folder / "data" / f"{split}_data.csv").open("w", encoding="utf-8", newline="") as file:
            header = ["", "path", "speakerId", "transcription", "action", "object", "location"]
            csv.writer(file).writerows([header, *table])
    return folder


def speech_commands(folder: Path) -> Path:
    """The same words as in the published one, from its own test set; noise is its silent recordings in a row."""
    listed: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    silent = [row for row in utterances("speech_commands_v2_test") if row["label"] == "silence"]
    for row in utterances("speech_commands_v2_test"):
        if row["label"] == "silence":
            continue
        # Speakers are on one side, as in the published lists.
        split = "dev" if row["split"] == "train" and row["speaker"][2] in "69b" else row["split"]
        name = Path(row["path"]).stem
        word = row["label"]
        if word == "unknown":  # four_bfd26d6b_nohash_1
            word, _, name = name.partition("_")
        wav(row, folder / word / f"{name}.wav")
        listed[split].append(f"{word}/{name}.wav")
    (folder / "validation_list.txt").write_text("\n".join(listed["dev"]) + "\n")
    (folder / "testing_list.txt").write_text("\n".join(listed["test"]) + "\n")
    (folder / "README.md").write_text("# Speech Commands Data Set v0.02\n")
    noise = np.concatenate([soundfile.read(DATA / row["path"], dtype="int16")[0] for row in silent])
    (folder / "_background_noise_").mkdir()
    (folder / "_background_noise_" / "README.md").write_text("noise\n")
    for name, part in zip(("running_tap", "white_noise"), np.array_split(noise, 2), strict=True):
        soundfile.write(folder / "_background_noise_" / f"{name}.wav", part, 16_000, subtype="PCM_16")
    return folder


def speech_commands_test_set(folder: Path) -> Path:
    """The test set of twelve classes, cut down: all of it is true."""
    for row in utterances("speech_commands_v2_test"):
        if row["split"] == "test":
            wav(row, folder / Path(row["path"]).relative_to("speech_commands_v2_test").with_suffix(".wav"))
    return folder


MEN, WOMEN = ("10", "11", "12", "15"), ("09", "13", "14", "16")
"""The actors of EmoDB by their numbers. It is German: it stands in for the layout of English corpora, not for their words."""

SESSIONS = {"10": 1, "09": 1, "11": 2, "12": 3, "13": 3, "14": 4, "15": 4, "16": 5}
"""Actor → session of IEMOCAP's layout, which has two a session: EmoDB has eight here."""


def actor(row: Row) -> str:
    return row["speaker"].removeprefix("emodb")


def iemocap(folder: Path) -> Path:
    """EmoDB in five sessions: emotions and speakers are true, texts are not (boredom is frustration)."""
    codes = {"anger": "ang", "happiness": "hap", "neutral": "neu", "sadness": "sad"}
    codes |= {"fear": "fea", "disgust": "dis", "boredom": "fru"}
    labels: dict[Path, list[str]] = {}
    texts: dict[Path, list[str]] = {}
    for number, row in enumerate(utterances("emodb_2s")):
        sex, session = "M" if actor(row) in MEN else "F", SESSIONS[actor(row)]
        style = "impro01" if number % 2 else "script01_1"
        dialogue = f"Ses0{session}F_{style}"
        name = f"{dialogue}_{sex}{number:03}"
        root = folder / f"Session{session}"
        wav(row, root / "sentences" / "wav" / dialogue / f"{name}.wav")
        code = "exc" if codes[row["label"]] == "hap" and number % 2 else codes[row["label"]]
        said = f"[{number}.0000 - {number + 2}.0000]\t{name}\t{code}\t[2.5000, 2.5000, 2.5000]"
        votes = "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n"
        labels.setdefault(root / "dialog" / "EmoEvaluation" / f"{dialogue}.txt", []).append(f"{said}\n{votes}")
        line = f"{name} [{number:03}.0000-{number + 2:03}.0000]: Das ist [LAUGHTER] Satz {number}."
        texts.setdefault(root / "dialog" / "transcriptions" / f"{dialogue}.txt", []).append(line)
    head = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    for file, entries in [*labels.items(), *texts.items()]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((head if file in labels else "") + "\n".join(entries) + "\n", "utf-8")
        (file.parent / f"._{file.name}").write_bytes(b"\0\5\26\7")  # As archives made on a Mac have them.
    return folder


def crema_d(folder: Path) -> Path:
    """EmoDB under CREMA-D's names: emotions and speakers are true, sentences are not."""
    codes = {"anger": "ANG", "disgust": "DIS", "fear": "FEA", "happiness": "HAP", "neutral": "NEU", "sadness": "SAD"}
    sentences = {}
    for row in utterances("emodb_2s"):
        if row["label"] not in codes:
            continue
        stem = Path(row["path"]).stem  # 03a01Fa: actor, sentence, emotion, version.
        sentence = sentences.setdefault(
            stem[2:5], "IEO TIE IOM IWW TAI MTI IWL ITH DFA ITS TSI WSI".split()[len(sentences) % 12]
        )
        level = {"a": "XX", "b": "LO", "c": "MD"}.get(stem[6], "HI")
        number = 1001 + [*MEN, *WOMEN].index(actor(row))
        wav(row, folder / "AudioWAV" / f"{number}_{sentence}_{codes[row['label']]}_{level}.wav")
    return folder


def ravdess(folder: Path) -> Path:
    """EmoDB under RAVDESS's names: emotions and speakers are true (boredom is calm), statements are not."""
    order = ("neutral", "boredom", "happiness", "sadness", "anger", "fear", "disgust")
    seen: Counter[tuple[str, str]] = Counter()
    for row in utterances("emodb_2s"):
        number = dict(zip([*MEN, *WOMEN], (1, 5, 11, 13, 2, 8, 12, 14), strict=True))[actor(row)]  # All five folds.
        place = seen[actor(row), row["label"]]
        seen[actor(row), row["label"]] += 1
        emotion = order.index(row["label"]) + 1
        name = f"03-01-{emotion:02}-{place // 4 + 1:02}-{place // 2 % 2 + 1:02}-{place % 2 + 1:02}-{number:02}.wav"
        wav(row, folder / f"Actor_{number:02}" / name)
    return folder


def huggingface_table(rows: Iterable[Row]) -> pa.Table:
    """Keywords as `datasets` (5.2) lays them out: audio in cells, labels as numbers whose names are in the metadata."""
    rows = list(rows)
    names = sorted({row["label"] for row in utterances("speech_commands_v2_test")})
    features = {
        "audio": {"sampling_rate": 16000, "_type": "Audio"},
        "label": {"names": names, "_type": "ClassLabel"},
        "speaker_id": {"dtype": "string", "_type": "Value"},
        "said_by": {"feature": {"names": ["child", "adult"], "_type": "ClassLabel"}, "_type": "List"},
    }
    cells = [{"bytes": (DATA / row["path"]).read_bytes(), "path": Path(row["path"]).name} for row in rows]
    table = pa.table(
        {
            "audio": pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array([names.index(row["label"]) for row in rows], pa.int64()),
            "speaker_id": pa.array([row["speaker"] or None for row in rows], pa.string()),
            "said_by": pa.array([[1, 0] for _ in rows], pa.list_(pa.int64())),
        }
    )
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def huggingface_splits(count: int = 12) -> dict[str, list[Row]]:
    """train, validation and test of `count` keywords each at most, spread over the labels."""
    found: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    for split, row in three_ways(utterances("speech_commands_v2_test"), dev=3):
        found[{"dev": "validation"}.get(split, split)].append(row)
    return {split: rows[:: max(1, len(rows) // count)][:count] for split, rows in found.items()}


def huggingface_saved(folder: Path) -> Path:
    """What `DatasetDict.save_to_disk` writes: a folder a split with Arrow streams."""
    for split, rows in huggingface_splits().items():
        table = huggingface_table(rows)
        (folder / split).mkdir(parents=True)
        pieces = [f"data-{number:05}-of-00002.arrow" for number in range(2)]
        for piece, part in zip(pieces, (table.slice(0, 7), table.slice(7)), strict=True):
            with pa.ipc.new_stream(folder / split / piece, table.schema) as stream:
                stream.write_table(part)
        state = {"_data_files": [{"filename": piece} for piece in pieces], "_fingerprint": "266558392964f533"}
        state |= {"_format_columns": None, "_format_kwargs": {}, "_format_type": None}
        state |= {"_output_all_columns": False, "_split": split}
        (folder / split / "state.json").write_text(json.dumps(state))
        (folder / split / "dataset_info.json").write_text("{}")
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(huggingface_splits())}))
    return folder


def huggingface_repository(folder: Path) -> Path:
    """What `push_to_hub` puts into a repository: Parquet files in `data`, and their counts in README.md."""
    (folder / "data").mkdir(parents=True)
    counts = []
    for split, rows in huggingface_splits().items():
        table = huggingface_table(rows)
        for number, part in enumerate((table.slice(0, 7), table.slice(7))):
            pq.write_table(part, folder / "data" / f"{split}-{number:05}-of-00002.parquet")
        counts.append({"name": split, "num_examples": len(rows), "num_bytes": table.nbytes})
    files = [{"split": split, "path": f"data/{split}-*"} for split in huggingface_splits()]
    card = {"dataset_info": {"splits": counts}, "configs": [{"config_name": "default", "data_files": files}]}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n# Words\n", "utf-8")
    return folder


real = pytest.mark.skipif(not HERE, reason=ABSENT)
"""For tests that need the real speech."""


def reader(name: str, path: Path, **asked: object) -> Corpus:
    """The reader of a corpus over a copy that may be incomplete."""
    return READERS[name](**{"path": path, "partial": True, **asked})


def said(corpus: Corpus) -> str:
    """What a reader says of a folder that it refuses."""
    with pytest.raises(UserError) as error:
        corpus.table()
    return str(error.value)
