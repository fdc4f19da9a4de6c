"""What methods of one network share: it is called `generator`, and its weights lie channels last."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transmodal.methods.method import Batch, Method, Ports

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class OneNetwork(Method):
    """A method that trains one network, and uses the same one.

    Args:
        generator: from all inputs, joined along the channels, to whatever the method makes of it.
        ports: what goes in and what comes out.
    """

    translation_modules = ("generator",)

    def __init__(self, generator: nn.Module, ports: Ports) -> None:
        super().__init__()
        self.ports, self.generator = ports, generator
        self._lay_channels_last()

    @property
    def keeps_inputs(self) -> bool:
        return getattr(self.generator, "add_input", None) is not None

    def trained_modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights, as nn.Module does; assigned ones are laid out anew, which a third of fp32's speed hangs on."""
        missing_and_unexpected = super().load_state_dict(state_dict, strict, assign)
        self._lay_channels_last()
        return missing_and_unexpected

    def _lay_channels_last(self) -> None:
        self.generator.to(memory_format=CHANNELS_LAST[self.ports.spatial_dims])  # type: ignore[call-overload]

    def generate(self, batch: Batch) -> Tensor:
        """Return what the network makes of a batch: (N, its channels, *spatial)."""
        source = self.ports.join_inputs(batch)
        made: Tensor = self.generator(source.contiguous(memory_format=CHANNELS_LAST[self.ports.spatial_dims]))
        return made
