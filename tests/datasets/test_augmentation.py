"""Augmentation moves all images of a case alike, keeps labels whole, and repeats itself from the same generator."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from transmodal.datasets import augmentation_kernels as kernels
from transmodal.datasets.augmentation import AugmentationSettings, Augmenter, smoothed
from transmodal.datasets.augmentation_geometry import Motion, compose, elastic_control, rotation
from transmodal.errors import UserError

FIELD = (48, 96)  # 1:2, as the mouse photographs
GEOMETRY: dict[str, Any] = {
    "flip_horizontal": 0.5,
    "flip_vertical": 0.5,
    "flip_depth": 0.5,
    "rotation_degrees": 20.0,
    "scale": (0.8, 1.25),
    "shear_degrees": 8.0,
    "translation": 0.1,
    "jitter": 286 / 256,
    "elastic_amplitude": 0.04,
}
TONES: dict[str, Any] = {"brightness": 0.2, "contrast": (0.7, 1.4), "gamma": (0.6, 1.6), "noise": 0.1, "blur": 1.5}
STILL = Motion((False, False), (0.0,), 1.0, (0.0,), (0.0, 0.0), 1.0, (0.5, 0.5))


def smooth_image(shape: tuple[int, ...], seed: int = 0, channels: int = 1) -> NDArray[np.float32]:
    """Make (channels, *shape) in [-1, 1] without structure finer than a few pixels."""
    noise = np.random.default_rng(seed).normal(size=(channels, *shape))
    blurred = scipy.ndimage.gaussian_filter(noise, (0, *[3.0] * len(shape)), mode="mirror")
    return (blurred / np.abs(blurred).max()).astype(np.float32)


def augmented(
    arrays: dict[str, NDArray[np.float32]],
    seed: int = 0,
    labels: tuple[str, ...] = (),
    inputs: tuple[str, ...] = (),
    spacing: tuple[float, ...] | None = None,
    **settings: Any,
) -> dict[str, NDArray[np.float32]]:
    dims = next(iter(arrays.values())).ndim - 1
    augmenter = Augmenter(AugmentationSettings(**settings), dims, labels, spacing)
    return augmenter(arrays, np.random.default_rng(seed), inputs=inputs)


def moved(image: NDArray[np.float32], motion: Motion, border: int = kernels.REFLECT) -> NDArray[np.float32]:
    target = np.empty_like(image)
    matrix = compose(motion, image.shape[1:], (1.0, 1.0))
    flat = image.reshape(len(image), -1)
    kernels.warp_planes((flat,), (target,), matrix, np.zeros((2, 4, 4), np.float32), False, border, False)
    return target


def with_still(**changes: Any) -> Motion:
    return Motion(**{**STILL.__dict__, **changes})


@pytest.mark.parametrize("shape", [FIELD, (12, 20, 24)])
def test_default_settings_change_nothing_and_give_new_arrays(shape: tuple[int, ...]) -> None:
    image = smooth_image(shape)
    result = augmented({"photo": image, "xray": -image}, inputs=("photo",))
    assert np.array_equal(result["photo"], image) and np.array_equal(result["xray"], -image)
    assert not np.shares_memory(result["photo"], image)


def test_probability_zero_changes_nothing_however_large_the_magnitudes() -> None:
    image = smooth_image(FIELD)
    never: dict[str, Any] = {
        key: 0.0 for key in AugmentationSettings.model_fields if key.startswith("flip_") or "_probability" in key
    }
    settings: dict[str, Any] = {**GEOMETRY, **TONES, **never}
    result = augmented({"photo": image}, inputs=("photo",), **settings)
    assert np.array_equal(result["photo"], image)


@pytest.mark.parametrize(("setting", "axis"), [("flip_horizontal", -1), ("flip_vertical", -2), ("flip_depth", -3)])
def test_flips_are_exact(setting: str, axis: int) -> None:
    image = smooth_image((7, 9, 10), channels=2)
    flip: dict[str, Any] = {setting: 1.0}
    result = augmented({"scan": image}, **flip)["scan"]
    assert np.array_equal(result, np.flip(image, axis))
    assert result.flags.c_contiguous and result.flags.writeable


def test_a_flip_of_half_probability_happens_half_of_the_time() -> None:
    image = smooth_image((4, 6))
    augmenter, generator = Augmenter(AugmentationSettings(flip_horizontal=0.5)), np.random.default_rng(0)
    flipped = sum(not np.array_equal(augmenter({"a": image}, generator, inputs=())["a"], image) for _ in range(400))
    assert 160 < flipped < 240


@pytest.mark.parametrize("shape", [FIELD, (14, 20, 24)])
@pytest.mark.parametrize("border", ["reflect", "replicate"])
def test_all_images_of_a_case_get_the_same_geometry(shape: tuple[int, ...], border: str) -> None:
    image = smooth_image(shape)
    for seed in range(6):
        # A target that is a linear function of the input stays that function through any linear interpolation.
        result = augmented({"photo": image, "xray": 0.5 - 0.25 * image}, seed, border=border, **GEOMETRY)
        np.testing.assert_allclose(result["xray"], 0.5 - 0.25 * result["photo"], atol=2e-6)
        assert np.abs(result["photo"] - image).mean() > 0.05


@pytest.mark.parametrize("shape", [FIELD, (14, 20, 24)])
@pytest.mark.parametrize("border", ["reflect", "replicate", "lowest"])
def test_labels_stay_whole_and_follow_the_image(shape: tuple[int, ...], border: str) -> None:
    image = smooth_image(shape)
    labels = np.where(image > 0.3, 7.0, np.where(image < -0.3, 3.0, 0.0)).astype(np.float32)
    result = augmented({"a": image, "organs": labels}, 3, ("organs",), ("a", "organs"), border=border, **GEOMETRY)
    assert set(np.unique(result["organs"])) == {0.0, 3.0, 7.0}
    clear = np.abs(np.abs(result["a"]) - 0.3) > 0.15
    expected = np.where(result["a"] > 0.3, 7.0, np.where(result["a"] < -0.3, 3.0, 0.0))
    outside = result["a"] <= -0.9 if border == "lowest" else np.zeros_like(clear)
    assert (result["organs"] == expected)[clear & ~outside].mean() > 0.98


def test_tones_change_inputs_only_and_stay_in_range() -> None:
    image = smooth_image(FIELD, channels=3)
    for seed in range(5):
        result = augmented({"photo": image, "xray": image}, seed, inputs=("photo",), **TONES)
        assert np.array_equal(result["xray"], image)
        assert np.abs(result["photo"] - image).mean() > 1e-3
        assert result["photo"].min() >= -1.0 and result["photo"].max() <= 1.0
    kept = augmented({"photo": image}, inputs=("photo",), photometric="none", **TONES)
    assert np.array_equal(kept["photo"], image)


def test_labels_never_change_in_tone_even_as_inputs() -> None:
    labels = np.arange(48 * 96, dtype=np.float32).reshape(1, *FIELD) % 5
    arrays = {"photo": labels / np.float32(5), "organs": labels}
    result = augmented(arrays, 0, ("organs",), ("photo", "organs"), **TONES)
    assert np.array_equal(result["organs"], labels)


def test_inputs_draw_in_the_order_of_their_names() -> None:
    image = smooth_image(FIELD)
    names = tuple("edcba")  # a set of strings has another order in every process
    together = augmented(dict.fromkeys(names, image), inputs=names, brightness=0.3)
    for count in range(1, 6):
        fewer = augmented(dict.fromkeys(names, image), inputs=tuple("abcde"[:count]), brightness=0.3)
        assert np.array_equal(fewer["abcde"[count - 1]], together["abcde"[count - 1]])


def test_each_input_gets_tones_of_its_own() -> None:
    image = smooth_image(FIELD)
    result = augmented({"t1": image, "t2": image}, inputs=("t1", "t2"), brightness=0.3)
    assert not np.array_equal(result["t1"], result["t2"])


@pytest.mark.parametrize("shape", [FIELD, (8, 16, 20)])
def test_the_same_generator_state_gives_the_same_bits(shape: tuple[int, ...]) -> None:
    image, other = smooth_image(shape), smooth_image(shape, 1)
    settings = {**GEOMETRY, **TONES}
    first = augmented({"photo": image, "xray": other}, 5, inputs=("photo",), **settings)
    np.random.seed(99)  # noqa: NPY002  (the global state must not matter)
    again = augmented({"xray": other, "photo": image}, 5, inputs=("photo",), **settings)
    different = augmented({"photo": image, "xray": other}, 6, inputs=("photo",), **settings)
    for name in ("photo", "xray"):
        assert np.array_equal(first[name], again[name])
        assert not np.array_equal(first[name], different[name])
    read_only = image.copy()
    read_only.setflags(write=False)
    assert np.array_equal(
        augmented({"photo": read_only, "xray": other}, 5, inputs=("photo",), **settings)["photo"], first["photo"]
    )


def test_threads_share_an_augmenter() -> None:
    image = smooth_image(FIELD)
    augmenter = Augmenter(AugmentationSettings(**GEOMETRY, **TONES))

    def run(seed: int) -> NDArray[np.float32]:
        return augmenter({"photo": image}, np.random.default_rng(seed), inputs=("photo",))["photo"]

    alone = [run(seed) for seed in range(16)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(run, range(16)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_positive_rotation_is_counter_clockwise_and_ninety_degrees_is_exact() -> None:
    image = smooth_image((40, 40))
    result = moved(image, with_still(angles=(90.0,)))
    np.testing.assert_allclose(result[0], np.rot90(image[0]), atol=1e-4)


def test_rotation_in_a_wide_field_keeps_circles_round() -> None:
    rows, columns = np.mgrid[: FIELD[0], : FIELD[1]]
    centre_row, centre_column = (FIELD[0] - 1) / 2, (FIELD[1] - 1) / 2
    distance = np.hypot(rows - centre_row, columns - centre_column - 15)
    blob = (2 * np.exp(-0.5 * (distance / 4) ** 2) - 1).astype(np.float32)[None]
    weight = moved(blob, with_still(angles=(30.0,)), kernels.LOWEST)[0].ravel() + 1
    at = np.argwhere(np.ones(FIELD))
    row, column = np.average(at, axis=0, weights=weight)
    assert row == pytest.approx(centre_row - 15 * np.sin(np.deg2rad(30)), abs=0.02)  # up: counter-clockwise
    assert column == pytest.approx(centre_column + 15 * np.cos(np.deg2rad(30)), abs=0.02)
    spread = np.cov(at.T, aweights=weight)
    assert spread[0, 0] == pytest.approx(16, rel=0.04) and spread[1, 1] == pytest.approx(16, rel=0.04)
    assert abs(spread[0, 1]) < 0.2


def test_with_spacing_a_rotation_is_true_in_millimetres() -> None:
    motion = Motion((False,) * 3, (0.0, 90.0, 0.0), 1.0, (0.0,) * 3, (0.0,) * 3, 1.0, (0.5,) * 3)
    matrix = compose(motion, (11, 21, 21), (2.0, 1.0, 1.0))
    centre = np.array([5.0, 10.0, 10.0])
    # Slices are 2 mm apart: 4 columns (4 mm) from the centre lie where 2 slices (4 mm) were.
    source = matrix @ np.append(centre + np.array([0, 0, 4]), 1.0) - centre
    np.testing.assert_allclose(np.abs(source), [2.0, 0.0, 0.0], atol=1e-12)
    assert np.allclose(matrix @ np.append(centre, 1.0), centre)


def test_rotation_matrices_are_orthogonal_and_right_handed() -> None:
    for angles in ((33.0,), (10.0, -40.0, 77.0)):
        matrix = rotation(angles)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1.0)


def test_scale_and_translation_move_the_content_as_they_say() -> None:
    image = smooth_image(FIELD)
    shifted = moved(image, with_still(shift=(0.0, 6 / FIELD[1])))
    np.testing.assert_allclose(shifted[0, :, 6:], image[0, :, :-6], atol=1e-5)
    matrix = compose(with_still(scale=2.0), FIELD, (1.0, 1.0))
    np.testing.assert_allclose(matrix[:, :2], np.eye(2) / 2)


@pytest.mark.parametrize("place", [0.0, 0.35, 1.0])
def test_jitter_crop_equals_resizing_and_cutting_out(place: float) -> None:
    height, width, factor = 64, 128, 1.125  # 72×144 after the resize
    image = smooth_image((height, width))
    start_row, start_column = place * 8, place * 16
    result = moved(image, with_still(jitter_factor=factor, jitter_place=(place, place)), kernels.REPLICATE)
    rows = (np.arange(height) + 0.5 + start_row) / factor - 0.5
    columns = (np.arange(width) + 0.5 + start_column) / factor - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    expected = scipy.ndimage.map_coordinates(image[0], grid, order=1, mode="nearest")
    np.testing.assert_allclose(result[0], expected, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("border", "mode", "value"),
    [(kernels.REFLECT, "mirror", 0.0), (kernels.REPLICATE, "nearest", 0.0), (kernels.LOWEST, "constant", -1.0)],
)
@pytest.mark.parametrize("elastic", [False, True])
def test_one_interpolation_equals_scipy_through_the_same_map(
    dims: int, border: int, mode: str, value: float, elastic: bool
) -> None:
    shape = (12, 19, 26)[-dims:]
    planes = 1 if dims == 2 else 3
    image = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype(np.float32)
    motion = Motion(
        (True, *[False] * (dims - 1)),
        (25.0, -14.0, 9.0)[:planes],
        0.6,
        (5.0,) * planes,
        (0.2,) * dims,
        1.1,
        (0.1,) * dims,
    )
    matrix = compose(motion, shape, (1.0,) * dims)
    control = elastic_control(np.random.default_rng(1), matrix, shape, (1.0,) * dims, 0.05, 3)
    target = np.empty_like(image)
    if dims == 2:
        kernels.warp_planes((image.reshape(2, -1),), (target,), matrix, control, elastic, border, False)
    else:
        kernels.warp_volume(image, target, matrix, control, elastic, border, False)
    places = np.einsum("ij,j...->i...", matrix[:, :-1], np.indices(shape)) + matrix[:, -1].reshape(-1, *[1] * dims)
    if elastic:
        places = places + np.stack([spline_by_scipy(lattice, shape) for lattice in control])
    if mode == "constant":  # scipy's "constant" does not blend across the border, its "grid-constant" does
        mode = "grid-constant"
    for channel in range(2):
        expected = scipy.ndimage.map_coordinates(image[channel], places, order=1, mode=mode, cval=value)
        np.testing.assert_allclose(target[channel], expected, atol=3e-5)


def spline_by_scipy(lattice: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Evaluate a uniform cubic B-spline of which scipy is given the coefficients."""
    cells = [points - 3 for points in lattice.shape]
    axes = [(np.arange(size) + 0.5) * count / size + 1 for size, count in zip(shape, cells, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    padded = np.pad(lattice.astype(float), 2)  # scipy needs a margin for its border handling
    return scipy.ndimage.map_coordinates(padded, [axis + 2 for axis in grid], order=3, prefilter=False)


def test_elastic_displacement_stays_below_its_amplitude_and_does_not_fold() -> None:
    matrix = np.hstack([np.eye(2), np.zeros((2, 1))])
    control = elastic_control(np.random.default_rng(0), matrix, (120, 240), (1.0, 1.0), 0.05, 8)
    assert control.shape == (2, 11, 19)  # twice as many cells along the side of twice the length
    field = np.stack([spline_by_scipy(lattice, (120, 240)) for lattice in control])
    assert 2.0 < np.abs(field).max() <= 0.05 * 120
    d_row, d_column = np.gradient(field[0]), np.gradient(field[1])
    assert ((1 + d_row[0]) * (1 + d_column[1]) - d_row[1] * d_column[0]).min() > 0


def test_lowest_border_is_black_in_images_and_background_in_labels() -> None:
    ones = np.ones((1, *FIELD), np.float32)
    result = augmented({"a": ones, "b": ones}, 1, ("b",), border="lowest", scale=(0.5, 0.5))
    assert result["a"][0, 0, 0] == -1.0 and result["b"][0, 0, 0] == 0.0
    assert result["a"][0, 24, 48] == 1.0 and result["b"][0, 24, 48] == 1.0


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1), (2, 3), (1, 6, 7)])
@pytest.mark.parametrize("border", ["reflect", "replicate", "lowest"])
def test_fields_of_one_pixel_are_augmented_without_reading_outside(shape: tuple[int, ...], border: str) -> None:
    image = np.random.default_rng(0).uniform(0.5, 1, (1, *shape)).astype(np.float32)
    result = augmented({"a": image}, 2, (), ("a",), border=border, **GEOMETRY, blur=3.0)["a"]
    assert np.isfinite(result).all() and np.abs(result).max() <= 1.0
    if border != "lowest":
        assert image.min() - 1e-5 <= result.min()


