"""SSIM against scikit-image, and the parts of it that scikit-image does not give against a written-out formula."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from transmodal.metrics.ssim import _sums_of_slice, ssim, ssim_components, ssim_map

KINDS = [np.uint8, np.uint16, np.int16, np.float32, np.float64]


def pair(kind: type, shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """A smooth image over most of the type's range, a noisy copy, and that range."""
    generator = np.random.default_rng(seed)
    truth = gaussian_filter(generator.normal(size=shape), 2)
    truth = (truth - truth.min()) / (np.ptp(truth) + 1e-9)
    predicted = np.clip(truth + generator.normal(scale=0.1, size=shape), 0, 1)
    if np.issubdtype(kind, np.integer):
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        predicted, truth = (low + image * (high - low) for image in (predicted, truth))
        return predicted.astype(kind), truth.astype(kind), float(high - low)
    return predicted.astype(kind), truth.astype(kind), 1.0


def by_peer(predicted: np.ndarray, truth: np.ndarray, data_range: float, **options: Any) -> Any:
    # In double precision: the peer's own float32 arithmetic is off by up to 1e-4 on large offsets.
    return structural_similarity(
        truth.astype(np.float64),
        predicted.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=data_range,
        **options,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_ssim_equals_that_of_scikit_image(kind: type) -> None:
    predicted, truth, data_range = pair(kind, (96, 160))
    assert ssim(predicted, truth, data_range=data_range) == pytest.approx(
        by_peer(predicted, truth, data_range), abs=1e-10
    )


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(11, 45),
    width=st.integers(11, 45),
    kind=st.sampled_from(KINDS),
    other=st.sampled_from(KINDS),
    seed=st.integers(0, 2**16),
)
def test_any_size_type_and_layout_agrees_with_scikit_image(
    height: int, width: int, kind: type, other: type, seed: int
) -> None:
    predicted = pair(kind, (width, height), seed)[0].T[::-1]
    truth = pair(other, (2 * height, width), seed + 1)[1][::2]
    expected = by_peer(predicted, truth, 60000.0)
    assert ssim(predicted, truth, data_range=60000.0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(11, 11, 11), (12, 19, 27), (14, 33, 11)])
@pytest.mark.parametrize("kind", [np.int16, np.float64])
def test_a_volume_is_compared_with_a_window_of_three_dimensions(shape: tuple[int, ...], kind: type) -> None:
    predicted, truth, data_range = pair(kind, shape)
    value = ssim(predicted, truth, data_range=data_range, spatial_dims=3)
    assert value == pytest.approx(by_peer(predicted, truth, data_range), abs=1e-10)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_map_is_the_inside_of_the_full_map(spatial_dims: int) -> None:
    predicted, truth, data_range = pair(np.float64, (13, 21, 34)[3 - spatial_dims :])
    local = ssim_map(predicted, truth, data_range=data_range, spatial_dims=spatial_dims)
    full = by_peer(predicted, truth, data_range, full=True)[1]
    np.testing.assert_allclose(local, full[(slice(5, -5),) * spatial_dims], atol=1e-10)
    assert ssim(predicted, truth, data_range=data_range, spatial_dims=spatial_dims) == pytest.approx(local.mean())


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_mask_averages_the_map_over_the_pixels_with_whole_windows(spatial_dims: int) -> None:
    predicted, truth, data_range = pair(np.float32, (14, 40, 29)[3 - spatial_dims :])
    mask = np.random.default_rng(3).random(truth.shape) < 0.3
    inside = mask[(slice(5, -5),) * spatial_dims]
    local = ssim_map(predicted, truth, data_range=data_range, spatial_dims=spatial_dims)
    scores = ssim_components(predicted, truth, data_range=data_range, mask=mask, spatial_dims=spatial_dims)
    assert scores.ssim == pytest.approx(local[inside].mean(), abs=1e-12)
    assert scores.pixels == inside.sum()


