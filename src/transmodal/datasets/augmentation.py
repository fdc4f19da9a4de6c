"""Augmentation of paired images: one geometry for all images of a case, tones for the inputs alone.

Mirror, affine map, jitter crop (P. Isola et al., "Image-to-image translation with conditional adversarial networks",
CVPR 2017: resize 256 to 286, cut 256 out at random) and an elastic B-spline field are composed into one map and every
image is interpolated once. Then, on inputs only, blur, contrast, brightness, gamma and noise.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from transmodal.datasets import augmentation_kernels as kernels
from transmodal.datasets.augmentation_geometry import Motion, compose, elastic_control
from transmodal.errors import UserError

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Pixels = NDArray[np.float32]

_BORDERS = {"reflect": kernels.REFLECT, "replicate": kernels.REPLICATE, "lowest": kernels.LOWEST}


class AugmentationSettings(BaseModel):
    """How far images are changed at random; the defaults change nothing.

    A magnitude is the largest change; the change is drawn evenly from -magnitude to +magnitude (factors evenly in
    their logarithm, noise and blur from 0). A probability is that of the change being made at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip_horizontal: Probability = Field(0.0, description="probability of mirroring left and right (the last axis)")
    flip_vertical: Probability = Field(0.0, description="probability of mirroring up and down")
    flip_depth: Probability = Field(0.0, description="probability of mirroring the slices; volumes only")

    affine_probability: Probability = Field(1.0, description="of rotation, scale, shear and translation together")
    rotation_degrees: float = Field(0.0, ge=0.0, le=180.0, description="about the centre; volumes: about each axis")
    scale: tuple[float, float] = Field((1.0, 1.0), description="smallest and largest factor, within 0.25 and 4")
    shear_degrees: float = Field(0.0, ge=0.0, le=45.0)
    translation: float = Field(0.0, ge=0.0, le=0.5, description="fraction of the field, along each axis")

    jitter_probability: Probability = 1.0
    jitter: float = Field(1.0, ge=1.0, le=2.0, description="factor of the resize before the crop; pix2pix: 286/256")

    elastic_probability: Probability = 1.0
    elastic_amplitude: float = Field(0.0, ge=0.0, le=0.25, description="fraction of the shortest side of the field")
    elastic_cells: int = Field(6, ge=1, le=64, description="cells of the spline along the shortest side")

    photometric: Literal["inputs", "none"] = Field("inputs", description="which modalities change in tone")
    tone_probability: Probability = Field(1.0, description="of brightness, contrast and gamma together")
    brightness: float = Field(0.0, ge=0.0, le=1.0, description="added, in units of the range [-1, 1]")
    contrast: tuple[float, float] = Field((1.0, 1.0), description="factors about mid-range, within 0.1 and 10")
    gamma: tuple[float, float] = Field((1.0, 1.0), description="exponents on [0, 1], within 0.2 and 5")
    noise_probability: Probability = 1.0
    noise: float = Field(0.0, ge=0.0, le=1.0, description="standard deviation, in units of the range [-1, 1]")
    blur_probability: Probability = 1.0
    blur: float = Field(0.0, ge=0.0, le=20.0, description="standard deviation of the Gaussian, pixels")

    border: Literal["reflect", "replicate", "lowest"] = Field("reflect", description="beyond the field; lowest: -1")

    @model_validator(mode="after")
    def _refuse_impossible(self) -> Self:
        for name, lowest, highest in (("scale", 0.25, 4.0), ("contrast", 0.1, 10.0), ("gamma", 0.2, 5.0)):
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(
                    f"{name}: [{low:g}, {high:g}] must be smallest, then largest, within [{lowest:g}, {highest:g}]"
                )
        # Y. Choi, S. Lee, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions", Graphical Models
        # 62(6), 2000: no folding below 0.48 (plane) and 0.40 (volume) of a cell.
        if self.elastic_amplitude * self.elastic_cells > 0.4:
            raise ValueError(
                f"elastic_amplitude: {self.elastic_amplitude:g} of the field in {self.elastic_cells} cells would fold "
                f"the image; at most {0.4 / self.elastic_cells:.3g} with this many elastic_cells"
            )
        return self

    def describe(self) -> str:
        """Say in one line for people what is changed, how far and how often; "no augmentation" if nothing is."""
        parts = [
            f"mirror {name}{_often(value)}"
            for name, value in (
                ("left-right", self.flip_horizontal),
                ("up-down", self.flip_vertical),
                ("slices", self.flip_depth),
            )
            if value > 0
        ]
        affine = _named(("rotation ±{:g}°", self.rotation_degrees), ("scale ×{:g}–{:g}", self.scale))
        affine += _named(("shear ±{:g}°", self.shear_degrees), ("translation ±{:.3g} of the field", self.translation))
        parts += _told(affine, self.affine_probability)
        parts += _told(_named(("jitter crop ×{:.4g}", self.jitter)), self.jitter_probability)
        elastic = _named(("elastic ±{:.3g} of the field", self.elastic_amplitude))
        parts += _told([f"{text} in {self.elastic_cells} cells" for text in elastic], self.elastic_probability)
        if parts and self.border != "reflect":
            parts.append(f"border {self.border}")
        if self.photometric == "inputs":
            tones = _named(("brightness ±{:g}", self.brightness), ("contrast ×{:g}–{:g}", self.contrast))
            tones += _named(("gamma {:g}–{:g}", self.gamma))
            on_inputs = _told(tones, self.tone_probability)
            on_inputs += _told(_named(("blur up to {:g} pixels", self.blur)), self.blur_probability)
            on_inputs += _told(_named(("noise up to {:g}", self.noise)), self.noise_probability)
            parts += ["on inputs: " + ", ".join(on_inputs)] if on_inputs else []
        return "; ".join(parts) or "no augmentation"


