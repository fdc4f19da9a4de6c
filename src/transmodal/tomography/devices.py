"""Where tomography computes: the CPU, by compiled code, or a device of torch."""

from transmodal.errors import UserError


def require_device(name: str) -> None:
    """Refuse a device that torch cannot use here.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        UserError: there is no such device.
    """
    if name == "cpu":
        return
    import torch  # takes seconds, and the CPU does without

    kind, colon, number = name.partition(":")
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(kind, 0)
    if not (number.isascii() and number.isdecimal() if colon else count) or int(number or 0) >= count:
        raise UserError(f"there is no device {name!r} that torch can use here; leave it out, or say cpu")
