"""What each format says about its pixels is understood: sizes, palettes, scales, units, pages."""

import subprocess
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK
import tifffile

from transmodal.errors import UserError
from transmodal.images import (
    FORMATS,
    Image,
    is_image_file,
    picture_affine,
    read,
    read_geometry,
    require_same_grid,
    write,
)
from transmodal.images.guard import quiet

RAMP = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)


def test_every_format_of_the_table_loads_and_can_do_what_it_says() -> None:
    for key, each in FORMATS.items():
        module = each.load()
        assert callable(module.read) and callable(module.read_geometry), key
        assert not each.suffixes or callable(module.write), key


def test_importing_images_loads_no_format_library() -> None:
    code = (
        "import sys, transmodal.images as i; print([m for m in ('nibabel','pydicom','cv2','PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_png_colours_alpha_and_palette(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PIL.Image.fromarray(RAMP).convert("P").save(path)
    image = read(path)
    assert image.channels == ("red", "green", "blue") and image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels[..., 1], RAMP)
    PIL.Image.fromarray(RAMP > 100).save(path)
    np.testing.assert_array_equal(read(path).pixels, (RAMP > 100) * np.uint8(255))
    PIL.Image.fromarray(np.stack([RAMP, 255 - RAMP], axis=-1), "LA").save(path)
    assert read(path).channels == ("grey", "alpha") and read_geometry(path).channels == ("grey", "alpha")
    sixteen = np.random.default_rng(0).integers(0, 65536, (6, 5, 4), dtype=np.uint16)
    cv2.imwrite(str(path), sixteen)  # blue, green, red, alpha
    image = read(path)
    assert image.channels == ("red", "green", "blue", "alpha")
    np.testing.assert_array_equal(image.pixels, sixteen[..., [2, 1, 0, 3]])


def test_png_written_here_is_read_alike_by_others(picture: Image, tmp_path: Path) -> None:
    path = write(picture, tmp_path / "grey.png")
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), picture.pixels)
    colours = np.random.default_rng(0).integers(0, 65536, (7, 5, 3), dtype=np.uint16)
    path = write(Image(colours, picture.affine, ("red", "green", "blue")), tmp_path / "colour.png")
    np.testing.assert_array_equal(np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[..., ::-1], colours)
    with PIL.Image.open(path) as opened:
        assert opened.info["dpi"] == pytest.approx((254, 25.4 / 0.097), rel=1e-3)


def test_a_photograph_keeps_the_size_it_is_given(tmp_path: Path) -> None:
    photograph = np.zeros((1024, 512, 3), np.uint8)
    PIL.Image.fromarray(photograph).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", spacing=(100 / 1024, 50 / 512))
    assert image.has_physical_size
    np.testing.assert_allclose(np.array(image.shape) * image.spacing, [100, 50])
    again = read(write(image, tmp_path / "b.png"))
    assert again.spacing == image.spacing and again.has_physical_size
    for wrong in (0, -1, float("nan"), (1, 2, 3)):
        with pytest.raises(UserError, match="does not suit"):
            read(tmp_path / "a.png", spacing=wrong)
    assert read(tmp_path / "a.png", quantity="luminance").quantity == "luminance"


