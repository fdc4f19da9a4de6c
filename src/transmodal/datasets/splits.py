"""Splits made of subjects, never of images: seeded, stratified by factors, with exact totals.

Two images of one animal in training and test would let a translator score by remembering the animal. The seats are
apportioned by largest remainder; within the strata they are placed by controlled rounding (Causey, Cox, Ernst 1985,
"Applications of transportation theory to statistical problems"): every stratum gets its proportional share rounded up
or down, and the totals are exactly those asked for.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas
from scipy import sparse
from scipy.optimize import linprog

from transmodal.datasets.manifest import SPLITS, Manifest
from transmodal.errors import UserError, nearest

DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)
DEFAULT_STRATA = ("coat",)


def split_by_subject(
    manifest: Manifest,
    *,
    fractions: Sequence[float] | Mapping[str, float] = DEFAULT_FRACTIONS,
    explicit: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    stratify: Sequence[str] | None = None,
    folds: int | None = None,
) -> Manifest:
    """Give each subject one side; return the manifest with the column `split`, and `fold` when folds are asked for.

    The result depends on the subjects, their factors and the seed, not on the order of the rows.

    Args:
        manifest: what to split; an older split is replaced.
        fractions: shares of the subjects for train, validation, test; they add up to 1. A positive share gets at
            least one subject.
        explicit: subjects by split name, instead of fractions; subjects named nowhere stay without a split.
        seed: of the drawing.
        stratify: factors whose values are spread evenly. None means coat, where the manifest has it.
        folds: with k, the test share is set aside and all others are dealt into folds 1 to k; fold 1 is written as
            validation and the rest as train. `Manifest.with_fold` gives the other rounds.

    Raises:
        UserError: too few subjects, fractions that do not add up to 1, an unknown factor or subject, a subject named
            twice.
    """
    if explicit is not None:
        return _with_columns(manifest, _named_sides(manifest, explicit))
    shares = _shares(fractions)
    strata = subjects_by_stratum(manifest, _strata(manifest, stratify))
    generator = np.random.default_rng(seed)
    subjects = len(manifest.subjects)
    if folds is None:
        counts = _seats(subjects, shares, list(SPLITS))
        drawn = _deal(strata, counts, generator)
        return _with_columns(manifest, {subject: SPLITS[side] for subject, side in drawn.items()})
    return _with_folds(manifest, strata, shares[2], folds, generator)


def subjects_by_stratum(manifest: Manifest, factors: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """Group the subjects by their values of `factors`; several values in one subject make a value of their own.

    Returns:
        Sorted subjects by sorted stratum.
    """
    values: dict[str, list[set[str]]] = {subject: [set() for _ in factors] for subject in manifest.subjects}
    columns = [manifest.table[factor] for factor in factors]
    for subject, *cells in zip(manifest.table["subject"], *columns, strict=True):
        for seen, cell in zip(values[subject], cells, strict=True):
            seen |= {cell} - {""}
    strata: dict[tuple[str, ...], list[str]] = {}
    for subject, seen_values in values.items():
        stratum = tuple("+".join(sorted(seen)) for seen in seen_values)
        strata.setdefault(stratum, []).append(subject)
    return dict(sorted(strata.items()))


def count_by_split(manifest: Manifest, factors: Sequence[str] = ()) -> pandas.DataFrame:
    """Count what stands where: a row a split (or fold), columns subjects, cases, images, and subjects by factor value.

    Factor columns are named "factor: value"; a subject with several values counts in each.
    """
    table = manifest.table
    side = table["split"].where(table["split"] != "", "(none)")
    order = [name for name in (*SPLITS, "(none)") if (side == name).any()]
    if "fold" in table:
        side = side.where(table["fold"] == "", "fold " + table["fold"])
        folds = sorted({int(fold) for fold in table["fold"] if fold})
        order = [f"fold {fold}" for fold in folds] + [name for name in order if (side == name).any()]
    counts = []
    for name in order:
        rows = table[side == name]
        cases = rows[["subject", "session"]].drop_duplicates()
        row: dict[str, int] = {"subjects": rows["subject"].nunique(), "cases": len(cases), "images": len(rows)}
        for factor in factors:
            for value in sorted(set(table[factor])):
                label = f"{factor}: {value or '(blank)'}"
                row[label] = rows.loc[rows[factor] == value, "subject"].nunique()
        counts.append(row)
    return pandas.DataFrame(counts, index=pandas.Index(order, name="split"))


def _shares(fractions: Sequence[float] | Mapping[str, float]) -> list[float]:
    if isinstance(fractions, Mapping):
        for name in fractions:
            if name not in SPLITS:
                raise UserError(f"There is no split {name!r}; {nearest(name, SPLITS)}")
        fractions = [fractions.get(name, 0.0) for name in SPLITS]
    shares = [float(fraction) for fraction in fractions]
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        given = " ".join(f"{share:g}" for share in shares)
        raise UserError(f"The fractions {given} are no shares of train, validation and test; give three that add to 1")
    return shares


def _strata(manifest: Manifest, stratify: Sequence[str] | None) -> list[str]:
    if stratify is None:
        return [factor for factor in DEFAULT_STRATA if factor in manifest.factors]
    for factor in stratify:
        if factor not in manifest.factors:
            remedy = nearest(factor, manifest.factors) if manifest.factors else "it has no factor columns"
            raise UserError(f"There is no factor {factor!r} in {manifest.name} to stratify by; {remedy}")
    return list(dict.fromkeys(stratify))


def _seats(total: int, shares: Sequence[float], names: Sequence[str]) -> list[int]:
    """Apportion `total` by largest remainder, at least one for every positive share."""
    positive = [name for name, share in zip(names, shares, strict=True) if share > 0]
    if total < len(positive):
        one, two = total == 1, "--fractions 0.5 0.5 0 gives train and validation"
        remedy = "--fractions 1 0 0 gives train alone" if one else two
        raise UserError(
            f"{total} subject{'' if one else 's'} cannot fill {', '.join(positive)}; images of one subject may not be "
            f"divided: {remedy}"
        )
    exact = [share * total for share in shares]
    # Rounded before flooring: 0.15 * 20 must not become 2 because it is 2.9999….
    seats = [int(np.floor(round(value, 9))) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda side: (seats[side] - exact[side], side))
    for side in by_remainder[: total - sum(seats)]:
        seats[side] += 1
    for side, share in enumerate(shares):
        if share > 0 and seats[side] == 0:
            seats[int(np.argmax(seats))] -= 1
            seats[side] = 1
    return seats


def _deal(
    strata: Mapping[tuple[str, ...], Sequence[str]], seats: Sequence[int], generator: np.random.Generator
) -> dict[str, int]:
    """Draw the side of every subject: exact totals, each stratum its proportional share rounded up or down."""
    places = _controlled_rounding([len(subjects) for subjects in strata.values()], seats, generator)
    side_of: dict[str, int] = {}
    for subjects, counts in zip(strata.values(), places, strict=True):
        shuffled = generator.permutation(np.array(subjects, dtype=object))
        side_of |= dict(zip(shuffled, np.repeat(np.arange(len(seats)), counts).tolist(), strict=True))
    return side_of


def _controlled_rounding(
    sizes: Sequence[int], seats: Sequence[int], generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Round the table sizes x seats / total to integers that keep all row and column sums."""
    exact = np.outer(sizes, seats) / sum(seats)
    floor = np.floor(np.round(exact, 9)).astype(np.int64)
    remainder = np.clip(exact - floor, 0, 1)
    rows, columns = exact.shape
    row_sums = sparse.kron(sparse.eye(rows), np.ones((1, columns)))
    column_sums = sparse.kron(np.ones((1, rows)), sparse.eye(columns))
    wanted = np.concatenate([np.array(sizes) - floor.sum(axis=1), np.array(seats) - floor.sum(axis=0)])
    # The random part breaks ties, so that no side is favoured in small strata; the optimum is then one corner of the
    # transport polytope, and those are integer.
    value = remainder + generator.uniform(0, 1e-3, exact.shape)
    solution = linprog(
        -value.ravel(),
        A_eq=sparse.vstack([row_sums, column_sums]),
        b_eq=wanted,
        bounds=[(0, 1 if part > 1e-9 else 0) for part in remainder.ravel()],
        method="highs-ds",
    )
    return floor + np.rint(solution.x).astype(np.int64).reshape(exact.shape)


