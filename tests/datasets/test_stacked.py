"""Patches stacked in HDF5 and .npz: read as they were written, unpacked by subject, and refused in words."""

import struct
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from transmodal.cli.application import application
from transmodal.datasets.hdf5 import read_arrays
from transmodal.datasets.manifest import Manifest
from transmodal.datasets.stacked import Stack, unpack
from transmodal.errors import UserError
from transmodal.images import read


def write_hdf5(path: Path, arrays: dict[str, np.ndarray], *, layout: int = 1) -> None:
    """Write arrays in one piece, byte by byte as the format's specification says (superblock 0)."""
    names = b"\0" * 8 + b"".join(name.encode() + b"\0" * (8 - len(name) % 8) for name in arrays)
    tree, heap, leaf = 96, 96 + 544, 96 + 544 + 32
    text = leaf + 8 + 40 * len(arrays)
    at, headers, places = text + len(names), [], []
    for array in arrays.values():
        kind = 1 if array.dtype.kind == "f" else 0
        bits = (0x20, 63, 0) if kind else (8 * (array.dtype.kind == "i"), 0, 0)
        space = struct.pack("<BBBB4x", 1, array.ndim, 0, 0) + struct.pack(f"<{array.ndim}Q", *array.shape)
        datatype = struct.pack("<BBBBI8x", 0x10 | kind, *bits, array.dtype.itemsize)
        body = b""
        for number, message in ((1, space), (3, datatype)):
            body += struct.pack("<HHB3x", number, len(message), 0) + message
        body += struct.pack("<HHB3x", 8, 24, 0) + struct.pack("<BBQQ6x", 3, layout, 0, array.nbytes)
        headers.append(struct.pack("<BxHII4x", 1, 3, 1, len(body)) + body)
        places.append(at)
        at += len(headers[-1])
    entries, offset = b"", 8
    for name, place in zip(arrays, places, strict=True):
        entries += struct.pack("<QQII16x", offset, place, 0, 0)
        offset += len(name) + 8 - len(name) % 8
    data = []
    for number, array in enumerate(arrays.values()):
        headers[number] = headers[number][:-22] + struct.pack("<QQ6x", at, array.nbytes)
        data.append(array.tobytes())
        at += array.nbytes
    top = b"\x89HDF\r\n\x1a\n" + struct.pack("<BBBBBBBBHHI", 0, 0, 0, 0, 0, 8, 8, 0, 4, 16, 0)
    top += struct.pack("<QQQQ", 0, 2**64 - 1, at, 2**64 - 1) + struct.pack("<QQIIQQ", 0, 0, 1, 0, tree, heap)
    nodes = b"TREE" + struct.pack("<BBHQQQQQ", 0, 0, 1, 2**64 - 1, 2**64 - 1, 0, leaf, 8)
    blocks = top.ljust(tree, b"\0") + nodes.ljust(544, b"\0")
    blocks += b"HEAP" + struct.pack("<B3xQQQ", 0, len(names), 0, text)
    blocks += b"SNOD" + struct.pack("<BxH", 1, len(arrays)) + entries + names
    path.write_bytes(blocks + b"".join(headers) + b"".join(data))


def patches() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.zeros((6, 1, 8, 10))
    labels[:, :, 2:4, 3:6] = 1
    labels[2] = 0
    return {"images": generator.random((6, 1, 8, 10)).astype(np.float32), "labels": labels}


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    arrays = patches() | {"counts": np.arange(5, dtype=np.int16) - 2, "bytes": np.arange(3, dtype=np.uint8)}
    write_hdf5(tmp_path / "a.h5", arrays)
    found = read_arrays(tmp_path / "a.h5")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and not found[name].flags.writeable


