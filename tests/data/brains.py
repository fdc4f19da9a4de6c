"""Tiny brains: a box of tissue with a bright lesion, as T1, T2 and FLAIR with a brain mask and a map of lesions."""

from pathlib import Path
from typing import Any

import numpy as np

from transmodal.images import Image, write

SHAPE = (24, 20, 10)
TINY_TRANSLATOR: dict[str, Any] = {
    "name": "tiny",
    "inputs": ["T1", "T2"],
    "targets": ["FLAIR"],
    "preparation": {
        "slices": {"axis": "axial", "minimum_foreground": 0.05},
        "region": {"how": "nonzero", "modality": "brain"},
        "intensity": {
            name: {"map": "image-percentiles", "percentiles": [0.5, 99.5], "foreground": True}
            for name in ("T1", "T2", "FLAIR")
        },
    },
    "sampling": {"missing_inputs": True},
    "method": "supervised",
    "supervised": {"network": {"filters": 4, "levels": 2}, "adam": {"learning_rate": 0.01}},
    "train": {"epochs": 2, "batch_size": 8, "sample_every": 100, "validate_every": 2},
    "evaluation": {"metrics": ["mae", "psnr", "ssim"], "sets": [], "dimension": 2, "scale": "percentile"},
}


def make_brains(folder: Path, subjects: int = 6, *, splits: dict[str, str] | None = None) -> Path:
    """Write volumes of (24, 20, 10) voxels of 1, 1, 2 mm, background 0, with a manifest; return it.

    FLAIR is a falling function of T1 but in the lesion, which T2 alone shows. The last subject has no lesion.

    Args:
        folder: made.
        subjects: how many, named s1, s2, …
        splits: subject → split; None: the last two test, the one before validation, others train.
    """
    rows = ["subject,session,modality,path,split"]
    for number in range(1, subjects + 1):
        generator = np.random.default_rng(number)
        brain = np.zeros(SHAPE, bool)
        brain[3:21, 3:17, 1:9] = True
        tissue = generator.choice([0.3, 0.6, 0.9], SHAPE) + generator.normal(0, 0.02, SHAPE)
        lesion = np.zeros(SHAPE, bool)
        if number < subjects:
            lesion[9:14, 8:12, 4:6] = True
        gain = generator.uniform(0.8, 1.2)
        images = {
            "T1": 100 * gain * tissue,
            "T2": 80 * gain * (1 - 0.5 * tissue + 0.4 * lesion),
            "FLAIR": 120 * gain * (1.2 - tissue + 0.8 * lesion),
        }
        volumes = {name: np.where(brain, pixels, 0).astype(np.float32) for name, pixels in images.items()}
        volumes |= {"brain": brain.astype(np.uint8), "lesions": lesion.astype(np.uint8)}
        side = "test" if number > subjects - 2 else "validation" if number == subjects - 2 else "train"
        side = side if splits is None else splits[f"s{number}"]
        for name, pixels in volumes.items():
            file = folder / f"s{number}_{name}.nii.gz"
            write(Image(pixels, np.diag([1.0, 1.0, 2.0, 1.0])), file)
            rows.append(f"s{number},,{name},{file.name},{side}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest
