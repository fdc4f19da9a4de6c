"""Predict large images piece by piece: overlapping windows that are blended, and slices in batches.

The windows of a volume begin at evenly spaced places and are blended with the Gaussian weights of nnU-Net (Isensee et
al., Nature Methods 18:203, 2021): a standard deviation of an eighth of the window. The weights are products of one
factor an axis, divided by their sum over the windows beforehand, so that they add up to 1 in every voxel and neither a
count of visits nor a division at the end is needed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product
from math import ceil, prod

import torch
from torch import Tensor
from torch.nn import functional

from transmodal.translation.options import Blend

Predict = Callable[[Tensor], Mapping[str, Tensor]]
"""(N, C, *window) → target → (N, C', *window)."""

SHARE_OF_WINDOW = 1 / 8  # standard deviation of the Gaussian


def sliding_window(
    predict: Predict,
    volume: Tensor,
    *,
    window: Sequence[int],
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    batch: int = 1,
    device: torch.device | str | None = None,
    on_window: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Predict a volume or a picture in overlapping windows.

    Args:
        predict: what goes through the network; the spatial shape of what comes out is that of the window.
        volume: (C, *spatial), two or three spatial axes. Axes shorter than the window are padded by reflection (by
            the edge where they are too short for that) and cut again.
        window: spatial shape of a window.
        overlap: share of a window that neighbours have in common, at least; 0 ≤ overlap < 1.
        blend: gaussian trusts the middle of windows more, mean averages over the windows that hold a voxel.
        batch: windows that go through the network together.
        device: where windows are brought before `predict`; None leaves them where the volume lies.
        on_window: called with (windows done, windows in all) after each batch.

    Returns:
        Target → (C', *spatial) float32 where the volume lies; in the order of `predict`. The same for the same input.

    Raises:
        ValueError: a window of other dimensions, or an overlap out of range.
    """
    spatial = tuple(volume.shape[1:])
    window = tuple(window)
    if len(window) != len(spatial) or min(window) < 1 or min(spatial) < 1:
        raise ValueError(f"a window of {window} does not fit a volume of {spatial}")
    padded, inner = pad_to_window(volume, window)
    axes = [
        _blended_starts(size, side, overlap, blend, volume.device)
        for size, side in zip(padded.shape[1:], window, strict=True)
    ]
    places = list(product(*(range(len(starts)) for starts, _ in axes)))
    sums: dict[str, Tensor] = {}
    done = 0
    for group in _groups(places, batch):
        boxes = [
            tuple(
                slice(axes[axis][0][number], axes[axis][0][number] + window[axis]) for axis, number in enumerate(place)
            )
            for place in group
        ]
        pieces = torch.stack([padded[(slice(None), *box)] for box in boxes])
        for name, outputs in predict(pieces if device is None else pieces.to(device)).items():
            if tuple(outputs.shape[2:]) != window:
                raise ValueError(f"{name} came out of {window} as {tuple(outputs.shape[2:])}; windows must keep size")
            if name not in sums:
                sums[name] = volume.new_zeros((outputs.shape[1], *padded.shape[1:]), dtype=torch.float32)
            for place, box, output in zip(group, boxes, outputs, strict=True):
                weighted = output.to(volume.device, torch.float32, copy=True)
                for axis, number in enumerate(place):
                    weighted *= _along(axes[axis][1][number], axis, len(window))
                sums[name][(slice(None), *box)] += weighted
        done += len(group)
        if on_window is not None:
            on_window(done, len(places))
    return {name: total[(slice(None), *inner)] for name, total in sums.items()}


def slices_in_batches(
    predict: Predict,
    stack: Tensor,
    batch: int,
    *,
    neighbours: int = 0,
    device: torch.device | str | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Predict the slices of a stack, several at a time.

    Args:
        predict: (N, (2k + 1)·C, H, W) → target → (N, C', H, W).
        stack: (S, C, H, W).
        batch: slices that go through the network together.
        neighbours: k, slices on each side that a slice brings along its channels, from below to above (2.5-D); past
            the ends the outermost slice is repeated.
        device: where slices are brought before `predict`; None leaves them where the stack lies.
        on_batch: called with (slices done, slices in all) after each batch.

    Returns:
        Target → (S, C', H, W) float32 where the stack lies.
    """
    count = len(stack)
    reach = torch.arange(-neighbours, neighbours + 1, device=stack.device)
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, count, batch):
        numbers = torch.arange(start, min(start + batch, count), device=stack.device)
        around = (numbers[:, None] + reach).clamp(0, count - 1)  # (N, 2k + 1)
        pieces = stack[around].flatten(1, 2)  # (N, 2k + 1, C, H, W) → (N, (2k + 1)·C, H, W)
        for name, outputs in predict(pieces if device is None else pieces.to(device)).items():
            parts.setdefault(name, []).append(outputs.to(stack.device, torch.float32))
        if on_batch is not None:
            on_batch(int(numbers[-1]) + 1, count)
    return {name: torch.cat(slices) for name, slices in parts.items()}


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Return where windows begin along one axis: the fewest with that overlap, evenly spaced, first and last flush.

    Raises:
        ValueError: the overlap is not in [0, 1).
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"an overlap of {overlap:g} is no share of a window; give one from 0 to below 1")
    if size <= window:
        return [0]
    gaps = ceil((size - window) / max(1, int(window * (1 - overlap))))
    return [round(number * (size - window) / gaps) for number in range(gaps + 1)]


def window_count(spatial: Sequence[int], window: Sequence[int], overlap: float) -> int:
    """Return how many windows a volume of this spatial shape takes."""
    return prod(len(window_starts(size, side, overlap)) for size, side in zip(spatial, window, strict=True))


def pad_to_window(volume: Tensor, window: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """Enlarge the axes that are shorter than the window, evenly on both sides.

    Args:
        volume: (C, *spatial).
        window: spatial.

    Returns:
        The volume, itself where nothing is short, and where the original lies in it: one slice a spatial axis.
    """
    inner = []
    for axis, (size, side) in enumerate(zip(volume.shape[1:], window, strict=True), 1):
        missing = max(0, side - size)
        before, after = missing // 2, missing - missing // 2
        inner.append(slice(before, before + size))
        if missing:
            mode = "reflect" if after < size else "replicate"
            flat = volume.movedim(axis, -1)
            rows = functional.pad(flat.reshape(1, -1, size), (before, after), mode=mode)
            volume = rows.reshape(*flat.shape[:-1], side).movedim(-1, axis)
    return volume, tuple(inner)


def _blended_starts(
    size: int, window: int, overlap: float, blend: Blend, device: torch.device
) -> tuple[list[int], list[Tensor]]:
    """Return the starts along one axis and the weights of each window, (window,), which add up to 1 everywhere."""
    starts = window_starts(size, window, overlap)
    weights = torch.ones(window, dtype=torch.float64)
    if blend == "gaussian":
        middle = (window - 1) / 2
        offsets = (torch.arange(window, dtype=torch.float64) - middle) / (window * SHARE_OF_WINDOW)
        weights = torch.exp(-0.5 * offsets**2)  # e⁻⁸ at the outermost: small, never 0
    total = torch.zeros(size, dtype=torch.float64)
    for start in starts:
        total[start : start + window] += weights
    return starts, [(weights / total[start : start + window]).float().to(device) for start in starts]


def _along(weights: Tensor, axis: int, dims: int) -> Tensor:
    return weights.view(*(-1 if axis == other else 1 for other in range(dims)))


def _groups(places: Sequence[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
    each = iter(places)
    while group := list(islice(each, max(1, size))):
        yield group
