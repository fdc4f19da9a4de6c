"""Fold batch norms into the convolutions before them, for use: one pass over the features less for each.

In evaluation mode a batch norm with running averages is one factor and one shift a channel, which the weights of the
convolution take in (Jacob et al., CVPR 2018, section 3.2). The result is the same up to rounding, not for training.
"""

from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from transmodal.networks.fbpconvnet import Cut
from transmodal.networks.layers import BATCH_NORM, CONVOLUTION, TRANSPOSED


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Fold, in place, each batch norm with running averages that directly follows a convolution; return the network.

    Batch norms that take the statistics of the image itself, and other norms, stay.

    Raises:
        ValueError: the network is in training mode.
    """
    if network.training:
        raise ValueError("batch norms can be folded in evaluation mode only")
    for parts in [layer for layer in network.modules() if isinstance(layer, nn.Sequential)]:
        for place in range(len(parts) - 1):
            norm = parts[place + 1]
            if not (isinstance(norm, tuple(BATCH_NORM.values())) and norm.track_running_stats):
                continue
            folded = _folded(parts[place], norm)
            if folded is not None:
                parts[place], parts[place + 1] = folded, nn.Identity()
    return network


def _folded(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    fuse: Any = fuse_conv_bn_eval
    if isinstance(layer, Cut):
        return Cut(fuse(layer.transposed, norm, transpose=True))
    if isinstance(layer, (*CONVOLUTION.values(), *TRANSPOSED.values())):
        fused: nn.Module = fuse(layer, norm, transpose=isinstance(layer, tuple(TRANSPOSED.values())))
        return fused
    return None
