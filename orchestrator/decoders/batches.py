"""Batches: utterances laid out as the positions of a decoder, `<prompt> <speech> <prompt> <answer>`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from orchestrator.decoders.spec import Array, Example, SpeechSpec
from orchestrator.decoders.text import PromptTokens, Text
from orchestrator.errors import StageError

SHOWN = 5
"""How many utterances an error names."""
SPAN = 2
"""Positions of speech that are hidden together."""
OVERHEAD = 128
"""What one more micro-batch costs, in positions of a tiny decoder on a CPU."""


@dataclass(frozen=True)
class Utterance:
    """An example, ready to be laid out.

    Attributes:
        speech: tokens `[N]` or frames `[T, layers · D]`, as they came.
        positions: S, how many positions the speech takes.
        prompt: the tokens around the speech.
        answer: `[A]` int64 tokens to be predicted, the end last; empty in decoding.
        length: of the whole sequence. The end is predicted, never read.
    """

    speech: Array | None
    positions: int
    prompt: PromptTokens
    answer: np.ndarray
    length: int

    @property
    def answer_at(self) -> int:
        """The position of the first answer token, counted from the first of the sequence."""
        return len(self.prompt.prefix) + self.positions + len(self.prompt.suffix)


@dataclass(frozen=True)
class Batch:
    """B sequences of at most L positions. Every position points to a row: of zeros, of text or of speech.

    Attributes:
        text: `[n]` int64, tokens of all texts one after the other.
        speech: `[S]` int64 tokens, or `[S · concatenate, layers · D]` float32 frames, of all utterances; None without speech.
        rows: `[B, L]` int64; 0 is the row of zeros, then come those of text, then those of speech.
        real: `[B, L]` bool; the rest is padding.
        predict: `[a]` int64, positions in the flattened batch after which an answer token comes.
        answers: `[a]` int64, these answer tokens.
    """

    text: Tensor
    speech: Tensor | None
    rows: Tensor
    real: Tensor
    predict: Tensor
    answers: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        if device.type == "cpu":
            return self
        values = (getattr(self, f.name) for f in fields(self))
        return Batch(*(v if v is None else v.to(device, non_blocking=True) for v in values))


def prepare(
    examples: Sequence[Example],
    speech: SpeechSpec,
    text: Text,
    longest: int,
    answered: bool,
    seed: int | None = None,
) -> list[Utterance]:
    """Checks examples and encodes their answers.

    Args:
        longest: how many positions the decoder has.
        answered: whether the targets are part of the sequences (training) or not (decoding).
        seed: decides, with its id, with which paraphrase of the prompt each utterance is asked; None: with the first.

    Raises:
        StageError: speech that doesn't fit its kind, or sequences that are too long; names the utterances.
    """
    problems = [f"{e.id}: {problem}" for e in examples if (problem := _problem(e.speech, speech))]
    tokens = text.encode([e.target for e in examples]) if answered else [[]] * len(examples)
    utterances = []
    for example, ids in zip(examples, tokens, strict=True):
        positions = 0 if example.speech is None else -(-len(example.speech) // speech.concatenate)
        answer = np.array([*ids, text.end] if answered else [], np.int64)
        prompt = text.prompt(example.id, seed)
        length = len(prompt.prefix) + positions + len(prompt.suffix) + len(ids)
        if length > longest:
            problems.append(f"{example.id}: {length} positions, the decoder has {longest}")
        utterances.append(Utterance(example.speech, positions, prompt, answer, length))
    if problems:
        rest = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise StageError("speech that the decoder can't read:\n  " + "\n  ".join(problems[:SHOWN]) + rest)
    return utterances


def _problem(values: Array | None, speech: SpeechSpec) -> str | None:
    if speech.kind == "none" or values is None:
        return None if speech.kind == "none" and values is None else f"expected {speech.kind} speech, got another kind"
    if speech.kind == "discrete":
        if values.ndim != 1 or values.dtype.kind not in "iu":
            return f"expected integer tokens [N], got {values.dtype} {list(values.shape)}"
        tokens = np.asarray(values)  # frames are never read here: they may still lie on the disk
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < speech.tokens:
            return f"tokens {tokens.min()} to {tokens.max()} in a table of {speech.tokens}"
    elif values.ndim != 2 or values.shape[1] != speech.width or values.dtype.kind != "f":
        return f"expected frames [T, {speech.width}], got {values.dtype} {list(values.shape)}"
    return None


def collate(
    utterances: Sequence[Utterance],
    speech: SpeechSpec,
    side: Literal["right", "left"] = "right",
    hidden: Sequence[np.ndarray] | None = None,
) -> Batch:
    """Lays utterances out.

    Args:
        side: where padding goes: right in training (a causal decoder never sees it, so no mask), left in decoding.
        hidden: for each utterance `[length]` bool, which of its positions read zeros, or None.
    """
    prompt_rows: dict[PromptTokens, int] = {}
    fixed: list[int] = []
    for utterance in utterances:
        if utterance.prompt not in prompt_rows:
            prompt_rows[utterance.prompt] = 1 + len(fixed)
            fixed += [*utterance.prompt.prefix, *utterance.prompt.suffix]
    tokens = np.concatenate([np.array(fixed, np.int64), *(u.answer[:-1] for u in utterances)])
    width = max(u.length for u in utterances)
    rows = np.zeros((len(utterances), width), np.int64)
    real = np.zeros((len(utterances), width), bool)
    predict = []
    # Rows: 0 of zeros, then those of the text (utterances share their prompts), then those of the speech.
    next_answer, next_speech = 1 + len(fixed), 1 + len(tokens)
    for index, utterance in enumerate(utterances):
        start = width - utterance.length if side == "left" else 0
        speech_at = start + len(utterance.prompt.prefix)
        suffix_at = speech_at + utterance.positions
        answer_at = start + utterance.answer_at
        end = start + utterance.length
        row = rows[index]
        prefix_row = prompt_rows[utterance.prompt]
        suffix_row = prefix_row + speech_at - start
        row[start:speech_at] = np.arange(prefix_row, suffix_row)
        row[speech_at:suffix_at] = np.arange(next_speech, next_speech + utterance.positions)
        row[suffix_at:answer_at] = np.arange(suffix_row, suffix_row + answer_at - suffix_at)
        row[answer_at:end] = np.arange(next_answer, next_answer + end - answer_at)
        if hidden is not None:
            row[start:end][hidden[index]] = 0
        real[index, start:end] = True
        if len(utterance.answer):
            predict.append(np.arange(answer_at - 1, end) + index * width)
        next_answer += end - answer_at
        next_speech += utterance.positions
    none = [np.zeros(0, np.int64)]
    return Batch(
        text=torch.from_numpy(tokens),
        speech=_speech(utterances, speech),
        rows=torch.from_numpy(rows),
        real=torch.from_numpy(real),
        predict=torch.from_numpy(np.concatenate(predict or none)),
        answers=torch.from_numpy(np.concatenate([u.answer for u in utterances] or none)),
    )


def _speech(utterances: Sequence[Utterance], speech: SpeechSpec) -> Tensor | None:
    if speech.kind == "none":
        return None
    if speech.kind == "discrete":
        return torch.from_numpy(np.concatenate([np.asarray(u.speech) for u in utterances]).astype(np.int64))
    n = speech.concatenate
    frames = np.empty((n * sum(u.positions for u in utterances), speech.width), np.float32)
    at = 0
    for utterance in utterances:
        end, full = at + len(utterance.speech), at + n * utterance.positions
        frames[at:end] = utterance.speech
        frames[end:full] = frames[end - 1 : end]  # the last frame repeated fills up the last n
        at = full
    return torch.from_numpy(frames)


def order(ids: Sequence[str], seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch, as indices into `ids`. It depends on the seed, the epoch and the set of ids alone.

    Raises:
        StageError: an id occurs twice.
    """
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    if twice := [ids[a] for a, b in itertools.pairwise(by_id) if ids[a] == ids[b]]:
        raise StageError(f"the utterance '{twice[0]}' occurs twice in the training split ({len(twice)} such ids)")
    return np.array(by_id)[np.random.default_rng([seed, epoch]).permutation(len(ids))]


