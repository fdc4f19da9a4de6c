"""Do the intervals of fitted curves hold the truth, and how far is a planar image from the organ?

    python benchmarks/nuclear_coverage.py --out coverage --repeats 200
    python benchmarks/nuclear_coverage.py --out coverage --repeats 200 --agent tumour

One simulated body of each agent (`transmodal data simulate nuclear`, animal 1) is counted again and again with new
Poisson noise. Regions are the true organ map, carried over by the true map of the device, so that nothing but the
counts differs from repeat to repeat. It is seen in three ways:

alone: each organ without all others. Nothing overlaps; only depth and blur part the image from the organ.
whole: the whole body; the camera's own constant background is taken off.
ring: the whole body, with a ring in the soft tissue around each organ taken off.

What intervals are held against:

organ: what is in the organ. Of this one the half-times and peak times of organs alone are the headline: they need no
    calibration, and nothing else lies over them. Only determined intervals are asked, for an open one holds all too
    easily; how many are determined stands beside it.
plane: what the same image says without noise. Peak, peak time and %ID follow in closed form from how much of each
    place lies under the region, less its share of the background; half-times are those that the same model takes from
    frames without noise, for a sum of several organs has no half-time of its own. Open intervals are in it.

The plane is off the organ by what is no noise and in no interval: activity over and under the region, depth, blur
beyond the outline, background that differs from that behind the organ. That is the bias.

Writes OUT/AGENT.md and OUT/AGENT.csv, a row for each view, organ and quantity, and OUT/summary.md of all agents there.
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas
from numpy.typing import NDArray

from transmodal.fusion.background import SURROUNDINGS, Background, fine_masks, ring_around
from transmodal.fusion.curves import TimeActivity, time_activity
from transmodal.fusion.estimates import Estimate, time_text
from transmodal.fusion.kinetic_fit import KineticFit, fit, fit_many
from transmodal.fusion.region_files import LabelNames
from transmodal.fusion.regions import RegionWeights, regions_from_labels
from transmodal.images import Image, picture_affine
from transmodal.images.nuclear import NuclearSeries
from transmodal.simulation.nuclear.acquisition import NuclearMouse
from transmodal.simulation.nuclear.agents import AGENTS, agent_named
from transmodal.simulation.nuclear.kinetics import Curve
from transmodal.simulation.nuclear.protocol import Settings, mouse_of
from transmodal.simulation.nuclear.sources import LABELS, LABELS_OF

Array = NDArray[np.float64]
QUANTITIES = {
    "uptake_half_time": "uptake half-time",
    "clearance_half_time": "biological half-life",
    "peak_time": "peak time",
    "peak": "peak %ID",
    "at": "%ID at 1 h",
}
TIMES = ("uptake_half_time", "clearance_half_time", "peak_time")
HOUR = 3600.0
VIEWS = ("alone", "whole", "ring")


@dataclass(frozen=True)
class Body:
    """One simulated mouse with its regions."""

    mouse: NuclearMouse
    regions: RegionWeights
    rule: Background
    view: str = "whole"

    def series(self, frames: Array) -> NuclearSeries:
        """Return other frames of the same acquisition."""
        return replace(self.mouse.series, frames=frames)

    def planar_curve(self, place: int) -> Curve:
        """Return what a region sees of all places, %ID without decay; the camera's own background is not in it."""
        weights = self.regions.weights[place]
        ring = self.rings[place]
        if ring is not None:
            weights = weights - ring * (weights.sum() / ring.sum())
        scan = self.mouse.scan
        seen = Curve((0.0,), (0.0,))
        own = self.organ_of(self.regions.names[place])
        for name, projection in scan.projections.items():
            if self.view == "alone" and name != own:
                continue
            share = float((weights * projection).sum()) / (scan.camera.sensitivity * 1e-6)
            seen = seen.plus(scan.curves[name], share)
        return seen

    @cached_property
    def rings(self) -> list[Array | None]:
        """Rings around the regions; None where there is none."""
        if self.rule.how != "ring":
            return [None for _ in self.regions.names]
        masks = fine_masks(self.regions)
        found = [
            None if name in SURROUNDINGS else ring_around(self.regions, place, self.rule, masks)
            for place, name in enumerate(self.regions.names)
        ]
        return [ring if ring is not None and ring.any() else None for ring in found]

    def organ_of(self, region: str) -> str | None:
        """Return the place that a region of the organ map stands for; None for one that takes up nothing."""
        value = next(value for value, (name, _) in LABELS.items() if name == region)
        places = [place for place in self.mouse.scan.curves if value in LABELS_OF[place]]
        return places[0] if places else None


