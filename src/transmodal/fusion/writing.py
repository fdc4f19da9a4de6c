"""Writing overlays: PNG, TIFF and DICOM secondary captures, each with a file beside it that says how it was made.

`NAME.png.fusion.json` lies beside NAME.png: sources, frames, unit, scale, window, registration and its error. The mark
of a synthetic anatomy or activity goes into the picture's own description, into that file and, framed, on the picture.
DICOM: PS3.3 C.7.6.1.1.2 to .4, C.8.6, by `images.dicom_writer`.
"""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import transmodal
from transmodal.errors import UserError
from transmodal.fusion.framing import framed, titles_of
from transmodal.fusion.overlay import Overlay
from transmodal.images import formats
from transmodal.images.dicom import DicomHeader
from transmodal.images.dicom_writer import shortened
from transmodal.images.files import write_text
from transmodal.images.image import Image, Source, picture_affine
from transmodal.images.note import NOTICE
from transmodal.images.synthetic import mark_of, read_sidecar, sidecar_of

SUFFIX = ".fusion.json"
PICTURES = ("png", "tiff", "dicom")
_LONGEST_TITLE = 64
_OF_THE_PLACE = ("FrameOfReferenceUID", "PositionReferenceIndicator")


def write_overlay(overlay: Overlay, path: str | Path, *, frame: bool = True) -> Path:
    """Write an overlay as a picture, and what it was made of beside it.

    Args:
        overlay: to be written.
        path: .png, .tif or .dcm.
        frame: with colour bar, scale bar, time and label; the result has no pixel size then. Without, it keeps the
            anatomy's grid and pixel size, and the label stands in the file's description only.

    Returns:
        The picture's path.

    Raises:
        UserError: another suffix, or the place is that of an input.
    """
    path = Path(path)
    if formats.format_of_name(path) not in PICTURES:
        raise UserError(
            f"Cannot write the overlay {path}; end it with .png, .tif or .dcm (.gif or .mp4 for animations)"
        )
    require_other_place(path, overlay)
    content = overlay_content(overlay, path) | {"framed": frame}
    with_writing = framed(overlay).pixels if frame else overlay.pixels
    header = _header(overlay, frame)
    source = Source(None, "dicom" if header is not None else "memory", header)
    channels = ("red", "green", "blue")
    if frame:
        plain = picture_affine((1.0, 1.0))
        picture = Image(with_writing, plain, channels, has_physical_size=False, source=source)
    else:
        anatomy = overlay.backdrop.image
        picture = Image(with_writing, anatomy.affine, channels, "intensity", anatomy.has_physical_size, source)
    # What it was made of comes first, so that a picture whose writing was broken off is known as unfinished.
    write_content(path, content)
    _forget_earlier_mark(path)
    formats.write(picture, path, derivation=derivation_of(overlay))
    write_content(path, content | {"written": now()})
    return path


def content_path(path: Path) -> Path:
    """Return where the file lies that says how an overlay was made."""
    return path.with_name(path.name + SUFFIX)


