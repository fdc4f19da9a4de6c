"""Several processes that train as one: what one learns, all must know, or they wait for each other for ever."""

from collections.abc import Callable

import torch
from lightning.fabric import Fabric

from transmodal.errors import UserError


def on_first(fabric: Fabric, action: Callable[[], object]) -> None:
    """Run an action in the first process while the others wait.

    Raises:
        UserError: the action raised it; the other processes end quietly with exit status 2.
    """
    message = None
    if fabric.is_global_zero:
        try:
            action()
        except UserError as error:
            message = str(error)
    if fabric.world_size > 1:
        message = fabric.broadcast(message)
    if message is not None:
        leave(fabric)
        if fabric.is_global_zero:
            raise UserError(message)
        raise SystemExit(2)


def leave(fabric: Fabric) -> None:
    """End the connection between the processes in step: one that is cut off aborts with noise."""
    if fabric.world_size > 1 and torch.distributed.is_initialized():
        fabric.barrier()
        torch.distributed.destroy_process_group()


def any_of(fabric: Fabric, flag: bool) -> bool:
    """Say whether a flag is set in any process."""
    if fabric.world_size == 1:
        return flag
    flags = torch.as_tensor(fabric.all_gather(torch.tensor(float(flag), device=fabric.device)))
    return bool(flags.any())
