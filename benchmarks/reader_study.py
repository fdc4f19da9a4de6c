"""Simulated reader studies: how often the 95 % intervals of the analysis contain what was planted.

    OMP_NUM_THREADS=1 python benchmarks/reader_study.py [--studies 200] [--weights 100]

Each study has new readers, new cases and new answers of programs with known skill, agreement, strengths and weights of
WAEM; no person has looked at anything. Prints planted value, mean of the estimates, coverage and width of intervals.
"Readers drawn" studies take each reader's skill from a distribution: the planted value is that of all readers, which
the mean over the readers at hand must cover. Beside them stand what one gets when answers count as independent, and the
pigeonhole bootstrap, which draws readers and subjects at once.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas
from scipy import stats

from transmodal.evaluation.readers.analysis import analyse_answers
from transmodal.evaluation.readers.answers import REAL, Answers
from transmodal.evaluation.readers.expert_weights import fit_waem
from transmodal.evaluation.readers.resampling import Estimate, Layout, draws
from transmodal.evaluation.readers.simulated import (
    SimulatedReader,
    World,
    planted_detection_kappa,
    planted_rating_kappa,
    simulate,
)
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.waem import terms_of
from transmodal.metrics.policy import Policy

RESAMPLES = 400
METRICS = ("mse", "nrmse", "psnr", "ssim")
WEIGHTS = (0.1, 0.1, 0.3, 0.4, 0.1)


class Coverage:
    """Planted values, and the intervals that should contain them."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)

    def add(self, name: str, planted: float, estimate: Estimate | tuple[float, float, float]) -> None:
        """Take in one interval; an estimate without one is not counted, and its absence shows in the number."""
        if isinstance(estimate, Estimate):
            if estimate.value is None or estimate.low is None or estimate.high is None:
                return
            estimate = (estimate.value, estimate.low, estimate.high)
        self._rows[name].append((planted, *estimate))

    def print(self) -> None:
        """Print a line for each name and forget."""
        print(f"{'':46}{'planted':>9}{'mean':>9}{'coverage':>10}{'width':>8}{'n':>6}")
        for name, rows in self._rows.items():
            planted, value, low, high = np.asarray(rows).T
            inside = np.mean((low <= planted) & (planted <= high))
            width = np.median(high - low)  # of a reader who is always right it is infinite
            print(f"{name:46}{planted.mean():9.3f}{value.mean():9.3f}{inside:10.1%}{width:8.3f}{len(rows):6d}")
        self._rows.clear()
        print(flush=True)


def readers_of(generator: np.random.Generator, spread: float, count: int = 6) -> list[SimulatedReader]:
    """Readers around d′ 1.2 and c 0.2."""
    skill = 1.2 + spread * generator.standard_normal(count)
    return [SimulatedReader(f"program-{number}", float(skill[number]), 0.2, noise=0.7) for number in range(count)]


def skill(coverage: Coverage, seed: int) -> None:
    """Yes–no studies: one reader's d′ and c; the mean over new readers; kappa of equal readers."""
    generator = np.random.default_rng([seed, 1])
    readers = readers_of(generator, 0.4)
    answers = simulate("real-or-synthetic", ["A", "B"], 40, readers, World(agreement=0.25), seed=1000 + seed)
    found = analyse_answers(answers, resamples=RESAMPLES, seed=seed)
    for reader, result in zip(readers, found.readers, strict=True):
        assert result.detection is not None
        coverage.add("d′ of one reader", reader.d_prime, result.detection.d_prime)
        coverage.add("c of one reader", reader.criterion, result.detection.criterion)
        own = result.detection.accuracy
        coverage.add("accuracy of one reader, exact", _accuracy(reader), (own.share or 0, own.low or 0, own.high or 0))
    truth = float(np.mean([_accuracy(reader) for reader in readers_of(np.random.default_rng(0), 0.4, 4000)]))
    coverage.add("mean d′, readers drawn", 1.2, found.means["d_prime"])
    coverage.add("mean accuracy, readers drawn", truth, found.means["accuracy"])
    pooled = found.pooled
    assert pooled is not None
    share = pooled.accuracy
    coverage.add("  as if independent", truth, (share.share or 0, share.low or 0, share.high or 0))
    coverage.add("  pigeonhole bootstrap", truth, _pigeonhole(answers, seed))
    same = simulate("real-or-synthetic", ["A", "B"], 40, readers_of(generator, 0.0), World(agreement=0.25), seed=seed)
    kappa = analyse_answers(same, resamples=RESAMPLES, seed=seed).agreement[""].fleiss
    coverage.add("Fleiss κ, yes–no", planted_detection_kappa(1.2, 0.2, 0.25), kappa)


def forced_choice(coverage: Coverage, seed: int) -> None:
    """Two-alternative studies."""
    readers = readers_of(np.random.default_rng([seed, 2]), 0.4)
    answers = simulate("which-is-real", ["A", "B"], 60, readers, World(agreement=0.2), seed=2000 + seed)
    found = analyse_answers(answers, resamples=RESAMPLES, seed=seed)
    for reader, result in zip(readers, found.readers, strict=True):
        assert result.detection is not None
        coverage.add("d′ of one reader, two alternatives", reader.d_prime, result.detection.d_prime)
    coverage.add("mean d′, two alternatives, readers drawn", 1.2, found.means["d_prime"])


