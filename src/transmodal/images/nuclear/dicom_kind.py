"""Which DICOM objects are planar frames of counts, and what has been done to their counts.

Source: DICOM PS3.3 C.8.4.8 (NM vectors), C.8.4.9.1.1 (image types of NM), C.7.6.1.1 and C.8.4.9 (CorrectedImage),
C.8.9.1 (PET: units, decay correction, series type).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.datadict import keyword_for_tag

from transmodal.errors import UserError
from transmodal.images.dicom_pixels import quantity_of

_PLANAR = ("", "STATIC", "DYNAMIC", "WHOLE BODY")
_OTHER_ORDERS = {
    "RotationVector": "rotations",
    "RRIntervalVector": "R-R intervals",
    "TimeSlotVector": "time slots of a heart beat",
    "SliceVector": "slices",
    "AngularViewVector": "angular views",
}
_NOT_RAW = {
    "ATTN": "attenuation",
    "SCAT": "scatter",
    "BKGR": "background",
    "RAN": "random coincidences",
    "DTIM": "dead time",
}
"""Corrections after which the variance of a value is no longer the value; uniformity, energy and linearity keep it."""
_SAME_SUM = 0.01  # relative; events outside the field may be counted too
_UNITS = {"BQML": "Bq/mL", "GML": "SUV", "CPS": "counts a second", "PROPCNTS": "values proportional to counts"}


def image_kind(dataset: Any) -> str:
    """Return STATIC, DYNAMIC, WHOLE BODY, GATED, TOMO, …; "" where the object does not say."""
    if dataset.get("Modality") == "PT":  # the third value of a PET image's type has no meaning in the standard
        return _words(dataset.get("SeriesType"), 1)[0]
    return _words(dataset.get("ImageType"), 3)[2]


def require_planar_counts(dataset: Any, path: Path) -> list[str]:
    """Refuse objects whose frames are not counts of one planar field of view after another.

    Args:
        dataset: the attributes.
        path: the file, for messages.

    Returns:
        What a user should know of corrections, a line each, without the file's name.

    Raises:
        UserError: the values are no counts, decay is corrected in them already, or the frames are projections, slices
            or phases of a heart beat.
    """
    _require_counts(dataset, path)
    kind = image_kind(dataset)
    if kind not in _PLANAR:
        raise UserError(
            f"{path} is a {kind} acquisition, not planar frames in time; give a STATIC, DYNAMIC or WHOLE BODY one"
        )
    for keyword, words in _OTHER_ORDERS.items():
        value = dataset.get(keyword)
        if value not in (None, "") and len(np.unique(np.atleast_1d(np.asarray(value)))) > 1:
            raise UserError(
                f"{path} has frames of several {words} ({keyword}), not planar frames in time; give a STATIC, DYNAMIC "
                "or WHOLE BODY acquisition"
            )
        if value in (None, "") and keyword in _pointed_to(dataset) and int(dataset.get("NumberOfFrames") or 1) > 1:
            raise UserError(f"{path} orders its frames by {words}, but has no {keyword}; export it again, planar")
    done = [_NOT_RAW[code] for code in _words(dataset.get("CorrectedImage")) if code in _NOT_RAW]
    said = [f"corrected for {', '.join(done)}: no raw counts, so that Poisson errors do not hold"] if done else []
    if str(dataset.get("LossyImageCompression") or "") == "01":
        said.append("lossy compressed: no raw counts, so that Poisson errors do not hold")
    return said


def counts_that_differ(datasets: Sequence[Any], pixels: Sequence[npt.NDArray[Any]]) -> list[str]:
    """Say that pixels do not add up to the events that NM headers count (CountsAccumulated, of all frames together).

    Args:
        datasets: the attributes of each object.
        pixels: (...) values of each object, all its frames.
    """
    found = []
    for dataset, values in zip(datasets, pixels, strict=True):
        stated = dataset.get("CountsAccumulated") if dataset.get("Modality") == "NM" else None
        if stated not in (None, "") and float(stated) > 0:
            found.append((float(values.sum(dtype=np.float64)), float(stated)))
    differing = [pair for pair in found if abs(pair[0] / pair[1] - 1) > _SAME_SUM]
    if not differing:
        return []
    total, stated = max(differing, key=lambda pair: abs(pair[0] / pair[1] - 1))
    where = f" in {len(differing)} of {len(datasets)} files" if len(datasets) > 1 else ""
    return [
        f"the pixels add up to {total:.6g}, but the header counts {stated:.6g} (CountsAccumulated){where}: the values "
        "may be scaled or cut off, so that Poisson errors may not hold"
    ]


def _require_counts(dataset: Any, path: Path) -> None:
    modality, units = str(dataset.get("Modality") or "none"), str(dataset.get("Units") or "").upper()
    if units not in ("", "CNTS"):
        raise UserError(f"{path} holds {_UNITS.get(units, units)}, no counts; export counts (Units CNTS)")
    if quantity_of(dataset) != "counts":
        raise UserError(
            f"{path} holds no counts (modality {modality}); give an NM object, a PT object of counts or a TIFF"
        )
    start = str(dataset.get("DecayCorrection") or "NONE").upper()
    if "DECY" in _words(dataset.get("CorrectedImage")) or start != "NONE" or dataset.get("DecayCorrected") == "YES":
        raise UserError(
            f"{path} is corrected for decay already, which would then be done twice; export it without decay correction"
        )


def _words(value: Any, at_least: int = 0) -> list[str]:
    """Return an attribute of codes as a list in capitals, filled up with ""."""
    values: Sequence[Any] = [] if value is None else [value] if isinstance(value, str) else value
    words = [str(each or "").strip().upper() for each in values]
    return words + [""] * (at_least - len(words))


def _pointed_to(dataset: Any) -> list[str]:
    """Return the keywords of FrameIncrementPointer."""
    value = dataset.get("FrameIncrementPointer")
    if value in (None, ""):
        return []
    return [keyword_for_tag(tag) for tag in (value if isinstance(value, Sequence) else [value])]
