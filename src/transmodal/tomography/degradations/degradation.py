"""What every degradation is: settings with units, a sentence that tells them, and the moments at which it may act.

A scan runs through the moments in the order of physics, whatever the order in which its degradations are listed:

    views and detector are chosen    FewerAngles, LimitedAngle, LimitedField       `acquire`
    the object moves                 RigidMotion, Breathing                        `poses`
    rays of many energies pass it    BeamHardening, Metal, SpectralBins            settings read by `acquisition`
    the detector reads them          DetectorBlur, Scatter, PhotonNoise, Rings     `read`
    logarithm, correction, reconstruction
    the image is touched             ImageNoise                                    `finish`
"""

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from transmodal.tomography.geometry import FanBeam, ParallelBeam

PlaneBeam = ParallelBeam | FanBeam


@dataclass(frozen=True, eq=False)
class Reading:
    """What the detector reads before the logarithm.

    Attributes:
        transmission: (channels, n, views, bins), against the open beam of the channel.
        beam: where the rays ran.
        shares: of the open beam's photons in each channel, (channels,).
        floor: the least transmission that each channel's logarithm takes, (channels,).
    """

    transmission: NDArray[np.float32]
    beam: PlaneBeam
    shares: NDArray[np.float64]
    floor: NDArray[np.float64]


class Degradation(BaseModel):
    """One way in which a scan falls short of a perfect one.

    A family overrides `describe` and those moments at which it acts; the others leave things as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str
    order: ClassVar[int]  # of the moments above; lower comes first

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        raise NotImplementedError

    def acquire(self, beam: PlaneBeam) -> PlaneBeam:
        """Return the views and bins that are measured."""
        return beam

    def read(self, reading: Reading, random: np.random.Generator) -> tuple[Reading, dict[str, Any]]:
        """Return the changed reading and what there is to note of it, fit for JSON."""
        return reading, {}

    def finish(self, image: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        """Return the changed image, (n, rows, columns) in HU."""
        return image


def stream(seed: int, kind: str) -> np.random.Generator:
    """Return a degradation's own random numbers, which do not depend on what other degradations draw."""
    return np.random.default_rng([seed, zlib.crc32(kind.encode())])
