"""Frames that are read when they are needed are the frames that are read at once."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Speech

from orchestrator.errors import StageError
from orchestrator.stages.encoder_pass import run_locally
from orchestrator.stages.frames import LazyArray, LookedUp, SideBySide, open_frames
from orchestrator.stages.shards import read_shards


@pytest.fixture
def stored(speech: Speech):
    run_locally(speech.store, [speech.features()])
    return speech.store.open(speech.features())


def test_lazy_frames_are_the_stored_ones_in_shape_type_and_value(stored):
    at_once = read_shards(stored)
    lazy = open_frames(stored, at_once, most_bytes=0)
    assert set(lazy) == set(at_once) and all(isinstance(one, LazyArray) for one in lazy.values())
    for name, values in at_once.items():
        one = lazy[name]
        assert (one.shape, one.dtype, one.ndim, len(one)) == (values.shape, values.dtype, 2, len(values))
        assert np.array_equal(np.asarray(one), values)
        into = np.empty(values.shape, np.float32)
        into[:] = one
        assert np.array_equal(into, values.astype(np.float32))
    small = open_frames(stored, at_once)
    assert not any(isinstance(one, LazyArray) for one in small.values()) and set(small) == set(at_once)


def test_an_utterance_that_no_shard_has_is_an_error_either_way(stored):
    for most in (0, 1 << 30):
        with pytest.raises(StageError, match="lacks 1 utterances, the first is 'nobody'"):
            open_frames(stored, ["nobody"], most_bytes=most)


def test_layers_side_by_side_and_looked_up_rows_are_what_numpy_makes_of_them():
    chance = np.random.default_rng(0)
    layers = [chance.normal(size=(7, d)).astype(np.float16) for d in (3, 5)]
    both = SideBySide(layers)
    assert both.shape == (7, 8) and np.array_equal(np.asarray(both), np.concatenate(layers, axis=1))
    with pytest.raises(StageError, match="different numbers of frames"):
        SideBySide([layers[0], layers[1][:4]])
    table, codes = chance.normal(size=(4, 3)).astype(np.float32), chance.integers(4, size=9)
    looked = LookedUp(codes, table)
    assert looked.shape == (9, 3) and looked.dtype == np.float32
    assert np.array_equal(np.asarray(looked), table[codes])
