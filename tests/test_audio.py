"""Any recording in, 16 kHz mono out; broken ones are named; the index is made once."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import audio
from orchestrator.errors import StageError

torch.set_num_threads(1)
FORMATS = ["wav", "flac", "ogg", "mp3"]


def tone(seconds=1.0, rate=16_000, hertz=440.0, loudness=0.5):
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("float32")


def write(path, wave, rate=16_000, **options):
    soundfile.write(path, wave, rate, **options)
    return path


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def pitch(wave):
    """Hz of the strongest frequency of a 16 kHz wave."""
    return np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * 16_000 / len(wave)


def table(*paths, start=None, seconds=None):
    rows = [{"id": path.name, "audio": str(path), "start": start, "seconds": seconds} for path in paths]
    return pd.DataFrame(rows, dtype=object)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_any_rate_and_format_comes_out_at_16_khz_with_its_pitch(tmp_path, format, rate):
    path = write(tmp_path / f"a.{format}", tone(rate=rate), rate)
    wave = audio.read(path)
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert len(wave) == pytest.approx(16_000, abs=2)
    assert pitch(wave) == pytest.approx(440, abs=2)
    found = audio.inspect(path)
    assert (found.problem, found.rate, found.channels) == (None, rate, 1)
    assert found.seconds == pytest.approx(1.0, abs=0.001)


def test_channels_are_averaged(tmp_path):
    left, right = tone(), tone(hertz=1000)
    path = write(tmp_path / "a.wav", np.stack([left, right], 1), subtype="FLOAT")
    np.testing.assert_allclose(audio.read(path), (left + right) / 2, atol=1e-7)
    assert audio.inspect(path).channels == 2


def test_opposite_channels_are_silence(tmp_path):
    path = write(tmp_path / "a.wav", np.stack([tone(), -tone()], 1), subtype="FLOAT")
    assert audio.inspect(path).problem == "is silent"


@settings(max_examples=25, deadline=None)
@given(start=st.floats(0, 1.8), seconds=st.floats(0.05, 3), format=st.sampled_from(["wav", "flac"]))
def test_a_segment_is_a_slice_of_the_whole(tmp_path_factory, start, seconds, format):
    path = tmp_path_factory.getbasetemp() / f"slice.{format}"
    if not path.exists():
        write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 32_000).astype("float32"))
    first = round(start * 16_000)
    np.testing.assert_array_equal(
        audio.read(path, start, seconds), audio.read(path)[first : first + round(seconds * 16_000)]
    )


def test_nan_in_a_frame_means_the_whole_recording(tmp_path):
    path = write(tmp_path / "a.wav", tone())
    np.testing.assert_array_equal(audio.read(path, float("nan"), float("nan")), audio.read(path))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_a_truncated_file_is_noticed(tmp_path, format, share):
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, 48_000)
    path = write(tmp_path / f"a.{format}", wave)
    assert audio.inspect(path).problem is None
    assert "truncated" in audio.inspect(cut(path, share)).problem


def test_a_streamed_file_whose_header_knows_no_length_is_good(tmp_path):
    path = write(tmp_path / "a.wav", tone())
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    path.write_bytes(data)
    found = audio.inspect(path)
    assert found.problem is None and found.seconds == 1.0


def test_what_is_no_usable_audio_is_named_in_words(tmp_path):
    (tmp_path / "none.wav").touch()
    (tmp_path / "text.wav").write_text("not audio at all")
    (tmp_path / "folder.wav").mkdir()
    write(tmp_path / "empty.wav", tone(0))
    write(tmp_path / "silent.flac", tone(loudness=0.9e-4))
    write(tmp_path / "short.wav", tone(0.05))
    write(tmp_path / "long.wav", tone(31))
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        wave = tone()
        wave[7] = value
        write(tmp_path / f"{name}.wav", wave, subtype="FLOAT")
    expected = {
        "none.wav": "the file is empty (0 bytes)",
        "text.wav": "is not audio",
        "folder.wav": "can't be read",
        "empty.wav": "holds no samples",
        "silent.flac": "is silent",
        "short.wav": "is too short: 0.050 s",
        "long.wav": "is too long: 31.0 s",
        "nan.wav": "not numbers",
        "inf.wav": "not numbers",
        "absent.wav": "there is no such file",
    }
    for name, words in expected.items():
        assert words in audio.inspect(tmp_path / name).problem, name


def test_a_segment_beyond_the_end_is_named_and_a_rounded_end_is_not(tmp_path):
    path = write(tmp_path / "a.wav", tone(2))
    assert "before its segment begins" in audio.inspect(path, 3.0, 1.0).problem
    assert "before the end of its segment" in audio.inspect(path, 1.0, 1.5).problem
    found = audio.inspect(path, 1.0, 1.04)
    assert found.problem is None and found.seconds == 1.0
    with pytest.raises(audio.AudioError, match="holds no audio after 3 s"):
        audio.read(path, 3.0)


@pytest.mark.parametrize("name", ["absent.wav", "none.wav", "text.wav"])
def test_reading_what_is_no_audio_says_what_and_why(tmp_path, name):
    (tmp_path / "none.wav").touch()
    (tmp_path / "text.wav").write_text("not audio at all")
    with pytest.raises(audio.AudioError, match=f"{name} can't be read as audio: .+"):
        audio.read(tmp_path / name)


def test_the_hash_is_of_the_bytes_not_of_the_name(tmp_path):
    one, two = write(tmp_path / "a.wav", tone()), write(tmp_path / "b.wav", tone())
    assert audio.inspect(one).hash == audio.inspect(two).hash != audio.inspect(write(one, tone(hertz=441))).hash


class Inspected:
    """How many files a launch looked into."""

    def __init__(self, stop_after=None):
        self.files, self.stop_after = 0, stop_after

    def __call__(self, done, total, unit):
        self.files = done
        if self.stop_after and done >= self.stop_after:
            raise KeyboardInterrupt


def test_the_index_parts_good_from_bad_and_is_made_once(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", tone(0.2 + i / 10)) for i in range(5)]
    short, bad = write(tmp_path / "short.wav", tone(0.05)), tmp_path / "bad.wav"
    bad.write_text("not audio")
    rows, cache, limits = table(*paths, short, bad), tmp_path / "cache", audio.Limits(max_broken=0.2)
    first, again = Inspected(), Inspected()
    good, quarantine = audio.index(rows, cache, limits, first)
    assert list(good["id"]) == [path.name for path in paths]
    np.testing.assert_allclose(good["seconds"], [0.2, 0.3, 0.4, 0.5, 0.6])
    assert list(good["hash"]) == [audio.inspect(path).hash for path in paths]
    assert dict(zip(quarantine["id"], quarantine["broken"], strict=True)) == {"short.wav": False, "bad.wav": True}
    for old, new in zip((good, quarantine), audio.index(rows, cache, limits, again), strict=True):
        pd.testing.assert_frame_equal(old, new)
    assert (first.files, again.files) == (7, 0)


def test_another_limit_of_length_decodes_nothing_again(tmp_path):
    rows = table(*(write(tmp_path / f"{i}.wav", tone(0.2 + i / 10)) for i in range(5)))
    audio.index(rows, tmp_path / "cache")
    again = Inspected()
    good, quarantine = audio.index(rows, tmp_path / "cache", audio.Limits(min_seconds=0.45), again)
    assert (len(good), len(quarantine), again.files) == (2, 3, 0)


def test_a_changed_file_is_looked_at_again_and_the_others_are_not(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", tone(0.5)) for i in range(3)]
    before, _ = audio.index(table(*paths), tmp_path / "cache")
    write(paths[1], tone(0.7))
    seen = Inspected()
    after, _ = audio.index(table(*paths), tmp_path / "cache", progress=seen)
    assert seen.files == 1
    assert list(before["hash"] == after["hash"]) == [True, False, True]


def test_an_interrupted_index_goes_on_and_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "FLUSH", 2)
    rows = table(*(write(tmp_path / f"{i}.wav", tone(0.2 + i / 10)) for i in range(6)))
    with pytest.raises(KeyboardInterrupt):
        audio.index(rows, tmp_path / "cache", progress=Inspected(stop_after=4))
    rest = Inspected()
    resumed, _ = audio.index(rows, tmp_path / "cache", progress=rest)
    assert rest.files == 2
    pd.testing.assert_frame_equal(resumed, audio.index(rows, tmp_path / "other", workers=1)[0])


def test_a_torn_cache_costs_its_inspections_and_nothing_else(tmp_path):
    rows = table(write(tmp_path / "a.wav", tone()))
    good, _ = audio.index(rows, tmp_path / "cache")
    cut(next((tmp_path / "cache").glob("*.parquet")), 0.5)
    seen = Inspected()
    pd.testing.assert_frame_equal(audio.index(rows, tmp_path / "cache", progress=seen)[0], good)
    assert seen.files == 1


def test_segments_of_one_file_share_its_hash(tmp_path):
    path = write(tmp_path / "a.wav", tone(3))
    rows = pd.concat([table(path, start=float(i), seconds=0.5) for i in range(3)], ignore_index=True)
    good, quarantine = audio.index(rows, tmp_path / "cache")
    assert list(good["seconds"]) == [0.5] * 3 and good["hash"].nunique() == 1 and quarantine.empty


def test_too_many_broken_recordings_end_the_run_and_are_named(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", tone(0.5)) for i in range(9)]
    bad = tmp_path / "bad.wav"
    bad.write_text("not audio")
    with pytest.raises(StageError, match=r"(?s)1 of 10 recordings are broken \(5.0% may be\).*bad.wav is not audio"):
        audio.index(table(*paths, bad), tmp_path / "cache")
    with pytest.raises(StageError, match="none of the 9 recordings can be used"):
        audio.index(table(*paths), tmp_path / "cache", audio.Limits(min_seconds=5))
