"""DICOM segmentations: a label map as binary segments with names and colours, on the grid of the series it belongs to.

Source: DICOM PS3.3 A.51 and C.8.20 (Segmentation), C.7.6.16 (multi-frame functional groups), C.7.6.17 (dimensions),
C.10.7.1.1 (CIELab values); PS3.5 8.1.1 (one bit a pixel, the lowest bit first, frames without a gap).
Every segment has a frame of every slice, empty ones too, so that the grid of the label map comes back whole. A segment
has the pixels of those inside it, too (a liver those of its tumours): such segments overlap, and the inner ones, which
come later, are painted over the others when they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pydicom.dataset
import pydicom.uid
from pydicom.valuerep import DSfloat

from transmodal.errors import UserError
from transmodal.images.dicom_geometry import Plane
from transmodal.images.dicom_writer import new_series, new_uid, place, references
from transmodal.images.files import atomic_path
from transmodal.images.guard import quiet
from transmodal.images.image import Image

# SNOMED CT, as DICOM PS3.16 lists them (CID 7150 and others): category and type of what a segment shows.
_STRUCTURE = ("91723000", "SCT", "Anatomical Structure")
_ABNORMAL = ("49755003", "SCT", "Morphologically Abnormal Structure")
_TISSUE = ("85756007", "SCT", "Tissue")
_TYPES: dict[str, tuple[tuple[str, str, str], tuple[str, str, str]]] = {
    **{
        name: (_STRUCTURE, (code, "SCT", meaning))
        for name, code, meaning in (
            ("aorta", "15825003", "Aorta"),
            ("bone", "272673000", "Bone"),
            ("brain", "12738006", "Brain"),
            ("gallbladder", "28231008", "Gallbladder"),
            ("heart", "80891009", "Heart"),
            ("kidney", "64033007", "Kidney"),
            ("liver", "10200004", "Liver"),
            ("lung", "39607008", "Lung"),
            ("muscle", "71616004", "Muscle"),
            ("pancreas", "15776009", "Pancreas"),
            ("spleen", "78961009", "Spleen"),
            ("stomach", "69695003", "Stomach"),
        )
    },
    **{
        name: (_ABNORMAL, (code, "SCT", meaning))
        for name, code, meaning in (
            ("edema", "79654002", "Edema"),
            ("oedema", "79654002", "Edema"),
            ("lesion", "52988006", "Lesion"),
            ("necrosis", "6574001", "Necrosis"),
            ("neoplasm", "108369006", "Neoplasm"),
            ("tumor", "108369006", "Neoplasm"),
            ("tumour", "108369006", "Neoplasm"),
        )
    },
}
_D65_TO_D50 = np.array(  # linear sRGB to XYZ under D50 (Bradford)
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
_D50 = np.array([0.96422, 1.0, 0.82521])
LEVEL = 1e-3  # mm; frames closer than that along the normal lie in one plane
MOST_BETWEEN = 64  # slices of a label map for each that a frame shows


@dataclass(frozen=True)
class Segment:
    """What one value of a label map stands for.

    Attributes:
        value: in the label map.
        name: of the class; well-known organs and lesions get their SNOMED CT code, others that of tissue.
        colour: "#rrggbb", recommended for display.
        inner: values of the segments inside this one, whose pixels it has, too.
    """

    value: int
    name: str
    colour: str
    inner: tuple[int, ...] = ()


def write(image: Image, path: Path, segments: Sequence[Segment], derivation: str | None = None) -> None:
    """Write a label map as one Segmentation object with binary segments.

    Args:
        image: whole numbers; DICOM attributes of `image.source.header` give patient, study and references.
        path: the file.
        segments: in the order of their numbers, from 1; inner ones after those around them.
        derivation: what made the label map, at most 1024 characters.

    Raises:
        UserError: the label map has channels, no pixel size or other values, there is no segment, or the place cannot
            be written.
    """
    if image.channels or image.pixels.dtype.kind not in "bui":
        raise UserError(f"A DICOM segmentation holds whole numbers without channels, {image.name} does not; round them")
    if not image.has_physical_size:
        raise UserError(f"A DICOM segmentation needs a pixel size, and {image.name} has none; give --spacing")
    values = [each.value for each in segments]
    if not segments or len(set(values)) < len(values):
        raise UserError("A DICOM segmentation needs segments of distinct values")
    unknown = sorted({int(value) for value in np.unique(image.pixels)} - {0, *values})
    if unknown:
        raise UserError(f"{path}: the label map holds {unknown[0]}, which is the value of no segment; name it")
    volume = image.pixels[..., None] if image.spatial_dims == 2 else image.pixels
    source: Any = getattr(image.source.header, "dataset", None)
    with quiet():
        made = new_series(source, derivation)
        _describe(made, image, derivation)
        made.SegmentsOverlap = "YES" if any(each.inner for each in segments) else "NO"
        made.SegmentSequence = [_segment(number, each) for number, each in enumerate(segments, 1)]
        _lay_out(made, image, source, volume.shape[2], len(segments))
        # (segment, slice, row, column), packed bit by bit over all frames.
        masks = np.stack([np.moveaxis(np.isin(volume, [each.value, *each.inner]), 2, 0) for each in segments])
        bits = np.packbits(masks.reshape(-1), bitorder="little").tobytes()
        made.add_new("PixelData", "OB", bits + b"\0" * (len(bits) % 2))
        made.file_meta = pydicom.dataset.FileMetaDataset()
        made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        made.file_meta.ImplementationVersionName = "TRANSMODAL"
        with atomic_path(path) as temporary:
            made.save_as(temporary, enforce_file_format=True)


def is_segmentation(dataset: Any) -> bool:
    """Say whether a data set is a segmentation of binary segments."""
    is_one = dataset.get("SOPClassUID") == pydicom.uid.SegmentationStorage
    return bool(is_one and dataset.get("SegmentationType") == "BINARY")


def segment_numbers(dataset: Any, frames: int) -> npt.NDArray[np.int64]:
    """Return which segment each frame belongs to.

    Raises:
        UserError: a frame does not say it.
    """
    numbers = []
    for group in dataset.get("PerFrameFunctionalGroupsSequence") or []:
        items = group.get("SegmentIdentificationSequence") or [None]
        numbers.append(0 if items[0] is None else int(items[0].get("ReferencedSegmentNumber") or 0))
    if len(numbers) != frames or min(numbers, default=0) < 1:
        raise UserError("the segmentation does not say which segment each of its frames shows; write it anew")
    return np.array(numbers)


@dataclass(frozen=True)
class Layout:
    """Where the frames of a segmentation belong in a label map.

    Attributes:
        planes: of the label map, evenly along their normal; those between that no frame shows included.
        slice_of, segment_of: of each frame, its plane from 0 and its segment from 1.
    """

    planes: list[Plane]
    slice_of: npt.NDArray[np.int64]
    segment_of: npt.NDArray[np.int64]

    def labels(self, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (row, column, slice) of segment numbers, later segments over earlier ones; uint8 up to 255."""
        dtype = np.uint8 if self.segment_of.max() <= 255 else np.uint16
        labels = np.zeros((*frames.shape[1:], len(self.planes)), dtype)
        for frame in np.argsort(self.segment_of, kind="stable"):
            labels[..., self.slice_of[frame]][frames[frame] != 0] = self.segment_of[frame]
        return labels


