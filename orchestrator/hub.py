"""The Hugging Face hub and its cache on this machine: what is there, and in plain words why something is not."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import UserError

COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT_SECONDS = 10

Get = Callable[[str], Path | None]
"""From the name of a file to where it is, None where there is no such file."""


class NotAtHand(UserError):
    """A checkpoint may be there, and this machine doesn't have it: no network, or no licence yet. A plan goes on without."""


def in_cache(checkpoint: str, revision: str) -> Get:
    """The files of a revision that this machine has. Raises UserError for what can be no hub id."""
    from huggingface_hub import try_to_load_from_cache

    check_id(checkpoint)

    def get(name: str) -> Path | None:
        found = try_to_load_from_cache(checkpoint, name, revision=revision)
        return Path(found) if isinstance(found, str) else None

    return get


def downloading(checkpoint: str, revision: str) -> Get:
    """The files of a revision, fetched where need be. Raises UserError where the hub doesn't give them."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    check_id(checkpoint)

    def get(name: str) -> Path | None:
        with _telling(checkpoint, f"'{name}'", revision):
            try:
                return Path(hf_hub_download(checkpoint, name, revision=revision))
            except RemoteEntryNotFoundError:
                return None

    return get


def completing(checkpoint: str, revision: str) -> Get:
    """The files of a revision, from the cache; those that it doesn't know of from the hub, where that gives them.

    A cache may hold a part of a checkpoint only: what other programs needed of it.
    """
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    cache, fetch = in_cache(checkpoint, revision), downloading(checkpoint, revision)
    answers: bool | None = None

    def get(name: str) -> Path | None:
        nonlocal answers
        found = cache(name)
        if found or answers is False or try_to_load_from_cache(checkpoint, name, revision=revision) is _CACHED_NO_EXIST:
            return found
        try:
            if answers is None:
                gives(checkpoint, revision, name)  # fails at once, where fetching tries again and again
                answers = True
            return fetch(name)
        except UserError:
            answers = False
            return None

    return get


def check_id(checkpoint: str) -> None:
    """Raises UserError for what can be no hub id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(checkpoint)
    except HFValidationError as error:
        raise UserError(f"'{checkpoint}' is no folder, and no hub id can look like that ({error})") from error


def commit_of(checkpoint: str, revision: str | None, file: str) -> str:
    """The commit of a revision, from the cache if it knows one: a run never drifts to a newer one by itself.

    Args:
        file: that every checkpoint has; it comes with the answer, and the cache remembers the commit.

    Raises:
        UserError: the commit is not in the cache, and the hub doesn't know it or can't be reached.
    """
    check_id(checkpoint)
    if revision and COMMIT.fullmatch(revision):
        return revision
    revision = revision or "main"
    found = in_cache(checkpoint, revision)(file)
    if found is None and gives(checkpoint, revision, file):
        found = downloading(checkpoint, revision)(file)
    if found is None:
        raise UserError(f"the hub checkpoint '{checkpoint}' has no {file} at {revision}: it is no model to load")
    return found.parent.name


def names(checkpoint: str, commit: str) -> list[str]:
    """The files that a commit has on the hub. Raises UserError where it can't be asked."""
    from huggingface_hub import HfApi

    check_id(checkpoint)
    with _telling(checkpoint, "the weights", commit):
        info = HfApi().model_info(checkpoint, revision=commit, timeout=TIMEOUT_SECONDS)
    return [file.rfilename for file in info.siblings or []]


def gives(checkpoint: str, revision: str, name: str) -> bool:
    """Whether the hub has a file, and lets this machine have it; nothing is downloaded, and nothing tried twice.

    Raises:
        UserError: it doesn't let, or can't be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    check_id(checkpoint)
    with _telling(checkpoint, f"'{name}'", revision):
        try:
            get_hf_file_metadata(hf_hub_url(checkpoint, name, revision=revision), timeout=TIMEOUT_SECONDS)
        except RemoteEntryNotFoundError:
            return False
    return True


def advice(checkpoint: str) -> str:
    """How a checkpoint comes to a machine that has no network."""
    return (
        f"On a machine with network run `hf download {checkpoint}` and copy its cache here (HF_HOME says where), "
        "or give the folder of a local copy."
    )


@contextmanager
def _telling(checkpoint: str, what: str, revision: str | None = None) -> Iterator[None]:
    """Turns what the hub's client raises into what the user can do about it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"{constants.ENDPOINT}/{checkpoint}"
    absent = f"the cache {constants.HF_HUB_CACHE} doesn't hold {what} of the checkpoint '{checkpoint}'"
    try:
        yield
    except Exception as error:  # its transport has errors of its own, and the user can do the same about each
        cause = (error.__cause__ or error) if isinstance(error, LocalEntryNotFoundError) else error
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise  # a full disk has its own words
        if isinstance(cause, GatedRepoError):
            has_token = cause.response.status_code == 403
            log_in = (
                "the account of this machine's token has no access yet" if has_token else "nobody is logged in here"
            )
            told = (
                f"the checkpoint '{checkpoint}' is for those who accepted its licence, and {log_in}. Accept it on {page}, "
                "then run `hf auth login` with that account (or set HF_TOKEN) on every machine that works."
            )
        elif isinstance(cause, RepositoryNotFoundError):
            told = (
                f"there is no checkpoint '{checkpoint}' on the hub, or it is private. Check its name on {page}; for a "
                "private one run `hf auth login` first."
            )
        elif isinstance(cause, RevisionNotFoundError):
            told = f"the checkpoint '{checkpoint}' has no revision '{revision}'. Its branches and tags are on {page}."
        elif isinstance(cause, OfflineModeIsEnabled):
            told = f"{absent}, and this machine is told to stay offline (HF_HUB_OFFLINE). {advice(checkpoint)}"
        else:
            says = "the hub says" if isinstance(cause, HfHubHTTPError) else "the hub can't be reached"
            told = f"{absent}, and {says}: {_first_line(cause)}. {advice(checkpoint)}"
        is_absent = isinstance(cause, (RepositoryNotFoundError, RevisionNotFoundError))
        gated = isinstance(cause, GatedRepoError)  # which is a RepositoryNotFoundError to the hub's client
        raise (UserError if is_absent and not gated else NotAtHand)(told) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
