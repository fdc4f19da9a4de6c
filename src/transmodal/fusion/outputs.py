"""Where results go: never over an input, nor over earlier results unless the user has said so."""

from collections.abc import Iterable
from pathlib import Path

from transmodal.errors import UserError
from transmodal.images.synthetic import sidecar_of

COUNTED = ("regions.csv", "counted.json", "regions.png", "registration.json")
"""What `fuse regions` writes."""
STUDIED = (
    "report.html", "curves.csv", "fits.csv", "organs.csv", "answers.csv", "overlay.png", "regions.png",
    "registration.json",
)  # fmt: skip
"""What `fuse curves` writes."""
MADE = ("xray.png", "organs.png")
"""What models make for both; taken up again where it is theirs."""


def require_new_file(out: Path, made: Path | None = None, *, overwrite: bool = False) -> None:
    """Raise a UserError where an overlay, or the image that a model makes for it, would be written over something."""
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file with -o, such as {out / 'over.png'}")
    if overwrite:
        return
    for file in (out, made):
        if file is not None and file.exists() and not (file is made and _is_made(file)):
            raise UserError(f"{file} exists; choose another name with -o, or say --overwrite")


def require_new_results(
    out: Path, names: Iterable[str], inputs: Iterable[Path | None], *, overwrite: bool = False
) -> None:
    """Raise a UserError where results cannot go into a folder.

    Args:
        out: the folder; it need not be there.
        names: of the files that will be written.
        inputs: files and folders that are read; None for one that is not given.
        overwrite: the user has said so: earlier results are written over. Inputs never are.

    Raises:
        UserError: it is a file, it holds an input or is one, or results are there.
    """
    if out.is_file():
        raise UserError(f"{out} is a file; give a folder with -o")
    if not out.is_dir():
        return
    place = out.resolve()
    for given in inputs:
        if given is None or not given.exists():
            continue
        source = given.resolve()
        if place in (source, source.parent, given.absolute().parent.resolve()) or (
            source.is_dir() and source in place.parents
        ):
            raise UserError(f"{out} holds the input {given}; give a folder of its own with -o, such as {out / 'study'}")
    if overwrite:
        return
    there = [name for name in names if (out / name).exists()]
    there += [name for name in MADE if (out / name).exists() and not _is_made(out / name)]
    if there:
        raise UserError(
            f"{out} holds {', '.join(there[:3])} already; choose another folder, or say --overwrite (overwrite=True)"
        )


def is_made_in(folder: Path, image: Path | None) -> bool:
    """Say whether an image is one that a model made in the folder of results, and so no input of the user's."""
    return image is not None and image.name in MADE and image.parent.resolve() == folder.resolve() and _is_made(image)


def made_before(folder: Path, made: Iterable[str]) -> list[str]:
    """Return a line for each image of earlier results in a folder that those of now are not made of.

    Args:
        folder: of the results.
        made: names of MADE that are made now.
    """
    return [
        f"{folder / name} lies there from earlier results; those of now are not made of it"
        for name in MADE
        if name not in made and _is_made(folder / name)
    ]


def _is_made(file: Path) -> bool:
    """Say whether a model made an image: it is taken up again, or made anew."""
    return file.exists() and sidecar_of(file).exists()
