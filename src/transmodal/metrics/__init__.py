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
            float; "labels" does the same with two label maps; "set" compares two collections:
            ``function(predicted_images, true_images, **options)`` gives a score with its ``value`` and the numbers of
            images, which belong beside it.
        options: keyword arguments that the function takes.
        unit: of the value; "units" are those of the image.
        source: where the definition is published.
        load: imports and gives the function; :attr:`function` is the same as an attribute.
        dimensions: of the arrays that the function takes; where 3 is not among them, a volume is scored by its slices.
        needs_truth: whether the function looks at a truth; else it is ``function(predicted, **options)``.
        convention: the published convention that fixes range, mask, clipping and dimension of this score, which the
            policy then does not touch; "" where the policy rules.
        states: with a convention, its unit, clipping, range and window in words, to stand beside every such score.
        expected_mask: the mask that its convention scores inside, in words; "" where it asks for none.
    """

    name: str
    title: str
    direction: Literal["higher", "lower"]
    level: Literal["image", "labels", "set"]
    options: tuple[str, ...]
    unit: str
    source: str
    load: Callable[[], Callable[..., Any]]
    dimensions: tuple[int, ...] = (2, 3)
    needs_truth: bool = True
    convention: str = ""
    states: str = ""
    expected_mask: str = ""

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
_SYNTHRAD23 = "SynthRAD2023 challenge, evaluation code"
_SYNTHRAD25 = "SynthRAD2025 challenge, evaluation code"
_EXTENT = "R = max − min of each truth"
_DIVAL = "DIVAL, the library of LoDoPaB-CT"


_BODY = {"expected_mask": "the challenge's body outline"}
_DILATED_BODY = {"expected_mask": "the challenge's dilated body outline"}
_UNCLIPPED_HU = "values taken as HU, not clipped, no range"
_CLIPPED_HU = "values taken as HU, clipped to −1024 to 3000, R = 4024"
_FROM_BOTTOM = (
    "counted from −1024, which also fills what is outside a mask, window 7×7×7 uniform with sample covariance"
)
_OWN_EXTENT = "unchanged values, not clipped, R = max − min of each truth where it is compared"
_SLICE_EXTENT = "unchanged values, not clipped, R = max − min of each true slice"


def _convention(
    metric: str,
    convention: str,
    title: str,
    direction: Literal["higher", "lower"],
    unit: str,
    source: str,
    states: str,
    **more: Any,
) -> Metric:
    function = f"{metric}_{convention}".replace("-", "_")
    # Not "conventions": a module of that name would take the place of the function below once it is imported.
    load = _of("published_conventions", function)
    name = f"{metric}@{convention}"
    options = more.pop("options", ("mask",))
    return Metric(
        name, title, direction, "image", options, unit, source, load, convention=convention, states=states, **more
    )


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mse", "MSE", "lower", "image", ("mask",), "squared units", _SKIMAGE, _of("pointwise", "mse")),
        Metric("mae", "MAE", "lower", "image", ("mask",), "units", "mean |error|", _of("pointwise", "mae")),
        Metric("nrmse", "NRMSE", "lower", "image", ("normalisation", "mask"), "1", _SKIMAGE, _of("pointwise", "nrmse")),
        Metric(
            "nmae",
            "NMAE",
            "lower",
            "image",
            ("denominator", "mask"),
            "1",
            "mean |error| over a named denominator",
            _of("pointwise", "nmae"),
        ),
        Metric("psnr", "PSNR", "higher", "image", ("data_range", "mask"), "dB", _SKIMAGE, _of("pointwise", "psnr")),
        Metric(
            "affine_snr",
            "SNR after affine regression",
            "higher",
            "image",
            ("limits", "mask"),
            "dB",
            "Jin et al., IEEE TIP 26(9), 2017 (FBPConvNet)",
            _of("affine_snr", "affine_snr"),
        ),
        Metric(
            "ssim", "SSIM", "higher", "image", ("data_range", "mask", "spatial_dims"), "1", _WANG, _of("ssim", "ssim")
        ),
        Metric(
            "ms_ssim",
            "MS-SSIM",
            "higher",
            "image",
            ("data_range", "mask", "spatial_dims"),
            "1",
            "Wang, Simoncelli, Bovik, Asilomar 2003",
            _of("ms_ssim", "ms_ssim"),
        ),
        Metric(
            "vif",
            "VIF (pixel domain)",
            "higher",
            "image",
            ("data_range",),
            "1",
            "Sheikh, Bovik, IEEE TIP 15(2), 2006, in its pixel-domain form",
            _of("vif", "vif"),
            dimensions=(2,),
        ),
        Metric(
            "nmi",
            "NMI",
            "higher",
            "image",
            ("bins", "mask"),
            "1",
            "Studholme et al., Pattern Recognition 32, 1999: (H(A) + H(B)) / H(A, B)",
            _of("mutual_information", "nmi"),
        ),
        Metric(
            "niqe",
            "NIQE",
            "lower",
            "image",
            ("data_range", "model"),
            "1",
            "Mittal et al., IEEE SPL 20(3), 2013",
            _of("niqe", "niqe"),
            dimensions=(2,),
            needs_truth=False,
        ),
        Metric(
            "lpips",
            "LPIPS",
            "lower",
            "image",
            ("limits", "network"),
            "1",
            "Zhang et al., CVPR 2018",
            _of("lpips", "lpips"),
            dimensions=(2,),
        ),
        Metric("dice", "Dice", "higher", "labels", ("label",), "1", "Dice, Ecology 26, 1945", _of("overlap", "dice")),
        Metric(
            "hd95",
            "HD95",
            "lower",
            "labels",
            ("label", "spacing"),
            "mm",
            "larger of the two directed 95th percentiles of surface distances",
            _of("surface", "hd95"),
        ),
        Metric(
            "volume_error",
            "volume error",
            "lower",
            "labels",
            ("label", "spacing"),
            "mm³",
            "|difference of volumes|; of pictures, of areas in mm²",
            _of("volume", "volume_error"),
        ),
        Metric(
            "relative_volume_error",
            "relative volume error",
            "lower",
            "labels",
            ("label",),
            "%",
            "|difference of volumes| over the true volume",
            _of("volume", "relative_volume_error"),
        ),
        _convention("mae", "synthrad2023", "MAE@SynthRAD2023", "lower", "HU", _SYNTHRAD23, _UNCLIPPED_HU, **_BODY),
        _convention("psnr", "synthrad2023", "PSNR@SynthRAD2023", "higher", "dB", _SYNTHRAD23, _CLIPPED_HU, **_BODY),
        _convention(
            "ssim",
            "synthrad2023",
            "SSIM@SynthRAD2023",
            "higher",
            "1",
            _SYNTHRAD23,
            f"{_CLIPPED_HU}, {_FROM_BOTTOM}",
            dimensions=(3,),
            **_BODY,
        ),
        _convention(
            "mae", "synthrad2025", "MAE@SynthRAD2025", "lower", "HU", _SYNTHRAD25, _UNCLIPPED_HU, **_DILATED_BODY
        ),
        _convention(
            "psnr", "synthrad2025", "PSNR@SynthRAD2025", "higher", "dB", _SYNTHRAD25, _CLIPPED_HU, **_DILATED_BODY
        ),
        _convention(
            "ms_ssim",
            "synthrad2025",
            "MS-SSIM@SynthRAD2025",
            "higher",
            "1",
            _SYNTHRAD25,
            f"{_CLIPPED_HU}, {_FROM_BOTTOM}, five scales with luminance at each, axes below 97 voxels padded",
            dimensions=(3,),
            **_DILATED_BODY,
        ),
        _convention("psnr", "per-image-range", "PSNR@per-image-range", "higher", "dB", _EXTENT, _OWN_EXTENT),
        _convention(
            "ssim",
            "per-image-range",
            "SSIM@per-image-range",
            "higher",
            "1",
            _EXTENT,
            f"{_OWN_EXTENT}, window Gaussian of 11 an axis with sigma 1.5",
        ),
        _convention(
            "psnr", "lodopab", "PSNR@LoDoPaB", "higher", "dB", _DIVAL, _SLICE_EXTENT, options=(), dimensions=(2,)
        ),
        _convention(
            "ssim",
            "lodopab",
            "SSIM@LoDoPaB",
            "higher",
            "1",
            _DIVAL,
            f"{_SLICE_EXTENT}, window 7×7 uniform with sample covariance",
            options=(),
            dimensions=(2,),
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
        Metric(
            "kid",
            "KID",
            "lower",
            "set",
            ("extractor", "limits", "subsets", "subset_size", "seed", "batch_size"),
            "1",
            "Bińkowski et al., ICLR 2018",
            _of("kid", "kid"),
        ),
    )
}


def metric_of(column: str) -> Metric:
    """Return the metric that a column of scores holds: "psnr", or "dice[2]" for the Dice of label 2.

    Raises:
        KeyError: there is none.
    """
    return METRICS[column.partition("[")[0]]


def conventions() -> dict[str, tuple[str, ...]]:
    """Return convention → names of its metrics."""
    names: dict[str, list[str]] = {}
    for metric in METRICS.values():
        if metric.convention:
            names.setdefault(metric.convention, []).append(metric.name)
    return {convention: tuple(members) for convention, members in names.items()}


__all__ = ["METRICS", "Metric", "conventions", "metric_of"]
