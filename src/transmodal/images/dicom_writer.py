"""Derived DICOM images: the source's patient and study, new identities, and how they were made.

Source: DICOM PS3.3 C.7.6.1.1.2 to .4 (image type and derivation), C.8.6 (secondary capture),
C.8.2.1 (CT), C.8.3.1 (MR).
"""

import datetime
import re
import shutil
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pydicom.dataset
import pydicom.uid
from pydicom.valuerep import DSfloat

from transmodal.errors import UserError
from transmodal.images.dicom_values import stored_values
from transmodal.images.files import atomic_path
from transmodal.images.guard import quiet
from transmodal.images.image import Image, picture_affine

# Who, which study and where in the patient: these stay true of a derived image. What the acquisition did does not.
_COPIED = [
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientWeight",
    "PatientSize",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientBreedDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "InstitutionName",
    "BodyPartExamined",
    "Laterality",
    "PatientPosition",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
]
_MAY_BE_EMPTY = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
]
_LONGEST_DESCRIPTION = 64  # of SeriesDescription, a long string
_SOFT_TISSUE = (40.0, 400.0)  # the usual window of CT: centre and width, HU
_KEPT_CLASSES = {pydicom.uid.CTImageStorage: "CT", pydicom.uid.MRImageStorage: "MR"}
_THIRD_IMAGE_TYPE = {"CT": "AXIAL", "MR": "OTHER"}


def write(image: Image, path: Path, derivation: str | None = None) -> None:
    """Write a slice or picture as one file, a volume as a new folder with one file for each slice.

    The values come back exactly: stored on 8 or 16 bits with the rescale intercept (or the source's own slope) that
    makes them whole. Read again, slices are sorted along the patient normal, so a left-handed volume comes back with
    its slices in the other order, at the same places.

    Args:
        image: DICOM attributes of `image.source.header` give patient, study and references.
        path: the file, or for a volume the folder, which must be new or empty.
        derivation: DerivationDescription, at most 1024 characters: what made the image.

    Raises:
        UserError: the values do not fit 16 bits exactly, channels are no 8-bit colours, or the place is taken.
    """
    if image.channels and (image.channels != ("red", "green", "blue") or image.pixels.dtype != np.uint8):
        raise UserError(
            f"DICOM cannot hold the channels of {image.name} ({image.pixels.dtype}, {len(image.channels)} channels): "
            f"it holds single values or RGB of uint8; write {path.name} as .nii.gz, .mha, .tif or .npy instead"
        )
    stored, slope, intercept = stored_values(image, path)
    with quiet():
        shared = _shared(image, stored, slope, intercept, derivation)
        if image.spatial_dims == 2:
            with atomic_path(path) as temporary:
                _slice(shared, image, stored, None, 1).save_as(temporary, enforce_file_format=True)
            return
        if path.suffix.lower() == ".dcm":
            raise UserError(f"Cannot write a volume into the one file {path}; give a folder name without .dcm")
        _write_folder(image, path, stored, shared)


