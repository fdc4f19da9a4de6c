"""VIF in the pixel domain against torchmetrics and against plain convolutions."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d, gaussian_filter
from torchmetrics.functional.image import visual_information_fidelity

from transmodal.metrics.vif import vif


def pair(shape: tuple[int, ...], noise: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A textured image in 0 to 1 and a noisy copy, in double precision."""
    generator = np.random.default_rng(seed)
    truth = gaussian_filter(generator.normal(size=shape), 1.5)
    truth = (truth - truth.min()) / np.ptp(truth)
    return np.clip(truth + generator.normal(scale=noise, size=shape), 0, 1), truth


def by_convolution(predicted: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """The formula of the module on images brought to 0 to 255, with every moment as a picture of its own."""
    p, t = (image.astype(np.float64) * (255 / data_range) for image in (predicted, truth))
    kept = available = 0.0
    for scale, taps in enumerate((17, 9, 5, 3)):
        half = taps // 2
        window = np.exp(-0.5 * (np.arange(-half, half + 1) / (taps / 5)) ** 2)
        window /= window.sum()

        def blur(image: np.ndarray, window: np.ndarray = window, half: int = half) -> np.ndarray:
            return correlate1d(correlate1d(image, window, axis=0), window, axis=1)[half:-half, half:-half]

        if scale > 0:
            p, t = blur(p)[::2, ::2], blur(t)[::2, ::2]
        m_p, m_t = blur(p), blur(t)
        v_p, v_t, c = blur(p * p) - m_p**2, blur(t * t) - m_t**2, blur(p * t) - m_p * m_t
        v_t[v_t < 1e-10] = 0
        informed = (v_t > 0) & (v_p >= 1e-10) & (c >= 0)
        g = np.where(informed, c / np.where(informed, v_t, 1), 0)
        kept += np.log1p(g**2 * v_t / (np.maximum(v_p - g * c, 0) + 2)).sum()
        available += np.log1p(v_t / 2).sum()
    return kept / available


@pytest.mark.parametrize("shape", [(41, 41), (64, 97), (121, 50)])
def test_vif_is_that_of_torchmetrics_on_a_scale_of_255(shape: tuple[int, ...]) -> None:
    # Same definition; the peer knows no range, adds 1e-10 in two more places, and is given double precision here: its
    # own default of single precision is off by up to 1e-4.
    predicted, truth = pair(shape)
    tensors = [torch.from_numpy(255 * image)[None, None] for image in (predicted, truth)]
    assert vif(predicted, truth, data_range=1.0) == pytest.approx(
        float(visual_information_fidelity(*tensors)), abs=1e-9
    )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_vif_is_that_of_plain_convolutions(kind: type, noise: float) -> None:
    data_range = float(np.iinfo(kind).max) if np.issubdtype(kind, np.integer) else 4000.0
    predicted, truth = ((data_range * image).astype(kind) for image in pair((83, 119), noise))
    expected = by_convolution(predicted, truth, data_range)
    assert vif(predicted, truth, data_range=data_range) == pytest.approx(expected, abs=1e-9)


def test_anticorrelated_images_keep_no_information() -> None:
    predicted, truth = pair((60, 60), noise=0.0)
    assert vif(1 - predicted, truth, data_range=1.0) == pytest.approx(0.0, abs=1e-12)


def test_contrast_raises_the_score_above_one_and_order_matters() -> None:
    _, truth = pair((80, 80))
    more = 0.5 + 1.5 * (truth - 0.5)
    assert vif(more, truth, data_range=1.0) > 1.05
    assert vif(truth, more, data_range=1.0) < 1.0


def test_blur_and_noise_lose_information() -> None:
    _, truth = pair((100, 100))
    blurred = [vif(gaussian_filter(truth, sigma), truth, data_range=1.0) for sigma in (0.5, 1.0, 2.0)]
    noisy = [vif(pair((100, 100), noise)[0], truth, data_range=1.0) for noise in (0.01, 0.05, 0.2)]
    for scores in (blurred, noisy):
        assert scores == sorted(scores, reverse=True)
        assert 0.0 < scores[-1] < scores[0] < 1.0


def test_the_range_sets_the_noise_of_the_eye() -> None:
    predicted, truth = pair((60, 60))
    # The eye's own noise, which grows with the range, hides that of the image.
    assert vif(predicted, truth, data_range=4.0) > vif(predicted, truth, data_range=1.0)
    moved = vif(7.0 + 300 * predicted, 7.0 + 300 * truth, data_range=300)
    assert moved == pytest.approx(vif(predicted, truth, data_range=1.0), abs=1e-9)


def test_constant_images_have_defined_values() -> None:
    _, truth = pair((50, 50))
    flat = np.full(truth.shape, 0.3)
    assert vif(flat, truth, data_range=1.0) == 0.0
    assert vif(flat, flat, data_range=1.0) == 1.0
    with pytest.raises(ValueError, match="truth is constant"):
        vif(truth, flat, data_range=1.0)


def test_values_far_outside_the_range_do_not_overflow() -> None:
    predicted, truth = pair((60, 70))
    assert vif(1e45 * predicted, 1e45 * truth, data_range=1.0) == pytest.approx(
        by_convolution(1e45 * predicted, 1e45 * truth, 1.0), rel=1e-9
    )


def test_large_offsets_keep_their_digits() -> None:
    predicted, truth = pair((60, 60))
    expected = vif(predicted, truth, data_range=1.0)
    assert vif(1e6 + predicted, 1e6 + truth, data_range=1.0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "data_range", "message"),
    [((40, 100), 1.0, "at least 41"), ((50, 50, 3), 1.0, "has not 2 axes"), ((50, 50), 0.0, "data_range")],
)
def test_wrong_arguments_are_refused_in_one_line(shape: tuple[int, ...], data_range: float, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        vif(np.zeros(shape), np.ones(shape), data_range=data_range)
    assert "\n" not in str(refusal.value)
