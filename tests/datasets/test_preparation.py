"""Preparation and its way back: on any grid, in any orientation, in any pixel type."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel import orientations
from pydantic import ValidationError

from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.preparation import ModalityPreparation, Preparation, PreparationSettings
from transmodal.datasets.preparation_fitting import fit_preparation
from transmodal.datasets.regions import RegionSettings
from transmodal.datasets.resizing import resize_stack
from transmodal.datasets.sample_grid import GridSettings, SliceSettings
from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, write
from transmodal.images.intensity import FittedMap

COLOURS = ("red", "green", "blue")
ORIENTATIONS = [
    tuple(zip(axes, signs, strict=True)) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)
]


def preparation(
    *,
    dims: int = 2,
    dtype: str = "uint16",
    channels: tuple[str, ...] = (),
    slices: SliceSettings | None = None,
    low: float = 0.0,
    high: float = 65535.0,
    **grid: object,
) -> Preparation:
    fitted = FittedMap(kind="one-range", low=low, high=high, origin="test")
    part = ModalityPreparation(channels=channels, intensity=fitted, dtype=dtype, quantity="counts", format="tiff")
    return Preparation(
        spatial_dims=dims, grid=GridSettings.model_validate(grid), slices=slices, modalities={"image": part}
    )


def volume(axes: tuple[tuple[int, int], ...], shape: tuple[int, ...], angle: float = 0.0) -> Image:
    """A volume whose array axis n runs along world axis `axes[n][0]`, turned by `angle` about an oblique axis."""
    spacing = np.array([0.5, 1.25, 3.0])
    matrix = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(axes):
        matrix[world, axis] = sign * spacing[axis]
    towards = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.cross(np.eye(3), towards)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ matrix, (-20, 3, 7)
    pixels = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    return Image(pixels, affine)


@settings(max_examples=60, deadline=None)
@given(
    axes=st.sampled_from(ORIENTATIONS),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    angle=st.floats(-0.5, 0.5),
    axis=st.sampled_from([None, "axial", "coronal", "sagittal"]),
)
def test_a_volume_of_any_orientation_comes_back_exactly(axes, shape, angle, axis) -> None:
    image = volume(axes, shape, angle)
    slices = SliceSettings(axis=axis) if axis else None
    prepared = preparation(dims=2 if axis else 3, slices=slices)
    stack = prepared.prepare(image, "image")
    back = prepared.restore(stack, "image", image)
    np.testing.assert_array_equal(back.pixels, image.pixels)
    assert back.pixels.dtype == np.uint16 and back.quantity == "counts"
    np.testing.assert_array_equal(back.affine, image.affine)


@pytest.mark.parametrize("axes", ORIENTATIONS)
@pytest.mark.parametrize(("axis", "codes"), [("axial", "SPL"), ("coronal", "PIL"), ("sagittal", "LIP"), (None, "RAS")])
def test_the_network_sees_every_orientation_alike(axes, axis, codes) -> None:
    # One body: a value that says where in the patient it lies, in mm steps along R, A and S.
    image = volume(axes, (4, 5, 6), 0.1)
    straight = volume(axes, (4, 5, 6))
    places = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1) @ straight.affine[:3, :3].T
    prepared = preparation(dims=2 if axis else 3, slices=SliceSettings(axis=axis) if axis else None,
                           dtype="float64", low=-1000, high=1000)  # fmt: skip
    for world, names in enumerate(("LR", "PA", "IS")):
        shown = image.with_pixels(places[..., world])
        stack = prepared.prepare(shown, "image")
        seen = stack[:, 0] if axis else stack[0, 0]
        along = next(n for n, code in enumerate(codes) if code in names)
        steps = np.diff(seen, axis=along)
        assert (steps > 0).all() if codes[along] == names[1] else (steps < 0).all()
        for other in set(range(3)) - {along}:
            np.testing.assert_allclose(np.diff(seen, axis=other), 0, atol=1e-6)


@pytest.mark.parametrize("axes", ORIENTATIONS[::7])
@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal", None])
def test_a_grid_by_spacing_is_isotropic_whatever_the_axis_order(axes, axis) -> None:
    image = volume(axes, (40, 16, 6), 0.2)  # 20 × 20 × 18 mm
    prepared = preparation(dims=2 if axis else 3, slices=SliceSettings(axis=axis) if axis else None, spacing=2.0)
    stack = prepared.prepare(image, "image")
    own = orientations.io_orientation(image.affine)[:, 0].astype(int)
    extent = {int(world): round(n * step / 2) for world, n, step in zip(own, image.shape, image.spacing, strict=True)}
    order = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1), None: (0, 1, 2)}[axis]
    assert stack.shape[2:] == tuple(extent[world] for world in order)
    back = prepared.restore(stack, "image", image)
    assert back.shape == image.shape and np.array_equal(back.affine, image.affine)


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint8", 0, 255), ("uint16", 0, 65535), ("int16", -1024, 3071), ("float32", -2, 5)]
)
@pytest.mark.parametrize("channels", [(), COLOURS])
def test_pictures_of_each_type_come_back(dtype: str, low: float, high: float, channels: tuple[str, ...]) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.uniform(low, high, (9, 14, 3) if channels else (9, 14))
    pixels.flat[:2] = low, high
    pixels = (np.rint(pixels) if dtype != "float32" else pixels).astype(dtype)
    image = Image(pixels, picture_affine((0.1, 0.2)), channels=channels)
    prepared = preparation(dtype=dtype, channels=channels, low=low, high=high)
    stack = prepared.prepare(image, "image")
    assert stack.shape == (1, 3 if channels else 1, 9, 14) and stack.dtype == np.float32
    assert stack.min() == -1 and stack.max() == 1
    back = prepared.restore(stack, "image", image)
    assert back.pixels.dtype == dtype and back.channels == channels and back.spacing == image.spacing
    if dtype == "float32":
        np.testing.assert_allclose(back.pixels, pixels, atol=1e-6 * (high - low))
    else:
        np.testing.assert_array_equal(back.pixels, pixels)


def test_restore_reaches_both_ends_and_never_leaves_the_range() -> None:
    image = Image(np.zeros((1, 3), np.uint16))
    prepared = preparation(low=100, high=60000)
    back = prepared.restore(np.array([[[[-1.2, 0.0, 1.3]]]]), "image", image)
    assert back.pixels.tolist() == [[100, 30050, 60000]]


@pytest.mark.parametrize(
    ("grid", "shape"),
    [
        ({}, (30, 50)),
        ({"shrink": 4}, (8, 12)),
        ({"size": (7, 99)}, (7, 99)),
        ({"spacing": 0.5}, (6, 20)),
        ({"shrink": 1000}, (1, 1)),
        ({"spacing": 0.05}, (60, 200)),
    ],
)
def test_each_grid_gives_its_shape_and_comes_back_to_the_files(grid: dict, shape: tuple[int, int]) -> None:
    row, column = np.mgrid[:30, :50]
    image = Image((30000 + 200 * row + 300 * column).astype(np.uint16), picture_affine((0.1, 0.2)))
    prepared = preparation(**grid)
    stack = prepared.prepare(image, "image")
    assert stack.shape == (1, 1, *shape)
    assert np.abs(stack).max() <= 1
    assert prepared.restore(stack, "image", image).shape == (30, 50)


def test_resizing_keeps_edges_and_means_in_place() -> None:
    half = np.zeros((1, 1, 8, 8), np.float32)
    half[..., 4:] = 1
    np.testing.assert_allclose(resize_stack(half, (4, 4))[0, 0, 0], [0, 0, 1, 1])
    for shape in ((16, 16), (4, 16), (16, 4), (3, 5)):
        assert resize_stack(half, shape).mean() == pytest.approx(0.5, abs=0.01), shape
    # A shrinking axis is averaged even while the other grows: fine stripes become grey, not stripes.
    stripes = np.tile(np.array([0, 1], np.float32), 32)[None, None, None].repeat(8, 2)
    np.testing.assert_allclose(resize_stack(stripes, (16, 8)), 0.5, atol=1e-6)
    np.testing.assert_allclose(resize_stack(stripes[..., None], (16, 8, 1)), 0.5, atol=1e-6)


def test_cubic_overshoot_stays_in_range() -> None:
    pixels = np.zeros((8, 8), np.uint16)
    pixels[:, 4:] = 65535
    assert np.abs(preparation(size=(32, 32)).prepare(Image(pixels), "image")).max() <= 1


def refused(prepared: Preparation, image: Image, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepared.prepare(image, "image")


def test_what_the_network_was_not_trained_on_is_refused() -> None:
    grey = Image(np.zeros((4, 4), np.uint16))
    refused(preparation(dtype="float32"), Image(np.array([[1, np.nan]], np.float32)), "NaN or infinite")
    refused(preparation(dtype="float32"), Image(np.array([[1, np.inf]], np.float32)), "NaN or infinite")
    rgba = Image(np.zeros((4, 4, 4), np.uint8), channels=(*COLOURS, "alpha"))
    refused(preparation(dtype="uint8", channels=COLOURS), rgba, "trained on channels red, green, blue; convert")
    refused(preparation(channels=COLOURS), grey, "has one channel")
    refused(preparation(), Image(np.zeros((4, 4, 4), np.uint16)), "takes two-dimensional images; for volumes")
    refused(preparation(dims=3), grey, "takes volumes")
    refused(preparation(spacing=1.0), Image(grey.pixels, has_physical_size=False), "needs images with a pixel size")
    refused(preparation(size=(4, 4, 4)), grey, "3 numbers for images of 2 axes")


@pytest.mark.parametrize("grid", [{"shrink": 2, "spacing": 1}, {"size": (0, 4)}, {"size": (4,)}, {"shrink": 0}])
def test_grids_that_contradict_themselves_are_refused(grid: dict) -> None:
    with pytest.raises(ValidationError):
        GridSettings.model_validate(grid)


def test_sample_shares_follow_the_slices() -> None:
    image = volume(((2, -1), (0, 1), (1, 1)), (5, 3, 4))
    foreground = np.zeros(image.shape, bool)
    foreground[0] = True  # the topmost axial slice
    shares = preparation(slices=SliceSettings()).sample_shares(foreground, image)
    assert shares.tolist() == [0, 0, 0, 0, 1]
    assert preparation(dims=3).sample_shares(foreground, image).tolist() == [pytest.approx(0.2)]


def cases(folder: Path, *images: Image) -> list[CaseFiles]:
    folder.mkdir(exist_ok=True)
    return [
        CaseFiles(f"s{number}", "", {"image": write(image, folder / f"{number}.tiff")})
        for number, image in enumerate(images)
    ]


def fitted(files: list[CaseFiles], **intensity: object) -> Preparation:
    given = {"intensity": {"image": intensity}} if intensity else {}
    return fit_preparation(PreparationSettings.model_validate(given), files, ("image",), 2)


def test_fitting_takes_type_channels_and_range_of_the_files(tmp_path: Path) -> None:
    pixels = np.array([[5, 1000]], np.uint16)
    part = fitted(cases(tmp_path, Image(pixels), Image(pixels + 1))).modalities["image"]
    assert (part.dtype, part.channels, part.format) == ("uint16", (), "tiff")
    assert (part.intensity.low, part.intensity.high) == (5, 1001)


@pytest.mark.parametrize(("dtype", "others"), [(np.uint8, (np.uint16, np.float32)), (np.uint16, (np.uint8, float))])
def test_a_map_of_an_integer_type_takes_no_other_type(tmp_path: Path, dtype: type, others: tuple[type, ...]) -> None:
    image = Image(np.array([[5, 200]], dtype))
    prepared = fitted(cases(tmp_path, image))
    prepared.prepare(image, "image")
    for other in others:
        refused(
            prepared, Image(np.array([[0, 1]], other)), f"{np.dtype(other)} pixels .* convert it to {dtype.__name__}"
        )
    given = fitted(cases(tmp_path, image), map="fixed", low=0, high=255)
    for other in others:  # a range in a unit holds whatever the type
        given.prepare(Image(np.array([[0, 1]], other)), "image")


def test_unlike_or_broken_training_files_are_refused(tmp_path: Path) -> None:
    grey, colour = np.array([[5, 9]], np.uint8), np.zeros((1, 2, 3), np.uint8)
    with pytest.raises(UserError, match=r"differ: .*0\.tiff has one channel of uint8, .*1\.tiff channels red"):
        fitted(cases(tmp_path, Image(grey), Image(colour, channels=COLOURS)))
    with pytest.raises(UserError, match="differ"):
        fitted(cases(tmp_path, Image(grey), Image(grey.astype(np.uint16))))
    with pytest.raises(UserError, match=r"1\.tiff has NaN"):
        fitted(cases(tmp_path, Image(grey.astype(np.float32)), Image(np.full((1, 2), np.nan, np.float32))))
    with pytest.raises(UserError, match=r"'imgae'.*did you mean 'image'"):
        fit_preparation(
            PreparationSettings.model_validate({"intensity": {"imgae": {}}}),
            cases(tmp_path, Image(grey)),
            ("image",),
            2,
        )
    for intensity in ({}, {"map": "fixed", "low": 0, "high": 1}):
        with pytest.raises(UserError, match="no training case"):
            fitted([], **intensity)


def test_a_preparation_survives_its_card() -> None:
    prepared = preparation(slices=SliceSettings(axis="coronal"), spacing=1.5, channels=COLOURS)
    assert Preparation.model_validate_json(prepared.model_dump_json()) == prepared
    for dtype in ("object", "nonsense", "complex64"):
        with pytest.raises(ValidationError):
            preparation(dtype=dtype)


def test_depth_rises_from_the_rim_in_millimetres_and_ends_at_one() -> None:
    made = preparation(dims=3).model_copy(update={"region": RegionSettings(depth=4.0)})
    region = np.zeros((20, 20, 20), bool)
    region[2:18, 2:18, 4:16] = True
    image = Image(region.astype(np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
    depth = made.prepare_depth(region, image)[0, 0]
    assert depth.dtype == np.float32 and depth.shape == (20, 20, 20)
    assert depth[0, 0, 0] == -1 and depth[10, 10, 9] == 1, "12 mm deep"
    assert depth[2, 10, 9] == pytest.approx(2 * 1 / 4 - 1), "1 mm along the rows"
    assert depth[10, 10, 4] == pytest.approx(2 * 2 / 4 - 1), "2 mm across slices"
    whole = made.prepare_depth(np.ones((20, 20, 20), bool), image)[0, 0]
    assert whole[0, 10, 10] < whole[3, 10, 10], "the end of the field is a rim"