def test_power_is_exact_to_a_millionth() -> None:
    values = np.linspace(-1, 1, 100_001, dtype=np.float32)
    for gamma in (0.2, 0.5, 0.77, 1.3, 2.0, 5.0):
        result = values.copy()
        kernels.adjust_tones(result, np.float32(1), np.float32(0), np.float32(gamma))
        np.testing.assert_allclose((result + 1) / 2, ((values.astype(float) + 1) / 2) ** gamma, atol=1.5e-6)
        assert result[0] == -1.0 and result[-1] == 1.0


def test_contrast_turns_about_the_middle_and_brightness_adds() -> None:
    values = np.array([-1.0, -0.4, 0.0, 0.4, 1.0], np.float32)
    kernels.adjust_tones(values, np.float32(1.5), np.float32(0.1), np.float32(1))
    np.testing.assert_allclose(values, [-1.0, -0.5, 0.1, 0.7, 1.0], atol=1e-6)


def test_noise_is_normal_white_and_as_strong_as_asked() -> None:
    values = np.zeros(400_003, np.float32)
    kernels.add_noise(values, np.float32(0.1), np.uint64(123))
    assert abs(values.mean()) < 6e-4 and values.std() == pytest.approx(0.1, rel=0.01)
    assert (np.abs(values) > 0.3).mean() == pytest.approx(0.0027, rel=0.2)
    for lag in (1, 2, 3, 4, 5, 96, 1024):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 0.01
    other = np.zeros(400_003, np.float32)
    kernels.add_noise(other, np.float32(0.1), np.uint64(124))
    assert abs(np.corrcoef(values, other)[0, 1]) < 0.01


