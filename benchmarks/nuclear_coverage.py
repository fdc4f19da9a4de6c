"""Do the intervals of fitted curves hold the truth, and how far is a planar image from the organ?

    python benchmarks/nuclear_coverage.py --out coverage --agent tumour --repeats 200

One simulated body (`transmodal data simulate nuclear`, animal 1) is counted again and again with new Poisson noise.
Regions are the true organ map, carried over by the true map of the device, so that nothing but the counts differs from
repeat to repeat. Every interval is held against two truths:

organ: what is in the organ. The headline is of this one: half-times and peak times, which need no calibration, and of
    them only those that are determined, for an open interval holds all too easily; how many are stands beside it.
planar: what the same image says without noise. Peak, peak time and %ID follow in closed form from how much of each
    place lies under the region, less its share of the background; half-times are those that the same model takes from
    frames without noise, for a sum of several organs has no half-time of its own. This one flatters: it forgives a
    model that is wrong, and open intervals are in it.

The difference of the two is not noise: activity over and under the region, depth, blur beyond the outline and
background that differs from that behind the organ. It is given as bias. With --alone each organ is counted without all
others: nothing overlaps, and only attenuation and blur part the two.

Writes OUT/AGENT.md and OUT/AGENT.csv: organs by quantities.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas
from numpy.typing import NDArray

from transmodal.fusion.background import Background, fine_masks, ring_around
from transmodal.fusion.curves import TimeActivity, time_activity
from transmodal.fusion.estimates import Estimate, time_text
from transmodal.fusion.kinetic_fit import KineticFit, fit, fit_many
from transmodal.fusion.region_files import LabelNames
from transmodal.fusion.regions import RegionWeights, regions_from_labels
from transmodal.images import Image, picture_affine
from transmodal.images.nuclear import NuclearSeries
from transmodal.simulation.nuclear.acquisition import NuclearMouse
from transmodal.simulation.nuclear.agents import agent_named
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
AROUND = ("soft tissue", "muscle")


@dataclass(frozen=True)
class Body:
    """One simulated mouse with its regions."""

    mouse: NuclearMouse
    regions: RegionWeights
    rule: Background
    alone: bool = False

    def series(self, frames: Array) -> NuclearSeries:
        """Return other frames of the same acquisition."""
        return replace(self.mouse.series, frames=frames)

    def planar_curve(self, place: int) -> Curve:
        """Return what a region sees of all places, %ID without decay; the camera's own background is not in it."""
        weights = self.regions.weights[place]
        if self.rule.how == "ring":
            ring = ring_around(self.regions, place, self.rule, fine_masks(self.regions))
            weights = weights - ring * (weights.sum() / ring.sum())
        scan = self.mouse.scan
        seen = Curve((0.0,), (0.0,))
        own = self.organ_of(self.regions.names[place])
        for name, projection in scan.projections.items():
            if self.alone and name != own:
                continue
            share = float((weights * projection).sum()) / (scan.camera.sensitivity * 1e-6)
            seen = seen.plus(scan.curves[name], share)
        return seen

    def organ_of(self, region: str) -> str | None:
        """Return the place that a region of the organ map stands for; None for one that takes up nothing."""
        value = next(value for value, (name, _) in LABELS.items() if name == region)
        places = [place for place in self.mouse.scan.curves if value in LABELS_OF[place]]
        return places[0] if places else None


def body_of(agent: str, how: str, size: tuple[int, int], alone: bool = False) -> Body:
    """Simulate the animal and carry its organs to the nuclear grid."""
    known = agent_named(agent)
    settings = Settings(1, agent, known.schedule, known.activity / 1e6, 7.0, *size, 0)
    mouse = mouse_of(settings, 1)
    labels = Image(mouse.labels, picture_affine((mouse.pair.meta["pixel_mm"],) * 2), quantity="label")
    names = LabelNames({value: name for value, (name, _) in LABELS.items() if value})
    camera = mouse.scan.camera
    inside = AROUND[:1] if how == "ring" else ()
    rate = camera.background * camera.pixel**2
    rule = Background(how, gap=1.5, width=3.0, inside=inside, rate=rate)  # type: ignore[arg-type]
    regions = regions_from_labels(labels, names).on(mouse.series, mouse.transform)
    return Body(mouse, regions, rule, alone)


def counted(body: Body, frames: Array) -> TimeActivity:
    """Return the curves of one repeat."""
    return time_activity(body.series(frames), body.regions, body.rule)


def greatest(curve: Callable[[Array], Array], observed: tuple[float, float]) -> tuple[float, float]:
    """Return when a curve is highest while it is observed, and how high."""
    times = np.unique(np.concatenate([np.linspace(*observed, 200_001), np.geomspace(0.1, observed[1], 50_000)]))
    times = times[times >= observed[0]]
    values = curve(times)
    return float(times[values.argmax()]), float(values.max())


