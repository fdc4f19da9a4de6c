"""Where regions come from, together: organs found by a model, a label map, polygons, and where the activity is high."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from transmodal.errors import UserError
from transmodal.fusion.anatomy import find_organs
from transmodal.fusion.fields import is_plain
from transmodal.fusion.region_files import LabelNames, Role, read_label_names, read_polygons
from transmodal.fusion.regions import Regions, region_above, regions_from_labels, regions_from_polygons, target_of
from transmodal.fusion.registration import Registration
from transmodal.fusion.registration_doubts import explained_by
from transmodal.images import Image, read, require_same_grid
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.synthetic import sidecar_of

_NAMES = ("labels.json", "organs.json")  # beside a label map, or in the folder above it


@dataclass(frozen=True)
class RegionSources:
    """What regions are made of; at least one must be given.

    Attributes:
        organs: a run or model that finds organs in the anatomy.
        labels: a label map on the anatomy's grid.
        names: of the label map's values; None looks beside it.
        polygons: a file of hand-drawn regions.
        above: share of the greatest count from which the activity itself makes a region called "hot"; None makes none.
        leave_out: names of regions that are not wanted.
    """

    organs: Path | None = None
    labels: Path | None = None
    names: Path | None = None
    polygons: Path | None = None
    above: float | None = None
    leave_out: Sequence[str] = ()


def find_regions(
    sources: RegionSources,
    anatomy: Image,
    series: NuclearSeries,
    registration: Registration,
    *,
    picture: Path,
    folder: Path,
    spacing: tuple[float, float] | None = None,
    device: str = "auto",
) -> tuple[Regions, tuple[str, ...]]:
    """Return all regions over one anatomy, and what is doubtful of those that a model found.

    Args:
        sources: what they are made of.
        anatomy: the picture.
        series: the activity.
        registration: of the nuclear field to the anatomy.
        picture: the anatomy's file, for the model.
        folder: where the organs' label map is written.
        spacing: (row, column) pixel size in mm of an anatomy that has none.
        device: where the model runs.

    Raises:
        UserError: nothing is given, the label map lies on another grid or has no names, the model finds nothing in the
            nuclear field, or as the readers say. Single organs that it finds outside the field are left out and said.
    """
    found: list[Regions] = []
    known: set[str] = set()  # also those of which this picture has no pixel
    said: tuple[str, ...] = ()
    if sources.organs is not None:
        made, names, said = find_organs(picture, sources.organs, folder / "organs.png", spacing=spacing, device=device)
        with explained_by(registration.said):
            organs = _of_labels(made, names, anatomy).within(series, registration.transform)
        found.append(organs)
        known |= set(names.names.values())
        said = (*said, *_lost(organs, names, sources.leave_out))
    if sources.labels is not None:
        names = _names_of(sources.labels, sources.names)
        known |= set(names.names.values())
        found.append(_of_labels(read(sources.labels), names, anatomy))
    if sources.polygons is not None:
        found.append(regions_from_polygons(read_polygons(sources.polygons), anatomy))
    if sources.above is not None:
        drawn = [name for each in found for name in each.names]
        # Asked of itself, a place of high activity answers nothing; a target on the anatomy goes before it.
        role: Role = "" if target_of(drawn, [role for each in found for role in each.roles]) else "target"
        found.append(region_above(series, anatomy, registration.transform, name="hot", share=sources.above, role=role))
    if not found:
        raise UserError("no regions: give a model of organs, a label map, polygons, or a threshold of the activity")
    everything = found[0].joined(*found[1:])
    unknown = [name for name in sources.leave_out if name not in known.union(everything.names)]
    if unknown:
        raise UserError(f"there is no region {unknown[0]!r} to leave out; there are {', '.join(everything.names)}")
    return everything.without(*sources.leave_out) if sources.leave_out else everything, said


def _lost(found: Regions, names: LabelNames, leave_out: Sequence[str]) -> tuple[str, ...]:
    """Return a line about the organs that a model knows and did not find; none where there are none."""
    known = (*found.names, *found.outside, *leave_out)
    lost = [name for name in names.names.values() if name not in known]
    if not lost:
        return ()
    return (
        f"The model of the organs found no {', no '.join(lost)}: what is there is counted in the regions that lie in "
        "its place, and their values, peaks and half-lives may be its own.",
    )


def _of_labels(labels: Image, names: LabelNames, anatomy: Image) -> Regions:
    """Return the regions of a label map in the anatomy's world.

    A map without a size, or without a place beside an anatomy that has one, lies where the anatomy lies.
    """
    plain = is_plain(labels) or is_plain(anatomy)
    sized = labels.has_physical_size and anatomy.has_physical_size
    if labels.shape != anatomy.shape or not plain or (sized and not np.allclose(labels.spacing, anatomy.spacing)):
        require_same_grid(labels, anatomy)
    placed = replace(labels, affine=anatomy.affine, has_physical_size=anatomy.has_physical_size)
    return regions_from_labels(placed, names)


def _names_of(labels: Path, names: Path | None) -> LabelNames:
    """Read the names of a label map's values: the file that is given, or the first that lies beside it."""
    if names is not None:
        return read_label_names(names)
    folders = (labels.parent, labels.parent.parent)
    beside = [sidecar_of(labels), *(folder / name for folder in folders for name in _NAMES)]
    for file in beside:
        if file.is_file():
            return read_label_names(file)
    looked = ", ".join(file.name for file in beside[:3])
    raise UserError(f"no file beside {labels} says what its values mean (looked for {looked}); name one with --names")
