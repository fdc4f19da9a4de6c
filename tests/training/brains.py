"""Small made-up brains for tests: four sequences that are functions of one anatomy, and a lesion map."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from transmodal.images import Image, write

SHAPE = (36, 40, 20)
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])  # left-handed indices, slices of 2 mm


def write_brains(folder: Path, subjects: int = 4, *, without: dict[int, tuple[str, ...]] | None = None) -> Path:
    """Write `subjects` people into DIR/sub*_MODALITY.nii.gz and a manifest; `without` leaves modalities out."""
    rows = ["subject,session,modality,path,split"]
    for subject in range(subjects):
        generator = np.random.default_rng(subject)
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
        brain = (grid**2 / np.array([0.8, 0.85, 0.8]).reshape(3, 1, 1, 1) ** 2).sum(0) < 1
        texture = ndimage.gaussian_filter(generator.normal(size=SHAPE), 2)
        white = brain & (texture > 0)
        lesion = brain & (((grid - generator.uniform(-0.3, 0.3, (3, 1, 1, 1))) ** 2).sum(0) < 0.06)
        tissue = np.where(white, 0.7, 0.4) + 0.02 * generator.normal(size=SHAPE)
        images = {
            "T1": tissue - 0.2 * lesion,
            "T1ce": tissue + 0.3 * lesion,
            "T2": 1.1 - tissue + 0.3 * lesion,
            "FLAIR": 0.9 * (1.1 - tissue) + 0.5 * lesion,
        }
        images = {name: np.where(brain, 1000 * values, 0) for name, values in images.items()}
        split = "train" if subject < subjects - 2 else ("validation", "test")[subject - subjects + 2]
        for name, values in {**images, "seg": lesion * 2}.items():
            if name in (without or {}).get(subject, ()):
                continue
            path = folder / f"sub{subject}_{name}.nii.gz"
            write(Image(values.astype(np.uint8 if name == "seg" else np.int16), AFFINE), path)
            rows.append(f"sub{subject},,{name},{path.name},{split}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest
