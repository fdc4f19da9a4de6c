"""Metal, scatter, rings, beam hardening, two materials: what each recipe gains over its classical remedy.

    python benchmarks/ct_artefacts.py CT_SLICES --out artefacts --minutes 12
    python benchmarks/ct_artefacts.py phantoms --out artefacts --minutes 2 --size 128 --copies 0

CT_SLICES is a folder PERSON/PLANE/DATE-NUMBER.dcm; five people train, two are tested; or simulated bodies. Pairs are
made as the comment of each recipe says, with 1e6 photons (for two materials 1e5) and FBP by Shepp-Logan, of slices
averaged down to --size pixels. What is finished is not made again.

Two rows keep the comparison honest. "filtered": the classical remedy, sharpened and then denoised by total variation,
both as strongly as is best on training slices, since networks sharpen and denoise as well. "no artefact": what FBP
makes of the same noise without the artefact; what comes above it was sharpened and denoised, not only freed of it.

Scores over all pixels in HU clipped to [-1024, 1500], of materials in g/cm³ clipped to [0, 2], with that range; mean
over the slices of the tested people, and a 95 % interval of what the network gains over the best other row by
bootstrap over slices (two people give none over people). Coronal and sagittal cuts are no geometry of a scanner: axial
slices are reported apart. Writes OUT/tables.md, slices.png, scores.csv.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import transmodal
from transmodal.datasets.ct_sources import phantom_manifest
from transmodal.metrics.pointwise import psnr
from transmodal.metrics.ssim import ssim
from transmodal.tomography.total_variation import denoise_tv

Pixels = NDArray[np.float32]

NOISE = ("--filter", "shepp-logan", "--step", "photon-noise photons=1e6")
NETWORK, UNHARMED, FILTERED = "U-Net", "no artefact", ", filtered"
SHARPENED = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # shares of what a Gaussian of one pixel takes away
WEIGHTS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.04)  # of total variation, in parts of 1000 HU or 1 g/cm³
WINDOWS = {
    "CT": ((-160.0, 240.0), 200.0),
    "true-water": ((0.0, 1.3), 0.15),
    "true-cortical_bone": ((0.0, 0.8), 0.15),
}  # of pictures, and of their errors
TUNED_ON = 9  # training slices, as many of each plane


@dataclass(frozen=True)
class Artefact:
    """What degrades, what remedies there are, what is scored.

    Attributes:
        recipe: of the network.
        options: of `data degrade`.
        classical: target → modalities that classical arithmetic made of the same data.
        given: the modality that pictures show as the scan.
    """

    recipe: str
    options: tuple[str, ...]
    classical: dict[str, tuple[str, ...]]
    given: str = "degraded"

    @property
    def in_hu(self) -> bool:
        """Whether scores are in HU, else g/cm³."""
        return "CT" in self.classical

    @property
    def range(self) -> tuple[float, float]:
        """Low and high of the scores."""
        return (-1024.0, 1500.0) if self.in_hu else (0.0, 2.0)


ARTEFACTS = {
    "metal": Artefact(
        "ct-metal",
        (*NOISE, "--step", "metal", "--name", "metal", "--also", "li", "--also", "nmar"),
        {"CT": ("li", "nmar")},
        given="metal",
    ),
    "scatter": Artefact(
        "ct-scatter",
        (*NOISE, "--vary", "scatter.ratio=0.1,0.3,0.6", "--mix", "--also", "scatter-corrected"),
        {"CT": ("scatter-corrected",)},
    ),
    "forward scatter": Artefact(
        "ct-scatter",
        (
            *NOISE,
            "--step",
            "scatter shape=forward ratio=0.3",
            "--vary",
            "scatter.ratio=0.1,0.3,0.6",
            "--mix",
            "--also",
            "scatter-corrected",
        ),
        {"CT": ("scatter-corrected",)},
    ),
    "rings": Artefact(
        "ct-rings",
        (*NOISE, "--vary", "rings.gain_sd=0.02,0.05,0.1", "--mix", "--also", "ring-suppressed"),
        {"CT": ("ring-suppressed",)},
    ),
    "beam hardening": Artefact(
        "ct-beam-hardening",
        (*NOISE, "--vary", "beam-hardening.tube.kvp=80,100,120", "--mix", "--also", "water-corrected"),
        {"CT": ("water-corrected",)},
    ),
    "two materials": Artefact(
        "ct-decomposition",
        (
            *NOISE[:2],
            "--step",
            "photon-noise photons=1e5",
            "--step",
            "spectral-bins",
            "--also",
            "spectral",
            "--also",
            "densities",
        ),
        {"true-water": ("water",), "true-cortical_bone": ("cortical_bone",)},
    ),
}
FIVE = ("metal", "scatter", "rings", "beam hardening", "two materials")


@dataclass(frozen=True)
class Filter:
    """Sharpening, then total variation; what a network does beside taking an artefact away."""

    sharpened: float
    weight: float

    def __call__(self, image: Pixels, unit: float) -> Pixels:
        """Filter an image; `unit` is 1000 HU or 1 g/cm³."""
        made = image + np.float32(self.sharpened) * (image - gaussian_filter(image, 1.0))
        return denoise_tv(made, self.weight * unit, 100, accelerated=True) if self.weight else made


def run(*words: str) -> None:
    """Run a command of transmodal."""
    subprocess.run([sys.executable, "-m", "transmodal", *words], check=True)


def split_of(source: str, out: Path, size: int, phantoms: int) -> Path:
    """Return the manifest of clean slices, split."""
    made = out / "split.csv"
    if made.exists():
        return made
    if source == "phantoms":
        phantom_manifest(out / "phantoms", phantoms, size, 0)
        listed, fractions = out / "phantoms" / "clean.csv", ("0.7", "0.1", "0.2")
    else:
        listed, fractions = out / "slices.csv", ("0.7", "0", "0.3")
        run("data", "index", source, "-o", str(listed))
    run("data", "split", str(listed), "--fractions", *fractions, "-o", str(made))
    return made


def degraded(manifest: Path, folder: Path, *options: str) -> Path:
    """Make the pairs that are not there yet; return their manifest."""
    run("data", "degrade", str(manifest), "-o", str(folder), *options)
    return folder / "manifest.csv"


def trained(artefact: Artefact, pairs: Path, folder: Path, minutes: float) -> Path | None:
    """Train the recipe on pairs, unless that is done; None where it fails, which is no reason to leave the others."""
    if not (folder / "trained").exists():
        resume = ("--resume",) if (folder / "checkpoints" / "last.ckpt").exists() else ()
        words = ("train", artefact.recipe, "--data", str(pairs), "--out", str(folder), *resume)
        try:
            run(*words, "--max-minutes", f"{minutes:g}")
        except subprocess.CalledProcessError as error:
            print(f"{artefact.recipe} FAILED: exit status {error.returncode}")
            return None
        (folder / "trained").touch()
    return folder


def cases_of(manifest: Path, split: str) -> dict[tuple[str, str], pandas.DataFrame]:
    """Return the rows of each case of one side, copies left out."""
    listed = pandas.read_csv(manifest, dtype=str, keep_default_na=False)
    listed = listed[listed["split"] == split]
    if "copy" in listed:
        listed = listed[listed["copy"] == ""]
    return {(str(subject), str(session)): rows for (subject, session), rows in listed.groupby(["subject", "session"])}


def pictures_of(manifest: Path, rows: pandas.DataFrame) -> dict[str, transmodal.Image]:
    """Return modality → image of a case."""
    names = zip(rows["modality"], rows["path"], strict=True)
    return {str(modality): transmodal.read(manifest.parent / str(path)) for modality, path in names}


def pixels_of(image: transmodal.Image) -> Pixels:
    """Return an image's pixels as float32."""
    return np.asarray(image, np.float32)


