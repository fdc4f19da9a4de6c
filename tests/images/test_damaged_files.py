"""A damaged file gives one line or an image, never anything else."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.images import Image, is_image_file, read, read_geometry, write

SUFFIXES = [".png", ".tif", ".nii", ".nii.gz", ".hdr", ".mha", ".mhd", ".nrrd", ".npy", ".dcm"]
CUTS, FLIPS = 40, 60


def one_line_or_an_image(path: Path) -> bool:
    """Return True when the file was read; let anything but a UserError of one line fail the test."""
    try:
        read(path)
        return True
    except UserError as error:
        assert "\n" not in str(error) and path.stem in str(error) and ";" in str(error)
        return False
    finally:
        try:
            read_geometry(path)
        except UserError as error:
            assert "\n" not in str(error)


@pytest.fixture(params=SUFFIXES)
def written(request: pytest.FixtureRequest, tmp_path: Path, picture: Image, volume: Image) -> Path:
    suffix: str = request.param
    return write(volume if suffix in (".nii", ".hdr", ".mhd", ".nrrd") else picture, tmp_path / f"image{suffix}")


def test_every_cut_is_noticed(written: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = written.read_bytes()
    # A header of a pair ends with our note or padding: what is cut there, only geometry shows.
    must_refuse = written.suffix not in (".hdr", ".mhd")
    for end in np.linspace(0, len(data) - 1, CUTS).astype(int):
        written.write_bytes(data[:end])
        was_read = one_line_or_an_image(written)
        assert not (was_read and must_refuse), f"{end} of {len(data)} bytes were read as an image"
    assert capfd.readouterr() == ("", "")


def test_flipped_bits_do_no_harm(written: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = written.read_bytes()
    generator = np.random.default_rng(7)
    for place, bit in zip(generator.integers(0, len(data), FLIPS), generator.integers(0, 8, FLIPS), strict=True):
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        written.write_bytes(bytes(flipped))
        one_line_or_an_image(written)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_png_is_never_read_as_an_image(picture: Image, tmp_path: Path) -> None:
    path = write(picture, tmp_path / "picture.png")
    data = path.read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 16
        path.write_bytes(bytes(flipped))
        assert not one_line_or_an_image(path)


def test_missing_and_empty_files_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot find .*nowhere\.png"):
        read(tmp_path / "nowhere.png")
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(UserError, match=r"empty \(0 bytes\)"):
        read(empty)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(UserError, match="folder without DICOM"):
        read(folder)
    with pytest.raises(UserError, match="no path"):
        read("name\0with zero")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="link"):
        read(tmp_path / "broken")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"Dear colleague,\nplease find attached\n", "text file"),
        (b"PK\x03\x04" + bytes(60), "ZIP"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "HDF5"),
        (b"%PDF-1.7 " + bytes(60), "PDF"),
        (b"\x80\x04\x95" + bytes(60), "pickle"),
        (b"\x1f\x8b" + bytes(60), "compressed"),
        (bytes(600), "no image in a known format"),
        (np.random.default_rng(0).bytes(600), "no image in a known format"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with pytest.raises(UserError, match=says):
        read(path)
    assert not is_image_file(path)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_wrong_stream_under_right_check_sums_is_refused_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "colour.png"
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0))
    for stream in (b"no stream", zlib.compress(bytes(60)), zlib.compress(b"\x09" * 2420)):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", stream) + png_chunk(b"IEND", b""))
        with pytest.raises(UserError, match="cannot be decoded"):
            read(path)
    assert capfd.readouterr() == ("", "")


def test_places_that_cannot_be_written_are_named(picture: Image, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / ("a" * 300 + ".png"), tmp_path / "file" / "a.png", tmp_path / "file" / "a.nii.gz"):
        with pytest.raises(UserError, match="Cannot"):
            write(picture, path)


def test_headers_that_claim_too_much_allocate_nothing(volume: Image, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 10**6, 10**6, 16, 6, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b"")
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(UserError, match="1000000×1000000"):
        read(bomb)

    array = write(volume, tmp_path / "bomb.npy")
    array.write_bytes(array.read_bytes().replace(b"(5, 4, 3), }     ", b"(5, 4, 3000000), }"[:17]))
    with pytest.raises(UserError):
        read(array)

    nifti = write(volume, tmp_path / "bomb.nii")
    data = bytearray(nifti.read_bytes())
    data[42:48] = struct.pack("<3h", 30000, 30000, 30000)
    nifti.write_bytes(bytes(data))
    with pytest.raises(UserError, match="30000×30000×30000"):
        read(nifti)

    text = write(volume, tmp_path / "bomb.mha").read_bytes().replace(b"DimSize = 5 4 3", b"DimSize = 99999 99999 99")
    (tmp_path / "bomb.mha").write_bytes(text)
    with pytest.raises(UserError, match="99999×99999×99"):
        read(tmp_path / "bomb.mha")


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize("elsewhere", ["../secret.raw", "/etc/hostname"])
def test_a_header_cannot_point_outside_its_folder(volume: Image, suffix: str, elsewhere: str, tmp_path: Path) -> None:
    path = write(volume, tmp_path / f"image{suffix}")
    path.write_bytes(path.read_bytes().replace(b"image.raw", elsewhere.encode()))
    with pytest.raises(UserError, match="outside its folder"):
        read(path)


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "objects.npy"
    np.save(path, np.array([[{"a": 1}, None]], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not plain numbers"):
        read(path)


def test_a_foreign_sidecar_is_refused(volume: Image, tmp_path: Path) -> None:
    path = write(volume, tmp_path / "array.npy")
    np.save(path, np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"array\.npy\.json does not describe array\.npy"):
        read(path)
