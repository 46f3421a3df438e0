"""SpeechLM: a causal LM with a front end for speech, from first weights to files and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from orchestrator.decoders.batches import Batch
from orchestrator.decoders.front import Adapter, AddedRows, grow
from orchestrator.decoders.hf import HfSpec
from orchestrator.decoders.spec import DecoderSpec, SpeechSpec, check_template, differences
from orchestrator.decoders.text import TOKENIZER, Text
from orchestrator.decoders.tiny import TinySpec
from orchestrator.errors import StageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODEL, WEIGHTS, CONFIG = "model.json", "weights.safetensors", "config.json"
SPECS: dict[str, type[DecoderSpec]] = {spec.kind: spec for spec in (TinySpec, HfSpec)}
"""Kinds of decoders, as the files of a model name them."""


class SpeechLM(nn.Module):
    """A causal LM that reads `<prompt> <speech> <prompt> <answer>` through `inputs_embeds`.

    What is trained of it is float32 and has `requires_grad`: everything, or with LoRA its updates and the front end.

    Attributes:
        lm: the causal LM; H is its hidden size, V its vocabulary.
        text: its tokenizer and prompts.
        speech: how speech enters.
        decoder: what it was made from.
        front: the table, the adapter, or None without speech and where speech is in the LM's own table.
        vocabulary: the first rows of the output, those that answers may be made of.
    """

    def __init__(self, lm: PreTrainedModel, text: Text, speech: SpeechSpec, decoder: DecoderSpec):
        from transformers import GenerationConfig

        super().__init__()
        decoder.check_speech(speech.kind)
        self.lm, self.text, self.speech, self.decoder = lm, text, speech, decoder
        # What a checkpoint advises for chatting is no part of decoding.
        lm.generation_config = GenerationConfig()
        self.vocabulary, hidden = lm.get_input_embeddings().weight.shape
        self.front: nn.Module | None = None
        if speech.kind == "discrete" and decoder.speech_tokens == "vocabulary":
            grow(lm, speech.tokens)
            if decoder.is_frozen:
                self.front = AddedRows(lm, self.vocabulary, speech.tokens)
        elif speech.kind == "discrete":
            self.front = nn.Embedding(speech.tokens, hidden)
        elif speech.kind != "none":
            self.front = Adapter(speech, hidden)
        self._keep_memory_low()

    @classmethod
    def create(
        cls,
        decoder: DecoderSpec,
        speech: SpeechSpec,
        templates: tuple[str, ...],
        targets: Sequence[str],
        seed: int,
        start: SpeechLM | None = None,
    ) -> SpeechLM:
        """A model with its first weights. The causal LM is the same for every kind of speech; so is the text.

        All front ends begin at the mean and the scale of the text embeddings, so that neither arm starts ahead.

        Args:
            templates, targets, seed: as `DecoderSpec.load` takes them.
            start: a trained model, of another task as a rule, that becomes this one: all its weights are kept, and its
                prompts are those of the templates.

        Raises:
            UserError: a template is wrong, or the decoder can't be loaded or can't read such speech.
            StageError: `start` is another decoder or reads other speech; says what differs.
        """
        if not templates:
            raise StageError("a task needs at least one prompt template")
        for template in templates:
            check_template(template)
        if start is not None:
            return start._go_on(decoder, speech, templates)
        lm, text = decoder.load(templates, targets, seed)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            model = cls(lm, text, speech, decoder)
            model._begin()
        return model

    def _begin(self) -> None:
        """First values of the front end, or of the rows for speech."""
        table = self.lm.get_input_embeddings().weight[: self.vocabulary].float()
        mean, std = table.mean(0), table.std(0)
        if isinstance(self.front, nn.Embedding):
            self.front.weight.copy_(mean + std * torch.randn(self.front.weight.shape))
        elif isinstance(self.front, Adapter):
            weight = self.front.linear.weight
            noise = torch.randn(weight.shape)
            weight.copy_(std[:, None] * noise / weight.shape[1] ** 0.5)
            self.front.linear.bias.copy_(mean)
        elif self._is_in_vocabulary:
            for layer, added in self._added():
                known = layer.weight[: self.vocabulary].float()
                added.copy_(known.mean(0) + known.std(0) * torch.randn(added.shape))

    def _added(self) -> list[tuple[nn.Module, Tensor]]:
        """The rows for speech of each table that has its own, with the layer that they belong to."""
        entrance, exit = self.lm.get_input_embeddings(), self.lm.get_output_embeddings()
        if isinstance(self.front, AddedRows):
            pairs = [(entrance, self.front.input), (exit, self.front.output)]
            return [(layer, rows) for layer, rows in pairs if rows is not None]
        layers = [entrance] if exit.weight is entrance.weight else [entrance, exit]
        return [(layer, layer.weight[self.vocabulary : self.vocabulary + self.speech.tokens]) for layer in layers]

    @property
    def _is_in_vocabulary(self) -> bool:
        return self.speech.kind == "discrete" and self.decoder.speech_tokens == "vocabulary"

    def _go_on(self, decoder: DecoderSpec, speech: SpeechSpec, templates: tuple[str, ...]) -> SpeechLM:
        for what, ours, wanted in (("decoder", self.decoder, decoder), ("speech", self.speech, speech)):
            if told := differences(ours, wanted):
                raise StageError(
                    f"a training can only start from one with the same decoder and the same speech; its {what} differs "
                    f"in {told}. Give both cells the same features and decoder."
                )
        self.text, self.decoder = decoder.prompted(self.text, templates), decoder
        self._keep_memory_low()
        return self

    def _keep_memory_low(self) -> None:
        if not self.decoder.gradient_checkpointing:
            return
        if not self.lm.supports_gradient_checkpointing:
            raise StageError(
                f"the decoder '{self.decoder.name}' ({type(self.lm).__name__}) can't compute its activations again: set "
                "gradient_checkpointing: false"
            )
        self.lm.activation_checkpointing_enable({"use_reentrant": False})

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm.device

    @property
    def longest(self) -> int:
        """How many positions the decoder has."""
        return getattr(self.lm.config, "max_position_embeddings", None) or 1 << 30

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that training changes, by name, tied ones once."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}

    @property
    def parameters_count(self) -> int:
        """How many weights the model has, tied ones once."""
        return sum(p.numel() for p in self.parameters())

    @property
    def layer_weights(self) -> list[float] | None:
        """The learned share of each of the encoder's layers, where several are summed."""
        if not isinstance(self.front, Adapter) or self.front.layers is None:
            return None
        return self.front.layers.softmax(0).tolist()

    def answer_length(self, target: str) -> int:
        """How many tokens an answer takes, its end included."""
        return len(self.text.encode([target])[0]) + 1

    def embed(self, batch: Batch) -> Tensor:
        """The inputs of the decoder `[B, L, H]`."""
        table = self.lm.get_input_embeddings()
        text = table(batch.text)
        rows = [text.new_zeros(1, text.shape[1]), text]
        if batch.speech is not None and len(batch.speech):
            speech = self.front(batch.speech) if self.front is not None else table(batch.speech + self.vocabulary)
            rows.append(speech.to(text.dtype))
        return torch.cat(rows).index_select(0, batch.rows.flatten()).view(*batch.rows.shape, -1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits `[a, V]` of the answer tokens alone; the batch is padded on the right.

        A causal decoder never looks at what follows, so padding on the right needs no mask, and without one the fast
        causal attention is exact.
        """
        # Hidden states of other positions don't reach the output layer: with large vocabularies it is most of the work.
        pick = self.lm.get_output_embeddings().register_forward_pre_hook(
            lambda _, inputs: (inputs[0].flatten(0, 1).index_select(0, batch.predict)[None],)
        )
        try:
            return self.lm(inputs_embeds=self.embed(batch), use_cache=False).logits[0]
        finally:
            pick.remove()


def save(model: SpeechLM, folder: Path) -> None:
    """Writes what was trained (safetensors), the tokenizer and the configurations (JSON) into a folder.

    A decoder whose own weights stayed as they were is not copied: the files name its checkpoint and its content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "decoder": {"kind": model.decoder.kind} | asdict(model.decoder),
        "speech": asdict(model.speech),
        "text": model.text.save(folder),
        "dtype": str(model.lm.dtype).removeprefix("torch."),
    }
    (folder / MODEL).write_text(json.dumps(values), "utf-8")
    if model.decoder.is_frozen:
        save_file({name: w.detach().contiguous() for name, w in model.trained.items()}, folder / WEIGHTS)
        return
    config = model.lm.config.to_dict() | {"vocab_size": model.vocabulary}  # before rows for speech were added
    (folder / CONFIG).write_text(json.dumps(config, default=str), "utf-8")
    save_model(model, str(folder / WEIGHTS))


