"""Cross-validation by subject: k ordinary runs in one folder, each of which holds another part of the subjects back.

    RUN/ folds.json   manifest.csv (with its fold column)   environment.json   fold-1/ fold-2/ …

Every subject is a test subject of exactly one fold, and is seen by no other stage of that fold: neither by training nor
by the choice of the best checkpoint, for which a part of the remaining subjects is held back, where there are enough
and a score chooses.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from transmodal.datasets.manifest import Manifest
from transmodal.datasets.splits import split_by_subject
from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.training.recipe import LAST, Recipe
from transmodal.training.run import Run, describe_environment
from transmodal.training.train import train

FILE = "folds.json"
VALIDATION_SHARE = 0.15
_FEWEST_FOR_VALIDATION = 4  # subjects outside the fold; of fewer, none can be spared


@dataclass(frozen=True)
class CrossValidation:
    """A cross-validation on disk.

    Attributes:
        folder: of all its runs.
        folds: how many.
        recipe: of each run.
        manifest: with the column `fold`.
        finished: the folds that are trained to their end.
    """

    folder: Path
    folds: int
    recipe: Recipe
    manifest: Manifest
    finished: tuple[int, ...] = ()

    @classmethod
    def is_at(cls, folder: str | Path) -> bool:
        """Say whether a folder is a cross-validation."""
        return (Path(folder) / FILE).is_file()

    @classmethod
    def open(cls, folder: str | Path) -> "CrossValidation":
        """Open an existing one.

        Raises:
            UserError: the folder is none, or its file is damaged.
        """
        folder = Path(folder)
        try:
            content = json.loads((folder / FILE).read_text(encoding="utf-8"))
            recipe = Recipe.model_validate(content["recipe"])
            folds, finished = int(content["folds"]), tuple(int(number) for number in content["finished"])
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise UserError(
                f"{folder / FILE} describes no cross-validation; make one with 'transmodal train --folds 5'"
            ) from error
        return cls(folder, folds, recipe, Manifest.read(folder / "manifest.csv"), finished)

    def run_folder(self, fold: int) -> Path:
        """The folder of one run; folds count from 1."""
        return self.folder / f"fold-{fold}"

    @property
    def unfinished(self) -> list[int]:
        """The folds that are not trained to their end."""
        return [fold for fold in range(1, self.folds + 1) if fold not in self.finished]

    def runs(self) -> list[Run]:
        """Open the runs of all folds.

        Raises:
            UserError: one is not finished, or a subject is a test subject of two.
        """
        if self.unfinished:
            named = ", ".join(f"fold-{fold}" for fold in self.unfinished)
            raise UserError(
                f"{self.folder} is not complete: {named} of {self.folds} not trained to the end; go on with "
                f"'transmodal train --resume --out {self.folder}'"
            )
        runs = [Run.open(self.run_folder(fold)) for fold in range(1, self.folds + 1)]
        owner: dict[str, str] = {}
        for run in runs:
            for subject in {case.subject for case in run.manifest.cases(split="test")}:
                if owner.setdefault(subject, run.name) != run.name:
                    raise UserError(
                        f"{subject} is a test subject of {owner[subject]} and of {run.name} in {self.folder}; train "
                        "the folds anew"
                    )
        return runs

    def write(self) -> None:
        """Write what is not a run's own."""
        content = {
            "folds": self.folds,
            "finished": list(self.finished),
            "recipe": self.recipe.model_dump(mode="json"),
        }
        write_text(self.folder / FILE, json.dumps(content, indent=2) + "\n")


