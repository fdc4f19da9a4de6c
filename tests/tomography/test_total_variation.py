import numpy as np
import pytest
from skimage.restoration import denoise_tv_chambolle
from tests.data.matrix_projector import MatrixProjector

from transmodal.errors import UserError
from transmodal.tomography import tv_dual
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.geometry import ConeBeam, Grid, covering, evenly
from transmodal.tomography.operator import Projector
from transmodal.tomography.total_variation import denoise_tv, poisson_weights, total_variation, tv_fista, tv_pdhg

GRID = Grid((32, 32), (1.2, 1.2))
WEIGHT = 0.02
METHODS = {"pdhg": tv_pdhg, "fista": tv_fista}


def phantom(size: int = 32) -> np.ndarray:
    """Attenuation of a disc with a denser and a hollow part, in 1/mm."""
    y, x = np.mgrid[:size, :size] * 2 / (size - 1) - 1
    image = np.where(x**2 + y**2 < 0.7, 0.02, 0.0)
    image[(x - 0.3) ** 2 + y**2 < 0.06] = 0.04
    image[(x + 0.35) ** 2 + (y - 0.2) ** 2 < 0.05] = 0.0
    return image.astype(np.float32)


def noise(shape: tuple[int, ...], deviation: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=deviation, size=shape).astype(np.float32)


