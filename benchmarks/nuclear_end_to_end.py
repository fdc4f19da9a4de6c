"""What synthetic anatomy costs a nuclear study: photograph → X-ray → organs → %ID, against the true X-ray and organs.

    python benchmarks/nuclear_end_to_end.py --out nuclear --minutes 12 6

Two networks are trained on simulated mice: photo-to-xray and xray-to-organs (and, to compare, organs straight from the
photograph). Other mice, which no training saw, get an acquisition of each agent. The mean %ID over all frames of every
organ is taken in four ways: in the true organs; in organs found in the true X-ray; in organs found in the X-ray that
was made of the photograph; in organs found in the photograph. What the camera itself does (depth, overlap, blur) is the
same in all four; the first is also set against the organ's true content.

Writes OUT/table.md, OUT/percent_id.csv and the folders of one study of the third kind, made by the command
`transmodal fuse curves photo.png counts.tif --xray … --organs …`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas

from transmodal.fusion.anatomy import find_organs, make_image
from transmodal.fusion.background import Background
from transmodal.fusion.curves import time_activity
from transmodal.fusion.region_files import read_label_names
from transmodal.fusion.regions import Regions, regions_from_labels
from transmodal.fusion.registration import register
from transmodal.images import read
from transmodal.images.nuclear.reading import read_nuclear

AGENTS = ("mdp", "fdg", "tumour")
WAYS = ("true organs", "true X-ray", "synthetic X-ray", "photograph")
LEFT_OUT = ("soft tissue", "tumour")  # what surrounds the others; what no anatomy shows


def run(*words: object) -> None:
    """Run a command of transmodal."""
    subprocess.run([sys.executable, "-m", "transmodal", *map(str, words)], check=True)


def trained(recipe: str, data: Path, folder: Path, minutes: float, *settings: str) -> Path:
    """Train a recipe unless that is done."""
    if not (folder / "model" / "translator.json").exists() or not (folder / "done").exists():
        words = [word for line in settings for word in ("--set", line)]
        resume = ("--resume",) if (folder / "checkpoints" / "last.ckpt").exists() else ()
        run(
            "train",
            recipe,
            "--data",
            data,
            "--scale",
            "small",
            "--max-minutes",
            minutes,
            "--out",
            folder,
            *words,
            *resume,
        )
        (folder / "done").touch()
    return folder


def regions_of(way: str, data: Path, name: str, models: dict[str, Path], made: Path) -> Regions:
    """Return the organs of one mouse in one of the ways."""
    photo, xray = data / "photo" / f"{name}.png", data / "xray" / f"{name}.png"
    if way == "true organs":
        found = regions_from_labels(read(data / "organs" / f"{name}.png"), read_label_names(data / "organs.json"))
        return found.without(*LEFT_OUT)
    given, model = xray, models["organs"]
    if way == "synthetic X-ray":
        given = made / f"{name}-xray.png"
        make_image(photo, models["xray"], given)
    elif way == "photograph":
        given, model = photo, models["photo-organs"]
    labels, names, _ = find_organs(given, model, made / f"{name}-{way.replace(' ', '-')}.png")
    return regions_from_labels(labels, names).without(*LEFT_OUT)


def measured(data: Path, agent: str, models: dict[str, Path], made: Path, background: Background) -> pandas.DataFrame:
    """Return mean %ID over the frames of each organ, mouse and way, beside the truth."""
    rows = []
    for file in sorted((data / "nuclear").glob("*.tif")):
        name = file.stem
        series = read_nuclear(file)
        xray = read(data / "xray" / f"{name}.png")
        registration = register(xray, series, data / "fiducials.csv")
        truth = pandas.read_csv(data / "truth" / f"{name}.csv")
        for way in WAYS:
            regions = regions_of(way, data, name, models, made).within(series, registration.transform)
            curves = time_activity(series, regions.on(series, registration.transform), background)
            assert curves.percent_id is not None and curves.durations is not None
            means = np.average(curves.percent_id, axis=1, weights=curves.durations)
            for organ, value in zip(curves.names, means, strict=True):
                own = truth[truth["organ"] == organ]
                true = float(np.average(own["percent_id"], weights=own["duration_s"])) if len(own) else np.nan
                rows.append(
                    {
                        "agent": agent,
                        "mouse": name,
                        "way": way,
                        "organ": organ,
                        "percent_id": value,
                        "true_content": true,
                    }
                )
    return pandas.DataFrame(rows)


def table(found: pandas.DataFrame) -> list[str]:
    """Return a markdown table: each organ's %ID in the true organs, and how far each way is from that.

    Off: mean over the mice; mean of the absolute values.
    """
    lines = [
        "| agent, organ | true content | in the true organs | off in: true X-ray | synthetic X-ray | photograph |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    wide = found.pivot_table(index=["agent", "organ", "mouse"], columns="way", values="percent_id")
    of_truth = found[found["way"] == WAYS[0]]  # every mouse once, also where another way does not find the organ
    content = of_truth.groupby(["agent", "organ"])["true_content"].mean()
    for (agent, organ), part in wide.groupby(level=["agent", "organ"], sort=False):
        reference = part["true organs"]
        cells = []
        for way in WAYS[1:]:
            both = part[[way, "true organs"]].dropna()
            off = both[way] - both["true organs"]
            missing = f" ({len(part) - len(both)} missing)" if len(both) < len(part) else ""
            text = f"{off.mean():+.2f}; {off.abs().mean():.2f}{missing}".replace("-", "−")
            cells.append(text if len(both) else "not found")
        true = content[agent, organ]
        shown = f"{true:.2f}" if np.isfinite(true) else "–"
        lines.append(f"| {agent}, {organ} | {shown} | {reference.mean():.2f} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Simulate, train, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs=2, default=(12.0, 6.0), help="photo-to-xray, xray-to-organs")
    parser.add_argument("--animals", type=int, default=60, help="to train on, two poses each")
    parser.add_argument("--tested", type=int, default=6, help="mice of each agent")
    arguments = parser.parse_args()
    out: Path = arguments.out
    mice = out / "mice"
    run("data", "simulate", "mouse", "--animals", arguments.animals, "--poses", 2, "--size", 256, 512, "-o", mice)
    manifest = mice / "manifest.csv"
    if "split" not in pandas.read_csv(manifest, nrows=1).columns:
        run("data", "split", manifest, "--fractions", 0.9, 0.1, 0)
    to_xray, to_organs = arguments.minutes
    models = {
        "xray": trained("photo-to-xray", manifest, out / "xray", to_xray, "preparation.grid.shrink=2"),
        "organs": trained("xray-to-organs", manifest, out / "organs", to_organs),
        "photo-organs": trained(
            "xray-to-organs",
            manifest,
            out / "photo-organs",
            to_organs,
            "inputs=[photo]",
            "preparation.intensity={photo: {map: auto}}",
        ),
    }
    found = []
    for number, agent in enumerate(AGENTS):
        data = out / agent  # other seeds, other mice
        words = ("--agent", agent, "--animals", arguments.tested, "--size", 256, 512, "--seed", 1000 + number)
        run("data", "simulate", "nuclear", *words, "-o", data)
        found.append(measured(data, agent, models, out / f"{agent}-made", Background("none")))
    everything = pandas.concat(found)
    everything.to_csv(out / "percent_id.csv", index=False)
    lines = table(everything)
    (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    data = out / "mdp"
    images = (data / "photo" / "mouse001.png", data / "nuclear" / "mouse001.tif")
    chain = ("--xray", models["xray"], "--organs", models["organs"], "--register", data / "fiducials.csv")
    run("fuse", "curves", *images, *chain, "--target", "skeleton", "--overwrite", "-o", out / "study")


if __name__ == "__main__":
    main()