def load(
    folder: Path,
    file: Callable[[str], Path] | None = None,
    device: str = "cpu",
    decoder: DecoderSpec | None = None,
    base: Path | None = None,
) -> SpeechLM:
    """Reads a model that `save` wrote.

    Args:
        folder: where it is.
        file: opens `<name of the folder>/<name of a file>`, e.g. by an artifact that verifies its files.
        device: where the weights go.
        decoder: that it should be; its checkpoint may have moved since the model was saved.
        base: a folder that is known to hold the checkpoint of frozen weights; by default it is looked for.

    Raises:
        StageError: it is another decoder, or its checkpoint is not there or no longer what it was.
    """

    def path(name: str) -> Path:
        return file(f"{folder.name}/{name}") if file else folder / name

    values = json.loads(path(MODEL).read_text("utf-8"))
    kind = values["decoder"].pop("kind")
    saved = TypeAdapter(SPECS[kind]).validate_python(values["decoder"])
    if decoder is not None and (told := differences(saved, decoder)):
        raise StageError(f"the model in {folder} was made from another decoder; it differs in {told}")
    decoder = decoder or saved
    text = Text.load(path(TOKENIZER), values["text"])
    speech = TypeAdapter(SpeechSpec).validate_python(values["speech"])
    # The first weights, overwritten at once, take nothing from the caller's chance.
    with torch.random.fork_rng(devices=[]):
        lm = decoder.base(base) if decoder.is_frozen else _empty(path(CONFIG), values["dtype"])
        model = SpeechLM(lm, text, speech, decoder)
    if decoder.is_frozen:
        _fill(model, load_file(path(WEIGHTS)), folder)
    else:
        load_model(model, str(path(WEIGHTS)))
    return model.to(device).eval()


def _empty(config: Path, dtype: str) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModelForCausalLM

    found = AutoConfig.from_pretrained(config.parent, trust_remote_code=False)
    return AutoModelForCausalLM.from_config(found, dtype=getattr(torch, dtype), trust_remote_code=False)


@torch.no_grad()
def _fill(model: SpeechLM, weights: dict[str, Tensor], folder: Path) -> None:
    trained = model.trained
    if odd := sorted(trained.keys() ^ weights.keys()):
        raise StageError(f"the weights in {folder} are not those of this decoder: {len(odd)} differ, such as {odd[0]}")
    for name, weight in weights.items():
        trained[name].copy_(weight)
