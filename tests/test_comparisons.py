"""What the records of a space say about certainty: intervals, baselines, families, seeds; kept, and shown."""

import io
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from grid_material import Log, tiny
from rich.console import Console
from test_matrix import record
from typer.testing import CliRunner

from orchestrator import results
from orchestrator.cli import app
from orchestrator.errors import StageError, UserError
from orchestrator.grid import Grid
from orchestrator.matrix import Matrix
from orchestrator.statistics import judged, parse
from orchestrator.statistics.answers import DIFFERENT, TOO_SMALL
from orchestrator.statistics.baselines import Baselines
from orchestrator.statistics.estimates import holm
from orchestrator.statistics.predictions import Predictions
from tasks import TASKS

CONTINUOUS = {"features": "continuous", "downsample": 2}
DISCRETE = {"features": "discrete", "codebook": 100, "codebook_seed": 0, "dedup": True}
SENTENCES = ["turn on the light", "what is the weather like", "play some music for me", "stop the timer now please"]


def predictions(wrong: float, seed: int = 0, n: int = 60, speakers: int = 10, task: str = "asr") -> Predictions:
    """Answers of which about a share is wrong, the same share for whoever asks with the same seed."""
    chance = random.Random(seed)
    references = [chance.choice(SENTENCES if task != "keyword" else ["yes", "no", "stop"]) for _ in range(n)]
    said = [text if chance.random() >= wrong else text.split()[0] + " no" for text in references]
    names = [f"s{i % speakers}" if speakers else None for i in range(n)]
    return Predictions(tuple(f"u{i:03}" for i in range(n)), tuple(names), tuple(references), tuple(said))


class Space:
    """Records with predictions; `read` counts how often it was asked."""

    def __init__(self, folder: Path):
        self.records: list[dict] = []
        self.read_cells: list[str] = []
        self._folder = folder
        self._answers: dict[str, dict[str, Predictions | Exception]] = {}

    def add(self, answers: Predictions | Exception | None, test_set: str = "test", **given) -> dict:
        """A finished cell, or one that isn't (None)."""
        one = record("missing" if answers is None else "ok", **given)
        one["identity"] = f"identity of {one['cell']}"
        if isinstance(answers, Predictions):
            task = TASKS[one["task"]]
            metrics = task.score(answers.references, answers.answers, one["variant"])
            one["primary"], one["metrics"] = task.primary, metrics
            one["results"] = [{"test_set": test_set, "split": "test", "n": len(answers.ids), "metrics": metrics}]
            one["results"][0]["baseline"] = None
        self.records.append(one)
        self._answers[one["cell"]] = {test_set: answers}
        return one

    def read(self, cell: str, splits) -> dict[str, Predictions]:
        self.read_cells.append(cell)
        found = {split: self._answers[cell][split] for split in splits}
        for one in found.values():
            if isinstance(one, Exception):
                raise one
        return found

    def judged(self, resamples: int = 300, **given) -> dict[str, dict]:
        """Cell → first result."""
        found = judged(self.records, self.read, self._folder, resamples=resamples, **given)
        assert [one["cell"] for one in found] == [one["cell"] for one in self.records]
        return {one["cell"]: (one["results"] or [{}])[0] for one in found}


@pytest.fixture
def space(tmp_path) -> Space:
    return Space(tmp_path / "statistics")


def test_every_metric_of_every_test_has_an_interval_around_its_value(space):
    cells = [space.add(predictions(0.3, task=task), task=task, variant=v) for task, v in ASKED]
    for cell, result in zip(cells, space.judged().values(), strict=True):
        assert (result["resampled"], result["groups"]) == ("speaker", 10)
        assert list(result["interval"]) == list(cell["metrics"])
        for metric, (low, high) in result["interval"].items():
            assert low < cell["metrics"][metric] < high
        assert result["comparison"] is None and result["uncompared"] is None and result["seeds"] is None


ASKED = [("asr", None), ("phoneme", None), ("translation", "de"), ("keyword", None)]


