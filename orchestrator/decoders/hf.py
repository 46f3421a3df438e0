"""hf: any Hugging Face causal LM, by hub id or local folder; all of its weights are trained, or LoRA."""

from __future__ import annotations

import pickle  # for the name of its error alone: weights are read with weights_only
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from orchestrator import checkpoints
from orchestrator.decoders.lora import ALL, LoraSettings, add_lora, check_targets
from orchestrator.decoders.spec import PLACEHOLDER, DecoderConfig, DecoderSpec, Prompt, SpeechTokens
from orchestrator.errors import StageError, UserError
from orchestrator.stage import runtime

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from orchestrator.decoders.text import Text

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
VOCABULARIES = ("tokenizer.json", "vocab.json", "tokenizer.model")
"""Of these files, a tokenizer has at least one."""
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
        content: its hub commit and the hash of configuration and tokenizer, or the hash of those and its weights.
        dtype: of the decoder's own weights: float32 where all of them are trained, since a learning rate of 1e-5 is lost
            in bfloat16 ones (see the recipe's dtype for speed); what LoRA trains is float32 beside them.
        lora: what is trained of the decoder; None: all of its weights.
    """

    kind: ClassVar[str] = "hf"

    checkpoint: str = runtime()
    content: str
    dtype: Dtype = "float32"
    lora: LoraSettings | None = None

    @property
    def name(self) -> str:
        return Path(self.checkpoint).name

    @property
    def is_frozen(self) -> bool:
        return self.lora is not None

    def load(self, templates: tuple[str, ...], targets: Sequence[str], seed: int) -> tuple[PreTrainedModel, Text]:
        folder = self._folder()
        return self._lm(folder, seed), self._text(folder, templates)

    def base(self, folder: Path | None = None) -> PreTrainedModel:
        return self._lm(folder or self._folder(), seed=0)

    def save_base(self, folder: Path) -> None:
        """Writes the causal LM as it was before any training, so that `base` can read it there."""
        with checkpoints.quietly():
            replace(self, lora=None)._lm(self._folder(), seed=0).save_pretrained(folder)

    def prompted(self, text: Text, templates: tuple[str, ...]) -> Text:
        return self._text(self._folder(), templates)

    def _folder(self) -> Path:
        return checkpoints.with_weights(self.checkpoint, self.content, TOKENIZER_FILES)

    def _lm(self, folder: Path, seed: int) -> PreTrainedModel:
        import torch
        from transformers import AutoModelForCausalLM

        try:
            # The dtype is always said: by default it would be the checkpoint's.
            with checkpoints.quietly():
                lm, report = AutoModelForCausalLM.from_pretrained(
                    folder,
                    dtype=getattr(torch, self.dtype),
                    output_loading_info=True,
                    local_files_only=True,
                    trust_remote_code=False,
                    weights_only=True,
                )
        except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            raise StageError(f"the checkpoint '{self.checkpoint}' can't be loaded as a causal LM: {error}") from error
        if missing := sorted(report["missing_keys"]):
            raise StageError(
                f"the checkpoint '{self.checkpoint}' lacks {len(missing)} weights of a causal LM, such as "
                f"{', '.join(missing[:3])}. Expected a decoder with its output layer; copy it again or choose another."
            )
        if self.lora is not None:
            add_lora(lm, self.lora, seed, self.name)
        return lm

    def _tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            tokenizer.backend_tokenizer  # noqa: B018
        except (OSError, ValueError, AttributeError, ImportError) as error:
            raise StageError(
                f"the checkpoint '{self.checkpoint}' has no tokenizer that can be read ({error}). "
                f"Expected one of {', '.join(VOCABULARIES)} beside its weights."
            ) from error
        return tokenizer

    def _text(self, folder: Path, templates: tuple[str, ...]) -> Text:
        from tokenizers import Tokenizer

        from orchestrator.decoders.text import PromptTokens, Text

        tokenizer = self._tokenizer(folder)
        prompts = [_render(tokenizer, template) for template in templates]
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())

        def ids(text: str) -> tuple[int, ...]:
            return tuple(backend.encode(text, add_special_tokens=False).ids)

        tokens = tuple(PromptTokens(ids(prompt.prefix), ids(prompt.suffix)) for prompt in prompts)
        return Text(backend, tokens, backend.token_to_id(prompts[0].end))


class HfDecoderConfig(DecoderConfig):
    """A causal LM: a hub id or a local folder. `lora: {}` trains a low-rank update of it instead of all its weights."""

    kind: Literal["hf"] = "hf"
    checkpoint: str
    revision: str | None = None
    dtype: Dtype = "float32"
    lora: LoraSettings | None = None
    speech_tokens: SpeechTokens = "own"
    gradient_checkpointing: bool = False
    gpus: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _learns(self) -> HfDecoderConfig:
        if self.lora is None and self.dtype != "float32":
            raise ValueError(
                f"dtype: {self.dtype} without lora: all weights are trained, and small steps are lost in half precision: "
                "leave dtype float32 and set the recipe's dtype: bfloat16, or use lora"
            )
        return self

    def spec(self) -> HfSpec:
        """Weights in a folder are hashed; those on the hub are not downloaded yet, but known to be there."""
        if "/" not in self.checkpoint and not Path(self.checkpoint).expanduser().is_dir():
            raise UserError(
                f"'{self.checkpoint}' is no folder and no hub id. Expected a folder or `owner/name`, such as "
                "Qwen/Qwen1.5-0.5B. The decoders of `tokengrid ls decoders` need no definition: name them in the grid."
            )
        found = checkpoints.locate(self.checkpoint, self.revision, TOKENIZER_FILES)
        kinds: list[Any] = found.json(checkpoints.CONFIG).get("architectures") or []
        if kinds and not any(str(kind).endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
            raise UserError(
                f"the checkpoint '{self.checkpoint}' is a {', '.join(map(str, kinds))}; a decoder is a causal LM"
            )
        if not any(name in found.files for name in VOCABULARIES):
            raise UserError(
                f"the checkpoint '{self.checkpoint}' has no tokenizer. Expected one of {', '.join(VOCABULARIES)} beside "
                "its weights: copy it again, whole."
            )
        if self.lora is not None and self.lora.targets != ALL:
            check_targets(_skeleton(found), self.lora, Path(self.checkpoint).name)
        return self.of_content(found.content)

    def of_content(self, content: str) -> HfSpec:
        """The spec for a checkpoint of that content, which is not looked for."""
        settings = {name: getattr(self, name) for name in type(self).model_fields if name not in ("kind", "revision")}
        return HfSpec(content=content, **settings)


def _skeleton(checkpoint: checkpoints.Checkpoint) -> PreTrainedModel:
    """The layers of a checkpoint without their weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from orchestrator.decoders.skeleton import on_meta

    try:
        config = AutoConfig.from_pretrained(
            checkpoint.files[checkpoints.CONFIG].parent, local_files_only=True, trust_remote_code=False
        )
        with on_meta(config):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"the checkpoint '{checkpoint.name}' can't be read as a causal LM: {error}") from error


