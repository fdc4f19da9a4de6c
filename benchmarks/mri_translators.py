"""Every method on two real people: T1 → T2 and T2 → FLAIR, trained on one and tested on the other, and swapped.

    transmodal data index OPEN_MS/mni -o ms.csv
    python benchmarks/mri_translators.py ms.csv --out mri --minutes 3

Each row is `transmodal train RECIPE --folds 2 --max-minutes …` and `transmodal evaluate` of its folder, one method at a
time, with the same time and the machine to itself; what is finished is not trained again, so that the command can be
stopped and given again. Scores as `evaluate` gives them: each volume by the truth's percentiles 0.5 and 99.5, inside
the brain, mean over the axial slices with more than 2 000 brain voxels, for each person, with a 95 % interval over
these slices, and the steps of the two trainings. Writes OUT/tables.md and one picture a task, OUT/T1-T2.png and
OUT/T2-FLAIR.png: the same slice by every method. Needs about 40 times the minutes.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

import transmodal
from transmodal.translation.options import Options

SEQUENCES = ("T1", "T1ce", "T2", "FLAIR")
TASKS = (("T1", "T2"), ("T2", "FLAIR"))
PAIR: dict[str, tuple[str, list[str]]] = {
    "2.5-D U-Net": ("t1-to-t2", []),
    "2-D U-Net": ("t1-to-t2", ["preparation.slices.neighbours=0"]),
    "2-D residual U-Net": (
        "t1-to-t2",
        ["preparation.slices.neighbours=0", "supervised.network.kind=residual-unet"],
    ),
    "FCN-8s": ("t1-to-t2-fcn8s", []),
    "3-D U-Net": ("t1-to-t2-volume", []),
    "pix2pix": ("t1-to-t2-pix2pix", []),
    "3-D pix2pix": ("t1-to-t2-volume-pix2pix", []),
    "TC-MGAN": ("t2-to-t1-t1ce-flair", ["labels.segmentor_share=0"]),
}
ANY = {"Dai et al.": "any-to-any", "StarGAN, unpaired": "mri-stargan", "missing-sequences U-Net": "missing-sequences"}
BASELINES = {
    "intensity lookup": "intensity lookup",
    "input luminance": "input, fitted line",
    "mean target": "mean target",
    "identity": "input as it is",
}
PLAIN = ["train.epochs=100000", "train.validate_every=100000", "train.sample_every=100000"]


def plain(name: str) -> str:
    """Return a name as a folder can have it."""
    return name.replace(" ", "-").replace(",", "").replace(".", "")


def settings_for(source: str, target: str, recipe: str) -> list[str]:
    """Return what makes a recipe of pairs translate another one."""
    targets = [target]
    if recipe == "t2-to-t1-t1ce-flair":  # one generator for all that is not its source
        targets = [name for name in SEQUENCES if name != source]
    return [f"inputs=[{source}]", f"targets=[{','.join(targets)}]"]


def train(recipe: str, settings: list[str], manifest: Path, folder: Path, minutes: float) -> None:
    """Train the two folds, unless they are there."""
    if (folder / "trained").exists():
        return
    options = [word for line in [*PLAIN, *settings] for word in ("--set", line)]
    resume = ["--resume"] if folder.is_dir() else []
    words = [sys.executable, "-m", "transmodal", "train", recipe, "--data", str(manifest), "--out", str(folder)]
    subprocess.run([*words, "--folds", "2", "--max-minutes", str(minutes), *options, *resume], check=True)
    (folder / "trained").touch()


def scores(folder: Path, source: str, target: str, *, named: bool) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Evaluate, unless that is done, and return cases and intervals over slices of one target.

    Args:
        folder: of the folds.
        source, target: of the task.
        named: the translator takes any sequence, and is given the source only.
    """
    kept = folder / f"evaluation-{source}-{target}"
    if not kept.is_dir():
        given = ["--given", source] if named else []
        subprocess.run(
            [sys.executable, "-m", "transmodal", "evaluate", str(folder), "--lesions", "lesion", *given], check=True
        )
        shutil.copytree(folder / "evaluation", kept)
    tables = []
    for name in ("cases.csv", "slice-intervals.csv"):
        table = pandas.read_csv(kept / name)
        tables.append(table[table["target"] == target] if "target" in table else table)
    return tables[0], tables[1]


def steps_of(folder: Path) -> str:
    """Return how many steps the trainings of the folds took in their time."""
    counts = [int(pandas.read_csv(run / "log.csv")["step"].iloc[-1]) for run in sorted(folder.glob("fold-*"))]
    return ", ".join(map(str, counts))


