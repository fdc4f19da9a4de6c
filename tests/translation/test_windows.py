"""Windows that are blended and slices in batches: nothing is lost, added or shifted on the way."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from transmodal.translation.windows import pad_to_window, slices_in_batches, sliding_window, window_count, window_starts


def identity(pieces: Tensor) -> dict[str, Tensor]:
    return {"same": pieces, "twice": 2 * pieces[:, :1]}


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 23), min_size=2, max_size=3),
    sides=st.lists(st.integers(1, 16), min_size=3, max_size=3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9]),
    blend=st.sampled_from(["gaussian", "mean"]),
    batch=st.integers(1, 5),
)
def test_a_network_that_changes_nothing_gives_the_volume_back(shape, sides, overlap, blend, batch) -> None:  # type: ignore[no-untyped-def]
    volume = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    outputs = sliding_window(identity, volume, window=sides[: len(shape)], overlap=overlap, blend=blend, batch=batch)
    assert list(outputs) == ["same", "twice"]
    torch.testing.assert_close(outputs["same"], volume, rtol=0, atol=1e-5)  # float32, hundreds of windows
    torch.testing.assert_close(outputs["twice"], 2 * volume[:1], rtol=0, atol=2e-5)


def test_windows_in_the_middle_of_a_larger_one_agree_with_a_convolution_over_the_whole() -> None:
    volume = torch.rand(1, 40, 36, 30, generator=torch.Generator().manual_seed(0))
    kernel = torch.rand(1, 1, 3, 3, 3, generator=torch.Generator().manual_seed(1))

    def blur(pieces: Tensor) -> dict[str, Tensor]:
        return {"blurred": functional.conv3d(pieces, kernel, padding=1)}

    whole = blur(volume[None])["blurred"][0]
    by_windows = sliding_window(blur, volume, window=(16, 16, 16))["blurred"]
    # Windows see zeros past their rims; a Gaussian hides that where windows overlap, a plain mean does not.
    inner = (slice(None), slice(8, -8), slice(8, -8), slice(8, -8))
    error = (whole - by_windows)[inner].abs().max()
    plain = sliding_window(blur, volume, window=(16, 16, 16), blend="mean")["blurred"]
    assert error < 0.05 * whole.mean() < (whole - plain)[inner].abs().max()


def test_the_middle_of_a_window_counts_more_than_its_rim() -> None:
    def rim_is_wrong(pieces: Tensor) -> dict[str, Tensor]:
        wrong = torch.ones_like(pieces)
        wrong[:, :, 4:-4, 4:-4] = 0
        return {"error": wrong}

    volume = torch.zeros(1, 64, 64)
    shares = {
        blend: sliding_window(rim_is_wrong, volume, window=(16, 16), blend=blend) for blend in ("gaussian", "mean")
    }
    inside = (slice(None), slice(8, -8), slice(8, -8))
    assert shares["gaussian"]["error"][inside].mean() < 0.5 * shares["mean"]["error"][inside].mean()


def test_windows_reach_both_ends_and_overlap_as_asked() -> None:
    starts = window_starts(155, 64, 0.5)
    assert starts[0] == 0 and starts[-1] == 155 - 64 and len(starts) == 4
    assert max(b - a for a, b in pairwise(starts)) <= 32
    assert window_starts(10, 16, 0.5) == [0]
    assert window_count((240, 240, 155), (96, 96, 96), 0.25) == 3 * 3 * 2
    with pytest.raises(ValueError, match="overlap"):
        window_starts(10, 4, 1.0)


def test_short_axes_are_mirrored_and_very_short_ones_repeated() -> None:
    padded, inner = pad_to_window(torch.tensor([[[1.0, 2.0, 3.0]]]), (1, 7))
    assert padded.flatten().tolist() == [3, 2, 1, 2, 3, 2, 1]
    assert inner == (slice(0, 1), slice(2, 5))
    repeated, _ = pad_to_window(torch.tensor([[[1.0, 2.0]]]), (1, 7))
    assert repeated.flatten().tolist() == [1, 1, 1, 2, 2, 2, 2]


def test_progress_and_determinism() -> None:
    seen: list[tuple[int, int]] = []
    volume = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(0))
    first = sliding_window(identity, volume, window=(8, 8), batch=3, on_window=lambda *x: seen.append(x))
    again = sliding_window(identity, volume, window=(8, 8), batch=3)
    assert torch.equal(first["same"], again["same"])
    assert seen[0] == (3, 16) and seen[-1] == (16, 16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_outputs_are_summed_in_float32_and_left_alone(dtype: torch.dtype) -> None:
    made: list[Tensor] = []

    def constant(pieces: Tensor) -> dict[str, Tensor]:
        made.append(torch.full_like(pieces, 0.75, dtype=dtype))
        return {"x": made[-1]}

    output = sliding_window(constant, torch.zeros(1, 33, 29), window=(8, 8), overlap=0.75)["x"]
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, torch.full((1, 33, 29), 0.75), rtol=0, atol=1e-6)
    assert all((each == 0.75).all() for each in made)


def test_a_network_that_changes_the_size_and_a_window_of_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="keep size"):
        sliding_window(lambda x: {"half": x[..., ::2]}, torch.zeros(1, 8, 8), window=(4, 4))
    with pytest.raises(ValueError, match="does not fit"):
        sliding_window(identity, torch.zeros(1, 8, 8), window=(4, 4, 4))


def test_slices_bring_their_neighbours_and_edges_are_repeated() -> None:
    stack = torch.arange(5.0).view(5, 1, 1, 1) + torch.tensor([0.0, 0.5]).view(1, 2, 1, 1)  # (S, C, 1, 1)
    seen: list[Tensor] = []

    def middle(pieces: Tensor) -> dict[str, Tensor]:
        seen.append(pieces)
        return {"middle": pieces[:, 2:4]}

    output = slices_in_batches(middle, stack, 2, neighbours=1)["middle"]
    assert torch.equal(output, stack)
    assert [len(pieces) for pieces in seen] == [2, 2, 1]
    assert seen[0][0].flatten().tolist() == [0, 0.5, 0, 0.5, 1, 1.5]
    assert seen[2][0].flatten().tolist() == [3, 3.5, 4, 4.5, 4, 4.5]
