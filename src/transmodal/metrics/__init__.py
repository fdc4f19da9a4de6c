"""Image-quality metrics, one file each, and the table of them.

Every metric is a plain function of arrays. None guesses a data range, none imports anything else of this project, and
each refuses what it cannot score with a ValueError of one line. The table tells what a number means and loads its
function when it is first needed; to add a metric, write its file, its line here and its test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """What a score is called, which way is better, and what it must be told.

    Attributes:
        name: the key in the table, in CSV headers and on the command line.
        title: the name for tables and figures.
        direction: which values are better.
        level: "image" compares one predicted image with its truth: ``function(predicted, truth, **options)`` gives a
            float; "set" compares two collections: ``function(predicted_images, true_images, **options)`` gives a
            score with its ``value`` and the numbers of images, which belong beside it.
        options: keyword arguments that the function takes.
        unit: of the value; "units" are those of the image.
        source: where the definition is published.
        load: imports and gives the function; :attr:`function` is the same as an attribute.
    """

    name: str
    title: str
    direction: Literal["higher", "lower"]
    level: Literal["image", "set"]
    options: tuple[str, ...]
    unit: str
    source: str
    load: Callable[[], Callable[..., Any]]

    @property
    def function(self) -> Callable[..., Any]:
        """The metric itself; its module is imported at the first use."""
        return self.load()

    @property
    def needs_range(self) -> bool:
        """Whether the score is meaningless without a stated ``data_range``, or ``limits`` (low, high)."""
        return "data_range" in self.options or "limits" in self.options


def _of(module: str, function: str) -> Callable[[], Callable[..., Any]]:
    # Only this table's own constants come here; torch and numba stay unloaded until a score is asked for.
    return lambda: getattr(import_module(f"transmodal.metrics.{module}"), function)


_SKIMAGE = "definition of skimage.metrics"
_WANG = "Wang et al., IEEE TIP 13(4), 2004"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mse", "MSE", "lower", "image", ("mask",), "squared units", _SKIMAGE, _of("pointwise", "mse")),
        Metric("mae", "MAE", "lower", "image", ("mask",), "units", "mean |error|", _of("pointwise", "mae")),
        Metric("nrmse", "NRMSE", "lower", "image", ("normalisation", "mask"), "1", _SKIMAGE, _of("pointwise", "nrmse")),
        Metric("psnr", "PSNR", "higher", "image", ("data_range", "mask"), "dB", _SKIMAGE, _of("pointwise", "psnr")),
        Metric(
            "ssim", "SSIM", "higher", "image", ("data_range", "mask", "spatial_dims"), "1", _WANG, _of("ssim", "ssim")
        ),
        Metric(
            "fnsd",
            "Fréchet natural-scene distance",
            "lower",
            "set",
            ("data_range", "block"),
            "1",
            "NIQE's features (Mittal et al., IEEE SPL 20(3), 2013) under a Fréchet distance",
            _of("natural_scene", "fnsd"),
        ),
        Metric(
            "fid",
            "FID",
            "lower",
            "set",
            ("weights", "limits", "batch_size", "device"),
            "1",
            "Heusel et al., NeurIPS 2017",
            _of("inception", "fid"),
        ),
    )
}

__all__ = ["METRICS", "Metric"]
