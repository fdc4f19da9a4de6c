"""What a file name says: its stem."""

from pathlib import Path

import pytest

from transmodal.images.formats import stem_of


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.png", "a"), ("a.b.png", "a.b"), ("a.1.png", "a.1"), ("T1.nii.gz", "T1"), ("A.NII.GZ", "A"),
        ("a.ome.tif", "a"), ("a.ome.tiff", "a"), ("mouse.head.png", "mouse.head"), ("m_2.5mm.nii", "m_2.5mm"),
        ("scan.brik.gz", "scan"), ("scan.gz", "scan"), ("scan", "scan"), ("IM0001", "IM0001"),
        ("1.2.840.10008", "1.2.840.10008"), ("1.2.840.10008.dcm", "1.2.840.10008"),
    ],
)  # fmt: skip
def test_stems_lose_only_the_image_suffix(name: str, stem: str) -> None:
    assert stem_of(name) == stem == stem_of(Path("folder.d") / name)
