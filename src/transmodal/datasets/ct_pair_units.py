"""Which pairs a manifest of clean CT asks for: every case at its levels and in its poses, with names and seeds."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas

from transmodal.datasets.ct_pair_settings import PairSettings, weighted
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.images.files import sha256_of
from transmodal.simulation.ct.pairs import Output, Task
from transmodal.simulation.ct.steps import Level
from transmodal.simulation.ct.tv_weights import TunedWeight
from transmodal.simulation.ct.variants import Pose


@dataclass(frozen=True)
class Unit:
    """A row of the manifest at one level and in one pose."""

    row: dict[str, str]
    session: str
    task: Task


def rows_of(manifest: Manifest, modality: str) -> list[dict[str, str]]:
    """Return the rows of a modality, sorted by case.

    Raises:
        UserError: there is none, or a subject stands on two sides of the split.
    """
    if modality not in manifest.modalities:
        raise UserError(
            f"No image of modality {modality!r} in {manifest.name}; known are {', '.join(manifest.modalities[:12])}: "
            "name the clean CT by --modality NAME, or make the manifest anew by 'transmodal data index --layout ct', "
            "which calls every CT so"
        )
    if "split" in manifest.table:
        manifest.check_split()
    table = manifest.table[manifest.table["modality"] == modality]
    return sorted(records_of(table), key=lambda row: (row["subject"], row["session"]))


def units_of(
    rows: Sequence[dict[str, str]],
    manifest: Manifest,
    folder: Path,
    settings: PairSettings,
    weights: dict[str, TunedWeight],
    contents: dict[str, str],
) -> list[Unit]:
    """Return what is to be made, in the order of the manifest."""
    split = any(row.get("split") for row in rows)
    posed = []
    for row in rows:
        copies = settings.copies if not split or row.get("split") == "train" else 0
        posed += [(row, copy) for copy in range(copies + 1)]
    if settings.spread == "mix" and len(settings.levels) > 1:
        levels = [[level] for level in _mixed(posed, settings)]
    else:
        levels = [list(settings.levels)] * len(posed)
    units = []
    for (row, copy), of_case in zip(posed, levels, strict=True):
        original = case_name(row["subject"], row["session"])
        seed = seed_of(settings.seed, original, copy)
        for level in of_case:
            suffixes = [level.label if len(of_case) > 1 else "", f"copy{copy}" if copy else ""]
            session = "-".join(part for part in (row["session"], *suffixes) if part)
            companions = settings.output.companions
            if weights:
                companions = tuple(weighted(each, weights[level.label].weight) for each in companions)
            source = manifest.absolute(row["path"])
            task = Task(
                folder=folder,
                subject=row["subject"],
                case=case_name(row["subject"], session),
                source=source,
                content=contents[str(source)],
                level=level,
                process=settings.process,
                output=replace(settings.output, companions=companions),
                seed=seed,
                pose=Pose.drawn(seed) if copy else None,
            )
            units.append(Unit(row, session, task))
    return units


def _mixed(posed: Sequence[tuple[dict[str, str], int]], settings: PairSettings) -> list[Level]:
    """Return one level for each, all equally often in each split and altogether."""
    random = np.random.default_rng([settings.seed, zlib.crc32(b"mix")])
    given: dict[int, Level] = {}
    dealt = 0
    for split in sorted({row.get("split", "") for row, _ in posed}):
        members = [index for index, (row, _) in enumerate(posed) if row.get("split", "") == split]
        for index in random.permutation(members):
            given[int(index)] = settings.levels[dealt % len(settings.levels)]
            dealt += 1
    return [given[index] for index in range(len(posed))]


def check_names(units: Sequence[Unit], output: Output, folder: Path) -> None:
    """Refuse names that collide, before anything is made."""
    rows = [
        {"subject": unit.row["subject"], "session": unit.session, "modality": modality, "path": f"{number}"}
        for number, unit in enumerate(units)
        for modality in (output.degraded, output.clean)
    ]
    Manifest(pandas.DataFrame(rows), folder, name="the manifest of pairs")


def seed_of(seed: int, case: str, copy: int) -> int:
    """Return the seed of a case in one pose."""
    # Levels of one case share their random numbers: what differs between them is the level alone.
    return int(np.random.SeedSequence([seed, zlib.crc32(case.encode()), copy]).generate_state(1)[0])


def case_name(subject: str, session: str) -> str:
    """Return how a case is called: by its subject, and its session where it has one."""
    return f"{subject}_{session}" if session else subject


def records_of(table: pandas.DataFrame) -> list[dict[str, str]]:
    """Return the rows of a manifest's table as column → cell."""
    names = [str(name) for name in table.columns]
    return [dict(zip(names, cells, strict=True)) for cells in table.itertuples(index=False, name=None)]


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder; "absent" where there is none."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        return "-".join([str(len(files)), _together([sha256_of(file) for file in files])])
    if not path.is_file():
        return "absent"
    return sha256_of(path)


def _together(hashes: Sequence[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
