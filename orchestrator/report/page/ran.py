"""What ran, for the page: versions, git state, hardware, seeds, corpora and what they keep in quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.report.page.table import Table
from orchestrator.report.words import NONE

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix

NAMED = 20
"""How many recordings of a reason are named."""


def what(matrix: Matrix) -> dict[str, Any]:
    """The variables of the template about what ran; empty ones where the matrix does not know."""
    about = matrix.about or {}
    return {
        "facts": _facts(about),
        "versions": [(name, version) for name, version in (about.get("versions") or {}).items() if version],
        "corpora": _corpora(about.get("corpora") or []),
        "quarantined": [found for corpus in about.get("corpora") or [] if (found := _quarantine(corpus))],
    }


def _facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    git = about.get("git") or {}
    commit = str(git.get("commit") or "") + (" with changes that are not committed" if git.get("dirty") else "")
    told = {
        "page made": str(about.get("made") or "").replace("T", " "),
        "commit": commit,
        "hardware": ", ".join(map(str, about.get("devices") or [])),
        "system": about.get("machine"),
        "Python": about.get("python"),
        "seeds": ", ".join(map(str, about.get("seeds") or [])),
    }
    return [(name, str(text)) for name, text in told.items() if text]


def _corpora(corpora: list[Mapping[str, Any]]) -> Table | None:
    """A line for each split of each corpus: utterances, hours; recordings in quarantine belong to no split."""
    lines = []
    for corpus in corpora:
        for split, of in (corpus.get("splits") or {}).items():
            hours = NONE if of.get("hours") is None else f"{of['hours']:,.2f}"
            lines.append([corpus["name"], str(split), str(corpus.get("reader") or ""), f"{of['utterances']:,}", hours])
    return Table("What was spoken", ["corpus", "split", "reader", "utterances", "hours"], lines, 3) if lines else None


def _quarantine(corpus: Mapping[str, Any]) -> dict[str, Any] | None:
    by_reason: dict[str, list[str]] = {}
    for one in corpus.get("quarantine") or []:
        by_reason.setdefault(str(one["reason"]), []).append(str(one["id"]))
    if not by_reason:
        return None
    reasons = [
        (reason, ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""))
        for reason, ids in by_reason.items()
    ]
    return {"name": corpus["name"], "n": sum(map(len, by_reason.values())), "reasons": reasons}
