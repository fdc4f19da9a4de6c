"""The nuclear field is put where the points say, and the error in mm is told."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.datasets.fiducials import Fiducials
from transmodal.errors import UserError
from transmodal.fusion.fields import require_overlap
from transmodal.fusion.overlay import OverlaySettings, fuse
from transmodal.fusion.registration import (
    KINDS,
    Registration,
    read_registration,
    register,
    register_by_points,
    scale_from_points,
)
from transmodal.images import Image, picture_affine, write
from transmodal.images.image import Source
from transmodal.images.nuclear import NuclearSeries
from transmodal.images.registration import Transform

_PLACES = np.array([[2.0, 3.0], [35.0, 4.0], [30.0, 17.0], [6.0, 15.0], [18.0, 9.0]])


def turned(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]], [0, 0, 1.0]])


_TRUE = {
    "scale": turned(0.0, 1.03, (0.4, -0.7)),
    "rigid": turned(0.1, 1.0, (0.4, 0.7)),
    "similarity": turned(-0.07, 0.96, (1.4, 0.7)),
    "affine": np.array([[1.02, 0.05, 0.3], [-0.04, 0.97, 0.8], [0, 0, 1.0]]),
}


def table(path: Path, nuclear: np.ndarray, anatomy: np.ndarray, other: str = "xray", subject: str = "") -> Path:
    lines = ["subject,modality,point,x_mm,y_mm"]
    for modality, points in (("nuclear", nuclear), (other, anatomy)):
        lines += [f"{subject},{modality},p{number},{x!r},{y!r}" for number, (x, y) in enumerate(points.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_exact_points_give_the_true_map_and_no_error(
    kind: str, xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    fixed = Transform("affine", _TRUE[kind]).apply(_PLACES)
    found = register(xray, study, table(tmp_path / "points.csv", _PLACES, fixed), kind=kind)
    np.testing.assert_allclose(found.transform.matrix, _TRUE[kind], atol=1e-9)
    assert found.error_mm == pytest.approx(0, abs=1e-9) and found.error_at([20.0, 10.0]) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_at_a_place_is_that_of_repeated_marking(kind: str, xray: Image, study: NuclearSeries) -> None:
    generator = np.random.default_rng(3)
    true = Transform("affine", _TRUE[kind])
    target, errors, said = np.array([33.0, 2.0]), [], []
    for _ in range(400):
        marked = true.apply(_PLACES) + generator.normal(0, 0.2, _PLACES.shape)
        points = {("", "", "nuclear"): {str(n): tuple(p) for n, p in enumerate(_PLACES)}}
        points |= {("", "", "xray"): {str(n): tuple(p) for n, p in enumerate(marked)}}
        found = register_by_points(xray, study, Fiducials(points, True, "points"), kind=kind)
        errors.append(float(np.linalg.norm(found.transform.apply(target) - true.apply(target))))
        said.append(found.error_at(true.apply(target)))
    measured = np.sqrt(np.mean(np.square(errors)))
    assert np.sqrt(np.mean(np.square(np.array(said, float)))) == pytest.approx(measured, rel=0.12)


def test_the_error_is_that_of_points_left_out_and_grows_away_from_them(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    moved = _PLACES + np.array([[0.3, 0], [0, -0.2], [0.1, 0.2], [-0.3, 0], [0, 0.1]])
    found = register(xray, study, table(tmp_path / "p.csv", _PLACES, moved), kind="rigid")
    assert found.left_out_mm is not None and found.residual_mm is not None
    without = register_by_points(
        xray, study, Fiducials.read(table(tmp_path / "q.csv", _PLACES[1:], moved[1:])), kind="rigid"
    )
    expected = np.linalg.norm(without.transform.apply(_PLACES[0]) - moved[0])
    assert found.left_out_mm[0] == pytest.approx(expected)
    assert found.error_mm == pytest.approx(found.left_out_mm.mean()) and found.error_mm > found.residual_mm.mean()
    near, far = found.error_at([18.0, 9.0]), found.error_at([200.0, 9.0])
    assert near is not None and far is not None and 0.05 < near < far
    rows = found.table()
    assert rows[0]["point"] == "p0" and rows[0]["leave_one_out_mm"] == pytest.approx(expected)


def test_pixels_count_from_the_middle_of_the_first(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    lines = ["modality,point,row,column"]
    lines += [f"nuclear,{n},{r},{c}" for n, (r, c) in enumerate([(0, 0), (9, 0), (9, 19)])]
    lines += [f"photo,{n},{r},{c}" for n, (r, c) in enumerate([(1.5, 1.5), (37.5, 1.5), (37.5, 77.5)])]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    found = register(xray, study, tmp_path / "p.csv")
    np.testing.assert_allclose(found.transform.matrix, [[1, 0, 0.75], [0, 1, 0.75], [0, 0, 1]], atol=1e-9)


def test_points_without_any_to_spare_have_no_error(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    found = register(xray, study, table(tmp_path / "p.csv", _PLACES[:2], _PLACES[:2] + 0.5))
    assert found.error_mm is None and found.error_at([1, 1]) is None and "mark more" in found.said[0]


def test_a_registration_comes_back_as_the_calibration_of_a_device(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    moved = _PLACES + np.array([[0.3, 0], [0, -0.2], [0.1, 0.2], [-0.3, 0], [0, 0.1]])
    found = register(xray, study, table(tmp_path / "p.csv", _PLACES, moved))
    back = register(xray, study, found.write(tmp_path / "device.json"))
    np.testing.assert_array_equal(back.transform.matrix, found.transform.matrix)
    assert back.error_mm == found.error_mm and "device.json" in back.how
    plain = register(xray, study, found.transform.write(tmp_path / "transform.json"))
    assert plain.error_mm is None and any("no error" in line for line in plain.said)


def test_two_pictures_of_one_field_lie_edge_on_edge(xray: Image, study: NuclearSeries) -> None:
    found = register(xray, study)
    # The middle of the first 2 mm pixel lies 1 mm from the edge; the first 0.5 mm pixel's lies 0.25 mm from it.
    np.testing.assert_allclose(found.transform.apply([0.0, 0.0]), [0.75, 0.75])
    assert "edge on edge" in found.how and "error is not known" in found.said[0]


def test_images_with_a_place_in_a_world_share_it(xray: Image, study: NuclearSeries) -> None:
    placed = [image.affine.copy() for image in (xray, study)]
    for affine in placed:
        affine[:2, 3] += 3.0, 1.0
    xray = replace(xray, affine=placed[0])
    found = register(xray, replace(study, affine=placed[1]))
    np.testing.assert_allclose(found.transform.matrix, np.eye(3), atol=1e-12)


def test_upright_planes_of_one_world_are_joined_through_it(xray: Image, study: NuclearSeries) -> None:
    def upright(spacing: float, corner: float) -> np.ndarray:
        affine = np.eye(4)
        affine[:3, :3] = np.array([[0, spacing, 0], [0, 0, 1], [-spacing, 0, 0]])  # columns to x, rows down z
        affine[:3, 3] = corner, 0.0, -corner
        return affine

    anatomy = replace(xray, affine=upright(0.5, 10.0))
    found = register(anatomy, replace(study, affine=upright(2.0, 14.0)))
    np.testing.assert_allclose(found.transform.apply([0.0, 0.0]), [4.0, 4.0], atol=1e-12)
    np.testing.assert_allclose(found.transform.apply([2.0, 6.0]), [6.0, 10.0], atol=1e-12)


def test_a_mirrored_camera_is_noticed(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    mirrored = _PLACES * [-1, 1] + [40, 0]
    found = register(xray, study, table(tmp_path / "p.csv", _PLACES, mirrored))
    assert any("mirrored" in line for line in found.said)
    assert not register(xray, study, tmp_path / "p.csv", kind="affine").said


@pytest.mark.parametrize(("shift", "gap"), [((50.0, 0.0), "10 mm"), ((0.0, -27.0), "7 mm"), ((43.0, 24.0), "5 mm")])
def test_fields_that_do_not_overlap_are_refused_with_their_gap(
    shift: tuple[float, float], gap: str, xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    path = Transform("rigid", turned(0, 1, (shift[0] + 0.75, shift[1] + 0.75))).write(tmp_path / "t.json")
    with pytest.raises(UserError, match=rf"lies {gap} outside .* do not overlap"):
        register(xray, study, path)


def test_a_mirrored_field_overlaps(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    path = Transform("affine", np.array([[-1, 0, 39.0], [0, 1, 0.75], [0, 0, 1]])).write(tmp_path / "t.json")
    found = register(xray, study, path)
    assert require_overlap(xray, study, found.transform) == pytest.approx(1.0, abs=0.1)


def test_what_cannot_be_registered_is_refused_in_one_line(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    good = table(tmp_path / "good.csv", _PLACES, _PLACES)
    with pytest.raises(UserError, match=r"1 fiducials do not fix .* at least 2"):
        register(xray, study, table(tmp_path / "one.csv", _PLACES[:1], _PLACES[:1]))
    with pytest.raises(UserError, match=r"2 fiducials do not fix .* at least 3"):
        register(xray, study, table(tmp_path / "two.csv", _PLACES[:2], _PLACES[:2]), kind="affine")
    with pytest.raises(UserError, match=r"no pixel size.*give its pixel size"):
        register(replace(xray, has_physical_size=False), study, good)
    with pytest.raises(UserError, match=r"no pixel size.*pixel_mm in a sidecar"):
        register(xray, replace(study, has_physical_size=False))
    with pytest.raises(UserError, match=r"20×40 mm .* 20×20 mm: that is not one field"):
        register(xray, replace(study, frames=study.frames[:, :, :10]))
    with pytest.raises(UserError, match="no kind 'elastic'"):
        register(xray, study, good, kind="elastic")
    with pytest.raises(UserError, match="no points of 'gamma'"):
        register(xray, study, good, nuclear_name="gamma")
    with pytest.raises(UserError, match="volume"):
        register(Image(np.zeros((4, 4, 4))), study)
    (tmp_path / "no.json").write_text("[1]")
    with pytest.raises(UserError, match="no transform file"):
        register(xray, study, tmp_path / "no.json")
    with pytest.raises(UserError, match="maps volumes"):
        read_registration(Transform.identity(3).write(tmp_path / "volume.json"))
    with pytest.raises(UserError, match="no positive scale"):
        scale_from_points(_PLACES, -_PLACES)


def test_the_case_whose_landmarks_are_meant(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    path = table(tmp_path / "p.csv", _PLACES, _PLACES, subject="m1")
    assert register(xray, study, path).error_mm == pytest.approx(0, abs=1e-9)
    other = table(tmp_path / "q.csv", _PLACES, _PLACES + 1, subject="m2").read_text().splitlines()[1:]
    path.write_text(path.read_text() + "\n".join(other) + "\n")
    with pytest.raises(UserError, match="subjects m1, m2; say whose"):
        register(xray, study, path)
    found = register(xray, study, path, subject="m2")
    np.testing.assert_allclose(found.transform.apply([0, 0]), [1, 1], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-0.4, 0.4),
    st.floats(0.8, 1.25),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.integers(0, 9),
    st.integers(0, 19),
)
def test_a_point_source_lies_at_its_place_in_the_anatomy(
    angle: float, scale: float, right: float, down: float, row: int, column: int
) -> None:
    frames = np.zeros((1, 10, 20), np.uint16)
    frames[0, row, column] = 1000
    study = NuclearSeries(frames, picture_affine((2.0, 2.0)))
    anatomy = Image(np.zeros((70, 90), np.uint16), picture_affine((1.0, 1.0)))
    transform = Transform("similarity", turned(angle, scale, (right + 15, down + 15)))
    place = transform.apply([2.0 * column, 2.0 * row])
    made = fuse(anatomy, study, Registration(transform, "known"), OverlaySettings(threshold=0.5))
    values = np.nan_to_num(made.values)
    # The middle of what is shown, weighted by the values, within half a nuclear pixel of the source's true place.
    rows, columns = np.indices(values.shape)
    found = np.array([(columns * values).sum(), (rows * values).sum()]) / values.sum()
    at_edge = row in (0, 9) or column in (0, 19)  # there the pixel is cut off at its outer half
    assert np.linalg.norm(found - place) < (0.75 if at_edge else 0.5) * 2.0 * scale
    nearest = np.rint(place).astype(int)
    assert (
        values[nearest[1], nearest[0]] == pytest.approx(values.max(), rel=0.6)
        and made.pixels[nearest[1], nearest[0]].any()
    )


def test_a_mistaken_point_is_named(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    wrong = _PLACES + np.array([[0, 0], [0, 0.1], [0, 0], [30.0, 0], [0.1, 0]])
    said = register(xray, study, table(tmp_path / "p.csv", _PLACES, wrong), kind="rigid").said
    assert any("nuclear pixels: the point 'p3' seems mistaken, the others fit to 0." in line for line in said)
    near = _PLACES + np.array([[0, 0], [0, 0.1], [0, 0], [6.0, 0], [0.1, 0]])  # within three pixels of 2 mm
    found = register(xray, study, table(tmp_path / "p.csv", _PLACES, near), kind="rigid")
    assert found.error_mm is not None and 2 < found.error_mm < 6
    assert any("the point 'p3' seems mistaken, the others fit to 0." in line for line in found.said)
    few = register(xray, study, table(tmp_path / "q.csv", _PLACES[[0, 1, 3]], wrong[[0, 1, 3]])).said
    assert any("most of all at the point" in line for line in few)
    near = _PLACES + np.array([[0, 0], [0, 1.0], [0, 0], [1.0, 0], [0.5, 0]])
    assert not register(xray, study, table(tmp_path / "n.csv", _PLACES, near), kind="rigid").said


def test_a_scale_between_two_fields_in_mm_is_doubted(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    larger = table(tmp_path / "p.csv", _PLACES, _PLACES * 1.3)
    found = register(xray, study, larger)
    assert [line for line in found.said if "by 1.3, though both fields are in mm" in line]
    again = register(xray, study, found.write(tmp_path / "r.json"))
    assert any("by 1.3," in line for line in again.said)
    assert not register(xray, study, table(tmp_path / "q.csv", _PLACES, _PLACES * 1.05)).said


def test_the_error_of_a_file_is_doubted_too(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    device = Registration(Transform.identity(2), "known", error_mm=22.4).write(tmp_path / "device.json")
    found = register(xray, study, device)
    assert found.error_text() == "22 mm" and "off, 11 nuclear pixels, as its file says" in found.said[0]


def test_an_error_is_told_in_pixels_as_large_as_they_lie_in_the_anatomy(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    small = Registration(Transform("similarity", turned(0, 0.05, (10, 5))), "known", error_mm=1.3)
    said = register(xray, study, small.write(tmp_path / "device.json")).said
    assert "the registration is 1.3 mm off, 13 nuclear pixels, as its file says" in said[-1]
    large = Registration(Transform("similarity", turned(0.2, 4.0, (10, 5))), "known", error_mm=7.0)
    assert not [line for line in register(xray, study, large.write(tmp_path / "device.json")).said if "off" in line]


def test_a_point_that_is_marked_in_one_image_only_is_named(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    path = table(tmp_path / "p.csv", _PLACES, _PLACES)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith((",nuclear,p3", ",xray,p0"))))
    found = register(xray, study, path)
    assert found.said == ("p0 is marked in nuclear only: left out", "p3 is marked in xray only: left out")
    assert found.names == ("p1", "p2", "p4")


def test_a_refusal_of_the_place_says_what_is_doubted_of_the_registration(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    wrong = _PLACES + np.array([[0, 0], [0, 0], [0, 0], [1500.0, 0], [0, 0]])
    with pytest.raises(UserError, match=r"do not overlap; .* Of the registration: .* 'p3' seems mistaken"):
        register(xray, study, table(tmp_path / "p.csv", _PLACES, wrong), kind="rigid")


def test_pixel_sizes_that_make_one_field_much_larger_are_said(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    doubled = replace(study, affine=picture_affine((4.0, 4.0)))
    found = register(xray, doubled, Transform("rigid", np.eye(3)).write(tmp_path / "t.json"))
    line = (
        "of the nuclear field lie in an image in memory: the nuclear field is 40×80 mm beside an anatomy of 20×40 mm;"
    )
    assert line in found.said[-1] and "pixel_mm" in found.said[-1]
    assert len([each for each in fuse(xray, doubled, found).said if "nuclear field lie in" in each]) == 1
    shifted = Transform("rigid", turned(0, 1, (30.0, 0.75))).write(tmp_path / "s.json")
    assert register(xray, study, shifted).said[-1].endswith("of the nuclear field lie in an image in memory")


@pytest.mark.parametrize("activity", ["a.png", "."])
def test_one_file_is_not_anatomy_and_activity(activity: str, xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    write(xray, tmp_path / "a.png")
    anatomy = replace(xray, source=Source(tmp_path / "a.png"))
    with pytest.raises(UserError, match=r"a\.png is given as the anatomy and as the activity"):
        register(anatomy, replace(study, source=Source(tmp_path / activity)))


def test_modalities_are_found_in_capitals_and_the_wanted_name_is_said(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    path = table(tmp_path / "p.csv", _PLACES, _PLACES, other="XRay")
    path.write_text(path.read_text().replace("nuclear", "Nuclear"))
    assert len(register(xray, study, path, anatomy_name="xray").names) == len(_PLACES)
    assert len(register(xray, study, path).names) == len(_PLACES)
    path.write_text(path.read_text().replace("Nuclear", "NM"))
    with pytest.raises(UserError, match=r"it has NM, XRay\); write nuclear in the column modality"):
        register(xray, study, path)
    with pytest.raises(UserError, match="--spacing"):
        register(replace(xray, has_physical_size=False), study, path)


def test_errors_have_no_more_digits_than_they_are_good_for() -> None:
    texts = {0.0: "< 0.01 mm", 2.8e-14: "< 0.01 mm", 0.034: "0.034 mm", 1.26: "1.3 mm", 122.0: "122 mm"}
    for error, text in texts.items():
        assert Registration(Transform.identity(2), "known", error_mm=error).error_text() == text
    assert Registration(Transform.identity(2), "known").error_text() == "not known"


@pytest.mark.parametrize(
    "error", ["-5", "-0.001", "NaN", "Infinity", "-Infinity", "1" * 400, "1e300", "true", '"1.3"', "[1]"]
)
def test_an_error_that_cannot_be_is_refused_with_its_file(
    xray: Image, study: NuclearSeries, tmp_path: Path, error: str
) -> None:
    path = Registration(Transform.identity(2), "known", error_mm=1.25).write(tmp_path / "device.json")
    path.write_text(path.read_text().replace("1.25", error))
    with pytest.raises(UserError, match=r"device\.json: error_mm is .*; write mm from 0 on, or null") as refused:
        register(xray, study, path)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(("error", "expected"), [("null", None), ("0", 0.0), ("1.25", 1.25)])
def test_an_error_from_0_on_or_none_is_taken(tmp_path: Path, error: str, expected: float | None) -> None:
    path = Registration(Transform.identity(2), "known", error_mm=7.0).write(tmp_path / "device.json")
    path.write_text(path.read_text().replace("7.0", error))
    assert read_registration(path).error_mm == expected


def test_a_place_of_400_digits_is_no_traceback(tmp_path: Path) -> None:
    path = Registration(Transform.identity(2), "known").write(tmp_path / "device.json")
    content = json.loads(path.read_text())
    content["transform"]["matrix"][0][2] = 10**400
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"device\.json is no transform file .*finite"):
        read_registration(path)


@pytest.mark.parametrize("error", [float("nan"), float("inf"), -1.0])
def test_no_registration_has_such_an_error(error: float) -> None:
    with pytest.raises(ValueError, match="from 0 on"):
        Registration(Transform.identity(2), "known", error_mm=error)


def test_what_is_not_known_is_written_as_null(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    found = register(xray, study, table(tmp_path / "p.csv", _PLACES[:2], _PLACES[:2] + 0.5))
    unknown = replace(found, residual_mm=np.array([np.nan, np.inf]))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for each in (found, unknown):
        said = json.loads(each.to_json(), parse_constant=refuse)
        assert said["error_mm"] is None and said["points"][0]["leave_one_out_mm"] is None
    assert said["points"][0]["residual_mm"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_points_outside_of_any_field_are_refused(kind: str, xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    far = _PLACES * 1e200
    with pytest.raises(UserError, match=r"p\.csv has a point at 3\.5e\+201 mm, outside of any field"):
        register(xray, study, table(tmp_path / "p.csv", far, far), kind=kind)


def in_pixels(path: Path, nuclear: np.ndarray, anatomy: np.ndarray) -> Path:
    """Write rows and columns of points that are given in mm, as (x, y)."""
    lines = ["modality,point,row,column"]
    for modality, points, pixel in (("nuclear", nuclear, 2.0), ("xray", anatomy, 0.5)):
        lines += [f"{modality},p{number},{y / pixel!r},{x / pixel!r}" for number, (x, y) in enumerate(points.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path


_WIDE = np.array([[2.0, 3.0], [35.0, 4.0], [30.0, 17.0], [26.0, 15.0], [18.0, 9.0]])


@pytest.mark.parametrize(("write_points", "columns"), [(table, "x_mm and y_mm"), (in_pixels, "row and column")])
def test_columns_that_are_exchanged_in_both_images_are_refused(
    write_points: Callable[[Path, np.ndarray, np.ndarray], Path],
    columns: str,
    xray: Image,
    study: NuclearSeries,
    tmp_path: Path,
) -> None:
    fixed = _WIDE + 0.5
    assert not register(xray, study, write_points(tmp_path / "right.csv", _WIDE, fixed)).said
    wrong = write_points(tmp_path / "p.csv", _WIDE[:, ::-1], fixed[:, ::-1])
    with pytest.raises(UserError, match=rf"{columns} look exchanged in .*p\.csv; exchange them"):
        register(xray, study, wrong)


@pytest.mark.parametrize(("write_points", "columns"), [(table, "x_mm and y_mm"), (in_pixels, "row and column")])
@pytest.mark.parametrize("kind", ["similarity", "affine", "scale"])
def test_columns_that_are_exchanged_in_one_image_are_said(
    kind: str,
    write_points: Callable[[Path, np.ndarray, np.ndarray], Path],
    columns: str,
    xray: Image,
    study: NuclearSeries,
    tmp_path: Path,
) -> None:
    path = write_points(tmp_path / "p.csv", _WIDE[:, ::-1], _WIDE)
    said = f"lie outside an image in memory; their {columns} look exchanged in {path}"
    steep = write_points(tmp_path / "q.csv", _WIDE[:, ::-1], 20.0 - _WIDE / 3)
    if kind == "scale":  # no positive scale fits at all
        with pytest.raises(UserError, match=rf"no positive scale .* Of the registration: .* {columns} look exchanged"):
            register(xray, study, steep, kind=kind)
        return
    assert len([line for line in register(xray, study, path, kind=kind).said if said in line]) == 1


def test_fiducials_beside_the_fields_stay_a_note(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    beside = np.array([[-5.0, 3.0], [45.0, 4.0], [30.0, 25.0], [6.0, 15.0], [18.0, -4.0]])
    said = register(xray, study, table(tmp_path / "p.csv", beside, beside)).said
    assert len(said) == 2 and all("p0, p1, p2, p4 lie outside" in line and "right unit" in line for line in said)
    few = np.array([[2.0, 22.0], [18.0, 4.0], [17.0, 12.0], [6.0, 15.0], [18.0, 9.0]])  # one of five
    said = register(xray, study, table(tmp_path / "q.csv", few, few)).said
    assert len(said) == 2 and not any("exchanged" in line for line in said)


def in_field(nuclear: np.ndarray, anatomy: np.ndarray, folder: Path) -> Registration:
    """Register two fields of 100×50 mm by points."""
    image = Image(np.zeros((100, 200), np.uint16), picture_affine((0.5, 0.5)))
    activity = NuclearSeries(np.ones((1, 25, 50), np.uint16), picture_affine((2.0, 2.0)))
    return register(image, activity, table(folder / "p.csv", nuclear, anatomy))


_BELOW = np.array([[10.0, 53.0], [40.0, 53.0], [30.0, 20.0], [20.0, 10.0]])  # inside once x and y change places


def test_points_just_outside_both_fields_are_said_to_look_exchanged_not_refused(tmp_path: Path) -> None:
    found = in_field(_BELOW, _BELOW, tmp_path)
    lines = [line for line in found.said if "p0, p1 lie outside" in line and "x_mm and y_mm look exchanged" in line]
    assert len(lines) == 2 and found.error_mm == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("nuclear", "anatomy", "is_refused"),
    [  # mm of the two points farther down; the nuclear field ends at 49 mm, the anatomy at 49.75 mm
        (2.0, 2.0, True),
        (0.9, 1.8, False),
        (1.1, 1.7, False),
        (1.1, 1.8, True),
        (9.0, 0.0, False),
        (0.0, 9.0, False),
        (9.0, 9.0, True),
    ],
)
def test_only_points_clearly_outside_both_fields_are_refused(
    nuclear: float, anatomy: float, is_refused: bool, tmp_path: Path
) -> None:
    down = np.array([[0, 1.0], [0, 1.0], [0, 0], [0, 0]])
    moving, fixed = _BELOW + nuclear * down, _BELOW + anatomy * down
    if is_refused:
        with pytest.raises(UserError, match=r"x_mm and y_mm look exchanged in .*p\.csv; exchange them"):
            in_field(moving, fixed, tmp_path)
        return
    assert len([line for line in in_field(moving, fixed, tmp_path).said if "look exchanged" in line]) == 2


def test_exchanged_columns_of_two_points_are_said_and_of_three_refused(tmp_path: Path) -> None:
    far = np.array([[10.0, 80.0], [40.0, 70.0], [30.0, 20.0]])
    assert len([line for line in in_field(far[:2], far[:2], tmp_path).said if "look exchanged" in line]) == 2
    with pytest.raises(UserError, match="exchange them"):
        in_field(far, far, tmp_path)
    less = np.array([[10.0, 80.0], [40.0, 52.0], [25.0, 52.0], [30.0, 20.0]])  # three of four outside, one clearly
    assert len([line for line in in_field(less, less, tmp_path).said if "look exchanged" in line]) == 2
