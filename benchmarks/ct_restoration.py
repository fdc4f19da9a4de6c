"""Few views and low dose on real CT: what each restorer gains over FBP and TV, and away from what it was trained on.

    python benchmarks/ct_restoration.py CT_SLICES --out ct --minutes 12 --vary angles
    python benchmarks/ct_restoration.py CT_SLICES --out ct --minutes 12 --vary dose

CT_SLICES is a folder PERSON/PLANE/DATE-NUMBER.dcm; five people train, two are tested. Slices are averaged down to 256
pixels, projected with --views parallel views (720) and 1e5 photons a ray, and reconstructed by FBP (Hann), of fewer of
them or of fewer photons.
Networks are trained at 50 angles, at 60, at 140 and on an equal mix of 30, 60, 90, 120 and 150 (source document 3), and
tested from 20 to 180; with --vary dose at 1/10 of the photons and on a mix, and tested from all of them to 1/100.

Total variation stands there twice: "TV" reconstructs the projections, each ray weighted by its photons; "FBP,
TV-denoised" knows only the image of FBP, as the networks do. Both have the weight that is best on training slices, for
each level. "U-Net on TV" sees TV beside FBP, and is trained at the levels of --on-tv, since TV of all training slices
takes minutes. What is finished is not made again.

Scores in HU clipped to [-1024, 1500], with that range, over all pixels; mean over the slices of the tested people, and
a 95 % interval by bootstrap over slices (two people give none over people). Coronal and sagittal cuts are no geometry
of a scanner: axial slices are reported apart. Writes OUT/VARY/tables.md, curves.png, slices.png, scores.csv.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

import transmodal
from transmodal.metrics.pointwise import psnr
from transmodal.metrics.ssim import ssim
from transmodal.tomography.total_variation import denoise_tv

LOW, HIGH = -1024.0, 1500.0
PHOTONS = "photon-noise photons=1e5"
ON_TV, DENOISED = "U-Net on TV", "FBP, TV-denoised"
NETWORKS = {
    "U-Net": ("ct-sparse-view", []),
    ON_TV: (
        "ct-sparse-view",
        ["inputs=[TV, degraded]", "preparation.intensity.TV={map: fixed, low: -1024, high: 1500}"],
    ),
    "autoencoder": ("ct-sparse-view-autoencoder", []),
    "FBPConvNet": ("ct-sparse-view-fbpconvnet", []),
}
SHOWN = {"angles": 60, "dose": 10}
CLASSICAL = ("FBP", DENOISED, "TV")
WEIGHTS = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)  # HU, of TV on images


@dataclass(frozen=True)
class Study:
    """What is varied, what networks are trained on, what they are tested at."""

    trained: dict[str, tuple[float, ...]]
    tested: tuple[float, ...]
    axis: str
    tuned_on: int  # training slices of each plane, to find the weight of TV, which takes minutes of all views


STUDIES = {
    "angles": Study(
        {"50": (50,), "60": (60,), "140": (140,), "mix": (30, 60, 90, 120, 150)},
        (20, 30, 45, 50, 60, 90, 120, 140, 150, 180),
        "angles",
        2,
    ),
    "dose": Study({"1/10": (10,), "mix": (1, 4, 10, 25, 100)}, (1, 4, 10, 25, 100), "photons divided by", 1),
}


def run(*words: str) -> None:
    """Run a command of transmodal."""
    subprocess.run([sys.executable, "-m", "transmodal", *words], check=True)


def degraded(manifest: Path, folder: Path, vary: str, levels: tuple[float, ...], *options: str) -> Path:
    """Make the pairs at some levels that are not there yet; return their manifest."""
    listed = ",".join(f"{level:g}" for level in levels)
    words = ["data", "degrade", str(manifest), "-o", str(folder), "--size", "256", "--step", PHOTONS]
    run(*words, "--vary", f"{vary}={listed}", *options)
    return folder / "manifest.csv"


def trained(network: str, vary: str, pairs: Path, folder: Path, minutes: float) -> Path | None:
    """Train a network on pairs, unless that is done; None where it fails, which is no reason to leave the others."""
    if not (folder / "trained").exists():
        recipe, settings = NETWORKS[network]
        if vary == "dose" and recipe == "ct-sparse-view":
            recipe = "ct-low-dose"
        options = [word for line in settings for word in ("--set", line)]
        limit = ("--max-minutes", f"{minutes:g}")
        resume = ("--resume",) if (folder / "checkpoints" / "last.ckpt").exists() else ()
        try:
            run("train", recipe, "--data", str(pairs), "--out", str(folder), *limit, *options, *resume)
        except subprocess.CalledProcessError as error:
            print(f"{folder.name} FAILED: exit status {error.returncode}")
            return None
        (folder / "trained").touch()
    return folder


def steps_of(folder: Path) -> int:
    """Return how many steps a training took in its time."""
    return int(pandas.read_csv(folder / "log.csv")["step"].iloc[-1])


def weight_at(tests: Path, vary: str, level: float) -> str:
    """Return the weight of TV that was tuned for a level, so that training sees the TV that is tested."""
    for file in sorted((tests.parent / "tv-weights").glob("*.json")):
        entries = json.loads(file.read_text(encoding="utf-8"))
        if f"{column_of(vary)}={level:g}" in entries["level"].replace(";", " ").split():
            return f"{entries['tuned']['weight']:.6g}"
    raise SystemExit(f"{tests.parent} has no weight of TV for {vary}={level:g}")


def column_of(vary: str) -> str:
    """Return the column of the manifest that says the level."""
    return "angles" if vary == "angles" else "dose_divisor"


def denoised(image: transmodal.Image, weight: float) -> np.ndarray:
    """Return an image denoised by total variation."""
    pixels = np.asarray(image, np.float32)
    return denoise_tv(pixels, weight, 100, accelerated=True) if weight else pixels


def weights_of(tests: Path, vary: str) -> dict[tuple[float, str], float]:
    """Return (level, plane) → the weight of TV on images with the least squared error on training slices."""
    listed = pandas.read_csv(tests)
    found: dict[tuple[float, str], float] = {}
    for (level, plane), part in listed[listed["split"] == "train"].groupby([column_of(vary), "plane"]):
        errors = dict.fromkeys(WEIGHTS, 0.0)
        for _, case in part.groupby(["subject", "session"]):
            files = case.set_index("modality")["path"]
            truth = np.clip(np.asarray(transmodal.read(tests.parent / files["CT"]), np.float32), LOW, HIGH)
            image = transmodal.read(tests.parent / files["degraded"])
            for weight in WEIGHTS:
                made = np.clip(denoised(image, weight), LOW, HIGH)
                errors[weight] += float(np.mean(np.square(made - truth), dtype=np.float64))
        best = min(errors, key=lambda weight: errors[weight])
        if best == WEIGHTS[-1]:
            print(f"{DENOISED}, {plane} at {level:g}: the largest weight, {best:g} HU, is the best; more may be better")
        found[float(level), str(plane)] = best
    return found


def scored(tests: Path, runs: dict[str, Path], vary: str) -> pandas.DataFrame:
    """Return one row a slice, level and system."""
    listed = pandas.read_csv(tests)
    listed = listed[listed["split"] == "test"]
    translators = {name: transmodal.load_translator(folder) for name, folder in runs.items()}
    weights = weights_of(tests, vary)
    rows = []
    for (subject, session), case in listed.groupby(["subject", "session"], sort=False):
        files = case.set_index("modality")["path"]
        images = {name: transmodal.read(tests.parent / files[name]) for name in ("degraded", "TV", "CT")}
        about = case.iloc[0]
        level, plane = float(about[column_of(vary)]), str(about["plane"])
        made = {
            "FBP": images["degraded"],
            DENOISED: denoised(images["degraded"], weights[level, plane]),
            "TV": images["TV"],
        }
        made |= {name: restored(translator, images) for name, translator in translators.items()}
        truth = np.clip(np.asarray(images["CT"], np.float32), LOW, HIGH)
        for system, image in made.items():
            pixels = np.clip(np.asarray(image, np.float32), LOW, HIGH)
            rows.append(
                {
                    "subject": subject,
                    "session": session,
                    "plane": plane,
                    "level": level,
                    "system": system,
                    "psnr": psnr(pixels, truth, data_range=HIGH - LOW),
                    "ssim": ssim(pixels, truth, data_range=HIGH - LOW),
                }
            )
    return pandas.DataFrame(rows)


def restored(translator: transmodal.Translator, images: dict[str, transmodal.Image]) -> transmodal.Image:
    """Return what a network makes of what it was trained to see."""
    return translator.translate_case({name: images[name] for name in translator.card.inputs})["CT"]


def interval(values: pandas.Series) -> tuple[float, float, float]:
    """Return mean and 95 % interval by bootstrap over slices."""
    numbers = values.to_numpy(float)
    means = np.random.default_rng(0).choice(numbers, (5000, numbers.size)).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(numbers.mean()), float(low), float(high)


def table(scores: pandas.DataFrame) -> list[str]:
    """Return PSNR / SSIM of each system at each level."""
    levels = sorted(scores["level"].unique())
    lines = ["| | " + " | ".join(f"{level:g}" for level in levels) + " |", "|---|" + "---:|" * len(levels)]
    for system in dict.fromkeys(scores["system"]):
        cells = []
        for level in levels:
            part = scores[(scores["system"] == system) & (scores["level"] == level)]
            mean, low, high = interval(part["psnr"])
            cells.append(f"{mean:.2f} ({low:.1f}–{high:.1f}) / {part['ssim'].mean():.3f}")
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return lines


def gains(scores: pandas.DataFrame, study: Study) -> list[str]:
    """Say what each network gains over the best classical row at the levels it was trained at, paired by slice."""
    lines = ["| network | level | slices | dB | SSIM |", "|---|---:|---:|---|---|"]
    for system in dict.fromkeys(scores["system"]):
        if system in CLASSICAL:
            continue
        for level in study.trained[system.rsplit(", ", 1)[1]]:
            part = scores[scores["level"] == level]
            said = []
            for metric, digits in (("psnr", 2), ("ssim", 3)):
                wide = part.pivot_table(index=["subject", "session"], columns="system", values=metric)
                best = str(wide[list(CLASSICAL)].mean().idxmax())
                mean, low, high = interval(wide[system] - wide[best])
                said.append(f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f}) over {best}")
            lines.append(f"| {system} | {level:g} | {len(wide)} | {' | '.join(said)} |")
    return lines


def curves(scores: pandas.DataFrame, study: Study) -> Figure:
    """Return mean PSNR and SSIM against the level, with bands."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axis, metric, title in zip(figure.subplots(1, 2), ("psnr", "ssim"), ("PSNR (dB)", "SSIM"), strict=True):
        for number, system in enumerate(dict.fromkeys(scores["system"])):
            part = scores[scores["system"] == system].groupby("level")[metric].apply(interval)
            mean, low, high = (np.array([values[index] for values in part]) for index in range(3))
            style = "--" if system in CLASSICAL else "-"
            axis.plot(part.index, mean, style, color=f"C{number % 10}", label=system)
            axis.fill_between(part.index, low, high, color=f"C{number % 10}", alpha=0.08, linewidth=0)
        axis.set_xlabel(study.axis)
        axis.set_ylabel(title)
        if study.axis != "angles":
            axis.set_xscale("log")
    axis.legend(fontsize=7, ncols=2)
    return figure


