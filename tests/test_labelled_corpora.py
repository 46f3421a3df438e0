"""Published corpora in their official layout become tables, or every reason why not is said at once.

SLURP, Fluent Speech Commands, Speech Commands, IEMOCAP, CREMA-D and RAVDESS, on real speech in their layout.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections import Counter
from pathlib import Path

import labelled_layouts as layouts
import pytest
import soundfile
from labelled_layouts import reader, real, said

from tasks.corpora import (
    crema_d,
    fluent_speech_commands,
    iemocap,
    slurp,
    speech_commands,
)
from tasks.corpora.corpus import COLUMNS

NAMES = ("slurp", "fluent_speech_commands", "speech_commands", "iemocap", "crema_d", "ravdess")


@real
@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_a_recording_of_the_folder_with_one_speaker_a_side(name, made):
    table = reader(name, made(name)).table()
    assert list(table.columns) == list(COLUMNS) and table["id"].is_unique and len(table) > 40
    assert all(Path(path).is_relative_to(made(name)) and Path(path).is_file() for path in table["audio"])
    assert set(table["split"]) == {"train", "dev", "test"}
    label = {"slurp": "intent", "fluent_speech_commands": "intent", "speech_commands": "keyword"}.get(name, "emotion")
    assert table[label].notna().all()
    known = table[table["speaker"].notna()]
    if name != "slurp":  # Which has no such claim.
        assert (known.groupby("speaker")["split"].nunique() == 1).all()
    if label == "emotion":
        assert (table.groupby("speaker")["fold"].nunique() == 1).all() and len(known) == len(table)
    others = {"phonemes", "translation_de", "translation_zh", "intent", "keyword", "emotion"} - {label}
    assert table[sorted(others)].isna().all().all()


@real
@pytest.mark.parametrize("name", NAMES)
def test_an_incomplete_copy_is_counted_against_the_published_one_and_used_only_when_told(name, made, caplog):
    words = said(reader(name, made(name), partial=False))
    official = {
        "slurp": "recordings of train: 40 of 50,628",
        "fluent_speech_commands": "utterances of train: 20 of 23,132",
        "speech_commands": "recordings of test: 88 of 11,005",
        "iemocap": "utterances: 84 of 10,039",
        "crema_d": "recordings of neutral: 12 of 1,087",
        "ravdess": "recordings of Actor_14: 23 of 60",
    }[name]
    assert official in words and "partial: true" in words
    with caplog.at_level(logging.WARNING):
        reader(name, made(name)).table()
    assert "is incomplete" in caplog.text and "fewer than published are there" in caplog.text


@real
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("deeper", [False, True])
def test_a_folder_one_level_off_is_answered_with_the_right_one(name, deeper, made):
    inside = next(path for path in sorted(made(name).iterdir()) if path.is_dir())
    words = said(reader(name, inside if deeper else made(name).parent))
    assert f"Say path: {made(name)}" in words


@real
def test_a_copy_with_as_much_as_was_published_needs_no_leave(made, monkeypatch):
    """With the counts of these small folders as the published ones."""
    monkeypatch.setattr(slurp, "RECORDINGS", {"train": 40, "devel": 20, "test": 60, "train_synthetic": 0})
    monkeypatch.setattr(slurp, "SENTENCES", {"train": 20, "devel": 10, "test": 30})
    monkeypatch.setattr(fluent_speech_commands, "UTTERANCES", {"train": 20, "valid": 10, "test": 30})
    monkeypatch.setattr(fluent_speech_commands, "SPEAKERS", {"train": 3, "valid": 3, "test": 3})
    monkeypatch.setattr(fluent_speech_commands, "INTENTS", 10)
    monkeypatch.setattr(iemocap, "UTTERANCES", 84)
    parts = Counter(reader("iemocap", made("iemocap")).table()["fold"])
    monkeypatch.setattr(iemocap, "FOUR_CLASSES", dict(parts))
    monkeypatch.setattr(crema_d, "RECORDINGS", dict.fromkeys(crema_d.RECORDINGS, 12))
    monkeypatch.setattr(crema_d, "ACTORS", crema_d.ACTORS[:8])
    for name in ("slurp", "fluent_speech_commands", "iemocap", "crema_d"):
        assert len(reader(name, made(name), partial=False).table()) == len(reader(name, made(name)).table())
    monkeypatch.setattr(iemocap, "UTTERANCES", 83)
    assert "is it another version" in said(reader("iemocap", made("iemocap")))


@real
def test_what_is_half_unpacked_is_named_from_both_sides(copied):
    folder = copied("slurp")
    (folder / "audio/slurp_real/audio-1497872916.flac").unlink()
    shutil.copy(folder / "audio/slurp_real/audio-1497872917.flac", folder / "audio/slurp_real/audio-1.flac")
    words = said(reader("slurp", folder, partial=False))
    assert "transcripts without audio" in words and "slurp_real/audio-1497872916.flac" in words
    assert "audio without transcripts" in words and "slurp_real/audio-1.flac" in words
    assert len(reader("slurp", folder).table()) == 119
    (folder / "dataset/slurp/devel.jsonl").unlink()
    assert "dataset/slurp/devel.jsonl (8,690 recordings)" in said(reader("slurp", folder, partial=False))

    folder = copied("fluent_speech_commands")
    gone = next((folder / "wavs").rglob("*.wav"))
    gone.rename(gone.with_name("extra.wav"))
    words = said(reader("fluent_speech_commands", folder, partial=False))
    assert f"{gone.relative_to(folder)}" in words and f"{gone.with_name('extra.wav').relative_to(folder)}" in words
    assert len(reader("fluent_speech_commands", folder).table()) == 59

    folder = copied("iemocap")
    gone = next((folder / "Session5/sentences/wav").rglob("*.wav"))
    gone.unlink()
    shutil.rmtree(folder / "Session2/dialog/transcriptions")
    words = said(reader("iemocap", folder, partial=False))
    assert f"Session5: {gone.stem}" in words and "Session2/dialog/transcriptions" in words
    table = reader("iemocap", folder, others=True).table()
    assert len(table) == 83 and table.loc[table["fold"] == "Session2", "text"].isna().all()

    folder = copied("crema_d")
    stub = next((folder / "AudioWAV").glob("*.wav"))
    stub.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 66988\n")
    assert "stubs of Git LFS" in said(reader("crema_d", folder, partial=False))
    assert len(reader("crema_d", folder).table()) == 71


@real
def test_labels_and_names_outside_the_published_ones_are_errors_in_any_copy(copied):
    folder = copied("iemocap")
    for file in (folder / "Session5/dialog/EmoEvaluation").glob("[!.]*.txt"):
        file.write_text(file.read_text().replace("\tneu\t", "\tneutral\t").replace("_F061", "_X061"))
    one = next((folder / "Session5/sentences/wav").rglob("*_F061.wav"))
    one.rename(one.with_name(one.name.replace("_F061", "_X061")))
    words = said(reader("iemocap", folder))
    assert "'neutral': did you mean 'neu'?" in words and "names should be like Ses05F_impro01_F000" in words

    folder = copied("crema_d")
    one = next((folder / "AudioWAV").glob("*_ANG_*.wav"))
    one.rename(one.with_name(one.name.replace("_ANG_", "_JOY_")))
    assert one.name.replace("_ANG_", "_JOY_") in said(reader("crema_d", folder))

    folder = copied("ravdess")
    shutil.copytree(folder / "Actor_08", folder / "Actor_09")
    assert "Actor_09/03-01-" in said(reader("ravdess", folder))

    folder = copied("speech_commands")
    (folder / "yess").mkdir()
    assert "did you mean 'yes'?" in said(reader("speech_commands", folder))
    (folder / "testing_list.txt").unlink()
    assert "testing_list.txt is missing" in said(reader("speech_commands", folder))


def test_an_older_version_of_speech_commands_is_recognised(tmp_path):
    for word in set(speech_commands.WORDS) - set(speech_commands.SINCE_V2):
        (tmp_path / word).mkdir()
    for file in speech_commands.LISTS.values():
        (tmp_path / file).touch()
    assert "this is v0.01; v0.02 is expected" in said(reader("speech_commands", tmp_path))
    assert len(speech_commands.WORDS) == len(set(speech_commands.WORDS)) == 35


@real
def test_paths_in_transcripts_cannot_leave_the_corpus(copied, tmp_path):
    folder = copied("slurp")
    (tmp_path / "secret.flac").touch()
    with (folder / "dataset/slurp/train.jsonl").open("a") as file:
        for name in ("../../../secret.flac", "/etc/secret.flac", "not audio"):
            entry = {"sentence": "so", "scenario": "a", "action": "b", "recordings": [{"file": name}]}
            file.write(json.dumps(entry) + "\n")
        file.write('{"sentence": "cut\n[1]\n')
    words = said(reader("slurp", folder))
    assert all(f"train.jsonl, line {number}:" in words for number in (21, 22, 23, 24, 25)) and "line 20" not in words

    folder = copied("fluent_speech_commands")
    with (folder / "data/train_data.csv").open("a") as file:
        file.write(
            "98,wavs/../../secret.wav,x,Hello,a,b,c\n99,/etc/secret.wav,x,Hello,a,b,c\n100,,x,,a,b,c\n101,.,x,Hello,a,b,c\n"
        )
    words = said(reader("fluent_speech_commands", folder))
    assert "train_data.csv, line 22: wavs/../../secret.wav" in words and "line 23: /etc/secret.wav" in words
    assert "line 24: path, transcription" in words and "line 25: ." in words


@real
def test_slurp_tells_its_microphones_apart(made, caplog):
    both = reader("slurp", made("slurp")).table()
    headset = reader("slurp", made("slurp"), microphone="headset").table()
    far = reader("slurp", made("slurp"), microphone="far").table()
    assert len(headset) == len(far) == 60 and set(headset["id"]) | set(far["id"]) == set(both["id"])
    assert headset["id"].str.endswith("-headset.flac").all() and not far["id"].str.contains("headset").any()
    sets = reader("slurp", made("slurp"), test_by_microphone=True).table()
    assert Counter(sets["split"]) == {"train": 40, "dev": 20, "test-headset": 30, "test-far": 30}
    assert set(sets.loc[sets["split"] == "test-far", "id"]) < set(far["id"])
    assert set(both["intent"]) >= {"takeaway_coffee"} and set(both["speaker"]) == {f"FE-{n:03}" for n in range(15)}


@real
def test_slurp_adds_synthesised_speech_to_training_only_and_takes_the_intent_from_scenario_and_action(copied):
    folder = copied("slurp")
    layouts.slurp_synthetic(folder)
    assert len(reader("slurp", folder).table()) == 120
    table = reader("slurp", folder, synthetic=True).table()
    made_up = table[table["id"].str.startswith("slurp_synth/")]
    assert len(made_up) == 3 and set(made_up["split"]) == {"train"} and made_up["speaker"].isna().all()
    file = folder / "dataset/slurp/train.jsonl"
    file.write_text(file.read_text().replace('"intent": "takeaway_', '"intent": "something_'))
    assert set(reader("slurp", folder).table()["intent"]) == set(
        reader("slurp", folder, synthetic=True).table()["intent"]
    )


@real
def test_intents_that_nobody_can_learn_are_told_and_kept_and_strange_scenarios_are_errors(copied, caplog):
    folder = copied("slurp")
    file = folder / "dataset/slurp/test.jsonl"
    file.write_text(file.read_text().replace('"action": "coffee"', '"action": "cofee"', 1))
    with caplog.at_level(logging.WARNING):
        table = reader("slurp", folder).table()
    assert "2 recordings have an intent that is never in train: takeaway_cofee" in caplog.text
    assert (table["intent"] == "takeaway_cofee").sum() == 2
    file.write_text(file.read_text().replace('"scenario": "takeaway"', '"scenario": "take_away"', 1))
    assert "test.jsonl: did you mean 'takeaway'?" in said(reader("slurp", folder))

    folder = copied("fluent_speech_commands")
    file = folder / "data/test_data.csv"
    file.write_text(file.read_text().replace(",bring,", ",fetch,", 1))
    assert "they are never in train" in said(reader("fluent_speech_commands", folder, partial=False))


@real
def test_speech_commands_with_35_classes_are_the_words(made):
    table = reader("speech_commands", made("speech_commands"), classes=35).table()
    assert len(table) == 176 and (table["keyword"] == table["text"]).all() and table["start"].isna().all()
    assert {"forward", "nine"} <= set(table["keyword"]) and not {"silence", "unknown"} & set(table["keyword"])
    listed = (made("speech_commands") / "testing_list.txt").read_text().split()
    assert set(table.loc[table["split"] == "test", "id"]) == set(listed)


@real
def test_speech_commands_with_12_classes_add_the_unknown_and_silence_by_a_seeded_rule(made):
    asked = {"unknown": 0.05, "silence": 0.025}
    table = reader("speech_commands", made("speech_commands"), **asked).table()
    assert len(set(table["keyword"])) == 12
    for _, split in table.groupby("split"):
        count = Counter(split["keyword"])
        assert count["unknown"] == math.ceil(sum(count[word] for word in speech_commands.COMMANDS) / 20)
    again = reader("speech_commands", made("speech_commands"), **asked).table()
    other = reader("speech_commands", made("speech_commands"), **asked, seed=1).table()
    assert again.equals(table) and set(other["id"]) != set(table["id"])
    assert set(table.loc[table["keyword"] == "unknown", "text"]) & {"nine", "bed", "four", "marvin"}


@real
def test_silence_is_cut_from_noise_that_no_other_split_hears(copied):
    folder = copied("speech_commands")
    noise = folder / "_background_noise_"
    for file in noise.glob("*.wav"):
        samples, rate = soundfile.read(file)
        soundfile.write(file, [*samples, *samples, *samples, *samples], rate)  # 32 s each, so that a tenth has room.
    table = reader("speech_commands", folder, unknown=0, silence=0.3).table()
    silence = table[table["keyword"] == "silence"]
    commands = Counter(table.loc[table["keyword"].isin(speech_commands.COMMANDS), "split"])
    assert Counter(silence["split"]) == {split: math.ceil(0.3 * count) for split, count in commands.items()}
    assert silence["speaker"].isna().all() and set(silence["seconds"]) == {1.0}
    for file, cuts in silence.groupby("audio"):
        seconds = soundfile.info(file).duration
        first, last = cuts.groupby("split")["start"].min(), cuts.groupby("split")["start"].max() + 1
        assert last["train"] <= 0.8 * seconds <= first["dev"] and last["dev"] <= 0.9 * seconds <= first["test"]
        assert last["test"] <= seconds


@real
def test_the_official_test_set_of_twelve_classes_takes_the_place_of_the_rule(made):
    table = reader(
        "speech_commands", made("speech_commands"), test_path=made("speech_commands_test_set"), silence=0.02
    ).table()
    test = table[table["split"] == "test"]
    assert len(test) == 96 and set(Counter(test["keyword"]).values()) == {8} and len(set(test["keyword"])) == 12
    assert test["audio"].str.startswith(str(made("speech_commands_test_set"))).all()
    unknown = test[test["keyword"] == "unknown"]
    assert set(unknown["text"]) <= set(speech_commands.WORDS) and unknown["speaker"].str.len().eq(8).all()
    silence = test[test["keyword"] == "silence"]
    assert silence["text"].isna().all() and silence["speaker"].isna().all()
    words = said(
        reader("speech_commands", made("speech_commands"), partial=False, test_path=made("speech_commands_test_set"))
    )
    assert "recordings of the test set of twelve classes: 96 of 4,890" in words
    assert "test set" in said(reader("speech_commands", made("speech_commands"), test_path=made("speech_commands")))