def body_of(agent: str, view: str, size: tuple[int, int]) -> Body:
    """Simulate the animal and carry its organs to the nuclear grid."""
    known = agent_named(agent)
    settings = Settings(1, agent, known.schedule, known.activity / 1e6, 7.0, *size, 0)
    mouse = mouse_of(settings, 1)
    labels = Image(mouse.labels, picture_affine((mouse.pair.meta["pixel_mm"],) * 2), quantity="label")
    names = LabelNames({value: name for value, (name, _) in LABELS.items() if value})
    camera = mouse.scan.camera
    constant = Background("constant", rate=camera.background * camera.pixel**2)
    rule = Background("ring", inside=("soft tissue",)) if view == "ring" else constant
    return Body(mouse, regions_from_labels(labels, names).on(mouse.series, mouse.transform), rule, view)


def counted(body: Body, frames: Array) -> TimeActivity:
    """Return the curves of one repeat."""
    return time_activity(body.series(frames), body.regions, body.rule)


def greatest(curve: Curve, opening: tuple[float, float], last: float) -> tuple[float, float]:
    """Return when a curve is highest while it is observed, and how high; of the first frame its mean, as fits have it.

    Arguments: the curve; beginning and end of the first frame, and the end of the last, s.
    """
    begin, end = opening
    mean = float(curve.integral(begin, end - begin)) / (end - begin)
    times = np.concatenate([np.linspace(end, last, 200_001), np.geomspace(end, last, 50_000)])
    values = curve.at(times)
    best = int(values.argmax())
    return (begin, mean) if mean >= values[best] else (float(times[best]), float(values[best]))


