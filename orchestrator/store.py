"""The store: where artifacts are, made atomically, checked, leased.

An artifact is a folder `store/<stage>/<readable>-<identity>/` with its files and `artifact.json`. It is made in a
`.partial` folder beside it and renamed into place when complete: a folder without `artifact.json` does not exist.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xxhash

from orchestrator import provenance
from orchestrator.errors import CorruptArtifact, MissingArtifact, StageError, UserError
from orchestrator.lease import Lease
from orchestrator.stage import Build, Progress, Stage, silent

DEFAULT_STORE = ".tokengrid"
"""The state folder, unless `--store` or the environment's TOKENGRID_STORE names another."""
FORMAT = 1
"""The layout of a store. A store of another format is refused, never misread."""


@dataclass
class Artifact:
    """A finished artifact, open for reading. Every file is verified the first time it is asked for.

    Attributes:
        folder: where it is.
        manifest: the content of its `artifact.json`.
    """

    folder: Path
    manifest: dict[str, Any]
    _seen: set[str] = field(default_factory=set)

    def file(self, name: str) -> Path:
        """The path of a file of the artifact.

        Raises:
            CorruptArtifact: the file is missing or its checksum differs; the artifact has been moved aside.
        """
        if name not in self._seen:
            if problem := self._problem(name):
                discard(self.folder)
                raise CorruptArtifact(
                    f"{self.folder.name}/{name} {problem}; it was moved aside. Run again to rebuild it."
                )
            self._seen.add(name)
        return self.folder / name

    def json(self, name: str) -> Any:
        """The content of a JSON file of the artifact."""
        return json.loads(self.file(name).read_text("utf-8"))

    @property
    def names(self) -> list[str]:
        """The names of its files, sorted."""
        return sorted(self.manifest["files"])

    def problems(self) -> list[str]:
        """What is wrong with its files, every byte read."""
        return [f"{name} {problem}" for name in self.names if (problem := self._problem(name))]

    def _problem(self, name: str) -> str | None:
        path = self.folder / name
        known = self.manifest["files"].get(name)
        if known is None:
            return "is not a file of this artifact"
        if not path.is_file():
            return "is missing"
        if path.stat().st_size != known["bytes"]:
            return f"has {path.stat().st_size} bytes, not {known['bytes']}"
        return None if checksum(path) == known["xxh3"] else "does not match its checksum"


