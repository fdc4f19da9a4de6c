import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.total_variation import denoise_tv
from transmodal.tomography.tv_tuning import Candidate, log_grid, tune_tv


def marked(number: float) -> np.ndarray:
    return np.full((2, 2), number, np.float32)


def mean_log_distance(image: np.ndarray, truth: np.ndarray) -> float:
    return float(abs(np.log10(image.mean() / truth.mean())))


def weight_itself(sinogram: np.ndarray, weight: float) -> np.ndarray:
    """A reconstruction whose every pixel is the weight: the best weight is then the truth's value."""
    return marked(weight)


def test_the_weight_of_the_best_mean_score_is_found_with_all_candidates() -> None:
    truths = [marked(0.05), marked(0.2)]
    told: list[Candidate] = []
    tuning = tune_tv(
        truths,
        truths,
        weight_itself,
        mean_log_distance,
        log_grid(1e-3, 10, 5),
        better="lower",
        progress=told.append,
    )
    assert tuning.weight == pytest.approx(0.1)
    assert [candidate.weight for candidate in tuning.table] == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10])
    assert tuning.table[2].cases == pytest.approx((np.log10(2), np.log10(2)), rel=1e-5)
    assert tuning.table[2].score == pytest.approx(np.log10(2), rel=1e-5)
    assert tuning.cases == (0, 1)
    assert not tuning.on_edge
    assert tuple(told) == tuning.table


@pytest.mark.parametrize(("truth", "found", "on_edge"), [(1e-3, 1e-3, False), (1e4, 1e4, False), (1e9, 1e5, True)])
def test_the_grid_goes_on_beyond_a_best_weight_on_its_edge(truth: float, found: float, on_edge: bool) -> None:
    tuning = tune_tv([marked(0)], [marked(truth)], weight_itself, mean_log_distance, (0.1, 1, 10), better="lower")
    assert tuning.weight == pytest.approx(found)
    assert tuning.on_edge is on_edge
    assert list(tuning.table) == sorted(tuning.table, key=lambda candidate: candidate.weight)


def test_cases_are_drawn_by_the_seed() -> None:
    truths = [marked(0.1)] * 9
    drawn = [
        tune_tv(truths, truths, weight_itself, mean_log_distance, (0.1, 1), better="lower", most=3, seed=seed).cases
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 3


def test_denoising_is_tuned_to_its_noise() -> None:
    generator = np.random.default_rng(0)
    truth = np.zeros((32, 32), np.float32)
    truth[8:20, 10:24] = 1

    def mean_square(image: np.ndarray, truth: np.ndarray) -> float:
        return float(np.mean((image - truth) ** 2))

    found = []
    for deviation in (0.05, 0.4):
        noisy = [truth + generator.normal(scale=deviation, size=truth.shape) for _ in range(2)]
        tuning = tune_tv(
            noisy,
            [truth] * 2,
            lambda image, weight: denoise_tv(image, weight, 60, accelerated=True),
            mean_square,
            log_grid(0.01, 1, 7),
            better="lower",
        )
        found.append(tuning.weight)
    assert found[0] < 0.5 * found[1]


def test_what_cannot_be_tuned_is_refused() -> None:
    case = [marked(1)]
    with pytest.raises(UserError, match="as many truths"):
        tune_tv(case, [], weight_itself, mean_log_distance, (1, 2))
    with pytest.raises(UserError, match="rising weights"):
        tune_tv(case, case, weight_itself, mean_log_distance, (2, 1))
    with pytest.raises(UserError, match="cannot be compared"):
        tune_tv(case, case, weight_itself, lambda image, truth: float("nan"), (1, 2))
    with pytest.raises(UserError, match="grid of weights"):
        log_grid(0, 1, 5)