def truths(body: Body, place: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return what a region's image says without noise, and what is in the organ; half-times only of the organ."""
    series = body.mouse.series
    assert series.starts is not None and series.durations is not None
    ends = series.starts + series.durations
    opening, last = (float(series.starts[0]), float(ends[0])), float(ends[-1])
    planar = body.planar_curve(place)
    organ = body.organ_of(body.regions.names[place])
    found = []
    for curve in (planar, body.mouse.scan.curves[organ] if organ else None):
        own = {}
        if curve is not None:
            own["peak_time"], own["peak"] = greatest(curve, opening, last)
            own["at"] = float(curve.at(HOUR))
        found.append(own)
    if organ:
        for name, value in zip(
            ("uptake_half_time", "clearance_half_time"), body.mouse.agent.half_times(organ), strict=True
        ):
            if value is not None:
                found[1][name] = value
    return found[0], found[1]


def measured(body: Body, repeats: int, seed: int) -> pandas.DataFrame:
    """Count and fit every region again and again; return a row for each organ and quantity."""
    rng = np.random.default_rng(seed)
    scan = body.mouse.scan
    expected = scan.expected()
    clean = counted(body, expected)
    noisy = []
    if body.view != "alone":
        noisy = [counted(body, rng.poisson(expected).astype(np.float64)) for _ in range(repeats)]
    rows = []
    for place, name in enumerate(body.regions.names):
        if body.view == "ring" and body.rings[place] is None:  # it surrounds others
            continue
        if body.view == "alone":
            organ_alone = body.organ_of(name)
            if organ_alone is None:
                continue
            expected = scan.contribution(organ_alone) + scan.background()[:, None, None]
            clean = counted(body, expected)
            noisy = [counted(body, rng.poisson(expected).astype(np.float64)) for _ in range(repeats)]
        assert clean.percent_of_count is not None and clean.starts is not None and clean.durations is not None
        of_count = clean.percent_of_count[place] * clean.count_variance[place]
        values, spread = (
            np.stack([getattr(each, key)[place] for each in noisy]) for key in ("percent_id", "percent_id_sd")
        )
        options = {"half_life": clean.half_life, "of_count": of_count, "at": (HOUR,)}
        fits = fit_many(clean.starts, clean.durations, values, spread, **options)
        planar, organ = truths(body, place)
        models = pandas.Series([each.model or "none" for each in fits]).value_counts()
        by_model = {
            model: fit(
                clean.starts, clean.durations, clean.percent_id[place], clean.percent_id_sd[place],  # type: ignore[index]
                models=[model], **options,
            )
            for model in models.index if model != "none"
        }  # fmt: skip
        for quantity in QUANTITIES:
            rows.append(
                {
                    "view": body.view,
                    "organ": name,
                    "quantity": quantity,
                    **_row(quantity, fits, by_model, planar, organ),
                }
            )
            rows[-1]["models"] = ", ".join(f"{model} {count}" for model, count in models.items())
        print(f"{body.view}, {name}: {rows[-1]['models']}", flush=True)
    return pandas.DataFrame(rows)


def _of(each: KineticFit, quantity: str) -> Estimate | None:
    return each.at.get(HOUR) if quantity == "at" else each.estimates.get(quantity)


def _row(
    quantity: str,
    fits: list[KineticFit],
    by_model: dict[str, KineticFit],
    planar: dict[str, float],
    organ: dict[str, float],
) -> dict[str, float]:
    """Return the truths, the median, the bias of the planar image and how often the intervals hold each truth.

    Of the organ only determined estimates are asked; `determined` of all repeats are.
    """
    held, held_organ, values, references = [], [], [], []
    determined = 0
    for each in fits:
        estimate = _of(each, quantity)
        if estimate is None:
            continue
        reference = planar.get(quantity)
        if reference is None:
            clean = _of(by_model[each.model], quantity)
            reference = None if clean is None else clean.value
        if reference is not None:
            held.append(estimate.holds(reference))
            references.append(reference)
        determined += estimate.determined
        if quantity in organ and estimate.determined:
            held_organ.append(estimate.holds(organ[quantity]))
        if estimate.value is not None:
            values.append(estimate.value)
    reference = float(np.median(references)) if references else math.nan
    truth = organ.get(quantity, math.nan)
    return {
        "organ_value": truth,
        "plane_value": reference,
        "median": float(np.median(values)) if values else math.nan,
        "bias_percent": 100 * (reference / truth - 1) if truth else math.nan,
        "held_plane": float(np.mean(held)) if held else math.nan,
        "held_organ": float(np.mean(held_organ)) if held_organ else math.nan,
        "estimates": len(held),
        "determined": determined,
        "repeats": len(fits),
    }


def table_of(rows: pandas.DataFrame) -> str:
    """Return the table of one agent as markdown: organs by quantities, what the plane costs, what intervals hold."""
    lines = [
        "| organ | quantity | in the organ | bias: depth, blur | and overlap | with a ring | holds: alone, organ "
        "| alone, plane | whole, plane | ring, plane |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (organ, quantity), own in rows.groupby(["organ", "quantity"], sort=False):
        views = {row["view"]: row for row in own.to_dict("records")}
        if not any(row["estimates"] for row in views.values()):
            continue
        truth = next(iter(views.values()))["organ_value"]
        show = time_text if str(quantity).endswith("time") else (lambda value: f"{value:.3g}")
        cells = [
            organ,
            QUANTITIES[str(quantity)],
            "–" if math.isnan(truth) else show(truth),
            *(_bias(views.get(view)) for view in VIEWS),
            _held(views.get("alone"), "held_organ", "determined") if quantity in TIMES else "",
            *(_held(views.get(view), "held_plane", "estimates") for view in VIEWS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    alone = rows[(rows["view"] == "alone") & rows["quantity"].isin(TIMES) & rows["organ_value"].notna()]
    lines += ["", f"Organs alone, half-times and peak times against the organ: {_share(alone)}."]
    lines += [
        f"- {QUANTITIES[str(quantity)]}: {_share(part)}" for quantity, part in alone.groupby("quantity", sort=False)
    ]
    lines += ["", "All quantities against the plane without noise:"]
    for view, part in rows[rows["estimates"] > 0].groupby("view", sort=False):
        held = 100 * float((part["held_plane"] * part["estimates"]).sum() / part["estimates"].sum())
        lines.append(f"- {view}: {held:.1f} % of {part['estimates'].sum()} hold")
    return "\n".join(lines) + "\n"


def summary_of(every: Mapping[str, pandas.DataFrame]) -> str:
    """Return the tables of the documentation, agent → rows: what intervals hold, and how far the plane is off."""
    lines = ["| agent | view | against | intervals asked | determined | hold |", "|---|---|---|---:|---:|---:|"]
    for agent, rows in every.items():
        alone = rows[(rows["view"] == "alone") & rows["quantity"].isin(TIMES) & rows["organ_value"].notna()]
        for quantity, part in [("half-times and peak times", alone), *alone.groupby("quantity", sort=False)]:
            determined = int(part["determined"].sum())
            held = 100 * float((part["held_organ"].fillna(0.0) * part["determined"]).sum()) / max(determined, 1)
            share = 100 * determined / max(int(part["repeats"].sum()), 1)
            name = QUANTITIES.get(str(quantity), quantity)
            lines.append(f"| {agent} | alone, {name} | the organ | {determined} | {share:.0f} % | {held:.1f} % |")
        for view, part in rows[rows["estimates"] > 0].groupby("view", sort=False):
            held = 100 * float((part["held_plane"] * part["estimates"]).sum() / part["estimates"].sum())
            asked = int(part["estimates"].sum())
            lines.append(f"| {agent} | {view}, all quantities | the plane | {asked} | open ones too | {held:.1f} % |")
    lines += ["", f"| agent, organ | {' | '.join(QUANTITIES.values())} |", f"|---|{'---:|' * len(QUANTITIES)}"]
    for agent, rows in every.items():
        for organ, own in rows[rows["organ_value"].notna()].groupby("organ", sort=False):
            cells = []
            for quantity in QUANTITIES:
                part = own[own["quantity"] == quantity].set_index("view")
                shown = [_bias(part.loc[view].to_dict() if view in part.index else None) or "–" for view in VIEWS]
                cells.append("" if part.empty else "; ".join(each.removesuffix(" %") for each in shown))
            lines.append(f"| {agent}, {organ} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _bias(row: Mapping[str, float] | None) -> str:
    if row is None or math.isnan(row["bias_percent"]):
        return ""
    if row["bias_percent"] > 300:
        return f"× {1 + row['bias_percent'] / 100:.3g}"
    return f"{row['bias_percent']:+.1f} %".replace("-", "−")


def _held(row: dict[str, float] | None, share: str, number: str) -> str:
    """Return how many of a hundred intervals hold, and of how many where not all repeats were asked."""
    if row is None or math.isnan(row[share]) or not row[number]:
        return ""
    of = "" if row[number] == row["repeats"] else f" of {row[number]:.0f}"
    return f"{100 * row[share]:.1f} %{of}"


def _share(rows: pandas.DataFrame) -> str:
    """Return how many determined intervals hold the organ's value, and how many are determined."""
    determined, repeats = int(rows["determined"].sum()), int(rows["repeats"].sum())
    if not determined:
        return f"none of {repeats} is determined"
    held = float((rows["held_organ"].fillna(0.0) * rows["determined"]).sum() / determined)
    share = 100 * determined / repeats
    return f"{100 * held:.1f} % of {determined} determined intervals hold; {share:.0f} % are determined"


def main() -> None:
    """Measure the agents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--agent", choices=tuple(AGENTS), nargs="*", default=list(AGENTS))
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--views", choices=VIEWS, nargs="*", default=list(VIEWS))
    parser.add_argument("--height", type=int, default=512, help="of the organ map; the width is twice that")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for agent in given.agent:
        bodies = [body_of(agent, view, (given.height, 2 * given.height)) for view in given.views]
        rows = pandas.concat([measured(body, given.repeats, given.seed) for body in bodies], ignore_index=True)
        rows.to_csv(given.out / f"{agent}.csv", index=False)
        text = table_of(rows)
        (given.out / f"{agent}.md").write_text(text, encoding="utf-8")
        print(f"{agent}\n{text}", flush=True)
    tables = {name: given.out / f"{name}.csv" for name in AGENTS}
    every = {name: pandas.read_csv(path) for name, path in tables.items() if path.exists()}
    (given.out / "summary.md").write_text(summary_of(every), encoding="utf-8")


if __name__ == "__main__":
    main()