@pytest.mark.parametrize("shape", [(23, 31), (9, 12, 14)])
@pytest.mark.parametrize("sigma", [0.5, 2.0, 6.0])
def test_blur_equals_scipy(shape: tuple[int, ...], sigma: float) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype(np.float32)
    radius = int(np.ceil(3 * sigma))
    expected = scipy.ndimage.gaussian_filter(image, (0, *[sigma] * len(shape)), mode="mirror", radius=radius)
    np.testing.assert_allclose(smoothed(image, sigma), expected, atol=2e-6)


def test_sizes_that_differ_are_refused_in_one_line() -> None:
    arrays = {"photo": smooth_image((8, 8)), "xray": smooth_image((8, 9))}
    with pytest.raises(UserError, match="photo 8×8, xray 8×9"):
        Augmenter(AugmentationSettings())(arrays, np.random.default_rng(0), inputs=())
    with pytest.raises(UserError, match="spatial axes"):
        Augmenter(AugmentationSettings(), 3)({"a": arrays["photo"]}, np.random.default_rng(0), inputs=())
    with pytest.raises(ValueError, match="not among"):
        augmented({"photo": arrays["photo"]}, inputs=("foto",))
    with pytest.raises(ValueError, match="float64"):
        augmented({"photo": arrays["photo"].astype(np.float64)})


