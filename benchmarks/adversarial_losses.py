"""The adversarial losses of pix2pix compared on simulated mice: tables and picture of docs/adversarial-losses.md.

    transmodal data simulate mouse --animals 60 --poses 3 --seed 3 -o mice
    transmodal data split mice/manifest.csv --fractions 0.5 0.1 0.4 --stratify coat,bed
    for loss in cross-entropy mean-squared-error wgan-gp wgan-noconstraint; do
      transmodal train photo-to-xray --scale small --data mice/manifest.csv --out runs/$loss \\
        --set pix2pix.adversarial=$loss --set train.epochs=80
    done
    transmodal evaluate runs/* --metrics mse,mae,nrmse,psnr,ssim,ms_ssim,vif,niqe,fnsd \\
      --group-by coat,bed --out compared
    python benchmarks/adversarial_losses.py compared runs/* --picture docs/images/adversarial-losses.jpg
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

import transmodal
from transmodal.training.run import Run


def table(folder: Path) -> str:
    """Return the table of systems: means with intervals, the set-level distance and WAEM."""
    summary = json.loads((folder / "summary.json").read_text())
    waem = summary["comparison"]["waem"]
    lines = [f"| | PSNR (dB) | SSIM | MS-SSIM | VIF | FNSD | {waem['title']} |", "|---|---|---|---|---|---:|---:|"]
    for system, scores in summary["systems"].items():
        cells = [_interval(scores["psnr"], 2), *(_interval(scores[name], 3) for name in ("ssim", "ms_ssim", "vif"))]
        distance = summary["sets"][system]["fnsd"]["value"]
        lines.append(f"| {system} | {' | '.join(cells)} | {distance:.0f} | {waem['scores'][system]:+.2f} |")
    return "\n".join(lines)


def groups(folder: Path, metric: str, digits: int) -> str:
    """Return the table of coat × bed of one metric, as means of each system."""
    rows = pandas.read_csv(folder / "groups.csv")
    wide = rows[rows["group_by"] == "coat × bed"].pivot_table(
        index="group", columns="system", values=metric, sort=False
    )
    cases = rows[rows["group_by"] == "coat × bed"].groupby("group")["cases"].first()
    lines = [f"| coat × bed | cases | {' | '.join(wide.columns)} |", "|---|---:|" + "---:|" * len(wide.columns)]
    for group, row in wide.iterrows():
        lines.append(f"| {group} | {cases[group]} | {' | '.join(f'{value:.{digits}f}' for value in row)} |")
    return "\n".join(lines)


def picture(runs: list[Path], case_id: str | None) -> Figure:
    """Draw one test case: photograph, truth, and below each other what each run makes of the photograph."""
    opened = [Run.open(folder) for folder in runs]
    cases = opened[0].manifest.cases(("photo", "xray"), split="test")
    case = next((each for each in cases if each.id == case_id), cases[len(cases) // 2])
    photo, truth = transmodal.read(case.files["photo"]), transmodal.read(case.files["xray"])
    shown = {"photograph": np.asarray(photo), "true X-ray": np.asarray(truth)}
    for run in opened:
        shown[run.folder.name] = np.asarray(transmodal.load_translator(run.model)(photo))
    low, high = np.percentile(np.asarray(truth), (0.5, 99.5))
    down = -(-len(shown) // 2)
    figure = Figure(figsize=(11, 2.9 * down), dpi=100, layout="constrained")
    for place, (name, pixels) in enumerate(shown.items()):
        axis = figure.add_subplot(down, 2, place + 1)
        axis.imshow(pixels, cmap="gray", vmin=low, vmax=high) if pixels.ndim == 2 else axis.imshow(pixels)
        axis.set_title(name if place < 2 else f"synthetic, {name}", size=11)
        axis.axis("off")
    return figure


def _interval(score: dict[str, object], digits: int) -> str:
    mean, limits = score["mean"], score["ci95"]
    assert isinstance(mean, float) and isinstance(limits, list)
    return f"{mean:.{digits}f} ({limits[0]:.{digits}f} to {limits[1]:.{digits}f})"


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("compared", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--case")
    arguments = parser.parse_args()
    print(table(arguments.compared), "\n")
    print(groups(arguments.compared, "psnr", 2), "\n")
    print(groups(arguments.compared, "ssim", 3))
    if arguments.picture:
        picture(arguments.runs, arguments.case).savefig(arguments.picture, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()