def _often(probability: float) -> str:
    return "" if probability == 1.0 else f" ({100 * probability:.3g} %)"


def _named(*settings: tuple[str, float | tuple[float, float]]) -> list[str]:
    """Fill the templates of those settings that change something."""
    still = (0.0, 1.0, (1.0, 1.0))
    return [text.format(*value) if isinstance(value, tuple) else text.format(value)
            for text, value in settings if value not in still]  # fmt: skip


def _told(texts: list[str], probability: float) -> list[str]:
    return [", ".join(texts) + _often(probability)] if texts and probability > 0 else []


class Augmenter:
    """Changes the images of one case at random, all by the same geometry.

    Holds settings only: one augmenter serves any number of threads and processes, each call with its own generator.
    """

    def __init__(
        self,
        settings: AugmentationSettings,
        spatial_dims: int = 2,
        labels: Collection[str] = (),
        spacing: tuple[float, ...] | None = None,
    ) -> None:
        """Make an augmenter.

        Args:
            settings: what to change, how far and how often.
            spatial_dims: 2 for pictures, 3 for volumes.
            labels: modalities that hold labels: taken from the nearest pixel, never changed in tone.
            spacing: size of a pixel along each spatial axis, in array order, any unit; None for equal sizes. With it
                rotation, shear and the elastic field are true in millimetres.

        Raises:
            ValueError: spatial_dims is not 2 or 3, or spacing does not hold that many positive numbers.
        """
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, not {spatial_dims}")
        self.settings = settings
        self.spatial_dims = spatial_dims
        self.labels = frozenset(labels)
        self.spacing = tuple(spacing) if spacing is not None else (1.0,) * spatial_dims
        if len(self.spacing) != spatial_dims or not all(0 < size < np.inf for size in self.spacing):
            raise ValueError(f"spacing must hold {spatial_dims} positive sizes, not {spacing}")

    def __call__(
        self, arrays: Mapping[str, Pixels], generator: np.random.Generator, *, inputs: Collection[str]
    ) -> dict[str, Pixels]:
        """Augment one case.

        Args:
            arrays: modality to float32 array (channels, height, width) or (channels, depth, height, width), C order,
                in [-1, 1]; labels hold whole numbers. Not changed; may be read-only and memory-mapped.
            generator: the only source of randomness; the same state gives the same result to the bit.
            inputs: the modalities that may change in tone.

        Returns:
            Modality to new float32 array of the same shape, in C order and in the order given; in [-1, 1].

        Raises:
            UserError: the arrays differ in their spatial shape, or one has not the shape said above.
            ValueError: an input is not among the arrays, or an array is not float32.
        """
        shape = self._common_shape(arrays, inputs)
        motion, matrix, control = self._draw_geometry(shape, generator)
        if control is None and motion.is_mirror_only:
            reverse = tuple(slice(None, None, -1 if mirrored else 1) for mirrored in motion.mirrored)
            moved = {name: np.array(array[:, *reverse], np.float32, order="C") for name, array in arrays.items()}
        else:
            moved = {name: np.empty(array.shape, np.float32) for name, array in arrays.items()}
            for nearest in (False, True):
                names = [name for name in arrays if (name in self.labels) == nearest]
                self._warp([arrays[name] for name in names], [moved[name] for name in names], matrix, control, nearest)
        if self.settings.photometric == "inputs":
            # By name, so that the order of the mapping does not change what is drawn for whom.
            for name in sorted(set(inputs) - self.labels):
                moved[name] = self._change_tones(moved[name], generator)
        return moved

    def _common_shape(self, arrays: Mapping[str, Pixels], inputs: Collection[str]) -> tuple[int, ...]:
        absent = sorted(set(inputs) - set(arrays))
        if absent:
            raise ValueError(f"inputs: {', '.join(absent)} not among the arrays ({', '.join(arrays)})")
        shapes = {name: array.shape[1:] for name, array in arrays.items()}
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise ValueError(f"{name}: augmentation takes float32, not {array.dtype}")
            if array.ndim != self.spatial_dims + 1 or 0 in array.shape:
                raise UserError(
                    f"{name}: shape {array.shape} is not channels and {self.spatial_dims} spatial axes; "
                    "prepare the images for this recipe again"
                )
        if len(set(shapes.values())) != 1:
            told = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in shapes.items())
            raise UserError(f"images of one case differ in size: {told or 'no image'}; bring them onto one grid first")
        return next(iter(shapes.values()))

    def _draw_geometry(
        self, shape: tuple[int, ...], generator: np.random.Generator
    ) -> tuple[Motion, NDArray[np.float64], Pixels | None]:
        """Draw a motion and its map; the same count of numbers whatever is switched on, the elastic field aside."""
        settings, dims = self.settings, self.spatial_dims
        chances = generator.random(6)
        turns = generator.uniform(-1.0, 1.0, (3, 3))
        growth, places = generator.random(), generator.random(3)
        flips = (settings.flip_depth, settings.flip_vertical, settings.flip_horizontal)[-dims:]
        affine = chances[3] < settings.affine_probability
        planes = 1 if dims == 2 else 3
        motion = Motion(
            mirrored=tuple(bool(chance < flip) for chance, flip in zip(chances[:dims], flips, strict=True)),
            angles=tuple(affine * settings.rotation_degrees * turns[0, :planes]),
            scale=_between(settings.scale, growth) if affine else 1.0,
            shears=tuple(affine * settings.shear_degrees * turns[1, :planes]),
            shift=tuple(affine * settings.translation * turns[2, :dims]),
            jitter_factor=settings.jitter if chances[4] < settings.jitter_probability else 1.0,
            jitter_place=tuple(places[:dims]),
        )
        matrix = compose(motion, shape, self.spacing)
        if settings.elastic_amplitude == 0.0 or chances[5] >= settings.elastic_probability:
            return motion, matrix, None
        amplitude, cells = settings.elastic_amplitude, settings.elastic_cells
        return motion, matrix, elastic_control(generator, matrix, shape, self.spacing, amplitude, cells)

    def _warp(
        self,
        sources: list[Pixels],
        targets: list[Pixels],
        matrix: NDArray[np.float64],
        control: Pixels | None,
        nearest: bool,
    ) -> None:
        elastic = control is not None
        lattice = (
            control if control is not None else np.zeros([self.spatial_dims] + [4] * self.spatial_dims, np.float32)
        )
        how = (matrix, lattice, elastic, _BORDERS[self.settings.border], nearest)
        views = [np.ascontiguousarray(source).view(np.ndarray) for source in sources]
        for view in views:
            # numba compiles read-only and writable arrays apart: memory-mapped ones come read-only, so all go that way.
            view.setflags(write=False)
        if self.spatial_dims == 3:
            for view, target in zip(views, targets, strict=True):
                kernels.warp_volume(view, target, *how)
        elif views:
            # One call for all of them: what a row of the map costs is shared.
            kernels.warp_planes(tuple(view.reshape(len(view), -1) for view in views), tuple(targets), *how)

    def _change_tones(self, image: Pixels, generator: np.random.Generator) -> Pixels:
        settings = self.settings
        chances, places = generator.random(3), generator.random(5)
        seed = generator.integers(0, 1 << 64, dtype=np.uint64)
        if settings.blur > 0 and chances[0] < settings.blur_probability:
            image = smoothed(image, settings.blur * float(places[0]))
        values = image.reshape(-1)
        toned = settings.brightness > 0 or settings.contrast != (1.0, 1.0) or settings.gamma != (1.0, 1.0)
        if toned and chances[1] < settings.tone_probability:
            brightness = settings.brightness * (2.0 * places[1] - 1.0)
            contrast, gamma = _between(settings.contrast, places[2]), _between(settings.gamma, places[3])
            kernels.adjust_tones(values, np.float32(contrast), np.float32(brightness), np.float32(gamma))
        if settings.noise > 0 and chances[2] < settings.noise_probability:
            deviation = np.float32(settings.noise * places[4])
            kernels.add_noise(values, deviation, seed)
        return image


def _between(bounds: tuple[float, float], place: float) -> float:
    """Give the factor at `place` in [0, 1] between two bounds, evenly in the logarithm."""
    low, high = bounds
    return low if low == high else float(low * (high / low) ** place)


def smoothed(image: Pixels, sigma: float) -> Pixels:
    """Blur with a Gaussian cut off at three standard deviations, the border mirrored.

    Args:
        image: (channels, spatial axes …) float32, C order.
        sigma: standard deviation, pixels; below 0.1 nothing is done.

    Returns:
        The image itself if nothing is done, else a new array of the same shape.
    """
    if sigma < 0.1:
        return image
    taps = np.exp(-0.5 * (np.arange(int(np.ceil(3.0 * sigma)) + 1) / sigma) ** 2)
    half_kernel = (taps / (2.0 * taps.sum() - taps[0])).astype(np.float32)
    for axis in range(1, image.ndim):
        target = np.empty_like(image)
        rows = (int(np.prod(image.shape[:axis])), image.shape[axis], int(np.prod(image.shape[axis + 1 :])))
        kernels.smooth_axis(image.reshape(rows), target.reshape(rows), half_kernel)
        image = target
    return image
