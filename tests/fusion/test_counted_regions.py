"""Regions: exact areas whatever the map between the grids, files come back as written, bad outlines refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.errors import UserError
from transmodal.fusion.areas import cover, crosses_itself, edges_of_mask, edges_of_polygon, signed_area
from transmodal.fusion.biodistribution import follow
from transmodal.fusion.region_files import (
    LabelNames,
    Polygon,
    Polygons,
    read_label_names,
    read_polygons,
    write_polygons,
)
from transmodal.fusion.region_sources import RegionSources, find_regions
from transmodal.fusion.regions import Regions, region_above, regions_from_labels, regions_from_polygons
from transmodal.fusion.registration import Registration
from transmodal.fusion.units import Attenuation
from transmodal.images import Image, picture_affine
from transmodal.images.nuclear import NuclearSeries
from transmodal.images.transform import Transform

ANATOMY = Image(np.zeros((100, 200), np.uint8), picture_affine((0.25, 0.25)))
"""25 × 50 mm."""


def series(frames: np.ndarray | None = None, pixel: float = 1.0) -> NuclearSeries:
    frames = np.ones((1, 25, 50)) if frames is None else frames
    return NuclearSeries(frames, picture_affine((pixel, pixel)))


def square(name: str = "tumour", x: float = 10.0, y: float = 8.0, side: float = 5.0) -> Polygon:
    return Polygon(name, np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.5, 3.0), st.floats(0.05, 1.0)), min_size=3, max_size=9),
    st.floats(4.0, 8.0),
    st.floats(4.0, 8.0),
)
def test_weights_of_a_polygon_add_up_to_its_area(spokes: list[tuple[float, float]], x: float, y: float) -> None:
    angles = np.cumsum([share for _, share in spokes])
    angles = angles / angles[-1] * 2 * math.pi
    radii = np.array([radius for radius, _ in spokes])
    points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], -1)
    edges = edges_of_polygon(points)
    if abs(signed_area(edges)) < 1e-6 or crosses_itself(points):
        return
    covered = cover(edges, (12, 12))
    assert covered.sum() == pytest.approx(abs(signed_area(edges)), abs=1e-9)
    assert covered.min() >= 0 and covered.max() <= 1


def test_a_cell_is_covered_as_many_samples_say() -> None:
    points = np.array([[1.3, 0.4], [4.7, 1.1], [3.9, 4.6], [2.8, 2.2], [0.6, 3.7]])
    (x0, y0), (x1, y1) = edges_of_polygon(points).transpose(1, 2, 0)
    y, x = (np.mgrid[:200, :200] + 0.5) / 40
    with np.errstate(divide="ignore"):
        crossings = ((y0 > y[..., None]) != (y1 > y[..., None])) & (
            x[..., None] < x0 + (y[..., None] - y0) * (x1 - x0) / (y1 - y0)
        )
    sampled = (crossings.sum(-1) % 2).reshape(5, 40, 5, 40).mean(axis=(1, 3))
    np.testing.assert_allclose(cover(edges_of_polygon(points), (5, 5)), sampled, atol=1e-2)


def test_a_mask_with_a_hole_covers_itself_and_keeps_its_area_when_turned() -> None:
    mask = np.zeros((12, 14), bool)
    mask[2:9, 3:12], mask[4:6, 5:8] = True, False
    edges = edges_of_mask(mask)
    np.testing.assert_array_equal(cover(edges, mask.shape), mask)
    turned = edges @ np.array([[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]]) + [12.0, 20.0]
    assert cover(turned, (60, 60)).sum() == pytest.approx(mask.sum(), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.6, 0.6), st.floats(0.7, 1.3), st.floats(-3, 3), st.floats(-3, 3), st.booleans())
def test_area_is_kept_under_transforms(angle: float, scale: float, dx: float, dy: float, mirrored: bool) -> None:
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    if mirrored:
        matrix[:2, 0] *= -1
    # The middle of the nuclear field goes to the middle of the anatomy, and a little beyond.
    matrix[:2, 2] = np.array([25.0 + dx, 12.0 + dy]) - matrix[:2, :2] @ [24.5, 12.0]
    drawn = regions_from_polygons(Polygons((square(x=22.5, y=9.5),)), ANATOMY)
    weights = drawn.weights_on(series(), Transform("affine", matrix))
    assert weights.sum() * scale**2 == pytest.approx(25.0, rel=1e-6)


def test_a_homography_takes_the_outline_with_it() -> None:
    matrix = np.array([[1.0, 0.02, 0.5], [0.01, 1.0, -0.3], [0.004, 0.002, 1.0]])
    transform = Transform("homography", matrix)
    drawn = regions_from_polygons(Polygons((square(),)), ANATOMY)
    corners = transform.inverse().apply(square().points)
    weights = drawn.weights_on(series(), transform)
    assert weights.sum() == pytest.approx(abs(signed_area(edges_of_polygon(corners))), rel=1e-9)
    rows, columns = np.mgrid[:25, :50]
    middle = [float((weights[0] * along).sum() / weights.sum()) for along in (columns, rows)]
    np.testing.assert_allclose(middle, corners.mean(0), atol=0.05)


def test_labels_and_the_same_polygon_count_alike(tmp_path: Path) -> None:
    labels = np.zeros(ANATOMY.shape, np.uint8)
    labels[32:52, 40:60] = 2
    (tmp_path / "organs.json").write_text(json.dumps({"0": {"name": "background"}, "2": {"name": "lungs", "colour": "#7fc8f8"}, "3": {"name": "heart"}}))  # fmt: skip  # noqa: E501
    by_label = regions_from_labels(
        ANATOMY.with_pixels(labels, quantity="label"), read_label_names(tmp_path / "organs.json")
    )
    corners = np.array([[39.5, 31.5], [59.5, 31.5], [59.5, 51.5], [39.5, 51.5]])
    drawn = regions_from_polygons(Polygons((Polygon("lungs", corners),), "pixels"), ANATOMY)
    np.testing.assert_allclose(by_label.weights_on(series()), drawn.weights_on(series()), atol=1e-9)
    np.testing.assert_array_equal(by_label.masks, drawn.masks)
    assert by_label.names == ("lungs",) and by_label.colours == ("#7fc8f8",)
    assert by_label.said == ("heart: no pixels in the label map; left out.",)


def test_the_names_of_a_translated_label_map_are_read(tmp_path: Path) -> None:
    legend = [{"value": 0, "name": "background", "colour": None}, {"value": 2, "name": "liver", "colour": "#112233"}]
    (tmp_path / "sidecar.json").write_text(json.dumps({"model": "x", "labels": legend}))
    names = read_label_names(tmp_path / "sidecar.json")
    assert names.names == {2: "liver"} and names.colours == {"liver": "#112233"}


def test_polygons_come_back_as_written(tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "regions.json", [square(), Polygon("muscle", square().points + 20, "background")])
    read = read_polygons(path)
    assert read.unit == "mm" and [each.role for each in read.polygons] == ["", "background"]
    np.testing.assert_array_equal(read.polygons[0].points, square().points)


@pytest.mark.parametrize(
    ("written", "unit"), [("px", "pixels"), ("pixel", "pixels"), ("Pixels", "pixels"), ("mm", "mm"), ("MM", "mm")]
)
def test_units_are_taken_as_people_write_them(written: str, unit: str, tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "regions.json", [square()])
    path.write_text(path.read_text().replace('"mm"', f'"{written}"'))
    assert read_polygons(path).unit == unit
    path.write_text(path.read_text().replace(f'"{written}"', '"cm"'))
    with pytest.raises(UserError, match=r"mm or pixels \(px\), not 'cm'"):
        read_polygons(path)


def test_a_threshold_takes_the_piece_at_a_point() -> None:
    frames = np.zeros((2, 25, 50))
    frames[:, 5:8, 5:9], frames[:, 15:17, 30:33] = 100.0, 60.0
    hot = region_above(series(frames), ANATOMY, share=0.4)
    assert hot.weights_on(series(frames)).sum() == pytest.approx(12.0)
    other = region_above(series(frames), ANATOMY, share=0.4, at=(31.0, 15.0), name="second")
    np.testing.assert_allclose(other.weights_on(series(frames))[0], frames[0] == 60.0, atol=1e-9)
    both = hot.joined(other)
    assert both.names == ("above threshold", "second") and len(set(both.colours)) == 2
    assert hot.colours == other.colours == both.colours[:1]
    with pytest.raises(UserError, match="is not above 40 % of the maximum"):
        region_above(series(frames), ANATOMY, at=(45.0, 3.0))


def test_what_lies_outside_is_said_or_refused() -> None:
    half = regions_from_polygons(Polygons((square(x=-0.5 - 2.5),)), ANATOMY).on(series())
    assert half.shares[0] == pytest.approx(0.5) and "only 50.0 % of it lies in the nuclear field" in half.said[0]
    with pytest.raises(UserError, match="tumour lies wholly outside the field"):
        regions_from_polygons(Polygons((square(x=60.0),)), ANATOMY).on(series())


def test_what_a_model_finds_outside_is_left_out_and_named() -> None:
    found = regions_from_polygons(Polygons((square("liver"), square("lungs", 60.0), square("heart", -2.0))), ANATOMY)
    kept = found.within(series())
    assert kept.names == ("liver", "heart") and kept.outside == ("lungs",)
    assert kept.said == ("Found wholly outside the nuclear field and left out: lungs; the map of organs shows where.",)
    assert kept.within(series()) is kept and kept.without("heart").outside == ("lungs",)
    assert kept.joined(regions_from_polygons(Polygons((square("drawn"),)), ANATOMY)).outside == ("lungs",)
    assert kept.on(series()).said[0] == kept.said[0]
    shifted = Transform("rigid", np.array([[1.0, 0, 200], [0, 1, 0], [0, 0, 1]]))
    for ask in (lambda: kept.with_roles("lungs"), lambda: kept.with_roles("", "lungs"), lambda: kept.number("lungs")):
        with pytest.raises(UserError, match=r"the region lungs was found wholly outside .* name one of liver, heart"):
            ask()
    with pytest.raises(UserError, match="the region lungs was found wholly outside"):
        kept.on(series()).number("lungs")
    with pytest.raises(UserError, match="all regions that were found lie wholly outside"):
        found.within(series(), shifted)


def test_organs_of_a_model_outside_do_not_end_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros(ANATOMY.shape, np.uint8)
    labels[20:40, 20:40], labels[80:, 150:] = 1, 2
    names = LabelNames({1: "liver", 2: "lungs", 3: "bladder"})
    made = (Image(labels, ANATOMY.affine, quantity="label"), names, ("The picture is unlike others.",))
    monkeypatch.setattr("transmodal.fusion.region_sources.find_organs", lambda *_, **__: made)
    small = NuclearSeries(np.ones((1, 15, 20)), picture_affine((1.0, 1.0)))
    where = Registration(Transform.identity(2), "known")

    def found(*leave_out: str) -> tuple[Regions, tuple[str, ...]]:
        sources = RegionSources(organs=tmp_path, leave_out=leave_out)
        return find_regions(sources, ANATOMY, small, where, picture=tmp_path / "x.png", folder=tmp_path)

    regions, said = found()
    assert regions.names == ("liver",) and regions.outside == ("lungs",) and said[0] == made[2][0]
    assert said[1].startswith("The model of the organs found no bladder: what is there is counted in the regions")
    assert all("no lungs" not in line for line in said)  # nothing in the field is taken for what lies outside it
    assert not any("found no" in line for line in found("bladder")[1])
    assert found("lungs")[0].names == ("liver",)
    with pytest.raises(UserError, match="there is no region 'spleen' to leave out"):
        found("spleen")
    with pytest.raises(UserError, match="the region lungs was found wholly outside"):
        follow(ANATOMY, small, where, regions, tmp_path / "out", target="lungs")
    depth = {"lungs": Attenuation(4.0, 0.0155)}
    page = follow(ANATOMY, small, where, regions, tmp_path / "out", target="liver", attenuation=depth).files["report"]
    assert "wholly outside the nuclear field and left out: lungs" in page.read_text(encoding="utf-8")


def test_roles_are_given_and_taken() -> None:
    regions = regions_from_polygons(Polygons((square(), square("muscle", 25.0))), ANATOMY)
    assert regions.with_roles("tumour", "muscle").roles == ("target", "background")
    assert regions.without("muscle").names == ("tumour",)
    with pytest.raises(UserError, match="there is no region 'liver'"):
        regions.with_roles("liver")


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([["a", [[0, 0], [1, 1]]]], "a: a polygon needs at least 3 points"),
        ([["a", [[0, 0], [2, 2], [2, 0], [0, 2]]]], "a: the polygon crosses or touches itself"),
        ([["a", [[0, 0], [1, 1], [2, 2]]]], "a: the polygon encloses nothing"),
        ([["a", [[0, 0], [1, 0], [0, 1]]]] * 2, "two regions are called a"),
        ([["a", [[0, 0], [1, 0], ["x", 1]]]], "is no file of regions"),
        ([], "holds no region"),
    ],
)
def test_bad_polygons_are_refused_in_one_line(tmp_path: Path, regions: list, expected: str) -> None:
    said = {"format": "transmodal regions 1", "unit": "mm"}
    path = tmp_path / "regions.json"
    path.write_text(json.dumps({**said, "regions": [{"name": name, "polygon": points} for name, points in regions]}))
    with pytest.raises(UserError, match=expected) as caught:
        read_polygons(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_other_bad_regions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the region a is empty"):
        Regions(("a",), np.zeros((1, 5, 5), bool), np.eye(4))
    with pytest.raises(UserError, match="two regions are called a"):
        Regions(("a", "a"), np.ones((2, 5, 5), bool), picture_affine((1.0, 1.0)))
    with pytest.raises(UserError, match="holds none of the values"):
        regions_from_labels(ANATOMY, LabelNames({3: "heart"}))
    with pytest.raises(UserError, match="says no pixel size"):
        regions_from_polygons(Polygons((square(),)), Image(np.zeros((9, 9)), has_physical_size=False))
    (tmp_path / "names.json").write_text('{"model": "x"}')
    with pytest.raises(UserError, match="does not name labels"):
        read_label_names(tmp_path / "names.json")
