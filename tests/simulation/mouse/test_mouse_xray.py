"""Attenuation, spectrum and detector."""

import math

import numpy as np
import pytest

from transmodal.simulation.mouse.attenuation import (
    DENSITY,
    ENERGIES_KEV,
    caesium_iodide_response,
    linear_attenuation,
    tungsten_spectrum,
)
from transmodal.simulation.mouse.xray import AIR_LEVEL, Tube, expose, transmission


def test_a_slab_is_the_written_out_sum_of_beer_and_lambert():
    tube = Tube(peak_kilovolt=40.0, aluminium=0.5, screen=0.2)
    spectrum, response = tungsten_spectrum(40.0, 0.5), caesium_iodide_response(0.2)
    thickness = {"soft": 12.0, "bone": 0.6, "acrylic": 3.0}
    lit = blocked = 0.0
    for number, energy in enumerate(ENERGIES_KEV):
        exponent = sum(float(linear_attenuation(name, energy)) * length for name, length in thickness.items())
        lit += spectrum[number] * response[number]
        blocked += spectrum[number] * response[number] * math.exp(-exponent)
    slab = {name: np.full((2, 3), length, np.float32) for name, length in thickness.items()}
    assert transmission(slab, tube) == pytest.approx(blocked / lit, rel=1e-3)


def test_bone_stops_more_than_soft_tissue_than_lung_than_air():
    left = [float(transmission({name: np.full((1, 1), 5.0)})[0, 0]) for name in ("bone", "soft", "lung", "air")]
    assert left == sorted(left)
    assert left[0] < 0.1
    assert left[3] > 0.999


def test_water_attenuates_as_published_at_twenty_kilovolt():
    assert float(linear_attenuation("water", 20.0)) == pytest.approx(0.08096, rel=1e-6)  # 1/mm


@pytest.mark.parametrize("material", sorted(DENSITY))
def test_attenuation_falls_with_energy(material):
    assert np.all(np.diff(linear_attenuation(material, ENERGIES_KEV)) < 0)


def test_the_spectrum_ends_at_the_voltage_and_hardens_behind_metal():
    thin, thick = tungsten_spectrum(35.0, 0.2), tungsten_spectrum(35.0, 2.0)
    assert thin[ENERGIES_KEV >= 35.0].sum() == 0.0
    assert thin.sum() == pytest.approx(1.0)
    assert (thick * ENERGIES_KEV).sum() > (thin * ENERGIES_KEV).sum() + 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: linear_attenuation("cheese", 20.0),
        lambda: linear_attenuation("bone", 5.0),
        lambda: tungsten_spectrum(9, 1),
    ],
)
def test_what_is_not_tabulated_is_refused(wrong):
    with pytest.raises(ValueError, match=r"cheese|10 to 60|outside"):
        wrong()


def test_noise_follows_the_photon_count():
    rng = np.random.default_rng(0)
    tube = Tube(photons=2500.0, electronic=0.0, blur=0.0, scatter=0.0)
    image = expose(np.full((200, 400), 0.25, np.float32), 0.09765625, rng, tube) / AIR_LEVEL
    assert image.mean() == pytest.approx(0.25, rel=2e-3)
    # The least blur, 0.3 pixels, keeps most of the spread of sqrt(0.25 / 2500) = 0.01.
    assert 0.007 < image.std() < 0.0101