@pytest.mark.parametrize(("density", "known"), [(72, False), (96, False), (300, True), (None, False)])
def test_a_screens_density_is_no_physical_size(density: int | None, known: bool, tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        options = {"dpi": (density, density)} if density else {}
        PIL.Image.fromarray(RAMP).save(tmp_path / name, **options)  # type: ignore[arg-type]
        image = read(tmp_path / name)
        assert image.has_physical_size == known
        assert image.spacing == pytest.approx((25.4 / 300,) * 2 if known else (1, 1), rel=1e-3)


def test_jpeg_is_turned_upright_and_has_no_size(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    PIL.Image.fromarray(np.stack([RAMP] * 3, axis=-1)).save(path, quality=95, exif=exif, dpi=(300, 300))
    image = read(path)
    assert image.shape == (20, 12) == read_geometry(path).shape and not image.has_physical_size
    assert np.abs(image.pixels[..., 0].astype(int) - np.rot90(RAMP, -1)).max() < 6
    PIL.Image.fromarray(RAMP).save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read(tmp_path / "a.bmp").pixels, RAMP)


def test_tiff_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RAMP, photometric="miniswhite")
    np.testing.assert_array_equal(read(path).pixels, 255 - RAMP)
    PIL.Image.fromarray(RAMP > 100).save(path)
    with PIL.Image.open(path) as opened:
        np.testing.assert_array_equal(read(path).pixels, np.asarray(opened) * np.uint8(255))
    tifffile.imwrite(path, RAMP > 100, photometric="miniswhite")
    np.testing.assert_array_equal(read(path).pixels, (RAMP <= 100) * np.uint8(255))
    planes = np.random.default_rng(0).integers(0, 65536, (3, 9, 7), dtype=np.uint16)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read(path).pixels, np.moveaxis(planes, 0, -1))
    pages = np.random.default_rng(0).normal(size=(4, 9, 7)).astype(np.float32)
    tifffile.imwrite(path, pages, photometric="minisblack", bigtiff=True, byteorder=">")
    image = read(path)
    assert image.shape == (9, 7, 4) and image.pixels.dtype.isnative and not image.has_physical_size
    np.testing.assert_array_equal(image.pixels, np.moveaxis(pages, 0, -1))
    stack = np.random.default_rng(0).integers(0, 65536, (5, 2, 9, 7), dtype=np.uint16)
    tifffile.imwrite(
        path, stack, imagej=True, resolution=(20, 10), metadata={"spacing": 3, "unit": "um", "axes": "ZCYX"}
    )
    image = read(path)
    assert image.shape == (9, 7, 5) and image.channels == ("c0", "c1")
    assert image.spacing == pytest.approx((1e-4, 5e-5, 3e-3))
    np.testing.assert_array_equal(image.pixels[..., 1], np.moveaxis(stack[:, 1], 0, -1))
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2.0, "axes": "ZYX"}
    tifffile.imwrite(tmp_path / "a.ome.tif", pages, metadata=sizes)
    assert read(tmp_path / "a.ome.tif").spacing == pytest.approx((0.25e-3, 0.5e-3, 2e-3))
    with tifffile.TiffWriter(path) as out:
        out.write(RAMP)
        out.write(RAMP[:5])
    with pytest.raises(UserError, match="2 images of different sizes"):
        read(path)


