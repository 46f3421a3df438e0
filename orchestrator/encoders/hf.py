"""Hugging Face speech encoders: any HuBERT, WavLM, wav2vec 2.0 or data2vec-audio checkpoint, by hub id or local folder.

Batched frames equal those of an utterance alone. Convolutions are what breaks that: a group norm takes its statistics
over the padding, and stacked positional convolutions carry padding into real frames. So every convolution runs per
utterance, and the transformer, with a mask, per batch.
"""

from __future__ import annotations

import pickle  # for the name of its error alone: weights are read with weights_only
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from orchestrator import checkpoints
from orchestrator.encoders.encoder import SAMPLE_RATE, Encoder, EncoderConfig, EncoderSpec
from orchestrator.errors import StageError, UserError, suggest
from orchestrator.stage import runtime

if TYPE_CHECKING:
    from torch import Tensor, nn

    from orchestrator.stage import Stage
    from orchestrator.store import Artifact

CHECKPOINTS = {
    "hubert-base": "facebook/hubert-base-ls960",
    "hubert-large": "facebook/hubert-large-ll60k",
    "wavlm-base-plus": "microsoft/wavlm-base-plus",
    "wavlm-large": "microsoft/wavlm-large",
    "wav2vec2-base": "facebook/wav2vec2-base",
    "wav2vec2-large": "facebook/wav2vec2-large-lv60",
    "data2vec-base": "facebook/data2vec-audio-base",
    "data2vec-large": "facebook/data2vec-audio-large",
}
"""Short names of well-known checkpoints."""

MODEL_TYPES = ("hubert", "wavlm", "wav2vec2", "data2vec-audio")
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""Where a processor saved with its tokeniser keeps the same settings."""
UNUSED = ("masked_spec_embed",)
"""Weights that only training reads; a checkpoint may lack them."""

Dtype = Literal["float32", "float16", "bfloat16"]


class HfConfig(EncoderConfig):
    """A HuBERT, WavLM, wav2vec 2.0 or data2vec-audio checkpoint: a short name, a hub id or a local folder."""

    checkpoint: str
    revision: str | None = None
    dtype: Dtype = "float32"
    normalise: bool | None = None

    def spec(self, recordings: Stage, selection: Stage) -> HuggingFaceSpec:
        return resolve(self.checkpoint, self.revision, dtype=self.dtype, normalise=self.normalise)


@dataclass(frozen=True)
class Shape:
    """What a checkpoint's configuration says about its frames."""

    layers: int
    dimension: int
    hop: int
    window: int


@dataclass(frozen=True, kw_only=True)
class HuggingFaceSpec(EncoderSpec):
    """A checkpoint, by content.

    Attributes:
        checkpoint: a hub id or a folder: where it is, no part of what it is.
        content: its hub commit, or the hash of configuration, preprocessor and weights.
        normalise: each waveform to zero mean and unit variance, as its preprocessor says.
        dtype: of weights and computation; half precision is for accelerators, and batches then differ in its last bits.
        shape: of its frames, read from its configuration.
    """

    checkpoint: str = runtime()
    content: str
    normalise: bool
    dtype: Dtype = "float32"
    shape: Shape

    @property
    def name(self) -> str:
        return Path(self.checkpoint).name

    @property
    def layers(self) -> int:
        return self.shape.layers

    @property
    def dimension(self) -> int:
        return self.shape.dimension

    @property
    def frame_rate(self) -> float:
        return SAMPLE_RATE / self.shape.hop

    @property
    def shortest(self) -> int:
        return self.shape.window

    def load(self, open: Callable[[Stage], Artifact], device: str = "cpu", deepest: int | None = None) -> Encoder:
        folder = checkpoints.with_weights(self.checkpoint, self.content, (PREPROCESSOR, PROCESSOR))
        # One block at least: layer 0 is read at its entrance.
        kept = max(self.layers if deepest is None else deepest, 1)
        return HuggingFaceEncoder(self, _model(self, folder, kept).to(device))


