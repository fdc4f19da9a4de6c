"""Make a blinded reader study out of folders or runs."""

import os
import secrets
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

import transmodal
from transmodal.errors import UserError
from transmodal.evaluation.readers.answers import REAL, Kind
from transmodal.evaluation.readers.blinding import Spool, Spooled, true_extremes, write_pictures
from transmodal.evaluation.readers.materials import Material, Materials
from transmodal.evaluation.readers.scale_checks import clipping_fact, require_contrast, scale_warnings
from transmodal.evaluation.readers.study import (
    IMAGES,
    KEY,
    PROTOCOL,
    Key,
    KeyImage,
    Pictures,
    Protocol,
    Study,
    dump,
)
from transmodal.evaluation.readers.trials import ReadersSee
from transmodal.images.files import write_text

QUESTIONS: dict[Kind, str] = {
    "real-or-synthetic": "Is this image real or synthetic?",
    "which-is-real": "Which of the two images is real?",
    "preference": "Which of the two images is better?",
    "rating": "How good is this image?",
}
CRITERIA = ("realism", "anatomy", "artefacts")


@dataclass(frozen=True)
class StudySettings:
    """What a study asks and how.

    Attributes:
        kind: see `answers.Answers`.
        title: of the page.
        question: of every trial; None takes the kind's own.
        criteria: of a rating.
        points: of a rating's scale, 2 to 9.
        ties: let readers answer that two images are equally good.
        cases: how many cases are taken, spread over subjects by the seed; None takes all.
        repeats: share of the trials that come again, with the sides exchanged.
        readers_see: "all" versions of every case, or "one" version of each, in turn from reader to reader; None takes
            "one" where a recurring image would betray that it is the real one, else "all".
        seed: of the choice of cases and of every reader's order. None draws one: whoever knows the seed and the number
            of cases can compute the order of real and synthetic.
        limits: (low, high) of the values that are shown; None takes the runs' own, else the extremes of the true
            images, else of all. Made images are always clipped to the extremes of the true ones.
        percentiles: map each image by its own percentiles instead.
        slices: of volumes: "middle", or indices along `axis`.
        axis: array axis of the slices.
    """

    kind: Kind
    title: str = "Reader study"
    question: str | None = None
    criteria: tuple[str, ...] = CRITERIA
    points: int = 5
    ties: bool = False
    cases: int | None = None
    repeats: float = 0.15
    readers_see: ReadersSee | None = None
    seed: int | None = None
    limits: tuple[float, float] | None = None
    percentiles: tuple[float, float] | None = None
    slices: Literal["middle"] | tuple[int, ...] = "middle"
    axis: int = 2
    reference_title: str = "for comparison"


