"""The encoder pass: one way through the audio, the same files whoever asks for what, and however often it was interrupted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Speech
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.encoders.spectral import SpectralEncoder
from orchestrator.errors import StageError
from orchestrator.stages.codebook import Assigner, read_centroids
from orchestrator.stages.encoder_pass import ShardWorker, opened, run_locally
from orchestrator.stages.encoding import BATCH_SECONDS, batches, to_half
from orchestrator.stages.recordings import Recording, Recordings, read_recordings, write_tables
from orchestrator.stages.shards import MOST_SECONDS, MOST_UTTERANCES, cut, read_index, read_shards
from orchestrator.stages.speech import ContinuousSpeech, load_all, unreadable
from orchestrator.stages.units import pack, read_units
from orchestrator.store import Store

UTTERANCES = 222
"""Of the smoke corpus: three shards."""


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many waveforms each call of the encoder was given."""
    calls: list[int] = []
    real = SpectralEncoder._frames

    def counting(self: SpectralEncoder, waves: list, layers: list) -> list:
        calls.append(len(waves))
        return real(self, waves, layers)

    monkeypatch.setattr(SpectralEncoder, "_frames", counting)
    return calls


@pytest.fixture
def few(speech: Speech, tmp_path: Path) -> Speech:
    """The forty shortest recordings, as files that a user brings."""
    every = sorted(read_recordings(speech.store.open(speech.recordings)), key=lambda r: r.seconds)[:40]
    (tmp_path / "mine").mkdir()
    rows = []
    for recording in every:
        copied = shutil.copy(recording.path, tmp_path / "mine" / recording.path.name)
        rows.append((recording.id, str(copied), None, recording.seconds, "hash"))
    table = pd.DataFrame(rows, columns=["id", "audio", "start", "seconds", "hash"])
    mine = Recordings(content="mine", corpus="mine")
    speech.store.put(mine, lambda folder: write_tables(folder, table, None))
    return replace(speech, recordings=mine)


def files_of(store: Store, *stages: object) -> dict[str, dict]:
    return {stage.identity: store.open(stage).manifest["files"] for stage in stages}


def twin(speech: Speech, at: Path) -> Store:
    """Another store with what is finished in this one, and nothing half done."""
    shutil.copytree(speech.store.root, at)
    for partial in (at / "store").glob("*/*.partial"):
        shutil.rmtree(partial)
    return Store(at)


def interrupt_after(shards: int) -> object:
    done = []

    def progress(*_: object) -> None:
        done.append(1)
        if len(done) == shards:
            raise KeyboardInterrupt

    return progress


def names(shards: list) -> list[str]:
    return [shard.name for shard in shards]


# One pass serves all


def test_features_and_units_of_several_codebooks_come_from_one_pass(speech: Speech, encoded: list[int]):
    wanted = [speech.features(), speech.units(8), speech.units(16)]
    run_locally(speech.store, wanted)
    assert sum(encoded) == UTTERANCES
    assert all(speech.store.has(stage) for stage in wanted)
    run_locally(speech.store, wanted)
    assert sum(encoded) == UTTERANCES


def test_units_are_the_nearest_codes_of_the_stored_frames(speech: Speech):
    run_locally(speech.store, [speech.features(), speech.units(16)])
    frames = read_shards(speech.store.open(speech.features()))
    codes = read_units(speech.store.open(speech.units(16)), dedup=False)
    units = read_units(speech.store.open(speech.units(16)))
    assign = Assigner(read_centroids(speech.store.open(speech.units(16).codebook)))
    assert len(frames) == len(codes) == UTTERANCES
    for name, values in frames.items():
        assert values.dtype == np.float16 and values.shape[1] == speech.encoder.dimension
        assert np.array_equal(assign(values), codes[name])
        assert (units[name][1:] != units[name][:-1]).all()


def test_units_from_the_pass_equal_units_from_stored_features(speech: Speech, encoded: list[int], tmp_path: Path):
    together, alone, later = speech.store, twin(speech, tmp_path / "alone"), twin(speech, tmp_path / "later")
    run_locally(together, [speech.features(), speech.units(16), speech.units(8)])
    run_locally(alone, [speech.units(16)])
    run_locally(later, [speech.features()])
    assert sum(encoded) == 3 * UTTERANCES
    run_locally(later, [speech.units(16)])
    assert sum(encoded) == 3 * UTTERANCES, "stored features spare the encoder"
    files = [files_of(store, speech.units(16)) for store in (together, alone, later)]
    assert files[0] == files[1] == files[2]
    assert files_of(together, speech.features()) == files_of(later, speech.features())


def test_a_stage_built_by_itself_equals_that_of_a_pass(speech: Speech, tmp_path: Path):
    other = twin(speech, tmp_path / "other")
    run_locally(speech.store, [speech.features(), speech.units(8)])
    for stage in (speech.units(8), speech.features()):
        other.build(stage)
    assert files_of(other, speech.units(8), speech.features()) == files_of(
        speech.store, speech.units(8), speech.features()
    )