@pytest.mark.parametrize("without_imagecodecs", [False, True])
def test_compressed_tiffs_need_no_optional_library(without_imagecodecs: bool, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "lzw.tif"), RAMP.astype(np.uint16) * 257, [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    PIL.Image.fromarray(RAMP).convert("P").save(tmp_path / "palette.tif", compression="tiff_lzw")
    PIL.Image.fromarray(np.stack([RAMP] * 3, axis=-1)).save(tmp_path / "deflate.tif", compression="tiff_adobe_deflate")
    code = f"""
import sys
if {without_imagecodecs}: sys.modules["imagecodecs"] = None
import numpy as np
from transmodal.images import read
ramp = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
assert np.array_equal(read("lzw.tif").pixels, ramp.astype(np.uint16) * 257)
assert np.array_equal(read("palette.tif").pixels[..., 2], ramp)
assert np.array_equal(read("deflate.tif").pixels[..., 2], ramp)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nifti_scales_units_and_codes(tmp_path: Path) -> None:
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    affine = np.diag([-100.0, 200.0, 300.0, 1.0])
    made = nibabel.Nifti1Image(stored, affine)
    made.header.set_slope_inter(0.5, -7)
    made.header.set_xyzt_units("micron")
    made.set_sform(affine, 4)
    made.set_qform(affine, 1)
    made.header["descrip"] = b"scanned by hand"
    path = tmp_path / "a.nii.gz"
    made.to_filename(path)
    image = read(path)
    assert image.pixels.dtype == np.float32 and image.spacing == pytest.approx((0.1, 0.2, 0.3))
    np.testing.assert_array_equal(image.pixels, stored * 0.5 - 7)
    again = nibabel.load(write(image, tmp_path / "b.nii.gz"))
    assert again.header.get_xyzt_units()[0] == "micron"
    assert (int(again.header["sform_code"]), int(again.header["qform_code"])) == (4, 1)
    assert bytes(again.header["descrip"]).startswith(b"scanned by hand")
    np.testing.assert_allclose(again.affine, affine, rtol=1e-6)
    assert not again.header.extensions or read(tmp_path / "b.nii.gz").spacing == image.spacing


def test_nifti_of_four_axes_wrong_names_and_colours(tmp_path: Path) -> None:
    series = np.arange(120, dtype=np.uint16).reshape(2, 3, 4, 5)
    nibabel.Nifti1Image(series, np.eye(4)).to_filename(tmp_path / "a.nii")
    image = read(tmp_path / "a.nii")
    assert image.shape == (2, 3, 4) and image.channels == ("t0", "t1", "t2", "t3", "t4")
    np.testing.assert_array_equal(image.pixels, series)
    for name in ("called.nii.gz", "scan", "photo.png"):  # content decides, not the name
        (tmp_path / name).write_bytes((tmp_path / "a.nii").read_bytes())
        np.testing.assert_array_equal(read(tmp_path / name).pixels, series)
    colours = np.zeros((2, 3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = 200
    nibabel.Nifti1Image(colours, np.eye(4)).to_filename(tmp_path / "c.nii")
    image = read(tmp_path / "c.nii")
    assert image.channels == ("red", "green", "blue") and (image.pixels[..., 1] == 200).all()
    nibabel.Nifti1Image(np.zeros((2, 3, 4), np.complex64), np.eye(4)).to_filename(tmp_path / "d.nii")
    with pytest.raises(UserError, match="complex64"):
        read(tmp_path / "d.nii")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_every_format_puts_a_volume_at_the_same_place(volume: Image, suffix: str, tmp_path: Path) -> None:
    whole = replace(volume, quantity="intensity")
    as_nifti = SimpleITK.ReadImage(str(write(whole, tmp_path / "a.nii")))
    as_itk = SimpleITK.ReadImage(str(write(whole, tmp_path / f"a{suffix}")))
    for index in ((0, 0, 0), (4, 3, 2)):
        assert as_itk[index] == as_nifti[index] == volume.pixels[index]
        there = as_nifti.TransformIndexToPhysicalPoint(index)
        assert as_itk.TransformIndexToPhysicalPoint(index) == pytest.approx(there, abs=1e-4)
    SimpleITK.WriteImage(as_nifti, str(tmp_path / f"foreign{suffix}"))
    foreign = read(tmp_path / f"foreign{suffix}")
    np.testing.assert_array_equal(foreign.pixels, volume.pixels)
    np.testing.assert_allclose(foreign.affine, volume.affine, atol=1e-4)
    flat = SimpleITK.GetImageFromArray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    flat.SetSpacing([0.1, 0.2])
    SimpleITK.WriteImage(flat, str(tmp_path / f"flat{suffix}"))
    picture = read(tmp_path / f"flat{suffix}")
    assert picture.shape == (2, 3) and picture.spacing == (0.2, 0.1)
    np.testing.assert_allclose(picture.affine, picture_affine((0.2, 0.1)))


def test_nifti_in_place_is_not_a_window_on_the_file(volume: Image, tmp_path: Path) -> None:
    path = write(volume, tmp_path / "a.nii")
    image = read(path)
    write(replace(image, pixels=image.pixels * 0), path)
    np.testing.assert_array_equal(image.pixels, volume.pixels)


def test_same_grid_looks_at_every_corner(volume: Image) -> None:
    assert volume.same_grid(volume)
    moved = volume.affine.copy()
    moved[:3, 3] += 0.01
    assert not volume.same_grid(replace(volume, affine=moved))
    assert volume.same_grid(replace(volume, affine=moved), tolerance=0.011)
    # Turned about its far corner: origin, far corner and spacing agree, the others do not.
    shape = np.array(volume.shape)
    square = Image(np.zeros((5, 5)), picture_affine((1.0, 1.0)))
    swapped = square.affine[:, [1, 0, 2, 3]]
    assert np.allclose(square.affine @ [4, 4, 0, 1], swapped @ [4, 4, 0, 1])
    assert not square.same_grid(replace(square, affine=swapped))
    bent = volume.affine.copy()
    bent[0, 2] += 0.01  # 0.02 mm at the last slice
    other = replace(volume, affine=bent)
    largest = max(
        np.abs((bent - volume.affine) @ [*corner, 1])[:3].max()
        for corner in np.ndindex(2, 2, 2)
        for corner in [np.array(corner) * (shape - 1)]
    )
    for one, two in ((volume, other), (other, volume)):
        assert not one.same_grid(two, tolerance=largest * 0.99) and one.same_grid(two, tolerance=largest * 1.01)


def test_readers_in_threads_give_the_warning_filters_back(picture: Image, tmp_path: Path) -> None:
    path = write(picture, tmp_path / "a.png")
    before = list(warnings.filters)
    entered, leave = threading.Event(), threading.Event()
    loud = []

    def hold() -> None:
        with quiet():
            entered.set()
            leave.wait(10)
            try:
                warnings.warn("a decoder's remark", stacklevel=1)
            except UserWarning as warning:
                loud.append(warning)

    holder = threading.Thread(target=hold)
    with quiet():
        holder.start()
        entered.wait(10)
    read(path)
    leave.set()
    holder.join()
    assert not loud
    assert list(warnings.filters) == before


def test_image_files_are_known_by_their_content(picture: Image, tmp_path: Path) -> None:
    for suffix in (".png", ".tif", ".nii.gz", ".mha", ".nrrd", ".npy", ".dcm"):
        path = write(picture, tmp_path / f"a{suffix}")
        renamed = path.rename(tmp_path / f"b{suffix}.bin") if suffix != ".npy" else path
        assert is_image_file(renamed), suffix
        np.testing.assert_array_equal(read(renamed).pixels, picture.pixels)
    assert not is_image_file(tmp_path) and not is_image_file(tmp_path / "none")


def test_the_refusal_of_another_grid_names_what_differs(volume: Image) -> None:
    moved, coarser, flipped, tilted = (volume.affine.copy() for _ in range(4))
    moved[:3, 3] += (0, 0, 2.5)
    coarser[:3, 0] *= 1.25
    flipped[:3, 0] *= -1
    angle = np.radians(3)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    tilted[:3, :3] = turn @ tilted[:3, :3]
    for affine, named in (
        (moved, "origin"),
        (coarser, "pixel size"),
        (flipped, "turned by 180°"),
        (tilted, "turned by 3°"),
    ):
        with pytest.raises(UserError) as refusal:
            require_same_grid(volume, replace(volume, affine=affine))
        told = str(refusal.value)
        others = [what for what in ("origin", "pixel size", "orientation") if what in told]
        assert named in told and len(others) == 1, told
    both = volume.affine.copy()
    both[:3, 0] *= -1
    both[0, 3] += 9
    with pytest.raises(UserError, match=r"orientation .* and origin"):
        require_same_grid(volume, replace(volume, affine=both))
    with pytest.raises(UserError, match="×"):
        require_same_grid(volume, replace(volume, pixels=volume.pixels[:-1]))
