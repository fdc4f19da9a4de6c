import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.hounsfield import LODOPAB, HounsfieldScale


def test_water_and_air_read_as_the_scale_says() -> None:
    scale = HounsfieldScale(water=0.0192, air=0.0002)
    assert scale.to_attenuation([0.0, -1000.0]) == pytest.approx([0.0192, 0.0002], abs=1e-8)
    assert scale.to_hounsfield([0.0192, 0.0002]) == pytest.approx([0.0, -1000.0], abs=1e-2)


def test_there_and_back_gives_the_same_values_and_float32() -> None:
    hu = np.linspace(-1024, 3071, 50).reshape(5, 10)
    back = LODOPAB.to_hounsfield(LODOPAB.to_attenuation(hu))
    assert back.dtype == np.float32
    assert back == pytest.approx(hu, abs=2e-3)


def test_the_constants_of_lodopab_give_its_largest_attenuation() -> None:
    assert float(LODOPAB.to_attenuation(3071.0)) * 1000 == pytest.approx(81.35858, rel=1e-6)  # per metre, as published


@pytest.mark.parametrize("settings", [{"water": 0.0}, {"water": 0.02, "air": 0.03}, {"water": np.nan}, {"water": 20.0}])
def test_impossible_scales_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UserError):
        HounsfieldScale(**settings)


def test_metres_are_recognised() -> None:
    with pytest.raises(UserError, match="divide 1/cm by 10 and 1/m by 1000"):
        HounsfieldScale(water=20.0)