def write_content(path: Path, content: dict[str, Any]) -> Path:
    """Write what an overlay was made of beside it; return where."""
    return write_text(content_path(path), json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def require_other_place(path: Path, overlay: Overlay) -> None:
    """Refuse to write over the anatomy, the activity, or what lies beside them.

    Raises:
        UserError: the place is an input, or lies in the folder of frames that is one.
    """
    for source in (overlay.backdrop.image.source.path, overlay.series.source.path):
        if source is None or not source.exists() or not path.exists():
            continue
        if path.samefile(source) or (source.is_dir() and path.parent.samefile(source)):
            raise UserError(f"{path} is an input, or a part of it; choose another name for the overlay")


def derivation_of(overlay: Overlay) -> str:
    """Return how an overlay was made in one line, at most 1024 characters: the notice first when it is synthetic."""
    settings, registration, backdrop = overlay.settings, overlay.registration, overlay.backdrop
    names = [path.name if path else "memory" for path in (overlay.series.source.path, backdrop.image.source.path)]
    how = (
        f"Activity ({overlay.activity.unit} in a nuclear pixel, {titles_of(overlay)[2]}) of {names[0]} over {names[1]} "
        f"by transmodal {transmodal.__version__}; {settings.colours} from {overlay.lower:.4g} to {overlay.upper:.4g}, "
        f"opacity {settings.opacity:g}, gamma {settings.gamma:g}; anatomy shown from {backdrop.window[0]:.6g} to "
        f"{backdrop.window[1]:.6g} ({backdrop.window_from}); {registration.how}, error {registration.error_text()}"
    )
    if not overlay.label:
        return how[:1024]
    marks = {"anatomy": backdrop.mark, "activity": mark_of(overlay.series.frame(0))}
    made_of = [f"{name}: {mark.replace(NOTICE, '').strip()}" for name, mark in marks.items() if mark]
    return f"{NOTICE} {overlay.label.capitalize()}. {how}. Made of {'; '.join(made_of)}"[:1024]


def overlay_content(overlay: Overlay, path: Path) -> dict[str, Any]:
    """Return all that is known of an overlay, for the file beside it."""
    settings, activity, series, backdrop = overlay.settings, overlay.activity, overlay.series, overlay.backdrop
    return {
        "transmodal": transmodal.__version__,
        "output": path.name,
        "synthetic": overlay.is_synthetic,
        "notice": NOTICE if overlay.is_synthetic else None,
        "label": overlay.label or None,
        "derivation": derivation_of(overlay),
        "anatomy": _said_of(backdrop.image, backdrop.mark)
        | {
            "window": list(backdrop.window),
            "window_from": backdrop.window_from,
            "in_colour": settings.keep_colour and len(backdrop.image.channels) >= 3,
        },
        "activity": _said_of(series.frame(0), mark_of(series.frame(0)))
        | {
            "agent": series.agent or None,
            "isotope": series.isotope.name if series.isotope else None,
            "frames": [number + 1 for number in activity.frames],
            "frames_of": len(series),
            "start_s": activity.start,
            "end_s": activity.end,
            "unit": f"{activity.unit} in a nuclear pixel",
            "decay_corrected": activity.decay_corrected,
            "resampled": "linearly on the anatomy's grid, for display only; nothing is counted on it",
        },
        "scale": {
            "colours": settings.colours,
            "threshold": settings.threshold,
            "lower": overlay.lower,
            "upper": overlay.upper,
            "opacity": settings.opacity,
            "gamma": settings.gamma,
        },
        "registration": json.loads(overlay.registration.to_json()),
        "overlap": overlay.overlap,
        "said": _said(overlay),
        "written": None,
    }


def _said_of(image: Image, mark: str) -> dict[str, Any]:
    return {
        "path": str(image.source.path) if image.source.path else None,
        "shape": list(image.shape),
        "spacing_mm": list(image.spacing) if image.has_physical_size else None,
        "synthetic": bool(mark),
        "derivation": mark or image.source.derivation or None,
    }


def _said(overlay: Overlay) -> list[str]:
    """Return the overlay's warnings, and that its sources name different patients."""
    lines = list(overlay.said)
    owners = [str(each.get("PatientID") or "") for each in _datasets(overlay) if each is not None]
    if len(owners) == 2 and all(owners) and owners[0] != owners[1]:
        lines.append(f"the anatomy is of patient {owners[0]!r}, the activity of {owners[1]!r}: are they the same?")
    return lines


def _headers(overlay: Overlay) -> list[Any]:
    """Return the DICOM headers of anatomy and activity, None where one was read from another format."""
    headers = (overlay.backdrop.image.source.header, overlay.series.source.header)
    return [header if isinstance(header, DicomHeader) else None for header in headers]


def _datasets(overlay: Overlay) -> list[Any]:
    return [None if header is None else header.dataset for header in _headers(overlay)]


def _header(overlay: Overlay, has_frame: bool) -> Any:
    """Return what the DICOM writer needs: patient and study of the anatomy, else of the activity; both as sources."""
    of_anatomy, of_activity = _headers(overlay)
    main = of_anatomy or of_activity
    if main is None:
        return DicomHeader(None, burned_in=True, title=title_of(overlay)) if has_frame else None
    dataset = copy.deepcopy(main.dataset)  # a shallow copy shares its elements with the image that was read
    _keep_losses(dataset, [header.dataset for header in (of_anatomy, of_activity) if header is not None])
    if has_frame or main is of_activity:
        for keyword in _OF_THE_PLACE:  # the grid is not that of the patient's images any more
            if keyword in dataset:
                del dataset[keyword]
    instances = tuple(
        instance for header in (of_anatomy, of_activity) if header is not None for instance in header.instances
    )
    return DicomHeader(dataset, instances, main.pixel_size_from, has_frame, title=title_of(overlay))


def _keep_losses(dataset: Any, sources: list[Any]) -> None:
    """Say of a data set that it lost something by compression where any of its sources did, and by which method."""
    lossy = [source for source in sources if source.get("LossyImageCompression") == "01"]
    if lossy:
        methods = [str(each.get("LossyImageCompressionMethod") or "") for each in lossy]
        dataset.LossyImageCompression = "01"
        if all(methods):
            dataset.LossyImageCompressionMethod = list(dict.fromkeys(methods))


def title_of(overlay: Overlay) -> str:
    """Return the description of an overlay's series: what lies over what, and whether it is synthetic."""
    what, end = titles_of(overlay)[0], f"; {overlay.label}" if overlay.label else " over anatomy"
    return shortened(what, _LONGEST_TITLE - len(end)) + end


def _forget_earlier_mark(path: Path) -> None:
    """Remove the sidecar of an earlier synthetic image of this name, which is overwritten now."""
    beside = sidecar_of(path)
    if read_sidecar(beside).get("output") == path.name:
        beside.unlink(missing_ok=True)


def now() -> str:
    """Return this moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
