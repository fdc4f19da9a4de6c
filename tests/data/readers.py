"""Small reader studies: true 8-bit images, and two systems that blur them into float images."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from transmodal.evaluation.readers.answers import Kind
from transmodal.evaluation.readers.making import StudySettings, make_study
from transmodal.evaluation.readers.materials import from_folders
from transmodal.evaluation.readers.server import ReadingRoom, listen, make_application, web_server
from transmodal.evaluation.readers.study import Study
from transmodal.images import Image, picture_affine, write

COLOURS = ("red", "green", "blue")
SYSTEMS = ("wobbly", "zebra")  # words that stand nowhere else


def make_folders(folder: Path, *, cases: int = 6, size: tuple[int, int] = (12, 20)) -> Path:
    """Write real/ (uint8 PNG), one folder a system (float32 TIFF) and photo/ (RGB PNG), all of one grid."""
    generator = np.random.default_rng(0)
    affine = picture_affine((0.5, 0.5))
    for name in ("real", "photo", *SYSTEMS):
        (folder / name).mkdir(parents=True)
    for case in range(cases):
        stem = f"quokka{case // 2}_pose{case % 2}"
        real = generator.integers(0, 250, size).astype(np.uint8)
        write(Image(real, affine), folder / "real" / f"{stem}.png")
        for shift, system in enumerate(SYSTEMS, 1):
            made = np.clip(real + generator.normal(0, 3 * shift, size), 0, 249).astype(np.float32)
            write(Image(made, affine), folder / system / f"{stem}.tiff")
        photo = generator.integers(0, 256, (*size, 3)).astype(np.uint8)
        write(Image(photo, affine, channels=COLOURS), folder / "photo" / f"{stem}.png")
    return folder


def make_small_study(
    folders: Path,
    study: Path,
    kind: Kind,
    *,
    systems: Sequence[str] = SYSTEMS,
    reference: bool = False,
    **settings: Any,
) -> Study:
    """Make a study of a kind out of `make_folders`."""
    materials = from_folders(
        {name: folders / name for name in systems},
        None if kind == "preference" else folders / "real",
        reference=folders / "photo" if reference else None,
        subject_pattern="(?P<subject>.+)_pose",
    )
    return make_study(study, materials, StudySettings(kind=kind, **({"seed": 1} | settings)))


@contextmanager
def serving(room: ReadingRoom, hosts: Sequence[str] | None = None) -> Iterator[str]:
    """Serve a reading room as `rate serve` does, in a thread; give its origin."""
    server = web_server(make_application(room, hosts=hosts))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
