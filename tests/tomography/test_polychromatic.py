import numpy as np
import pytest

from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.polychromatic import Response, Tissues
from transmodal.tomography.spectrum import Tube


def _one_energy(energy: float) -> Response:
    return Response(np.array([energy]), np.ones((1, 1)), np.ones(1))


def test_one_energy_follows_beer_and_lambert() -> None:
    tissues = Tissues(HounsfieldScale())
    coefficients = np.stack([tissues.coefficients("water", np.array([70.0]))])
    paths = np.array([[0.0, 10.0, 200.0]])
    read = _one_energy(70.0).transmissions(paths, coefficients)
    assert read[0] == pytest.approx(np.exp(-0.0192 * paths[0]), rel=1e-5)


def test_many_energies_add_up_as_written() -> None:
    spectrum = Tube(kvp=90).spectrum()
    response = Response(spectrum.energies, spectrum.detected("integrating")[None], np.ones(1))
    tissues = Tissues(HounsfieldScale())
    coefficients = np.stack([tissues.coefficients(name, spectrum.energies) for name in ("water", "cortical_bone")])
    paths = np.random.default_rng(0).uniform(0, 40, (2, 3, 5))
    wanted = sum(
        weight * np.exp(-(paths * coefficients[:, index, None, None]).sum(axis=0))
        for index, weight in enumerate(response.weights[0])
    )
    assert response.transmissions(paths, coefficients)[0] == pytest.approx(wanted, rel=1e-5)


def test_rays_beyond_one_chunk_are_read_too() -> None:
    paths = np.linspace(0, 100, 20001)[None]
    read = _one_energy(60.0).transmissions(paths, np.array([[0.02]]))
    assert read[0] == pytest.approx(np.exp(-0.02 * paths[0]), rel=1e-5)


def test_tissue_is_water_below_bone_above_and_a_mixture_between() -> None:
    scale = HounsfieldScale()
    tissues = Tissues(scale)
    hu = np.array([-1000.0, 0.0, 60.0, 100.0, 800.0, 1500.0, 2500.0], dtype=np.float32)
    water, bone = tissues.fractions(scale.to_attenuation(hu))
    assert water[:4] == pytest.approx([0.0, 1.0, 1.06, 1.1], abs=1e-5)
    assert (bone[:4] == 0).all()
    assert water[4] == pytest.approx(0.9, rel=1e-5)  # half of 1.8 times water
    assert water[5:] == pytest.approx([0.0, 0.0], abs=1e-5)
    assert bone[6] > bone[5] > bone[4] > 0


def test_both_parts_together_keep_the_attenuation_at_the_reference() -> None:
    scale = HounsfieldScale(water=0.02, air=0.00002)
    tissues = Tissues(scale, reference_kev=60.0)
    attenuation = scale.to_attenuation(np.linspace(-1000, 3000, 41))
    at = np.array([60.0])
    water, bone = tissues.fractions(attenuation)
    again = water * tissues.coefficients("water", at)[0] + bone * tissues.coefficients("cortical_bone", at)[0]
    assert again == pytest.approx(attenuation, rel=1e-5, abs=1e-8)


def test_true_densities_are_those_of_the_image() -> None:
    densities = Tissues(HounsfieldScale()).densities(np.array([[-1200.0, 0.0], [50.0, 1606.0]]))
    assert densities["water"] == pytest.approx(np.array([[0, 1], [1.05, 0]]), abs=1e-5)
    assert densities["cortical_bone"][1, 1] == pytest.approx(1.92, rel=0.03)