def truths(body: Body, place: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return what a region's image says without noise, and what is in the organ; half-times only of the organ."""
    series = body.mouse.series
    assert series.starts is not None and series.durations is not None
    observed = (float(series.starts[0]), float((series.starts + series.durations)[-1]))
    planar = body.planar_curve(place)
    organ = body.organ_of(body.regions.names[place])
    found = []
    for curve in (planar, body.mouse.scan.curves[organ] if organ else None):
        own = {}
        if curve is not None:
            own["peak_time"], own["peak"] = greatest(curve.at, observed)
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
    noisy = [] if body.alone else [counted(body, rng.poisson(expected).astype(np.float64)) for _ in range(repeats)]
    rows = []
    for place, name in enumerate(body.regions.names):
        if body.alone:
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
            rows.append({"organ": name, "quantity": quantity, **_row(quantity, fits, by_model, planar, organ)})
            rows[-1]["models"] = ", ".join(f"{model} {count}" for model, count in models.items())
        print(f"{name}: {rows[-1]['models']}", flush=True)
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
        "planar_value": reference,
        "median": float(np.median(values)) if values else math.nan,
        "bias_percent": 100 * (reference / truth - 1) if truth else math.nan,
        "held_planar": float(np.mean(held)) if held else math.nan,
        "held_organ": float(np.mean(held_organ)) if held_organ else math.nan,
        "estimates": len(held),
        "determined": determined,
        "repeats": len(fits),
    }


def table_of(rows: pandas.DataFrame, repeats: int) -> str:
    """Return the table as markdown."""
    head = (
        "organ",
        "quantity",
        "in the organ",
        "planar, no noise",
        "bias",
        "median fit",
        "determined",
        "holds organ",
        "holds planar, open intervals too",
    )
    lines = [f"| {' | '.join(head)} |", "|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    for row in rows.to_dict("records"):
        if not row["estimates"] and math.isnan(row["organ_value"]):
            continue
        show = time_text if row["quantity"].endswith("time") else (lambda value: f"{value:.3g}")
        cells = [
            row["organ"],
            QUANTITIES[row["quantity"]],
            *("—" if math.isnan(row[key]) else show(row[key]) for key in ("organ_value", "planar_value")),
            "—" if math.isnan(row["bias_percent"]) else f"{row['bias_percent']:+.1f} %",
            "—" if math.isnan(row["median"]) else show(row["median"]),
            f"{row['determined']} of {repeats}",
            *("—" if math.isnan(row[key]) else f"{100 * row[key]:.1f} %" for key in ("held_organ", "held_planar")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    asked = rows[rows["quantity"].isin(TIMES) & rows["organ_value"].notna()]
    lines += ["", f"Half-times and peak times against the organ: {_share(asked)}."]
    lines += [
        f"- {QUANTITIES[str(quantity)]}: {_share(part)}" for quantity, part in asked.groupby("quantity", sort=False)
    ]
    known = rows[rows["estimates"] > 0]
    planar = float((known["held_planar"] * known["estimates"]).sum() / known["estimates"].sum())
    lines += [
        "",
        f"All quantities against the planar image, half-times of the same model, open intervals among them: "
        f"{100 * planar:.1f} % of {known['estimates'].sum()} hold.",
    ]
    return "\n".join(lines) + "\n"


def _share(rows: pandas.DataFrame) -> str:
    """Return how many determined intervals hold the organ's value, and how many are determined."""
    determined, repeats = int(rows["determined"].sum()), int(rows["repeats"].sum())
    if not determined:
        return f"none of {repeats} is determined"
    held = float((rows["held_organ"].fillna(0.0) * rows["determined"]).sum() / determined)
    share = 100 * determined / repeats
    return f"{100 * held:.1f} % of {determined} determined intervals hold; {share:.0f} % are determined"


def main() -> None:
    """Measure one agent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--agent", choices=("mdp", "fdg", "tumour"), default="tumour")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument(
        "--background",
        choices=("none", "constant", "ring"),
        default="constant",
        help="constant: the camera's own alone",
    )
    parser.add_argument("--alone", action="store_true", help="each organ without all others: nothing overlaps")
    parser.add_argument("--height", type=int, default=512, help="of the organ map; the width is twice that")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    body = body_of(given.agent, given.background, (given.height, 2 * given.height), given.alone)
    rows = measured(body, given.repeats, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    name = f"{given.agent}-{given.background}{'-alone' if given.alone else ''}"
    rows.to_csv(given.out / f"{name}.csv", index=False)
    text = table_of(rows, given.repeats)
    (given.out / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
