"""One generator for many sequences against one for each, with and without the segmentor; and missing sequences.

    transmodal data simulate brain --subjects 20 --size 120 120 78 -o brains
    python benchmarks/mri_unified.py brains/manifest.csv --out unified --minutes 4

On simulated brains with tumours: 14 subjects train, 6 are tested. T2 → FLAIR, T1ce, T1 by TC-MGAN with its segmentor,
without it (segmentation weight 0, the same training subjects), by the same networks trained for one target at a time,
and by a U-Net for each target; the three single ones share the minutes of the unified one. Then the table of missing
sequences: every combination of inputs, by the recipes missing-sequences and any-to-any. Writes OUT/tables.md and
OUT/FLAIR.png, OUT/T1ce.png, OUT/T1.png: a slice by every system. Needs about 10 times the minutes.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

import transmodal
from transmodal.translation.options import Options

TARGETS = ("FLAIR", "T1ce", "T1")
UNIFIED = "t2-to-t1-t1ce-flair"
PLAIN = ["train.epochs=100000", "train.validate_every=100000", "train.sample_every=100000"]
WITHOUT = ["unified.tc_mgan.segmentation_weight=0", "unified.tc_mgan.segmentor.pretraining_steps=1"]
UNET = ["inputs=[T2]", "preparation.grid={size: [128, 128]}"]
SHARED = {"missing sequences": "missing-sequences", "Dai et al.": "any-to-any"}


def run(*words: str) -> None:
    """Run a command of transmodal."""
    subprocess.run([sys.executable, "-m", "transmodal", *words], check=True)


def train(recipe: str, settings: list[str], manifest: Path, folder: Path, minutes: float) -> Path:
    """Train, unless that is done."""
    if not (folder / "trained").exists():
        options = [word for line in [*PLAIN, *settings] for word in ("--set", line)]
        if folder.is_dir():
            run("train", "--resume", "--out", str(folder))
        else:
            limit = ("--max-minutes", f"{minutes:.2f}")
            run("train", recipe, "--data", str(manifest), "--out", str(folder), *limit, *options)
        (folder / "trained").touch()
    return folder


def evaluate(folder: Path, *options: str) -> Path:
    """Evaluate, unless that is done."""
    if not (folder / "evaluated").exists():
        run("evaluate", str(folder), *options)
        (folder / "evaluated").touch()
    return folder / "evaluation"


def systems(manifest: Path, out: Path, minutes: float) -> dict[str, dict[str, Path]]:
    """Train all; return system → target → run."""
    found: dict[str, dict[str, Path]] = {}
    for name, settings in {"unified, with segmentor": [], "unified, without": WITHOUT}.items():
        folder = train(UNIFIED, settings, manifest, out / name.replace(", ", "-").replace(" ", "-"), minutes)
        found[name] = dict.fromkeys(TARGETS, folder)
    third = minutes / len(TARGETS)
    found["one of the same for each"] = {
        target: train(UNIFIED, [*WITHOUT, f"targets=[{target}]"], manifest, out / f"single-{target}", third)
        for target in TARGETS
    }
    found["one U-Net for each"] = {
        target: train("t1-to-t2", [*UNET, f"targets=[{target}]"], manifest, out / f"unet-{target}", third)
        for target in TARGETS
    }
    return found


def of_target(evaluation: Path, target: str) -> pandas.DataFrame:
    """Return the cases of a target."""
    cases = pandas.read_csv(evaluation / "cases.csv")
    return cases[cases["target"] == target] if "target" in cases else cases


def with_interval(values: pandas.Series) -> str:
    """Return mean and 95 % interval over subjects by bootstrap."""
    numbers = values.to_numpy(float)
    drawn = np.random.default_rng(0).choice(numbers, (10_000, numbers.size)).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    digits = 2 if abs(numbers.mean()) > 2 else 3
    return f"{numbers.mean():.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def dice_of(evaluation: Path, target: str) -> str:
    """Return mean Dice of a segmenter that learnt on true images, fed synthetic and true ones."""
    table = pandas.read_csv(evaluation / "downstream.csv")
    table = table[table["target"] == target] if "target" in table else table
    means = [table[column].mean() for column in ("dice_synthetic", "dice_real")]
    return f"{means[0]:.3f} of {means[1]:.3f}"


def steps_of(folder: Path) -> str:
    """Return how many steps a training took in its time."""
    return str(pandas.read_csv(folder / "log.csv")["step"].iloc[-1])


def quality(found: dict[str, dict[str, Path]]) -> list[str]:
    """Return the table of unified and single translators."""
    lines = [
        "| target | by | PSNR (dB) | SSIM | lesion MAE | lesion contrast, of true | Dice, synthetic of true | steps |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for target in TARGETS:
        baselines: list[tuple[str, pandas.DataFrame, str, str]] = []
        rows = []
        for name, runs in found.items():
            folder = evaluate(runs[target], "--lesions", "seg", "--segment", "seg")
            cases = of_target(folder, target)
            made = cases[cases["system"] == "translator"]
            rows.append((name, made, dice_of(folder, target), steps_of(runs[target])))
            baselines = baselines or [
                ("*intensity lookup*", cases[cases["system"] == "intensity lookup"], "—", "—"),
                ("*input as it is*", cases[cases["system"] == "identity"], "—", "—"),
            ]
        for name, part, dice, steps in [*baselines, *rows]:
            contrast = f"{part['lesion_contrast'].mean():.3f} of {part['lesion_contrast_truth'].mean():.3f}"
            cells = [with_interval(part[column]) for column in ("psnr", "ssim", "lesion_mae")]
            lines.append(f"| {target} | {name} | {' | '.join(cells)} | {contrast} | {dice} | {steps} |")
    return lines


def missing(folder: Path) -> list[str]:
    """Return the table of every combination of inputs."""
    evaluation = evaluate(folder, "--combinations", "--lesions", "seg")
    table = pandas.read_csv(evaluation / "combinations.csv")
    inputs = [name.removeprefix("given_") for name in table if name.startswith("given_")]
    lines = ["| " + " | ".join([*inputs, *(f"→ {name}" for name in inputs)]) + " |"]
    lines += ["|" + ":-:|" * len(inputs) + "---:|" * len(inputs)]
    for given in dict.fromkeys(table["given"]):
        rows = table[table["given"] == given].set_index("target")
        dots = ["●" if name in given.split("+") else "○" for name in inputs]
        cells = [
            f"{rows.loc[name, 'psnr']:.1f} / {rows.loc[name, 'ssim']:.3f}" if name in rows.index else "given"
            for name in inputs
        ]
        lines.append("| " + " | ".join([*dots, *cells]) + " |")
    lines.append("| " + " | ".join(["●"] * len(inputs) + ["given"] * len(inputs)) + " |")
    return lines


def picture(found: dict[str, dict[str, Path]], target: str, manifest: Path) -> Figure:
    """Return the slice with the largest tumour of the first test subject, by every system."""
    listed = pandas.read_csv(manifest)
    subject = listed[listed["split"] == "test"]["subject"].iloc[0]
    place = listed[listed["subject"] == subject].set_index("modality")["path"]
    read = {name: transmodal.read(manifest.parent / place[name]) for name in ("T2", target, "seg")}
    at = int((read["seg"].pixels > 0).sum(axis=(0, 1)).argmax())
    tiles = [("T2 (input)", read["T2"]), (f"{target} (true)", read[target])]
    for name, runs in found.items():
        translator = transmodal.load_translator(runs[target])
        made = translator.translate_case({"T2": read["T2"]}, targets=(target,), options=Options())
        tiles.append((f"{name}\nsynthetic", made[target]))
    figure = Figure(figsize=(2.4 * len(tiles), 3.0), layout="constrained")
    for axis, (name, image) in zip(np.ravel(figure.subplots(1, len(tiles))), tiles, strict=True):
        brain = read["T2"].pixels != 0
        low, high = np.percentile(image.pixels[brain], [0.5, 99.5])
        axis.imshow(np.rot90(image.pixels[:, :, at]), cmap="gray", vmin=low, vmax=high)
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    return figure


def main() -> None:
    """Split, train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=4.0, help="of training, each system")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    split = arguments.manifest.with_name("split.csv")
    if not split.exists():
        run("data", "split", str(arguments.manifest), "--fractions", "0.7", "0", "0.3", "-o", str(split))
    found = systems(split, arguments.out, arguments.minutes)
    lines = quality(found)
    for name, recipe in SHARED.items():
        folder = train(recipe, [], split, arguments.out / recipe, arguments.minutes)
        lines += ["", name, "", *missing(folder)]
    (arguments.out / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    for target in TARGETS:
        picture(found, target, split).savefig(arguments.out / f"{target}.png", dpi=100)


if __name__ == "__main__":
    main()
