"""Time-activity curves: what every region holds in every frame, as counts, Bq and per cent of the injected activity.

Frames are put in order, counts taken in each region, the background taken off, and `units` makes %ID of what is left.
Standard deviations are those of the counts; calibration and syringe are common to all frames and are not in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.errors import UserError
from transmodal.fusion.background import Background, Corrected, background_name, taken_off
from transmodal.fusion.doubts import (
    below_zero,
    beyond_injected,
    counts_nowhere,
    covered_regions,
    hottest_pixel,
    little_injected,
    partly_outside,
    saturated,
    small_regions,
    within_background,
)
from transmodal.fusion.regions import RegionWeights
from transmodal.fusion.units import Attenuation, InUnits, Scale, averaged, facts_of, in_units, said_of
from transmodal.images.files import write_text
from transmodal.images.nuclear.decay import mean_over
from transmodal.images.nuclear.frame_order import in_time_order, since_injection
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.reporting.figures import plain_number

Array = npt.NDArray[np.float64]
_MOST_HALF_LIVES = 40.0  # after which nothing is left to see: the half-life's unit is wrong


@dataclass(frozen=True, eq=False)
class TimeActivity:
    """Curves of all regions. Arrays are (R, F); what cannot be known is None.

    Attributes:
        names, roles: of the regions.
        pixels: (R,), area in pixels of the nuclear grid.
        counts: within each region, as counted.
        background: over the same area beside it, with its standard deviation `background_sd`.
        net: counts less background; negative values are kept.
        net_sd: Poisson.
        starts, durations, ends: (F,) s after the injection; of frames that were added up the time that was counted,
            and the end of the last.
        rate: net counts a second.
        corrected_rate, corrected_rate_sd, rate_of_count: that decay-corrected to the injection and, where asked, for
            depth; its standard deviation; and what one net count adds to it.
        activity: mean of each frame, Bq, not corrected for decay.
        percent_id: of the injected activity, decay-corrected to the injection.
        percent_id_sd: of that.
        percent_of_count: what one net count adds to `percent_id`.
        undecayed: (F,), s in which an activity that does not decay would give the counts of the frame: its duration
            times the mean of exp(−λt) in it.
        count_variance: (R,), Poisson variance of a count in a region, 1 unless pixels lie partly inside.
        is_corrected: (R,), whether a background was taken off.
        target_to_background: counts per area over those of the background; NaN where that has none.
        target_to_background_sd: of that.
        saturated: pixels of each region that stand at the greatest value the detector can hold.
        half_life: of the isotope, s.
        injected: Bq at the injection.
        missing: what is not known and %ID needs, in words.
        from_activity: regions that were drawn where the activity is high.
        depth_factors: region → factor of the correction for depth.
        hottest: in words, which regions hold the hottest pixel.
        facts: how it was made, name → value, for reports.
        said: what a user should know, a line each.
        doubts: those of `said` that put the numbers in doubt; they belong beside them.
    """

    names: tuple[str, ...]
    roles: tuple[str, ...]
    pixels: Array
    counts: Array
    background: Array
    background_sd: Array
    net: Array
    net_sd: Array
    starts: Array | None = None
    durations: Array | None = None
    ends: Array | None = None
    rate: Array | None = None
    corrected_rate: Array | None = None
    corrected_rate_sd: Array | None = None
    rate_of_count: Array | None = None
    activity: Array | None = None
    percent_id: Array | None = None
    percent_id_sd: Array | None = None
    percent_of_count: Array | None = None
    undecayed: Array | None = None
    count_variance: Array = field(default_factory=lambda: np.ones(0))
    is_corrected: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    target_to_background: Array | None = None
    target_to_background_sd: Array | None = None
    saturated: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    half_life: float | None = None
    injected: float | None = None
    missing: tuple[str, ...] = ()
    from_activity: frozenset[str] = frozenset()
    depth_factors: Mapping[str, float] = field(default_factory=dict)
    hottest: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def number(self, name: str) -> int:
        """Return the place of a region.

        Raises:
            UserError: there is none of that name.
        """
        if name not in self.names:
            raise UserError(f"there is no region {name!r}; the regions are {', '.join(self.names)}")
        return self.names.index(name)

    @property
    def scale(self) -> Scale | None:
        """What can be fitted: %ID, else decay-corrected net counts a second, else None."""
        if self.percent_id is not None and self.percent_id_sd is not None and self.percent_of_count is not None:
            return Scale("%ID", self.percent_id, self.percent_id_sd, self.percent_of_count)
        if self.corrected_rate is None or self.corrected_rate_sd is None or self.rate_of_count is None:
            return None
        return Scale("counts/s", self.corrected_rate, self.corrected_rate_sd, self.rate_of_count)

    @property
    def after_injection(self) -> npt.NDArray[np.bool_]:
        """(F,), frames that begin at or after the injection; all where times are not known."""
        return np.ones(self.counts.shape[1], bool) if self.starts is None else self.starts >= 0

    def table(self) -> pandas.DataFrame:
        """Return one row a region and frame; unknown columns are left out."""
        regions, frames = self.counts.shape
        columns: dict[str, npt.ArrayLike] = {
            "region": np.repeat(self.names, frames),
            "frame": np.tile(np.arange(1, frames + 1), regions),
        }
        for name, times in (("start_s", self.starts), ("duration_s", self.durations), ("end_s", self.ends)):
            if times is not None:
                columns[name] = np.tile(times, regions)
        scale = self.scale if self.percent_id is None else None
        for name, values in (
            ("counts", self.counts),
            ("background_counts", self.background),
            ("net_counts", self.net),
            ("net_sd", self.net_sd),
            ("net_cps", self.rate),
            ("activity_Bq", self.activity),
            ("decay_corrected_cps", None if scale is None else scale.values),
            ("decay_corrected_cps_sd", None if scale is None else scale.deviations),
            ("percent_id", self.percent_id),
            ("percent_id_sd", self.percent_id_sd),
            ("target_to_background", self.target_to_background),
            ("target_to_background_sd", self.target_to_background_sd),
            ("saturated_pixels", self.saturated),
        ):
            if values is not None:
                columns[name] = np.asarray(values).ravel()
        return pandas.DataFrame(columns)

    def write_csv(self, path: str | Path) -> Path:
        """Write `table` as CSV; return the path."""
        return write_text(path, self.table().to_csv(index=False, float_format="%.9g"))


def time_activity(
    series: NuclearSeries,
    regions: RegionWeights,
    background: Background | None = None,
    *,
    attenuation: Mapping[str, Attenuation] | None = None,
    together: bool = False,
) -> TimeActivity:
    """Take the counts of every region and frame, and all that can be computed from them.

    Args:
        series: frames of counts.
        regions: `Regions.on(series, transform)`.
        background: how background is found; None takes none off.
        attenuation: region → tissue and µ; the factor goes into Bq and %ID and is stated.
        together: count all frames since the injection as one. Rates, Bq and %ID are the means of the frames, each
            weighted by its duration: Σ Δtᵢ·xᵢ / Σ Δtᵢ; pauses between them have no weight.

    Returns:
        The curves; what is not known (times, isotope, calibration, injection) leaves them at counts or at counts a
        second, and a line says what is missing.

    Raises:
        UserError: a background or an attenuation of a region that is not there, a half-life that does not fit the
            frames, or an injection that cannot be.
    """
    rule = background or Background()
    series = in_time_order(series)
    said = [*series.said, *regions.said, *_doubtful_times(series, together=together)]
    series = since_injection(series) if together else series
    frames = np.asarray(series.frames, dtype=np.float64)
    durations = series.durations
    if durations is not None and not (durations > 0).all():
        durations = None
        series = replace(series, durations=None)
        said.append("A frame lasts no time: counts cannot be turned into rates.")
    taken, without = taken_off(frames, regions, rule, durations)
    depths = {name: each for name, each in (attenuation or {}).items() if name not in regions.outside}
    for name in depths:
        regions.number(name)
    counted = _timed(_counts(series, regions, taken), series)
    saturation = saturated(counted.names, counted.saturated)  # of each frame, before they are added up
    known = in_units(counted.net, counted.net_sd, counted.names, series, counted.durations, counted.undecayed, depths)
    whole = _of_field(frames, series)
    if together:
        known, whole = averaged(known, counted.durations), averaged(whole, counted.durations)
        counted = _added(counted)
    after = counted.after_injection
    facts, undone = _facts(whole, known, after, depths, series)
    counted_frames = frames if together or not after.any() else frames[after]
    hottest, nowhere = hottest_pixel(counted_frames, regions)
    missed, unmatched = counts_nowhere(counted_frames, regions)
    facts |= {"in no region": missed} if missed else {}
    doubts = [
        *series.doubts, *partly_outside(regions), *unmatched, *small_regions(regions), *covered_regions(regions),
        *nowhere, *below_zero(frames, regions), *saturation,
        *beyond_injected(regions, known.percent_id, known.percent_id_sd, after),
        *little_injected(whole, after), *within_background(regions, background_name(rule, regions)),
    ]  # fmt: skip
    lines = dict.fromkeys([*said, *without, *_negative(counted), *undone, *said_of(known, counted.undecayed), *doubts])
    return replace(
        _ratios(counted), **{each.name: getattr(known, each.name) for each in fields(known)},
        from_activity=regions.from_activity, depth_factors={name: each.factor for name, each in depths.items()},
        hottest=hottest, doubts=tuple(doubts), said=tuple(lines),
        facts={
            **facts_of(series, known.injected), "background": rule.describe(background_name(rule, regions)), **facts
        },
    )  # fmt: skip


def _facts(
    whole: InUnits,
    known: InUnits,
    after: npt.NDArray[np.bool_],
    depths: Mapping[str, Attenuation],
    series: NuclearSeries,
) -> tuple[dict[str, str], list[str]]:
    """Return what of the numbers does not differ from region to region, and what is not done that was asked for."""
    facts, said = {}, []
    if depths and known.corrected_rate is None and known.activity is None:
        said.append(f"{', '.join(depths)}: not corrected for depth, for values are counts as they were counted.")
    elif depths:
        facts["attenuation"] = "; ".join(
            f"{name} × {each.factor:.4g}: {each.describe(series.isotope)}" for name, each in depths.items()
        )
    if whole.percent_id is not None:
        most = float(whole.percent_id[0, after if after.any() else ...].max())
        facts["whole field"] = f"all its counts are up to {plain_number(most)} %ID, nothing taken off"
    return facts, said


def _doubtful_times(series: NuclearSeries, *, together: bool) -> list[str]:
    """Return lines about frames that overlap, and those before the injection."""
    if series.starts is None:
        return []
    said = []
    if series.durations is not None:
        overlap = series.starts[:-1] + series.durations[:-1] - series.starts[1:] > 1e-6 * np.maximum(
            series.durations[:-1], 1
        )
        if overlap.any():
            many = int(overlap.sum())
            begin = "1 frame begins" if many == 1 else f"{many} frames begin"
            said.append(f"{begin} before the previous frame has ended; check the times.")
    if (series.starts < 0).any():
        early = int((series.starts < 0).sum())
        lie = "1 frame lies" if early == 1 else f"{early} frames lie"
        left = "no curve is fitted there" if not together else "they are left out"
        said.append(f"{lie} before the injection; {left}.")
    return said


def _of_field(frames: Array, series: NuclearSeries) -> InUnits:
    """Return all counts of the field in other units, as one region, (1, F)."""
    total, none = frames.sum(axis=(1, 2))[None], np.zeros((1, len(frames)))
    spread = np.sqrt(np.abs(frames).sum(axis=(1, 2)))[None]
    field = _timed(TimeActivity(("field",), ("",), np.ones(1), total, none, none, total, spread), series)
    return in_units(total, spread, field.names, series, field.durations, field.undecayed)


def _counts(series: NuclearSeries, regions: RegionWeights, taken: list[Corrected]) -> TimeActivity:
    counts, background, spread, net, sd = (
        np.stack([getattr(each, name) for each in taken])
        for name in ("counts", "background", "background_sd", "net", "sd")
    )
    full = np.zeros(series.frames.shape, bool) if series.saturation is None else series.frames >= series.saturation
    saturated = np.array(
        [[int((full[frame] & (own > 0)).sum()) for frame in range(len(full))] for own in regions.weights]
    )
    return TimeActivity(
        regions.names, regions.roles or ("",) * len(regions.names), regions.pixels, counts, background, spread, net, sd,
        saturated=saturated, count_variance=np.array([each.weight for each in taken]),
        is_corrected=np.array([each.is_corrected for each in taken]),
    )  # fmt: skip


def _timed(curves: TimeActivity, series: NuclearSeries) -> TimeActivity:
    """Add the times, and what decay leaves of them where the isotope is known."""
    starts, durations, isotope = series.starts, series.durations, series.isotope
    undecayed = None
    if isotope is not None and starts is not None and durations is not None:
        require_half_life_fits(isotope.half_life, starts, durations, series.name)
        undecayed = durations * np.asarray(mean_over(isotope.half_life, starts, durations))
    return replace(
        curves, starts=starts, durations=durations, undecayed=undecayed,
        ends=None if starts is None or durations is None else starts + durations,
        half_life=None if isotope is None else isotope.half_life,
    )  # fmt: skip


def _added(curves: TimeActivity) -> TimeActivity:
    """Add up all frames. Counts of frames are independent, so that their variances add up too."""

    def variance(deviations: Array) -> Array:
        return np.sqrt((deviations**2).sum(axis=1, keepdims=True))

    def total(values: Array | None) -> Array | None:
        return None if values is None else values.sum(keepdims=True)

    counts, background, net, saturated = (
        each.sum(axis=1, keepdims=True) for each in (curves.counts, curves.background, curves.net, curves.saturated)
    )
    return replace(
        curves, counts=counts, background=background, net=net, saturated=saturated,
        background_sd=variance(curves.background_sd), net_sd=variance(curves.net_sd),
        starts=None if curves.starts is None else curves.starts[:1],
        ends=None if curves.ends is None else curves.ends.max(keepdims=True),
        durations=total(curves.durations), undecayed=total(curves.undecayed),
    )  # fmt: skip


def _ratios(curves: TimeActivity) -> TimeActivity:
    """Add target-to-background, where any region has background."""
    counts, background = curves.counts, curves.background
    if not background.any():
        return curves
    ratio, spread = ratio_to(background, counts, curves.background_sd, curves.count_variance[:, None])
    return replace(curves, target_to_background=ratio, target_to_background_sd=spread)


def ratio_to(
    background: Array, counts: Array, background_sd: Array, count_variance: npt.ArrayLike
) -> tuple[Array, Array]:
    """Return counts over background and its standard deviation, NaN where there is no background.

    Region and background are counted apart; no count has the variance of one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(background > 0, counts / background, np.nan)
        variance = np.asarray(count_variance) * np.maximum(np.abs(counts), 1.0) + (ratio * background_sd) ** 2
        return ratio, np.where(background > 0, np.sqrt(variance) / background, np.nan)


def _negative(curves: TimeActivity) -> list[str]:
    frames = curves.net.shape[1]
    below = [
        name if frames == 1 else f"{name} ({count} of {frames} frames)"
        for name, count in zip(curves.names, (curves.net < 0).sum(axis=1), strict=True)
        if count
    ]
    if not below:
        return []
    return [f"{', '.join(below)}: net counts are negative once the background is taken off; they are kept as they are."]


def require_half_life_fits(half_life: float, starts: Array, durations: Array, where: str) -> None:
    """Raise a UserError where a half-life, in s, would leave nothing to see in the last frame: a mistaken unit."""
    last = float((starts + durations).max())
    if not half_life > 0 or last / half_life > _MOST_HALF_LIVES:
        raise UserError(
            f"{where}: with a half-life of {half_life:g} s nothing would be left after {last:g} s, when the last frame "
            "ends; give the half-life and the times in seconds"
        )
