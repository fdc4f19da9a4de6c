import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.materials import DENSITIES, attenuation, mass_attenuation

# cm²/g at 20, 30, 60, 100, 150 keV: J. H. Hubbell, S. M. Seltzer, NISTIR 5632.
_PUBLISHED = {
    "water": (0.8096, 0.3756, 0.2059, 0.1707, 0.1505),
    "cortical_bone": (4.001, 1.331, 0.3148, 0.1855, 0.1480),
    "aluminium": (3.441, 1.128, 0.2778, 0.1704, 0.1378),
    "titanium": (15.85, 4.972, 0.7661, 0.2721, 0.1649),
    "iron": (25.68, 8.176, 1.205, 0.3717, 0.1964),
    "copper": (33.79, 10.92, 1.593, 0.4584, 0.2217),
    "iodine": (25.43, 8.561, 7.579, 1.942, 0.6978),
    "gold": (78.83, 27.52, 4.528, 5.158, 1.860),
    "lead": (86.36, 30.32, 5.021, 5.549, 2.014),
    "tungsten": (65.73, 22.73, 3.713, 4.438, 1.581),
}


@pytest.mark.parametrize("material", _PUBLISHED)
def test_coefficients_agree_with_the_published_tables(material: str) -> None:
    assert mass_attenuation(material, [20, 30, 60, 100, 150]) == pytest.approx(_PUBLISHED[material], rel=2e-3)


def test_between_the_numbers_the_curve_is_smooth() -> None:
    # The source itself, XrayDB, at energies that were not tabulated; straight lines would be off by up to 1 %.
    assert float(mass_attenuation("water", 32.5)) == pytest.approx(0.33646, rel=1e-3)
    assert float(mass_attenuation("copper", 135.0)) == pytest.approx(0.26064, rel=1e-3)
    for material in ("water", "cortical_bone", "titanium", "copper"):
        curve = np.log(mass_attenuation(material, np.arange(10, 151)))
        assert (np.diff(curve) < 0).all()
        assert (np.diff(curve, 2) > 0).all()


@pytest.mark.parametrize(
    ("material", "edge", "jump"), [("iodine", 33.169, 5.47), ("gold", 80.725, 4.17), ("lead", 88.005, 4.02)]
)
def test_absorption_edges_are_sharp(material: str, edge: float, jump: float) -> None:
    below, above = mass_attenuation(material, [edge - 0.05, edge + 0.05])
    assert above / below == pytest.approx(jump, rel=0.02)


def test_every_material_is_finite_over_the_whole_range() -> None:
    energies = np.linspace(10, 150, 1401)
    for material in DENSITIES:
        assert np.isfinite(mass_attenuation(material, energies)).all()


def test_linear_coefficients_are_in_inverse_millimetres() -> None:
    assert float(attenuation("water", 70.0)) == pytest.approx(0.0193, rel=5e-3)
    assert float(attenuation("gold", 60.0, density=2.0)) == pytest.approx(4.528 * 2.0 / 10, rel=2e-3)


def test_unknown_materials_and_energies_are_refused() -> None:
    with pytest.raises(UserError, match=r"unobtainium.*known are water"):
        mass_attenuation("unobtainium", 50.0)
    with pytest.raises(UserError, match="eV or MeV"):
        mass_attenuation("water", [0.05])
