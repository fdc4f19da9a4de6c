"""MS-SSIM against torchmetrics' parts, and its rules for masks and odd sides against a written-out formula."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from transmodal.metrics.ms_ssim import WEIGHTS, ms_ssim


def pair(shape: tuple[int, ...], noise: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image in 0 to 1 and a noisy copy, in double precision."""
    generator = np.random.default_rng(seed)
    truth = gaussian_filter(generator.normal(size=shape), 3)
    truth = (truth - truth.min()) / np.ptp(truth)
    return np.clip(truth + generator.normal(scale=noise, size=shape), 0, 1), truth


def local_factors(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SSIM and contrast-structure of each pixel with a whole window, for R = 1."""

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=3.5)[(slice(5, -5),) * image.ndim]

    m_p, m_t = blur(predicted), blur(truth)
    variances = blur(predicted**2) - m_p**2 + blur(truth**2) - m_t**2
    cs = (2 * (blur(predicted * truth) - m_p * m_t) + 0.03**2) / (variances + 0.03**2)
    return cs * (2 * m_p * m_t + 0.01**2) / (m_p**2 + m_t**2 + 0.01**2), cs


def halved(image: np.ndarray) -> np.ndarray:
    padded = np.pad(image, [(0, length % 2) for length in image.shape], mode="edge")
    for axis in range(image.ndim):
        even, odd = (np.take(padded, range(start, padded.shape[axis], 2), axis) for start in (0, 1))
        padded = (even + odd) / 2
    return padded


def written_out(predicted: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    mask = np.ones(truth.shape, bool) if mask is None else mask
    score = 1.0
    for scale, weight in enumerate(WEIGHTS):
        similarity, cs = local_factors(predicted, truth)
        inside = mask[(slice(5, -5),) * mask.ndim]
        score *= max((similarity if scale == 4 else cs)[inside].mean(), 0.0) ** weight
        predicted, truth, mask = halved(predicted), halved(truth), halved(mask.astype(float)) > 0
    return score


def test_the_weights_are_those_of_the_paper() -> None:
    assert WEIGHTS == (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    assert sum(WEIGHTS) == pytest.approx(1.0, abs=2e-4)


def test_each_scale_is_that_of_torchmetrics() -> None:
    predicted, truth = pair((192, 256))
    p, t = torch.from_numpy(predicted)[None, None], torch.from_numpy(truth)[None, None]
    whole = multiscale_structural_similarity_index_measure(p, t, data_range=1.0)
    # Its parts are equal where they look at whole windows only. Its own whole is not: at the last scale it averages
    # over a mirrored border too.
    assert ms_ssim(predicted, truth, data_range=1.0) == pytest.approx(float(whole), abs=5e-3)
    expected = 1.0
    for scale, weight in enumerate(WEIGHTS):
        _, cs = structural_similarity_index_measure(p, t, data_range=1.0, return_contrast_sensitivity=True)
        _, full = structural_similarity_index_measure(p, t, data_range=1.0, return_full_image=True)
        expected *= float(full[..., 5:-5, 5:-5].mean() if scale == 4 else cs.mean()) ** weight
        p, t = (torch.nn.functional.avg_pool2d(image, 2) for image in (p, t))
    assert ms_ssim(predicted, truth, data_range=1.0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(161, 161), (167, 230), (176, 193)])
def test_odd_sides_and_masks_follow_the_written_out_rules(shape: tuple[int, ...]) -> None:
    predicted, truth = pair(shape)
    assert ms_ssim(predicted, truth, data_range=1.0) == pytest.approx(written_out(predicted, truth), abs=1e-10)
    mask = truth > 0.6
    mask[80, :] = True  # a line of one pixel stays to the last scale
    expected = written_out(predicted, truth, mask)
    assert ms_ssim(predicted, truth, data_range=1.0, mask=mask) == pytest.approx(expected, abs=1e-10)
    assert expected != pytest.approx(written_out(predicted, truth), abs=1e-4)
    everywhere = ms_ssim(predicted, truth, data_range=1.0, mask=np.ones(shape, bool))
    assert everywhere == pytest.approx(ms_ssim(predicted, truth, data_range=1.0), abs=1e-12)


def test_a_volume_is_windowed_and_pooled_in_three_dimensions() -> None:
    predicted, truth = pair((161, 162, 163))
    mask = np.zeros(truth.shape, bool)
    mask[60:120, 70:110, 75:85] = True
    value = ms_ssim(predicted, truth, data_range=1.0, mask=mask, spatial_dims=3)
    assert value == pytest.approx(written_out(predicted, truth, mask), abs=1e-10)


def test_anticorrelated_images_score_zero() -> None:
    _, truth = pair((176, 176))
    assert ms_ssim(1.0 - truth, truth, data_range=1.0) == 0.0


def test_pooling_keeps_the_digits_of_integers() -> None:
    predicted, truth = ((65535 * image).astype(np.uint16) for image in pair((165, 170), noise=0.02))
    expected = written_out(predicted / 65535, truth / 65535)
    assert ms_ssim(predicted, truth, data_range=65535) == pytest.approx(expected, abs=1e-9)


def test_a_pixel_that_is_not_finite_is_refused_where_a_window_sees_it() -> None:
    predicted, truth = pair((176, 400))
    mask = np.zeros(truth.shape, bool)
    mask[:, 300:] = True
    clean = ms_ssim(predicted, truth, data_range=1.0, mask=mask)
    predicted[5, 5] = np.nan
    assert ms_ssim(predicted, truth, data_range=1.0, mask=mask) == clean
    with pytest.raises(ValueError, match="NaN or infinite"):
        ms_ssim(predicted, truth, data_range=1.0)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((160, 300), {}, "at least 161 pixels"),
        ((161, 161, 3), {}, "has not 2 axes"),
        ((161, 161), {"spatial_dims": 3}, "has not 3 axes"),
        ((161, 161), {"spatial_dims": 1}, "2 or 3"),
        ((161, 161), {"data_range": -1}, "data_range"),
        ((161, 161), {"mask": np.zeros((161, 161), bool)}, "selects no pixel"),
        ((161, 161), {"mask": np.indices((161, 161))[0] == 40}, "scale 5 of 5"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(shape: tuple[int, ...], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        ms_ssim(np.zeros(shape), np.ones(shape), **({"data_range": 1.0} | options))
    assert "\n" not in str(refusal.value)
