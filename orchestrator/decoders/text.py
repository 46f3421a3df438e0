"""The decoder's text: a tokenizer and the prompt around the speech, frozen as token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Text:
    """What turns answers into tokens and back, and the fixed tokens of the prompt.

    Attributes:
        tokenizer: of the decoder.
        prefix: tokens before the speech (the instruction).
        suffix: tokens between speech and answer.
        end: the token that ends an answer. No answer's text encodes to it.
    """

    tokenizer: Tokenizer
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    end: int

    def __post_init__(self) -> None:
        # An answer may contain the text of a special token; it stays text.
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

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
        return {"prefix": self.prefix, "suffix": self.suffix, "end": self.end}

    @classmethod
    def load(cls, file: Path, values: dict[str, Any]) -> Text:
        """Reads what `save` wrote."""
        return cls(Tokenizer.from_file(str(file)), tuple(values["prefix"]), tuple(values["suffix"]), values["end"])


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
    return Text(tokenizer, prefix=(size,), suffix=(size + 1,), end=size + 2)
