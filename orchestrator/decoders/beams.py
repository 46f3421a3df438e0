"""Beams: answers that are better as a whole than the most probable token each time gives."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from orchestrator.decoders.batches import Utterance, collate
from orchestrator.decoders.model import SpeechLM


def texts(
    model: SpeechLM, utterances: list[Utterance], greedy: list[list[int]], beams: int, max_new_tokens: int
) -> list[list[int]]:
    """The best text of a beam search: the one with the highest mean log-probability of its tokens, its end included.

    A beam search may lose what greedy decoding finds, so that answer takes part as well: no answer is worse than it.

    Args:
        greedy: the answers of greedy decoding, as tokens.
        max_new_tokens: of an answer, its end included.
    """
    found = _search(model, utterances, beams, max_new_tokens)
    ours, theirs = (mean_log_probabilities(model, utterances, answers) for answers in (found, greedy))
    return [a if x >= y else b for a, b, x, y in zip(found, greedy, ours, theirs, strict=True)]


def _search(model: SpeechLM, utterances: list[Utterance], beams: int, max_new_tokens: int) -> list[list[int]]:
    from transformers import GenerationConfig

    batch = collate(utterances, model.speech, side="left").to(model.device)
    config = GenerationConfig(
        num_beams=beams,
        do_sample=False,
        max_new_tokens=max_new_tokens,
        length_penalty=1.0,  # the score is divided by the length: the mean over the tokens
        early_stopping=False,
        eos_token_id=model.text.end,
        pad_token_id=model.text.end,
    )

    def no_speech(_: Tensor, scores: Tensor) -> Tensor:
        """Rows for speech are no answers."""
        scores[:, model.vocabulary :] = -torch.inf
        return scores

    tokens = model.lm.generate(
        inputs_embeds=model.embed(batch),
        attention_mask=batch.real.long(),
        generation_config=config,
        logits_processor=[no_speech],
    )
    return [_to_end(row, model.text.end) for row in tokens.tolist()]


def _to_end(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def mean_log_probabilities(model: SpeechLM, utterances: list[Utterance], answers: list[list[int]]) -> list[float]:
    """Of each answer's tokens, in nats; the answer is read back token by token as in training."""
    answered = [
        replace(u, answer=np.array(tokens, np.int64), length=u.length + len(tokens) - 1)
        for u, tokens in zip(utterances, answers, strict=True)
    ]
    batch = collate(answered, model.speech).to(model.device)
    chosen = model(batch).float().log_softmax(-1).gather(1, batch.answers[:, None])[:, 0]
    return [part.mean().item() for part in chosen.split([len(tokens) for tokens in answers])]


def labels(
    model: SpeechLM, utterances: list[Utterance], sequences: Sequence[Sequence[int]], batch_tokens: int
) -> list[int]:
    """The most probable label of each utterance, as its place in `sequences`.

    Every label is scored by the probability of all its tokens, its end included, after one reading of the speech: exact,
    where a beam might drop a label because of its first token.

    Args:
        sequences: tokens of the labels, the end last.
        batch_tokens: most positions at once: memory and speed only.
    """
    batch = collate(utterances, model.speech, side="left").to(model.device)
    real = batch.real.long()
    positions = (real.cumsum(-1) - 1).clamp(min=0)
    read = model.lm(
        inputs_embeds=model.embed(batch),
        attention_mask=real,
        position_ids=positions,
        use_cache=True,
        logits_to_keep=1,
    )
    first = read.logits[:, -1].float().log_softmax(-1)
    longest = max(map(len, sequences))
    at_once = max(1, batch_tokens // (len(utterances) * (real.shape[1] + longest)))
    scores = []
    for start in range(0, len(sequences), at_once):
        part = sequences[start : start + at_once]
        tokens = torch.zeros(len(part), longest, dtype=torch.long)
        known = torch.zeros(len(part), longest)
        for row, sequence in enumerate(part):
            tokens[row, : len(sequence)], known[row, : len(sequence)] = torch.tensor(sequence), 1.0
        tokens, known = tokens.to(model.device), known.to(model.device)
        each = first[:, tokens[:, 0]]  # [utterances, labels]
        if longest > 1:
            each = each + _rest(model, read.past_key_values, real, positions, tokens, known)
        scores.append(each)
    return torch.cat(scores, 1).argmax(1).tolist()


def _rest(model: SpeechLM, cache: object, real: Tensor, positions: Tensor, tokens: Tensor, known: Tensor) -> Tensor:
    """Summed log-probabilities `[B, n]` of the tokens `[n, A]` of n labels after their first, for B utterances."""
    (labels, longest), utterances = tokens.shape, len(real)
    cache = copy.deepcopy(cache)
    cache.batch_repeat_interleave(labels)
    read = tokens[:, :-1].repeat(utterances, 1)  # the labels of the first utterance, those of the second, …
    after = positions[:, -1:] + torch.arange(1, longest, device=real.device)
    mask = torch.cat([real, real.new_ones(utterances, longest - 1)], 1)
    logits = model.lm(
        input_ids=read,
        attention_mask=mask.repeat_interleave(labels, 0),
        position_ids=after.repeat_interleave(labels, 0),
        past_key_values=cache,
        use_cache=True,
    ).logits
    following = tokens[:, 1:].repeat(utterances, 1)[..., None]
    chosen = logits.float().log_softmax(-1).gather(2, following)[..., 0]
    return (chosen * known[:, 1:].repeat(utterances, 1)).sum(1).view(utterances, labels)