def tuned(pairs: Path, target: str, modality: str, low: float, high: float, unit: float) -> Filter:
    """Return the filter with the least squared error on training slices."""
    cases = sorted(cases_of(pairs, "train").values(), key=lambda rows: str(rows.iloc[0].get("plane", "")))
    chosen = [cases[index] for index in np.linspace(0, len(cases) - 1, min(TUNED_ON, len(cases))).astype(int)]
    read = [pictures_of(pairs, rows) for rows in chosen]
    slices = [(pixels_of(images[modality]), np.clip(pixels_of(images[target]), low, high)) for images in read]

    def error(tried: Filter) -> float:
        made = [np.clip(tried(image, unit), low, high) - truth for image, truth in slices]
        return float(np.mean([np.mean(np.square(each), dtype=np.float64) for each in made]))

    return min((Filter(amount, weight) for amount in SHARPENED for weight in WEIGHTS), key=error)


class Systems:
    """All that turns one tested case into images to be scored."""

    def __init__(self, artefact: Artefact, pairs: Path, folder: Path, unharmed: Path | None) -> None:
        low, high = artefact.range
        self.artefact, self.pairs, self.unharmed = artefact, pairs, unharmed
        self.unit = 1000.0 if artefact.in_hu else 1.0
        self.translator = transmodal.load_translator(folder)
        self.filters = {
            modality: tuned(pairs, target, modality, low, high, self.unit)
            for target, modalities in artefact.classical.items()
            for modality in modalities
        }
        self.made = cache(self._made)

    def cases(self) -> dict[tuple[str, str], pandas.DataFrame]:
        """Return the tested cases."""
        return cases_of(self.pairs, "test")

    def _made(self, case: tuple[str, str]) -> dict[str, tuple[Pixels, dict[str, Pixels]]]:
        """Return target → the truth, and system → image."""
        images = pictures_of(self.pairs, self.cases()[case])
        inputs = {name: images[name] for name in self.translator.card.inputs}
        translated = self.translator.translate_case(inputs)
        found: dict[str, tuple[Pixels, dict[str, Pixels]]] = {}
        for target, modalities in self.artefact.classical.items():
            made = {"as scanned": pixels_of(images[self.artefact.given])} if self.artefact.in_hu else {}
            for modality in modalities:
                made[modality] = pixels_of(images[modality])
                made[modality + FILTERED] = self.filters[modality](made[modality], self.unit)
            made[NETWORK] = pixels_of(translated[target])
            if self.unharmed is not None:
                rows = cases_of(self.unharmed, "test")[case].set_index("modality")["path"]
                made[UNHARMED] = pixels_of(transmodal.read(self.unharmed.parent / rows["degraded"]))
            found[target] = pixels_of(images[target]), made
        return found


