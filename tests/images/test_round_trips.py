"""What is written comes back: values, dtype, geometry, channels and quantity."""

import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, read, read_geometry, write

EVERY_NUMBER = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
KINDS = {
    ".png": (["u1", "u2"], (2,), (0, 1, 2, 3, 4)),
    ".tif": ([*EVERY_NUMBER, "f2"], (2, 3), (0, 1, 2, 3, 5)),
    ".nii": (EVERY_NUMBER, (2, 3), (0, 1, 2, 3)),
    ".nii.gz": (EVERY_NUMBER, (2, 3), (0, 3)),
    ".hdr": (EVERY_NUMBER, (2, 3), (0, 3)),
    ".mha": (EVERY_NUMBER, (2, 3), (0, 1, 2, 3, 5)),
    ".mhd": (EVERY_NUMBER, (2, 3), (0, 3)),
    ".nrrd": (EVERY_NUMBER, (2, 3), (0, 1, 2, 3, 5)),
    ".nhdr": (EVERY_NUMBER, (2, 3), (0, 3)),
    ".npy": ([*EVERY_NUMBER, "f2", "?"], (2, 3), (0, 1, 2, 3, 5)),
}
lengths = st.integers(1, 6)
spacings = st.floats(0.01, 50.0)


@st.composite
def images(draw: st.DrawFn, suffix: str) -> Image:
    """Draw an image that a format can hold, its extreme values included."""
    dtypes, dims, channel_counts = KINDS[suffix]
    dtype: np.dtype = np.dtype(draw(st.sampled_from(dtypes)))
    spatial = tuple(draw(lengths) for _ in range(draw(st.sampled_from(dims))))
    count = draw(st.sampled_from(channel_counts))
    shape = (*spatial, count) if count else spatial
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels: np.ndarray = (
        np.frombuffer(generator.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape).copy()
    )
    if dtype.kind == "b":
        pixels = generator.random(shape) > 0.5
    elif dtype.kind in "ui":
        limits = np.iinfo(str(dtype))
        pixels.flat[0], pixels.flat[-1] = limits.max, limits.min
    affine = picture_affine((draw(spacings), draw(spacings)))
    if len(spatial) == 3 or draw(st.booleans()):
        rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        affine[:3, :3] = rotation * [draw(spacings) for _ in range(3)]
        affine[:3, 3] = generator.normal(size=3) * 100
    names = ("red", "green", "blue", "alpha") if draw(st.booleans()) else ("one", "two", "three", "four", "five")
    channels = tuple((*names, "five")[:count])
    known = draw(st.booleans())
    return Image(pixels, affine, channels, draw(st.sampled_from(["HU", "intensity", "Bq/mL"])), known)


