"""The ramp and its windows."""

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.filters import FILTERS, Filter, filter_views, window


def test_the_ramp_is_the_band_limited_kernel() -> None:
    impulse = np.zeros(41)
    impulse[20] = 1
    lags = np.arange(41) - 20
    wanted = np.where(lags % 2 == 1, -1 / (np.pi * np.where(lags == 0, 1, lags)) ** 2, 0.0)
    wanted[20] = 0.25
    assert np.allclose(filter_views(impulse, 1.0), wanted, atol=1e-6)
    assert np.allclose(filter_views(impulse, 0.5), wanted / 0.5, atol=1e-6)


def test_the_kernel_of_a_curved_detector_grows_with_the_sine() -> None:
    impulse = np.zeros(41)
    impulse[20] = 1
    angle = (np.arange(41) - 20) * 0.02
    angle[20] = 1e-9
    straight = filter_views(impulse, 0.02)
    assert np.allclose(filter_views(impulse, 0.02, arc_pitch=0.02), straight * (angle / np.sin(angle)) ** 2, atol=1e-5)


def test_nothing_wraps_around_the_detector() -> None:
    views = np.zeros((1, 50))
    views[0, 0] = 1
    longer = np.pad(views, ((0, 0), (0, 300)))
    assert np.allclose(filter_views(views, 1.0), filter_views(longer, 1.0)[:, :50], atol=1e-6)


@pytest.mark.parametrize("filter", FILTERS)
def test_windows_start_at_one_fall_and_end_at_the_cutoff(filter: Filter) -> None:
    frequencies = np.linspace(0, 1, 201)
    factors = window(frequencies, filter, 0.641)
    assert factors[0] == pytest.approx(1)
    assert (np.diff(factors) <= 1e-12).all()
    assert (factors[frequencies > 0.642] == 0).all()
    assert np.allclose(window(frequencies * 0.5, filter, 0.5), window(frequencies, filter))


def test_windows_at_half_the_cutoff_are_those_of_the_books() -> None:
    wanted = {"ramp": 1, "shepp-logan": 2 * 2**0.5 / np.pi, "cosine": 0.5**0.5, "hamming": 0.54, "hann": 0.5}
    for filter in FILTERS:
        assert window(np.array([0.4]), filter, 0.8)[0] == pytest.approx(wanted[filter])


def test_stacks_are_filtered_view_by_view() -> None:
    views = np.random.default_rng(0).normal(size=(3, 4, 30)).astype(np.float32)
    made = filter_views(views, 0.7, "hann", 0.8)
    assert made.shape == views.shape and made.dtype == np.float32
    assert np.allclose(made[2, 1], filter_views(views[2, 1], 0.7, "hann", 0.8), atol=1e-6)


@pytest.mark.parametrize("cutoff", [0, -1, 1.2, float("nan")])
def test_a_cutoff_that_is_no_fraction_is_refused(cutoff: float) -> None:
    with pytest.raises(UserError, match="fraction of the Nyquist"):
        filter_views(np.zeros(4), 1.0, "hann", cutoff)