def blocks(shape: tuple[int, ...]) -> np.ndarray:
    image = noise(shape, 0.1)
    image[tuple(slice(length // 4, length // 2) for length in shape)] += 1
    return image


@pytest.fixture(scope="module")
def projector() -> MatrixProjector:
    return MatrixProjector(GRID, covering(GRID, 16))


@pytest.fixture(scope="module")
def sinogram(projector: MatrixProjector) -> np.ndarray:
    clean = projector.forward(phantom())
    return clean + noise(clean.shape, 0.02)


def value(image: np.ndarray, projector: MatrixProjector, sinogram: np.ndarray, weight: float = WEIGHT) -> float:
    """F written out in double precision."""
    x = image.astype(np.float64)
    spacing = projector.grid.spacing[0]
    down, right = np.diff(x, axis=0, append=x[-1:]), np.diff(x, axis=1, append=x[:, -1:])
    residual = projector.matrix @ x.ravel() - sinogram.ravel()
    return 0.5 * float(residual @ residual) + weight * spacing * float(np.hypot(down, right).sum())


@pytest.fixture(scope="module")
def reference(projector: MatrixProjector, sinogram: np.ndarray) -> float:
    """The least value that a long run of another method reaches: Chambolle and Pock in double precision, untuned."""
    rows, columns = GRID.shape
    h, data = GRID.spacing[0], projector.matrix
    bound = WEIGHT * h
    step = 0.99 / np.sqrt(projector.norm() ** 2 + 8 * 30**2)
    x = ahead = np.zeros(rows * columns)
    dual, up, left = np.zeros(sinogram.size), np.zeros(GRID.shape), np.zeros(GRID.shape)
    for _ in range(4000):
        image = ahead.reshape(GRID.shape)
        dual = (dual + step * (data @ ahead - sinogram.ravel())) / (1 + step)
        up = up + step * 30 * np.diff(image, axis=0, append=image[-1:])
        left = left + step * 30 * np.diff(image, axis=1, append=image[:, -1:])
        length = np.maximum(1, 30 * np.hypot(up, left) / bound)
        up, left = up / length, left / length
        divergence = np.diff(up, axis=0, prepend=0) + np.diff(left, axis=1, prepend=0)
        following = np.maximum(x - step * (data.T @ dual - 30 * divergence.ravel()), 0)
        x, ahead = following, 2 * following - x
    return value(x.reshape(GRID.shape), projector, sinogram)


# Total variation


def test_total_variation_is_perimeter_times_height_whatever_the_grid() -> None:
    for size in (20, 40):
        image = np.zeros((size, 2 * size), np.float32)
        image[size // 4 : size // 2, size // 2 : size] = 0.3
        assert total_variation(image, (20 / size, 10 / size)) == pytest.approx(0.3 * 2 * (5 + 5), rel=0.02)


def test_total_variation_is_isotropic_forward_differences() -> None:
    image = noise((7, 9, 5))
    parts = [np.diff(image, axis=axis, append=np.take(image, [-1], axis)) for axis in range(3)]
    by_hand = np.sqrt(sum((part / length) ** 2 for part, length in zip(parts, (0.5, 2.0, 1.0), strict=True))).sum()
    assert total_variation(image, (0.5, 2.0, 1.0)) == pytest.approx(by_hand, rel=1e-5)
    stack = sum(total_variation(one) for one in image)
    assert total_variation(image, spatial_dims=2) == pytest.approx(stack, rel=1e-6)


# Denoising


@pytest.mark.parametrize("shape", [(40, 56), (12, 20, 24), (9, 1), (1, 9), (3, 1, 5)])
@pytest.mark.parametrize("weight", [0.02, 0.2])
def test_denoising_is_that_of_scikit_image(shape: tuple[int, ...], weight: float) -> None:
    image = blocks(shape)
    for iterations in (1, 7, 50):
        peer = denoise_tv_chambolle(image.astype(np.float64), weight, eps=0, max_num_iter=iterations + 1)
        np.testing.assert_allclose(denoise_tv(image, weight, iterations), peer, atol=2e-5)


def test_the_same_number_of_iterations_gives_what_scikit_image_gives_within_a_thousandth() -> None:
    image = blocks((64, 64))
    peer = denoise_tv_chambolle(image, 0.1, eps=0, max_num_iter=100)
    assert np.linalg.norm(denoise_tv(image, 0.1, 100) - peer) < 1e-3 * np.linalg.norm(peer)


@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("shape", [(64, 33), (40, 10, 12)])
def test_strips_of_several_threads_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, accelerated: bool, shape: tuple[int, ...]
) -> None:
    image = blocks(shape)
    whole = denoise_tv(image, 0.1, 37, accelerated=accelerated)
    monkeypatch.setattr(tv_dual, "_WORTH_A_STRIP", 1)
    monkeypatch.setattr(tv_dual, "_BLOCK", 5)
    monkeypatch.setattr(tv_dual, "threads", lambda: 3)
    ascent = tv_dual.DualAscent(tv_dual.TotalVariation(shape, (1.0,) * len(shape)), accelerated=accelerated)
    assert len(ascent._strips) == 3
    np.testing.assert_array_equal(ascent.denoise(image, 0.1, 37), whole)


@pytest.mark.parametrize("shape", [(24, 30), (8, 10, 12)])
def test_both_ascents_reach_the_same_minimum_the_accelerated_one_sooner(shape: tuple[int, ...]) -> None:
    image = blocks(shape)

    def height(denoised: np.ndarray) -> float:
        apart = denoised.astype(np.float64) - image
        return 0.5 * float((apart**2).sum()) + 0.15 * total_variation(denoised)

    long = height(denoise_tv(image, 0.15, 3000))
    assert height(denoise_tv(image, 0.15, 1000, accelerated=True)) == pytest.approx(long, rel=1e-4)
    fast, slow = (height(denoise_tv(image, 0.15, 60, accelerated=quick)) - long for quick in (True, False))
    assert 0 <= fast < 0.6 * slow


def test_accelerated_steps_are_those_of_beck_and_teboulle_and_go_on_from_the_dual_kept() -> None:
    image, weight, spacing = blocks((9, 11)) - 0.2, 0.15, (0.5, 2.0)
    variation = tv_dual.TotalVariation(image.shape, spacing)
    ascent = tv_dual.DualAscent(variation, accelerated=True)
    step = 1 / (4 * (spacing[0] ** -2 + spacing[1] ** -2))

    def primal(dual: np.ndarray) -> np.ndarray:
        down, right = (np.diff(dual[k], axis=k, prepend=0) / spacing[k] for k in (0, 1))
        return np.maximum(image + down + right, 0)

    kept = np.zeros((2, *image.shape))
    for _ in range(2):
        ahead, age = kept, 1.0
        for _ in range(6):
            x = primal(ahead)
            risen = ahead + step * np.stack(
                [np.diff(x, axis=k, append=np.take(x, [-1], k)) / spacing[k] for k in (0, 1)]
            )
            projected = risen / np.maximum(1, np.sqrt((risen**2).sum(0)) / weight)
            older = (1 + np.sqrt(1 + 4 * age**2)) / 2
            ahead, kept, age = projected + (age - 1) / older * (projected - kept), projected, older
        np.testing.assert_allclose(ascent.denoise(image, weight, 6, 0.0), primal(kept), atol=1e-5)


def test_spacing_is_that_of_the_minimised_sum() -> None:
    image = blocks((24, 20))
    # A pixel of h and a weight of w·h is a pixel of 1 and a weight of w.
    np.testing.assert_allclose(
        denoise_tv(image, 0.1 * 0.085, 80, spacing=(0.085, 0.085)), denoise_tv(image, 0.1, 80), atol=1e-5
    )
    # Rows so far apart that they hardly count: each is denoised on its own.
    apart = denoise_tv(image, 0.1, 800, spacing=(1e3, 1.0), accelerated=True)
    alone = np.concatenate([denoise_tv(row[None], 0.1, 800, accelerated=True) for row in image])
    np.testing.assert_allclose(apart, alone, atol=3e-3)


def test_a_bound_is_kept_and_is_the_constrained_minimum() -> None:
    image = blocks((24, 24)) - 0.3
    bounded = denoise_tv(image, 0.1, 400, accelerated=True, lowest=0.0)
    assert bounded.min() == 0
    clipped = np.maximum(denoise_tv(image, 0.1, 400, accelerated=True), 0)

    def height(denoised: np.ndarray) -> float:
        return 0.5 * float(((denoised - image) ** 2).sum()) + 0.1 * total_variation(denoised)

    assert height(bounded) <= height(clipped) + 1e-5


def test_a_stack_is_denoised_slice_by_slice() -> None:
    stack = blocks((3, 20, 24))
    apart = np.stack([denoise_tv(one, 0.1, 30) for one in stack])
    np.testing.assert_array_equal(denoise_tv(stack, 0.1, 30, spatial_dims=2), apart)
    assert (denoise_tv(stack, 0.1, 30) != apart).any()


def test_no_weight_changes_nothing_and_a_great_one_leaves_the_mean() -> None:
    image = blocks((16, 16))
    np.testing.assert_array_equal(denoise_tv(image, 0.0), image)
    np.testing.assert_allclose(denoise_tv(image, 1e3, 3000, accelerated=True), image.mean(), atol=1e-3)
    assert np.isfinite(denoise_tv(image, 1e-25, 5, accelerated=True)).all()


def test_the_given_image_stays_as_it_is_and_may_be_read_only() -> None:
    image = (blocks((16, 16)) * 1000).astype(np.int16)
    image.flags.writeable = False
    kept = image.copy()
    assert denoise_tv(image, 50.0, 10).dtype == np.float32
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        ((np.zeros(5), 0.1), {}, "2 or 3 axes"),
        ((np.zeros((2, 2, 2, 2)), 0.1), {}, "2 or 3 axes"),
        ((np.zeros((5, 5)), -0.1), {}, "0 or above"),
        ((np.zeros((5, 5)), 0.1, 0), {}, "at least one iteration"),
        ((np.full((5, 5), np.nan), 0.1), {}, "not finite"),
        ((np.zeros((5, 5)), 0.1), {"spacing": (1.0,)}, "2 lengths"),
        ((np.zeros((5, 5)), 0.1), {"lowest": 0.0}, "accelerated"),
    ],
)
def test_what_cannot_be_denoised_is_refused(arguments: tuple, settings: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        denoise_tv(*arguments, **settings)


# Reconstruction


def test_fista_never_raises_the_objective(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    for weight in (0.0, WEIGHT, 1.0):
        for inner_iterations in (1, 10):
            result = tv_fista(
                sinogram, projector, weight, iterations=120, inner_iterations=inner_iterations, tolerance=0
            )
            assert (np.diff(result.objective) <= 0).all()
            assert result.objective[-1] < 0.6 * result.objective[0]
            assert result.iterations == len(result.objective)
            assert result.objective[-1] == pytest.approx(value(result.image, projector, sinogram, weight), rel=1e-4)


def test_fista_would_rise_without_its_restart(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    # Guards the test above: momentum that never starts afresh overshoots on these very projections.
    step = 1 / (1.02 * projector.norm() ** 2)
    image = ahead = np.zeros(GRID.shape, np.float32)
    age, heights = 1.0, []
    for _ in range(120):
        descended = ahead - step * projector.adjoint(projector.forward(ahead) - sinogram)
        following = denoise_tv(descended, 1.2**2 * step, 30, spacing=GRID.spacing, accelerated=True, lowest=0)
        older = (1 + np.sqrt(1 + 4 * age**2)) / 2
        ahead = following + (age - 1) / older * (following - image)
        image, age = following, older
        heights.append(value(image, projector, sinogram, 1.0))
    assert (np.diff(heights) > 1e-5 * heights[-1]).any()
    assert tv_fista(sinogram, projector, 1.0, iterations=120, tolerance=0).objective[-1] <= min(heights) * (1 + 1e-5)


@pytest.mark.parametrize(("method", "iterations"), [("fista", 200), ("pdhg", 400)])
def test_both_reach_the_value_of_a_long_reference_run(
    projector: MatrixProjector, sinogram: np.ndarray, reference: float, method: str, iterations: int
) -> None:
    result = METHODS[method](sinogram, projector, WEIGHT, iterations=iterations, tolerance=0)
    reached = value(result.image, projector, sinogram)
    assert reached == pytest.approx(result.objective[-1], rel=1e-4)
    assert reference * (1 - 1e-4) <= reached <= reference * (1 + 1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_total_variation_beats_fbp_and_least_squares_on_a_piecewise_constant_body(
    projector: MatrixProjector, sinogram: np.ndarray, method: str
) -> None:
    def error(image: np.ndarray) -> float:
        return float(np.sqrt(np.mean((image - phantom()) ** 2)))

    result = METHODS[method](sinogram, projector, WEIGHT, iterations=200)
    squares = METHODS[method](sinogram, projector, 0.0, iterations=200)
    back = fbp(sinogram, GRID, projector.beam, filter="hann")
    assert error(result.image) < 0.5 * error(squares.image)
    assert error(result.image) < 0.7 * error(back)
    assert total_variation(result.image) < total_variation(squares.image)


@pytest.mark.parametrize("method", METHODS)
def test_attenuation_is_not_negative_unless_allowed(
    projector: MatrixProjector, sinogram: np.ndarray, method: str
) -> None:
    assert METHODS[method](sinogram, projector, 1e-3, iterations=40).image.min() == 0
    assert METHODS[method](sinogram, projector, 1e-3, iterations=40, non_negative=False).image.min() < 0


@pytest.mark.parametrize("method", METHODS)
def test_no_weight_is_least_squares(method: str) -> None:
    grid = Grid((10, 10), (1.0, 1.0))
    few = MatrixProjector(grid, covering(grid, 24))
    given = few.forward(phantom(10)) + noise(few.beam.shape, 0.01)
    dense = few.matrix.toarray()
    exact = np.linalg.lstsq(dense, given.ravel().astype(np.float64), rcond=None)[0]
    result = METHODS[method](given, few, 0.0, iterations=1000, non_negative=False, tolerance=0)
    # Directions that the projections hardly see converge last: what is seen must agree.
    assert np.linalg.norm(dense @ (result.image.ravel() - exact)) < 0.01 * np.linalg.norm(dense @ exact)
    least = 0.5 * float(((dense @ exact - given.ravel()) ** 2).sum())
    assert least * (1 - 1e-4) <= result.objective[-1] <= 1.01 * least


@pytest.mark.parametrize("method", METHODS)
def test_ray_weights_weigh_the_rays(projector: MatrixProjector, sinogram: np.ndarray, method: str) -> None:
    # Two thirds of the views are spoilt; whoever says so loses nothing.
    spoilt, weights = sinogram.copy(), np.ones(sinogram.shape, np.float32)
    spoilt[::5], weights[::5] = 0.7, 0.0
    told = METHODS[method](spoilt, projector, WEIGHT, iterations=150, ray_weights=weights).image
    untold = METHODS[method](spoilt, projector, WEIGHT, iterations=150).image
    assert np.linalg.norm(told - phantom()) < 0.5 * np.linalg.norm(untold - phantom())
    # A factor common to all weights and λ changes nothing.
    both = METHODS[method](sinogram, projector, 9 * WEIGHT, iterations=300, ray_weights=np.full(sinogram.shape, 9.0))
    plain = METHODS[method](sinogram, projector, WEIGHT, iterations=300)
    assert both.objective[-1] == pytest.approx(9 * plain.objective[-1], rel=2e-3)


def test_poisson_weights_are_reciprocal_variances() -> None:
    generator = np.random.default_rng(0)
    for line_integral in (0.5, 3.0):
        counts = generator.poisson(1e4 * np.exp(-line_integral), 40_000) + generator.normal(scale=5, size=40_000)
        found = -np.log(counts / 1e4)
        weight = poisson_weights(np.array([line_integral]), 1e4, electronic=5)[0]
        assert weight == pytest.approx(1 / found.var(), rel=0.03)
    with pytest.raises(UserError, match="photons above 0"):
        poisson_weights(np.zeros(3), 0)


@pytest.mark.parametrize("method", METHODS)
def test_lambda_keeps_its_meaning_on_a_finer_grid(method: str) -> None:
    beam = covering(GRID, 12)
    given = MatrixProjector(GRID, beam).forward(phantom())
    given = given + noise(given.shape, 0.02)
    fine = MatrixProjector(GRID.finer(2), beam)
    coarse_image = METHODS[method](given, MatrixProjector(GRID, beam), 0.05, iterations=300).image
    fine_image = METHODS[method](given, fine, 0.05, iterations=300).image
    binned = fine_image.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.linalg.norm(binned - coarse_image) < 0.12 * np.linalg.norm(coarse_image)
    contents = [total_variation(image, (h, h)) for image, h in ((coarse_image, 1.2), (fine_image, 0.6))]
    assert contents[0] == pytest.approx(contents[1], rel=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_both_stop_when_the_objective_rests(projector: MatrixProjector, sinogram: np.ndarray, method: str) -> None:
    result = METHODS[method](sinogram, projector, WEIGHT, iterations=1000, tolerance=1e-3)
    assert result.stopped == "tolerance"
    recent = result.objective[-11:]
    assert max(recent) - min(recent) <= 1e-3 * recent[-1]
    assert result.iterations == len(result.objective) < 1000


@pytest.mark.parametrize("method", METHODS)
def test_a_good_start_saves_iterations(projector: MatrixProjector, sinogram: np.ndarray, method: str) -> None:
    start = phantom()
    begun = METHODS[method](sinogram, projector, WEIGHT, iterations=5, start=start)
    assert begun.objective[-1] < METHODS[method](sinogram, projector, WEIGHT, iterations=5).objective[-1]
    np.testing.assert_array_equal(start, phantom())


@pytest.mark.parametrize("method", METHODS)
def test_a_stack_is_reconstructed_slice_by_slice(projector: MatrixProjector, sinogram: np.ndarray, method: str) -> None:
    stack = np.stack([sinogram, 0.5 * sinogram[:, ::-1]])
    together = METHODS[method](stack, projector, WEIGHT, iterations=200)
    apart = [METHODS[method](one, projector, WEIGHT, iterations=200) for one in stack]
    assert together.image.shape == (2, *GRID.shape)
    assert together.objective[-1] == pytest.approx(sum(one.objective[-1] for one in apart), rel=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_progress_tells_iteration_and_objective(projector: MatrixProjector, sinogram: np.ndarray, method: str) -> None:
    told: list[tuple[int, int, float]] = []
    result = METHODS[method](sinogram, projector, WEIGHT, iterations=3, progress=lambda *news: told.append(news))
    assert told == [(number, 3, result.objective[number - 1]) for number in (1, 2, 3)]


@pytest.mark.parametrize("method", METHODS)
def test_the_compiled_projector_does_as_well(sinogram: np.ndarray, method: str) -> None:
    compiled = Projector(GRID, covering(GRID, 16))
    result = METHODS[method](sinogram, compiled, WEIGHT, iterations=150)
    assert np.sqrt(np.mean((result.image - phantom()) ** 2)) < 0.1 * phantom().max()


@pytest.mark.parametrize("method", METHODS)
def test_a_volume_is_reconstructed_from_a_cone_beam(method: str) -> None:
    grid = Grid((6, 16, 16), (2.0, 2.0, 2.0))
    beam = ConeBeam(evenly(20, 360.0), 9, 28, 3.0, 2.5, 100.0, 150.0)
    compiled = Projector(grid, beam)
    body = np.stack([phantom(16) * (0 < index < 5) for index in range(6)])
    given = compiled.forward(body)
    result = METHODS[method](given + noise(given.shape, 0.01), compiled, 1e-3, iterations=100)
    squares = METHODS[method](given + noise(given.shape, 0.01), compiled, 0.0, iterations=100)
    assert result.image.shape == grid.shape
    assert np.linalg.norm(result.image - body) < 0.8 * np.linalg.norm(squares.image - body)


def test_a_norm_that_falls_short_does_not_lead_fista_astray(
    sinogram: np.ndarray, projector: MatrixProjector, reference: float
) -> None:
    short = MatrixProjector(projector.grid, projector.beam, singular_value=0.5 * projector.norm())
    result = tv_fista(sinogram, short, WEIGHT, iterations=200, tolerance=0)
    assert (np.diff(result.objective) <= 0).all()
    assert result.objective[-1] < 1.001 * reference


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight": -1.0}, "0 or above"),
        ({"ray_weights": np.full((16, 3), 1.0)}, "ray weights have shape"),
        ({"ray_weights": np.full((16, 47), -1.0)}, "0 or above"),
        ({"ray_weights": np.full((16, 47), 0.0)}, "no ray meets"),
        ({"start": np.zeros((4, 4))}, "start image"),
    ],
)
def test_what_cannot_be_reconstructed_is_refused(
    projector: MatrixProjector, sinogram: np.ndarray, method: str, settings: dict, words: str
) -> None:
    assert sinogram.shape == (16, 47)
    with pytest.raises(UserError, match=words):
        METHODS[method](sinogram, projector, **{"weight": WEIGHT, **settings})
