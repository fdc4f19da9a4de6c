"""Whether arrays that a user's numbers ask for can be held at all: asked before they are made."""

import math

import psutil

from transmodal.errors import UserError

_FLOAT = 4  # bytes


def require_memory(shape: tuple[int, ...], what: str, remedy: str, *, copies: int = 1) -> None:
    """Refuse an array of float32 that is larger than the memory that is free.

    Args:
        shape: of the array.
        what: it is, for the message: "the image".
        remedy: what to do instead.
        copies: how many of them are held at once, at least.

    Raises:
        UserError: with what is wanted and what there is.
    """
    wanted = copies * _FLOAT * math.prod(shape)
    free = psutil.virtual_memory().available
    if wanted > free:
        numbers = "×".join(str(count) for count in shape)
        raise UserError(
            f"{what} would have {numbers} values and need {wanted / 2**30:.4g} GiB at least, {free / 2**30:.4g} GiB "
            f"are free: {remedy}"
        )
