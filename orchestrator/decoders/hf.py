"""hf: any Hugging Face causal LM, by hub id or local folder, all of its weights trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator import checkpoints
from orchestrator.decoders.spec import DecoderConfig, DecoderSpec, Prompt
from orchestrator.errors import StageError, UserError, suggest
from orchestrator.stage import runtime

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from orchestrator.decoders.text import Text

CHECKPOINTS = {
    "qwen1.5-0.5b": "Qwen/Qwen1.5-0.5B",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "qwen2.5-1.5b": "Qwen/Qwen2.5-1.5B",
    "llama3.1-8b": "meta-llama/Llama-3.1-8B",
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M",
}
"""Short names of well-known checkpoints."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
SPEECH, ANSWER = "[[speech]]", "[[answer]]"
"""Where speech and answer go while a chat template is rendered."""
RENDERING = {"date_string": "26 Jul 2024", "enable_thinking": False}
"""Templates that print today's date would give another prompt every day; those that make the model think, no answer."""

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class HfSpec(DecoderSpec):
    """A checkpoint, by content.

    Attributes:
        checkpoint: a hub id or a folder: where it is, no part of what it is.
        content: its hub commit, or the hash of configuration, tokenizer and weights.
        dtype: of the weights. A learning rate of 1e-5 is lost in bfloat16 weights: for speed, see the recipe's dtype.
    """

    checkpoint: str = runtime()
    content: str
    dtype: Dtype = "float32"

    @property
    def name(self) -> str:
        return Path(self.checkpoint).name

    def load(self, instruction: str, targets: Sequence[str], seed: int) -> tuple[PreTrainedModel, Text]:
        folder = checkpoints.with_weights(self.checkpoint, self.content, TOKENIZER_FILES)
        return self._lm(folder), self._text(folder, instruction)

    def prompt(self, instruction: str) -> Prompt:
        """The prompt of an instruction as this decoder reads it."""
        return _render(
            self._tokenizer(checkpoints.with_weights(self.checkpoint, self.content, TOKENIZER_FILES)), instruction
        )

    def _lm(self, folder: Path) -> PreTrainedModel:
        import torch
        from transformers import AutoModelForCausalLM

        try:
            # The dtype is always said: by default it would be the checkpoint's.
            lm, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, self.dtype),
                output_loading_info=True,
                local_files_only=True,
                weights_only=True,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise StageError(f"the checkpoint '{self.checkpoint}' can't be loaded as a causal LM: {error}") from error
        if missing := sorted(report["missing_keys"]):
            raise StageError(
                f"the checkpoint '{self.checkpoint}' lacks {len(missing)} weights of a causal LM, such as "
                f"{', '.join(missing[:3])}. Expected a decoder with its output layer; copy it again or choose another."
            )
        return lm

    def _tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            tokenizer.backend_tokenizer  # noqa: B018
        except (OSError, ValueError, AttributeError, ImportError) as error:
            raise StageError(
                f"the checkpoint '{self.checkpoint}' has no tokenizer that can be read ({error}). "
                f"Expected one of {', '.join(TOKENIZER_FILES[:1] + TOKENIZER_FILES[4:7])} beside its weights."
            ) from error
        return tokenizer

    def _text(self, folder: Path, instruction: str) -> Text:
        from tokenizers import Tokenizer

        from orchestrator.decoders.text import Text

        tokenizer = self._tokenizer(folder)
        prompt = _render(tokenizer, instruction)
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())

        def ids(text: str) -> tuple[int, ...]:
            return tuple(backend.encode(text, add_special_tokens=False).ids)

        return Text(backend, ids(prompt.prefix), ids(prompt.suffix), backend.token_to_id(prompt.end))


class HfDecoderConfig(DecoderConfig):
    """A causal LM: a short name, a hub id or a local folder."""

    kind: Literal["hf"] = "hf"
    checkpoint: str
    revision: str | None = None
    dtype: Dtype = "float32"

    def spec(self) -> HfSpec:
        return resolve(self.checkpoint, self.revision, dtype=self.dtype)


def resolve(checkpoint: str, revision: str | None = None, *, dtype: Dtype = "float32") -> HfSpec:
    """The spec of a checkpoint, from its configuration; weights in a folder are hashed, on the hub not yet downloaded.

    Args:
        checkpoint: a short name of `CHECKPOINTS`, a hub id or a local folder.
        revision: of the hub.
        dtype: of the weights.

    Raises:
        UserError: it is not there, or says itself that it is no causal LM.
    """
    if "/" not in checkpoint and not Path(checkpoint).expanduser().is_dir():
        if checkpoint.lower() not in CHECKPOINTS:
            raise UserError(
                f"'{checkpoint}' is no folder and no hub id, and no decoder has that short name; "
                f"{suggest(checkpoint, CHECKPOINTS)}"
            )
        checkpoint = CHECKPOINTS[checkpoint.lower()]
    found = checkpoints.locate(checkpoint, revision, TOKENIZER_FILES)
    kinds: list[Any] = found.json(checkpoints.CONFIG).get("architectures") or []
    if kinds and not any(str(kind).endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        raise UserError(f"the checkpoint '{checkpoint}' is a {', '.join(map(str, kinds))}; a decoder is a causal LM")
    return HfSpec(checkpoint=checkpoint, content=found.content, dtype=dtype)


def _render(tokenizer: PreTrainedTokenizerBase, instruction: str) -> Prompt:
    """The prompt, through the chat template where there is one; else the instruction, a line of speech, the answer."""
    if tokenizer.chat_template is None:
        if tokenizer.eos_token is None:
            raise StageError("the tokenizer has neither a chat template nor an end-of-text token to end answers with")
        # Tokenizers that begin every text with a token do so here.
        begins = tokenizer.bos_token_id is not None and tokenizer("x").input_ids[0] == tokenizer.bos_token_id
        return Prompt((tokenizer.bos_token if begins else "") + f"{instruction}\n", "\n", tokenizer.eos_token)
    question: list[dict[str, str]] = [{"role": "user", "content": f"{instruction}\n{SPEECH}"}]
    asked = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True, **RENDERING)
    answered = tokenizer.apply_chat_template(
        [*question, {"role": "assistant", "content": ANSWER}], tokenize=False, **RENDERING
    )
    if asked.count(SPEECH) != 1 or answered.count(ANSWER) != 1:
        raise StageError("the chat template of the tokenizer doesn't render a question and its answer once each")
    prefix, suffix = asked.split(SPEECH)
    after = tokenizer.encode(answered.split(ANSWER)[1], add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    end = tokenizer.convert_ids_to_tokens(after[0]) if after and after[0] in special else tokenizer.eos_token
    if end is None:
        raise StageError("neither the chat template nor the tokenizer has a token that ends an answer")
    return Prompt(prefix, suffix, end)
