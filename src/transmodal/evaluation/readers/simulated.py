"""Simulated readers: programs of known skill, which answer a study so that its analysis can be checked.

They are never shown as people: every table, report and file of a study names them simulated. Each answer comes from a
latent value with stated noise. The noise is Gaussian with unit variance and made of three parts: what all readers of
one item share (`agreement`), what a reader always sees in it (`consistency` − `agreement`), and what is new at each
showing. Skill, kappa and strengths that the analysis must find again therefore have closed forms, given here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
from scipy import stats

from transmodal.errors import UserError
from transmodal.evaluation.readers.answers import COLUMNS, REAL, TIE, Answers, Kind

Array = npt.NDArray[np.float64]
SECONDS = 4.0


@dataclass(frozen=True)
class SimulatedReader:
    """One reader that a program plays.

    Attributes:
        name: in tables.
        d_prime: distance of synthetic from real images, in standard deviations of the noise; 0 guesses.
        criterion: c of "real-or-synthetic": above 0 inclined to say "real".
        side_bias: added to what stands on the left, in standard deviations.
        noise: of a rating, in points.
        offset: added to each rating, in points: a lenient reader is above 0.
    """

    name: str
    d_prime: float = 1.0
    criterion: float = 0.0
    side_bias: float = 0.0
    noise: float = 0.8
    offset: float = 0.0


@dataclass(frozen=True)
class World:
    """What is true in a simulation.

    Attributes:
        utility: system → what readers think of it: log odds of preference; in a rating, points around the middle of the
            scale. Systems that are not named have 0.
        case_spread: standard deviation over images of what they are worth around their system, in points (rating).
        agreement: correlation of two readers' noise about one item, 0 to 1.
        consistency: correlation of one reader's noise at two showings, `agreement` to 1.
        tie_width: latent preferences smaller than this are ties (preference with ties).
    """

    utility: Mapping[str, float] = field(default_factory=dict)
    case_spread: float = 0.8
    agreement: float = 0.0
    consistency: float = 0.5
    tie_width: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.agreement <= self.consistency <= 1:
            raise ValueError("agreement and consistency must satisfy 0 ≤ agreement ≤ consistency ≤ 1")


def play(
    kind: Kind,
    trials: pandas.DataFrame,
    readers: Sequence[SimulatedReader],
    world: World,
    *,
    criteria: Sequence[str] = (),
    points: int = 0,
    seed: int = 0,
) -> pandas.DataFrame:
    """Answer trials.

    Args:
        kind: of the study.
        trials: the columns of `answers.COLUMNS[kind]` without seconds, criterion and answer.
        readers: all who stand in the trials.
        world: what is true.
        criteria: of a rating; each is answered with noise of its own.
        points: of a rating.
        seed: the same seed gives the same answers.

    Returns:
        The table of answers, as `Answers.table`.

    Raises:
        ValueError: a reader of the trials is not among `readers`.
    """
    known = {reader.name: reader for reader in readers}
    missing = set(trials["reader"]) - set(known)
    if missing:
        raise ValueError(f"no simulated reader is called {min(missing)!r}")
    generator = np.random.default_rng(seed)
    parts = []
    for criterion in criteria if kind == "rating" else ("",):
        part = trials.assign(criterion=criterion)
        noise = _noise(part, world, generator)
        who = [known[name] for name in part["reader"]]
        part["answer"] = _ANSWERS[kind](part, who, world, noise, generator, points)
        part["seconds"] = np.round(SECONDS * generator.lognormal(0, 0.4, len(part)), 2)
        parts.append(part)
    table = pandas.concat(parts, ignore_index=True)
    return table.sort_values(["reader", "trial"], kind="stable", ignore_index=True)[list(COLUMNS[kind])]


def fill_study(folder: Any, readers: Sequence[SimulatedReader], world: World, *, seed: int = 0) -> None:
    """Let simulated readers answer a study on disk; its store marks them as simulated.

    Args:
        folder: of the study.
        readers: added to it.
        world, seed: as in `play`.

    Raises:
        UserError: the folder holds no study, or a name belongs to a person.
    """
    from transmodal.evaluation.readers.study import Study  # only here, so that the model needs no disk

    study = Study.open(folder)
    store = study.open_store()
    rows = []
    for reader in readers:
        store.add_reader(reader.name, simulated=True)
        if store.next_trial(reader.name) != 0:
            raise UserError(f"Simulated reader {reader.name!r} has answered already; take another name")
        plan = store.trials(reader.name)
        rows += [{"reader": reader.name, "trial": place} | study.identify(trial) for place, trial in enumerate(plan)]
    protocol = study.protocol
    table = play(
        protocol.kind,
        pandas.DataFrame(rows),
        readers,
        world,
        criteria=protocol.criteria,
        points=protocol.points,
        seed=seed,
    )
    for _, part in table.groupby(["reader", "trial"], sort=False):
        answers = {}
        for row in part.to_dict("records"):
            named = {str(column): value for column, value in row.items()}
            answers[named.get("criterion", "")] = _pressed(protocol.kind, named)
        one = part.iloc[0]
        store.record(str(one["reader"]), int(one["trial"]), answers, seconds=float(one["seconds"]))


def make_trials(
    kind: Kind,
    systems: Sequence[str],
    cases: int,
    readers: Sequence[str],
    *,
    cases_a_subject: int = 1,
    repeats: float = 0.0,
    seed: int = 0,
) -> pandas.DataFrame:
    """Make balanced trials without a study on disk, for tests and benchmarks: every reader sees every item.

    Args:
        kind: of the study.
        systems: without "real".
        cases: how many; in "real-or-synthetic" each is shown once as real and once as synthetic.
        readers: their names.
        cases_a_subject: images of one subject.
        repeats: share of the items that are shown again.
        seed: of sides and repeats.
    """
    generator = np.random.default_rng(seed)
    items: list[dict[str, Any]] = []
    for number in range(cases):
        own = {"case": f"c{number:03d}", "subject": f"s{number // cases_a_subject:03d}"}
        turn = systems[number % len(systems)]
        if kind == "rating":
            items += [own | {"system": system} for system in systems]
        elif kind == "real-or-synthetic":
            items += [own | {"system": REAL}, own | {"system": turn}]
        elif kind == "which-is-real":
            items.append(own | {"system": turn})
        else:
            ordered = sorted(systems)
            items += [own | {"first": a, "second": b} for i, a in enumerate(ordered) for b in ordered[i + 1 :]]
    rows = []
    for reader in readers:
        left = generator.permutation(len(items)) % 2 == 0
        again = generator.choice(len(items), round(repeats * len(items)), replace=False)
        order = [(int(index), 0) for index in generator.permutation(len(items))] + [(int(index), 1) for index in again]
        for trial, (index, repeat) in enumerate(order):
            row = {"reader": reader, "trial": trial, "repeat": repeat, **items[index]}
            on_left = bool(left[index]) != bool(repeat)
            if kind == "which-is-real":
                row["real_side"] = "left" if on_left else "right"
            elif kind == "preference":
                row["left"] = row["first"] if on_left else row["second"]
            rows.append(row)
    return pandas.DataFrame(rows)


def simulate(
    kind: Kind,
    systems: Sequence[str],
    cases: int,
    readers: Sequence[SimulatedReader],
    world: World,
    *,
    criteria: Sequence[str] = ("realism",),
    points: int = 5,
    cases_a_subject: int = 1,
    repeats: float = 0.0,
    seed: int = 0,
) -> Answers:
    """Return a whole answered study of `make_trials` and `play`; arguments as there."""
    names = [reader.name for reader in readers]
    trials = make_trials(kind, systems, cases, names, cases_a_subject=cases_a_subject, repeats=repeats, seed=seed)
    criteria = tuple(criteria) if kind == "rating" else ()
    table = play(kind, trials, readers, world, criteria=criteria, points=points, seed=seed + 1)
    return Answers(
        title="Simulated study",
        kind=kind,
        table=table,
        systems=(*systems, *((REAL,) if kind in ("real-or-synthetic", "which-is-real") else ())),
        criteria=criteria,
        points=points if kind == "rating" else 0,
        simulated=tuple(names),
        unanswered=dict.fromkeys(names, 0),
    )


def planted_detection_kappa(d_prime: float, criterion: float, agreement: float) -> float:
    """Return κ of two equal "real-or-synthetic" readers, half of the images being real.

    Both say "synthetic" with the probability of a bivariate normal orthant, class by class.
    """
    both, single = 0.0, 0.0
    for mean in (0.0, d_prime):
        limit = mean - (d_prime / 2 + criterion)
        single += 0.5 * float(stats.norm.cdf(limit))
        both += 0.5 * _both_below(limit, limit, agreement)
    observed = 1 - 2 * single + 2 * both
    chance = single**2 + (1 - single) ** 2
    return (observed - chance) / (1 - chance)


def planted_rating_kappa(
    reader: SimulatedReader, world: World, points: int, utilities: Sequence[float] = (0.0,)
) -> float:
    """Return the quadratic-weighted κ of two equal raters over images of systems of these utilities.

    κ = 1 − E(a − b)²/E(a − b′)², b′ independent of a (Fleiss and Cohen 1973), with E over the bivariate normal.
    """
    variance = world.case_spread**2 + reader.noise**2
    correlation = (world.case_spread**2 + world.agreement * reader.noise**2) / variance
    middle = (points + 1) / 2
    first, second, product = [], [], []
    for utility in utilities:
        # A rating is 1 + the number of thresholds below the latent value.
        limits = (middle + utility + reader.offset - (np.arange(1, points) + 0.5)) / np.sqrt(variance)
        above = stats.norm.cdf(limits)
        joint = np.asarray([[_both_below(one, other, correlation) for other in limits] for one in limits])
        first.append(1 + above.sum())
        # One reader is above both of two thresholds where he is above the higher.
        second.append(1 + 2 * above.sum() + np.minimum(above[:, None], above).sum())
        product.append(1 + 2 * above.sum() + joint.sum())
    mean = np.mean(first)
    return float((np.mean(product) - mean**2) / (np.mean(second) - mean**2))


def _both_below(one: float, other: float, correlation: float) -> float:
    if correlation >= 1:
        return float(stats.norm.cdf(min(one, other)))
    covariance = [[1.0, correlation], [correlation, 1.0]]
    return float(stats.multivariate_normal.cdf([one, other], mean=[0.0, 0.0], cov=covariance))


def _noise(trials: pandas.DataFrame, world: World, generator: np.random.Generator) -> Array:
    """Return unit noise with the world's correlations between readers and showings of one item."""
    columns = [name for name in ("case", "system", "first", "second") if name in trials]
    item = trials.groupby(columns, sort=False).ngroup().to_numpy()
    both = trials.groupby([*columns, "reader"], sort=False).ngroup().to_numpy()
    shared, own = (generator.standard_normal(int(group.max()) + 1)[group] for group in (item, both))
    fresh = generator.standard_normal(len(trials))
    return np.asarray(
        np.sqrt(world.agreement) * shared
        + np.sqrt(world.consistency - world.agreement) * own
        + np.sqrt(1 - world.consistency) * fresh
    )


