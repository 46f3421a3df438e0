"""Folders in the official layout of published corpora, made from real speech for the tests of their readers."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

DATA = Path(os.environ.get("TOKENGRID_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")

needs_speech = pytest.mark.skipif(
    not (DATA / "manifest.tsv").is_file(),
    reason=f"there is no real speech at {DATA}: set TOKENGRID_SHARED_DATA to the folder that has its manifest.tsv",
)


def real_speech(name: str) -> pd.DataFrame:
    """The rows of one set of the real speech, with `file`, the path of the recording; empty cells are ""."""
    table = pd.read_csv(DATA / "manifest.tsv", sep="\t", dtype=str, keep_default_na=False)
    table = table[table["set"] == name].reset_index(drop=True)
    return table.assign(file=[DATA / path for path in table["path"]])


def librispeech(folder: Path, training: int = 8, testing: int = 6) -> pd.DataFrame:
    """LibriSpeech with four of its subsets: real names, real transcripts in capitals, SPEAKERS.TXT.

    Returns:
        The rows that it was made from, with `id` and `subset`.
    """
    rows = real_speech("librispeech")
    train, test = rows[rows["split"] == "train"], rows[rows["split"] == "test"]
    rows = pd.concat([train.head(training), test.head(testing)], ignore_index=True)
    names = ["train-clean-100"] * (training - 2) + ["dev-clean"] * 2
    rows["subset"] = names + ["test-other"] * (testing - 2) + ["test-clean"] * 2
    rows["id"] = [path.stem for path in rows["file"]]
    rows["speaker"] = rows["id"].str.split("-").str[0]
    # One speaker is in one subset.
    rows["subset"] = rows.groupby("speaker")["subset"].transform("first")
    for row in rows.itertuples():
        chapter = folder / row.subset / row.speaker / row.id.split("-")[1]
        chapter.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(row.file, chapter / f"{row.id}.flac")
        with (chapter / f"{row.id.rpartition('-')[0]}.trans.txt").open("a") as file:
            file.write(f"{row.id} {row.text.upper()}\n")
    speakers = rows.drop_duplicates("speaker")
    lines = [f"{row.speaker:5}| F | {row.subset:16} | 25.03 | Somebody" for row in speakers.itertuples()]
    (folder / "SPEAKERS.TXT").write_text("; Some pertinent information\n;ID  |SEX| SUBSET\n" + "\n".join(lines) + "\n")
    return rows


def gigaspeech(folder: Path, segments: int = 4) -> pd.DataFrame:
    """GigaSpeech with a long recording in Opus for each of XS, DEV and TEST, joined from real recordings.

    Its text_tn has punctuation tags; DEV and TEST have a segment without speech each, XS is in the larger subsets too.

    Returns:
        The rows that it was made from, with `sid`, `subset`, `begin` and `wave` (float32 [samples] at 16 kHz).
    """
    rows = real_speech("librispeech").head(3 * segments)
    rows["subset"] = np.repeat(["XS", "DEV", "TEST"], segments)
    rows["wave"] = [soundfile.read(file, dtype="float32")[0] for file in rows["file"]]
    rows["sid"], rows["begin"] = "", 0.0
    recordings = []
    for number, (subset, part) in enumerate(rows.groupby("subset", sort=False)):
        name, at, entries, waves = f"POD{number:010d}", 0.5, [], [np.zeros(8000, np.float32)]
        for place, (row, text, wave) in enumerate(zip(part.index, part["text"], part["wave"], strict=True)):
            seconds = len(wave) / 16_000
            sid = f"{name}_S{place:07d}"
            rows.loc[row, ["sid", "begin"]] = [sid, at]
            first, *rest = text.upper().split()
            said = " ".join([first, "<COMMA>", *rest, "<PERIOD>"])
            subsets = ["{XS}", "{S}", "{XL}"] if subset == "XS" else [f"{{{subset}}}"]
            entries.append(_segment(sid, at, at + seconds, subsets, said))
            waves += [wave, np.zeros(8000, np.float32)]
            at += seconds + 0.5
        if subset != "XS":
            entries.append(_segment(f"{name}_S{segments:07d}", 0.0, 0.5, [f"{{{subset}}}"], "<SIL>"))
        path = f"audio/podcast/P0000/{name}.opus"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, np.concatenate(waves), 16_000, format="OGG", subtype="OPUS")
        recordings.append(
            {"title": 'A list "audios": not this one', "path": path, "aid": name, "source": "podcast", "codec": "opus"}
            | {"channels": 1, "sample_rate": 16_000, "duration": at, "subsets": subsets, "segments": entries}
        )
    head = {"dataset": "GigaSpeech", "language": "EN", "version": "v1.0.0"}
    (folder / "GigaSpeech.json").write_text(json.dumps({**head, "audios": recordings}, indent=2))
    return rows


def _segment(sid: str, begin: float, end: float, subsets: list[str], text: str) -> dict:
    times = {"begin_time": round(begin, 3), "end_time": round(end, 3)}
    return {"sid": sid, "speaker": "N/A", **times, "subsets": subsets, "text_tn": text}


def covost2(folder: Path, count: int = 6) -> pd.DataFrame:
    """Common Voice's English folder `en` with clips in MP3, and the translations of CoVoST 2 beside it.

    Two of three clips train (one as `train_covost`), one more clip nobody has translated.

    Returns:
        The rows that it was made from, with `id` and `kept` (the split).
    """
    rows = real_speech("librispeech")
    rows = rows[rows["de"] != ""].head(count).reset_index(drop=True)
    rows["id"] = [f"common_voice_en_{1000 + number}" for number in range(count)]
    rows["kept"] = ["train"] * (count - 2) + ["dev", "test"]
    clips = folder / "en" / "clips"
    clips.mkdir(parents=True)
    (folder / "translations").mkdir()
    validated = [["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent"]]
    for row in rows.itertuples():
        wave, rate = soundfile.read(row.file)
        soundfile.write(clips / f"{row.id}.mp3", wave, rate, format="MP3")
        validated.append([row.speaker, f"{row.id}.mp3", f'"{row.text.capitalize()}".', "2", "0", "", "", ""])
    shutil.copyfile(clips / f"{rows['id'][0]}.mp3", clips / "common_voice_en_1.mp3")
    validated.append(["somebody", "common_voice_en_1.mp3", "Nobody translates this.", "2", "0", "", "", ""])
    _tsv(folder / "en" / "validated.tsv", validated)
    splits = ["train_covost", *rows["kept"][1:]]
    for column, code in (("de", "de"), ("zh", "zh-CN")):
        lines = [[f"{one}.mp3", text, split] for one, text, split in zip(rows["id"], rows[column], splits, strict=True)]
        _tsv(folder / "translations" / f"covost_v2.en_{code}.tsv", [["path", "translation", "split"], *lines])
    return rows


def _tsv(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\", quotechar=None).writerows(rows)
