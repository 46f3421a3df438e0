"""CheckpointEncoder: an encoder whose weights are a Hugging Face checkpoint. Each family of checkpoints fills one."""

from __future__ import annotations

import pickle  # for the name of its error alone: weights are read with weights_only
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from orchestrator import checkpoints
from orchestrator.encoders.encoder import Encoder
from orchestrator.errors import StageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from orchestrator.encoders.hf import HuggingFaceSpec

PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""Where a processor saved with its tokeniser keeps the same settings."""
NO_PREPROCESSOR = f"it has no {PREPROCESSOR}: copy that file from the original checkpoint"

UNUSED = ("masked_spec_embed",)
"""Weights that only training reads; a checkpoint may lack them."""


@dataclass(frozen=True)
class Shape:
    """What a checkpoint's configuration says about its frames.

    Attributes:
        layers: L, how many blocks it has.
        dimension: D of the frames.
        hop: samples from one frame to the next.
        window: samples that one frame needs.
        longest: samples that it takes at most; None where there is no limit.
    """

    layers: int
    dimension: int
    hop: int
    window: int
    longest: int | None = None


class CheckpointEncoder(Encoder):
    """A loaded checkpoint. Its model holds the first blocks only, where that was asked for.

    Args:
        spec: what it was loaded from.
        model: for inference, on its device.
        stack: the part of the model whose `layers` are its blocks.
    """

    spec: HuggingFaceSpec

    def __init__(self, spec: HuggingFaceSpec, model: nn.Module, stack: nn.Module):
        super().__init__(spec)
        self.model = model
        self.stack = stack

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks that are loaded."""
        return self.stack.layers

    @classmethod
    @abstractmethod
    def shape(cls, config: dict[str, Any]) -> Shape:
        """The shape of a checkpoint, from its config.json (importing the model would take seconds)."""

    @classmethod
    @abstractmethod
    def normalises(cls, preprocessor: dict[str, Any]) -> bool | None:
        """Whether its preprocessor normalises each utterance; None where that can't be known."""

    @classmethod
    def problems(cls, config: dict[str, Any], preprocessor: dict[str, Any]) -> list[str]:
        """Why a checkpoint of this family can't be used, if so."""
        return []

    @classmethod
    @abstractmethod
    def load(cls, spec: HuggingFaceSpec, folder: Path, blocks: int, device: str) -> Self:
        """Loads the first blocks (one at least) of the checkpoint in a folder.

        Raises:
            StageError: its files can't be read, or lack weights that these blocks need.
        """

    def check_loaded(self, layer: int) -> None:
        """Raises StageError unless the blocks below this layer are loaded."""
        if layer > len(self.blocks):
            raise StageError(f"'{self.spec.name}' was loaded up to layer {len(self.blocks)}, not {layer}")


def configuration(spec: HuggingFaceSpec, folder: Path) -> Any:
    """The configuration of a checkpoint, as transformers reads it. Raises StageError for one that it refuses."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, StrictDataclassError) as error:
        raise StageError(f"{checkpoints.CONFIG} of the checkpoint '{spec.checkpoint}' is not valid: {error}") from error


def pretrained(spec: HuggingFaceSpec, make: Any, folder: Path, config: Any, **options: Any) -> nn.Module:
    """A model with the weights of a folder, for inference.

    Args:
        make: a class of transformers with `from_pretrained`.
        config: of transformers, cut to the blocks that are needed.
        options: passed on to `from_pretrained`.

    Raises:
        StageError: the files can't be read, or lack weights that the configuration needs.
    """
    from safetensors import SafetensorError

    try:
        with checkpoints.quietly():
            model, report = make.from_pretrained(
                folder,
                config=config,
                dtype=spec.dtype,
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                ignore_mismatched_sizes=True,  # told below, by name
                **options,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        raise StageError(f"the checkpoint '{spec.checkpoint}' can't be loaded: {error}") from error
    mismatched = {name for name, *_ in report["mismatched_keys"]}
    missing = sorted(mismatched.union(report["missing_keys"]).difference(UNUSED))
    if missing:
        raise StageError(
            f"the checkpoint '{spec.checkpoint}' lacks {len(missing)} weights of its own configuration, or has them in "
            f"another size, such as {', '.join(missing[:3])}: it is not the encoder that its {checkpoints.CONFIG} describes. "
            "Copy it again."
        )
    return model.eval().requires_grad_(False)


@contextmanager
def reading(stack: nn.Module, layers: list[int]) -> Iterator[dict[int, Tensor]]:
    """Cuts a stack to the blocks that are needed and reads layers as it runs: layer → `[B, longest T, D]`.

    Layer 0 is the input to block 1, layer i the raw output of block i, before any last norm.

    Args:
        stack: the module whose `layers` are its blocks.
        layers: sorted.
    """
    found: dict[int, Tensor] = {}
    blocks = stack.layers

    def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
        found[0] = args[0]

    def leave(layer: int) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            found[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    hooks = [blocks[0].register_forward_pre_hook(enter)] if layers[0] == 0 else []
    hooks += [blocks[layer - 1].register_forward_hook(leave(layer)) for layer in layers if layer]
    stack.layers = blocks[: max(layers[-1], 1)]
    try:
        yield found
    finally:
        stack.layers = blocks
        for hook in hooks:
            hook.remove()


def rows(found: dict[int, Tensor], lengths: list[int]) -> list[dict[int, np.ndarray]]:
    """Layers of a padded batch → per utterance, layer → float32 `[T, D]`."""
    return [
        {layer: frames[row, :length].float().cpu().numpy() for layer, frames in found.items()}
        for row, length in enumerate(lengths)
    ]
