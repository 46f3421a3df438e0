"""Memory: how many bytes a training takes on its device, told from configurations alone.

What stays there is counted weight by weight, on the model as it is made on torch's meta device. What one micro-batch adds
is found by running it, with the decoder's own code, on fake tensors, which have sizes and no values: the most bytes that
are alive at once. That is done with a few layers; one more layer adds the same bytes again, since every layer is alike.

No weight is read and nothing is computed, so a decoder of eight billion weights takes seconds on a laptop.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from orchestrator.decoders.batches import Batch
from orchestrator.decoders.footprint import Memory, MicroBatch
from orchestrator.decoders.hf import HfSpec
from orchestrator.decoders.lora import add_lora
from orchestrator.decoders.model import SpeechLM
from orchestrator.decoders.skeleton import on_meta
from orchestrator.decoders.spec import DecoderSpec, Recipe, SpeechSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig

FEW = (2, 3)
"""With how many layers a micro-batch is run. The first and the last layer may differ: a decoder with one has both in it."""


def training_memory(
    config: PretrainedConfig, decoder: DecoderSpec, speech: SpeechSpec, recipe: Recipe, load: MicroBatch
) -> Memory:
    """What a training takes at its peak, in the backward pass of a step after the first look at dev.

    - Weights as `SpeechLM` has them: in the decoder's dtype, what LoRA trains and the front end in float32.
    - Gradients and both moments of AdamW (arXiv 1711.05101) for what is trained, in its own dtype. AdamW is fused and
      needs no more.
    - The best weights so far, and their moving average where the recipe keeps one.
    - A micro-batch: its layers' activations (with gradient checkpointing each layer's input), the copies of the weights
      in the recipe's dtype among them; and what doesn't grow with the layers: the front end, and the logits of the
      answers in the recipe's dtype and float32, with their gradients, or one layer computed again.

    A look at dev takes less: no gradients are there then, and no activations are kept. Loading takes no more than the
    weights: they come one by one.

    Args:
        config: of the decoder's causal LM, as `published.configuration` finds it.
    """
    model = _model(config, decoder, speech)
    trained = list(model.trained.values())
    weights = sum(map(_size, model.parameters())) + sum(map(_size, model.buffers()))
    each = sum(map(_size, trained))
    layers, rest = _passing(config, decoder, speech, recipe, load)
    kept = {"weights": weights, "gradients": each, "moments of AdamW": 2 * each, "best weights": each}
    if recipe.averaging:
        kept["averaged weights"] = each
    if load.is_alone:
        # The gradients grow while the activations go: the peak is at one of the two ends.
        kept["gradients"] = max(0, each - layers - rest)
    return Memory(
        kept=kept,
        passing={"activations of the layers": layers, "logits and front end": rest},
        parameters=model.parameters_count,
        trained=sum(w.numel() for w in trained),
    )


def _model(config: PretrainedConfig, decoder: DecoderSpec, speech: SpeechSpec, layers: int | None = None) -> SpeechLM:
    """The model on the meta device, with fewer layers where that is asked for."""
    from transformers import AutoModelForCausalLM

    if layers is not None:
        config = copy.deepcopy(config)
        config.num_hidden_layers = layers
        if kinds := getattr(config, "layer_types", None):
            config.layer_types = (list(kinds) * layers)[:layers]
    dtype, lora = torch.float32, None
    if isinstance(decoder, HfSpec):
        dtype, lora = getattr(torch, decoder.dtype), decoder.lora
    with on_meta(config):
        lm = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
        if lora is not None:
            add_lora(lm, lora, seed=0, name=decoder.name)
        return SpeechLM(lm, None, speech, decoder)


def _onto_fake_processor(model: SpeechLM) -> None:
    """Moves a model from the meta device, which autocast doesn't know, to the processor that the fake mode makes up."""
    moved: dict[Tensor, Tensor] = {}  # tied weights stay tied
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if tensor not in moved:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype)
                    is_weight = isinstance(tensor, nn.Parameter)
                    moved[tensor] = nn.Parameter(fake, tensor.requires_grad) if is_weight else fake
                tensors[name] = moved[tensor]