def rows_of(name: str, system: str, cases: pandas.DataFrame, intervals: pandas.DataFrame, steps: str = "—") -> str:
    """Return one row: of each person PSNR with its interval, SSIM, lesion contrast in percent of the truth's; steps."""
    cells = []
    for _, case in cases[cases["system"] == system].sort_values("case").iterrows():
        of_case = intervals[(intervals["case"] == case["case"]) & (intervals["system"] == system)]
        psnr = of_case[of_case["metric"] == "psnr"].iloc[0]
        ssim = of_case[of_case["metric"] == "ssim"].iloc[0]
        share = case["lesion_contrast"] / case["lesion_contrast_truth"]
        cells.append(f"{psnr['mean']:.2f} ({psnr['low']:.2f}–{psnr['high']:.2f})")
        cells.append(f"{ssim['mean']:.3f} ({ssim['low']:.3f}–{ssim['high']:.3f})")
        cells.append(f"{100 * share:.0f} %")
    return f"| {name} | " + " | ".join([*cells, steps]) + " |"


def table(found: dict[str, Path], source: str, target: str) -> str:
    """Return the table of one task."""
    rows: list[str] = []
    for name, folder in found.items():
        cases, intervals = scores(folder, source, target, named=name in ANY)
        if not rows:
            people = sorted(set(cases["case"]))
            heads = [f"{person}: {what}" for person in people for what in ("PSNR (dB)", "SSIM", "lesion contrast kept")]
            rows = ["| | " + " | ".join([*heads, "steps"]) + " |", "|---|" + "---:|" * (len(heads) + 1)]
            rows += [rows_of(f"*{said}*", system, cases, intervals) for system, said in BASELINES.items()]
        rows.append(rows_of(name, "translator", cases, intervals, steps_of(folder)))
    return "\n".join(rows)


def picture(found: dict[str, Path], source: str, target: str, manifest: Path) -> Figure:
    """Return the slice with the largest lesion of the second person: source, truth, and each method's."""
    listed = pandas.read_csv(manifest)
    person = sorted(set(listed["subject"]))[-1]
    place = listed[listed["subject"] == person].set_index("modality")["path"]
    read = {name: transmodal.read(manifest.parent / place[name]) for name in (source, target, "lesion")}
    brain = read[source].pixels != 0
    at = int((read["lesion"].pixels > 0).sum(axis=(0, 1)).argmax())
    tiles = [(f"{source} (input)", read[source], True), (f"{target} (true)", read[target], True)]
    for name, folder in found.items():
        folds = (run for run in sorted(folder.glob("fold-*")) if tested_in(run) == person)
        translator = transmodal.load_translator(next(folds))
        made = translator.translate_case({source: read[source]}, targets=(target,), options=Options())
        tiles.append((name, made[target], False))
    columns = 5
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.75 * rows), layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns))
    for axis in axes:
        axis.axis("off")
    for axis, (name, image, real) in zip(axes, tiles, strict=False):
        low, high = np.percentile(image.pixels[brain], [0.5, 99.5])
        shown = np.where(brain, image.pixels, low)[:, :, at]
        axis.imshow(np.rot90(shown)[10:-10, 15:-15], cmap="gray", vmin=low, vmax=high)
        axis.set_title(name if real else f"{name}\nsynthetic", fontsize=9)
    return figure


def tested_in(run: Path) -> str:
    """Return the subject that a fold is tested on."""
    listed = pandas.read_csv(run / "manifest.csv")
    return str(listed[listed["split"] == "test"]["subject"].iloc[0])


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, each fold")
    parser.add_argument("--only", default="", help="methods with commas between; default: all")
    arguments = parser.parse_args()
    only = [name.strip() for name in arguments.only.split(",") if name.strip()] or [*PAIR, *ANY]
    found: dict[tuple[str, str], dict[str, Path]] = {task: {} for task in TASKS}
    for name, (recipe, settings) in PAIR.items():
        for source, target in TASKS if name in only else ():
            folder = arguments.out / f"{source}-{target}" / plain(name)
            lines = [*settings, *settings_for(source, target, recipe)]
            train(recipe, lines, arguments.manifest, folder, arguments.minutes)
            found[source, target][name] = folder
    for name, recipe in ANY.items():
        if name in only:
            folder = arguments.out / "any" / plain(name)
            train(recipe, [], arguments.manifest, folder, arguments.minutes)
            for task in TASKS:
                found[task][name] = folder
    lines = []
    for (source, target), folders in found.items():
        lines += [f"{source} → {target}", "", table(folders, source, target), ""]
        image = arguments.out / f"{source}-{target}.png"
        picture(folders, source, target, arguments.manifest).savefig(image, dpi=100)
    (arguments.out / "tables.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