def make_study(
    folder: str | Path,
    materials: Materials,
    settings: StudySettings,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Study:
    """Write a study whole or not at all.

    Args:
        folder: of the study; must not exist or be empty.
        materials: from `materials.from_folders` or `from_runs`.
        settings: of the study.
        on_progress: called with (what, done, of how many).
        on_warning: called with one line for whatever is likely a mistake, when the study is written.

    Returns:
        The study, opened.

    Raises:
        UserError: the folder is taken, the kind does not suit the systems, a setting is out of its bounds, images do
            not share a grid, hold NaN or cannot be read, or those of a system are all of one grey.
    """
    folder = Path(folder)
    _check(settings, materials.systems)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is taken already; choose another folder for the study")
    progress = on_progress or (lambda what, done, total: None)
    seed = secrets.randbits(63) if settings.seed is None else settings.seed
    chosen = choose_cases(materials.cases, settings.cases, seed)
    beside = folder.parent / f".{uuid.uuid4().hex[:8]}.{folder.name}"
    try:
        (beside / "spool").mkdir(parents=True)
        spool = Spool(beside / "spool", settings.slices, settings.axis, settings.percentiles)
        for done, material in enumerate(chosen, 1):
            spool.add(material)
            progress("reading", done, len(chosen))
        warnings = _write(beside, spool, materials, settings, seed, progress)
        shutil.rmtree(beside / "spool")
        if folder.is_dir():
            folder.rmdir()
        beside.rename(folder)
    except OSError as error:
        raise UserError(f"Cannot write {folder}: {error.strerror or error}; choose another place") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    study = Study.open(folder)
    study.open_store()
    for warning in [*warnings, *_size_warnings(study, materials)]:
        if on_warning:
            on_warning(warning)
    return study


def choose_cases(cases: Sequence[Material], count: int | None, seed: int) -> list[Material]:
    """Choose cases by the seed, a second one of a subject only when every subject has one, and so on.

    Raises:
        UserError: there are fewer.
    """
    if count is None:
        return list(cases)
    if count > len(cases):
        raise UserError(f"--cases {count} is more than the {len(cases)} cases there are; lower it or leave it out")
    seen: dict[str, int] = {}
    ranked: list[tuple[int, int, int]] = []
    for place in np.random.default_rng(seed).permutation(len(cases)):
        subject = cases[place].subject
        seen[subject] = seen.get(subject, 0) + 1
        ranked.append((seen[subject], len(ranked), int(place)))
    return [cases[place] for place in sorted(place for _, _, place in sorted(ranked)[:count])]


def make_items(
    kind: Kind,
    cases: Sequence[str],
    systems: Sequence[str],
    name_of: dict[tuple[str, str], str],
    seed: int,
    readers_see: ReadersSee,
) -> tuple[list[tuple[str, ...]], list[tuple[int, ...]]]:
    """Return the items of a study and, for each case, the items from which readers take turns.

    Where readers see all, a real image stands once, beside one synthetic image of its case, the systems in turn: one
    real to one synthetic, however many systems there are.

    Args:
        kind: of the study.
        cases: all cases.
        systems: all systems, `answers.REAL` among them where there are true images.
        name_of: (case, system) → opaque name.
        seed: gives each case its system where it gets only one.
        readers_see: "all" or "one".
    """
    made = [system for system in systems if system != REAL]
    ranks = np.random.default_rng([seed, 1]).permutation(len(cases))
    items: list[tuple[str, ...]] = []
    turns = []
    for case, rank in zip(cases, ranks, strict=True):
        own = made if readers_see == "one" else [made[rank % len(made)]]
        versions: list[tuple[str, ...]]
        if kind == "rating":
            versions = [(system,) for system in sorted(systems)]
        elif kind == "preference":
            versions = list(combinations(sorted(systems), 2))
        elif kind == "which-is-real":
            versions = [(system, REAL) for system in (made if readers_see == "all" else own)]
        else:
            versions = [version for system in own for version in ((REAL,), (system,))]
        # The real image of a case is one item, though it stands in several turns.
        place = {version: len(items) + number for number, version in enumerate(dict.fromkeys(versions))}
        items += [tuple(name_of[case, system] for system in version) for version in place]
        turns.append(tuple(place[version] for version in versions))
    return items, turns


def _write(
    folder: Path,
    spool: Spool,
    materials: Materials,
    settings: StudySettings,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> list[str]:
    """Write all files but the answers; return what is likely a mistake in the scale of the images."""
    date = float(int(time.time()))
    limits = (0.0, 1.0) if settings.percentiles else settings.limits or materials.range
    unit = "" if settings.percentiles or len(spool.units) != 1 else next(iter(spool.units))
    shown, beside = spool.of(references=False), spool.of(references=True)
    written = 0

    def advance() -> None:
        nonlocal written
        written += 1
        progress("blinding", written, len(spool.pictures))

    pictures, names, tallies = write_pictures(
        shown, folder / IMAGES, limits=limits, per_image=settings.percentiles is not None, unit=unit,
        aspect=spool.aspects["shown"], date=date, on_written=advance,
    )  # fmt: skip
    reference, references = None, dict[str, Spooled]()
    if beside:
        reference, references, _ = write_pictures(
            beside, folder / IMAGES, limits=None, per_image=False, unit="", aspect=spool.aspects["beside"],
            date=date, on_written=advance,
        )  # fmt: skip
    os.utime(folder / IMAGES, (date, date))
    require_contrast(shown, tallies, pictures)
    extremes = true_extremes(shown)
    name_of = {(picture.case, picture.system): name for name, picture in names.items()}
    cases = list(dict.fromkeys(picture.case for picture in shown))
    see: ReadersSee = settings.readers_see or ("one" if settings.kind == "which-is-real" else "all")
    items, turns = make_items(settings.kind, cases, materials.systems, name_of, seed, see)
    once = len(items) if see == "all" else len(turns)
    key = Key(
        secret=secrets.token_hex(32),
        seed=seed,
        systems=materials.systems,
        images={name: KeyImage(case=each.case, subject=each.subject, system=each.system)
                for name, each in sorted(names.items())},
        references={each.case: name for name, each in sorted(references.items())},
        items=tuple(items),
        turns=tuple(turns),
        repeats=settings.repeats,
        readers_see=see,
        about=_about(pictures, settings, materials, cases, shown, see, once)
        | {"clipped": clipping_fact(tallies, pictures, extremes)},
    )  # fmt: skip
    protocol = Protocol(
        title=settings.title,
        kind=settings.kind,
        question=settings.question or QUESTIONS[settings.kind],
        criteria=settings.criteria if settings.kind == "rating" else (),
        points=settings.points if settings.kind == "rating" else 0,
        ties=settings.ties,
        items=once,
        pictures=pictures,
        reference=reference,
        reference_title=settings.reference_title if reference else "",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _write_private(folder / KEY, dump(key))
    write_text(folder / PROTOCOL, dump(protocol))
    return scale_warnings(shown, tallies, pictures, extremes)


def _size_warnings(study: Study, materials: Materials) -> list[str]:
    """Return a line for each thing that a study of this size, or with these subjects, cannot tell."""
    lines = []
    if not materials.subjects_known and len(materials.cases) > 1:
        lines.append("Every case counts as a subject of its own, which makes intervals too narrow where several are "
                     "of one; name subjects with --subject-pattern")  # fmt: skip
    items, repeated = study.items_and_repeats()
    if items == 1:
        lines.append("The study has one item only, which tells nothing of a system or a reader; add cases")
    elif study.key.repeats and not repeated:
        lines.append(f"No item comes twice, as {study.key.repeats:.0%} of {items} items is none: how consistent "
                     "readers are stays unknown; raise --repeats or --cases")  # fmt: skip
    return lines


def _about(
    pictures: Pictures,
    settings: StudySettings,
    materials: Materials,
    cases: Sequence[str],
    shown: Sequence[Spooled],
    readers_see: ReadersSee,
    once: int,
) -> dict[str, str]:
    """Say for the report how the images were made."""
    if settings.percentiles:
        low, high = settings.percentiles
        scale = f"each image or volume by its own percentiles {low:g} and {high:g} to 0–1"
    else:
        unit = "" if pictures.unit == "intensity" else f" {pictures.unit}"
        scale = f"{pictures.low:g} to {pictures.high:g}{unit}"
    subjects = len({picture.subject for picture in shown})
    whose = f"of {subjects} subject{'' if subjects == 1 else 's'}"
    if subjects == len(cases):
        whose = "each of another subject" if materials.subjects_known else "each counted as a subject of its own"
    facts = {
        "images": f"{pictures.width}×{pictures.height} pixels, {'colour' if pictures.channels == 3 else 'grey'}",
        "values": f"{scale}, rounded to {pictures.levels} levels as coarse as the coarsest source",
        "cases": f"{len(cases)}, {whose}",
        "readers see": "all items" if readers_see == "all" else "one version of each case, in turn",
        "repeats": f"{round(settings.repeats * once) or 'none'} of {once} items",
        "sources": "; ".join(materials.sources),
        "made by": f"transmodal {transmodal.__version__}",
    }
    if any(picture.shape[:2] != shown[0].shape[:2] for picture in shown):
        facts["images"] += "; smaller ones lie in the middle of an empty field"
    return facts


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)


def _check(settings: StudySettings, systems: Sequence[str]) -> None:
    made = [system for system in systems if system != REAL]
    if settings.kind not in QUESTIONS:
        raise UserError(f"There is no kind of study {settings.kind!r}; choose one of {', '.join(QUESTIONS)}")
    if settings.kind in ("real-or-synthetic", "which-is-real") and (REAL not in systems or not made):
        raise UserError(f"A study of the kind {settings.kind} needs true images and a system; add --real DIR or a run")
    if settings.kind == "preference" and len(systems) < 2:
        raise UserError("A study of preferences needs two systems; add another --system NAME=DIR")
    if not made:
        raise UserError("The study has no system; add --system NAME=DIR")
    if not 0 <= settings.repeats <= 0.5:
        raise UserError(f"--repeats {settings.repeats:g} is no share from 0 to 0.5; change it")
    if settings.cases is not None and settings.cases < 1:
        raise UserError(f"--cases {settings.cases} is less than 1; change it")
    if settings.kind == "rating" and not 2 <= settings.points <= 9:
        raise UserError(f"--points {settings.points} does not fit the keys 1 to 9; give 2 to 9")
    if settings.kind == "rating" and (
        not settings.criteria or len(set(settings.criteria)) < len(settings.criteria) or not all(settings.criteria)
    ):
        raise UserError("--criteria needs different names with single commas between; mend it")
    if settings.ties and settings.kind != "preference":
        raise UserError(f"--ties has no sense in a study of the kind {settings.kind}; leave it out")
    if settings.limits and settings.percentiles:
        raise UserError("--range and --percentiles are two maps of the values; give one")
    if settings.limits and not settings.limits[0] < settings.limits[1]:
        raise UserError(f"--range {settings.limits[0]:g} {settings.limits[1]:g}: give the lower value first")
    if settings.percentiles and not 0 <= settings.percentiles[0] < settings.percentiles[1] <= 100:
        raise UserError("--percentiles needs two numbers from 0 to 100, the lower first; mend it")