def test_patches_become_images_of_subjects(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", patches())
    manifest = unpack(Stack(tmp_path / "a.h5", spacing=(2, 3), per_subject=3), tmp_path / "out")
    cases = Manifest.read(manifest).cases()
    assert [case.id for case in cases[:4]] == ["s0001_p01", "s0001_p02", "s0001_p03", "s0002_p01"]
    image, labels = (read(cases[1].files[name]) for name in ("ct", "seg"))
    np.testing.assert_array_equal(image.pixels, patches()["images"][1, 0])
    np.testing.assert_array_equal(labels.pixels, patches()["labels"][1, 0])
    assert image.spacing == pytest.approx((2, 3)) and labels.quantity == "label" and labels.pixels.dtype == np.uint8
    assert [case.factors["label_mm2"] for case in cases[:3]] == ["36", "36", "0"]


def test_subjects_of_two_files_can_be_told_apart(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", patches())
    for words in ((), ("--prefix", "val-")):
        command = ["data", "unpack", str(tmp_path / "a.h5"), "-o", str(tmp_path / f"out{len(words)}"), *words]
        assert CliRunner().invoke(application, command).exit_code == 0
    ours, theirs = (Manifest.read(tmp_path / f"out{number}" / "manifest.csv") for number in (0, 2))
    assert theirs.subjects[:2] == ["val-0001", "val-0002"] and not set(ours.subjects) & set(theirs.subjects)
    assert theirs.cases()[0].files["ct"].name == "val-0001_ct.nii.gz"


def test_numpy_archives_do_as_well(tmp_path: Path) -> None:
    arrays = {name: array[:, 0] for name, array in patches().items()}
    np.savez(tmp_path / "a.npz", **arrays)
    unpack(Stack(tmp_path / "a.npz"), tmp_path / "out")
    assert len({case.subject for case in Manifest.read(tmp_path / "out" / "manifest.csv").cases()}) == 6


def test_the_command_says_whose_patches_are(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", patches())
    command = ["data", "unpack", str(tmp_path / "a.h5"), "-o", str(tmp_path / "out"), "--spacing", "2", "2"]
    result = CliRunner().invoke(application, command)
    assert result.exit_code == 0 and "6 images of 6 subjects" in result.output and "--per-subject" in result.output


def test_what_cannot_be_unpacked_is_refused_in_words(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", patches())
    write_hdf5(tmp_path / "chunks.h5", patches(), layout=2)
    write_hdf5(tmp_path / "odd.h5", patches() | {"labels": patches()["labels"] + 0.5})
    whole = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "new.h5").write_bytes(whole[:8] + b"\3" + whole[9:])
    for file, more, reason in (
        ("a.h5", {"images": "image"}, "no array 'image'; .* did you mean 'images'"),
        ("a.h5", {"per_subject": 4}, "cannot be divided into 4 a subject"),
        ("a.h5", {"prefix": "../s"}, "prefix '../s' cannot be part of a file name"),
        ("chunks.h5", {}, "compressed or in chunks; write it again in one piece"),
        ("odd.h5", {}, "are no labels: they must be whole numbers"),
        ("half.h5", {}, "is not all there; copy it again"),
        ("text.h5", {}, "is no HDF5 file"),
        ("new.h5", {}, "another form .superblock 3."),
        ("none.h5", {}, "Cannot read .*none.h5"),
    ):
        with pytest.raises(UserError, match=reason):
            unpack(Stack(tmp_path / file, **more), tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_damage_anywhere_is_told_in_one_line(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", patches())
    whole = (tmp_path / "a.h5").read_bytes()
    generator = np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, 1200, 4):
            damaged[place] = int(generator.integers(256))
        file = tmp_path / f"{number}.h5"
        file.write_bytes(damaged)
        try:
            read_arrays(file)
        except UserError as error:
            assert "\n" not in str(error)


def test_real_lung_tumours_are_130_patches_of_13_people(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "ct_lung_tumour" / "val_patches.h5"
    arrays = read_arrays(file)
    assert arrays["images"].shape == arrays["labels"].shape == (130, 1, 48, 48)
    assert arrays["images"].min() >= 0 and arrays["images"].max() <= 1 and set(np.unique(arrays["labels"])) == {0, 1}
    manifest = Manifest.read(unpack(Stack(file, spacing=(2, 2), per_subject=10), tmp_path / "lung"))
    assert len({case.subject for case in manifest.cases()}) == 13
