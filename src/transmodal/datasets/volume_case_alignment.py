"""One case of volumes brought on one grid: every image by mutual information, label maps by their image's transform.

Images are resampled once, from their own grid to the last one. What was done is told in a row a volume.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import transmodal
from transmodal.datasets.alignment_montage import Row, write_volume_montage
from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.volume_reading import read_labels, read_volume
from transmodal.errors import UserError
from transmodal.images import Image
from transmodal.images.bias_field import correct_bias_field
from transmodal.images.region import HOW, How, find_region
from transmodal.images.registration import Transform, coverage, index_to_world, register_mutual_information, resample
from transmodal.images.resampling import target_grid
from transmodal.images.synthetic import write_derived

LABEL_NAMES = ("seg", "lesion", "lesions", "mask", "label", "labels", "gt", "brainmask", "brain_mask")
NOT_MRI = ("ct", "cbct", "ctce", "pet", "spect", "dose")
KINDS = ("rigid", "similarity", "affine")
MASK = "mask"

_LEAST_COVERED = 0.5  # of the target grid; less is told, because the rest is filled
_LARGEST_SCALE = 1.15  # heads of one person do not differ more; a scanner's error is below 2 %
_AIR = -100.0  # a border darker than this is air in HU
_ORDERS = {"linear": 1, "cubic": 3}


@dataclass(frozen=True)
class VolumeAlignmentSettings:
    """How the volumes of a case are brought on one grid.

    Attributes:
        to: the modality that stays, whose grid the others take.
        moving: modalities to align; empty for all others of the case.
        kind: "rigid", "similarity" or "affine".
        spacing: voxel size in mm of a common isotropic grid in the orientation of `to`; None for its own grid.
        labels: modalities that are label maps: not registered, nearest value; None for those with a usual name
            (LABEL_NAMES or seg_…, whatever the case of the letters).
        labels_of: label map to the image on which it was drawn and whose transform it follows; the rest follow `to`.
        interpolation: of images: "linear" or "cubic".
        bias_correction: divide MR images by their bias field (N4) before they are registered.
        not_mri: modalities that have no bias field.
        region: how a region is found: "auto", "nonzero" or "otsu".
        mask_modality: a label map that is the region of the image it belongs to, instead of a found one.
        write_mask: write the region on the target grid as modality `mask`, without what some image does not reach.
        max_shift_mm: the middle of an image that was moved further is "over threshold".
        max_rotation_degrees: so is an image that was turned by more.
        seed: of the sampling.
    """

    to: str
    moving: tuple[str, ...] = ()
    kind: str = "rigid"
    spacing: float | None = None
    labels: tuple[str, ...] | None = None
    labels_of: dict[str, str] = field(default_factory=dict)
    interpolation: str = "linear"
    bias_correction: bool = False
    not_mri: tuple[str, ...] = NOT_MRI
    region: How = "auto"
    mask_modality: str | None = None
    write_mask: bool = False
    max_shift_mm: float = 30.0
    max_rotation_degrees: float = 15.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        for name, value, known in (
            ("transform", self.kind, KINDS),
            ("interpolation", self.interpolation, tuple(_ORDERS)),
            ("region", self.region, HOW),
        ):
            if value not in known:
                raise UserError(f"There is no {name} {value!r} for volumes; choose {', '.join(known)}")
        if self.spacing is not None and not 0 < self.spacing < np.inf:
            raise UserError(f"A voxel size of {self.spacing} mm is none; give a positive number")
        if self.is_label(self.to):
            raise UserError(f"{self.to} is a label map, to which nothing can be aligned; choose an image")

    def is_label(self, modality: str) -> bool:
        """Say whether a modality is a label map."""
        if modality == self.mask_modality or modality in self.labels_of:
            return True
        if self.labels is not None:
            return modality in self.labels
        return modality.lower() in LABEL_NAMES or modality.lower().startswith("seg_")


@dataclass(frozen=True)
class VolumeAlignment:
    """What became of one volume: a row of alignment.csv.

    Attributes:
        role: "target" (gives the grid), "image" (registered) or "label" (carried along).
        status: "ok", "over threshold", "not judged" or "failed".
        nmi_before: normalised mutual information in [1, 2] with the target as the volumes lay.
        nmi_after: the same after alignment.
        shift_mm: how far the middle of the volume was moved.
        rotation_degrees: how far it was turned.
        scale: the largest factor by which an axis was stretched or (inverted) shrunk; 1 for rigid transforms.
        moved_mm: mean distance by which the points of the target's region were moved.
        covered: the share of the target grid that the volume reaches; the rest is filled.
        problem: why it failed or is doubtful.
        image: the written file below the output folder.
        transform: the transform file below the output folder; maps points of the volume to points of the target.
    """

    case: str
    subject: str
    session: str
    modality: str
    role: str
    status: str = "failed"
    nmi_before: float | None = None
    nmi_after: float | None = None
    shift_mm: float | None = None
    rotation_degrees: float | None = None
    scale: float | None = None
    moved_mm: float | None = None
    covered: float | None = None
    problem: str = ""
    image: str = ""
    transform: str = ""


def align_case(case: CaseFiles, settings: VolumeAlignmentSettings, out: Path) -> list[VolumeAlignment]:
    """Align the volumes of one case and write them, their transforms, the mask and a picture to judge by.

    Args:
        case: has the modality `settings.to`.
        settings: how.
        out: the folder to fill: `<modality>/<case>.nii.gz`, `transforms/<case>_<modality>.json`,
            `overlays/<case>.png`.

    Returns:
        A row a volume, the target first; a volume that failed says why, and all do when the target fails.
    """
    names = _wanted(case, settings)
    rows = {name: VolumeAlignment(case.id, case.subject, case.session, name, _role(name, settings)) for name in names}
    try:
        return _Case(case, settings, out, rows).align()
    except UserError as error:
        told = f"the target {settings.to} cannot be used: {error}"
        return [replace(row, problem=str(error) if name == settings.to else told) for name, row in rows.items()]


def _wanted(case: CaseFiles, settings: VolumeAlignmentSettings) -> list[str]:
    """Return the modalities to work on: the target, then images, then label maps."""
    there = [name for name in case.files if name != settings.to]
    images = [name for name in there if not settings.is_label(name)]
    images = [name for name in images if not settings.moving or name in settings.moving]
    return [settings.to, *images, *(name for name in there if settings.is_label(name))]


def _role(name: str, settings: VolumeAlignmentSettings) -> str:
    return "target" if name == settings.to else "label" if settings.is_label(name) else "image"


class _Case:
    """The work on one case; what several volumes need of each other is kept here."""

    def __init__(
        self, case: CaseFiles, settings: VolumeAlignmentSettings, out: Path, rows: dict[str, VolumeAlignment]
    ) -> None:
        self.case, self.settings, self.out, self.rows = case, settings, out, rows
        self.transforms = {settings.to: Transform.identity(3)}
        self.pictured: list[Row] = []

    def align(self) -> list[VolumeAlignment]:
        settings, rows = self.settings, self.rows
        original = read_volume(self.case.files[settings.to])
        self.grid = target_grid(original, settings.spacing)
        self.region = self._region(settings.to, original)
        self.target = self._corrected(settings.to, original, self.region)
        self.points = _points(self.target, self.region)
        self.shown = self._resampled(self.target)
        self.reached = coverage(original, self.grid)
        place = self._write(settings.to, self.shown)
        rows[settings.to] = replace(
            rows[settings.to], status="ok", image=place, covered=float(self.reached.mean()), problem=""
        )
        for name, row in list(rows.items()):
            if name == settings.to:
                continue
            try:
                rows[name] = self._image(name, row) if row.role == "image" else self._label(name, row)
            except UserError as error:
                rows[name] = replace(row, problem=str(error))
        if settings.write_mask:
            self._write_mask()
        if self.pictured:
            write_volume_montage(self.pictured, self.out / "overlays" / f"{self.case.id}.png")
        return list(rows.values())

    def _image(self, name: str, row: VolumeAlignment) -> VolumeAlignment:
        original = read_volume(self.case.files[name])
        moving = self._corrected(name, original, None)
        transform, before, after = register_mutual_information(
            moving, self.target, kind=self.settings.kind, seed=self.settings.seed
        )
        aligned = self._resampled(moving, transform)
        covered = coverage(moving, self.grid, transform)
        self.reached &= covered
        self.transforms[name] = transform
        file = transform.write(self.out / "transforms" / f"{self.case.id}_{name}.json")
        row = replace(
            row,
            nmi_before=before,
            nmi_after=after,
            covered=float(covered.mean()),
            image=self._write(name, aligned),
            transform=file.relative_to(self.out).as_posix(),
            **_motion(transform, moving, self.points),
        )
        problems = _doubts(row, self.settings)
        status = "over threshold" if problems else "ok"
        if after <= before:
            status = "not judged" if not problems else status
            problems.append("left as it lay, no place with more mutual information was found")
        row = replace(row, status=status, problem="; ".join(problems))
        title = f"{self.case.id}: {name} on {self.settings.to}, {status}, moved {row.moved_mm:.1f} mm"
        self.pictured.append(Row(title, self.shown, self._resampled(moving), aligned))
        return row

    def _label(self, name: str, row: VolumeAlignment) -> VolumeAlignment:
        owner = self.settings.labels_of.get(name, self.settings.to)
        if owner not in self.transforms:
            raise UserError(f"{name} belongs to {owner}, which the case lacks or which was not aligned")
        labels = read_labels(self.case.files[name])
        transform = self.transforms[owner]
        carried = resample(labels, self.grid, transform, order=0)
        problem = ""
        if labels.pixels.any() and not carried.pixels.any():
            problem = "none of its labels lies on the target grid; does it belong to another image (--labels-of)?"
        return replace(
            row,
            status="over threshold" if problem else "ok",
            problem=problem,
            image=self._write(name, carried),
            covered=float(coverage(labels, self.grid, transform).mean()),
        )

    def _region(self, name: str, image: Image) -> npt.NDArray[np.bool_]:
        """Return the user's mask of an image, or the region found in it."""
        mask = self.settings.mask_modality
        if mask in self.case.files and self.settings.labels_of.get(mask, self.settings.to) == name:
            return np.asarray(resample(read_labels(self.case.files[mask]), image, order=0).pixels != 0)
        return find_region(image.pixels, self.settings.region)

    def _corrected(self, name: str, image: Image, region: npt.NDArray[np.bool_] | None) -> Image:
        is_mri = name.lower() not in self.settings.not_mri and image.quantity != "HU"
        if not (self.settings.bias_correction and is_mri):
            return image
        return correct_bias_field(image, self._region(name, image) if region is None else region)[0]

    def _resampled(self, image: Image, transform: Transform | None = None) -> Image:
        if transform is None and image.same_grid(self.grid, tolerance=0.0):
            return image
        order = _ORDERS[self.settings.interpolation]
        return resample(image, self.grid, transform, order=order, fill=_background(image))

    def _write(self, name: str, image: Image) -> str:
        place = Path(name) / f"{self.case.id}.nii.gz"
        how = f"put on the grid of {self.settings.to} by transmodal {transmodal.__version__}, data align"
        write_derived(image, self.out / place, of=image, how=how)
        return place.as_posix()

    def _write_mask(self) -> None:
        """Write the region on the target grid; a modality of that name which the user brought stays his."""
        if MASK in self.rows and self.settings.mask_modality != MASK:
            return
        region = Image(self.region.astype(np.uint8), self.target.affine)
        resampled = resample(region, self.grid, order=0)
        pixels = resampled.pixels.astype(bool) & self.reached
        mask = Image(pixels.astype(np.uint8), self.grid.affine, source=resampled.source)
        problem = "" if pixels.any() else "the region is empty; choose another --region or give --mask-modality"
        self.rows[MASK] = VolumeAlignment(
            self.case.id,
            self.case.subject,
            self.case.session,
            MASK,
            "label",
            "ok" if not problem else "over threshold",
            covered=float(self.reached.mean()),
            problem=problem,
            image=self._write(MASK, mask),
        )


