"""When frames are taken, and what is counted in them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.image import Source
from transmodal.images.note import NOTICE
from transmodal.images.nuclear.decay import decay_constant, remaining
from transmodal.images.nuclear.isotopes import Isotope
from transmodal.images.nuclear.series import Injection, NuclearSeries
from transmodal.simulation.nuclear.camera import Camera
from transmodal.simulation.nuclear.kinetics import Curve

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_LONGEST = 48 * 3600.0
_MOST_FRAMES = 2000
_TIME = r"(\d+(?:\.\d+)?)\s*(s|min|h)"
_EXAMPLE = "write such as 6x10s,10x5min,@2h,10min (frames one after the other; @ waits until that time)"


@dataclass(frozen=True)
class Schedule:
    """Frames in their order.

    Attributes:
        starts: s after the injection.
        durations: s.
    """

    starts: tuple[float, ...]
    durations: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Read a schedule.

        Arguments: `text`, parts with commas between: "6x10s" six frames of 10 s, "5min" one, each beginning when the
        one before ends, the first at the injection; "@2h" lets the next frame begin 2 h after the injection.
        Raises UserError, naming the part, for what is none, takes no time, goes back, or goes on beyond 48 h.
        """
        starts: list[float] = []
        durations: list[float] = []
        now = 0.0
        parts = [part.strip() for part in text.split(",")]
        for part in parts:
            if jump := re.fullmatch(r"@\s*" + _TIME, part):
                wait = _seconds(jump)
                if wait < now - 1e-9:
                    raise UserError(f"frames {text!r}: {part} lies before the end of the frame before it, {now:g} s")
                now = wait
                continue
            found = re.fullmatch(r"(?:(\d+)\s*x\s*)?" + _TIME, part)
            if found is None:
                raise UserError(f"frames {text!r}: {part!r} is no part of a schedule; {_EXAMPLE}")
            count, long = int(found[1] or 1), float(found[2]) * _UNITS[found[3]]
            if count == 0 or long <= 0.0:
                raise UserError(f"frames {text!r}: {part} takes no time; give a count and a time above 0")
            if len(starts) + count > _MOST_FRAMES:
                raise UserError(f"frames {text!r}: more than {_MOST_FRAMES} frames at {part}; take longer ones")
            starts += [now + index * long for index in range(count)]
            durations += [long] * count
            now += count * long
            if now > _LONGEST:
                raise UserError(f"frames {text!r}: {part} ends after {now / 3600:g} h; end within 48 h")
        if not starts:
            raise UserError(f"frames {text!r} hold no frame; {_EXAMPLE}")
        return cls(tuple(starts), tuple(durations))


def _seconds(jump: "re.Match[str]") -> float:
    return float(jump[1]) * _UNITS[jump[2]]


def draw_injection(activity: float, isotope: Isotope, rng: np.random.Generator) -> Injection:
    """Return the syringe's readings such that exactly `activity` Bq were injected at time 0.

    It was measured full 4 to 12 min before and with 2 to 6 % left in it 1 to 4 min after the injection.
    """
    before_at, after_at = -rng.uniform(240.0, 720.0), rng.uniform(60.0, 240.0)
    left = activity * rng.uniform(0.02, 0.06)
    before = (activity + left) * float(remaining(isotope.half_life, before_at))
    return Injection(before, before_at, left * float(remaining(isotope.half_life, after_at)), after_at)


@dataclass(frozen=True, eq=False)
class Scan:
    """One acquisition without its noise.

    Attributes:
        agent: the compound's name.
        isotope: its label.
        activity: injected at time 0, Bq.
        injection: the syringe's readings.
        curves: place to %ID over time.
        projections: place to (h, w), counts a second of each pixel for 1 Bq in it.
        camera: that it was seen by.
        schedule: the frames.
    """

    agent: str
    isotope: Isotope
    activity: float
    injection: Injection
    curves: Mapping[str, Curve]
    projections: Mapping[str, npt.NDArray[np.float64]]
    camera: Camera
    schedule: Schedule = field(repr=False)

    @property
    def decay(self) -> float:
        """The isotope's decay constant, 1/s."""
        return decay_constant(self.isotope.half_life)

    def decays(self, place: str) -> npt.NDArray[np.float64]:
        """Return how many nuclei decay in a place in each frame, (F,): the integral of its activity, Bq s."""
        integral = self.curves[place].integral(self.schedule.starts, self.schedule.durations, self.decay)
        return self.activity / 100.0 * integral

    def contribution(self, place: str) -> npt.NDArray[np.float64]:
        """Return the expected counts of one place alone, (F, h, w)."""
        return self.decays(place)[:, None, None] * self.projections[place]

    def background(self) -> npt.NDArray[np.float64]:
        """Return the expected counts of the background in a pixel of each frame, (F,)."""
        return self.camera.background * self.camera.pixel**2 * np.asarray(self.schedule.durations)

    def expected(self) -> npt.NDArray[np.float64]:
        """Return the expected counts of all places and the background, (F, h, w), above the saturation too."""
        total = np.zeros((len(self.schedule), *self.camera.shape)) + self.background()[:, None, None]
        for place in self.projections:
            total += self.contribution(place)
        return total

    def seen_share(self, place: str) -> float:
        """Share of a place's counts that attenuation and the field's border leave, wherever they are counted."""
        return float(self.projections[place].sum()) / (self.camera.sensitivity * 1e-6)

    def count(self, rng: np.random.Generator) -> NuclearSeries:
        """Return one noisy acquisition: Poisson counts, cut at the saturation, uint16 where that holds them."""
        counts = np.minimum(rng.poisson(self.expected()), self.camera.saturation)
        dtype = np.uint16 if self.camera.saturation <= 65535 else np.uint32
        said = f"{NOTICE} Simulated by transmodal: mouse, {self.agent}, {type(self.camera).__name__}."
        return NuclearSeries(
            counts.astype(dtype),
            self.camera.affine,
            starts=np.array(self.schedule.starts),
            durations=np.array(self.schedule.durations),
            isotope=self.isotope,
            injection=self.injection,
            sensitivity=self.camera.sensitivity,
            agent=self.agent,
            energy_window=self.camera.energy_window,
            saturation=float(self.camera.saturation),
            source=Source(derivation=said),
        )