def micro_batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Cuts sequences into groups of like length, each of at most `tokens` positions with padding (or one sequence).

    Of all cuts of the sorted sequences it is the cheapest, when a group costs its padded positions and `OVERHEAD` more.
    """
    ascending = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    cost, cut = [0.0], [0]
    for end in range(1, len(ascending) + 1):
        longest = lengths[ascending[end - 1]]
        first = max(0, end - max(1, tokens // longest))
        best = min(range(first, end), key=lambda start: cost[start] + (end - start) * longest)
        cost.append(cost[best] + (end - best) * longest + OVERHEAD)
        cut.append(best)
    groups, end = [], len(ascending)
    while end:
        groups.append(ascending[cut[end] : end])
        end = cut[end]
    return groups[::-1]


def hide(
    utterance: Utterance,
    chances: tuple[np.random.Generator, np.random.Generator],
    shares: tuple[float, float],
) -> np.ndarray:
    """`[length]` bool: positions that read zeros in training, a share of the speech (in spans) and of the answer.

    Hidden speech has to be heard from what is around it; without some of the words before, the next one has to be heard
    rather than guessed.
    """
    hidden = np.zeros(utterance.length, bool)
    before = len(utterance.prompt.prefix)
    (for_speech, for_answer), (speech, answer) = chances, shares
    starts = for_speech.random(utterance.positions) < 1 - (1 - speech) ** (1 / SPAN)
    for offset in range(min(SPAN, utterance.positions)):
        hidden[before + offset : before + utterance.positions] |= starts[: utterance.positions - offset]
    hidden[utterance.answer_at :] = for_answer.random(utterance.length - utterance.answer_at) < answer
    return hidden
