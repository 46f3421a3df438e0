"""Parallel: one training by several processes, each with a part of the weights and of every step (FSDP2).

What they compute is what one process computes, to the order of floating-point sums: the same utterances in every step,
the loss over the answer tokens of all of them, one norm of the gradient. So a training may go on with another number of
processes than it began with.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from orchestrator import device
from orchestrator.decoders.batches import micro_batches
from orchestrator.errors import StageError

if TYPE_CHECKING:
    from orchestrator.decoders.model import SpeechLM


class Parallel:
    """The processes of a training: here a single one, which does everything and keeps everything.

    Attributes:
        rank: which one of them this process is.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @staticmethod
    def here() -> Parallel:
        """The process group that whoever started this process has put it in, or this process alone."""
        group = torch.distributed
        is_alone = not (group.is_available() and group.is_initialized()) or group.get_world_size() == 1
        return Parallel() if is_alone else Sharded()

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def home(self) -> str:
        """The device on which a whole model waits for its training."""
        return device.available()

    def share(self, lengths: Sequence[int], tokens: int) -> list[tuple[list[int], float]]:
        """This process' micro-batches (indices into `lengths`), with the weight of each: 0 where it only keeps step.

        Every process gets the same number of them, since each takes part in every pass of the others.
        """
        return [(group, 1.0) for group in micro_batches(lengths, tokens)]

    def sum(self, *values: float) -> list[float]:
        """Sums each value over the processes, to the same bits in all of them."""
        return list(values)

    def agree(self, step: int) -> None:
        """Raises StageError unless all processes begin at the same step."""

    def wrap(self, model: SpeechLM) -> SpeechLM:
        """The model that is trained: this one, or one whose weights the processes share out among them."""
        return model

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor of the wrapped model, or as long as one of its weights, put together from its parts."""
        return tensor

    def part(self, tensor: Tensor) -> Tensor:
        """This process' part of such a tensor."""
        return tensor


class Sharded(Parallel):
    """Several processes of a `torch.distributed` group, with FSDP2 (Zhao et al. 2023, arXiv 2304.11277).

    Devices hold a part of everything that is as long as the trained weights, and whole weights a layer at a time. Every
    process has the whole model once in the machine's memory, the first one also what it writes into a checkpoint.
    """

    def __init__(self) -> None:
        from torch.distributed.device_mesh import init_device_mesh

        self.rank, self.size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self._mesh = init_device_mesh("cuda" if torch.distributed.get_backend() == "nccl" else "cpu", (self.size,))

    @property
    def home(self) -> str:
        return "cpu"  # it may not fit on the device of any of them

    def share(self, lengths: Sequence[int], tokens: int) -> list[tuple[list[int], float]]:
        return deal(lengths, tokens, self.size)[self.rank]

    def sum(self, *values: float) -> list[float]:
        mine = torch.tensor(values, dtype=torch.float64, device=self._mesh.device_type)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        torch.distributed.all_gather(everyone, mine)
        return torch.stack(everyone).sum(0).tolist()

    def agree(self, step: int) -> None:
        if (total := self.sum(step)[0]) != step * self.size:
            raise StageError(
                f"process {self.rank} of a training goes on at step {step}, the others at another one (all together "
                f"{total:.0f}). Expected a store on a file system that every node sees."
            )

    def wrap(self, model: SpeechLM) -> SpeechLM:
        from torch.distributed.fsdp import FSDPModule, fully_shard

        from orchestrator.decoders.front import AddedRows

        kinds = set(model.lm._no_split_modules or ())
        wrapped = copy.deepcopy(model)
        layers = [module for module in wrapped.lm.modules() if type(module).__name__ in kinds]
        if not layers:
            raise StageError(
                f"the decoder '{model.decoder.name}' ({type(model.lm).__name__}) doesn't say what its layers are, so it "
                "can't be trained on several GPUs: set gpus: 1"
            )
        groups: list[nn.Module] = [*layers, wrapped]
        # Its weights may be longer than the decoder's, which a group must not mix. Added rows belong to the output, too.
        if wrapped.front is not None and not isinstance(wrapped.front, AddedRows):
            groups.insert(0, wrapped.front)
        for group in groups:
            # The whole model as well: what is evaluated between two steps would keep its weights of then.
            fully_shard(group, mesh=self._mesh, reshard_after_forward=True)
        for module in wrapped.modules():
            if isinstance(module, FSDPModule):
                # A sum: the loss is divided already, by the answers of all.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        return wrapped

    def whole(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def part(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import Shard, distribute_tensor

        if not tensor.ndim:
            return tensor.to(self._mesh.device_type)
        return distribute_tensor(tensor, self._mesh, [Shard(0)], src_data_rank=None)


def deal(lengths: Sequence[int], tokens: int, size: int) -> list[list[tuple[list[int], float]]]:
    """What `Parallel.share` gives each of several processes."""
    # By length, to and fro, so that everyone has as many of each length.
    ranked = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    hands: list[list[int]] = [[] for _ in range(size)]
    for place, index in enumerate(ranked):
        row, column = divmod(place, size)
        hands[column if row % 2 == 0 else size - 1 - column].append(index)
    groups = [[[hand[i] for i in g] for g in micro_batches([lengths[i] for i in hand], tokens)] for hand in hands]
    most = max(map(len, groups))
    return [[(g, 1.0) for g in mine] + [([ranked[-1]], 0.0)] * (most - len(mine)) for mine in groups]