def test_a_cell_is_compared_with_the_continuous_one_that_is_otherwise_the_same(space):
    base = space.add(predictions(0.1), **CONTINUOUS)
    space.add(predictions(0.2), **CONTINUOUS, layer=2)
    space.add(predictions(0.2), **CONTINUOUS, decoder="other")
    worse = space.add(predictions(0.6), **DISCRETE)
    found = space.judged()[worse["cell"]]["comparison"]
    assert found["against"] == base["cell"] and found["baseline"] == "features=continuous"
    assert list(found) == ["against", "baseline", "difference", "interval", "p", "p_holm"]
    for metric, value in found["difference"].items():
        assert value == pytest.approx(worse["metrics"][metric] - base["metrics"][metric])
        low, high = found["interval"][metric]
        assert 0 < low < value < high and 0 < found["p"][metric] < 0.01
    assert found["p_holm"] == found["p"]  # alone in its family


def test_cells_that_answer_alike_do_not_differ(space):
    space.add(predictions(0.3), **CONTINUOUS)
    same = space.add(predictions(0.3), **DISCRETE)
    found = space.judged()[same["cell"]]["comparison"]
    assert set(found["difference"].values()) == {0} and set(found["p"].values()) == {1}
    assert set(map(tuple, found["interval"].values())) == {(0, 0)} and set(found["p_holm"].values()) == {1}


def test_a_family_is_one_task_test_set_and_metric(space):
    space.add(predictions(0.1), **CONTINUOUS)
    space.add(predictions(0.1, task="keyword"), task="keyword", **CONTINUOUS)
    arms = [space.add(predictions(0.1 + 0.04 * k), **(DISCRETE | {"codebook": k})) for k in (1, 2, 3)]
    other = space.add(predictions(0.3, task="keyword"), task="keyword", **DISCRETE)
    space.add(predictions(0.1), corpus="another", **CONTINUOUS)
    another = space.add(predictions(0.3), corpus="another", **DISCRETE)
    found = space.judged()
    for metric in TASKS["asr"].metrics:
        ps = [found[arm["cell"]]["comparison"]["p"][metric] for arm in arms]
        assert [found[arm["cell"]]["comparison"]["p_holm"][metric] for arm in arms] == pytest.approx(holm(ps))
    for cell in (other, another):
        assert found[cell["cell"]]["comparison"]["p_holm"] == found[cell["cell"]]["comparison"]["p"]


def test_different_utterances_speakers_or_references_are_never_compared(space):
    space.add(predictions(0.1), **CONTINUOUS)
    others = (predictions(0.1, n=59), predictions(0.1, speakers=9), predictions(0.1, seed=1))
    cells = [space.add(other, **(DISCRETE | {"codebook": k})) for k, other in enumerate(others, 1)]
    found = space.judged()
    for cell in cells:
        result = found[cell["cell"]]
        assert result["comparison"] is None and result["uncompared"] == DIFFERENT and result["interval"]


def test_one_speaker_falls_back_to_utterances_and_one_utterance_to_nothing(space):
    one_speaker = space.add(predictions(0.3, speakers=1), **CONTINUOUS)
    unknown = space.add(predictions(0.3, speakers=0), **CONTINUOUS, layer=2)
    alone = space.add(predictions(0.3, n=1), **CONTINUOUS, layer=3)
    alone_too = space.add(predictions(0.3, n=1), **DISCRETE, layer=3)
    found = space.judged()
    for cell in (one_speaker, unknown):
        assert (found[cell["cell"]]["resampled"], found[cell["cell"]]["groups"]) == ("utterance", 60)
        assert found[cell["cell"]]["interval"]
    for cell in (alone, alone_too):
        result = found[cell["cell"]]
        assert (result["interval"], result["resampled"], result["groups"]) == (None, None, 1)
        assert (result["comparison"], result["uncompared"]) == (None, TOO_SMALL)