def test_units_take_the_smallest_type_that_holds_them():
    codes = np.array([0, 0, 65_535])
    assert pack("a", codes, 1 << 16)["a"].dtype == np.uint16
    big = pack("a", codes + 1, (1 << 16) + 1)
    assert big["a"].dtype == np.uint32 and big["a"].tolist() == [1, 65_536]


def test_the_statistics_of_units_are_of_the_whole_corpus(speech: Speech):
    run_locally(speech.store, [speech.units(8)])
    artifact = speech.store.open(speech.units(8))
    report, codes = artifact.json("statistics.json"), read_units(artifact, dedup=False)
    assert report["frames"]["tokens"] == sum(map(len, codes.values()))
    assert report["deduplicated"]["tokens"] == sum(map(len, read_units(artifact).values()))
    assert report["deduplicated"]["bits_per_second"] < report["frames"]["bits_per_second"]


# Shards


RECORDINGS = st.lists(st.floats(0.1, 30), max_size=300).map(
    lambda lengths: [Recording(f"u{n}", Path(f"{n}.wav"), None, s, True) for n, s in enumerate(lengths)]
)


@given(RECORDINGS, st.randoms())
@settings(max_examples=40, deadline=None)
def test_shards_hold_every_recording_once_and_are_bounded(recordings: list[Recording], chance: object):
    shards = cut(recordings)
    assert sorted(r.id for shard in shards for r in shard.recordings) == sorted(r.id for r in recordings)
    assert all(0 < len(shard.recordings) <= MOST_UTTERANCES and shard.seconds <= MOST_SECONDS for shard in shards)
    assert len(set(names(shards))) == len(shards)
    shuffled = recordings[:]
    chance.shuffle(shuffled)
    assert names(cut(shuffled)) == names(shards)


@given(RECORDINGS)
@settings(max_examples=40, deadline=None)
def test_batches_hold_every_recording_once_and_are_bounded_with_their_padding(recordings: list[Recording]):
    found = list(batches(recordings))
    assert sorted(r.id for batch in found for r in batch) == sorted(r.id for r in recordings)
    assert all(len(b) * max(r.seconds for r in b) <= BATCH_SECONDS or len(b) == 1 for b in found)


def test_the_borders_of_shards_do_not_depend_on_what_is_wanted(speech: Speech, tmp_path: Path):
    wanted = ([speech.features()], [speech.units(8)], [speech.units(16), speech.features()])
    seen = []
    for number, stages in enumerate(wanted):
        store = twin(speech, tmp_path / f"{number}")
        run_locally(store, stages)
        seen += [{name for name in store.open(stage).names if name.startswith("shard-")} for stage in stages]
    assert seen[0] and all(one == seen[0] for one in seen)


def test_an_utterance_that_is_in_no_shard_is_an_error_and_no_gap(speech: Speech):
    run_locally(speech.store, [speech.units(8)])
    with pytest.raises(StageError, match="lacks 1 utterances, the first is 'nobody'"):
        read_units(speech.store.open(speech.units(8)), ["nobody"])


# Interrupted


@pytest.mark.parametrize("shards", [1, 2])
def test_an_interrupted_pass_goes_on_and_ends_with_the_same_files(
    speech: Speech, encoded: list[int], tmp_path: Path, shards: int
):
    wanted = [speech.features(), speech.units(8), speech.units(16)]
    whole = twin(speech, tmp_path / "whole")
    run_locally(whole, wanted)
    encoded.clear()
    with pytest.raises(KeyboardInterrupt):
        run_locally(speech.store, wanted, interrupt_after(shards))
    assert not any(speech.store.has(stage) for stage in wanted)
    run_locally(speech.store, wanted)
    assert sum(encoded) == UTTERANCES, "what was encoded before is not encoded again"
    assert files_of(speech.store, *wanted) == files_of(whole, *wanted)


def test_a_pass_killed_between_two_files_of_a_shard_ends_with_the_same_files(few: Speech, tmp_path: Path):
    """With a recording that can't be read, since its reason has to survive, too."""
    next((tmp_path / "mine").iterdir()).write_bytes(b"no audio")
    wanted = [few.features(), few.units(8)]
    whole = twin(few, tmp_path / "whole")
    run_locally(whole, wanted)
    with pytest.raises(KeyboardInterrupt):
        run_locally(few.store, wanted, interrupt_after(1))
    [shard] = few.store.partial(few.units(8)).glob("shard-*")
    shard.unlink()
    run_locally(few.store, wanted)
    assert files_of(few.store, *wanted) == files_of(whole, *wanted)


