"""A folder of pairs whose translation is known: an X-ray is a smooth function of the photograph's brightness."""

from pathlib import Path

import numpy as np

from transmodal.images import Image, picture_affine, write

SPLIT = ("train", "train", "train", "train", "validation", "test")


def make_pairs(
    folder: Path, *, animals: int = 6, poses: int = 2, size: tuple[int, int] = (32, 64), seed: int = 0
) -> Path:
    """Write photo and xray PNGs (8-bit RGB, 16-bit grey; field 50×100 mm) and return the manifest."""
    generator = np.random.default_rng(seed)
    rows = ["subject,session,modality,path,coat,split"]
    row, column = np.mgrid[: size[0], : size[1]] / np.array(size).reshape(2, 1, 1)
    affine = picture_affine((50 / size[0], 100 / size[1]))
    for animal in range(animals):
        coat = ("white", "black")[animal % 2]
        for pose in range(poses):
            centre = generator.uniform(0.3, 0.7, 2)
            body = np.exp(-(((row - centre[0]) / 0.2) ** 2 + ((column - centre[1]) / 0.25) ** 2))
            photo = np.stack([40 + 180 * body, 60 + 150 * body, 80 + 100 * body], -1)
            photo += generator.normal(0, 2, photo.shape)
            xray = 60000 * np.exp(-1.5 * body)
            pixels = {
                "photo": (np.clip(photo, 0, 255).astype(np.uint8), ("red", "green", "blue")),
                "xray": (xray.astype(np.uint16), ()),
            }
            for modality, (values, channels) in pixels.items():
                path = Path(modality) / f"mouse{animal:02d}_pose{pose}.png"
                (folder / modality).mkdir(parents=True, exist_ok=True)
                write(Image(values, affine, channels=channels), folder / path)
                rows.append(f"mouse{animal:02d},pose{pose},{modality},{path},{coat},{SPLIT[animal % len(SPLIT)]}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest
