"""What degradations by rays of many energies have in common: tube, detector, tissue, calibration on water."""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from transmodal.tomography.degradations.degradation import Degradation
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.polychromatic import Response, Tissues
from transmodal.tomography.spectrum import Detector, Tube


class Polychromatic(Degradation):
    """Settings that all such degradations of one scan must share."""

    order: ClassVar[int] = 30
    tube: Tube = Tube()
    detector: Detector = "integrating"
    reference_kev: float = Field(70.0, ge=20.0, le=140.0, description="energy of the image's own attenuation")
    water_hu: float = Field(100.0, description="tissue up to here is water")
    bone_hu: float = Field(1500.0, description="tissue from here on is bone; a mixture in between")
    water_correction: bool = Field(False, description="the cubic correction that makes water read right, 0 to 500 mm")
    calibration_mm: float = Field(
        200.0, gt=0.0, le=500.0, description="of water that reads right when the cubic correction is off"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.water_hu < self.bone_hu:
            raise ValueError(f"water_hu {self.water_hu:g} must lie below bone_hu {self.bone_hu:g}")
        return self

    def response(self) -> Response:
        """Return what the detector sees of the open beam: one channel."""
        spectrum = self.tube.spectrum()
        return Response(spectrum.energies, spectrum.detected(self.detector)[None], np.ones(1))

    def tissues(self, scale: HounsfieldScale) -> Tissues:
        """Return how tissue is split."""
        return Tissues(scale, self.reference_kev, self.water_hu, self.bone_hu)

    def _corrected(self) -> str:
        return ", corrected for water" if self.water_correction else f", right for {self.calibration_mm:g} mm of water"