@pytest.mark.parametrize("suffix", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_what_is_written_comes_back(suffix: str, data: st.DataObject) -> None:
    image = data.draw(images(suffix))
    with tempfile.TemporaryDirectory() as folder:
        path = write(image, Path(folder) / f"image{suffix}")
        back, geometry = read(path), read_geometry(path)
        assert back.pixels.dtype == image.pixels.dtype
        np.testing.assert_array_equal(back.pixels, image.pixels)
        np.testing.assert_array_equal(back.affine, image.affine)
        assert (back.channels, back.quantity) == (image.channels, image.quantity)
        assert back.has_physical_size == image.has_physical_size
        assert geometry.shape == image.shape and geometry.dtype == image.pixels.dtype
        np.testing.assert_array_equal(geometry.affine, image.affine)
        assert (geometry.channels, geometry.has_physical_size) == (image.channels, image.has_physical_size)
        assert back.source.path == path


@pytest.mark.parametrize("suffix", [*KINDS, ".dcm"])
def test_full_white_of_16_bits_comes_back(picture: Image, suffix: str, tmp_path: Path) -> None:
    back = read(write(picture, tmp_path / f"white{suffix}"))
    assert back.pixels.dtype == np.uint16
    assert back.pixels[-1, -1] == 65535
    np.testing.assert_array_equal(back.pixels, picture.pixels)
    np.testing.assert_allclose(back.affine, picture.affine, rtol=1e-12)


@pytest.mark.parametrize("suffix", [".tif", ".nii.gz", ".mha", ".nrrd", ".npy"])
def test_not_a_number_stays(suffix: str, tmp_path: Path) -> None:
    pixels = np.array([[np.nan, -np.inf], [np.inf, -0.0]], np.float32)
    back = read(write(Image(pixels), tmp_path / f"nan{suffix}"))
    np.testing.assert_array_equal(back.pixels, pixels)


@pytest.mark.parametrize(
    ("suffix", "pixels", "channels"),
    [
        (".png", np.zeros((4, 4), np.float32), ()),
        (".png", np.zeros((4, 4), np.int32), ()),
        (".png", np.zeros((4, 4), bool), ()),
        (".png", np.zeros((4, 4, 5), np.uint8), tuple("abcde")),
        (".png", np.zeros((4, 4, 4), np.uint8), ()),
        (".tif", np.zeros((4, 4), np.complex64), ()),
        (".tif", np.zeros((4, 4), bool), ()),
        (".nii.gz", np.zeros((4, 4), np.float16), ()),
        (".nii.gz", np.zeros((4, 4), bool), ()),
        (".mha", np.zeros((4, 4), np.complex64), ()),
        (".npy", np.zeros((4, 4), np.complex64), ()),
        (".dcm", np.full((4, 4), 0.1, np.float32), ()),
        (".dcm", np.array([[0, 65536]], np.int32), ()),
        (".dcm", np.zeros((4, 4, 2), np.uint8), ("a", "b")),
        (".dcm", np.zeros((4, 4, 3), np.uint16), ("red", "green", "blue")),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_leaves_no_file(
    suffix: str, pixels: np.ndarray, channels: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"cannot hold|Cannot write"):
        write(Image(pixels, channels=channels), tmp_path / f"refused{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(picture: Image, tmp_path: Path) -> None:
    path = write(picture, tmp_path / "kept.png")
    with pytest.raises(UserError):
        write(replace(picture, pixels=picture.pixels.astype(np.float32)), path)
    np.testing.assert_array_equal(read(path).pixels, picture.pixels)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr", ".hdr"])
def test_a_pair_can_be_moved_as_a_pair(volume: Image, suffix: str, tmp_path: Path) -> None:
    write(volume, tmp_path / f"pair{suffix}")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    names = sorted(each.name for each in tmp_path.iterdir() if each.is_file())
    assert len(names) == 2 and all(name.startswith("pair.") for name in names)
    for name in names:
        (tmp_path / name).rename(moved / name)
    np.testing.assert_array_equal(read(moved / f"pair{suffix}").pixels, volume.pixels)


@pytest.mark.parametrize("name", ["image", "image.jpg", "image.gif", "image.nii.zip"])
def test_an_unknown_suffix_is_refused(picture: Image, name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end it with one of \.png"):
        write(picture, tmp_path / name)


def test_a_change_by_another_program_wins_over_our_note(picture: Image, volume: Image, tmp_path: Path) -> None:
    import nibabel

    path = write(volume, tmp_path / "volume.nii")
    opened = nibabel.load(path, mmap=False)
    moved = opened.affine.copy()
    moved[:3, 3] += 5
    opened.set_sform(moved)
    nibabel.Nifti1Image(np.asanyarray(opened.dataobj), moved, opened.header).to_filename(path)
    back = read(path)
    np.testing.assert_allclose(back.affine[:3, 3], volume.affine[:3, 3] + 5, rtol=1e-6)

    import PIL.Image

    path = write(picture, tmp_path / "picture.png")
    with PIL.Image.open(path) as opened_picture:
        smaller = opened_picture.resize((3, 3))
        smaller.save(path, dpi=(1000, 1000))
    assert read(path).spacing == pytest.approx((0.0254, 0.0254), rel=1e-4)


def _matrix(kind: str) -> np.ndarray:
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    if kind == "oblique":
        affine[:3, :3] = Rotation.from_euler("xyz", (20, -10, 35), degrees=True).as_matrix() @ affine[:3, :3]
    if kind == "left-handed":
        affine[0, 0] = -1.0
    affine[:3, 3] = -30, 12, 7
    return affine


@pytest.mark.parametrize("codes", [(1, 1), (0, 0), (2, 0), (0, 1), (4, 2)])
@pytest.mark.parametrize("kind", ["straight", "oblique", "left-handed"])
@pytest.mark.parametrize("unit", ["mm", "unknown", "micron"])
def test_both_forms_of_a_nifti_stay_so_that_every_program_finds_the_same_place(
    kind: str, codes: tuple[int, int], unit: str, tmp_path: Path
) -> None:
    affine = _matrix(kind)
    source = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine)
    shifted = affine.copy()
    shifted[:3, 3] += 5
    source.set_sform(affine, codes[0])
    source.set_qform(shifted, codes[1])
    source.header.set_xyzt_units(unit)
    source.to_filename(tmp_path / "source.nii.gz")
    image = read(tmp_path / "source.nii.gz")
    write(image.with_pixels(image.pixels.astype(np.float32)), tmp_path / "made.nii.gz")
    source, made = nibabel.load(tmp_path / "source.nii.gz"), nibabel.load(tmp_path / "made.nii.gz")
    np.testing.assert_array_equal(made.affine, source.affine)
    for form in ("get_sform", "get_qform"):
        (expected, code), (found, found_code) = getattr(source, form)(coded=True), getattr(made, form)(coded=True)
        assert found_code == code and (expected is None or np.array_equal(found, expected))
    theirs, ours = (SimpleITK.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("source", "made"))
    for what in ("GetOrigin", "GetDirection", "GetSpacing"):
        assert getattr(ours, what)() == getattr(theirs, what)()


def test_on_another_grid_both_forms_of_a_nifti_say_where_it_lies(tmp_path: Path) -> None:
    source = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), _matrix("oblique"))
    source.set_qform(_matrix("straight"), 1)
    source.to_filename(tmp_path / "source.nii")
    image = read(tmp_path / "source.nii")
    moved = replace(image, affine=image.affine + np.eye(4)[:, :1] * ([0, 0, 0, 5.0],))
    write(moved, tmp_path / "moved.nii")
    made = nibabel.load(tmp_path / "moved.nii")
    np.testing.assert_allclose(made.get_sform(), moved.affine, atol=1e-5)
    np.testing.assert_allclose(made.get_qform(), moved.affine, atol=1e-5)