def scored(name: str, systems: Systems) -> list[dict[str, Any]]:
    """Return one row a slice, target and system."""
    low, high = systems.artefact.range
    rows = []
    for (subject, session), case in systems.cases().items():
        about = case.iloc[0]
        for target, (true, made) in systems.made((subject, session)).items():
            truth = np.clip(true, low, high)
            for system, image in made.items():
                pixels = np.clip(image, low, high)
                scores = {"psnr": psnr(pixels, truth, data_range=high - low)}
                scores |= {"ssim": ssim(pixels, truth, data_range=high - low)}
                scores |= {"mae": float(np.abs(pixels - truth).mean(dtype=np.float64))}
                where = {"artefact": name, "target": target, "subject": subject, "session": session}
                rows.append({**where, "plane": about.get("plane", ""), "system": system, **scores})
    return rows


def gain(part: pandas.DataFrame) -> str:
    """Say what the network gains over the best plain row and the best filtered, with 95 % intervals over slices."""
    by_system = part.pivot_table(index=["subject", "session"], columns="system", values="psnr")
    filtered = [name for name in by_system if name.endswith(FILTERED)]
    plain = [name for name in by_system if name not in (NETWORK, UNHARMED, *filtered)]
    said = []
    for names in (plain, filtered):
        best = str(by_system[names].mean().idxmax())
        differences = (by_system[NETWORK] - by_system[best]).to_numpy(float)
        means = np.random.default_rng(0).choice(differences, (5000, differences.size)).mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        said.append(f"{differences.mean():+.2f} dB ({low:+.2f} to {high:+.2f}) over {best}")
    return "; ".join(said)


def table(scores: pandas.DataFrame) -> list[str]:
    """Return PSNR, SSIM and MAE of each system against each artefact, and what the network gains."""
    lines = ["| artefact | | PSNR, dB | SSIM | MAE |", "|---|---|---:|---:|---:|"]
    gains = []
    for (artefact, target), part in scores.groupby(["artefact", "target"], sort=False):
        material = "" if target == "CT" else f", {str(target).removeprefix('true-').replace('_', ' ')}"
        for system in dict.fromkeys(part["system"]):
            mean = part[part["system"] == system][["psnr", "ssim", "mae"]].mean()
            error = f"{mean['mae']:.1f} HU" if target == "CT" else f"{mean['mae']:.4f} g/cm³"
            lines.append(f"| {artefact}{material} | {system} | {mean['psnr']:.2f} | {mean['ssim']:.3f} | {error} |")
        count = len(part[["subject", "session"]].drop_duplicates())
        gains.append(f"- {artefact}{material}, {count} slices: {NETWORK} {gain(part)}")
    return [*lines, "", *gains]