def layout_of(dataset: Any, planes: Sequence[Plane]) -> Layout:
    """Return where frames belong; programs leave out frames without a pixel, so that slices may be missing between.

    Args:
        dataset: of a segmentation.
        planes: of its frames.

    Raises:
        UserError: frames do not say their segment, or lie in planes that make no even stack.
    """
    normal = planes[0].normal
    heights = np.array([float(np.dot(plane.position, normal)) for plane in planes])  # type: ignore[arg-type]
    levels = np.unique(np.rint(heights / LEVEL).astype(np.int64)) * LEVEL
    gap = float(np.diff(levels).min()) if len(levels) > 1 else 1.0
    order = np.rint((heights - levels[0]) / gap).astype(np.int64)
    if np.abs(heights - levels[0] - order * gap).max() > 0.05 * gap or order.max() > MOST_BETWEEN * len(levels):
        raise UserError("the frames of the segmentation lie at uneven distances; write it anew on one grid")
    first = planes[int(heights.argmin())]
    assert first.position is not None
    even = [replace(first, position=first.position + normal * gap * number) for number in range(int(order.max()) + 1)]
    return Layout(even, order, segment_numbers(dataset, len(planes)))


def segments_of(dataset: Any) -> list[Segment]:
    """Return number, name and colour of each segment of a data set."""
    found = []
    for item in dataset.get("SegmentSequence") or []:
        lab = item.get("RecommendedDisplayCIELabValue")
        colour = to_rgb(lab) if lab is not None and len(lab) == 3 else "#808080"
        found.append(Segment(int(item.SegmentNumber), str(item.get("SegmentLabel", "")), colour))
    return found