def test_components_are_the_two_factors_of_the_definition() -> None:
    predicted, truth, data_range = pair(np.float64, (31, 47))

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=3.5)[5:-5, 5:-5]

    m_p, m_t = blur(predicted), blur(truth)
    variances = blur(predicted**2) - m_p**2 + blur(truth**2) - m_t**2
    covariance = blur(predicted * truth) - m_p * m_t
    luminance = (2 * m_p * m_t + 0.01**2) / (m_p**2 + m_t**2 + 0.01**2)
    contrast_structure = (2 * covariance + 0.03**2) / (variances + 0.03**2)
    scores = ssim_components(predicted, truth, data_range=data_range)
    assert scores.luminance == pytest.approx(luminance.mean(), abs=1e-12)
    assert scores.contrast_structure == pytest.approx(contrast_structure.mean(), abs=1e-12)
    assert scores.ssim == pytest.approx((luminance * contrast_structure).mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("offset", "scale", "data_range"), [(-1024, 3000, 4024), (65000, 535, 535), (65000, 30, 65535), (3e5, 1, 1)]
)
def test_large_offsets_keep_their_digits(offset: float, scale: float, data_range: float) -> None:
    predicted, truth, _ = pair(np.float64, (40, 50))
    # The peer is given images near zero where its own squares stay exact; only luminance knows the offset.
    moved = ssim_components(offset + scale * predicted, offset + scale * truth, data_range=data_range)
    still = ssim_components(scale * predicted, scale * truth, data_range=data_range)
    assert moved.contrast_structure == pytest.approx(still.contrast_structure, abs=1e-7)
    assert moved.ssim == pytest.approx(
        by_peer(offset + scale * predicted, offset + scale * truth, data_range), abs=2e-4
    )


def test_equal_images_have_a_similarity_of_one_and_order_does_not_matter() -> None:
    predicted, truth, data_range = pair(np.uint16, (30, 40))
    assert ssim(truth, truth, data_range=data_range) == pytest.approx(1.0, abs=1e-12)
    assert ssim(predicted, truth, data_range=data_range) == pytest.approx(
        ssim(truth, predicted, data_range=data_range), abs=1e-12
    )
    constant = np.full((20, 20), 65535, np.uint16)
    assert ssim(constant, constant, data_range=65535) == pytest.approx(1.0, abs=1e-12)


def test_constant_images_differ_by_luminance_alone() -> None:
    scores = ssim_components(np.full((15, 15), 40.0), np.full((15, 15), 80.0), data_range=255)
    c1 = (0.01 * 255) ** 2
    assert scores.contrast_structure == pytest.approx(1.0, abs=1e-12)
    assert scores.luminance == pytest.approx((2 * 40 * 80 + c1) / (40**2 + 80**2 + c1), abs=1e-12)


def test_memory_mapped_images_use_the_kernel_that_is_there(tmp_path: Path) -> None:
    predicted, truth, data_range = pair(np.float32, (30, 40))
    mask = truth > 0.2
    expected = ssim(predicted, truth, data_range=data_range, mask=mask)
    kernels = len(_sums_of_slice.signatures)
    for name, image in (("predicted", predicted), ("truth", truth), ("mask", mask)):
        np.save(tmp_path / f"{name}.npy", image)
    first, second, region = (np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in ("predicted", "truth", "mask"))
    assert ssim(first, second, data_range=data_range, mask=region) == expected
    assert ssim(first, truth, data_range=data_range) == ssim(predicted, second, data_range=data_range)
    assert len(_sums_of_slice.signatures) == kernels
    predicted[0, 0] = 1.0  # the caller's own array stays writeable


def test_a_pixel_that_is_not_finite_is_refused_where_it_counts() -> None:
    predicted, truth, _ = pair(np.float32, (40, 40))
    predicted[20, 20] = np.nan  # the centre, from which the offset is taken in the truth
    truth[20, 20] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        ssim(predicted, truth, data_range=1.0)
    far = np.zeros(truth.shape, bool)
    far[6:10, 6:10] = True
    assert 0 < ssim(predicted, truth, data_range=1.0, mask=far) < 1
    predicted[0, 0] = np.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        ssim(predicted[:15, :15], truth[:15, :15], data_range=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": np.zeros((10, 30)), "truth": np.zeros((10, 30))}, "at least 11"),
        ({"predicted": np.zeros((20, 20, 3)), "truth": np.zeros((20, 20, 3))}, "channels and slices separately"),
        ({"predicted": np.zeros((20, 30))}, "different shapes"),
        ({"spatial_dims": 4}, "2 or 3"),
        ({"spatial_dims": 3}, "has not 3 axes"),
        ({"data_range": 0}, "data_range"),
        ({"mask": np.pad(np.zeros((12, 12), bool), 4, constant_values=True)}, "5 or more from every border"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(change: dict, message: str) -> None:
    arguments = {"predicted": np.zeros((20, 20)), "truth": np.ones((20, 20)), "data_range": 1.0} | change
    with pytest.raises(ValueError, match=message) as refusal:
        ssim(arguments.pop("predicted"), arguments.pop("truth"), **arguments)
    assert "\n" not in str(refusal.value)
    if "mask" not in change:
        with pytest.raises(ValueError, match=message):
            ssim_map(
                change.get("predicted", np.zeros((20, 20))),
                change.get("truth", np.ones((20, 20))),
                data_range=change.get("data_range", 1.0),
                spatial_dims=change.get("spatial_dims", 2),
            )
