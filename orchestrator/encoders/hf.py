"""Hugging Face speech encoders, by short name, hub id or local folder: a checkpoint's model_type says of which family."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator import checkpoints
from orchestrator.encoders.checkpoint_encoder import PREPROCESSOR, PROCESSOR, CheckpointEncoder, Shape
from orchestrator.encoders.encoder import SAMPLE_RATE, Encoder, EncoderConfig, EncoderSpec
from orchestrator.encoders.w2v_bert import W2vBertEncoder
from orchestrator.encoders.wav2vec2 import Wav2Vec2Encoder
from orchestrator.encoders.wavlm import WavLMEncoder
from orchestrator.encoders.whisper import WhisperEncoder
from orchestrator.errors import UserError, suggest
from orchestrator.stage import runtime

if TYPE_CHECKING:
    from orchestrator.stage import Stage
    from orchestrator.store import Artifact

CHECKPOINTS = {
    "hubert-base": "facebook/hubert-base-ls960",
    "hubert-large": "facebook/hubert-large-ll60k",
    "wavlm-base-plus": "microsoft/wavlm-base-plus",
    "wavlm-large": "microsoft/wavlm-large",
    "wav2vec2-base": "facebook/wav2vec2-base",
    "wav2vec2-large": "facebook/wav2vec2-large-lv60",
    "xlsr-300m": "facebook/wav2vec2-xls-r-300m",  # 128 languages
    "mms-300m": "facebook/mms-300m",  # 1,400 languages
    "data2vec-base": "facebook/data2vec-audio-base",
    "data2vec-large": "facebook/data2vec-audio-large",
    "whisper-tiny": "openai/whisper-tiny",  # trained on transcripts, of whole windows of 30 s; its encoder alone
    "whisper-base": "openai/whisper-base",
    "whisper-small": "openai/whisper-small",
    "whisper-medium": "openai/whisper-medium",
    "whisper-large-v3": "openai/whisper-large-v3",
    "w2v-bert-2.0": "facebook/w2v-bert-2.0",  # 143 languages
}
"""Short names of well-known checkpoints."""

FAMILIES: dict[str, type[CheckpointEncoder]] = {
    "hubert": Wav2Vec2Encoder,
    "wav2vec2": Wav2Vec2Encoder,
    "data2vec-audio": Wav2Vec2Encoder,
    "wavlm": WavLMEncoder,
    "whisper": WhisperEncoder,
    "wav2vec2-bert": W2vBertEncoder,
}
"""What loads a checkpoint, by the model_type of its configuration."""

SETTINGS = (PREPROCESSOR, PROCESSOR)
"""Files beside the configuration that say how audio is prepared."""

SIZES = ("num_hidden_layers", "hidden_size", "encoder_layers", "d_model", "max_source_positions")
"""What a shape is read from, in the configurations of all families."""

Dtype = Literal["float32", "float16", "bfloat16"]


class HfConfig(EncoderConfig):
    """A HuBERT, WavLM, wav2vec 2.0, data2vec-audio, Whisper or w2v-BERT checkpoint: a short name, a hub id or a folder."""

    checkpoint: str
    revision: str | None = None
    dtype: Dtype = "float32"
    normalise: bool | None = None

    def spec(self, recordings: Stage, selection: Stage) -> HuggingFaceSpec:
        return resolve(self.checkpoint, self.revision, dtype=self.dtype, normalise=self.normalise)


@dataclass(frozen=True, kw_only=True)
class HuggingFaceSpec(EncoderSpec):
    """A checkpoint, by content.

    Attributes:
        checkpoint: a hub id or a folder: where it is, no part of what it is.
        content: its hub commit, or the hash of configuration, preprocessor and weights.
        normalise: each waveform (w2v-BERT: each mel bin of it) to zero mean and unit variance, as its preprocessor says.
        dtype: of weights and computation; half precision is for accelerators, and batches then differ in its last bits.
        shape: of its frames, read from its configuration.
    """

    version: int = field(default=2, init=False)  # 2: WavLM by fused attention

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

    @property
    def longest(self) -> int | None:
        return self.shape.longest

    def load(self, open: Callable[[Stage], Artifact], device: str = "cpu", deepest: int | None = None) -> Encoder:
        return self.load_from(checkpoints.with_weights(self.checkpoint, self.content, SETTINGS), device, deepest)

    def load_from(self, folder: Path, device: str = "cpu", deepest: int | None = None) -> CheckpointEncoder:
        """As `load`, out of a folder that is known to hold this checkpoint, or as many of its layers."""
        model_type = json.loads((folder / checkpoints.CONFIG).read_text("utf-8"))["model_type"]
        # One block at least: layer 0 is read at its entrance.
        blocks = max(self.layers if deepest is None else deepest, 1)
        return FAMILIES[model_type].load(self, folder, blocks, device)


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
    found = checkpoints.locate(checkpoint, revision, SETTINGS)
    config = found.json(checkpoints.CONFIG)
    # As transformers has it: where both files are there, that of the whole processor counts.
    preprocessor = found.json(PROCESSOR).get("feature_extractor") or found.json(PREPROCESSOR)
    model_type = config.get("model_type")
    family = FAMILIES.get(str(model_type))
    problems = []
    if family is None:
        problems.append(f"its model_type is {model_type!r}; {suggest(model_type, FAMILIES)}")
    else:
        problems += _not_counts(config) or family.problems(config, preprocessor)
    if preprocessor.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        problems.append(f"it wants {preprocessor['sampling_rate']} Hz; supported is {SAMPLE_RATE} Hz")
    normalises = (family or Wav2Vec2Encoder).normalises(preprocessor) if normalise is None else normalise
    if normalises is None:
        problems.append(
            f"no {PREPROCESSOR} says whether its waveforms are normalised: copy that file from the original "
            "checkpoint, or set normalise to true or false"
        )
    if family is None or problems:
        raise UserError(f"the checkpoint '{checkpoint}' can't be used as an encoder: {'; '.join(problems)}")
    return HuggingFaceSpec(
        checkpoint=checkpoint,
        content=found.content,
        normalise=bool(normalises),
        dtype=dtype,
        shape=family.shape(config),
    )


def _not_counts(config: dict[str, Any]) -> list[str]:
    """What its configuration says of its size that is no positive number."""
    sizes = {name: config[name] for name in SIZES if name in config}
    return [
        f"{name} of its {checkpoints.CONFIG} is {value!r}, expected a positive whole number"
        for name, value in sizes.items()
        if isinstance(value, bool) or not isinstance(value, int) or value < 1
    ]