@given(
    st.sampled_from(sorted(AugmentationSettings.model_fields)),
    st.one_of(st.floats(max_value=-1e-6), st.floats(min_value=400.0), st.just(float("nan"))),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_values_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    pair = name in ("scale", "contrast", "gamma")
    with pytest.raises(ValidationError, match=name):
        AugmentationSettings(**{name: (1.0, value) if pair else value})


@given(st.floats(0, 0.25), st.integers(1, 64))
@hypothesis_settings(max_examples=60, deadline=None)
def test_an_elastic_field_that_would_fold_is_refused(amplitude: float, cells: int) -> None:
    if amplitude * cells <= 0.4:
        AugmentationSettings(elastic_amplitude=amplitude, elastic_cells=cells)
    else:
        with pytest.raises(ValidationError, match="fold"):
            AugmentationSettings(elastic_amplitude=amplitude, elastic_cells=cells)


def test_settings_refuse_unknown_keys_and_describe_themselves() -> None:
    with pytest.raises(ValidationError, match="rotation_degree"):
        AugmentationSettings(**{"rotation_degree": 5})
    assert AugmentationSettings().describe() == "no augmentation"
    told = AugmentationSettings(
        flip_horizontal=0.5, jitter=286 / 256, rotation_degrees=10, affine_probability=0.8, gamma=(0.7, 1.4), noise=0.05
    ).describe()
    assert told == (
        "mirror left-right (50 %); rotation ±10° (80 %); jitter crop ×1.117; on inputs: gamma 0.7–1.4, noise up to 0.05"
    )
    assert AugmentationSettings(photometric="none", noise=0.1).describe() == "no augmentation"
    assert AugmentationSettings(**AugmentationSettings(scale=(0.9, 1.1)).model_dump()).scale == (0.9, 1.1)
