"""Decoding: answers in batches, equal to those one by one; greedy, or the best of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from orchestrator.decoders import beams as search
from orchestrator.decoders.batches import Utterance, collate, micro_batches, prepare
from orchestrator.decoders.model import SpeechLM
from orchestrator.decoders.spec import Example
from orchestrator.errors import StageError


class Labels:
    """The tree of the labels' token sequences: which tokens may come next, so that an answer is always a label.

    Attributes:
        allowed: `[nodes, V]` bool, the tokens that may follow at each node.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], vocabulary: int, device: torch.device):
        children: list[dict[int, int]] = [{}]
        for sequence in sequences:
            node = 0
            for token in sequence:
                if token not in children[node]:
                    children.append({})
                    children[node][token] = len(children) - 1
                node = children[node][token]
        self._children = children
        self.allowed = torch.zeros(len(children), vocabulary, dtype=torch.bool)
        for node, following in enumerate(children):
            self.allowed[node, list(following)] = True
        self.allowed = self.allowed.to(device)

    def follow(self, nodes: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """The nodes after one more token each."""
        return [self._children[node][token] for node, token in zip(nodes, tokens, strict=True)]


@torch.inference_mode()
def answer(
    model: SpeechLM,
    examples: Sequence[Example],
    labels: Sequence[str] | None = None,
    max_new_tokens: int = 128,
    batch_tokens: int = 8192,
    beams: int = 1,
    begun: Callable[[list[int]], None] | None = None,
) -> list[str]:
    """The model's answers, in the order of the examples. The targets are not looked at.

    Args:
        labels: of a classification: an answer is always one of them. None: any text.
        max_new_tokens: of an answer, its end included; fewer where the decoder has no more positions.
        batch_tokens: most positions of a batch, padding and answers included: memory and speed only.
        beams: 1 takes the most probable token each time. More: the best text of a beam search (see `beams.texts`); of a
            classification always the most probable label, since a few labels can all be tried.
        begun: called once a batch, with the places of its examples, as soon as the first tokens of their answers are
            known; a search knows them at its end.

    Raises:
        StageError: speech that the decoder can't read, labels that have no room after it, or that it can't tell apart.
    """
    model.eval()
    utterances = prepare(examples, model.speech, model.text, model.longest, answered=False)
    tree, by_tokens = None, {}
    if labels is not None:
        by_tokens = _by_tokens(model, labels)
        tree = Labels(list(by_tokens), model.vocabulary, model.device)
        max_new_tokens = max(map(len, by_tokens))
    # The last token is predicted, never read.
    room = [model.longest - u.length + 1 for u in utterances]
    if labels is not None and (
        short := [e.id for e, free in zip(examples, room, strict=True) if free < max_new_tokens]
    ):
        raise StageError(
            f"the longest label takes {max_new_tokens} tokens, and after {len(short)} utterances, such as {short[0]}, the "
            f"decoder's {model.longest} positions have no room for it. Choose a decoder with more positions, or features "
            "that take fewer of them."
        )
    answers = [""] * len(examples)
    for group, steps in _groups(utterances, [min(max_new_tokens, free) for free in room], batch_tokens // beams):
        asked = [utterances[i] for i in group]
        tell = partial(begun, group) if begun else None
        if beams > 1 and labels is not None:
            sequences = list(by_tokens)
            tokens = [sequences[i] for i in search.labels(model, asked, sequences, batch_tokens)]
        else:
            tokens = _greedy(model, asked, tree, steps, tell if beams == 1 else None)
            if beams > 1 and steps:
                tokens = search.texts(model, asked, tokens, beams, steps)
        if tell and beams > 1:
            tell()
        for index, found in zip(group, tokens, strict=True):
            answers[index] = model.text.decode(found) if labels is None else by_tokens[tuple(found)]
    return answers


def _by_tokens(model: SpeechLM, labels: Sequence[str]) -> dict[tuple[int, ...], str]:
    """Each label by its tokens, the end last: a tokenizer that normalises would not give it back as it was written."""
    found: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, model.text.encode(labels), strict=True):
        other = found.setdefault((*ids, model.text.end), label)
        if other != label:
            raise StageError(
                f"the decoder's tokenizer makes the same tokens of the labels {other!r} and {label!r}, so that no answer "
                "can tell them apart. Expected labels that differ in more than their spelling: rename one."
            )
    return found


def _groups(utterances: list[Utterance], steps: list[int], batch_tokens: int) -> Iterator[tuple[list[int], int]]:
    """Batches, as places in the list, with the number of steps that all of a batch have."""
    for count in sorted(set(steps)):
        places = [i for i, own in enumerate(steps) if own == count]
        for group in micro_batches([utterances[i].length + count for i in places], max(1, batch_tokens)):
            yield [places[i] for i in group], count


def _greedy(
    model: SpeechLM,
    utterances: list[Utterance],
    tree: Labels | None,
    steps: int,
    begun: Callable[[], None] | None = None,
) -> list[list[int]]:
    """The tokens of each answer, its end among them where it came before so many steps."""
    tokens: list[list[int]] = [[] for _ in utterances]
    for step, (places, chosen) in enumerate(_steps(model, utterances, tree, steps)):
        if begun and step == 0:
            begun()
        for place, token in zip(places, chosen, strict=True):
            tokens[place].append(token)
    return tokens


def _steps(
    model: SpeechLM, utterances: list[Utterance], tree: Labels | None, steps: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Yields, step by step, the places in the batch that are not finished, with the token of each.

    Sequences are padded on the left and told their positions and what is real, so that every next token is in the last
    column. Finished ones leave the batch when they are half of it.
    """
    batch = collate(utterances, model.speech, side="left").to(model.device)
    inputs: dict[str, Tensor] = {"inputs_embeds": model.embed(batch)}
    real = batch.real.long()
    positions = (real.cumsum(-1) - 1).clamp(min=0)
    cache = None
    places = list(range(len(utterances)))
    nodes = [0] * len(places)
    done = [False] * len(places)
    for _ in range(steps):
        out = model.lm(
            **inputs,
            attention_mask=real,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, logits = out.past_key_values, out.logits[:, -1]
        logits = logits[:, : model.vocabulary]  # rows for speech are no answers
        if tree is not None:
            logits = logits.masked_fill(~tree.allowed[torch.tensor(nodes, device=logits.device)], -torch.inf)
        best = logits.argmax(-1)
        tokens = best.tolist()
        active = [i for i, finished in enumerate(done) if not finished]
        yield [places[i] for i in active], [tokens[i] for i in active]
        if tree is not None:
            for i, node in zip(
                active, tree.follow([nodes[i] for i in active], [tokens[i] for i in active]), strict=True
            ):
                nodes[i] = node
        done = [finished or token == model.text.end for finished, token in zip(done, tokens, strict=True)]
        if all(done):
            return
        real = torch.cat([real, real.new_ones(len(done), 1)], 1)
        positions = positions[:, -1:] + 1
        if 2 * sum(done) >= len(done):
            keep = [i for i, finished in enumerate(done) if not finished]
            chosen = torch.tensor(keep, device=real.device)
            cache.batch_select_indices(chosen)
            real, positions, best = real[chosen], positions[chosen], best[chosen]
            places, nodes, done = [places[i] for i in keep], [nodes[i] for i in keep], [False] * len(keep)
        inputs = {"input_ids": best[:, None]}