def _passing(
    config: PretrainedConfig, decoder: DecoderSpec, speech: SpeechSpec, recipe: Recipe, load: MicroBatch
) -> tuple[int, int]:
    """What a micro-batch adds at its peak: bytes of all the layers, and of the rest."""
    (fewer, _), (more, last) = (peaks(config, decoder, speech, recipe, load, layers) for layers in FEW)
    layer = (more - fewer) // (FEW[1] - FEW[0])
    layers = layer * config.num_hidden_layers
    return layers, max(fewer - layer * FEW[0], last - layers)


def peaks(
    config: PretrainedConfig, decoder: DecoderSpec, speech: SpeechSpec, recipe: Recipe, load: MicroBatch, layers: int
) -> tuple[int, int]:
    """The most bytes at once that a micro-batch adds to weights and gradients, with so many layers.

    Returns:
        Until the gradient has come through the layers (each of them adds as much), and after that (they add nothing).
    """
    model = _model(config, decoder, speech, layers).train()
    with FakeTensorMode():
        _onto_fake_processor(model)
        for weight in model.trained.values():
            weight.grad = torch.empty_like(weight)
        known = [*model.parameters(), *model.buffers(), *(w.grad for w in model.trained.values())]
        with _Ledger(known) as ledger:
            _when_through(model, ledger.turn)
            batch = _batch(load, speech)
            # As a training does it (training.py); on a processor's tensors, whose kernels keep what a GPU's do.
            with nullcontext() if recipe.dtype == "float32" else torch.autocast("cpu", torch.bfloat16):
                logits = model(batch)
            loss = F.cross_entropy(
                logits.float(), batch.answers, reduction="sum", label_smoothing=recipe.label_smoothing
            )
            (loss / len(batch.answers)).backward()
    first, *last = ledger.peaks
    return first, max(last, default=0)


def _when_through(model: SpeechLM, action: Callable[[], None]) -> None:
    """Calls an action when the gradient of the decoder's inputs is there."""
    embed = model.embed

    def embedded(batch: Batch) -> Tensor:
        rows = embed(batch)
        if rows.requires_grad:
            rows.register_hook(lambda _: action())
        return rows

    model.embed = embedded


def _batch(load: MicroBatch, speech: SpeechSpec) -> Batch:
    positions, spoken = load.sequences * load.length, load.sequences * load.speech
    answers = torch.zeros(load.sequences * load.answers, dtype=torch.long)
    given = None
    if speech.kind == "discrete":
        given = torch.zeros(spoken, dtype=torch.long)
    elif speech.kind != "none":
        given = torch.zeros(spoken * speech.concatenate, speech.width)
    return Batch(
        text=torch.zeros(positions - spoken, dtype=torch.long),
        speech=given,
        rows=torch.zeros(load.sequences, load.length, dtype=torch.long),
        real=torch.zeros(load.sequences, load.length, dtype=torch.bool),
        predict=torch.zeros_like(answers),
        answers=answers,
    )


class _Ledger(TorchDispatchMode):
    """Counts the bytes of all tensors that are made under it, from when each is made until nothing needs it.

    Attributes:
        peaks: the most bytes that were alive at once, between one turn and the next.
    """

    def __init__(self, known: list[Tensor]):
        super().__init__()
        self.peaks, self._now = [0], 0
        self._alive = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def turn(self) -> None:
        """From now on another peak counts."""
        self.peaks.append(self._now)

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._alive:
            return
        self._alive.add(storage._cdata)
        self._now += storage.nbytes()
        self.peaks[-1] = max(self.peaks[-1], self._now)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, place: int, size: int) -> None:
        self._alive.discard(place)
        self._now -= size


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
