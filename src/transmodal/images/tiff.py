"""TIFF: microscopes, detectors and scanners; integers and floats of any width, colours, pages as a volume.

Source: TIFF 6.0; BigTIFF; the ImageJ and OME-TIFF conventions for spacing, as tifffile understands them. tifffile
decodes; what it cannot decode without the optional imagecodecs (LZW, JPEG, …) OpenCV's libtiff does.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import tifffile

from transmodal.errors import UserError
from transmodal.images.files import atomic_path
from transmodal.images.geometry import Geometry
from transmodal.images.guard import reading, require_believable_size
from transmodal.images.image import Image, Source, picture_affine
from transmodal.images.note import Note

_COLOURS: dict[int, tuple[str, ...]] = {
    2: ("grey", "alpha"),
    3: ("red", "green", "blue"),
    4: ("red", "green", "blue", "alpha"),
}
_MM_PER_UNIT = {
    "mm": 1.0, "millimeter": 1.0, "cm": 10.0, "centimeter": 10.0, "m": 1000.0, "nm": 1e-6, "inch": 25.4, "in": 25.4,
    "um": 1e-3, "µm": 1e-3, "\\u00b5m": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "μm": 1e-3,
}  # fmt: skip
# Bytes that one stored byte can give at most, by TIFF compression tag; other compressions have no useful bound.
_MOST_EXPANSION = {1: 1.0, 8: 1032.0, 32946: 1032.0, 32773: 64.0, 5: 2800.0}
_SCREEN_DENSITIES = (72.0, 96.0)


def read(path: Path) -> Image:
    """Read a TIFF: (row, column), (row, column, page), or either with a channel axis last.

    Samples of a pixel, ImageJ and OME channels and time points become channels. A palette is replaced by its colours;
    an inverted grey scale (MINISWHITE) is turned the right way round; one bit becomes 0 and 255. The pixel size
    comes from our own note, OME, ImageJ or the resolution tags, save for a screen's 72 and 96 dots per inch.

    Raises:
        UserError: the file is damaged, incomplete, too large, or holds several images of different sizes.
    """
    with reading(path, "TIFF"), tifffile.TiffFile(path) as tiff:
        series = _series(tiff, path)
        pixels = _decode(tiff, series, path)
        pixels = _arrange(_spread_colours(pixels, series.keyframe), _axes(series))
        geometry, quantity = _describe(tiff, series, path)
        pixels = pixels.reshape((*geometry.shape, len(geometry.channels) or 1))
        if not geometry.channels:
            pixels = pixels[..., 0]
        return Image(
            np.ascontiguousarray(pixels, dtype=geometry.dtype),
            geometry.affine,
            geometry.channels,
            quantity,
            geometry.has_physical_size,
            Source(path, "tiff", derivation=_derivation(tiff)),
        )


def read_geometry(path: Path) -> Geometry:
    """Read the tags of a TIFF."""
    with reading(path, "TIFF"), tifffile.TiffFile(path) as tiff:
        return _describe(tiff, _series(tiff, path), path)[0]


def write(image: Image, path: Path, derivation: str | None = None) -> None:
    """Write integers or floats uncompressed, a volume as one page for each index of its last spatial axis.

    The resolution tags hold the pixel size, the description holds the exact geometry and meaning.

    Raises:
        UserError: the values are no plain integers or floats.
    """
    pixels = image.pixels
    if pixels.dtype.kind not in "uif" or pixels.dtype.itemsize > 8:
        raise UserError(
            f"TIFF cannot hold {pixels.dtype} values of {image.name}; convert them to integers or floats, or write .npy"
        )
    count = len(image.channels)
    if count == 1:
        pixels = pixels[..., 0]
    if image.spatial_dims == 3:
        pixels = np.moveaxis(pixels, 2, 0)
    is_colour = count in (3, 4) and image.channels[:3] == _COLOURS[3] and pixels.dtype.kind == "u"
    options: dict[str, Any] = {"photometric": "rgb" if is_colour else "minisblack", "metadata": None}
    if count > 1:
        options["planarconfig"] = "contig"
    if is_colour and count == 4:
        options["extrasamples"] = ["unassalpha"]
    elif count > 1 and not is_colour:
        options["extrasamples"] = ["unspecified"] * (count - 1)
    if image.has_physical_size:
        options["resolution"] = (10 / image.spacing[1], 10 / image.spacing[0])
        options["resolutionunit"] = "centimeter"
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=pixels.nbytes > 2**32 - 2**25) as out:
        pages = pixels if image.spatial_dims == 3 else pixels[None]
        for index, page in enumerate(pages):
            description = Note.of(image, derivation).text if index == 0 else None
            out.write(np.ascontiguousarray(page), description=description, software="transmodal", **options)


def _series(tiff: Any, path: Path) -> Any:
    """Return the one series of pages that is the image, after checking what it claims."""
    everything = [each for each in tiff.series if each.keyframe is not None]
    full = [each for each in everything if not each.keyframe.subfiletype & 1] or everything
    if not full:
        raise UserError(f"{path} holds no image; export it again")
    if len(full) > 1:
        sizes = ", ".join("×".join(map(str, each.shape)) for each in full[:4])
        raise UserError(
            f"{path} holds {len(full)} images of different sizes ({sizes}{', …' if len(full) > 4 else ''}); "
            "save the one you want in a file of its own"
        )
    series = full[0]
    page = series.keyframe
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    most = _MOST_EXPANSION.get(int(page.compression))
    require_believable_size(path, series.shape, bits / 8, path.stat().st_size, most_expansion=most)
    if series.dtype is None or series.dtype.kind not in "buif":
        raise UserError(f"{path} has {series.dtype} pixels; save it as integers or floats")
    return series


def _axes(series: Any) -> str:
    return str(series.axes) + ("S" if series.keyframe.photometric == 3 else "")


def _decode(tiff: Any, series: Any, path: Path) -> npt.NDArray[Any]:
    """Decode with tifffile, and what it has no codec for with OpenCV."""
    try:
        return np.asarray(series.asarray())
    except Exception as error:
        if "imagecodecs" not in str(error):
            raise
        reason = str(error)
    compression = tifffile.COMPRESSION(series.keyframe.compression).name
    if series.keyframe.photometric == 3 and len(tiff.pages) == 1:
        with PIL.Image.open(path, formats=["TIFF"]) as opened:  # OpenCV would replace the palette's indices
            if opened.mode == "P":
                return np.array(opened).astype(series.dtype).reshape(series.shape)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    decoded, pages = cv2.imdecodemulti(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if not decoded or len(pages) != len(tiff.pages) or len(pages) != len(series.pages):
        raise UserError(f"{path} is compressed with {compression} ({reason}); save it uncompressed or with DEFLATE")
    stack = [page[..., [2, 1, 0, 3][: page.shape[2]]] if page.ndim == 3 else page for page in pages]
    pixels = np.stack(stack) if len(stack) > 1 else stack[0]
    if series.keyframe.planarconfig == 2 and series.keyframe.samplesperpixel > 1:
        pixels = np.moveaxis(pixels, -1, -3)
    if series.keyframe.photometric == 3 or pixels.dtype != series.dtype or pixels.size != np.prod(series.shape):
        raise UserError(f"{path} is compressed with {compression}; save it uncompressed or with DEFLATE")
    return pixels.reshape(series.shape)


def _spread_colours(pixels: npt.NDArray[Any], page: Any) -> npt.NDArray[Any]:
    """Resolve one bit, inverted grey scales and palettes."""
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if page.photometric == 0 and pixels.dtype.kind == "u":
        most = 255 if page.bitspersample == 1 else 2**page.bitspersample - 1
        pixels = pixels.dtype.type(most) - pixels
    elif page.photometric == 3:
        pixels = np.moveaxis(_palette(page)[:, pixels], 0, -1)
    return pixels


def _palette(page: Any) -> npt.NDArray[Any]:
    """Return the colours (3, index): uint8 when 16 bits only repeat or pad what 8 said, as most writers do."""
    table = np.asarray(page.colormap)
    for factor in (257, 256):
        if (table % factor == 0).all():
            return (table // factor).astype(np.uint8)
    return table.astype(np.uint8) if table.max() < 256 else table


def _split_axes(axes: str, shape: tuple[int, ...]) -> tuple[str, list[str]]:
    """Return the axis along the pages ("" for a picture) and the axes that become channels, in order."""
    rest = [axis for axis, length in zip(axes, shape, strict=False) if axis not in "YX" and length > 1]
    if "Y" not in axes or "X" not in axes:
        raise UserError(f"a TIFF with axes {axes} is no picture")
    along = next((axis for axis in "ZIQ" if axis in rest), "")
    if not along and "T" in rest:
        along = "T"
    return along, [axis for axis in rest if axis != along]


def _arrange(pixels: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    """Bring (…) to (row, column[, page], channel…)."""
    along, channel_axes = _split_axes(axes, pixels.shape)
    order = ["Y", "X", *([along] if along else []), *channel_axes]
    index = tuple(slice(None) if axis in order else 0 for axis in axes)
    kept = [axis for axis in axes if axis in order]
    return np.transpose(pixels[index], [kept.index(axis) for axis in order])


def _describe(tiff: Any, series: Any, path: Path) -> tuple[Geometry, str]:
    """Return the geometry and the quantity, by our note while it fits, else by the tags."""
    page = series.keyframe
    axes, shape = _axes(series), tuple(series.shape)
    dtype = series.dtype.newbyteorder("=")
    if page.photometric == 3:
        shape = (*shape, 3)
        dtype = _palette(page).dtype
    elif dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    along, channel_axes = _split_axes(axes, shape)
    spatial = tuple(shape[axes.index(axis)] for axis in ["Y", "X", *([along] if along else [])])
    lengths = [shape[axes.index(axis)] for axis in channel_axes]
    channels = _channel_names(channel_axes, lengths, page)
    note = _note(tiff)
    written = (*spatial, len(channels)) if channels else spatial
    if note and note.fits(note.shape) and _same_but_for_ones(note.shape, written):
        geometry = Geometry(
            path, "tiff", note.shape[: note.spatial_dims], note.affine, dtype, note.channels, note.has_physical_size
        )
        return geometry, note.quantity
    spacing = _spacing(tiff, page)
    affine = picture_affine(spacing[:2] if spacing else (1.0, 1.0))
    affine[2, 2] = spacing[2] if spacing else 1.0
    return Geometry(path, "tiff", spatial, affine, dtype, channels, spacing is not None), "intensity"


def _note(tiff: Any) -> Note | None:
    return Note.parse(tiff.pages[0].description or "")


def _derivation(tiff: Any) -> str:
    note = _note(tiff)
    return note.derivation if note is not None else ""


def _same_but_for_ones(mine: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    """Compare shapes; the tags cannot tell one page or one channel from none."""
    return mine[:2] == theirs[:2] and [n for n in mine[2:] if n > 1] == [n for n in theirs[2:] if n > 1]


def _channel_names(channel_axes: list[str], lengths: list[int], page: Any) -> tuple[str, ...]:
    """Name samples by colour where they are colours, channels c0… and time points t0…."""
    if not channel_axes:
        return ()
    is_colour = page.photometric in (2, 3, 6)
    if channel_axes == ["S"] and lengths[0] in _COLOURS and (is_colour or lengths[0] == 2):
        return _COLOURS[lengths[0]]
    letter = {"T": "t"}.get(channel_axes[0], "c") if len(channel_axes) == 1 else "c"
    return tuple(f"{letter}{index}" for index in range(int(np.prod(lengths))))


def _spacing(tiff: Any, page: Any) -> tuple[float, float, float] | None:
    """Return (row, column, page) distances in mm, or None when the file says none."""
    if tiff.is_ome and tiff.ome_metadata:
        found = _ome_spacing(tiff.ome_metadata)
        if found:
            return found
    density_x, density_y = (_ratio(page.tags, name) for name in ("XResolution", "YResolution"))
    if not density_x or not density_y:
        return None
    between_pages = 1.0
    if tiff.is_imagej:
        said = tiff.imagej_metadata or {}
        unit = _MM_PER_UNIT.get(str(said.get("unit", "")).strip().lower())
        if unit is None:
            return None
        between_pages = float(said.get("spacing", 1.0)) * unit
    else:
        code = page.tags.valueof("ResolutionUnit", default=2)
        unit = {2: 25.4, 3: 10.0}.get(int(code))
        is_screen = int(code) == 2 and density_x in _SCREEN_DENSITIES and density_y in _SCREEN_DENSITIES
        if unit is None or is_screen:
            return None
    found = (unit / density_y, unit / density_x, abs(between_pages) or 1.0)
    return found if all(np.isfinite(found)) else None


def _ratio(tags: Any, name: str) -> float:
    value = tags.valueof(name)
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return 0.0
    return float(value[0]) / float(value[1])


def _ome_spacing(xml: str) -> tuple[float, float, float] | None:
    """Read PhysicalSizeX, Y and Z of the first Pixels element; OME's default unit is µm."""
    said = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    said = said[0] if isinstance(said, list) else said
    pixels = said.get("Pixels", {})
    found = []
    for axis in "YXZ":
        size = float(pixels.get(f"PhysicalSize{axis}", 0.0) or 0.0)
        unit = _MM_PER_UNIT.get(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).lower())
        found.append(size * unit if unit else 0.0)
    if not (found[0] > 0 and found[1] > 0 and np.isfinite(found).all()):
        return None
    return found[0], found[1], found[2] or 1.0