def _background(image: Image) -> float:
    """Return what fills the grid beyond the image: 0, or the border's value where that is air in HU."""
    faces = [np.take(image.pixels, (0, -1), axis=axis).ravel() for axis in range(3)]
    border = float(np.nanmedian(np.concatenate(faces)))
    return border if border < _AIR else 0.0


def _points(image: Image, region: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return up to some thousand points of the region, or of the whole grid where it is empty, in mm."""
    where = np.argwhere(region if region.any() else np.ones_like(region))
    where = where[:: max(1, len(where) // 5000)]
    to_world = index_to_world(image)
    return np.asarray(where @ to_world[:3, :3].T + to_world[:3, 3])


def _motion(transform: Transform, moving: Image, points: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return how far a volume was moved, turned and stretched."""
    linear = transform.matrix[:3, :3]
    left, singular, right = np.linalg.svd(linear)
    cosine = (np.trace(left @ right) - 1) / 2
    middle = index_to_world(moving)[:3] @ [*((np.array(moving.shape) - 1) / 2), 1.0]
    return {
        "shift_mm": float(np.linalg.norm(transform.apply(middle) - middle)),
        "rotation_degrees": float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        "scale": float(max(singular.max(), 1 / singular.min())),
        "moved_mm": float(np.linalg.norm(transform.inverse().apply(points) - points, axis=1).mean()),
    }


def _doubts(row: VolumeAlignment, settings: VolumeAlignmentSettings) -> list[str]:
    """Return in words what makes an alignment doubtful."""
    found = []
    if (row.shift_mm or 0.0) > settings.max_shift_mm:
        found.append(f"moved by {row.shift_mm:.0f} mm")
    if (row.rotation_degrees or 0.0) > settings.max_rotation_degrees:
        found.append(f"turned by {row.rotation_degrees:.0f}°")
    if (row.scale or 1.0) > _LARGEST_SCALE:
        found.append(f"stretched by {row.scale:.2f}")
    if (row.covered or 0.0) < _LEAST_COVERED:
        found.append(f"reaches only {row.covered:.0%} of the target grid")
    return found