def shown(systems: Systems) -> tuple[str, str]:
    """Return the tested case that pictures show: axial, harmed as much as the median (of materials the first)."""
    cases = systems.cases()
    axial = [case for case, rows in cases.items() if rows.iloc[0].get("plane", "axial") in ("axial", "")]
    candidates = axial or list(cases)
    if not systems.artefact.in_hu:
        return candidates[0]

    def harm(case: tuple[str, str]) -> float:
        true, made = systems.made(case)["CT"]
        return float(np.abs(made["as scanned"] - true).mean())

    return sorted(candidates, key=harm)[len(candidates) // 2]


def picture(all_systems: dict[str, Systems]) -> Figure:
    """Return one slice by each artefact: clean, scanned, by the best classical remedy, by the network, and errors."""
    rows = []
    for name, systems in all_systems.items():
        case = shown(systems)
        for target, (true, made) in systems.made(case).items():
            remedy = systems.artefact.classical[target][-1]
            filtered = remedy + FILTERED
            given = made.get("as scanned", made[remedy])
            label = name if target == "CT" else f"{name}:\n{target.removeprefix('true-').replace('_', ' ')}"
            window, error = WINDOWS[target]
            tiles = [("clean", true), ("as scanned" if target == "CT" else remedy, given)]
            tiles += [(filtered, made[filtered]), (f"{NETWORK} (synthetic)", made[NETWORK])]
            errors = [(f"error of {text}", np.abs(image - true)) for text, image in tiles[2:]]
            rows.append((label, tiles, errors, window, error))
    figure = Figure(figsize=(13.2, 2.35 * len(rows)), layout="constrained")
    for (label, tiles, errors, window, error), axes in zip(
        rows, figure.subplots(len(rows), 6, squeeze=False), strict=True
    ):
        for axis, (text, image) in zip(axes, [*tiles, *errors], strict=True):
            is_error = text.startswith("error of")
            low, high = (0.0, error) if is_error else window
            axis.imshow(image, cmap="magma" if is_error else "gray", vmin=low, vmax=high)
            axis.set_title(text.replace(" (synthetic)", "") if is_error else text, fontsize=7)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0].set_ylabel(label, fontsize=8)
    figure.supxlabel(
        "−160 to 240 HU, errors 0 to 200 HU; water 0 to 1.3 g/cm³, bone 0 to 0.8, errors 0 to 0.15", fontsize=8
    )
    return figure


def main() -> None:
    """Make pairs, train, score, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", help="the folder ct_slices, or the word phantoms")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--artefacts", nargs="+", choices=list(ARTEFACTS), default=list(FIVE))
    parser.add_argument("--minutes", type=float, default=12.0, help="of training, each recipe")
    parser.add_argument("--copies", type=int, default=8, help="more of every training slice, turned and scaled")
    parser.add_argument("--size", type=int, default=256, help="pixels of the longer edge")
    parser.add_argument("--phantoms", type=int, default=40, help="bodies, of the word phantoms")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    split, size = split_of(arguments.slices, out, arguments.size, arguments.phantoms), ("--size", str(arguments.size))
    tested = out / "tested.csv"
    listed = pandas.read_csv(split, dtype=str, keep_default_na=False)
    listed[listed["split"] == "test"].to_csv(tested, index=False)
    unharmed = degraded(tested, out / "no-artefact", *NOISE, *size)
    all_systems: dict[str, Systems] = {}
    rows: list[dict[str, Any]] = []
    for name in arguments.artefacts:
        artefact, folder = ARTEFACTS[name], out / name.replace(" ", "-")
        pairs = degraded(split, folder / "pairs", *artefact.options, *size, "--copies", str(arguments.copies))
        model = trained(artefact, pairs, folder / "run", arguments.minutes)
        if model is None:
            continue
        all_systems[name] = Systems(artefact, pairs, model, unharmed if artefact.in_hu else None)
        rows += scored(name, all_systems[name])
    scores = pandas.DataFrame(rows)
    scores.to_csv(out / "scores.csv", index=False)
    lines = ["all slices", "", *table(scores)]
    if (scores["plane"] == "axial").any() and (scores["plane"] != "axial").any():
        lines += ["", "axial", "", *table(scores[scores["plane"] == "axial"])]
    (out / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    picture(all_systems).savefig(out / "slices.png", dpi=100)


if __name__ == "__main__":
    main()
