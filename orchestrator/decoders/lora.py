"""LoRA: low-rank updates of frozen matrices (Hu et al. 2021, arXiv 2106.09685), through peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from orchestrator.errors import UserError, suggest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALL: Literal["all-linear"] = "all-linear"


@checked_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class LoraSettings:
    """Which matrices are updated, and by how much.

    Attributes:
        rank: of an update.
        alpha: an update is scaled by alpha / rank.
        dropout: of its input, in training.
        targets: names of the linear layers, as their last part (`q_proj`) or more of it (`self_attn.q_proj`); `all-linear`:
            every one but the output layer.
    """

    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = ALL


def add_lora(lm: PreTrainedModel, settings: LoraSettings, seed: int, name: str) -> None:
    """Freezes a causal LM and puts LoRA into it, in place. What is trained is float32, whatever the LM's own dtype.

    Args:
        seed: of the first updates, which change nothing yet.
        name: of the decoder, for errors.

    Raises:
        UserError: a target names no linear layer; says which ones there are.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    check_targets(lm, settings, name)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=ALL if settings.targets == ALL else list(settings.targets),
        # GPT-2's layers keep their matrices the other way round.
        fan_in_fan_out=any(isinstance(m, Conv1D) for m in lm.modules()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, lm)
    for weight in lm.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def check_targets(lm: PreTrainedModel, settings: LoraSettings, name: str) -> None:
    """Raises UserError where a target names no linear layer of a causal LM, with or without weights."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if settings.targets == ALL:
        return
    head = lm.get_output_embeddings()
    linear = [n for n, m in lm.named_modules() if isinstance(m, (nn.Linear, Conv1D)) and m is not head]
    if missed := [target for target in settings.targets if not any(_names(target, layer) for layer in linear)]:
        there = {layer.rpartition(".")[2] for layer in linear}
        raise UserError(
            f"the LoRA target{'s' if len(missed) > 1 else ''} {', '.join(map(repr, missed))} of the decoder '{name}' "
            f"match no linear layer; {suggest(missed[0], there)}, or {ALL}"
        )


def _names(target: str, layer: str) -> bool:
    return layer == target or layer.endswith(f".{target}")
