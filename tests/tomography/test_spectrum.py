import numpy as np
import pytest
from pydantic import ValidationError

from transmodal.tomography.spectrum import Tube, half_value_layer_mm_al, mean_energy

# (kVp, mm Al, mm Cu): first half-value layer in mm Al, mean energy in keV; SpekPy 2.5 at 12°.
_SPEKPY = {
    (40, 2.5, 0.0): (1.384, 28.1),
    (50, 2.5, 0.0): (1.750, 32.2),
    (70, 2.5, 0.0): (2.397, 39.4),
    (80, 2.5, 0.0): (2.734, 42.9),
    (100, 2.5, 0.0): (3.459, 49.2),
    (120, 2.5, 0.0): (4.220, 54.5),
    (120, 6.0, 0.0): (6.364, 59.7),
    (120, 2.5, 0.2): (7.729, 63.2),
    (150, 2.5, 0.0): (5.373, 61.4),
}


@pytest.mark.parametrize("settings", _SPEKPY)
def test_half_value_layers_and_mean_energies_are_plausible(settings: tuple[float, float, float]) -> None:
    kvp, aluminium, copper = settings
    layer, energy = _SPEKPY[settings]
    spectrum = Tube(kvp=kvp, aluminium_mm=aluminium, copper_mm=copper).spectrum()
    assert half_value_layer_mm_al(spectrum) == pytest.approx(layer, rel=0.03)
    assert mean_energy(spectrum) == pytest.approx(energy, rel=0.02)


def test_characteristic_lines_stand_above_the_k_edge_alone() -> None:
    with_lines = Tube(kvp=120).spectrum()
    without = Tube(kvp=69).spectrum()
    line = int(np.flatnonzero(with_lines.energies == 59)[0])
    assert with_lines.photons[line] > 1.5 * with_lines.photons[line + 2]
    assert without.photons[line] < 1.5 * without.photons[line + 2]
    beside = with_lines.photons[line + 2] / 2 + with_lines.photons[line - 4] / 2
    assert 0.02 < with_lines.photons[line] - beside < 0.06  # Kα₁ of some 8 % in all


def test_photons_end_at_the_voltage_and_sum_to_one() -> None:
    spectrum = Tube(kvp=80).spectrum()
    assert spectrum.energies[0] == 10 and spectrum.energies[-1] == 79
    assert spectrum.photons.sum() == pytest.approx(1.0)
    assert (spectrum.photons >= 0).all()


def test_filters_and_bodies_harden_the_beam() -> None:
    spectrum = Tube(kvp=120).spectrum()
    hardened = spectrum.behind("water", 200.0)
    assert mean_energy(hardened) > mean_energy(spectrum) + 5
    assert half_value_layer_mm_al(hardened) > half_value_layer_mm_al(spectrum)


def test_a_half_value_layer_halves_the_kerma_twice_over_harder() -> None:
    spectrum = Tube(kvp=100).spectrum()
    first = half_value_layer_mm_al(spectrum)
    assert half_value_layer_mm_al(spectrum.behind("aluminium", first)) > first


def test_an_integrating_detector_weighs_by_energy() -> None:
    spectrum = Tube(kvp=120).spectrum()
    integrating, counting = spectrum.detected("integrating"), spectrum.detected("counting")
    assert integrating.sum() == pytest.approx(1.0) and counting.sum() == pytest.approx(1.0)
    assert integrating / counting == pytest.approx(spectrum.energies / mean_energy(spectrum))


def test_unknown_settings_and_voltages_are_refused() -> None:
    with pytest.raises(ValidationError, match="kilovolt"):
        Tube(kilovolt=120)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="kvp"):
        Tube(kvp=200)