def _write_folder(image: Image, path: Path, stored: npt.NDArray[Any], shared: Any) -> None:
    """Write all slices into a hidden folder, then rename it."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} is taken; choose a new or empty folder for the slices")
    temporary = path.parent / f".{uuid.uuid4().hex[:8]}.{path.name}"
    try:
        temporary.mkdir(parents=True)
        for index in range(image.shape[2]):
            made = _slice(shared, image, stored[:, :, index], index, index + 1)
            made.save_as(temporary / f"slice-{index + 1:04d}.dcm", enforce_file_format=True)
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}; choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _shared(image: Image, stored: npt.NDArray[Any], slope: Any, intercept: Any, derivation: str | None) -> Any:
    """Return the attributes that all slices of the new series share."""
    source: Any = getattr(image.source.header, "dataset", None)
    made = new_series(source, derivation)
    title = getattr(image.source.header, "title", "")
    if title:
        made.SeriesDescription = shortened(title)
    if "LossyImageCompressionRatio" in made:
        # That something was lost stays true, how much each bit was packed is said of the source's pixels alone.
        del made.LossyImageCompressionRatio
    made.SOPClassUID, made.Modality = _class_and_modality(image, source)
    made.ImageType = ["DERIVED", "SECONDARY", *_third_image_type(made.Modality, made.SOPClassUID, source)]
    made.BurnedInAnnotation = "YES" if _has_writing(image.source.header) else "NO"
    if made.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage:
        made.ConversionType = "WSD"
    _describe_pixels(made, image, stored, slope, intercept)
    return made


def _has_writing(header: Any) -> bool:
    """Say whether writing was drawn into the pixels, or stood in those that they were made of."""
    said = str(getattr(getattr(header, "dataset", None), "BurnedInAnnotation", "") or "")
    return bool(getattr(header, "burned_in", False)) or said.upper() == "YES"


def new_series(source: Any, derivation: str | None = None) -> Any:
    """Return the attributes of a new derived series: the source's patient and study, and who made it when.

    Args:
        source: data set of the images that it is made of; None where there is none.
        derivation: DerivationDescription, at most 1024 characters.
    """
    made = pydicom.Dataset()
    if source is not None:
        for keyword in _COPIED:
            if keyword in source:
                made[keyword] = source[keyword]
    for keyword in _MAY_BE_EMPTY:
        if keyword not in made:
            setattr(made, keyword, "")
    if "SpecificCharacterSet" not in made:
        made.SpecificCharacterSet = "ISO_IR 192"
    if not made.get("StudyInstanceUID"):
        made.StudyInstanceUID = new_uid()
    made.SeriesInstanceUID = new_uid()
    made.SeriesNumber = int(source.get("SeriesNumber") or 0) + 9000 if source is not None else 1
    made.SeriesDescription = shortened(derivation or "Derived by transmodal")
    made.DerivationDescription = (derivation or "Derived by transmodal")[:1024]
    made.Manufacturer = made.ManufacturerModelName = "transmodal"
    made.SoftwareVersions = software_version()
    now = datetime.datetime.now()
    made.ContentDate = made.SeriesDate = now.strftime("%Y%m%d")
    made.ContentTime = made.SeriesTime = now.strftime("%H%M%S")
    return made


def shortened(text: str, most: int = _LONGEST_DESCRIPTION) -> str:
    """Return as many whole clauses of a text as a series description holds, else whole words and three dots."""
    text = text.replace("\\", "/")  # which parts values in DICOM
    if len(text) <= most:
        return text
    ends = [found.start() for found in re.finditer(r"[.;:,] ", text[: most + 1])]
    whole = [text[:end] for end in ends if text.count("(", 0, end) == text.count(")", 0, end)]
    if whole:
        return whole[-1]
    words = text[: most - 2].rsplit(" ", 1)[0] if " " in text[: most - 2] else text[: most - 3]
    return words[: most - 3].rstrip(" .,;:(") + "..."


def _describe_pixels(made: Any, image: Image, stored: npt.NDArray[Any], slope: Any, intercept: Any) -> None:
    """Set the image pixel, rescale and window attributes."""
    made.Rows, made.Columns = image.shape[:2]
    made.SamplesPerPixel = 3 if image.channels else 1
    made.PhotometricInterpretation = "RGB" if image.channels else "MONOCHROME2"
    if image.channels:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = stored.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    if not image.channels:
        made.RescaleSlope, made.RescaleIntercept = slope, intercept
        made.RescaleType = "HU" if image.quantity == "HU" else "US"
        least, greatest = float(image.pixels.min()), float(image.pixels.max())
        centres, widths, names = [(least + greatest) / 2], [max(greatest - least, 1.0)], ["Full range"]
        if image.quantity == "HU":  # viewers open with the first
            centres, widths, names = [_SOFT_TISSUE[0], *centres], [_SOFT_TISSUE[1], *widths], ["Soft tissue", *names]
        made.WindowCenter = [DSfloat(number, auto_format=True) for number in centres]
        made.WindowWidth = [DSfloat(number, auto_format=True) for number in widths]
        made.WindowCenterWidthExplanation = names
    if image.has_physical_size:
        made.PixelSpacing = [DSfloat(length, auto_format=True) for length in image.spacing[:2]]


def _class_and_modality(image: Image, source: Any) -> tuple[Any, str]:
    """Hounsfield units make a CT image, an MR slice stays one, everything else is a secondary capture."""
    placed = not _is_plain_picture(image) and not image.channels
    if placed and image.quantity == "HU":
        return pydicom.uid.CTImageStorage, "CT"
    modality = str(source.get("Modality") or "OT") if source is not None else "OT"
    if placed and source is not None and source.get("SOPClassUID") == pydicom.uid.MRImageStorage:
        return pydicom.uid.MRImageStorage, "MR"
    return pydicom.uid.SecondaryCaptureImageStorage, modality


def _third_image_type(modality: str, sop_class: Any, source: Any) -> list[str]:
    if sop_class not in _KEPT_CLASSES:
        return []
    said = list(source.get("ImageType") or []) if source is not None else []
    return [str(said[2])] if len(said) > 2 and said[2] else [_THIRD_IMAGE_TYPE[modality]]


def _is_plain_picture(image: Image) -> bool:
    """Say whether a 2-D image has no place in a patient."""
    if image.spatial_dims == 3:
        return False
    plain = picture_affine((image.spacing[0], image.spacing[1]))
    return bool(np.array_equal(plain[:, [0, 1, 3]], image.affine[:, [0, 1, 3]]))


def _slice(shared: Any, image: Image, stored: npt.NDArray[Any], index: int | None, number: int) -> Any:
    """Return one file's data set: shared attributes, its own identity, place and pixels."""
    made = pydicom.Dataset()
    made.update(shared)
    made.SOPInstanceUID = new_uid()
    made.InstanceNumber = number
    if not _is_plain_picture(image):
        place(made, image, index or 0)
    sources = references(image, index)
    if sources:
        made.SourceImageSequence = sources
    little = np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("<"), copy=False)).tobytes()
    made.add_new("PixelData", "OB" if made.BitsAllocated == 8 else "OW", little + b"\0" * (len(little) % 2))
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.file_meta.ImplementationVersionName = "TRANSMODAL"
    return made


