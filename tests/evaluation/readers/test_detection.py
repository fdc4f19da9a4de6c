"""Accuracy, d′ and their intervals, beside SciPy and closed forms."""

import numpy as np
import pytest
from scipy import stats

from transmodal.evaluation.readers.detection import (
    forced_choice,
    mean_d_prime,
    mean_forced_choice_d_prime,
    mean_share,
    proportion,
    yes_no,
)
from transmodal.evaluation.readers.resampling import Layout


@pytest.mark.parametrize(("right", "trials"), [(0, 7), (7, 7), (3, 10), (61, 100), (500, 1000)])
def test_a_share_has_the_exact_interval_and_test_of_scipy(right: int, trials: int) -> None:
    found, expected = proportion(right, trials), stats.binomtest(right, trials, 0.5)
    limits = expected.proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=1e-12)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.share == right / trials


def test_no_trial_has_no_share_and_impossible_counts_are_refused() -> None:
    assert proportion(0, 0).share is None
    with pytest.raises(ValueError, match="5 successes in 3 trials"):
        proportion(5, 3)


def test_yes_no_follows_the_closed_form() -> None:
    found = yes_no(hits=40, signals=50, false_alarms=15, noises=50)
    z_hit, z_alarm = stats.norm.ppf(40.5 / 51), stats.norm.ppf(15.5 / 51)
    assert found.d_prime.value == pytest.approx(z_hit - z_alarm)
    assert found.criterion.value == pytest.approx(-(z_hit + z_alarm) / 2)
    assert found.accuracy.share == pytest.approx(0.75)
    assert found.sensitivity is not None and found.sensitivity.share == pytest.approx(0.8)
    assert found.specificity is not None and found.specificity.share == pytest.approx(0.7)


def test_perfect_answers_have_a_finite_d_prime() -> None:
    found = yes_no(20, 20, 0, 20)
    assert found.d_prime.value == pytest.approx(2 * stats.norm.ppf(20.5 / 21))
    assert found.d_prime.low is not None and np.isfinite(found.d_prime.low)
    assert found.d_prime.high is not None and np.isfinite(found.d_prime.high)


def test_a_reader_who_saw_one_class_only_has_words_instead_of_d_prime() -> None:
    found = yes_no(5, 10, 0, 0)
    assert found.d_prime.value is None and found.d_prime.note == "saw no real image"
    assert yes_no(0, 0, 1, 4).d_prime.note == "saw no synthetic image"


def test_forced_choice_follows_the_closed_form_and_finds_the_side_bias() -> None:
    even = forced_choice(20, 25, 5, 25)
    assert even.accuracy.share == pytest.approx(0.8)
    assert even.d_prime.value == pytest.approx(np.sqrt(2) * stats.norm.ppf(40.5 / 51))
    assert even.d_prime.low == pytest.approx(np.sqrt(2) * stats.norm.ppf(even.accuracy.low))
    assert even.criterion.value == pytest.approx(0, abs=1e-12)
    leftish = forced_choice(24, 25, 15, 25).criterion.value
    assert leftish is not None and leftish < -0.3
    assert forced_choice(25, 25, 0, 25).d_prime.high == np.inf


@pytest.mark.parametrize("d_prime", [0.0, 1.0, 2.0])
def test_intervals_of_d_prime_cover_the_truth(d_prime: float) -> None:
    generator = np.random.default_rng(1)
    hits = generator.binomial(60, stats.norm.cdf(d_prime / 2 - 0.2), 400)
    alarms = generator.binomial(60, stats.norm.cdf(-d_prime / 2 - 0.2), 400)
    found = [yes_no(int(hit), 60, int(alarm), 60) for hit, alarm in zip(hits, alarms, strict=True)]
    for name, truth in (("d_prime", d_prime), ("criterion", 0.2)):
        estimates = [getattr(each, name) for each in found]
        assert 0.92 <= np.mean([each.low <= truth <= each.high for each in estimates]) <= 0.985


def _study(generator: np.random.Generator, readers: int, subjects: int) -> tuple[np.ndarray, Layout]:
    skill, ease = generator.normal(0, 0.3, readers), generator.normal(0, 0.5, subjects)
    right = 0.6 + skill[:, None] + ease + generator.normal(size=(readers, subjects)) > 0
    reader, subject = np.indices(right.shape)
    return right.ravel(), Layout.of(reader.ravel(), subject.ravel())


def test_the_mean_over_readers_covers_the_truth_of_new_readers_and_new_cases() -> None:
    generator = np.random.default_rng(2)
    truth = stats.norm.cdf(0.6 / np.sqrt(1 + 0.3**2 + 0.5**2))
    hits, naive = 0, 0
    for trial in range(150):
        right, layout = _study(generator, 6, 30)
        found = mean_share(right, layout, seed=trial, resamples=200)
        assert found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
        pooled = proportion(int(right.sum()), right.size)
        assert pooled.low is not None and pooled.high is not None
        naive += pooled.low <= truth <= pooled.high
    assert 0.91 <= hits / 150 <= 0.995
    assert naive < 0.8 * 150  # as if independent: too sure


def test_both_readers_and_subjects_widen_the_interval_of_the_mean() -> None:
    generator = np.random.default_rng(7)
    of_reader, of_subject = generator.normal(0.5, 0.02, 8), generator.normal(0, 0.04, 25)
    values = of_reader[:, None] + of_subject  # no noise: the variance of the mean is known
    reader, subject = np.indices(values.shape)
    found = mean_share(values.ravel(), Layout.of(reader.ravel(), subject.ravel()), resamples=4000)
    parts = of_reader.var(ddof=1) / 8, of_subject.var(ddof=1) / 25
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 7 + parts[1] ** 2 / 24)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts))
    assert found.low is not None and found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.06)


def test_readers_count_alike_however_much_they_answered() -> None:
    layout = Layout.of(["a"] * 8 + ["b"] * 2, list("stuvwxyzst"))
    found = mean_share([1] * 8 + [0] * 2, layout)
    assert found.value == pytest.approx(0.5)
    assert found.note == "the interval holds for these 2 readers only"


def test_mean_d_prime_is_the_mean_of_the_readers_own() -> None:
    generator = np.random.default_rng(0)
    true = np.tile(np.repeat([0, 1], 20), 5)
    said = generator.random(true.size) < 0.3 + 0.4 * true
    reader, subject = np.repeat(np.arange(5), 40), np.tile(np.arange(40), 5)
    singles: list[float] = []
    for name in range(5):
        own, is_true = said[reader == name], true[reader == name] == 1
        singles.append(yes_no(int(own[is_true].sum()), 20, int(own[~is_true].sum()), 20).d_prime.value or np.nan)
    found = mean_d_prime(said, true, Layout.of(reader, subject))
    assert found.value == pytest.approx(np.mean(singles))
    assert found.low is not None and found.low < np.mean(singles)
    same = mean_forced_choice_d_prime(said == true, Layout.of(reader, subject))
    rights = [(said == true)[reader == name].sum() for name in range(5)]
    assert same.value == pytest.approx(np.mean([np.sqrt(2) * stats.norm.ppf((k + 0.5) / 41) for k in rights]))


def test_answers_without_spread_have_words_instead_of_an_interval() -> None:
    layout = Layout.of(np.repeat(list("abcd"), 6), np.tile(list("stuvwx"), 4))
    found = mean_share(np.ones(24), layout)
    assert (found.value, found.low, found.note) == (1.0, None, "no interval: the answers show no spread")
    two = mean_share([1, 0, 1], Layout.of(["a"] * 3, ["s", "t", "u"]))
    assert two.note == "3 subjects: no interval"
