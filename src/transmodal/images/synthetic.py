"""The mark of a synthetic image: a sentence in its file, and beside it a sidecar that says how it was made.

Whatever is made of such an image carries both on, so that no resampled copy of it passes for an acquired one.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import transmodal
from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.images.formats import stem_of, write
from transmodal.images.image import Image
from transmodal.images.note import NOTICE

__all__ = [
    "NOTICE",
    "drop_sidecar",
    "mark_of",
    "marked",
    "read_sidecar",
    "require_replaceable",
    "sidecar_of",
    "write_derived",
    "write_sidecar",
]

SIDECAR = ".synthetic.json"


def sidecar_of(path: Path) -> Path:
    """Return the path of the sidecar beside an image."""
    return path.with_name(stem_of(path) + SIDECAR)


def read_sidecar(sidecar: Path) -> dict[str, Any]:
    """Return what a sidecar says; nothing when there is none or it is damaged."""
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_sidecar(path: Path, content: dict[str, Any]) -> None:
    """Write the sidecar of an image."""
    write_text(sidecar_of(path), json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def marked(path: Path, content: dict[str, Any]) -> Iterator[None]:
    """Write the sidecar of an image around the writing of the image itself.

    The sidecar comes first, so that an image whose writing was broken off is known as synthetic, and as unfinished.
    Where the writing fails and an earlier image still stands, its sidecar comes back; where none does, there is none.

    Args:
        path: the image, which is written inside the `with`.
        content: of the sidecar; `written` is added to it, the time or null.
    """
    sidecar, stood = sidecar_of(path), path.exists()
    earlier = sidecar.read_text(encoding="utf-8", errors="replace") if stood and sidecar.is_file() else None
    write_sidecar(path, content | {"written": None})
    try:
        yield
    except Exception:
        stands = path.exists()
        if stands and stood and earlier is not None:  # files are written beside their place: an earlier one is whole
            write_text(sidecar, earlier)
        elif stood or not stands:  # an image that nothing called synthetic, or none: slices of a folder go first
            sidecar.unlink(missing_ok=True)
        raise
    write_sidecar(path, content | {"written": datetime.now(UTC).isoformat(timespec="seconds")})


def drop_sidecar(path: Path) -> None:
    """Remove the sidecar of an earlier image of this name, which another has replaced; that of one beside it stays."""
    if _is_about(read_sidecar(sidecar_of(path)), path):
        sidecar_of(path).unlink(missing_ok=True)


def require_replaceable(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse to replace an input, an image that no sidecar calls synthetic, and the sidecar of another image.

    Args:
        path: the image to be written, with a sidecar.
        inputs: what it is made of.

    Raises:
        UserError: it is one of these.
    """
    if path.resolve() in {file.resolve() for file in inputs}:
        raise UserError(f"{path} is the input itself; choose another output")
    earlier = read_sidecar(sidecar_of(path))
    if path.exists() and not (earlier.get("synthetic") is True and earlier.get("output") == path.name):
        raise UserError(f"{path} exists and was not made by 'transmodal translate'; choose another output")
    other = Path(str(earlier.get("output", path.name))).name
    if earlier.get("written") and other not in ("", path.name) and path.with_name(other).exists():
        # One sidecar serves one image: a synthetic image must never be left without its mark.
        raise UserError(f"{sidecar_of(path)} marks {other} as synthetic; choose another name or folder for {path.name}")


def mark_of(image: Image) -> str:
    """Return how a synthetic image that was read was made, the notice in it; empty for any other image."""
    said, earlier = _sidecar_about(image), image.source.derivation
    if said and NOTICE not in earlier:
        return " ".join(filter(None, [NOTICE, _made_by(said), earlier]))
    return earlier if NOTICE in earlier else ""


def write_derived(image: Image, path: Path, *, of: Image, how: str) -> Path:
    """Write an image that was made of another, with the mark that the other carries.

    What the other's file says of how it was made goes into the new file, followed by `how`; where the other is
    synthetic, by its file or by its sidecar, a sidecar is written too. Of any other image nothing is said.

    Args:
        image: what to write.
        path: the file.
        of: the image that was read.
        how: what was done with it, in words.

    Returns:
        The path.

    Raises:
        UserError: as `write`.
    """
    said = _sidecar_about(of)
    earlier = mark_of(of) or of.source.derivation
    if NOTICE not in earlier:
        write(image, path, derivation=f"{earlier}; {how}" if earlier else None)
        drop_sidecar(path)
        return path
    sidecar = {
        "notice": NOTICE,
        "synthetic": True,
        "transmodal": transmodal.__version__,
        "derivation": f"{earlier}; {how}",
        "output": path.name,
        "quantity": image.quantity,
        "shape": list(image.shape),
        "spacing_mm": list(image.spacing) if image.has_physical_size else None,
        "made_of": {"path": str(of.source.path) if of.source.path else None, "sidecar": said or None},
    }
    with marked(path, sidecar):
        write(image, path, derivation=f"{earlier}; {how}")
    return path


def _sidecar_about(image: Image) -> dict[str, Any]:
    """Return the sidecar of an image that was read, where it calls this image synthetic; else nothing."""
    path = image.source.path
    if path is None:
        return {}
    said = read_sidecar(sidecar_of(path))
    return said if said.get("synthetic") is True and _is_about(said, path) else {}


def _is_about(said: dict[str, Any], path: Path) -> bool:
    """Say whether a sidecar is of this file, which may have been renamed since, and not of one beside it."""
    if not said:
        return False
    other = Path(str(said.get("output", path.name))).name
    return other in ("", path.name) or not path.with_name(other).exists()


def _made_by(said: dict[str, Any]) -> str:
    """Return in words what a sidecar says of how its image was made."""
    target, model = said.get("target"), said.get("model")
    if target is None or model is None:
        return ""
    return f"{target} made by transmodal {said.get('transmodal')}, model {model}"
