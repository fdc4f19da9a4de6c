"""Frames of a planar nuclear acquisition in memory: counts as they were stored, and all that is known about them."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.image import Image, Source
from transmodal.images.nuclear.decay import remaining
from transmodal.images.nuclear.isotopes import Isotope

CREDIBLE_MBQ = (1e-3, 1e4)
"""What an injection that a file states may hold, MBq: mice get 0.1 to 100, people up to some thousands."""


@dataclass(frozen=True)
class Injection:
    """What was injected.

    Attributes:
        before: activity of the full syringe, Bq, measured `before_at` seconds after the injection (negative: before).
        before_at: see `before`.
        after: activity left in the syringe, Bq; 0 when it was not measured.
        after_at: when that was measured, seconds after the injection.
    """

    before: float
    before_at: float = 0.0
    after: float = 0.0
    after_at: float = 0.0

    def __post_init__(self) -> None:
        if not (self.before > 0 and self.after >= 0):
            raise UserError(
                f"a syringe of {self.before:g} Bq before and {self.after:g} Bq after the injection; give activities "
                "above 0"
            )

    def activity(self, isotope: Isotope) -> float:
        """Return the injected activity in Bq at the time of the injection.

        Raises:
            UserError: more was left in the syringe than had been in it.
        """
        full = self.before / float(remaining(isotope.half_life, self.before_at))
        left = self.after / float(remaining(isotope.half_life, self.after_at))
        if left >= full:
            raise UserError(
                f"the syringe held {full:.4g} Bq before and {left:.4g} Bq after the injection, both brought to its "
                "time; exchange them, or mend their units and times"
            )
        return full - left


@dataclass(frozen=True, eq=False)
class NuclearSeries:
    """Planar frames of one field of view.

    Attributes:
        frames: (F, H, W) counts as stored, of the file's own type.
        affine: (4, 4), (row, column) to mm, as `Image.affine`.
        starts: (F,) s after the injection, rising; None when the time of the injection is not known.
        durations: (F,) s; None when not known.
        isotope: None when not known.
        injection: None when not known.
        sensitivity: counts a second for each MBq in the field, without attenuation; None when not calibrated.
        agent: the compound, "99mTc-MDP"; may be empty.
        energy_window: keV, (low, high); None when not known.
        saturation: the greatest value that the detector or file can hold; None when not known.
        has_physical_size: False when spacing counts pixels.
        source: the file; its `derivation` says whether it is synthetic.
        said: what the reader noticed and a user should know, a line each.
        doubts: those of `said` that put what is counted in doubt, and so stand beside its numbers.
    """

    frames: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    starts: npt.NDArray[np.float64] | None = None
    durations: npt.NDArray[np.float64] | None = None
    isotope: Isotope | None = None
    injection: Injection | None = None
    sensitivity: float | None = None
    agent: str = ""
    energy_window: tuple[float, float] | None = None
    saturation: float | None = None
    has_physical_size: bool = True
    source: Source = field(default_factory=Source)
    said: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frames.ndim != 3 or 0 in self.frames.shape:
            raise ValueError(f"frames are (F, H, W), not {self.frames.shape}")
        for name, values in (("starts", self.starts), ("durations", self.durations)):
            if values is not None and values.shape != (len(self.frames),):
                raise ValueError(f"{len(self.frames)} frames but {values.shape} {name}")

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def name(self) -> str:
        """The path for messages."""
        return str(self.source.path) if self.source.path else "a nuclear image in memory"

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.frames.shape[1]), int(self.frames.shape[2])

    @property
    def spacing(self) -> tuple[float, float]:
        """(row, column) pixel size in mm."""
        row, column = np.linalg.norm(self.affine[:3, :2], axis=0)
        return float(row), float(column)

    def frame(self, number: int) -> Image:
        """Return one frame, from 0, as an image of counts."""
        return self._image(self.frames[number])

    def summed(self) -> Image:
        """Return the counts of all frames together."""
        dtype = np.float64 if self.frames.dtype.kind == "f" else np.int64
        return self._image(self.frames.sum(axis=0, dtype=dtype))

    def require(self, *names: str) -> None:
        """Raise a UserError that lists all that is not known of what is needed, with the keys of a sidecar.

        Args:
            names: of "isotope", "starts", "durations", "injection" and "sensitivity".
        """
        missing = [words for name, words in _KEYS.items() if name in names and getattr(self, name) is None]
        if missing:
            raise UserError(
                f"{self.name} does not say {', '.join(missing)}; write a sidecar beside it with these keys (see "
                "docs/nuclear.md)"
            )

    def require_times(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return starts and durations.

        Raises:
            UserError: one is not known.
        """
        self.require("starts", "durations")
        assert self.starts is not None and self.durations is not None
        return self.starts, self.durations

    def require_isotope(self) -> Isotope:
        """Return the isotope.

        Raises:
            UserError: it is not known.
        """
        self.require("isotope")
        assert self.isotope is not None
        return self.isotope

    def saturated(self) -> npt.NDArray[np.int64]:
        """Return how many pixels of each frame stand at the greatest value that can be held, (F,)."""
        if self.saturation is None:
            return np.zeros(len(self), np.int64)
        return np.asarray((self.frames >= self.saturation).sum(axis=(1, 2)), dtype=np.int64)

    def with_frames(self, frames: npt.NDArray[Any], *said: str) -> "NuclearSeries":
        """Return the same acquisition with other values, and lines to say about it."""
        return replace(self, frames=frames, said=(*self.said, *said))

    def _image(self, pixels: npt.NDArray[Any]) -> Image:
        return Image(
            pixels, self.affine, quantity="counts", has_physical_size=self.has_physical_size, source=self.source
        )


_KEYS = {
    "isotope": "the isotope (isotope, such as Tc-99m)",
    "starts": "when it was injected (frames: start_s)",
    "durations": "how long its frames last (frames: duration_s)",
    "injection": "what was injected (injected)",
    "sensitivity": "the camera's calibration (sensitivity_cps_per_MBq)",
}
"""What may not be known, in words, and its key in a sidecar."""