def to_cielab(colour: str) -> list[int]:
    """Return "#rrggbb" (sRGB) as DICOM's scaled CIELab: L 0 to 100, a and b −128 to 127, each as 0 to 65535."""
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    x, y, z = _curve(_D65_TO_D50 @ linear / _D50)
    lab = np.array([(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255])
    return [int(value) for value in np.clip(np.rint(65535 * lab), 0, 65535)]


def to_rgb(lab: Sequence[int]) -> str:
    """Return what `to_cielab` was made of, to the rounding of 8 bits."""
    light, a, b = np.array(lab, np.float64) / 65535 * [100, 255, 255] - [0, 128, 128]
    y = (light + 16) / 116
    linear = np.linalg.inv(_D65_TO_D50) @ (_curve_back(np.array([y + a / 500, y, y - b / 200])) * _D50)
    linear = np.clip(linear, 0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{int(value):02x}" for value in np.rint(255 * values))


def _curve(ratio: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)


def _curve_back(value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(value > 6 / 29, value**3, 3 * (6 / 29) ** 2 * (value - 4 / 29))


def _describe(made: Any, image: Image, derivation: str | None) -> None:
    """Set what the whole object is."""
    made.SOPClassUID, made.SOPInstanceUID = pydicom.uid.SegmentationStorage, new_uid()
    made.Modality, made.ImageType = "SEG", ["DERIVED", "PRIMARY"]
    made.InstanceNumber = 1
    made.DeviceSerialNumber = "0"
    made.ContentLabel = "SEGMENTATION"
    made.ContentDescription = (derivation or "Derived by transmodal")[:64]
    made.ContentCreatorName = "transmodal"
    made.SegmentationType = "BINARY"
    made.BurnedInAnnotation = "NO"
    made.Rows, made.Columns = image.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = made.PixelRepresentation = 0
    if "LossyImageCompression" not in made:
        made.LossyImageCompression = "00"


def _segment(number: int, segment: Segment) -> Any:
    words = segment.name.lower().replace("_", " ").replace("-", " ").split()
    category, kind = next(
        (_TYPES[one] for word in reversed(words) for one in (word, word.removesuffix("s")) if one in _TYPES),
        (_TISSUE, _TISSUE),
    )
    item = pydicom.Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = segment.name[:64]
    inner = f", with {', '.join(map(str, segment.inner))} inside it" if segment.inner else ""
    item.SegmentDescription = f"{segment.name[:40]}, value {segment.value}{inner}"[:1024]
    item.SegmentAlgorithmType, item.SegmentAlgorithmName = "AUTOMATIC", "transmodal"
    item.RecommendedDisplayCIELabValue = to_cielab(segment.colour)
    item.SegmentedPropertyCategoryCodeSequence = [_code(*category)]
    item.SegmentedPropertyTypeCodeSequence = [_code(*kind)]
    return item


def _lay_out(made: Any, image: Image, source: Any, slices: int, segments: int) -> None:
    """Set where every frame lies, which segment it is of and what it was made of."""
    planes = []
    made.FrameOfReferenceUID = made.get("FrameOfReferenceUID") or f"{made.SeriesInstanceUID}.1"
    for index in range(slices):
        plane = pydicom.Dataset()
        plane.FrameOfReferenceUID = made.FrameOfReferenceUID
        place(plane, image, index)
        planes.append(plane)
    shared, measures, orientation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = [DSfloat(length, auto_format=True) for length in image.spacing[:2]]
    measures.SliceThickness = planes[0].SliceThickness
    if slices > 1:
        measures.SpacingBetweenSlices = planes[0].SliceThickness
    orientation.ImageOrientationPatient = planes[0].ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    made.SharedFunctionalGroupsSequence = [shared]
    if "PositionReferenceIndicator" not in made:
        made.PositionReferenceIndicator = ""
    made.NumberOfFrames = segments * slices
    _add_dimensions(made)
    made.PerFrameFunctionalGroupsSequence = [
        _frame(image, planes[index], number, index, slices)
        for number in range(1, segments + 1)
        for index in range(slices)
    ]
    sources = references(image, None)
    if sources and source is not None and source.get("SeriesInstanceUID"):
        series = pydicom.Dataset()
        series.SeriesInstanceUID = source.SeriesInstanceUID
        series.ReferencedInstanceSequence = [_instance(each) for each in sources]
        made.ReferencedSeriesSequence = [series]


def _add_dimensions(made: Any) -> None:
    organisation = pydicom.Dataset()
    organisation.DimensionOrganizationUID = new_uid()
    made.DimensionOrganizationSequence = [organisation]
    made.DimensionIndexSequence = []
    for pointer, group in ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113)):  # segment number; position
        index = pydicom.Dataset()
        index.DimensionOrganizationUID = organisation.DimensionOrganizationUID
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, group
        made.DimensionIndexSequence.append(index)


def _frame(image: Image, plane: Any, number: int, index: int, slices: int) -> Any:
    frame, content, position, identity = (pydicom.Dataset() for _ in range(4))
    content.DimensionIndexValues = [number, index + 1]
    position.ImagePositionPatient = plane.ImagePositionPatient
    identity.ReferencedSegmentNumber = number
    frame.FrameContentSequence, frame.PlanePositionSequence = [content], [position]
    frame.SegmentIdentificationSequence = [identity]
    instances = getattr(image.source.header, "instances", ())
    if len(instances) in (1, slices) and (sources := references(image, index)):
        derived = pydicom.Dataset()
        derived.DerivationCodeSequence = [_code("113076", "DCM", "Segmentation")]
        derived.SourceImageSequence = sources
        frame.DerivationImageSequence = [derived]
    return frame


def _instance(reference: Any) -> Any:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID = reference.ReferencedSOPClassUID
    item.ReferencedSOPInstanceUID = reference.ReferencedSOPInstanceUID
    return item


def _code(value: str, scheme: str, meaning: str) -> Any:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
