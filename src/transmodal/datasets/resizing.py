"""Resize stacks of samples: by area where they shrink, smoothly where they grow, by the nearest pixel for labels."""

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt


def resize_stack(stack: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Resize (samples, channels, *spatial) so that pixel edges, not centres, stay where they are.

    Area averaging along the axes that shrink, then cubic interpolation (trilinear in three dimensions) along those
    that grow.
    """
    shape = tuple(shape)
    shrunk = tuple(min(new, old) for new, old in zip(shape, stack.shape[2:], strict=True))
    resize = _resize_pictures if len(shape) == 2 else _resize_volumes
    if shrunk != stack.shape[2:]:
        stack = resize(stack, shrunk, "area")
    if shape != shrunk:
        stack = resize(stack, shape, "smooth")
    return np.ascontiguousarray(stack)


def _resize_pictures(
    stack: npt.NDArray[np.float32], shape: tuple[int, ...], how: Literal["area", "smooth"]
) -> npt.NDArray[np.float32]:
    rows, columns = shape
    interpolation = cv2.INTER_AREA if how == "area" else cv2.INTER_CUBIC
    resized = np.empty((*stack.shape[:2], rows, columns), np.float32)
    for sample, channels in zip(resized, stack, strict=True):
        for plane, source in zip(sample, channels, strict=True):
            plane[...] = cv2.resize(np.ascontiguousarray(source), (columns, rows), interpolation=interpolation)
    return resized


def _resize_volumes(
    stack: npt.NDArray[np.float32], shape: tuple[int, ...], how: Literal["area", "smooth"]
) -> npt.NDArray[np.float32]:
    import torch
    from torch.nn import functional

    volumes = torch.from_numpy(np.ascontiguousarray(stack))
    if how == "area":
        return functional.interpolate(volumes, size=shape, mode="area").numpy()
    return functional.interpolate(volumes, size=shape, mode="trilinear", align_corners=False).numpy()


def nearest_stack(stack: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Resize (samples, channels, *spatial) by the pixel whose centre is nearest."""
    for axis, (new, old) in enumerate(zip(shape, stack.shape[2:], strict=True), 2):
        if new != old:
            stack = stack.take(((np.arange(new) + 0.5) * old / new).astype(np.intp), axis)
    return np.ascontiguousarray(stack)
