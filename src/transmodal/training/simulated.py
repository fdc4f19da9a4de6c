"""Simulated data sets to train on first, made once and kept beside the cache of prepared images."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas

from transmodal.datasets.manifest import Manifest
from transmodal.simulation.brain import simulate_dataset

SEED = 1_000  # away from those that users and examples take


def simulated_brains(
    folder: Path, subjects: int, size: tuple[int, int, int], *, on_subject: Callable[[], None] = lambda: None
) -> Manifest:
    """Return a manifest of simulated brains, all for training; subjects that are there already are not made again.

    Args:
        folder: where data sets of simulated brains are kept.
        subjects: every second one with plaques of multiple sclerosis, the others with gliomas.
        size: voxels along each axis of the BraTS field.
        on_subject: called after each subject.
    """
    tables = []
    shape = "x".join(map(str, size))
    shares: dict[Literal["tumour", "ms"], int] = {"tumour": (subjects + 1) // 2, "ms": subjects // 2}
    for lesions, count in shares.items():
        if not count:
            continue
        place = folder / f"brain-{lesions}-{shape}-{count}"
        # One process: a script that trains need not be written for several.
        file = simulate_dataset(
            place,
            subjects=count,
            size=size,
            lesions=lesions,
            seed=SEED,
            workers=1,
            progress=lambda done, total: on_subject() if done else None,
        )
        manifest = Manifest.read(file)
        table = manifest.table.copy()
        table["subject"] = [f"{lesions}-{subject}" for subject in table["subject"]]
        table["path"] = [str(manifest.absolute(path)) for path in table["path"]]
        tables.append(table)
    together = pandas.concat(tables, ignore_index=True).fillna("")
    together["split"] = "train"
    return Manifest(together[["subject", "session", "modality", "path", "split"]], folder, name="simulated brains")
