"""Tiny abdomens in HU: a liver with a tumour that grows from visit to visit, as CT and label map, in NIfTI."""

from pathlib import Path
from typing import Any

import numpy as np

from transmodal.images import Image, write

SHAPE = (32, 40, 6)
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])  # left-handed indices, slices of 2 mm
LIVER, TUMOUR = 1, 2
TINY_SEGMENTATION: dict[str, Any] = {
    "name": "tiny",
    "inputs": ["ct"],
    "targets": ["organs"],
    "preparation": {
        "slices": {"axis": "axial", "minimum_foreground": 0.0},
        "intensity": {"ct": {"map": "fixed", "low": -200, "high": 300}},
    },
    "method": "segmentation",
    "segmentation": {
        "classes": {"liver": LIVER, "tumour": TUMOUR},
        "network": {"filters": 8, "levels": 2, "norm": "batch"},
        "adam": {"learning_rate": 0.02},
    },
    "train": {"epochs": 20, "batch_size": 4, "sample_every": 100, "validate_every": 20},
}


def abdomen(subject: int, visit: int, *, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Return CT (float32, HU) and labels (uint8) of a subject's visit; its tumour has a radius of 2 + visit pixels."""
    generator = np.random.default_rng([subject, visit])
    place = np.random.default_rng(subject).uniform(-3, 3, 2)
    down, across = (np.arange(size) - (size - 1) / 2 for size in shape[:2])
    radius = np.hypot(down[:, None] / 0.8, across)
    body = np.broadcast_to((radius < 18)[..., None], shape)
    liver = np.zeros(shape, bool)
    liver[..., 1:-1] = (np.hypot(down[:, None] - 1, across + 2) < 11)[..., None]
    tumour = np.zeros(shape, bool)
    tumour[..., 2:4] = (np.hypot(down[:, None] - place[0], across + 2 - place[1]) < 2 + visit)[..., None]
    labels = np.where(tumour, TUMOUR, np.where(liver, LIVER, 0)).astype(np.uint8)
    values = np.where(body, 20.0, -1000.0) + np.where(labels == LIVER, 80, 0) + np.where(labels == TUMOUR, 200, 0)
    return (values + generator.normal(0, 8, shape)).astype(np.float32), labels


def write_abdomens(
    folder: Path, subjects: int = 5, visits: int = 2, *, shape: tuple[int, ...] = SHAPE, suffix: str = ".nii.gz"
) -> Path:
    """Write CT and label maps and a manifest; the last two subjects test, the one before validates, others train.

    With a shape of two axes, pictures are written: the middle slice.
    """
    rows = ["subject,session,modality,path,split"]
    for subject in range(subjects):
        split = ("test", "test", "validation")[subjects - 1 - subject] if subjects - subject <= 3 else "train"
        for visit in range(visits):
            values, labels = abdomen(subject, visit, shape=(*shape[:2], *SHAPE[2:]) if len(shape) == 2 else shape)
            for name, pixels in (("ct", values), ("organs", labels)):
                file = folder / f"m{subject}_w{visit}_{name}{suffix}"
                if suffix == ".png":  # no negative values, and no pixel size
                    pixels = np.clip((pixels + 200) / 2, 0, 255).astype(np.uint8) if name == "ct" else pixels
                    write(Image(pixels[..., SHAPE[2] // 2], has_physical_size=False), file)
                else:
                    pixels = pixels[..., SHAPE[2] // 2] if len(shape) == 2 else pixels
                    write(Image(pixels, AFFINE, quantity="HU" if name == "ct" else "label"), file)
                rows.append(f"m{subject},w{visit},{name},{file.name},{split}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest
