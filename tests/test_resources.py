"""How a cluster is shared between cells of one GPU and of several: no cell waits for ever."""

from __future__ import annotations

import pytest
from decoder_material import ASKED
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cluster.resources import Resources
from orchestrator.decoders import Recipe, TinySpec
from orchestrator.errors import StageError
from orchestrator.stages.annotations import Annotations
from orchestrator.stages.speech import NoSpeech
from orchestrator.stages.training import TaskSpec, Training

CLUSTERS = st.builds(
    Resources, cpus=st.integers(1, 16), gpus=st.integers(0, 16), most_trials=st.none() | st.integers(1, 4)
)


def training(gpus: int) -> Training:
    return Training(
        task=TaskSpec(name="asr", version=1, variant=None, templates=ASKED),
        annotations=Annotations(column="text", content="c0ffee"),
        speech=NoSpeech(),
        decoder=TinySpec(gpus=gpus),
        recipe=Recipe(),
        seed=0,
    )


@given(CLUSTERS, st.lists(st.integers(1, 20), min_size=1, max_size=8), st.randoms())
def test_every_cell_has_its_turn_and_no_gpu_two_trainings(cluster: Resources, wanted: list[int], chance):
    """Cells begin in their order, as soon as there is room; which of the running ones ends next is chance."""
    waiting, running = [training(gpus) for gpus in wanted], []
    at_most = cluster.trials(min(wanted))
    while waiting or running:
        free = cluster.free(running, beside_works=False)
        assert free >= 0
        if waiting and free > 0 and cluster.share(waiting[0]) <= free:
            running.append(waiting.pop(0))
            assert len([one for one in running if cluster.share(one)]) <= at_most
        else:
            assert running, "all wait for nothing"
            running.remove(chance.choice(running))


@given(CLUSTERS)
def test_while_stages_are_built_cells_leave_them_room(cluster: Resources):
    free = cluster.free([], beside_works=True)
    assert 0 <= free < cluster.slots
    if cluster.most_trials:  # seconds are measured: nothing else may run
        assert free == 0


def test_a_training_of_several_gpus_asks_for_them_beside_its_trial():
    cluster = Resources(cpus=8, gpus=4)
    assert cluster.trial(training(1)).required_resources["GPU"] == 1
    assert cluster.trial(training(2)).required_resources.get("GPU", 0) == 0
    assert cluster.trial(training(2)).required_resources["CPU"] < 0.1
    assert [cluster.work(training(gpus))["num_gpus"] for gpus in (1, 2)] == [1, 0]
    assert [cluster.share(training(gpus)) for gpus in (1, 4, 5)] == [1, 4, 0]


@pytest.mark.parametrize(
    ("gpus", "told"), [(4, "the cluster has 4 GPUs. Set gpus: 4 or less"), (0, "no GPU and 3 proc")]
)
def test_a_training_that_would_wait_for_ever_is_refused(gpus: int, told: str):
    cluster = Resources(cpus=3, gpus=gpus)
    cluster.check(training(cluster.slots))
    with pytest.raises(StageError, match=f"takes gpus: {cluster.slots + 1} for one training; .*{told}"):
        cluster.check(training(cluster.slots + 1))