def test_what_keeps_a_comparison_from_being_made_is_said(space):
    missing = space.add(None, **CONTINUOUS)
    waiting = space.add(predictions(0.3), **DISCRETE)
    lonely = space.add(predictions(0.3), **DISCRETE, encoder="hubert")
    space.add(StageError("a bit flipped"), **CONTINUOUS, layer=2) | {}
    broken = space.records[-1]
    broken |= {"results": [{"test_set": "test", "split": "test", "n": 1, "metrics": {"wer": 0.1, "cer": 0.1}}]}
    beside = space.add(predictions(0.3), **DISCRETE, layer=2)
    found = space.judged()
    assert found[missing["cell"]] == {}
    assert found[waiting["cell"]]["uncompared"] == f"its baseline {missing['cell']} is missing"
    assert "no cell shown has features=continuous" in found[lonely["cell"]]["uncompared"]
    assert found[broken["cell"]]["interval"] is None and "a bit flipped" in found[broken["cell"]]["uncompared"]
    assert found[beside["cell"]]["interval"] and "a bit flipped" in found[beside["cell"]]["uncompared"]
    space._answers[broken["cell"]] = {"test": predictions(0.1)}  # mended: nothing of the failure was kept
    assert space.judged()[beside["cell"]]["comparison"]["against"] == broken["cell"]


def test_the_order_of_cells_and_utterances_does_not_matter(space, tmp_path):
    space.add(predictions(0.2), **CONTINUOUS)
    for k in (1, 2):
        for seed in (0, 1):
            space.add(predictions(0.1 + 0.2 * k + 0.02 * seed), **(DISCRETE | {"codebook": k}), seed=seed)
    first = space.judged()
    space.records.reverse()
    space._folder = tmp_path / "anew"
    assert space.judged() == first


def test_seeds_of_a_place_are_judged_together(space):
    base = [space.add(predictions(0.10 + 0.02 * s), **CONTINUOUS, seed=s) for s in range(3)]
    arm = [space.add(predictions(0.50 + 0.02 * s), **DISCRETE, seed=s) for s in range(3)]
    single = space.add(predictions(0.4), **(DISCRETE | {"codebook": 7}), seed=0)
    found = space.judged()
    results = [found[cell["cell"]] for cell in arm]
    assert [r["comparison"]["against"] for r in results] == [cell["cell"] for cell in base]
    seeds = results[0]["seeds"]
    assert all(r["seeds"] == seeds for r in results) and found[single["cell"]]["seeds"] is None
    values = [cell["metrics"]["wer"] for cell in arm]
    assert seeds["cells"] == [cell["cell"] for cell in arm]
    assert seeds["mean"]["wer"] == pytest.approx(np.mean(values))
    assert seeds["deviation"]["wer"] == pytest.approx(np.std(values, ddof=1))
    assert seeds["interval"]["wer"][0] < seeds["mean"]["wer"] < seeds["interval"]["wer"][1]
    assert seeds["comparison"]["against"] == [cell["cell"] for cell in base]
    mean = np.mean([cell["metrics"]["wer"] for cell in base])
    assert seeds["comparison"]["difference"]["wer"] == pytest.approx(seeds["mean"]["wer"] - mean)
    ps = [seeds["comparison"]["p"]["wer"], found[single["cell"]]["comparison"]["p"]["wer"]]
    assert seeds["comparison"]["p_holm"]["wer"] == pytest.approx(holm(ps)[0])  # two places: a family of two
    assert found[base[0]["cell"]]["seeds"]["comparison"] is None


def test_seeds_whose_baseline_is_not_there_are_no_part_of_the_comparison(space):
    base = [space.add(predictions(0.10 + 0.02 * s), **CONTINUOUS, seed=s) for s in range(2)]
    arm = [space.add(predictions(0.40 + 0.15 * s), **DISCRETE, seed=s) for s in range(3)]
    seeds = space.judged()[arm[2]["cell"]]["seeds"]
    assert seeds["cells"] == [cell["cell"] for cell in arm]
    assert seeds["mean"]["wer"] == pytest.approx(np.mean([cell["metrics"]["wer"] for cell in arm]))
    paired = [one["metrics"]["wer"] - two["metrics"]["wer"] for one, two in zip(arm, base, strict=False)]
    assert seeds["comparison"]["against"] == [cell["cell"] for cell in base]
    assert seeds["comparison"]["difference"]["wer"] == pytest.approx(np.mean(paired))
    # Against a single seed all count, since one pair would know nothing of how much seeds differ.
    space.records.remove(base[1])
    found = space.judged()[arm[0]["cell"]]
    seeds, alone = found["seeds"]["comparison"], found["comparison"]
    assert seeds["difference"]["wer"] == pytest.approx(found["seeds"]["mean"]["wer"] - base[0]["metrics"]["wer"])
    assert seeds["p"]["wer"] > alone["p"]["wer"]