def test_a_torn_shard_is_made_anew(speech: Speech, tmp_path: Path):
    wanted = [speech.features(), speech.units(8)]
    whole = twin(speech, tmp_path / "whole")
    run_locally(whole, wanted)
    with pytest.raises(KeyboardInterrupt):
        run_locally(speech.store, wanted, interrupt_after(2))
    for stage, size in zip(wanted, (-1, 5), strict=True):
        torn = sorted(speech.store.partial(stage).glob("shard-*"))[0]
        torn.write_bytes(torn.read_bytes()[:size])
        (speech.store.partial(stage) / "shard-of-a-killed-process.tmp").touch()
    run_locally(speech.store, wanted)
    assert files_of(speech.store, *wanted) == files_of(whole, *wanted)


def test_shards_that_are_there_are_not_written_again(speech: Speech):
    with opened(speech.store, [speech.features()]) as a_pass:
        worker = ShardWorker(a_pass.targets, speech.store.open, a_pass.stored)
        rows = [worker.run(shard) for shard in a_pass.shards]
        assert [(row["written"], row["encoded"]) for row in rows] == [(1, len(s.recordings)) for s in a_pass.shards]
        assert a_pass.todo == []
        assert [worker.run(shard)["written"] for shard in a_pass.shards] == [0] * len(rows)


# Broken recordings


def test_a_broken_file_is_named_and_the_rest_is_there(few: Speech, tmp_path: Path):
    whole = twin(few, tmp_path / "whole")
    run_locally(whole, [few.features(), few.units(8)])
    broken = sorted((tmp_path / "mine").iterdir())[7]
    broken.unlink()
    run_locally(few.store, [few.features(), few.units(8)])
    for stage in (few.features(), few.units(8)):
        index = read_index(few.store.open(stage)).set_index("id")["error"]
        assert index.notna().sum() == 1 and broken.name in index[broken.stem]
    frames, before = (read_shards(store.open(few.features())) for store in (few.store, whole))
    assert set(before) - set(frames) == {broken.stem}
    assert all(np.array_equal(frames[name], before[name]) for name in frames)
    speech = ContinuousSpeech(features=(few.features(),), samples=(few.sample(),), downsample=1)
    assert list(unreadable(speech, few.store.open)) == [broken.stem]
    assert list(load_all(speech, few.store.open, sorted(frames)[:3])) == sorted(frames)[:3]


def test_units_from_stored_features_know_why_an_utterance_has_none(few: Speech, tmp_path: Path):
    sorted((tmp_path / "mine").iterdir())[7].write_bytes(b"no audio")
    run_locally(few.store, [few.features()])
    run_locally(few.store, [few.units(8)])
    ours, theirs = (read_index(few.store.open(stage)) for stage in (few.units(8), few.features()))
    pd.testing.assert_frame_equal(ours, theirs)


def test_too_many_broken_files_fail_the_pass_and_mending_them_is_enough(few: Speech, tmp_path: Path):
    away = sorted((tmp_path / "mine").iterdir())[:3]  # 3 of 40 are more than 5 %
    for path in away:
        path.rename(tmp_path / path.name)
    with pytest.raises(StageError, match="3 of 40 utterances have no frames, the first is"):
        run_locally(few.store, [few.features(), few.units(8)])
    assert not few.store.has(few.features()) and not few.store.has(few.units(8))
    for path in away:
        (tmp_path / path.name).rename(path)
    run_locally(few.store, [few.features(), few.units(8)])
    assert read_index(few.store.open(few.units(8)))["error"].isna().all()


def test_a_recording_too_short_for_a_frame_is_named(few: Speech, tmp_path: Path):
    import soundfile

    path = sorted((tmp_path / "mine").iterdir())[0]
    soundfile.write(path, np.full(300, 0.1), 16_000)
    run_locally(few.store, [few.features()])
    index = read_index(few.store.open(few.features())).set_index("id")["error"]
    assert "too short for one frame" in index[path.stem]


@pytest.mark.parametrize("factor", [1e6, float("nan"), float("inf")])
def test_a_value_beyond_fp16_fails_loudly(speech: Speech, monkeypatch: pytest.MonkeyPatch, factor: float):
    real = SpectralEncoder._frames
    monkeypatch.setattr(
        SpectralEncoder,
        "_frames",
        lambda self, waves, layers: [{0: one[0] * np.float32(factor)} for one in real(self, waves, layers)],
    )
    with pytest.raises(StageError, match="layer 0 gives values that fp16 can't hold"):
        run_locally(speech.store, [speech.features(), speech.units(8)])
    assert not speech.store.has(speech.features())


@given(st.floats(-7e4, 7e4, width=32))
def test_rounding_to_fp16_keeps_a_value_or_raises(value: float):
    frames = np.array([[value]], np.float32)
    if abs(value) < 65_520:
        assert to_half(frames, 0)[0, 0] == np.float16(value)
    else:
        with pytest.raises(StageError, match="fp16"):
            to_half(frames, 0)