def place(made: Any, image: Image, index: int) -> None:
    """Set position, orientation and thickness from the RAS affine."""
    flip = np.array([-1.0, -1.0, 1.0])
    down, right, step, origin = (flip * image.affine[:3, column] for column in range(4))
    directions = [right / np.linalg.norm(right), down / np.linalg.norm(down)]
    if abs(directions[0] @ directions[1]) > 1e-4:
        raise UserError(f"DICOM cannot hold the sheared grid of {image.name}; resample it or write .nii.gz")
    made.ImageOrientationPatient = [DSfloat(float(each), auto_format=True) for each in np.concatenate(directions)]
    made.ImagePositionPatient = [DSfloat(float(each), auto_format=True) for each in origin + index * step]
    made.SliceThickness = DSfloat(float(np.linalg.norm(step)), auto_format=True)
    if not made.get("FrameOfReferenceUID"):
        made.FrameOfReferenceUID = made.SeriesInstanceUID + ".1"


def references(image: Image, index: int | None) -> list[Any]:
    """Return SourceImageSequence: the source slice of this slice, or all source files when they do not correspond."""
    instances = [each for each in getattr(image.source.header, "instances", ()) if all(each)]
    slices = image.shape[2] if image.spatial_dims == 3 else 1
    if index is not None and len(instances) == slices:
        instances = [instances[index]]
    purpose = pydicom.Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    items = []
    for sop_class, sop_instance in instances:
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        item.PurposeOfReferenceCodeSequence = [purpose]
        items.append(item)
    return items


def new_uid() -> str:
    """Return a UID from a random UUID (DICOM PS3.5 B.2)."""
    return str(pydicom.uid.generate_uid(prefix=None))


def software_version() -> str:
    """Return the version of transmodal."""
    try:
        return metadata.version("transmodal")
    except metadata.PackageNotFoundError:
        return "unknown"
