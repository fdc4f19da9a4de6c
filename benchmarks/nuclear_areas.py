"""Do intervals of areas and of the slowest half-life hold the truth where models are hard to tell apart?

    python benchmarks/nuclear_areas.py --repeats 200

Curves of one region in closed form, counted in frames of a simulated study of seven hours (Tc-99m, 1.8 million counts
altogether) with Poisson noise. Prints a table: how many intervals are determined, how many of all hold the truth, and
how wide they are; of missed half-lives, how many say that another model puts them elsewhere.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from transmodal.fusion.estimates import Estimate
from transmodal.fusion.kinetic_fit import KineticFit, fit_many
from transmodal.images.nuclear.decay import decay_constant, mean_over
from transmodal.images.nuclear.isotopes import ISOTOPES

HALF_LIFE = ISOTOPES["Tc-99m"].half_life
DECAY = decay_constant(HALF_LIFE)
DURATIONS = np.array([10.0] * 6 + [30.0] * 6 + [60.0] * 6 + [300.0] * 9 + [900.0] * 4)
STARTS = np.concatenate([np.cumsum([0.0, *DURATIONS[:-5]]), [5400.0, 9000.0, 14400.0, 21300.0]])
END = float(STARTS[-1] + DURATIONS[-1])
Curve = tuple[tuple[float, float], ...]
CURVES: dict[str, Curve] = {  # (amplitude in %ID, half-time in s)
    "clearance": ((20, 3000),),
    "two clearances": ((25, 360), (10, 12000)),
    "uptake and clearance": ((-30, 360), (30, 5400)),
    "uptake, hardly any clearance": ((-7, 800), (7, 41000)),
    "uptake and two clearances": ((-15, 813), (13, 1800), (2, 14400)),
    "the same with a slow tail": ((-10, 800), (9, 1800), (1, 36000)),
    "uptake that goes on": ((-20, 14400), (20, 1e9)),
    "one organ empties, another fills": ((-15, 813), (15, 1800), (-3, 5400), (3, 28800)),
}


def area(curve: Curve, begin: float, end: float, decay: float = 0.0) -> float:
    """Return the area of exponentials in closed form, %ID·h."""
    rates = [(amplitude, np.log(2) / life + decay) for amplitude, life in curve]
    return float(sum(a / k * (np.exp(-k * begin) - np.exp(-k * end)) for a, k in rates)) / 3600


def repeated(curve: Curve, repeats: int, counts: float, seed: int) -> list[KineticFit]:
    """Return the fits of a curve that is counted again and again."""
    frames = zip(STARTS, DURATIONS, strict=True)
    means = np.array([area(curve, start, start + long, DECAY) for start, long in frames])
    per_count: NDArray[np.float64] = means.sum() / counts / (DURATIONS / 3600 * mean_over(HALF_LIFE, STARTS, DURATIONS))
    counted = np.random.default_rng(seed).poisson(means * counts / means.sum(), (repeats, len(means))).astype(float)
    return fit_many(
        STARTS, DURATIONS, counted * per_count, np.sqrt(counted) * per_count, half_life=HALF_LIFE, of_count=per_count
    )


def cell(found: list[Estimate], truth: float) -> str:
    """Return "95 % determined, 93 % hold, ± 4 %"."""
    determined = [each for each in found if each.determined]
    holding = np.mean([each.holds(truth) for each in found])
    widths = [
        (each.high - each.low) / 2 / truth for each in determined if each.high is not None and each.low is not None
    ]
    wide = f", ± {np.median(widths):.1%}" if widths else ""
    return f"{len(determined) / len(found):.0%}, {holding:.0%}{wide}"


def main() -> None:
    """Count, fit, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--counts", type=float, default=1.8e6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| curve | observed | tail | total | with decay | slowest half-life | missed, and said |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, curve in CURVES.items():
        fits = repeated(curve, given.repeats, given.counts, given.seed)
        areas = [each.area for each in fits if each.area is not None]
        truths = {
            "observed": area(curve, 0, END),
            "tail": area(curve, END, np.inf),
            "total": area(curve, 0, np.inf),
            "decaying": area(curve, 0, np.inf, DECAY),
        }
        cells = [cell([getattr(each, word) for each in areas], truth) for word, truth in truths.items()]
        slowest = [each.estimates["clearance_half_time"] for each in fits if "clearance_half_time" in each.estimates]
        life = float(curve[-1][1])
        missed = [each for each in slowest if each.determined and not each.holds(life)]
        said = sum("as near by AIC" in each.note for each in missed)
        print(f"| {name} | {' | '.join([*cells, cell(slowest, life)])} | {len(missed)}, {said} |", flush=True)


if __name__ == "__main__":
    main()