def train_folds(
    recipe: Recipe,
    manifest: Manifest | str | Path | None,
    out: str | Path,
    folds: int | None,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> CrossValidation:
    """Train every fold, one after the other.

    Args:
        recipe: of each run; its `train.max_minutes` are those of one fold.
        manifest: whose subjects are dealt into folds with the recipe's seed, unless it has as many already; None goes
            on with the one in `out`.
        out: the folder; new or empty, or an existing cross-validation with `resume`.
        folds: how many; None goes on with those in `out`.
        resume: go on where it stopped.
        say: called with a line on each fold.
        options: of `training.train.train`.

    Raises:
        UserError: as `train`; the folder holds something else; too few subjects.
        KeyboardInterrupt: stopped before the end.
    """
    out = Path(out)
    if CrossValidation.is_at(out):
        whole = CrossValidation.open(out)
        if not resume:
            raise UserError(f"{out} already holds a cross-validation; add --resume to go on with it, or choose another "
                            "--out")  # fmt: skip
        if folds not in (None, whole.folds):
            raise UserError(f"--resume goes on with the {whole.folds} folds in {out}; leave --folds out")
    else:
        if manifest is None or folds is None:
            raise UserError(f"There is no cross-validation in {out} to resume; check --out")
        whole = _created(recipe, manifest, out, folds)
        outside = sorted(set(whole.manifest.table.loc[whole.manifest.table["fold"] == "", "subject"]))
        if outside:
            named = ", ".join(outside[:5]) + (", …" if len(outside) > 5 else "")
            say(f"Kept out of all folds, as test subjects or by the manifest's own folds: {named} ({len(outside)})")
    for fold in range(1, whole.folds + 1):
        if fold in whole.finished:
            say(f"Fold {fold} of {whole.folds}: finished before")
            continue
        chooses = whole.recipe.best != LAST
        part = fold_manifest(whole.manifest, fold, seed=whole.recipe.train.seed, validates=chooses)
        tested = {case.subject for case in part.cases(split="test")}
        say(f"Fold {fold} of {whole.folds}: {len(tested)} test subjects, in {whole.run_folder(fold)}")
        train(whole.recipe, part, whole.run_folder(fold), resume=True, **options)
        whole = CrossValidation(
            whole.folder, whole.folds, whole.recipe, whole.manifest, tuple(sorted({*whole.finished, fold}))
        )
        whole.write()
    return whole


def dealt_into_folds(manifest: Manifest, folds: int, *, seed: int) -> Manifest:
    """Return the manifest with its subjects in folds 1 to k: its own where it has as many, else drawn by the seed.

    Subjects that its own folds leave out (test subjects set aside) stay outside all folds, and so do those that its
    split calls test, unless there are no others.

    Raises:
        UserError: fewer than two folds, or fewer subjects than folds.
    """
    own = {int(cell) for cell in manifest.table["fold"] if cell} if "fold" in manifest.table else set()
    if own == set(range(1, folds + 1)):
        return manifest
    manifest.check_split()
    table = manifest.table
    kept = set_aside(manifest)
    try:
        dealt = split_by_subject(
            manifest.with_table(table[~table["subject"].isin(kept)]), fractions=(0.5, 0.5, 0.0), seed=seed, folds=folds
        ).table
    except UserError as error:
        outside = f" (without the {len(kept)} whose split is test)" if kept else ""
        raise UserError(f"{error}{outside}") from error
    fold = dict(zip(dealt["subject"], dealt["fold"], strict=True))
    side = dict(zip(dealt["subject"], dealt["split"], strict=True)) | dict.fromkeys(kept, "test")
    subjects = table["subject"]
    table = table.drop(columns=["split", "fold"], errors="ignore")
    table["split"] = [side[subject] for subject in subjects]
    table["fold"] = [fold.get(subject, "") for subject in subjects]
    return manifest.with_table(table)


def set_aside(manifest: Manifest) -> list[str]:
    """Return the subjects that the manifest's split calls test, sorted; none where it calls all of them so."""
    table = manifest.table
    if "split" not in table:
        return []
    test = set(table.loc[table["split"] == "test", "subject"])
    return sorted(test) if test != set(table["subject"]) else []


def fold_manifest(manifest: Manifest, fold: int, *, seed: int, validates: bool = True) -> Manifest:
    """Return the manifest of one fold's run: the fold is test, of the other folds a part is validation, the rest train.

    The part is 15 % of the subjects, drawn by the seed, and none of fewer than four, or where none `validates`.
    """
    table = manifest.table
    others = manifest.with_table(table[(table["fold"] != "") & (table["fold"] != str(fold))])
    side = dict.fromkeys(others.subjects, "train")
    if validates and len(side) >= _FEWEST_FOR_VALIDATION:
        drawn = split_by_subject(others, fractions=(1 - VALIDATION_SHARE, VALIDATION_SHARE, 0.0), seed=seed).table
        side = dict(zip(drawn["subject"], drawn["split"], strict=True))
    split = [
        "test" if number == str(fold) else side[subject] if number else ""
        for subject, number in zip(table["subject"], table["fold"], strict=True)
    ]
    return manifest.with_table(table.assign(split=split))


def _created(recipe: Recipe, manifest: Manifest | str | Path, out: Path, folds: int) -> CrossValidation:
    if out.is_file() or (out.is_dir() and any(not file.name.startswith(".") for file in out.iterdir())):
        raise UserError(f"{out} is not an empty folder; choose another --out")
    manifest = manifest if isinstance(manifest, Manifest) else Manifest.read(manifest)
    manifest = dealt_into_folds(manifest, folds, seed=recipe.train.seed)
    manifest.check_split()
    manifest.require_modalities(recipe.modalities)
    write_text(out / "environment.json", json.dumps(describe_environment(), indent=2) + "\n")
    manifest.write(out / "manifest.csv")
    CrossValidation(out, folds, recipe, manifest).write()
    return CrossValidation.open(out)