def picture(tests: Path, runs: dict[str, Path], vary: str) -> Figure:
    """Return one axial slice of a tested person by every system, and the error of each."""
    listed = pandas.read_csv(tests)
    listed = listed[(listed["split"] == "test") & (listed["plane"] == "axial")]
    listed = listed[listed[column_of(vary)] == SHOWN[vary]]
    first = listed[listed["session"] == listed["session"].iloc[0]]
    first = first[first["subject"] == first["subject"].iloc[0]].set_index("modality")["path"]
    images = {name: transmodal.read(tests.parent / first[name]) for name in ("CT", "degraded", "TV")}
    tiles = [("clean", images["CT"]), ("FBP", images["degraded"]), ("TV", images["TV"])]
    for name, folder in runs.items():
        tiles.append((f"{name}\nsynthetic", restored(transmodal.load_translator(folder), images)))
    columns = min(8, len(tiles))
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(2.3 * columns, 5.0 * rows), layout="constrained")
    truth = np.asarray(images["CT"], np.float32)
    places = figure.subplots(2 * rows, columns, squeeze=False)
    for axis in places.flat:
        axis.axis("off")
    pairs = [(places[2 * row, column], places[2 * row + 1, column]) for row in range(rows) for column in range(columns)]
    for (above, below), (name, image) in zip(pairs, tiles, strict=False):
        pixels = np.asarray(image, np.float32)
        above.imshow(pixels, cmap="gray", vmin=-160, vmax=240)
        below.imshow(np.abs(pixels - truth), cmap="magma", vmin=0, vmax=200)
        above.set_title(name, fontsize=8)
    figure.supxlabel("above −160 to 240 HU, below the error, 0 to 200 HU", fontsize=8)
    return figure


