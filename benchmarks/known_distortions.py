"""Which metric notices what: real slices with known distortions, scored by `transmodal score`.

    python benchmarks/known_distortions.py --data ../shared/data [--picture docs/images/known-distortions]

Blur, noise, shift and intensity scale are each made as strong as gives one stated PSNR, slice by slice: a metric that
only repeats PSNR then cannot tell them apart. One lesion of a slice, outlined by a person, is filled in from its
surroundings, which costs almost no PSNR at all. The images are those of Open MS Data (Lesjak et al., CC-BY) and of
COVID-19-NY-SBU (TCIA, CC BY 4.0); they are read from the folder and never enter the repository.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

import transmodal
from transmodal.metrics import METRICS, metric_of

Array = NDArray[np.float32]
DISTORTIONS = {
    "blur": "Gaussian blur",
    "noise": "white noise",
    "shift": "shift along a row",
    "scale": "intensity too high",
    "lesion": "lost lesion",
}


@dataclass(frozen=True)
class Slices:
    """A set of real slices and how it is scored."""

    name: str
    title: str
    limits: tuple[float, float]
    psnr: float
    metrics: str
    origin: str


MRI = Slices(
    "flair",
    "FLAIR, 2 people",
    (0.0, 150.0),
    30.0,
    "psnr,nrmse,nmae,ssim,ms_ssim,vif,nmi,niqe,fnsd",
    "Open MS Data (Lesjak et al., Neuroinformatics 2016), CC-BY",
)
CT = Slices(
    "ct",
    "CT, axial, 7 people",
    (-1024.0, 3000.0),
    36.0,
    "psnr,mae,nrmse,ssim,ms_ssim,vif,nmi,niqe,fnsd,psnr@synthrad2023,psnr@per-image-range",
    "COVID-19-NY-SBU (TCIA), CC BY 4.0",
)


def flair_slices(data: Path) -> Iterator[tuple[str, Array, NDArray[np.bool_], NDArray[np.float64]]]:
    """Give name, pixels, lesion and affine of axial slices that show a lesion of 25 to 200 pixels: the largest such."""
    for person in ("patient07", "patient19"):
        files = {path.name.split("_")[0]: path for path in sorted((data / "open_ms" / "mni" / person).iterdir())}
        image = transmodal.read(files["FLAIR"])
        volume = np.clip(np.asarray(image, np.float32), 0.0, None)
        lesions = np.asarray(transmodal.read(files["GOLD"])) > 0
        focal = [(place, _focal_lesion(lesions[:, :, place])) for place in range(volume.shape[2])]
        shown = [(place, lesion) for place, lesion in focal if lesion.any()]
        for place, lesion in shown[:: 1 if len(shown) < 16 else 4]:
            yield f"{person}_{place:03d}", volume[:, :, place], lesion, image.affine


def _focal_lesion(lesions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, _ = ndimage.label(lesions)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    fits = np.where((areas >= 25) & (areas <= 200), areas, 0)
    return np.asarray((parts == fits.argmax()) & bool(fits.max()))


def ct_slices(data: Path) -> Iterator[tuple[str, Array, None, NDArray[np.float64]]]:
    """Give name, HU and affine of the axial slices, padding outside the field of view set to air."""
    for path in sorted((data / "ct_slices").glob("*/axial/*.dcm")):
        image = transmodal.read(path)
        name = f"{path.parts[-3]}_{path.stem}"
        yield name, np.clip(np.asarray(image, np.float32), -1024.0, 3071.0), None, image.affine


def distorted(truth: Array, lesion: NDArray[np.bool_] | None, settings: Slices, seed: int) -> dict[str, Array]:
    """Return each distortion of one slice, those that have a strength at the strength of the stated PSNR."""
    low, high = settings.limits
    error = (high - low) * 10 ** (-settings.psnr / 20)  # root of the mean squared error
    noise = np.random.default_rng(seed).normal(size=truth.shape).astype(np.float32)
    inside = truth - low
    made = {
        "blur": _at_error(lambda s: ndimage.gaussian_filter(truth, s), truth, error, 20.0),
        "noise": _at_error(lambda s: truth + s * noise, truth, error, 10 * error),
        "shift": _at_error(lambda s: ndimage.shift(truth, (0, s), order=1, mode="nearest"), truth, error, 20.0),
        "scale": _at_error(lambda s: low + (1 + s) * inside, truth, error, 2.0),
    }
    if lesion is not None:
        made["lesion"] = _without(truth, ndimage.binary_dilation(lesion))
    return made


def _at_error(distort: Callable[[float], Array], truth: Array, error: float, strongest: float) -> Array:
    """Find the strength at which the root of the mean squared error is as stated, by bisection."""
    weak, strong = 0.0, strongest
    for _ in range(40):
        middle = (weak + strong) / 2
        if float(np.sqrt(np.mean((distort(middle) - truth) ** 2))) < error:
            weak = middle
        else:
            strong = middle
    return np.asarray(distort(strong), np.float32)


def _without(image: Array, lesion: NDArray[np.bool_]) -> Array:
    """Fill a region from its border inwards, as heat spreads (Laplace's equation)."""
    filled = image.copy()
    filled[lesion] = np.median(image[ndimage.binary_dilation(lesion, iterations=3) & ~lesion])
    for _ in range(300):
        spread = (np.roll(filled, 1, 0) + np.roll(filled, -1, 0) + np.roll(filled, 1, 1) + np.roll(filled, -1, 1)) / 4
        filled[lesion] = spread[lesion]
    return filled


def make(data: Path, out: Path, settings: Slices) -> None:
    """Write OUT/truth, OUT/blur, …, and OUT/lesions (masks) where there are lesions."""
    for number, (name, truth, lesion, affine) in enumerate((flair_slices if settings is MRI else ct_slices)(data)):
        images: dict[str, Array] = {"truth": truth, **distorted(truth, lesion, settings, number)}
        if lesion is not None:
            images["lesions"] = lesion.astype(np.float32)
        for folder, pixels in images.items():
            (out / folder).mkdir(parents=True, exist_ok=True)
            _write(pixels, affine, out / folder / f"{name}.nii.gz")


def _write(pixels: Array, affine: NDArray[np.float64], path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(pixels, np.asarray(affine)), path)


def score(out: Path, settings: Slices, *, lesions: bool = False) -> dict[str, Any]:
    """Run `transmodal score` on the folders and return its summary."""
    names = [name for name in DISTORTIONS if (out / name).is_dir()]
    first, *others = names
    command = [sys.executable, "-m", "transmodal", "score", f"{first}={out / first}", str(out / "truth")]
    for name in others:
        command += ["--against", f"{name}={out / name}"]
    metrics = settings.metrics
    if lesions:
        metrics = "psnr,nmae,ssim"
        command += ["--mask", str(out / "lesions")]
    command += ["--range", *(f"{limit:g}" for limit in settings.limits), "--metrics", metrics]
    command += ["--subject-pattern", "(?P<subject>[^_]+)_", "--json", "--out", str(out / "scores")]
    if "niqe" in metrics:
        command += ["--niqe-fit", str(out / "truth")]
    print("$ transmodal " + " ".join(command[3:]).replace(str(out.parent), "distortions"), flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def table(summary: dict[str, Any]) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Return metrics, systems and their values."""
    systems = list(summary["systems"])
    columns = list(summary["summary"])
    values = [[summary["systems"][system][column]["mean"] for system in systems] for column in columns]
    for name in next(iter(summary["sets"].values()), {}):
        columns.append(name)
        values.append([summary["sets"][system][name]["value"] for system in systems])
    return columns, systems, np.array(values, np.float64)


def severity(columns: list[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each value lies from the best towards the worst of its row, 0 to 1."""
    signs = np.array([-1.0 if metric_of(column).direction == "higher" else 1.0 for column in columns])
    bad = values * signs[:, None]
    low, high = bad.min(1, keepdims=True), bad.max(1, keepdims=True)
    equal = high - low < 1e-6 * np.abs(bad).max(1, keepdims=True)  # by construction, up to rounding
    return np.where(equal, 0.5, (bad - low) / np.where(equal, 1.0, high - low))


def markdown(columns: list[str], systems: list[str], values: NDArray[np.float64]) -> str:
    """Return the table for the page."""
    lines = ["| metric | " + " | ".join(DISTORTIONS[system] for system in systems) + " |"]
    lines.append("|---|" + "---:|" * len(systems))
    for column, row in zip(columns, values, strict=True):
        arrow = "↑" if metric_of(column).direction == "higher" else "↓"
        lines.append(f"| {METRICS[column].title} {arrow} | " + " | ".join(f"{value:.4g}" for value in row) + " |")
    return "\n".join(lines)


def picture(out: Path, settings: Slices, name: str, summary: dict[str, Any]) -> Figure:
    """Draw one slice with its distortions and errors, and under each the scores, darker where a metric sees more."""
    columns, systems, values = table(summary)
    dark = severity(columns, values)
    figure = Figure(figsize=(2.0 * (len(systems) + 1), 4.3 + 0.3 * len(columns)), dpi=110, layout="constrained")
    grid = figure.add_gridspec(3, len(systems) + 1, height_ratios=[2.0, 2.0, 0.3 * len(columns)])
    low, high = settings.limits if settings is MRI else (-160.0, 240.0)
    shown = {key: _read(out / key / f"{name}.nii.gz") for key in ("truth", *systems)}
    if settings is MRI:  # x to the right and y to the front; the CT slices keep the rows of their DICOM files
        shown = {key: pixels.T[::-1] for key, pixels in shown.items()}
    limit = 4 * (settings.limits[1] - settings.limits[0]) * 10 ** (-settings.psnr / 20)
    for place, (key, pixels) in enumerate(shown.items()):
        axis = figure.add_subplot(grid[0, place])
        axis.imshow(pixels, cmap="gray", vmin=low, vmax=high)
        axis.set_title("truth" if key == "truth" else DISTORTIONS[key], size=11)
        axis.axis("off")
        if key != "truth":
            axis = figure.add_subplot(grid[1, place])
            axis.imshow(pixels - shown["truth"], cmap="RdBu_r", vmin=-limit, vmax=limit)
            axis.axis("off")
    axis = figure.add_subplot(grid[2, :])
    axis.imshow(np.hstack([np.zeros((len(columns), 1)), dark]), cmap="Oranges", vmin=0, vmax=1.6, aspect="auto")
    for i, column in enumerate(columns):
        arrow = "↑" if metric_of(column).direction == "higher" else "↓"
        axis.text(-0.45, i, f"{METRICS[column].title.replace('Fréchet natural-scene distance', 'FNSD')} {arrow}",
                  va="center", size=10)  # fmt: skip
        for j in range(len(systems)):
            axis.text(j + 1, i, f"{values[i, j]:.4g}", ha="center", va="center", size=10)
    axis.axis("off")
    exception = ", the lost lesion as it comes" if "lesion" in systems else ""
    figure.suptitle(f"{settings.title}: each distortion at {settings.psnr:g} dB{exception}", size=12)
    return figure


def _read(path: Path) -> Array:
    return np.asarray(transmodal.read(path), np.float32)


def main() -> None:
    """Make, score, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds open_ms and ct_slices")
    parser.add_argument("--out", type=Path, default=Path("distortions"))
    parser.add_argument("--picture", type=Path, help="start of the pictures' names")
    arguments = parser.parse_args()
    for settings, example in ((MRI, "patient19_092"), (CT, None)):
        out = arguments.out / settings.name
        make(arguments.data, out, settings)
        summary = score(out, settings)
        print(f"\n{settings.title}, {settings.origin}\n{summary['policy_in_words']}\n")
        print(markdown(*table(summary)), "\n")
        if settings is MRI:
            print("inside the lesions only\n\n" + markdown(*table(score(out, settings, lesions=True))), "\n")
        if arguments.picture:
            names = sorted(path.name.removesuffix(".nii.gz") for path in (out / "truth").iterdir())
            name = example if example in names else names[len(names) // 2]
            target = arguments.picture.with_name(f"{arguments.picture.name}-{settings.name}.jpg")
            picture(out, settings, name, summary).savefig(target, pil_kwargs={"quality": 90})
            print(f"picture: {target} ({name})")


if __name__ == "__main__":
    main()
