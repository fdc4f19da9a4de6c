"""The table of metrics: every line can be used as it says."""

import inspect
import subprocess
import sys

import pytest

from transmodal.metrics import METRICS, conventions, metric_of, published_conventions

WITHOUT_RANGE = {"mse", "mae", "nrmse", "nmae", "nmi", "dice", "hd95", "volume_error", "relative_volume_error"}


@pytest.mark.parametrize("name", METRICS)
def test_a_line_tells_what_its_function_takes(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name
    assert metric.function.__name__ == name.replace("@", "_").replace("-", "_")
    parameters = inspect.signature(metric.function).parameters
    positional = [key for key, value in parameters.items() if value.kind is value.POSITIONAL_OR_KEYWORD]
    assert positional == (["predicted", "truth"] if metric.needs_truth else ["predicted"])
    assert set(metric.options) == set(parameters) - {"predicted", "truth"}
    assert set(metric.dimensions) <= {2, 3}


@pytest.mark.parametrize("name", METRICS)
def test_no_metric_has_a_hidden_range(name: str) -> None:
    metric = METRICS[name]
    parameters = inspect.signature(metric.function).parameters
    for range_option in {"data_range", "limits"} & set(parameters):
        assert parameters[range_option].default is inspect.Parameter.empty
    assert metric.needs_range == (name not in WITHOUT_RANGE and not metric.convention)


def test_a_convention_names_its_metrics_after_itself() -> None:
    assert set(conventions()) == {"synthrad2023", "synthrad2025", "per-image-range", "lodopab"}
    for convention, names in conventions().items():
        for name in names:
            assert name.partition("@")[2] == convention == METRICS[name].convention
            assert name.partition("@")[0] in METRICS
            assert METRICS[name].states and "clipped" in METRICS[name].states
            assert METRICS[name].direction == METRICS[name.partition("@")[0]].direction


def test_the_words_of_a_challenge_are_the_numbers_that_it_is_computed_with() -> None:
    low, high = published_conventions.SYNTHRAD_LIMITS
    for name in ("psnr@synthrad2023", "ssim@synthrad2023", "psnr@synthrad2025", "ms_ssim@synthrad2025"):
        assert f"clipped to −{-low:g} to {high:g}, R = {published_conventions.SYNTHRAD_RANGE:g}" in METRICS[name].states
    for name in ("mae@synthrad2023", "mae@synthrad2025"):
        assert "not clipped" in METRICS[name].states
    for name in ("ssim@synthrad2023", "ms_ssim@synthrad2025", "ssim@lodopab"):
        assert "window 7×7" in METRICS[name].states and "uniform" in METRICS[name].states
    assert "Gaussian of 11" in METRICS["ssim@per-image-range"].states


def test_a_column_leads_to_its_metric() -> None:
    assert metric_of("psnr@synthrad2023") is METRICS["psnr@synthrad2023"]
    assert metric_of("dice[2]") is METRICS["dice"]
    with pytest.raises(KeyError):
        metric_of("colour")


def test_looking_at_the_table_loads_no_heavy_library() -> None:
    code = "import sys, transmodal.metrics as m; print(len(m.METRICS), {'numba', 'torch'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == f"{len(METRICS)} set()"
