"""Models without weights: built on torch's meta device, to be counted or looked through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@contextmanager
def on_meta(config: PretrainedConfig) -> Iterator[None]:
    """What is built in this block has shapes and no values.

    Modules that are imported while it lasts would keep their own constants without values, too, for the rest of the
    process; so what may be needed is imported before.
    """
    import peft  # noqa: F401
    import torch
    import torchaudio.compliance.kaldi  # noqa: F401 (transformers' import of it is late)
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    with torch.device("meta"):
        yield
