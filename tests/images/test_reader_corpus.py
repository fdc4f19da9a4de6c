"""Every published file is read or refused in one line, and what is read has the values that others read.

Looked at one by one: what is refused holds no image (plans, reports, outlines, waveforms, tractograms, texts), lacks
its data file, or is broken on purpose.
"""

import gc
import gzip
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pydicom.pixels
import pytest

from transmodal.errors import UserError
from transmodal.images import Image, read, read_geometry

# Hold no image, or (no_meta, MR_truncated, badVR, JPEG2000-embedded-sequence-delimiter) are broken on purpose.
PYDICOM_REFUSED = """
ExplVR_BigEndNoMeta.dcm ExplVR_LitEndNoMeta.dcm JPEG2000-embedded-sequence-delimiter.dcm LICENSE MR_truncated.dcm
README.md README.txt UN_sequence.dcm badVR.dcm empty_charset_LEI.dcm meta_missing_tsyntax.dcm nested_priv_SQ.dcm
no_meta.dcm no_meta_group_length.dcm priv_SQ.dcm reportsi.dcm reportsi_with_empty_number_tags.dcm rtplan.dcm
rtplan_truncated.dcm rtstruct.dcm test-SR.dcm waveform_ecg.dcm
"""
NIBABEL_READ = """
0.dcm 1.dcm anatomical.nii decimal_rescale.dcm example4d+orig.BRIK.gz example4d+orig.HEAD example4d.nii.gz
example_nifti2.nii.gz functional.nii minc1-no-att.mnc minc1_1_scale.mnc minc1_4d.mnc minc2-4d-d.mnc
minc2-no-att.mnc minc2_1_scale.mnc minc2_4d.mnc phantom_EPI_asc_CLEAR_2_1.PAR phantom_EPI_asc_CLEAR_2_1.REC
phantom_varscale.PAR phantom_varscale.REC philips_mprage.dcm.gz reoriented_anat_moved.nii resampled_anat_moved.nii
scaled+tlrc.BRIK scaled+tlrc.HEAD siemens_dwi_0.dcm.gz siemens_dwi_1000.dcm.gz slicethickness_empty_string.dcm
small.mnc someones_anatomy.nii.gz someones_epi.nii.gz standard.nii.gz test.mgz tiny.mnc
"""


def read_or_reason(path: Path) -> Image | str:
    """Return the image or the one line, and check that the header alone gives the same geometry."""
    try:
        image = read(path)
    except UserError as error:
        assert "\n" not in str(error) and path.name.split(".")[0] in str(error)
        return str(error)
    geometry = read_geometry(path)
    assert (geometry.shape, geometry.channels) == (image.shape, image.channels)
    assert geometry.dtype == image.pixels.dtype and image.pixels.dtype.isnative
    assert geometry.has_physical_size == image.has_physical_size
    np.testing.assert_array_equal(geometry.affine, image.affine)
    return image


