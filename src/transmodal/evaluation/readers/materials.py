"""What a study is made from: folders of images matched by stem, or runs with their test cases."""

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transmodal.errors import UserError
from transmodal.evaluation.matching import images_of, subject_in_name
from transmodal.evaluation.readers.answers import REAL, TIE
from transmodal.images import Image, read

INPUT = "input"  # the reference of runs: what their translators were given


@dataclass(frozen=True)
class Material:
    """All images of one case, not yet read.

    Attributes:
        case: a name that no reader sees.
        subject: for intervals over subjects.
        load: gives system → image, `answers.REAL` for the true one.
        load_reference: gives the image shown beside; None where there is none.
    """

    case: str
    subject: str
    load: Callable[[], dict[str, Image]]
    load_reference: Callable[[], Image] | None = None


@dataclass(frozen=True)
class Materials:
    """All cases, the systems in them, and what runs know of the values' range.

    Attributes:
        cases: in the order of their names.
        systems: in the order given; `answers.REAL` last where there are true images.
        range: (low, high) of the target's intensity map; None for folders and for maps of percentiles.
        sources: where everything came from, for the key.
        left_out: cases that not every system has, so that nobody sees them.
        subjects_known: somebody said whose the cases are; else each counts as a subject of its own.
    """

    cases: list[Material]
    systems: tuple[str, ...]
    range: tuple[float, float] | None
    sources: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    subjects_known: bool = True


def from_folders(
    systems: Mapping[str, Path],
    real: Path | None,
    *,
    reference: Path | None = None,
    subject_pattern: str | None = None,
) -> Materials:
    """Match the images of folders by the stem of their names.

    Args:
        systems: name → folder.
        real: folder of the true images.
        reference: folder of images to be shown beside, one of each stem.
        subject_pattern: takes the subject out of a stem by its group (?P<subject>…); None takes each for its own.

    Raises:
        UserError: a name is taken, a folder is missing or empty, or nothing matches.
    """
    _check_names(list(systems))
    folders = dict(systems) | ({REAL: real} if real is not None else {})
    found = {name: _images_of(folder) for name, folder in folders.items()}
    stems = sorted(set.intersection(*(set(images) for images in found.values())))
    if not stems:
        named = ", ".join(str(folder) for folder in folders.values())
        raise UserError(f"No name of an image is in all of {named}; rename them to agree before the suffix")
    left_out = tuple(sorted(set().union(*found.values()) - set(stems)))
    beside = None if reference is None else _images_of(reference)
    if beside is not None and (lacking := [stem for stem in stems if stem not in beside]):
        raise UserError(f"{reference} has no image called {lacking[0]}; add it, or leave --reference out")
    subject_of = subject_in_name(subject_pattern)

    def material(stem: str) -> Material:
        files = {name: images[stem] for name, images in found.items()}
        return Material(
            stem,
            subject_of(stem),
            lambda: {name: read(path) for name, path in files.items()},
            None if beside is None else functools.partial(read, beside[stem]),
        )

    sources = tuple(f"{name}: {folder}" for name, folder in folders.items())
    known = subject_pattern is not None
    return Materials([material(stem) for stem in stems], tuple(folders), None, sources, left_out, known)


def from_runs(
    runs: Sequence[Path], *, with_real: bool, with_input: bool, split: str = "test", device: str = "cpu"
) -> Materials:
    """Take the cases of a split of runs: the true targets, and what each run's translator makes of the inputs.

    Translators work without their noise z, as in `transmodal evaluate`.

    Args:
        runs: folders; each is a system called as its folder.
        with_real: take the true targets, too.
        with_input: show the first input modality beside.
        split: "test", "validation" or "train".
        device: on which translators work.

    Raises:
        UserError: a folder is no run, two have one name, they have other targets or share no case.
    """
    from transmodal.training.run import Run
    from transmodal.translation import load_translator

    opened = [Run.open(folder) for folder in runs]
    _check_names([run.name for run in opened])
    target = opened[0].recipe.targets[0]
    for run in opened[1:]:
        if run.recipe.targets[0] != target:
            raise UserError(f"{run.folder} makes {run.recipe.targets[0]} but {opened[0].folder} {target}; "
                            "name runs of one target")  # fmt: skip
    by_run = [
        {case.id: case for case in run.manifest.cases([*run.recipe.inputs, target], split=split)} for run in opened
    ]
    names = sorted(set.intersection(*(set(cases) for cases in by_run)))
    if not names:
        raise UserError(f"No {split} case is in all of {', '.join(str(run) for run in runs)}; choose another --split")
    translators = [load_translator(run.model, device=device) for run in opened]
    turn = threading.Lock()

    def material(name: str) -> Material:
        case = by_run[0][name]

        def load() -> dict[str, Image]:
            images = {}
            for run, cases, translator in zip(opened, by_run, translators, strict=True):
                given = {modality: read(cases[name].files[modality]) for modality in run.recipe.inputs}
                with turn:
                    images[run.name] = translator.translate_case(given)[target]
            return images | ({REAL: read(case.files[target])} if with_real else {})

        beside = case.files[opened[0].recipe.inputs[0]]
        return Material(name, case.subject, load, functools.partial(read, beside) if with_input else None)

    fitted = translators[0].card.preparation.modalities[target].intensity
    return Materials(
        [material(name) for name in names],
        (*(run.name for run in opened), *((REAL,) if with_real else ())),
        None if fitted.depends_on_image else (fitted.low, fitted.high),
        tuple(f"{run.name}: {run.folder}, {split} split" for run in opened),
    )


def _images_of(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name a folder of images")
    images = images_of(folder)
    if not images:
        raise UserError(f"{folder} holds no image that can be read; check the path")
    return images


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name in (REAL, TIE) or not name.strip():
            raise UserError(f"No system can be called {name!r}; give it another name, as in --system pix2pix=DIR")
        if names.count(name) > 1:
            raise UserError(f"Two systems are called {name!r}; give one another name")