def _of_readers(readers: Sequence[SimulatedReader], name: str) -> Array:
    return np.asarray([getattr(reader, name) for reader in readers], np.float64)


def _real_or_synthetic(
    trials: pandas.DataFrame, who: Sequence[SimulatedReader], world: World, noise: Array, *_: Any
) -> Any:
    skill, criterion = _of_readers(who, "d_prime"), _of_readers(who, "criterion")
    evidence = skill * (trials["system"] != REAL).to_numpy() + noise
    return np.where(evidence > skill / 2 + criterion, "synthetic", "real")


def _which_is_real(
    trials: pandas.DataFrame, who: Sequence[SimulatedReader], world: World, noise: Array, *_: Any
) -> Any:
    real_left = np.where(trials["real_side"] == "left", 1.0, -1.0)
    # The difference of two images has √2 of the noise of one.
    for_real = _of_readers(who, "d_prime") / np.sqrt(2) + noise
    return np.where(real_left * for_real + _of_readers(who, "side_bias") > 0, "left", "right")


def _preference(trials: pandas.DataFrame, who: Sequence[SimulatedReader], world: World, noise: Array, *_: Any) -> Any:
    first, second = (trials[side].map(lambda name: world.utility.get(name, 0.0)).to_numpy(float)
                     for side in ("first", "second"))  # fmt: skip
    on_left = np.where(trials["left"] == trials["first"], 1.0, -1.0)
    # Logistic noise with the copula of the Gaussian one: single answers follow Bradley–Terry exactly.
    logistic = stats.logistic.ppf(stats.norm.cdf(noise))
    latent = first - second + logistic + on_left * _of_readers(who, "side_bias")
    chosen = np.where(latent > 0, trials["first"], trials["second"])
    return np.where(np.abs(latent) < world.tie_width, TIE, chosen)


def _rating(
    trials: pandas.DataFrame,
    who: Sequence[SimulatedReader],
    world: World,
    noise: Array,
    generator: np.random.Generator,
    points: int,
) -> Any:
    utility = trials["system"].map(lambda name: world.utility.get(name, 0.0)).to_numpy(float)
    image = trials.groupby(["case", "system"], sort=False).ngroup().to_numpy()
    worth = utility + world.case_spread * generator.standard_normal(int(image.max()) + 1)[image]
    latent = (points + 1) / 2 + worth + _of_readers(who, "offset") + _of_readers(who, "noise") * noise
    return np.clip(np.rint(latent), 1, points).astype(int)


_ANSWERS = {
    "real-or-synthetic": _real_or_synthetic,
    "which-is-real": _which_is_real,
    "preference": _preference,
    "rating": _rating,
}


def _pressed(kind: Kind, row: Mapping[str, Any]) -> str:
    """Return what a page would have sent."""
    if kind == "preference" and row["answer"] != TIE:
        return "left" if row["answer"] == row["left"] else "right"
    return str(row["answer"])