def _with_folds(
    manifest: Manifest,
    strata: Mapping[tuple[str, ...], Sequence[str]],
    test_share: float,
    folds: int,
    generator: np.random.Generator,
) -> Manifest:
    subjects = sum(map(len, strata.values()))
    test, rest = _seats(subjects, [test_share, 1 - test_share], ["test", "the folds"])
    if not 2 <= folds <= rest:
        aside = f" (test takes {test})" if test else ""
        raise UserError(
            f"{rest} subjects{aside} cannot be dealt into {folds} folds; choose 2 to {rest} folds"
            if rest >= 2
            else f"{rest} subject{aside} is too few for folds; index more subjects"
        )
    is_rest = _deal(strata, [test, rest], generator)
    remaining = {stratum: [name for name in names if is_rest[name]] for stratum, names in strata.items()}
    remaining = {stratum: names for stratum, names in remaining.items() if names}
    fold_of = _deal(remaining, _seats(rest, [1 / folds] * folds, [str(fold) for fold in range(folds)]), generator)
    split = {
        subject: ("validation" if fold_of[subject] == 0 else "train") if rest_side else "test"
        for subject, rest_side in is_rest.items()
    }
    return _with_columns(manifest, split, {subject: str(fold + 1) for subject, fold in fold_of.items()})