def _render(tokenizer: PreTrainedTokenizerBase, template: str) -> Prompt:
    """The prompt, through the chat template where there is one; else as it stands, with the answer on the next line."""
    if tokenizer.chat_template is None:
        if tokenizer.eos_token is None:
            raise StageError("the tokenizer has neither a chat template nor an end-of-text token to end answers with")
        # Tokenizers that begin every text with a token do so here.
        begins = tokenizer.bos_token_id is not None and tokenizer("x").input_ids[0] == tokenizer.bos_token_id
        before, after = template.split(PLACEHOLDER)
        return Prompt((tokenizer.bos_token if begins else "") + before, f"{after}\n", tokenizer.eos_token)
    question: list[dict[str, str]] = [{"role": "user", "content": template.replace(PLACEHOLDER, SPEECH)}]
    asked = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True, **RENDERING)
    answered = tokenizer.apply_chat_template(
        [*question, {"role": "assistant", "content": ANSWER}], tokenize=False, **RENDERING
    )
    if asked.count(SPEECH) != 1 or answered.count(ANSWER) != 1:
        raise StageError("the chat template of the tokenizer doesn't render a question and its answer once each")
    prefix, suffix = asked.split(SPEECH)
    closing = tokenizer.encode(answered.split(ANSWER)[1], add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    end = tokenizer.convert_ids_to_tokens(closing[0]) if closing and closing[0] in special else tokenizer.eos_token
    if end is None:
        raise StageError("neither the chat template nor the tokenizer has a token that ends an answer")
    return Prompt(prefix, suffix, end)