class HuggingFaceEncoder(Encoder):
    """A loaded checkpoint. Its model holds the first blocks only, where that was asked for."""

    spec: HuggingFaceSpec

    def __init__(self, spec: HuggingFaceSpec, model: nn.Module):
        super().__init__(spec)
        self.model = model
        self.blocks = model.encoder.layers

    def _frames(self, waves: list[np.ndarray], layers: list[int]) -> list[dict[int, np.ndarray]]:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        if layers[-1] > len(self.blocks):
            raise StageError(f"'{self.spec.name}' was loaded up to layer {len(self.blocks)}, not {layers[-1]}")
        convolved = [self._convolved(wave) for wave in waves]
        lengths = [len(one) for one in convolved]
        x = pad_sequence(convolved, batch_first=True)
        mask = torch.arange(x.shape[1], device=x.device) < torch.tensor(lengths, device=x.device)[:, None]
        with self._reading(layers, lengths) as found, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*mismatched key_padding_mask and attn_mask")  # WavLM's own
            # The mask must be boolean: the encoder inverts it bit by bit.
            self.model.encoder(x, attention_mask=mask)
        for layer in layers:
            if found[layer].shape[:2] != x.shape[:2]:
                raise StageError(
                    f"layer {layer} of '{self.spec.name}' has frames {tuple(found[layer].shape[:2])} "
                    f"where its convolutions gave {tuple(x.shape[:2])} (utterances, frames)"
                )
        return [
            {layer: found[layer][row, :length].float().cpu().numpy() for layer in layers}
            for row, length in enumerate(lengths)
        ]

    def _convolved(self, wave: np.ndarray) -> Tensor:
        """One waveform through the convolutions and the projection: `[T, hidden size]`."""
        import torch

        wave = np.ascontiguousarray(wave, np.float32)
        if self.spec.normalise:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        x = torch.from_numpy(wave)[None].to(self.model.device, self.model.dtype)
        x = self.model.feature_projection(self.model.feature_extractor(x).transpose(1, 2))
        return (x[0] if isinstance(x, tuple) else x)[0]

    @contextmanager
    def _reading(self, layers: list[int], lengths: list[int]) -> Iterator[dict[int, Tensor]]:
        """Cuts the encoder to the blocks that are needed and reads layers as it runs: layer → `[B, longest T, D]`.

        Layer 0 is the input to block 1, layer i the raw output of block i, before any last norm.
        """
        found: dict[int, Tensor] = {}
        encoder = self.model.encoder

        def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
            found[0] = args[0]

        def leave(layer: int) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                found[layer] = output[0] if isinstance(output, tuple) else output

            return hook

        convolution = encoder.pos_conv_embed
        padded_forward = convolution.forward

        def each_alone(x: Tensor) -> Tensor:
            alone = x.new_zeros(x.shape)
            for row, length in enumerate(lengths):
                alone[row, :length] = padded_forward(x[row : row + 1, :length])[0]
            return alone

        encoder.layers = self.blocks[: max(layers[-1], 1)]
        convolution.forward = each_alone
        hooks = [self.blocks[0].register_forward_pre_hook(enter)] if layers[0] == 0 else []
        hooks += [self.blocks[layer - 1].register_forward_hook(leave(layer)) for layer in layers if layer]
        try:
            yield found
        finally:
            encoder.layers = self.blocks
            del convolution.forward
            for hook in hooks:
                hook.remove()


def resolve(
    checkpoint: str, revision: str | None = None, *, dtype: Dtype = "float32", normalise: bool | None = None
) -> HuggingFaceSpec:
    """The spec of a checkpoint, from its configuration; weights in a folder are hashed, on the hub not yet downloaded.

    Args:
        checkpoint: a short name of `CHECKPOINTS`, a hub id or a local folder.
        revision: of the hub.
        dtype: to compute in.
        normalise: each waveform; None does as the checkpoint's preprocessor says.

    Raises:
        UserError: it is not there, or is not a speech encoder of a supported kind; all problems at once.
    """
    if "/" not in checkpoint and not Path(checkpoint).expanduser().is_dir():
        if checkpoint not in CHECKPOINTS:
            raise UserError(
                f"'{checkpoint}' is no folder and no hub id, and no checkpoint has that short name; "
                f"{suggest(checkpoint, CHECKPOINTS)}"
            )
        checkpoint = CHECKPOINTS[checkpoint]
    found = checkpoints.locate(checkpoint, revision, (PREPROCESSOR, PROCESSOR))
    config = found.json(checkpoints.CONFIG)
    preprocessor = found.json(PREPROCESSOR) or found.json(PROCESSOR).get("feature_extractor", {})
    problems = []
    if config.get("model_type") not in MODEL_TYPES:
        problems.append(
            f"its model_type is {config.get('model_type')!r}; {suggest(config.get('model_type'), MODEL_TYPES)}"
        )
    if preprocessor.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        problems.append(f"it wants {preprocessor['sampling_rate']} Hz; supported is {SAMPLE_RATE} Hz")
    if normalise is None and "do_normalize" not in preprocessor:
        problems.append(
            f"no {PREPROCESSOR} says whether its waveforms are normalised: copy that file from the original "
            "checkpoint, or set normalise to true or false"
        )
    if problems:
        raise UserError(f"the checkpoint '{checkpoint}' can't be used as an encoder: {'; '.join(problems)}")
    return HuggingFaceSpec(
        checkpoint=checkpoint,
        content=found.content,
        normalise=bool(preprocessor["do_normalize"] if normalise is None else normalise),
        dtype=dtype,
        shape=_shape(config),
    )


def _shape(config: dict[str, Any]) -> Shape:
    # Read as JSON, since importing the models takes seconds. A key that a checkpoint leaves out has the default of all.
    kernels = config.get("conv_kernel", (10, 3, 3, 3, 3, 2, 2))
    strides = config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2))
    return Shape(
        layers=config.get("num_hidden_layers", 12),
        dimension=config.get("hidden_size", 768),
        hop=prod(strides),
        window=1 + sum((kernel - 1) * prod(strides[:depth]) for depth, kernel in enumerate(kernels)),
    )


def _model(spec: HuggingFaceSpec, folder: Path, blocks: int) -> nn.Module:
    """The first blocks of a checkpoint, for inference.

    Raises:
        StageError: its files can't be read, or lack weights that these blocks need.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    config.num_hidden_layers = blocks
    config.add_adapter = False
    try:
        with _quietly():
            model, report = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=spec.dtype,
                output_loading_info=True,
                local_files_only=True,
                weights_only=True,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        raise StageError(f"the checkpoint '{spec.checkpoint}' can't be loaded: {error}") from error
    missing = sorted(key for key in report["missing_keys"] if key not in UNUSED)
    if missing:
        raise StageError(
            f"the checkpoint '{spec.checkpoint}' lacks {len(missing)} weights of its own configuration, "
            f"such as {', '.join(missing[:3])}: it is not the encoder that its {checkpoints.CONFIG} describes. "
            "Copy it again."
        )
    return model.eval().requires_grad_(False)


@contextmanager
def _quietly() -> Iterator[None]:
    """No bars while weights load, and no list of the blocks that are left out."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
