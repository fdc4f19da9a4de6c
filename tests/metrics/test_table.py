"""The table of metrics: every line can be used as it says."""

import inspect
import subprocess
import sys

import pytest

from transmodal.metrics import METRICS


@pytest.mark.parametrize("name", METRICS)
def test_a_line_tells_what_its_function_takes(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name == metric.function.__name__
    parameters = inspect.signature(metric.function).parameters
    positional = [key for key, value in parameters.items() if value.kind is value.POSITIONAL_OR_KEYWORD]
    assert positional == ["predicted", "truth"]
    assert set(metric.options) == set(parameters) - {"predicted", "truth"}


@pytest.mark.parametrize("name", METRICS)
def test_no_metric_has_a_hidden_range(name: str) -> None:
    parameters = inspect.signature(METRICS[name].function).parameters
    for range_option in {"data_range", "limits"} & set(parameters):
        assert parameters[range_option].default is inspect.Parameter.empty
    assert METRICS[name].needs_range == (name not in {"mse", "mae", "nrmse"})


def test_looking_at_the_table_loads_no_heavy_library() -> None:
    code = "import sys, transmodal.metrics as m; print(len(m.METRICS), {'numba', 'torch'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == f"{len(METRICS)} set()"
