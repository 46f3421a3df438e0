"""Decoding: answers in batches, equal to those one by one; greedy, or the best of a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from orchestrator.decoders import beams as search
from orchestrator.decoders.batches import Utterance, collate, micro_batches, prepare
from orchestrator.decoders.model import SpeechLM
from orchestrator.decoders.spec import Example


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
) -> list[str]:
    """The model's answers, in the order of the examples. The targets are not looked at.

    Args:
        labels: of a classification: an answer is always one of them. None: any text.
        max_new_tokens: of an answer, its end included.
        batch_tokens: most positions of a batch, padding and answers included: memory and speed only.
        beams: 1 takes the most probable token each time. More: the best text of a beam search (see `beams.texts`); of a
            classification always the most probable label, since a few labels can all be tried.
    """
    model.eval()
    utterances = prepare(examples, model.speech, model.text, model.longest, answered=False)
    tree, sequences = None, []
    if labels is not None:
        sequences = [[*ids, model.text.end] for ids in model.text.encode(labels)]
        tree = Labels(sequences, model.vocabulary, model.device)
        max_new_tokens = max(map(len, sequences))
    answers = [""] * len(examples)
    for group in micro_batches([u.length + max_new_tokens for u in utterances], max(1, batch_tokens // beams)):
        asked = [utterances[i] for i in group]
        if beams > 1 and labels is not None:
            tokens = [sequences[i] for i in search.labels(model, asked, sequences, batch_tokens)]
        else:
            tokens = _greedy(model, asked, tree, max_new_tokens)
            if beams > 1 and max_new_tokens:
                tokens = search.texts(model, asked, tokens, beams, max_new_tokens)
        for index, found in zip(group, tokens, strict=True):
            answers[index] = model.text.decode(found)
    return answers


def _greedy(model: SpeechLM, utterances: list[Utterance], tree: Labels | None, steps: int) -> list[list[int]]:
    """The tokens of each answer, its end among them where it came before so many steps."""
    tokens: list[list[int]] = [[] for _ in utterances]
    for places, chosen in _steps(model, utterances, tree, steps):
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