def test_learning_rates_that_dev_did_not_choose_are_not_compared(space):
    def member(rate: str, chosen: bool, wrong: float, **arm) -> dict:
        tuning = {"family": "tuned", "learning_rate": float(rate), "chosen": chosen, "tried": 2, "of": 2}
        return space.add(predictions(wrong), recipe=f"tuned@{rate}", tuning=tuning, **arm)

    member("1e-05", False, 0.1, **CONTINUOUS)
    base = member("3e-05", True, 0.2, **CONTINUOUS)
    arm, spared = member("1e-05", True, 0.4, **DISCRETE), member("3e-05", False, 0.9, **DISCRETE)
    found = space.judged()
    assert found[arm["cell"]]["comparison"]["against"] == base["cell"]
    assert (
        found[spared["cell"]]["comparison"] is None and "another learning rate" in found[spared["cell"]]["uncompared"]
    )
    assert found[arm["cell"]]["comparison"]["p_holm"] == found[arm["cell"]]["comparison"]["p"]


def test_the_user_picks_another_baseline(space):
    none = space.add(predictions(0.9), features="none")
    small = space.add(predictions(0.5), **DISCRETE)
    large = space.add(predictions(0.3), **(DISCRETE | {"codebook": 250}))
    speech = space.add(predictions(0.1), **CONTINUOUS)
    found = space.judged(baseline=parse(["features=none"]))
    against = {cell: result["comparison"] and result["comparison"]["against"] for cell, result in found.items()}
    assert against == dict.fromkeys((small["cell"], large["cell"], speech["cell"]), none["cell"]) | {none["cell"]: None}
    found = space.judged(baseline=parse(["codebook=100"]))
    assert found[large["cell"]]["comparison"]["against"] == small["cell"]
    assert "no cell shown has codebook=100" in found[speech["cell"]]["uncompared"]
    for given, told in (
        (["features"], "coordinate=value"),
        (["codebok=100"], "did you mean 'codebook'"),
        (["task=asr"], "on the same task"),
        (["layer=1", "layer=2"], "two values"),
        (["seed=0"], "the same seed of the baseline"),
    ):
        with pytest.raises(UserError, match=told):
            parse(given)
    with pytest.raises(UserError, match=r"no cell has codebook=101.*did you mean '100'"):
        space.judged(baseline=parse(["codebook=101"]))


def test_of_several_continuous_cells_the_nearest_and_then_the_best_on_dev_is_the_baseline():
    two, four = (record(features="continuous", downsample=n, value=v) for n, v in ((2, 0.2), (4, 0.1)))
    discrete, centroids = record(**DISCRETE), record(features="centroids", downsample=2, codebook=100)
    for order in ([two, four, discrete, centroids], [centroids, discrete, four, two]):
        baselines = Baselines(order, {"features": "continuous"})
        assert baselines.of(discrete) is four and baselines.of(centroids) is two
        assert baselines.of(two) is None and baselines.of(four) is None


def test_what_was_computed_is_kept_and_what_is_torn_is_computed_again(space):
    space.add(predictions(0.1), **CONTINUOUS)
    arm = space.add(predictions(0.4), **DISCRETE)
    first = space.judged()
    assert len(space.read_cells) == 2
    assert space.judged() == first and len(space.read_cells) == 2
    files = sorted(space._folder.iterdir())
    assert len(files) == 3 and all(path.suffix == ".json" for path in files)
    files[0].write_text(files[0].read_text()[:40])
    assert space.judged() == first and len(space.read_cells) > 2
    space.read_cells.clear()
    arm["identity"] = "of a new training"
    space._answers[arm["cell"]] = {"test": predictions(0.1)}
    assert space.judged()[arm["cell"]]["comparison"]["difference"]["wer"] == 0


def shown(matrix: Matrix, intervals: bool = True) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(matrix.table(120, intervals))
    return console.file.getvalue()


