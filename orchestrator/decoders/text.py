"""The decoder's text: a tokenizer and the prompt around the speech, frozen as token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class PromptTokens:
    """The fixed tokens around the speech: those before it, and those between it and the answer."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


@dataclass(frozen=True)
class Text:
    """What turns answers into tokens and back, and the fixed tokens of the prompts.

    Attributes:
        tokenizer: of the decoder.
        prompts: paraphrases of the task, the first of them the one that dev and test are asked with.
        end: the token that ends an answer. No answer's text encodes to it.
    """

    tokenizer: Tokenizer
    prompts: tuple[PromptTokens, ...]
    end: int

    def __post_init__(self) -> None:
        # An answer may contain the text of a special token; it stays text.
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def prompt(self, utterance: str, seed: int | None) -> PromptTokens:
        """The prompt of an utterance: the first without a seed, else one that its id and the seed decide."""
        if seed is None or len(self.prompts) == 1:
            return self.prompts[0]
        digest = hashlib.sha256(f"{seed} {utterance}".encode()).digest()
        return self.prompts[int.from_bytes(digest[:8], "big") % len(self.prompts)]

    def encode(self, answers: Sequence[str]) -> list[list[int]]:
        """The tokens of each answer, the end not among them."""
        return [e.ids for e in self.tokenizer.encode_batch_fast(list(answers), add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens, up to the end."""
        tokens = list(tokens)
        return self.tokenizer.decode(tokens[: tokens.index(self.end)] if self.end in tokens else tokens)

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the tokenizer; returns the rest as plain values."""
        self.tokenizer.save(str(folder / TOKENIZER))
        return {"prompts": [(p.prefix, p.suffix) for p in self.prompts], "end": self.end}

    @classmethod
    def load(cls, file: Path, values: dict[str, Any]) -> Text:
        """Reads what `save` wrote."""
        prompts = tuple(PromptTokens(tuple(prefix), tuple(suffix)) for prefix, suffix in values["prompts"])
        return cls(Tokenizer.from_file(str(file)), prompts, values["end"])


def train_text(targets: Iterable[str], vocabulary: int) -> Text:
    """Text of a decoder from scratch: byte-level BPE on the training targets, lossless for any Unicode.

    A word is one piece with the blank before it, so frequent words and labels become single tokens. Three rows beyond
    the vocabulary, to which no text encodes, stand for the instruction, for the place where the answer begins, and for
    its end: a decoder from scratch knows one task only and can't read yet, so its instruction costs one position.

    Args:
        targets: answers of the training split.
        vocabulary: most entries, the 256 bytes included.
    """
    tokenizer = Tokenizer(models.BPE())
    # Every word has its blank, the first one too; the decoder takes that one away again.
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" ?[^ ]+| +"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=max(vocabulary, 256), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(sorted(targets), trainer)
    size = tokenizer.get_vocab_size()
    return Text(tokenizer, (PromptTokens((size,), (size + 1,)),), end=size + 2)
