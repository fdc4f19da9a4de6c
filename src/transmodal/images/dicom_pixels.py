"""From the bytes of a DICOM object to values in their unit.

Source: DICOM PS3.3 C.7.6.3 (Image Pixel), C.11.1 (Modality LUT), C.7.6.16.2.9 (Pixel Value Transformation), C.8.8.3
(RT Dose). The order is: decode, colours, MONOCHROME1, modality LUT or rescale.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pydicom.dataset
import pydicom.pixels
import pydicom.uid

from transmodal.errors import UserError
from transmodal.images.guard import quiet_stderr, require_believable_size

COLOURS = ("red", "green", "blue")
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NO_IMAGE_REMEDY = {
    "1.2.840.10008.1.3.10": "an index of other files: read the folder that its images lie in",
    "1.2.840.10008.5.1.4.1.1.481.3": "outlines only: draw them into a label image first",
}


def require_image(dataset: Any, path: Path, *, with_pixels: bool = True) -> None:
    """Raise a UserError that says what a DICOM object is when it holds no image."""
    is_image = all(isinstance(dataset.get(each), int) for each in ("Rows", "Columns", "BitsAllocated"))
    if is_image and (not with_pixels or any(each in dataset for each in _PIXEL_KEYWORDS)):
        return
    meta = getattr(dataset, "file_meta", None)
    uid = str(dataset.get("SOPClassUID", "") or (meta or {}).get("MediaStorageSOPClassUID", "") or "")
    kind = pydicom.uid.UID(uid).name if uid else "a data set without a class"
    if is_image or kind.endswith("Image Storage"):
        kind = kind.removesuffix(" Storage") + " without its pixels"
    remedy = _NO_IMAGE_REMEDY.get(uid, "name a DICOM image")
    raise UserError(f"{path} holds no image: {kind}; {remedy}")


def frame_count(dataset: Any) -> int:
    """Return how many frames the object says it has, at least 1."""
    return max(int(dataset.get("NumberOfFrames", 1) or 1), 1)


def claimed_shape(dataset: Any) -> tuple[int, int, int, int]:
    """Return (frames, rows, columns, samples) as the header says them."""
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    return frame_count(dataset), int(dataset.Rows), int(dataset.Columns), samples


def require_pixels(dataset: Any, path: Path) -> None:
    """Refuse an object that claims more pixels than its data, or its file when only the header was read, can hold.

    Raises:
        UserError: with what it claims.
    """
    syntax = transfer_syntax(dataset)
    most = 1.5  # YBR_FULL_422 keeps two samples for each pixel's three
    if syntax == pydicom.uid.RLELossless:
        most = 64.0  # two bytes say at most 128 equal ones
    elif syntax.is_encapsulated:
        most = 20_000.0  # a blank frame in JPEG-LS or JPEG 2000
    keyword = next((each for each in _PIXEL_KEYWORDS if each in dataset), None)
    if keyword is not None:
        held = len(dataset[keyword].value or b"")
    else:
        held = path.stat().st_size
        most = max(most, 1032.0) if syntax.is_deflated or path.suffix.lower() == ".gz" else most
    require_believable_size(path, claimed_shape(dataset), int(dataset.BitsAllocated) / 8, held, most_expansion=most)


def channel_names(dataset: Any) -> tuple[str, ...]:
    """Return the colours of the samples, or () for one value a pixel."""
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return COLOURS
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    if samples == 1:
        return ()
    return COLOURS if samples == 3 else tuple(f"c{index}" for index in range(samples))


def stored_dtype(dataset: Any) -> np.dtype:
    """Return the dtype of decoded values before rescaling."""
    if "FloatPixelData" in dataset or (dataset.BitsAllocated == 32 and "BitsStored" not in dataset):
        return np.dtype(np.float32)
    if "DoubleFloatPixelData" in dataset or (dataset.BitsAllocated == 64 and "BitsStored" not in dataset):
        return np.dtype(np.float64)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        descriptor = dataset.get("RedPaletteColorLookupTableDescriptor", [0, 0, 16])
        return np.dtype(np.uint8 if descriptor[2] == 8 else np.uint16)
    size = max(1, (int(dataset.BitsAllocated) + 7) // 8)
    return np.dtype(f"{'i' if dataset.get('PixelRepresentation') == 1 else 'u'}{size}")


def stored_range(dataset: Any) -> tuple[int, int]:
    """Return the least and the greatest value that the stored bits can say."""
    bits = int(dataset.get("BitsStored", dataset.BitsAllocated) or dataset.BitsAllocated)
    if dataset.get("PixelRepresentation") == 1:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def scales(dataset: Any) -> list[tuple[float, float]]:
    """Return slope and intercept, once for all frames or once for each frame."""
    if dataset.get("Modality") == "RTDOSE" and "DoseGridScaling" in dataset:
        return [(float(dataset.DoseGridScaling), 0.0)]
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    common = _rescale_of(dataset) or _transformation(shared) or (1.0, 0.0)
    found = [_transformation(group) or common for group in per_frame]
    return found if len(set(found)) > 1 else found[:1] or [common]


def _transformation(group: Any) -> tuple[float, float] | None:
    sequence = group.get("PixelValueTransformationSequence") if group is not None else None
    return _rescale_of(sequence[0]) if sequence else None


def _rescale_of(dataset: Any) -> tuple[float, float] | None:
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope in (None, "") and intercept in (None, ""):
        return None
    pair = (float(1 if slope in (None, "") else slope), float(0 if intercept in (None, "") else intercept))
    if not np.isfinite(pair).all() or pair[0] == 0:
        raise ValueError(f"its RescaleSlope is {slope} and its RescaleIntercept {intercept}")
    return pair


def value_dtype(dataset: Any) -> np.dtype:
    """Return the dtype of the values after rescaling; it follows from the header, so all slices agree.

    Whole slopes and intercepts keep integers, as wide as the stored bits may need; others give float32 for up to 16
    stored bits and float64 beyond.
    """
    stored = stored_dtype(dataset)
    if lookup_table(dataset) is not None:
        return np.dtype(np.uint16)
    pairs = scales(dataset)
    if stored.kind == "f" or all(pair == (1.0, 0.0) for pair in pairs) or channel_names(dataset):
        return stored
    if not all(slope.is_integer() and intercept.is_integer() for slope, intercept in pairs):
        return np.dtype(np.float32 if stored.itemsize <= 2 else np.float64)
    ends = [end * slope + intercept for slope, intercept in pairs for end in stored_range(dataset)]
    for candidate in (stored, np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64)):
        if np.iinfo(candidate).min <= min(ends) and max(ends) <= np.iinfo(candidate).max:
            return candidate
    return np.dtype(np.float64)


def lookup_table(dataset: Any) -> Any:
    """Return the item of the modality LUT, or None."""
    sequence = dataset.get("ModalityLUTSequence")
    return sequence[0] if sequence and "LUTData" in sequence[0] else None


def quantity_of(dataset: Any) -> str:
    """Return what a value means: HU, Bq/mL, Gy, counts, label or intensity."""
    modality, units = dataset.get("Modality"), str(dataset.get("Units", ""))
    if modality == "CT":
        # Some scanners write "Houndsfield Unit"; material maps say MGML, Z_EFF, …; a localiser is a radiograph.
        said = str(dataset.get("RescaleType") or "HU").upper()
        is_rescaled = _rescale_of(dataset) is not None or scales(dataset) != [(1.0, 0.0)]
        is_localiser = "LOCALIZER" in (dataset.get("ImageType") or [])
        return "HU" if is_rescaled and said.startswith("H") and not is_localiser else "intensity"
    if modality == "PT":
        return {"BQML": "Bq/mL", "CNTS": "counts", "GML": "SUV"}.get(units, "intensity")
    if modality == "RTDOSE":
        return "Gy" if dataset.get("DoseUnits") == "GY" and "DoseGridScaling" in dataset else "intensity"
    return {"NM": "counts", "SEG": "label"}.get(str(modality), "intensity")


def values(dataset: Any, path: Path) -> npt.NDArray[Any]:
    """Decode all frames and bring them to their unit.

    Returns:
        (frame, row, column) or (frame, row, column, sample), of `value_dtype`.

    Raises:
        Exception: whatever the decoders raise; the caller turns it into one line.
    """
    claimed = claimed_shape(dataset)
    samples = claimed[3]
    pixels = _decode(dataset).reshape(claimed if samples > 1 else claimed[:3])
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return _palette_colours(pixels, dataset)
    if samples > 1:
        return pixels
    table = lookup_table(dataset)
    is_inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    if table is not None:
        found: npt.NDArray[Any] = np.asarray(pydicom.pixels.apply_modality_lut(pixels, dataset)).astype(np.uint16)
        return (2 ** int(table.LUTDescriptor[2]) - 1 - found).astype(np.uint16) if is_inverted else found
    if is_inverted:
        pixels = _invert(pixels, dataset)
    return _rescale(pixels, scales(dataset), value_dtype(dataset))


def transfer_syntax(dataset: Any) -> Any:
    """Return the transfer syntax, guessed from the reading when the file does not say it."""
    meta = getattr(dataset, "file_meta", None)
    said = meta.get("TransferSyntaxUID") if meta is not None else None
    if said:
        return pydicom.uid.UID(said)
    implicit, little = getattr(dataset, "original_encoding", (True, True))
    if little is False:
        return pydicom.uid.ExplicitVRBigEndian
    return pydicom.uid.ImplicitVRLittleEndian if implicit is not False else pydicom.uid.ExplicitVRLittleEndian


def _decode(dataset: Any) -> npt.NDArray[Any]:
    """Decode with pydicom, and what it has no free decoder for (JPEG lossless, 12-bit, JPEG-LS) with GDCM."""
    syntax = transfer_syntax(dataset)
    if not getattr(dataset, "file_meta", None) or "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta = getattr(dataset, "file_meta", None) or pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
    try:
        return np.asarray(pydicom.pixels.pixel_array(dataset))
    except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
        if not syntax.is_encapsulated or "PixelData" not in dataset:
            raise
        try:
            return _decode_with_gdcm(dataset, syntax)
        except Exception:
            raise error from None


def _decode_with_gdcm(dataset: Any, syntax: Any) -> npt.NDArray[Any]:
    """Hand only what describes the pixels to GDCM inside SimpleITK, so that it returns stored values."""
    from transmodal.images.itk import SimpleITK

    bare = pydicom.Dataset()
    for keyword in [
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "NumberOfFrames",
        "PixelData",
    ]:
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    bare.SOPClassUID, bare.SOPInstanceUID = pydicom.uid.SecondaryCaptureImageStorage, pydicom.uid.generate_uid()
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = syntax
    with tempfile.TemporaryDirectory() as folder:
        name = str(Path(folder) / "pixels.dcm")
        bare.save_as(name, enforce_file_format=True)
        with quiet_stderr():
            decoded = SimpleITK.ReadImage(name, imageIO="GDCMImageIO")
        return np.asarray(SimpleITK.GetArrayFromImage(decoded))


def _palette_colours(pixels: npt.NDArray[Any], dataset: Any) -> npt.NDArray[Any]:
    """Replace indices by their colours, (frame, row, column, 3)."""
    found = np.asarray(pydicom.pixels.apply_color_lut(pixels, dataset))[..., :3]
    return found.astype(stored_dtype(dataset), copy=False)


def _invert(pixels: npt.NDArray[Any], dataset: Any) -> npt.NDArray[Any]:
    """Turn MONOCHROME1 (0 is white) round within the range of the stored bits; rescaling afterwards stays valid."""
    if pixels.dtype.kind == "f":
        return -pixels
    least, greatest = stored_range(dataset)
    turned = (least + greatest) - pixels.astype(np.int64)
    if turned.min() < least or turned.max() > greatest:
        raise ValueError(f"it has values outside its {dataset.get('BitsStored')} stored bits")
    return turned.astype(pixels.dtype)


def _rescale(pixels: npt.NDArray[Any], pairs: list[tuple[float, float]], dtype: np.dtype) -> npt.NDArray[Any]:
    """Apply slope and intercept, exactly for integers."""
    if all(pair == (1.0, 0.0) for pair in pairs):
        return pixels.astype(dtype, copy=False)
    if len(pairs) > 1 and len(pairs) != len(pixels):
        raise ValueError(f"{len(pairs)} rescale slopes for {len(pixels)} frames")
    wide = np.int64 if dtype.kind in "iu" else np.float64
    slope = np.array([pair[0] for pair in pairs], wide)[:, None, None]
    intercept = np.array([pair[1] for pair in pairs], wide)[:, None, None]
    scaled = pixels.astype(wide) * slope + intercept
    if dtype.kind in "iu" and scaled.size and not np.array_equal(scaled, scaled.astype(dtype)):
        raise ValueError("it has values outside its stored bits")
    return scaled.astype(dtype)