def test_the_matrix_shows_intervals_and_marks_what_differs(space):
    space.add(predictions(0.1), **CONTINUOUS)
    space.add(predictions(0.6), **DISCRETE)
    space.add(predictions(0.1), **(DISCRETE | {"codebook": 7}))
    without = Matrix("s", space.records)
    matrix = Matrix("s", judged(space.records, space.read, space._folder, resamples=300))
    marked = [line[0].marks for line in matrix.layout.entries]
    assert [("*" in marks) for marks in marked[:3]] == [False, True, False]
    assert "* differs from its baseline (features=continuous) at 5%" in shown(matrix)
    assert "Intervals and differences" in shown(matrix) and "10 speakers resampled: asr" in shown(matrix)
    assert "Intervals and differences" not in shown(matrix, intervals=False)
    low, high = matrix.cells[1]["results"][0]["interval"]["wer"]
    for text in (shown(matrix), matrix.to_html(), matrix.to_markdown().replace("\\", "")):
        assert f"[{100 * low:.1f}, {100 * high:.1f}]" in text
    assert "\\*" in matrix.to_markdown() and "Intervals" not in without.to_markdown() + without.to_html()
    frame, plain = matrix.frame(), without.frame()
    assert list(frame) == list(plain) and plain["low"].isna().all()
    assert frame.loc[1, ["low", "high", "groups"]].tolist() == [low, high, 10]
    assert frame.loc[1, "p_holm"] == matrix.cells[1]["results"][0]["comparison"]["p_holm"]["wer"]
    assert Matrix.from_json(matrix.to_json()).to_json() == matrix.to_json()


def test_the_mean_over_seeds_is_what_the_matrix_judges(space):
    for s in range(2):
        space.add(predictions(0.10 + 0.02 * s), **CONTINUOUS, seed=s)
        space.add(predictions(0.70 + 0.02 * s), **DISCRETE, seed=s)
    matrix = Matrix("s", judged(space.records, space.read, space._folder, resamples=300))
    entry = matrix.layout.entries[1][0]
    seeds = next(c for c in matrix.cells if c["features"] == "discrete")["results"][0]["seeds"]
    assert entry.certainty.interval == tuple(seeds["interval"]["wer"])
    assert entry.certainty.p == seeds["comparison"]["p_holm"]["wer"]
    assert entry.certainty.difference == seeds["comparison"]["difference"]["wer"]


def test_a_real_grid_is_judged_from_its_stored_predictions(spoken, tmp_path):
    root = tmp_path / "state"
    shutil.copytree(spoken.store.root, root)
    grid = Grid(tiny(task="keyword"), root)
    assert grid.run(local=True, monitor=Log(), track=False).counts()["ok"] == 3
    found = results.with_statistics(grid.graph, grid.store, grid.matrix().cells)
    for one in found:
        (result,) = one["results"]
        for metric, value in result["metrics"].items():
            low, high = result["interval"][metric]
            assert low <= value <= high
        assert (result["comparison"] is None) == (one["features"] == "continuous") and result["groups"] > 1
    discrete = next(one for one in found if one["features"] == "discrete")["results"][0]
    base = next(one for one in found if one["features"] == "continuous")["results"][0]
    for metric, value in discrete["comparison"]["difference"].items():
        assert value == pytest.approx(discrete["metrics"][metric] - base["metrics"][metric])
    kept = {path: path.stat().st_mtime_ns for path in (root / "statistics").iterdir()}
    assert kept and results.with_statistics(grid.graph, grid.store, grid.matrix().cells) == found
    assert {path: path.stat().st_mtime_ns for path in (root / "statistics").iterdir()} == kept

    space = tmp_path / "tiny.yaml"
    space.write_text(json.dumps(content_of(grid)))
    said = CliRunner().invoke(app, ["matrix", str(space), "--store", str(root), "--format", "json"])
    assert said.exit_code == 0, said.output
    assert [c["results"] for c in json.loads(said.stdout)["cells"]] == [one["results"] for one in found]
    said = CliRunner().invoke(app, ["matrix", str(space), "--store", str(root), "--format", "json", "--no-statistics"])
    assert "interval" not in json.loads(said.stdout)["cells"][0]["results"][0]
    command = ["matrix", str(space), "--store", str(root), "--baseline", "features=none", "--intervals"]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0 and re.search(r"speakers resampled", said.stdout)


def content_of(grid: Grid) -> dict:
    """The file that a tiny space could have been read from."""
    from grid_material import content

    return {**content(task="keyword"), "name": grid.space.name}