def test_every_file_is_read_or_refused_in_one_line(real_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table: Counter[tuple[str, str]] = Counter()
    refused: dict[str, set[str]] = {}
    for path in sorted((real_data / "readers").rglob("*")):
        if path.is_file():
            outcome = "refused" if isinstance(read_or_reason(path), str) else "read"
            folder = path.relative_to(real_data / "readers").parts[0]
            table[folder, outcome] += 1
            if outcome == "refused":
                refused.setdefault(folder, set()).add(path.name)
    gc.collect()
    assert capfd.readouterr() == ("", "")
    assert refused["pydicom_test_files"] | refused["pydicom_data"] == set(PYDICOM_REFUSED.split())
    everything = {path.name for path in (real_data / "readers" / "nibabel").iterdir()}
    assert refused["nibabel"] == everything - set(NIBABEL_READ.split())
    assert refused["mr_t1_series"] == {"README.md", "LICENSE"}
    assert table["pydicom_test_files", "read"] + table["pydicom_data", "read"] == 82
    assert table["nibabel", "read"] == 34
    assert table["mr_t1_series", "read"] == 24


def test_the_other_folders_are_read_whole(real_data: Path) -> None:
    folders = ["ct_slices", "ct_head_gantry_tilt", "ct_kernel_pairs", "mouse_photos"]
    paths = [path for folder in folders for path in sorted((real_data / folder).rglob("*")) if path.is_file()]
    reasons = [reason for reason in map(read_or_reason, paths) if isinstance(reason, str)]
    assert len(paths) > 60
    assert all("text file" in reason for reason in reasons), reasons


@pytest.mark.filterwarnings("ignore")  # pydicom's own, in the comparison
@pytest.mark.parametrize("folder", ["pydicom_test_files", "pydicom_data"])
def test_grey_values_equal_pydicoms(real_data: Path, folder: str) -> None:
    compared = 0
    for path in sorted((real_data / "readers" / folder).glob("*.dcm")):
        image = read_or_reason(path)
        if isinstance(image, str):
            continue
        dataset = pydicom.dcmread(path, force=True)
        if dataset.get("PhotometricInterpretation") != "MONOCHROME2" or dataset.get("Modality") == "RTDOSE":
            continue
        if "PerFrameFunctionalGroupsSequence" in dataset:
            continue
        try:
            theirs = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
        except (RuntimeError, AttributeError):
            continue  # a decoder that pydicom lacks here, or no transfer syntax
        mine = image.pixels if image.pixels.ndim == theirs.ndim == 2 else np.moveaxis(image.pixels, -1, 0)
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
        compared += 1
    assert compared >= {"pydicom_test_files": 13, "pydicom_data": 10}[folder]


def test_the_same_slice_in_other_encodings_gives_the_same_values(real_data: Path) -> None:
    folder = real_data / "readers"
    plain = read(folder / "pydicom_test_files" / "MR_small.dcm").pixels
    for name in ("RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"):
        np.testing.assert_array_equal(read(folder / "pydicom_test_files" / f"MR_small_{name}.dcm").pixels, plain)
    enhanced = read(folder / "pydicom_data" / "emri_small.dcm").pixels
    for name in ("RLE", "big_endian", "jpeg_2k_lossless", "jpeg_ls_lossless"):
        np.testing.assert_array_equal(read(folder / "pydicom_data" / f"emri_small_{name}.dcm").pixels, enhanced)
    rgb = read(folder / "pydicom_test_files" / "SC_rgb_rle.dcm").pixels
    np.testing.assert_array_equal(read(folder / "pydicom_test_files" / "SC_rgb_jpeg_gdcm.dcm").pixels, rgb)
    # The lossy twelve-bit JPEG and the plain scan show the same whole-body scan.
    lossy = read(folder / "pydicom_test_files" / "JPGExtended.dcm").pixels.astype(float)
    scan = read(folder / "pydicom_data" / "JPEG2000_UNC.dcm").pixels.astype(float)
    assert np.corrcoef(lossy.ravel(), scan.ravel())[0, 1] > 0.9


def test_scaled_volumes_equal_nibabels(real_data: Path) -> None:
    folder = real_data / "readers" / "nibabel"
    for name in sorted(each for each in NIBABEL_READ.split() if not each.endswith((".dcm", ".dcm.gz", ".REC"))):
        if name.startswith(("minc2", "small")):
            continue  # nibabel wants h5py for these
        image = read(folder / name)
        other = nibabel.load(folder / name)
        np.testing.assert_allclose(image.pixels, other.get_fdata().reshape(image.pixels.shape), rtol=1e-6, atol=1e-12)
        if not name.endswith(".mnc"):
            np.testing.assert_allclose(image.affine, other.affine, atol=1e-6)
        stream = getattr(other.dataobj, "file_like", None)
        if hasattr(stream, "close"):
            stream.close()  # type: ignore[union-attr]


def test_minc_1_and_2_of_one_scan_agree(real_data: Path) -> None:
    folder = real_data / "readers" / "nibabel"
    first, second = read(folder / "minc1_1_scale.mnc"), read(folder / "minc2_1_scale.mnc")
    np.testing.assert_allclose(first.pixels, np.transpose(second.pixels, (2, 1, 0)), rtol=1e-5)
    corners = [np.array([i, j, k, 1.0]) for i in (0, 9) for j in (0, 19) for k in (0, 19)]
    for corner in corners:
        np.testing.assert_allclose(first.affine @ corner, second.affine @ corner[[2, 1, 0, 3]], atol=1e-4)


def test_ct_slices_are_in_hounsfield_units(real_data: Path) -> None:
    for path in sorted((real_data / "ct_slices").rglob("*.dcm"))[::5]:
        image, dataset = read(path), pydicom.dcmread(path)
        assert image.quantity == "HU"
        expected = dataset.pixel_array.astype(np.int64) * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
        np.testing.assert_array_equal(image.pixels, expected)
        assert image.spacing == pytest.approx([float(each) for each in dataset.PixelSpacing])
        x, y, z = (float(each) for each in dataset.ImagePositionPatient)
        np.testing.assert_allclose(image.affine[:3, 3], [-x, -y, z])


def test_monochrome1_is_turned_within_its_stored_bits(real_data: Path) -> None:
    path = real_data / "readers" / "pydicom_data" / "RG3_J2KR.dcm"
    dataset = pydicom.dcmread(path)
    np.testing.assert_array_equal(read(path).pixels, 2**10 - 1 - dataset.pixel_array)


def test_the_t1_series_has_its_geometry(real_data: Path) -> None:
    folder = real_data / "readers" / "mr_t1_series"
    image = read(folder)
    assert image.shape == (384, 274, 24)
    assert image.spacing == pytest.approx((0.66667, 0.69999, 10.66667), abs=1e-4)
    slices = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    for dataset in slices[::7]:
        position = np.array([float(each) for each in dataset.ImagePositionPatient]) * [-1, -1, 1]
        index = np.linalg.inv(image.affine) @ [*position, 1]
        np.testing.assert_allclose(index[:3], [0, 0, round(index[2])], atol=0.01)
        np.testing.assert_array_equal(image.pixels[:, :, round(index[2])], dataset.pixel_array)
    assert read_geometry(folder).shape == image.shape


def test_gantry_tilt_is_refused_and_accepted_on_demand(real_data: Path) -> None:
    folder = real_data / "ct_head_gantry_tilt"
    with pytest.raises(UserError, match=r"gantry tilt of 18\.5°.*transmodal data straighten"):
        read(folder)
    image = read(folder, allow_uneven=True)
    assert image.shape == (512, 512, 14) and image.quantity == "HU"


def test_jpeg_2000_abdomen_has_air_tissue_and_bone(real_data: Path) -> None:
    image = read(real_data / "ct_abdomen" / "example_ct_dicom")
    assert image.shape == (512, 512, 20) and image.pixels.dtype == np.int16
    assert image.spacing == pytest.approx((0.9765625, 0.9765625, 2.0))
    soft = image.pixels[(image.pixels > -150) & (image.pixels < 250)]
    assert image.pixels.min() == -1024 and image.pixels.max() > 1000
    assert -20 < np.median(soft) < 80


def test_several_series_in_a_folder_are_listed(real_data: Path) -> None:
    folder = real_data / "readers" / "nibabel"
    with pytest.raises(UserError, match=r"5 series: .*MPRAGE_S2\); choose one by read\(path, series=UID\)"):
        read(folder)


def test_a_packed_dicom_equals_the_unpacked(real_data: Path, tmp_path: Path) -> None:
    packed = real_data / "readers" / "nibabel" / "siemens_dwi_0.dcm.gz"
    plain = tmp_path / "plain"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    np.testing.assert_array_equal(read(packed).pixels, read(plain).pixels)
