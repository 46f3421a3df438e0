"""Errors for the user: what was expected, what came, what to do. The command line prints them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. The message says what was expected, what came and what to do; exit code 2."""


class StageError(UserError):
    """A stage could not be built from what it was given. It takes down only what depends on it."""


class CorruptArtifact(StageError):
    """A stored file doesn't match its checksum. The artifact has been moved aside; the next run rebuilds it."""


class MissingArtifact(StageError):
    """An artifact was read before it was built."""


def suggest(name: object, valid: Iterable[str]) -> str:
    """Returns a phrase naming the nearest valid name, then all of them: `did you mean 'asr'? Valid: asr, …`."""
    names = sorted(map(str, valid))
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return (f"did you mean '{near[0]}'? " if near else "") + "Valid: " + (", ".join(names) or "none")