def ratings(coverage: Coverage, seed: int) -> None:
    """Likert studies: quadratic kappa."""
    readers = readers_of(np.random.default_rng([seed, 3]), 0.0, 5)
    world = World({"A": -0.6, "B": 0.5}, agreement=0.2)
    answers = simulate("rating", ["A", "B"], 40, readers, world, seed=3000 + seed)
    found = analyse_answers(answers, resamples=RESAMPLES, seed=seed)
    agreement = found.agreement["realism"]
    planted = planted_rating_kappa(readers[0], world, 5, [-0.6, 0.5])
    coverage.add("Fleiss κ, quadratic", planted, agreement.fleiss)
    coverage.add("Cohen κ of two readers, quadratic", planted, agreement.pairs[0][2])


def preferences(coverage: Coverage, seed: int) -> None:
    """Preference studies: strengths."""
    planted = {"A": -0.7, "B": 0.0, "C": 0.2, "D": 0.5}
    readers = readers_of(np.random.default_rng([seed, 4]), 0.0, 5)
    world = World(planted, agreement=0.2)
    answers = simulate("preference", list(planted), 20, readers, world, seed=4000 + seed)
    found = analyse_answers(answers, resamples=RESAMPLES, seed=seed)
    for each in found.strengths:
        coverage.add(f"strength of {each.system}, five readers", planted[each.system], each.strength)
    three = replace(answers, table=answers.table[answers.table["reader"].isin([r.name for r in readers[:3]])])
    three = replace(three, unanswered={reader.name: 0 for reader in readers[:3]})
    for each in analyse_answers(three, resamples=RESAMPLES, seed=seed).strengths:
        coverage.add("strengths, three readers", planted[each.system], each.strength)


def weights(coverage: Coverage, seed: int) -> None:
    """Twelve systems whose utility is a weighted sum of their terms; the weights are fitted to the answers."""
    scores = made_scores(seed)
    terms = terms_of(scores)
    utility = ((terms - terms.mean()) / terms.std()).to_numpy() @ np.asarray(WEIGHTS)
    world = World({str(name): float(value) for name, value in zip(terms.index, utility, strict=True)}, agreement=0.1)
    readers = readers_of(np.random.default_rng([seed, 5]), 0.0, 5)
    for kind, cases in (("rating", 30), ("preference", 12)):
        answers = simulate(kind, scores.systems, cases, readers, world, seed=5000 + seed)  # type: ignore[arg-type]
        for ridge in (0.01, 1.0):
            fitted = fit_waem(answers, scores, ridge=ridge, resamples=200, seed=seed)
            for (term, weight), planted in zip(fitted.waem.weights.items(), WEIGHTS, strict=True):
                name = f"weight of {term}, {kind}, ridge {ridge:g}"
                coverage.add(name, planted, (weight, *fitted.intervals[term]))


def made_scores(seed: int, systems: int = 12, cases: int = 30) -> Scores:
    """Scores whose metrics are independent of each other."""
    generator = np.random.default_rng([seed, 6])
    names = [f"m{number:02d}" for number in range(systems)]
    level = generator.normal(size=(5, systems))
    rows = []
    for case in range(cases):
        part = level[:4] + 0.15 * generator.normal(size=(4, systems))
        values = (0.01 * np.exp(-0.2 * part[0]), 0.2 * np.exp(-0.1 * part[1]), 25 + 2 * part[2], 0.8 + 0.03 * part[3])
        rows += [
            {"system": name, "case": f"c{case:03d}", "subject": f"s{case:03d}"}
            | {metric: values[number][place] for number, metric in enumerate(METRICS)}
            for place, name in enumerate(names)
        ]
    policy = Policy(
        metrics=METRICS, range=(0, 1), scale="physical", clip=False, mask="none", dimension=2, unit="intensity"
    )
    sets = {
        name: {"fnsd": {"value": float(4 * np.exp(-0.2 * level[4, place])), "n": cases, "features": "blocks"}}
        for place, name in enumerate(names)
    }
    return Scores(policy, pandas.DataFrame(rows), sets=sets)


def _accuracy(reader: SimulatedReader) -> float:
    half = reader.d_prime / 2
    return float((stats.norm.cdf(half - reader.criterion) + stats.norm.cdf(half + reader.criterion)) / 2)


def _pigeonhole(answers: Answers, seed: int) -> tuple[float, float, float]:
    table = answers.table
    right = ((table["system"] != REAL) == (table["answer"] == "synthetic")).to_numpy(float)
    layout = Layout.of(table["reader"], table["subject"])
    counts = draws(layout.readers, RESAMPLES, seed)[:, layout.reader]
    counts = counts * draws(layout.subjects, RESAMPLES, seed + 1)[:, layout.subject]
    low, high = np.quantile(counts @ right / counts.sum(1), [0.025, 0.975])
    return float(right.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="of each kind")
    parser.add_argument("--weights", type=int, default=100, help="studies in which weights of WAEM are fitted")
    arguments = parser.parse_args()
    coverage = Coverage()
    parts: list[tuple[Callable[[Coverage, int], None], int]] = [
        (part, arguments.studies) for part in (skill, forced_choice, ratings, preferences)
    ]
    for part, studies in [*parts, (weights, arguments.weights)]:
        start = time.perf_counter()
        for seed in range(studies):
            part(coverage, seed)
        print(f"{studies} simulated studies of {part.__name__.replace('_', ' ')}: {time.perf_counter() - start:.0f} s")
        coverage.print()


if __name__ == "__main__":
    main()
