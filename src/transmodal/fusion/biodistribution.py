"""From one acquisition over one anatomy to its answers: regions, curves, fits, pictures and a report in one folder."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas
import PIL.Image

from transmodal.errors import UserError
from transmodal.fusion.answers import Answers, answer, fit_all
from transmodal.fusion.background import Background
from transmodal.fusion.curves import TimeActivity, time_activity
from transmodal.fusion.estimates import Estimate
from transmodal.fusion.fit_areas import Area
from transmodal.fusion.kinetic_fit import KineticFit
from transmodal.fusion.misfit import misfit
from transmodal.fusion.organ_peaks import organs_by_peak
from transmodal.fusion.outputs import STUDIED, is_made_in, require_new_results
from transmodal.fusion.overlay import Overlay, OverlaySettings, fuse
from transmodal.fusion.regions import Regions, target_of
from transmodal.fusion.registration import Registration
from transmodal.fusion.registration_doubts import explained_by, far_off_line
from transmodal.fusion.report import Study, write_report
from transmodal.fusion.report_pictures import regions_picture
from transmodal.fusion.target_scale import scaled_for_target
from transmodal.fusion.units import Attenuation, doubts_of_depth
from transmodal.fusion.writing import write_overlay
from transmodal.images.files import write_text
from transmodal.images.image import Image, picture_affine
from transmodal.images.nuclear.frame_order import in_time_order, since_injection
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.synthetic import write_derived
from transmodal.reporting.html import Picture


@dataclass(frozen=True, eq=False)
class Biodistribution:
    """What was found in one acquisition.

    Attributes:
        curves: of all regions.
        fits: by region; empty without isotope or times, or of a single frame.
        answers: None where no region is the target.
        overlay: the sum of all frames over the anatomy.
        files: what was written, name → path.
    """

    curves: TimeActivity
    fits: Mapping[str, KineticFit]
    answers: Answers | None
    overlay: Overlay
    files: Mapping[str, Path]


def follow(
    anatomy: Image,
    series: NuclearSeries,
    registration: Registration,
    regions: Regions,
    folder: Path,
    *,
    background: Background | None = None,
    attenuation: Mapping[str, Attenuation] | None = None,
    target: str = "",
    frame_length: float | None = None,
    settings: OverlaySettings | None = None,
    said: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
    commands: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
) -> Biodistribution:
    """Follow the activity of all regions through time, and write what comes of it.

    Writes overlay.png, regions.png, curves.csv, fits.csv, organs.csv, answers.csv (with a target), registration.json
    and report.html. With `overwrite`, fits.csv and answers.csv of an earlier run are removed where there are none now.

    Args:
        anatomy: the picture.
        series: frames of counts.
        registration: of the nuclear field to the anatomy.
        regions: over the anatomy.
        folder: to write into; it holds no input.
        background: how background is found; None takes none off.
        attenuation: region → tissue and µ.
        target: the region asked about; "" for the one with that role or name, and no answers where there is none.
        frame_length: s, of the later scan that the answers plan; None for the longest frame of this one.
        settings: of the overlay.
        said: further lines that put the numbers in doubt, such as what models warned of.
        facts: further facts for the report, name → value.
        commands: that repeat it.
        progress: called with (done, total).
        overwrite: write over the results of an earlier run.

    Raises:
        UserError: the folder holds an input, or results without `overwrite`; a region lies outside the field, there is
            no such target, or as `time_activity` and `fuse` say.
    """
    inputs = [image.source.path for image in (anatomy, series) if not is_made_in(folder, image.source.path)]
    require_new_results(folder, STUDIED, inputs, overwrite=overwrite)
    series = in_time_order(series)
    steps = _Steps(progress, 6)
    overlay = fuse(anatomy, series, registration, settings)
    regions = _with_roles(regions, target, background)
    since_injection(series)
    with explained_by(registration.said):
        weights = regions.on(series, registration.transform)
    steps.next()
    overlay, scaled = scaled_for_target(overlay, weights, target)
    curves = time_activity(series, weights, background, attenuation=attenuation)
    depths = {name: each for name, each in (attenuation or {}).items() if name not in regions.outside}
    far = far_off_line(registration.error_mm, series, registration.transform)
    said = (*far, *said, *doubts_of_depth(depths, anatomy))
    curves = replace(
        curves, said=tuple(dict.fromkeys([*curves.said, *overlay.said, *said])), doubts=(*curves.doubts, *said)
    )
    name = target_of(curves.names, curves.roles)
    steps.next()
    fits = fit_all(curves) if curves.counts.shape[1] > 1 else {}
    steps.next()
    answers = answer(curves, fits, target=name, frame_length=frame_length) if name else None
    files = {
        "overlay": write_overlay(overlay, folder / "overlay.png"),
        "regions": write_regions_picture(regions, anatomy, folder / "regions.png"),
        "curves": curves.write_csv(folder / "curves.csv"),
        "organs": _write_table(organs_by_peak(curves, fits), folder / "organs.csv"),
        "registration": registration.write(folder / "registration.json"),
    }
    steps.next()
    for word, table in (
        ("fits", fits_table(fits) if fits else None),
        ("answers", None if answers is None else answers.table()),
    ):
        place = folder / f"{word}.csv"
        if table is not None:
            files[word] = _write_table(table, place)
        else:
            place.unlink(missing_ok=True)
    study = Study(
        curves,
        fits,
        answers,
        regions,
        anatomy,
        [Picture(files["overlay"].read_bytes(), "Activity over the anatomy", f"All frames together.{scaled}")],
        title=f"{series.agent or 'Activity'} over {'synthetic ' if overlay.backdrop.mark else ''}anatomy",
        registration=in_words(registration),
        settings=facts or {},
        commands=commands,
        label=overlay.label,
    )
    steps.next()
    files["report"] = write_report(study, folder / "report.html")
    steps.next()
    return Biodistribution(curves, fits, answers, overlay, files)


def _with_roles(regions: Regions, target: str, background: Background | None) -> Regions:
    """Give the target that is asked for or found its role, and the region that is named as background its own.

    Raises:
        UserError: there is no such region, or one would be both.
    """
    beside = background.region if background is not None and background.how == "region" else ""
    regions = regions.with_roles(background=beside)
    if target:
        regions.number(target)
    asked = [name for name, role in zip(regions.names, regions.roles, strict=True) if role == "target"]
    if len(asked) > 1 and not target:
        raise UserError(f"several regions have the role target: {', '.join(asked)}; name one with --target")
    name = target_of(regions.names, regions.roles, target)
    if name and regions.roles[regions.names.index(name)] == "background":
        if target:
            raise UserError(f"{name} is the background and cannot be the target; name another of them")
        return regions
    return regions.with_roles(target=name)


def frames_of(series: NuclearSeries, frames: Sequence[int]) -> NuclearSeries:
    """Return some frames of a series, numbered from 0, in their order."""
    chosen = sorted(frames)
    starts, durations = (None if each is None else each[chosen] for each in (series.starts, series.durations))
    return replace(series, frames=series.frames[chosen], starts=starts, durations=durations)


def counted_span(series: NuclearSeries) -> str:
    """Return from when to when frames were counted, and for how long where they leave gaps; "" without times."""
    if series.starts is None or series.durations is None:
        return ""
    end, counted = float((series.starts + series.durations).max()), float(series.durations.sum())
    words = f"{len(series)} frame{'s together' if len(series) > 1 else ''}, {series.starts[0]:g} to {end:g} s after the"
    gaps = f", {counted:g} s of them counted" if counted < 0.999 * (end - series.starts[0]) else ""
    return f"{words} injection{gaps}"


def fits_table(fits: Mapping[str, KineticFit]) -> pandas.DataFrame:
    """Return a row a region and quantity: model, misfit (χ² by its degrees of freedom), value, 95 % interval, unit."""
    rows = [
        {
            "region": region,
            "model": fitted.model,
            "misfit": misfit(fitted),
            "quantity": name,
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "unit": estimate.unit,
            "note": estimate.note,
        }
        for region, fitted in fits.items()
        for name, estimate in (*fitted.estimates.items(), *_areas(fitted.area))
    ]
    return pandas.DataFrame(
        rows, columns=["region", "model", "misfit", "quantity", "value", "low", "high", "unit", "note"]
    )


def _areas(area: Area | None) -> list[tuple[str, Estimate]]:
    """Return the areas under a curve by the names that they have in tables."""
    if area is None:
        return []
    note = "; ".join(filter(None, ["by the fit", area.observed.note]))
    before = Estimate(area.before, unit=area.observed.unit, note=note)
    return [
        ("area_before", before), ("area_observed", area.observed), ("area_tail", area.tail),
        ("area_total", area.total), ("area_decaying", area.decaying),
    ]  # fmt: skip


def write_regions_picture(regions: Regions, anatomy: Image, path: Path) -> Path:
    """Draw the outlines of regions over the anatomy as PNG, with the mark of a synthetic anatomy; return the path."""
    drawn = np.array(PIL.Image.open(io.BytesIO(regions_picture(regions, anatomy))).convert("RGB"))
    colours = ("red", "green", "blue")
    picture = Image(drawn, picture_affine((1.0, 1.0)), colours, "intensity", has_physical_size=False)
    return write_derived(picture, path, of=anatomy, how=f"outlines of {', '.join(regions.names)} drawn over it")


def in_words(registration: Registration) -> str:
    """Return how two fields were brought together, and how far off that is."""
    if registration.error_mm is None:
        return f"{registration.how}; error not known"
    return f"{registration.how}; {registration.error_text()} off on average, each point left out in turn"


def _write_table(table: pandas.DataFrame, path: Path) -> Path:
    return write_text(path, table.to_csv(index=False, float_format="%.9g"))


class _Steps:
    """Counts what is done of a few steps."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self.progress, self.done, self.total = progress, 0, total

    def next(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
