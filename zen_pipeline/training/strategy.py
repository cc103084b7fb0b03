"""Sharded training under Lightning: FSDP2 on every layer, and checkpoints that do not know of it."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.optim import Optimizer
from typing_extensions import override

from zen_pipeline.training.token_shards import cut_like, gathered

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from zen_pipeline.models.base import FamilyModel


def shard(model: FamilyModel, mesh: DeviceMesh) -> None:
    """Leave in each process its rows of every parameter; layers are put together when they are run, one by one.

    Gradients are summed over the processes, not averaged, since the loss is that of the whole step. The sum is asked
    for by name: gloo takes FSDP2's own mean for a sum without a word (pytorch issue 162338).
    """
    for module in (*model.parts(), model):
        sharded: FSDPModule = fully_shard(module, mesh=mesh)
        sharded.set_force_sum_reduction_for_comms(True)
        sharded.set_gradient_divide_factor(1.0)
    for method in ("hidden_states", "logits"):  # training calls these, not `forward`
        register_fsdp_forward_method(model, method)


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's strategy for FSDP2, with checkpoints as one process writes them.

    Lightning would have each process write its part into a folder, or rank 0 a file with other keys for the optimizer.
    Here the state is made whole, rank 0 hands it to the same `CheckpointIO` as without sharding, and each process takes
    its rows of what it reads. So a run may go on with another number of processes, sharded or not.

    Args:
        processes: that share the parameters.
    """

    def __init__(self, processes: int) -> None:
        super().__init__(data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    @override
    def lightning_restore_optimizer(self) -> bool:
        return True

    @override
    def lightning_module_state_dict(self) -> dict[str, Any]:
        state = self.lightning_module.state_dict(keep_vars=True)  # the same object under each name of a tied weight
        return gathered(state, keep=self.is_global_zero)

    @override
    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer._optimizer
        return gathered(optimizer.state_dict(), keep=self.is_global_zero)

    @override
    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        loaded: dict[str, Any] = self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)
        return loaded

    @override
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        own = self.lightning_module.state_dict()
        state = {name: cut_like(v, own[name]) if name in own else v for name, v in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(state, strict=strict)

    @override
    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        states = zip(self.optimizers, checkpoint["optimizer_states"], strict=True)
        cut = [_cut_state(optimizer, state) for optimizer, state in states]
        super(ModelParallelStrategy, self).load_optimizer_state_dict({"optimizer_states": cut})


def _cut_state(optimizer: Optimizer, whole: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's state of whole tensors, cut as its parameters are; counters stay."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        number: {n: cut_like(v, parameters[number]) if v.ndim else v for n, v in values.items()}
        for number, values in whole["state"].items()
    }
    return {**whole, "state": state}
