"""Other data than a run's own test cases: an evaluation of its translator on a manifest that it never saw.

The run's training subjects stay, since baselines are fitted on them; its own validation and test cases give way.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas

from transmodal.datasets.manifest import CaseFiles, Manifest
from transmodal.errors import UserError
from transmodal.evaluation.wording import counted
from transmodal.training.recipe import Recipe
from transmodal.training.run import Run
from transmodal.training.start import subjects_learnt_from

_NAMED = 5


@dataclass(frozen=True)
class OtherData:
    """A manifest and what of it is scored.

    Attributes:
        manifest: its file, as it was given.
        whole: all of its cases; False: those that its split calls test.
        run: with these cases as its test cases.
    """

    manifest: Path
    whole: bool
    run: Run

    def __str__(self) -> str:
        return f"{'all' if self.whole else 'the test split'} of {self.manifest}"


def with_other_data(run: Run, data: str | Path) -> OtherData:
    """Return a run whose test cases are those of another manifest: its test split, or all where it has none.

    Raises:
        UserError: the manifest is none, has no case that the translator can take, or names a subject that the run, or
            one that its weights come from, was trained or validated on.
    """
    other = Manifest.read(data)
    other.check_split()
    table = other.table
    tested = table["split"] == "test" if "split" in table else pandas.Series(False, table.index)
    whole = not tested.any()
    chosen = table if whole else table[tested]
    _refuse_known(run, sorted(set(chosen["subject"])), data)
    own = run.manifest.table
    parts = []
    for rows, manifest, split in ((own[own["split"] == "train"], run.manifest, "train"), (chosen, other, "test")):
        paths = [str(manifest.absolute(cell)) for cell in rows["path"]]
        parts.append(rows.drop(columns="fold", errors="ignore").assign(path=paths, split=split))
    together = pandas.concat(parts, ignore_index=True).fillna("")
    manifest = Manifest(together, other.folder, name=str(data))
    _require_cases(run.recipe, manifest.cases(split="test"), data)
    return OtherData(Path(data), whole, replace(run, manifest=manifest))


def _refuse_known(run: Run, subjects: Collection[str], data: str | Path) -> None:
    learnt = subjects_learnt_from(run.folder)
    known = [subject for subject in subjects if subject in learnt]
    if not known:
        return
    named = ", ".join(f"{subject} ({learnt[subject]})" for subject in known[:_NAMED])
    named += f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    raise UserError(
        f"{data} holds {counted(len(known), 'subject')} of the training of {run.folder}: {named}, whose scores would "
        "be too good; leave them out, or give others of the same name other names ('data unpack --prefix')"
    )


def _require_cases(recipe: Recipe, cases: Sequence[CaseFiles], data: str | Path) -> None:
    inputs, targets, missing = set(recipe.inputs), set(recipe.targets), recipe.sampling.missing_inputs
    for case in cases:
        there = set(case.files)
        if (there & inputs if missing else there >= inputs) and there & targets:
            return
    known = ", ".join(sorted({name for case in cases for name in case.files}))
    joined = " or " if missing else " and "
    raise UserError(
        f"{data} has no case with {joined.join(recipe.inputs)} and {' or '.join(recipe.targets)}; it has {known}, "
        "whose names must be those of the run"
    )
