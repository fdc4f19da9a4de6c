"""Every method on two real people: T1 → T2 and T2 → FLAIR, trained on one and tested on the other, and swapped.

    transmodal data index OPEN_MS/mni -o ms.csv
    python benchmarks/mri_translators.py ms.csv --out mri --minutes 3

Each row is `transmodal train RECIPE --folds 2 --max-minutes …` and `transmodal evaluate` of its folder, one method at a
time; what is finished is not trained again. Prints one table a task in Markdown: mean over the two people of the
mean over axial slices with more than 2 000 brain voxels, inside the brain, each volume by its own percentiles 0.5 and
99.5; lesion contrast of prediction and truth; and the baselines. Each training has the same time and the machine to
itself.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas

MAP = "{map: image-percentiles, percentiles: [0.5, 99.5], foreground: true, anchor_zero: true}"
PAIR = {
    "2.5-D U-Net": ("t1-to-t2", []),
    "2.5-D U-Net, no simulated brains": ("t1-to-t2", ["pretraining=null"]),
    "2-D U-Net": ("t1-to-t2", ["pretraining=null", "preparation.slices.neighbours=0"]),
    "2-D residual U-Net": (
        "t1-to-t2",
        ["pretraining=null", "preparation.slices.neighbours=0", "supervised.network.kind=residual-unet"],
    ),
    "FCN-8s": ("t1-to-t2-fcn8s", []),
    "3-D U-Net": ("t1-to-t2-volume", []),
    "pix2pix": ("t1-to-t2-pix2pix", []),
    "3-D pix2pix": ("t1-to-t2-volume-pix2pix", []),
    "TC-MGAN": ("t2-to-t1-t1ce-flair", ["labels.segmentor_share=0"]),
}
ANY = {"Dai et al.": "any-to-any", "missing sequences": "missing-sequences", "StarGAN": "mri-stargan"}
SEQUENCES = ("T1", "T1ce", "T2", "FLAIR")
TASKS = (("T1", "T2"), ("T2", "FLAIR"))


def settings_for(source: str, target: str, recipe: str) -> list[str]:
    """Return what makes a recipe of pairs translate another one."""
    targets = [target]
    if recipe == "t2-to-t1-t1ce-flair":  # one generator for all that is not its source
        targets = [name for name in SEQUENCES if name != source]
    lines = [f"inputs=[{source}]", f"targets=[{','.join(targets)}]", f"preparation.intensity.{source}={MAP}"]
    return lines + [f"preparation.intensity.{name}={MAP}" for name in targets]


def trained(name: str, recipe: str, settings: list[str], manifest: Path, out: Path, minutes: float) -> Path:
    """Train the two folds unless they are there, evaluate them, and return their folder."""
    folder = out / name.replace(" ", "-").replace(",", "").replace(".", "")
    words = [sys.executable, "-m", "transmodal"]
    if not (folder / "evaluation").is_dir():
        options = [word for line in settings for word in ("--set", line)]
        resume = ["--resume"] if folder.is_dir() else []
        subprocess.run(
            [*words, "train", recipe, "--data", str(manifest), "--out", str(folder), "--folds", "2", *options,
             "--max-minutes", str(minutes), "--set", "train.epochs=100000", "--set", "train.sample_every=100000",
             *resume],
            check=True,
        )  # fmt: skip
        subprocess.run([*words, "evaluate", str(folder), "--lesions", "lesion", "--json"], check=True,
                       stdout=(folder / "scores.json").open("w"))  # fmt: skip
    return folder


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--only", default="", help="methods with commas between; default: all")
    arguments = parser.parse_args()
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    found: dict[tuple[str, str], dict[str, Path]] = {task: {} for task in TASKS}
    for name, (recipe, settings) in PAIR.items():
        for source, target in TASKS:
            if not only or name in only:
                every = [*settings, *settings_for(source, target, recipe)]
                place = arguments.out / f"{source}-{target}"
                found[source, target][name] = trained(name, recipe, every, arguments.manifest, place, arguments.minutes)
    for name, recipe in ANY.items():
        if not only or name in only:
            folder = trained(name, recipe, [], arguments.manifest, arguments.out / "any", arguments.minutes)
            for task in TASKS:
                found[task][name] = folder
    for (source, target), folders in found.items():
        print(f"\n{source} → {target}\n")
        print(tables(folders, target))


def tables(folders: dict[str, Path], target: str) -> str:
    """Return the table of one task."""
    lines = ["| | PSNR (dB) | SSIM | MAE | lesion contrast |", "|---|---:|---:|---:|---:|"]
    baselines_done = False
    for name, folder in folders.items():
        cases = pandas.read_csv(next((folder / "evaluation").rglob("cases.csv")))
        if "target" in cases:
            cases = cases[cases["target"] == target]
        for system, part in cases.groupby("system", sort=False):
            if system != "translator" and baselines_done:
                continue
            label = name if system == "translator" else f"*{system}*"
            contrast = part.filter(like="contrast")
            shown = " of ".join(f"{value:.3f}" for value in contrast.mean().to_numpy()[:2]) or "—"
            means = part[["psnr", "ssim", "mae"]].mean()
            lines.append(f"| {label} | {means['psnr']:.2f} | {means['ssim']:.3f} | {means['mae']:.3f} | {shown} |")
        baselines_done = True
    return "\n".join(lines)


if __name__ == "__main__":
    main()