def _named_sides(manifest: Manifest, explicit: Mapping[str, Sequence[str]]) -> dict[str, str]:
    known = set(manifest.subjects)
    side_of: dict[str, str] = {}
    for split, subjects in explicit.items():
        if split not in SPLITS:
            raise UserError(f"There is no split {split!r}; {nearest(split, SPLITS)}")
        for subject in subjects:
            if subject not in known:
                raise UserError(
                    f"There is no subject {subject!r} in {manifest.name}; {nearest(subject, sorted(known))}"
                )
            if side_of.setdefault(subject, split) != split:
                raise UserError(f"Subject {subject} is named for {side_of[subject]} and {split}; name it once")
    return side_of


def _with_columns(manifest: Manifest, split: Mapping[str, str], fold: Mapping[str, str] | None = None) -> Manifest:
    table = manifest.table.drop(columns=["split", "fold"], errors="ignore")
    table["split"] = [split.get(subject, "") for subject in table["subject"]]
    if fold is not None:
        table["fold"] = [fold.get(subject, "") for subject in table["subject"]]
    return manifest.with_table(table)


PART, PARTS = "part", ("segmentor", "translator")
"""The free column that divides training subjects between a segmentor in the loop and the translator."""


def divide_training_subjects(manifest: Manifest, share: float, *, seed: int = 0) -> Manifest:
    """Give a share of the training subjects to the segmentor alone, in the column `part`; one that is there stays.

    Args:
        manifest: with its split column.
        share: of the training subjects, above 0 and below 1; at least one subject on each side.
        seed: of the drawing.

    Raises:
        UserError: fewer than two training subjects.
    """
    table = manifest.table.copy()
    if PART in table and table[PART].any():
        return manifest
    subjects = sorted(set(table.loc[table["split"] == "train", "subject"]))
    if len(subjects) < 2:
        raise UserError(
            f"{manifest.name} has {len(subjects)} training subject; labels.segmentor_share divides at least two"
        )
    count = min(max(1, round(share * len(subjects))), len(subjects) - 1)
    chosen = set(np.random.default_rng([seed, len(subjects)]).permutation(subjects)[:count])
    table[PART] = [
        "" if split != "train" else PARTS[0] if subject in chosen else PARTS[1]
        for subject, split in zip(table["subject"], table["split"], strict=True)
    ]
    return manifest.with_table(table)