def main() -> None:
    """Make pairs, train, score, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path, help="the folder ct_slices")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vary", choices=list(STUDIES), default="angles")
    parser.add_argument("--minutes", type=float, default=12.0, help="of training, each network")
    parser.add_argument("--views", type=int, default=720, help="of the scan that angles and photons are taken from")
    parser.add_argument("--copies", type=int, default=8, help="more of every training slice, turned and scaled")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--trained", nargs="+", help="levels to train at; default all")
    parser.add_argument("--on-tv", nargs="*", help=f"levels at which '{ON_TV}' is trained; default 60 angles, 1/10")
    arguments = parser.parse_args()
    study, out = STUDIES[arguments.vary], arguments.out / arguments.vary
    out.mkdir(parents=True, exist_ok=True)
    split = arguments.out / "split.csv"
    if not split.exists():
        run("data", "index", str(arguments.slices), "-o", str(arguments.out / "slices.csv"))
        run("data", "split", str(arguments.out / "slices.csv"), "--fractions", "0.7", "0", "0.3", "-o", str(split))
    few = out / "tested.csv"  # TV is slow: of those who train, a few slices are enough to find its weight
    listed = pandas.read_csv(split, dtype=str, keep_default_na=False)
    own = listed[listed["split"] == "train"]
    tuning = [own[own["plane"] == plane].iloc[[0, -1][: study.tuned_on]] for plane in sorted(set(own["plane"]))]
    views = ("--views", str(arguments.views))
    pandas.concat([listed[listed["split"] == "test"], *tuning]).to_csv(few, index=False)
    tests = degraded(few, out / "tests", arguments.vary, study.tested, *views, "--each", "--also", "tv")
    runs: dict[str, Path] = {}
    on_tv = arguments.on_tv if arguments.on_tv is not None else ["60" if arguments.vary == "angles" else "1/10"]
    for level in arguments.trained or list(study.trained):
        levels = study.trained[level]
        networks = [name for name in arguments.networks if name != ON_TV or level in on_tv]
        name, options = level.replace("/", "-"), [*views, "--copies", str(arguments.copies)]
        if len(levels) > 1:
            options.append("--mix")
        if ON_TV in networks:
            name = f"{name}-tv"
            weight = [] if len(levels) > 1 else ["--tv-weight", weight_at(tests, arguments.vary, levels[0])]
            options += ["--also", "tv", *weight]
        pairs = degraded(split, out / f"train-{name}", arguments.vary, levels, *options)
        for network in networks:
            folder = out / f"{network}-{level}".replace(" ", "-").replace("/", "-")
            found = trained(network, arguments.vary, pairs, folder, arguments.minutes)
            if found is not None:
                runs[f"{network}, {level}"] = found
    scores = scored(tests, runs, arguments.vary)
    scores.to_csv(out / "scores.csv", index=False)
    lines = []
    for title, part in (("all planes", scores), ("axial", scores[scores["plane"] == "axial"])):
        lines += [title, "", *table(part), "", *gains(part, study), ""]
    lines += ["steps: " + ", ".join(f"{name} {steps_of(folder)}" for name, folder in runs.items())]
    (out / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    curves(scores, study).savefig(out / "curves.png", dpi=110)
    picture(tests, runs, arguments.vary).savefig(out / "slices.png", dpi=100)


if __name__ == "__main__":
    main()
