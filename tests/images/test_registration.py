"""Known motions are found again, and images follow the transform they are given."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import normalized_mutual_information

from transmodal.errors import UserError
from transmodal.images import Image, picture_affine
from transmodal.images.registration import (
    FITS,
    Transform,
    affine_from_fiducials,
    coverage,
    homography_from_fiducials,
    leave_one_out_error,
    normalised_mutual_information,
    register_mutual_information,
    resample,
    similarity_from_fiducials,
    target_registration_error,
)

COLOURS = ("red", "green", "blue")


def known_transform(kind: str, dims: int, seed: int) -> Transform:
    """Return a moderate random motion, as between two devices."""
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(np.eye(dims) + 0.2 * generator.normal(size=(dims, dims)))
    rotation *= np.sign(np.diag(rotation))
    if np.linalg.det(rotation) < 0:
        rotation[:, 0] *= -1
    matrix = np.eye(dims + 1)
    scale = generator.uniform(0.7, 1.4) if kind != "rigid" else 1.0
    matrix[:dims, :dims] = scale * rotation
    if kind in ("affine", "homography"):
        matrix[:dims, :dims] += 0.05 * generator.normal(size=(dims, dims))
    matrix[:dims, dims] = generator.normal(size=dims) * 10
    if kind == "homography":
        matrix[2, :2] = generator.uniform(-2e-3, 2e-3, 2)
    return Transform(kind, matrix)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(FITS)),
    dims=st.sampled_from([2, 3]),
    seed=st.integers(0, 10**6),
    extra=st.integers(1, 6),
)
def test_exact_fiducials_give_the_transform_back(kind: str, dims: int, seed: int, extra: int) -> None:
    dims = 2 if kind == "homography" else dims
    truth = known_transform(kind, dims, seed)
    moving = np.random.default_rng(seed + 1).uniform(-50, 50, (dims + 1 + extra, dims))
    found = FITS[kind](moving, truth.apply(moving))
    elsewhere = np.random.default_rng(seed + 2).uniform(-50, 50, (20, dims))
    np.testing.assert_allclose(found.apply(elsewhere), truth.apply(elsewhere), atol=1e-5)
    np.testing.assert_allclose(found.inverse().apply(found.apply(elsewhere)), elsewhere, atol=1e-6)
    assert target_registration_error(found, moving, truth.apply(moving)).max() < 1e-5


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(["rigid", "similarity", "affine"]), seed=st.integers(0, 10**6))
def test_no_other_transform_of_the_kind_fits_noisy_fiducials_better(kind: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    moving = generator.uniform(-50, 50, (8, 2))
    fixed = known_transform(kind, 2, seed).apply(moving) + generator.normal(size=(8, 2))
    best = FITS[kind](moving, fixed)
    least = (target_registration_error(best, moving, fixed) ** 2).sum()
    angle = 1e-3
    for turn, scale, shift in ((angle, 1, 0), (-angle, 1, 0), (0, 1, 0.01), (0, 1.001, 0), (0, 0.999, 0)):
        if kind == "rigid" and scale != 1:
            continue
        nudge = np.eye(3)
        nudge[:2, :2] = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        nudge[:2, 2] = shift
        other = Transform(kind, nudge @ best.matrix)
        assert (target_registration_error(other, moving, fixed) ** 2).sum() >= least - 1e-9


def test_similarity_never_reflects() -> None:
    moving = np.array([[0.0, 0], [10, 0], [0, 5]])
    found = similarity_from_fiducials(moving, moving * [-1, 1])
    assert np.linalg.det(found.matrix[:2, :2]) > 0


def test_leave_one_out_shows_what_the_fit_hides() -> None:
    moving = np.array([[0.0, 0], [40, 0], [0, 80], [40, 80]])
    fixed = moving.copy()
    fixed[0] += [2.0, 0]
    fitted = target_registration_error(affine_from_fiducials(moving, fixed), moving, fixed)
    left_out = leave_one_out_error("affine", moving, fixed)
    assert fitted.max() == pytest.approx(0.5)
    assert left_out[0] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("fit", "moving", "says"),
    [
        (affine_from_fiducials, [[0, 0], [1, 1]], "2 fiducials"),
        (affine_from_fiducials, [[0, 0], [1, 1], [2, 2]], "on one line"),
        (affine_from_fiducials, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], "in one plane"),
        (affine_from_fiducials, [[0, 0], [1, np.nan], [2, 5]], "not a finite number"),
        (homography_from_fiducials, [[0, 0], [1, 1], [2, 0]], "3 fiducials"),
        (homography_from_fiducials, [[0, 0], [1, 0], [2, 0], [3, 0]], "on one line"),
        (similarity_from_fiducials, [[1, 1], [1, 1]], "at one place"),
        (affine_from_fiducials, [[0, 0, 0, 0]] * 5, "2 or 3 coordinates"),
    ],
)
def test_fiducials_that_fix_nothing_are_refused(fit, moving, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=says):
        fit(moving, moving)


def test_a_transform_file_comes_back_and_says_its_direction(tmp_path: Path) -> None:
    transform = known_transform("homography", 2, 3)
    path = transform.write(tmp_path / "photo-to-xray.json")
    back = Transform.read(path)
    assert back.kind == "homography"
    np.testing.assert_array_equal(back.matrix, transform.matrix)
    assert '"maps": "moving points to fixed points, mm"' in path.read_text()
    huge = path.read_text().replace('"matrix": [', f'"matrix": [[1{"0" * 400}, 0, 0], ', 1)
    path.write_text(path.read_text().replace("moving points to fixed", "fixed points to moving"))
    with pytest.raises(UserError, match="no transform file"):
        Transform.read(path)
    for text in ("x", "[1, 2]", "{}", '{"format": "transmodal transform 1"}', huge):
        path.write_text(text)
        with pytest.raises(UserError, match="no transform file"):
            Transform.read(path)


def test_normalised_mutual_information_equals_scikit_images() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(40, 50))
    second = np.sin(first) + 0.1 * generator.normal(size=first.shape)
    mine = normalised_mutual_information(first, second, bins=50)
    assert mine == pytest.approx(normalized_mutual_information(first, second, bins=50), rel=1e-9)
    assert normalised_mutual_information(first, first) == pytest.approx(2.0)
    assert normalised_mutual_information(first, np.ones_like(first)) == pytest.approx(1.0)
    assert normalised_mutual_information(np.ones(4), np.ones(4)) == 1.0
    holes = first.copy()
    holes[0] = np.nan
    kept = normalised_mutual_information(first[1:], second[1:])
    assert normalised_mutual_information(holes, second) == pytest.approx(kept)


def texture(points: np.ndarray, extent: np.ndarray, seed: int) -> np.ndarray:
    """Return a smooth body of random blobs at points in mm, analytic so that nothing is interpolated."""
    generator = np.random.default_rng(seed)
    values = np.zeros(points.shape[:-1])
    for _ in range(25):
        centre = extent * generator.uniform(0.15, 0.85, len(extent))
        width = extent.min() * generator.uniform(0.04, 0.12)
        distance = ((points - centre) ** 2).sum(axis=-1)
        values += generator.uniform(-1, 1) * np.exp(-distance / (2 * width**2))
    return values


def picture_pair(truth: Transform, shape: tuple[int, int] = (160, 96), size: float = 0.4) -> tuple[Image, Image]:
    """Return a moving and a fixed picture of one body with unlike contrasts."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    points = np.stack([columns, rows], axis=-1) * size
    extent = np.array(shape[::-1]) * size
    fixed = texture(points, extent, 0)
    moving = texture(truth.apply(points), extent, 0)
    grey = np.clip(30_000 - 20_000 * moving + 6_000 * moving**2, 0, 65535).astype(np.uint16)
    affine = picture_affine((size, size))
    return Image(np.stack([grey, grey // 2, grey], axis=-1), affine, COLOURS), Image(fixed.astype(np.float32), affine)


def largest_error(found: Transform, truth: Transform, fixed: Image) -> float:
    """Return the largest distance in mm over the middle half of the fixed image."""
    extent = np.array(fixed.shape[::-1] if fixed.spatial_dims == 2 else fixed.shape) * fixed.spacing[0]
    corners = np.stack(np.meshgrid(*[[0.25, 0.5, 0.75]] * fixed.spatial_dims), axis=-1) * extent
    moving = truth.inverse().apply(corners)
    return float(target_registration_error(found, moving, corners).max())


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
def test_a_known_motion_of_pictures_is_found_by_mutual_information(kind: str) -> None:
    angle, scale = np.deg2rad(6), 1.0 if kind == "rigid" else 1.06
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if kind == "affine":
        matrix[0, 1] += 0.05
    matrix[:2, 2] = [3.0, -4.0]
    truth = Transform(kind, matrix)
    moving, fixed = picture_pair(truth)
    found, before, after = register_mutual_information(moving, fixed, kind=kind)
    assert found.kind == kind
    assert largest_error(Transform.identity(2), truth, fixed) > 2
    assert largest_error(found, truth, fixed) < 0.2
    assert 1 <= before < after - 0.1 < 2
    again, _, after_again = register_mutual_information(moving, fixed, kind=kind)
    np.testing.assert_array_equal(found.matrix, again.matrix)
    assert after == after_again


def test_a_known_motion_of_volumes_is_found_by_mutual_information() -> None:
    shape, size = (40, 44, 36), 1.5
    index = np.moveaxis(np.indices(shape, dtype=float), 0, -1)
    extent = np.array(shape) * size
    matrix = np.eye(4)
    angle = np.deg2rad(5)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = [2.0, -1.5, 2.5]
    truth = Transform("rigid", matrix)
    fixed = Image(texture(index * size, extent, 1).astype(np.float32), np.diag([size, size, size, 1]))
    # The moving volume is stored left-handed: the affine, not the array order, must count.
    moving_affine = np.diag([-size, size, size, 1.0])
    moving_affine[0, 3] = (shape[0] - 1) * size
    points = index @ moving_affine[:3, :3].T + moving_affine[:3, 3]
    moving = Image((100 * texture(truth.apply(points), extent, 1) ** 2).astype(np.float32), moving_affine)
    found, before, after = register_mutual_information(moving, fixed, kind="rigid")
    assert largest_error(found, truth, fixed) < 0.2
    assert after > before


def test_alignment_never_returns_what_is_worse_than_the_start() -> None:
    truth = Transform.identity(2)
    moving, fixed = picture_pair(truth)
    found, before, after = register_mutual_information(moving, fixed, kind="affine", initial=truth)
    assert after >= before
    assert largest_error(found, truth, fixed) < 0.2


def test_images_that_cannot_be_aligned_are_named() -> None:
    moving, fixed = picture_pair(Transform.identity(2))
    with pytest.raises(UserError, match="same value everywhere"):
        register_mutual_information(moving, Image(np.zeros((8, 8))))
    with pytest.raises(UserError, match="says no pixel size"):
        register_mutual_information(Image(moving.pixels, moving.affine, COLOURS, has_physical_size=False), fixed)
    with pytest.raises(UserError, match=r"2 axes and .* has 3"):
        register_mutual_information(moving, Image(np.zeros((8, 8, 8))))
    far = Transform("rigid", np.array([[1, 0, 1e4], [0, 1, 0], [0, 0, 1.0]]))
    with pytest.raises(UserError, match="mark fiducials"):
        register_mutual_information(moving, fixed, initial=far)


def test_resampling_by_whole_pixels_copies_values() -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (12, 9), dtype=np.uint16)
    image = Image(pixels, picture_affine((0.5, 0.25)))
    shift = Transform("rigid", np.array([[1, 0, 0.5], [0, 1, -1.0], [0, 0, 1.0]]))  # two columns right, two rows up
    moved = resample(image, image, shift)
    assert moved.pixels.dtype == np.uint16
    np.testing.assert_array_equal(moved.pixels[:-2, 2:], pixels[2:, :-2])
    assert not moved.pixels[-2:].any() and not moved.pixels[:, :2].any()
    inside = coverage(image, image, shift)
    assert inside[:-2, 2:].all() and inside.sum() == 10 * 7
    filled = resample(image, image, shift, fill=7)
    assert (filled.pixels[~inside] == 7).all()


def test_resampling_follows_the_affines_of_volumes_and_keeps_labels_whole() -> None:
    labels = np.random.default_rng(0).integers(0, 6, (6, 7, 5), dtype=np.uint8)
    image = Image(labels, np.diag([2.0, 1.0, 3.0, 1.0]), quantity="label")
    flipped_affine = np.diag([-2.0, 1.0, 3.0, 1.0])
    flipped_affine[0, 3] = 10.0
    grid = Image(np.zeros((6, 7, 5)), flipped_affine)
    back = resample(image, grid)
    np.testing.assert_array_equal(back.pixels, labels[::-1])
    np.testing.assert_array_equal(back.affine, flipped_affine)
    fine = Image(np.zeros((12, 7, 5)), np.diag([1.0, 1.0, 3.0, 1.0]))
    assert set(np.unique(resample(image, fine).pixels)) <= set(range(6))
    air = resample(
        Image(labels.astype(np.int16), image.affine, quantity="HU"), Image(np.zeros((9, 7, 5)), image.affine)
    )
    assert (air.pixels[6:] == -1000).all()


@pytest.mark.parametrize("order", [1, 3])
def test_a_homography_and_its_inverse_give_a_smooth_picture_back(order: int) -> None:
    rows, columns = np.mgrid[:80, :60]
    points = np.stack([columns, rows], axis=-1) * 0.5
    colours = np.stack([texture(points, np.array([30.0, 40.0]), seed) for seed in range(3)], axis=-1)
    image = Image((20_000 + 10_000 * colours).clip(0, 65535).astype(np.uint16), picture_affine((0.5, 0.5)), COLOURS)
    transform = Transform("homography", np.array([[1.02, 0.03, 1.0], [-0.02, 0.98, 0.5], [1e-3, -5e-4, 1.0]]))
    there = resample(image, image, transform, order=order)
    back = resample(there, image, transform.inverse(), order=order)
    assert there.channels == COLOURS and there.pixels.dtype == np.uint16
    middle = np.s_[15:65, 12:48]
    difference = back.pixels[middle].astype(float) - image.pixels[middle]
    assert np.abs(difference).max() < {1: 600, 3: 20}[order]
    assert np.abs(there.pixels[middle].astype(float) - image.pixels[middle]).max() > 2000


def test_integers_are_rounded_and_clipped() -> None:
    image = Image(np.array([[0, 255], [0, 255]], np.uint8), picture_affine((1.0, 1.0)))
    half = Image(np.zeros((2, 3)), picture_affine((1.0, 0.5)))
    np.testing.assert_array_equal(resample(image, half).pixels, [[0, 128, 255]] * 2)
    step = np.zeros((1, 12), np.uint8)
    step[:, 6:] = 255
    fine = Image(np.zeros((1, 40)), picture_affine((1.0, 0.25)))
    cubic = resample(Image(step, picture_affine((1.0, 1.0))), fine, order=3).pixels
    assert cubic[0, :18].max() < 30 and cubic[0, 30:].min() > 225  # an overshoot would wrap round to the other end


def test_a_coarser_grid_takes_means_and_an_equal_one_loses_nothing() -> None:
    noise = np.random.default_rng(0).normal(100, 20, (200, 300)).astype(np.float32)
    fine = Image(noise, picture_affine((0.02, 0.02)))
    grid = Image(np.zeros((40, 60), np.uint8), picture_affine((0.1, 0.1)))
    assert resample(fine, grid).pixels[2:-2, 2:-2].std() < 6, "area means would give 4, single points 20"
    assert resample(fine, grid).pixels.mean() == pytest.approx(100, abs=0.5)
    np.testing.assert_array_equal(resample(fine, fine).pixels, noise)
    labels = Image((noise > 100).astype(np.uint8) * 7, fine.affine, quantity="label")
    assert set(np.unique(resample(labels, grid).pixels)) == {0, 7}
    anisotropic = Image(np.zeros((40, 300), np.uint8), picture_affine((0.1, 0.02)))
    rows = Image(np.tile(np.float32([0, 10]), (200, 150)), fine.affine)
    np.testing.assert_allclose(resample(rows, anisotropic).pixels[5], np.tile([0, 10], 150), atol=1e-3)
