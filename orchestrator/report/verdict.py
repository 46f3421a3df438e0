"""The verdict: the matrix in words, computed from the records. Nothing is claimed that was not compared.

"Win" is said only of a configuration whose lead over the best of every other kind of features is more than chance explains;
otherwise it "scores best". A lead between two configurations that were not compared with each other has no significance,
and the sentence says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.report import phrases, sentences
from orchestrator.report.contest import Contest, contests
from orchestrator.report.headline import headline
from orchestrator.report.layout import Layout
from orchestrator.report.places import Place, mean_cost, places
from orchestrator.report.words import short

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix

NAMED = 3
"""How many pairs, reasons and sizes of test sets are told."""


@dataclass(frozen=True)
class Verdict:
    """What the matrix says.

    Attributes:
        headline: one sentence over all tasks.
        sentences: of each column its title and what is said of it; then what concerns all of them, under `cost`,
            `training`, `certainty`, `words` and `not finished`.
    """

    headline: str
    sentences: list[tuple[str, str]]

    @property
    def text(self) -> str:
        """As plain text: the headline, then a paragraph for each title."""
        return "\n\n".join([self.headline, *(f"{title}: {text}" for title, text in self.sentences)]) + "\n"

    @property
    def markdown(self) -> str:
        """The same as Markdown: the headline in bold, then a list."""
        lines = [f"- **{phrases.plain(title)}**: {phrases.plain(text)}\n" for title, text in self.sentences]
        return f"**{phrases.plain(self.headline)}**\n\n{''.join(lines)}"


def verdict(matrix: Matrix) -> Verdict:
    """Says in words which features win which task, by how much, how sure that is and at what cost."""
    layout = matrix.layout
    lines = places(layout, matrix.cells)
    found = contests(layout, lines)
    done, total = matrix.counts()["ok"], len(matrix.cells)
    told = [(one.column.title, sentences.about(one)) for one in found]
    told += [("cost", _cost(found)), ("training", _training(found, lines))]
    told += [
        ("certainty", _certainty(layout, found, lines)),
        ("words", _words(found)),
        ("not finished", _unfinished(layout, done, total)),
    ]
    return Verdict(headline(found, done, total), [(title, text) for title, text in told if text])


def _cost(found: Sequence[Contest]) -> str:
    """What the two arms take for a second of speech: of the pairs of configurations that lead them in some column."""
    pairs: dict[tuple[str, str], list[tuple[Place, Place]]] = {}
    for one in found:
        if one.arms:
            pairs.setdefault((one.name(one.arms[0]), one.name(one.arms[1])), []).append(one.arms)
    said = []
    for (tokens, vectors), of in sorted(pairs.items(), key=lambda item: -len(item[1]))[:NAMED]:
        length, length_too = (mean_cost(side, "tokens_per_second_of_audio") for side in zip(*of, strict=True))
        bits, bits_too = (mean_cost(side, "bits_per_second") for side in zip(*of, strict=True))
        if length and length_too and bits and bits_too:
            said.append(
                f"a second of speech is {short(length)} tokens and {short(bits)} bits as {tokens}, "
                f"{short(length_too)} vectors and {short(bits_too)} bits as {vectors}: "
                f"{phrases.times(length / length_too, as_much='as long')}, in {phrases.share(bits / bits_too)} of the bits"
            )
        answering, answering_too = (mean_cost(side, "rtf") for side in zip(*of, strict=True))
        if answering and answering_too:
            said.append(
                f"to answer it, one utterance at a time, takes {answering:.2g} s with {tokens} and "
                f"{answering_too:.2g} s with {vectors}"
            )
    return " ".join(map(phrases.sentence, said))


def _training(found: Sequence[Contest], lines: Sequence[Sequence[Place]]) -> str:
    """Where training ended before its plateau."""
    # Several test sets of a cell are several columns.
    stopped = {cell["cell"]: cell["stopped"] for line in lines for place in line for cell in place.finished}
    late = [cell for cell, how in stopped.items() if how == "budget"]
    if not late:
        return ""
    titles = [
        one.column.title
        for one, places_ in zip(found, zip(*lines, strict=True), strict=True)
        if any(cell["cell"] in late for place in places_ for cell in place.finished)
    ]
    where = f" (on {phrases.listed(titles)})" if len(found) > 1 and len(titles) <= 2 * NAMED else ""
    who = (
        f"{len(late)} of {phrases.count(len(stopped), 'training')}{where} ended"
        if len(stopped) > 1
        else "training ended"
    )
    cut = f"{who} by the budget and not because the score had levelled off († in the table)"
    rest = "longer training might change these scores, and what convergence costs can't be told from them"
    return f"{phrases.sentence(cut)} {phrases.sentence(rest)}"


def _certainty(layout: Layout, found: Sequence[Contest], lines: Sequence[Sequence[Place]]) -> str:
    """What intervals and the word chance rest on."""
    counts = {len(place.finished) for line in lines for place in line} - {0}
    if not counts:
        return ""
    known = [entry.certainty for line in layout.entries for entry in line if entry.certainty is not None]
    drawn = list(dict.fromkeys(one.drawn for one in known if one.drawn))
    said = ["intervals and significance were not computed"]
    if known and not drawn:
        said = [
            "there are no intervals" + "".join(f": {reason}" for reason in sorted({one.reason for one in known} - {""}))
        ]
    if drawn:
        what = phrases.listed(drawn, "or") if len(drawn) <= NAMED else "speakers or utterances"
        said = [f"intervals come from drawing the {what} of a test set again and again (bootstrap)"]
    if any(one.p is not None for one in known):
        said.append(
            "a difference is called more than chance where p < 0.05 after Holm's correction for the number of "
            "comparisons in a task"
        )
    if any(len(one.ranked) > len(one.kinds_ranked) > 1 for one in found):
        said.append("the best of several configurations is picked on the test set itself, which flatters it a little")
    several = f"scores are means over up to {max(counts)} seeds, and differences allow for the spread between them"
    once = "every cell was trained once: how much another seed would change is not known"
    return " ".join(map(phrases.sentence, [*said, once if max(counts) == 1 else several]))


WORDS = {
    "continuous": "continuous features are vectors of the speech encoder, which reach the decoder through a linear layer",
    "discrete": (
        "discrete tokens are the nearest of a codebook's codes in place of each vector, repeats collapsed unless said; "
        "bpe merges frequent sequences of them into one token"
    ),
    "centroids": "centroids are the codes' own vectors, fed in like continuous features: the control between the two",
}


def _words(found: Sequence[Contest]) -> str:
    """What the kinds of features and guessing are, for who reads of them here first."""
    kinds = {kind for one in found for kind in one.kinds_ranked}
    said = [text for kind, text in WORDS.items() if kind in kinds]
    if kinds and any(one.floor is not None for one in found):
        said.append(
            "guessing is what can be had without hearing: the better of the same decoder without speech and of a fixed "
            "answer (the commonest label, or nothing)"
        )
    return " ".join(map(phrases.sentence, said))


def _unfinished(layout: Layout, done: int, total: int) -> str:
    if done == total:
        return ""
    more = (
        [f"{len(layout.problems) - NAMED} more reasons stand below the table"] if len(layout.problems) > NAMED else []
    )
    said = [f"{total - done:,} of {phrases.count(total, 'cell')} have no result", *layout.problems[:NAMED], *more]
    return " ".join(map(phrases.sentence, said))
