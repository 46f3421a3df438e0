"""SpeechLM: a causal LM with a front end for speech, from first weights to files and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from orchestrator.decoders.batches import Batch
from orchestrator.decoders.spec import DecoderSpec, SpeechSpec
from orchestrator.decoders.text import TOKENIZER, Text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODEL, WEIGHTS, CONFIG = "model.json", "weights.safetensors", "config.json"


class Adapter(nn.Module):
    """Frames, normalised per dimension, n neighbours concatenated, through one linear layer."""

    def __init__(self, speech: SpeechSpec, hidden: int):
        super().__init__()
        self.n, dimension = speech.concatenate, speech.dimension
        mean = torch.tensor(speech.mean or [0.0] * dimension)
        std = torch.tensor(speech.std or [1.0] * dimension)
        # They are part of the spec, so they need no place among the weights.
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", 1 / torch.where(std > 1e-8, std, 1.0), persistent=False)
        self.linear = nn.Linear(self.n * dimension, hidden)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames `[S · n, D]` to rows `[S, H]`."""
        x = (frames - self.mean) * self.scale
        return self.linear(x.view(-1, self.n * x.shape[-1]).to(self.linear.weight.dtype))


class SpeechLM(nn.Module):
    """A causal LM that reads `<instruction> <speech> <answer>` through `inputs_embeds`.

    Speech has rows of its own, from a table or an adapter, and is never part of the output vocabulary.

    Attributes:
        lm: the causal LM; H is its hidden size, V its vocabulary.
        text: its tokenizer and prompt.
        speech: how speech enters.
        front: the table, the adapter, or None without speech.
    """

    def __init__(self, lm: PreTrainedModel, text: Text, speech: SpeechSpec):
        super().__init__()
        self.lm, self.text, self.speech = lm, text, speech
        hidden = lm.get_input_embeddings().weight.shape[1]
        self.front: nn.Module | None = None
        if speech.kind == "discrete":
            self.front = nn.Embedding(speech.tokens, hidden)
        elif speech.kind != "none":
            self.front = Adapter(speech, hidden)

    @classmethod
    def create(
        cls, decoder: DecoderSpec, speech: SpeechSpec, instruction: str, targets: Sequence[str], seed: int
    ) -> SpeechLM:
        """A model with its first weights. The causal LM is the same for every kind of speech; so is the text.

        Both front ends begin at the mean and the scale of the text embeddings, so that neither arm starts ahead.
        """
        lm, text = decoder.load(instruction, targets, seed)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            model = cls(lm, text, speech)
            table = lm.get_input_embeddings().weight.float()
            mean, std = table.mean(0), table.std(0)
            if isinstance(model.front, nn.Embedding):
                shape = model.front.weight.shape
                model.front.weight.copy_(mean + std * torch.randn(shape))
            elif isinstance(model.front, Adapter):
                weight = model.front.linear.weight
                noise = torch.randn(weight.shape)
                weight.copy_(std[:, None] * noise / weight.shape[1] ** 0.5)
                model.front.linear.bias.copy_(mean)
        return model.to(lm.dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm.device

    @property
    def longest(self) -> int:
        """How many positions the decoder has."""
        return getattr(self.lm.config, "max_position_embeddings", None) or 1 << 30

    @property
    def parameters_count(self) -> int:
        """How many weights the model has, tied ones once."""
        return sum(p.numel() for p in self.parameters())

    def answer_length(self, target: str) -> int:
        """How many tokens an answer takes, its end included."""
        return len(self.text.encode([target])[0]) + 1

    def embed(self, batch: Batch) -> Tensor:
        """The inputs of the decoder `[B, L, H]`."""
        text = self.lm.get_input_embeddings()(batch.text)
        rows = [text.new_zeros(1, text.shape[1]), text]
        if self.front is not None and batch.speech is not None and len(batch.speech):
            rows.append(self.front(batch.speech).to(text.dtype))
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
    """Writes all weights (safetensors), the tokenizer and the configurations (JSON) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.lm.config.to_json_file(str(folder / CONFIG), use_diff=False)
    values = {
        "speech": asdict(model.speech),
        "text": model.text.save(folder),
        "dtype": str(model.lm.dtype).removeprefix("torch."),
    }
    (folder / MODEL).write_text(json.dumps(values), "utf-8")
    save_model(model, str(folder / WEIGHTS))


def load(folder: Path, file: Callable[[str], Path] | None = None, device: str = "cpu") -> SpeechLM:
    """Reads a model that `save` wrote.

    Args:
        folder: where it is.
        file: opens `<name of the folder>/<name of a file>`, e.g. by an artifact that verifies its files.
        device: where the weights go.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    paths = {
        name: file(f"{folder.name}/{name}") if file else folder / name for name in (MODEL, WEIGHTS, CONFIG, TOKENIZER)
    }
    values = json.loads(paths[MODEL].read_text("utf-8"))
    dtype = getattr(torch, values["dtype"])
    with torch.random.fork_rng(
        devices=[]
    ):  # the first weights, overwritten at once, take nothing from the caller's chance
        lm = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(paths[CONFIG].parent), dtype=dtype)
    model = SpeechLM(lm, Text.load(paths[TOKENIZER], values["text"]), SpeechSpec(**values["speech"])).to(dtype)
    load_model(model, str(paths[WEIGHTS]))
    return model.to(device).eval()
