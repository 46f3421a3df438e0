"""The store: an artifact is whole or it isn't there, and is made once, whoever else wants it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import start, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import CorruptArtifact, MissingArtifact, StageError, UserError
from orchestrator.stage import Build, Stage, runtime
from orchestrator.store import Store, write_atomically

CONTENT = bytes(range(64)) * 4


@dataclass(frozen=True, kw_only=True)
class Toy(Stage):
    """Writes two files and a line into `diary`, then does `then`, which may fail or wait."""

    name: ClassVar[str] = "toy"

    value: int = 0
    diary: str | None = runtime(None)
    then: Callable[[Build], None] = field(default=lambda at: None, metadata={"runtime": True}, compare=False)
    label: str = runtime("toy")

    @property
    def readable(self) -> str:
        return self.label

    def build(self, at: Build) -> None:
        (at.folder / "deep").mkdir(exist_ok=True)
        (at.folder / "deep" / "data").write_bytes(CONTENT)
        if self.diary:
            with Path(self.diary).open("a") as file:
                file.write(f"{os.getpid()}\n")
        self.then(at)
        (at.folder / "value.json").write_text(json.dumps(self.value))


@dataclass(frozen=True, kw_only=True)
class ResumableToy(Toy):
    name: ClassVar[str] = "resumable"
    resumable: ClassVar[bool] = True


def fail(at: Build) -> None:
    raise StageError("nothing works today")


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


# Whole or not there


def test_an_artifact_is_there_only_when_it_is_complete(store: Store):
    def look(at: Build) -> None:
        assert not store.has(toy)
        with pytest.raises(MissingArtifact, match="has not been built"):
            store.open(toy)

    toy = Toy(then=look)
    artifact = store.build(toy)
    assert store.has(toy)
    assert artifact.names == ["deep/data", "value.json"]
    assert artifact.file("deep/data").read_bytes() == CONTENT
    assert not store.partial(toy).exists()


@pytest.mark.parametrize("error", [StageError("bad input"), ValueError("a bug"), KeyboardInterrupt()])
def test_a_build_that_raises_leaves_no_artifact_and_no_lease(store: Store, error: BaseException):
    def raise_it(at: Build) -> None:
        raise error

    with pytest.raises(type(error)):
        store.build(Toy(then=raise_it))
    assert not store.has(Toy())
    assert list((store.root / "store" / "toy").iterdir()) == []
    assert store.build(Toy()).json("value.json") == 0


def test_a_resumable_build_finds_its_files_again_and_another_starts_from_none(store: Store):
    found = []

    def note(at: Build) -> None:
        found.append((at.folder / "progress").exists())
        (at.folder / "progress").touch()
        if len(found) % 2:
            raise KeyboardInterrupt

    for cls in (ResumableToy, Toy):
        with pytest.raises(KeyboardInterrupt):
            store.build(cls(then=note))
        store.build(cls(then=note))
    assert found == [False, True, False, False]


def test_files_that_a_killed_build_left_are_no_part_of_the_next(store: Store):
    for cls in (ResumableToy, Toy):
        store.partial(cls()).mkdir(parents=True)
        (store.partial(cls()) / "left").touch()
    assert "left" in store.build(ResumableToy()).names
    assert "left" not in store.build(Toy()).names


def test_the_manifest_tells_configuration_inputs_and_what_made_it(store: Store):
    @dataclass(frozen=True, kw_only=True)
    class Above(Stage):
        name: ClassVar[str] = "above"
        below: Stage

        def build(self, at: Build) -> None:
            (at.folder / "copy").write_bytes(at.open(self.below).file("deep/data").read_bytes())

    toy = Toy(value=7)
    store.build(toy)
    manifest = store.build(Above(below=toy)).manifest
    assert manifest["inputs"] == {toy.identity: "toy"}
    assert manifest["config"] == {"below": f"toy:{toy.identity}"}
    assert set(manifest) >= {"stage", "version", "identity", "files", "made", "seconds", "device", "versions", "git"}
    assert manifest["versions"]["torch"] and manifest["seconds"] >= 0


# Damage


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[:-1])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "longer":
        path.write_bytes(content + b"x")
    elif how == "gone":
        path.unlink()
    elif how == "flipped":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


@pytest.mark.parametrize("how", ["truncated", "emptied", "longer", "gone", "flipped"])
@pytest.mark.parametrize("name", ["deep/data", "value.json"])
def test_a_damaged_file_is_never_read_and_is_rebuilt(store: Store, name: str, how: str, tmp_path: Path):
    toy = Toy(diary=str(tmp_path / "diary"))
    damage(store.build(toy).folder / name, how)
    fresh = Store(store.root)
    with pytest.raises(CorruptArtifact, match="moved aside"):
        fresh.open(toy).file(name)
    assert not fresh.has(toy)
    assert fresh.build(toy).file("deep/data").read_bytes() == CONTENT
    assert lines(tmp_path / "diary") == 2


@pytest.mark.parametrize("how", ["truncated", "emptied", "longer", "gone"])
def test_a_torn_file_is_noticed_without_reading(store: Store, how: str):
    damage(store.build(Toy()).folder / "deep" / "data", how)
    assert not store.has(Toy())


@pytest.mark.parametrize("how", ["truncated", "emptied", "gone"])
def test_an_artifact_with_a_torn_manifest_does_not_exist(store: Store, how: str, tmp_path: Path):
    toy = Toy(diary=str(tmp_path / "diary"))
    damage(store.build(toy).folder / "artifact.json", how)
    assert not store.has(toy)
    with pytest.raises(MissingArtifact):
        store.open(toy)
    assert store.build(toy).json("value.json") == 0
    assert lines(tmp_path / "diary") == 2


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_any_flipped_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, position: int, bit: int):
    store = Store(tmp_path_factory.mktemp("flip"))
    artifact = store.build(Toy())
    content = bytearray(CONTENT)
    content[position] ^= 1 << bit
    (artifact.folder / "deep" / "data").write_bytes(content)
    assert artifact.problems() == ["deep/data does not match its checksum"]
    assert [problems for _, problems in store.verify()] == [["deep/data does not match its checksum"]]
    with pytest.raises(CorruptArtifact):
        artifact.file("deep/data")


def test_a_file_beyond_the_manifest_is_no_file_of_the_artifact(store: Store):
    artifact = store.build(Toy())
    (artifact.folder / "stray").touch()
    with pytest.raises(CorruptArtifact, match="is not a file of this artifact"):
        artifact.file("stray")


def test_what_another_process_built_anew_is_read_by_its_new_checksums(store: Store):
    toy = Toy()
    store.build(toy).file("value.json")
    other = Store(store.root)
    damage(other.folder(toy) / "value.json", "gone")
    other.build(Toy(then=lambda at: (at.folder / "deep" / "data").write_bytes(b"took 3 seconds")))
    assert store.open(toy).file("deep/data").read_bytes() == b"took 3 seconds"


def test_an_artifact_is_known_by_its_identity_whatever_its_label(store: Store, tmp_path: Path):
    folder = store.build(Toy(diary=str(tmp_path / "diary"))).folder
    assert store.build(Toy(diary=str(tmp_path / "diary"), label="a/b ../c")).folder == folder
    strange = store.build(Toy(value=1, label="../../ü:*?" + "x" * 300)).folder
    assert strange.parent == folder.parent
    assert store.build(Toy(value=2, label="///")).folder.name == f"toy-{Toy(value=2).identity}"
    assert lines(tmp_path / "diary") == 1


def test_a_reader_sees_the_old_text_or_the_new_one(tmp_path: Path):
    path = tmp_path / "text"
    texts = {"a" * 50_000, "b" * 50_000}

    def write() -> None:
        for _ in range(30):
            for text in sorted(texts):
                write_atomically(path, text)

    writers = [threading.Thread(target=write) for _ in range(2)]
    write_atomically(path, max(texts))
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in texts
    assert [p.name for p in tmp_path.iterdir()] == ["text"]


# Failures


def test_a_failure_is_remembered_until_it_is_forgiven(store: Store):
    assert store.failure(Toy()) is None
    store.fail(Toy(), "no frames", "a log")
    found = Store(store.root).failure(Toy())
    assert (found["reason"], found["log"], found["stage"]) == ("no frames", "a log", "toy")
    assert not store.has(Toy())
    store.forgive(Toy())
    store.forgive(Toy())
    assert store.failure(Toy()) is None


def test_a_leaf_is_written_once(store: Store):
    written = []

    def write(folder: Path) -> None:
        written.append(folder)
        (folder / "ids.json").write_text("[1]")

    for _ in range(2):
        assert store.put(Toy(), write).json("ids.json") == [1]
    assert len(written) == 1


# Twin builders


def test_of_twin_builders_in_two_processes_one_builds(store: Store, tmp_path: Path):
    def wait(at: Build) -> None:
        time.sleep(0.3)

    toy = Toy(diary=str(tmp_path / "diary"), then=wait)
    processes = [start(lambda: Store(store.root).build(toy).file("deep/data")) for _ in range(4)]
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert lines(tmp_path / "diary") == 1


def test_a_builder_that_was_killed_is_taken_over_at_once(store: Store, tmp_path: Path):
    toy = Toy(diary=str(tmp_path / "diary"), then=lambda at: time.sleep(60))
    killed = start(lambda: store.build(toy))
    wait_for(tmp_path / "diary")
    os.kill(killed.pid, signal.SIGKILL)
    # Its parent has not reaped it yet: a zombie is dead, too.
    assert Store(store.root).build(Toy(diary=str(tmp_path / "diary"))).json("value.json") == 0
    assert lines(tmp_path / "diary") == 2
    killed.join(10)


# Stores that can't be used


def test_a_store_of_another_format_is_refused(store: Store):
    (store.root / "store" / "FORMAT").write_text("99\n")
    with pytest.raises(UserError, match=r"format 99.*reads format 1"):
        Store(store.root)


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"can't be written.*--store"):
        Store(tmp_path / "file" / "state")


def test_a_store_that_is_no_folder_is_refused():
    with pytest.raises(UserError, match="is not a folder"):
        Store("s3://bucket/state")


def test_a_store_may_be_named_by_a_file_uri(tmp_path: Path):
    assert Store(f"file://{tmp_path}/state").root == tmp_path / "state"


def test_a_full_disk_is_told_in_words(store: Store):
    def write(at: Build) -> None:
        Path("/dev/full").write_text("x")

    with pytest.raises(StageError, match=r"no space left on the disk of .* while building toy toy"):
        store.build(Toy(then=write))
    assert not store.has(Toy())


def test_another_error_of_the_disk_stays_what_it_is(store: Store):
    with pytest.raises(IsADirectoryError):
        store.build(Toy(then=lambda at: at.folder.write_text("x")))


ON_A_FULL_DISK = """
    import sys
    from pathlib import Path
    import numpy as np
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models
    from orchestrator.errors import StageError
    from orchestrator.store import Store
    from test_store import ResumableToy, Toy

    def tensors(at):
        save_file({"frames": np.zeros((1000, 1000), np.float32)}, at.folder / "a.safetensors")

    def tokens(at):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.add_tokens([str(n) for n in range(40_000)])
        tokenizer.save(str(at.folder / "bpe.json"))

    def text(at):
        (at.folder / "text").write_text("x" * 4_000_000)

    root = Path(sys.argv[1])
    store = Store(root / "state")
    store.build(Toy(value=1))
    for write in (tensors, tokens, text):
        try:
            store.build(Toy(then=write))
        except StageError as error:
            assert "no space left on the disk" in str(error), error
        else:
            raise AssertionError(f"{write} was not told")
        assert not store.has(Toy()) and not store.partial(Toy()).exists()
    assert store.open(Toy(value=1)).problems() == []
    assert store.build(Toy()).json("value.json") == 0  # what was half there has made room
"""


def test_a_disk_that_is_really_full_is_told_in_words_and_gives_its_space_back(tmp_path: Path):
    mount = f'mount -t tmpfs -o size=2m tmpfs "{tmp_path}"'
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("a small disk can't be mounted here (no user namespaces)")
    (tmp_path.parent / "full_disk.py").write_text(textwrap.dedent(ON_A_FULL_DISK))
    command = f'{mount} && exec "{sys.executable}" "{tmp_path.parent}/full_disk.py" "{tmp_path}"'
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