class Store:
    """Artifacts, failures and cell records under one root folder, shared by every process that computes.

    Args:
        root: the state folder, absolute or relative; created when first written.

    Raises:
        UserError: the folder can't be written, or holds a store of another format.
    """

    def __init__(self, root: Path | str):
        self.root = local_path(root)
        self._open: dict[str, Artifact] = {}
        marker = self.root / "store" / "FORMAT"
        try:
            marker.parent.mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                write_atomically(marker, f"{FORMAT}\n")
            found = marker.read_text().strip()
        except OSError as error:
            raise UserError(
                f"the store {self.root} can't be written ({error.strerror or error}). "
                "Give a folder of yours with --store, or mend its permissions."
            ) from error
        if found != str(FORMAT):
            raise UserError(
                f"the store {self.root} has format {found}; this tokengrid reads format {FORMAT}. "
                "Use the tokengrid that made it, or another folder with --store."
            )

    def folder(self, stage: Stage) -> Path:
        """Where the artifact of a stage is or will be."""
        readable = re.sub(r"[^A-Za-z0-9._+-]+", "_", stage.readable)[:80].strip("._") or stage.name
        parent = self.root / "store" / stage.name
        expected = parent / f"{readable}-{stage.identity}"
        if expected.exists():
            return expected
        # The readable part may have changed since it was made: only the identity counts.
        return next((p for p in parent.glob(f"*-{stage.identity}") if p.is_dir()), expected)

    def has(self, stage: Stage) -> bool:
        """Whether the artifact exists with all its files at their sizes (a torn file is noticed here, a flipped bit at reading)."""
        manifest = _manifest(self.folder(stage))
        if manifest is None:
            return False
        folder = self.folder(stage)
        for name, known in manifest["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != known["bytes"]:
                discard(folder)
                return False
        return True

    def open(self, stage: Stage) -> Artifact:
        """Opens a finished artifact; raises MissingArtifact where there is none."""
        folder = self.folder(stage)
        manifest = _manifest(folder)
        if manifest is None:
            raise MissingArtifact(f"the {stage.name} {stage.readable} ({stage.identity}) has not been built yet")
        cached = self._open.get(stage.identity)
        # Another process may have built it anew since: what was verified then says nothing about these files.
        if cached is not None and (cached.folder, cached.manifest) == (folder, manifest):
            return cached
        artifact = self._open[stage.identity] = Artifact(folder, manifest)
        return artifact

    def build(self, stage: Stage, progress: Progress = silent) -> Artifact:
        """Returns the artifact of a stage, building it if it isn't there. Of two builders the second waits for the first.

        Raises:
            StageError: the stage could not be built.
        """
        if self.has(stage):
            return self.open(stage)
        with self.making(stage) as partial:
            if partial is not None:
                stage.build(Build(partial, self.open, progress))
        return self.open(stage)

    @contextmanager
    def making(self, stage: Stage) -> Iterator[Path | None]:
        """A leased `.partial` folder, renamed into place at the end; None where somebody else finished it meanwhile."""
        partial = self.partial(stage)
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            with Lease(partial.with_suffix(".lease")):
                if self.has(stage):
                    yield None
                    return
                if not stage.resumable:
                    shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(exist_ok=True)
                meter = provenance.Meter()
                try:
                    yield partial
                    self._finish(stage, partial, meter)
                except BaseException:
                    if not stage.resumable:
                        shutil.rmtree(partial, ignore_errors=True)
                    raise
        except Exception as error:
            if _is_for_want_of_space(error):
                raise StageError(
                    f"no space left on the disk of {self.root} while building {stage.name} {stage.readable}. "
                    "What is finished is kept: free some space and run again."
                ) from error
            raise

    def partial(self, stage: Stage) -> Path:
        """The folder in which a stage is being made; a resumable stage finds its own earlier files there."""
        return self.root / "store" / stage.name / f"{stage.identity}.partial"

    def _finish(self, stage: Stage, partial: Path, meter: provenance.Meter) -> None:
        for left in partial.glob("*artifact.json*"):  # of a build that was killed between writing it and renaming
            left.unlink()
        files = {
            path.relative_to(partial).as_posix(): {"bytes": path.stat().st_size, "xxh3": checksum(path)}
            for path in sorted(partial.rglob("*"))
            if path.is_file()
        }
        manifest = {
            "stage": stage.name,
            "version": stage.version,
            "identity": stage.identity,
            "config": stage.config,
            "inputs": {s.identity: s.name for s in stage.inputs},
            "files": files,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            **meter.reading(),
            **provenance.of_this_process(),
        }
        write_atomically(partial / "artifact.json", json.dumps(manifest, indent=1, ensure_ascii=False))
        self._open.pop(stage.identity, None)
        final = self.folder(stage)
        if final.exists():
            discard(final)
        partial.rename(final)

    def put(self, stage: Stage, write: Callable[[Path], None]) -> Artifact:
        """Stores a leaf, whose content is known to the caller, by `write(folder)`, unless it is there."""
        if not self.has(stage):
            with self.making(stage) as partial:
                if partial is not None:
                    write(partial)
        return self.open(stage)

    def fail(self, stage: Stage, reason: str, log: str = "") -> None:
        """Records why a stage could not be built. `build` of the next run tries it again."""
        record = {"stage": stage.name, "readable": stage.readable, "reason": reason, "log": log, "at": time.time()}
        write_atomically(self._failure(stage), json.dumps(record, ensure_ascii=False))

    def failure(self, stage: Stage) -> dict[str, Any] | None:
        """The record of the last failure of a stage, if it failed when it was last tried."""
        path = self._failure(stage)
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def forgive(self, stage: Stage) -> None:
        """Removes the record of a failure, before another try."""
        self._failure(stage).unlink(missing_ok=True)

    def _failure(self, stage: Stage) -> Path:
        return self.root / "store" / stage.name / f"{stage.identity}.failed.json"

    def verify(self) -> Iterator[tuple[Path, list[str]]]:
        """Reads every artifact of the store whole and yields its folder with what is wrong with it."""
        for path in sorted((self.root / "store").glob("*/*/artifact.json")):
            manifest = _manifest(path.parent)
            problems = (
                ["artifact.json can't be read"] if manifest is None else Artifact(path.parent, manifest).problems()
            )
            yield path.parent, problems


def checksum(path: Path) -> str:
    """xxh3-128 of a file's bytes, as hex."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that readers see the old one or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of two containers may have the same number.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


def discard(folder: Path) -> None:
    """Moves a bad artifact aside, so that it no longer exists, then deletes it."""
    aside = folder.with_name(f".bad-{folder.name}-{time.time_ns()}")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def _is_for_want_of_space(error: Exception) -> bool:
    """Whether the disk or the quota is full; safetensors and tokenizers say so in the text of errors of their own."""
    if isinstance(error, UserError):
        return False
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "artifact.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def local_path(root: Path | str) -> Path:
    """The absolute path of a state folder that the user named. Raises UserError for what is no folder."""
    text = str(root)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    elif "://" in text:
        raise UserError(
            f"the store '{text}' is not a folder. This version keeps its store on a file system that every node sees "
            "(NFS, Lustre, EFS, a mounted bucket): give its path."
        )
    return Path(text).expanduser().absolute()
