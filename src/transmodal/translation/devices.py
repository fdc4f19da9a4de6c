"""Where a network works: a device by name, or the best that is there."""

import torch

from transmodal.errors import UserError


def choose_device(name: str) -> str:
    """Return the device that a name stands for.

    Args:
        name: "auto" takes CUDA's first device where PyTorch can use one, else the CPU; Apple's GPU ("mps") is taken
            only when named. "cuda:1" names one of several.

    Raises:
        UserError: there is no such device, or PyTorch cannot use it here.
    """
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if name == "auto":
        return "cuda" if there["cuda"] else "cpu"
    kind, colon, number = name.partition(":")
    known = not colon or (number.isdecimal() and number.isascii() and int(number) < there.get(kind, 0))
    if not (there.get(kind, 0) and known):
        usable = [device if count == 1 else f"{device}:0 to {device}:{count - 1}" for device, count in there.items()
                  if count]  # fmt: skip
        raise UserError(f"There is no device {name!r} that torch can use here; it can use {', '.join(usable)}")
    return name
