"""Every recipe that ships, at one scale on one device: does it train, how fast, how much memory.

    python benchmarks/every_recipe.py --out every --device cuda --scale small --minutes 2
    python benchmarks/every_recipe.py --out every --device cpu --scale smoke --minutes 0.1

On simulated mice and brains, made on the first call; each recipe in a process of its own, one after the other; what is
finished is not done again. Prints a table in Markdown, headed by the device, and writes it to OUT/table.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas

WORDS = [sys.executable, "-m", "transmodal"]


def data(out: Path, brain: list[str]) -> dict[str, Path]:
    """Return the manifests of simulated mice and brains, split."""
    found = {}
    for kind, options in {
        "mouse": ["--animals", "12", "--poses", "2"],
        "brain": ["--subjects", "8", "--size", *brain],
    }.items():
        folder, split = out / kind, out / f"{kind}.csv"
        if not split.exists():
            subprocess.run([*WORDS, "data", "simulate", kind, "-o", str(folder), *options], check=True)
            whole = [str(folder / "manifest.csv"), "--fractions", "0.7", "0.15", "0.15"]
            subprocess.run([*WORDS, "data", "split", *whole, "-o", str(split)], check=True)
        found[kind] = split
    return found


def one(recipe: str, manifest: str, folder: str, scale: str, device: str, minutes: str) -> None:
    """Train one recipe and write what it took beside the run."""
    import torch

    from transmodal.training.recipe_loading import load_recipe
    from transmodal.training.train import train

    changes = {"train.epochs": 100000, "train.max_minutes": float(minutes), "train.validate_every": 100000}
    chosen = load_recipe(recipe, scale=scale, overrides=changes | {"train.sample_every": 100000})
    train(chosen, manifest, folder, device=device, quiet=True)
    if device == "cuda":
        peak, name = torch.cuda.max_memory_allocated() / 1024**3, torch.cuda.get_device_name()
    else:
        import resource

        peak, name = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, device
    Path(folder, "took.json").write_text(json.dumps({"peak": peak, "device": name}), encoding="utf-8")


def row(recipe: str, folder: Path) -> str:
    """Return the row of one recipe."""
    log, took = pandas.read_csv(folder / "log.csv"), json.loads((folder / "took.json").read_text(encoding="utf-8"))
    loss = next(column for column in log if column.startswith(("g_loss", "g_")))
    step = 1000 * log["seconds"].iloc[-1] / log["step"].iloc[-1]
    waiting = 100 * log["waiting_share"].iloc[-1]
    first, last = log[loss].iloc[0], log[loss].iloc[-1]
    return (
        f"| `{recipe}` | {log['step'].iloc[-1]} | {step:.0f} | {waiting:.1f} % | {took['peak']:.1f} | "
        f"{first:.3g} → {last:.3g} |"
    )


def main() -> None:
    """Simulate, train each, print."""
    from transmodal.training.recipe_loading import load_recipe, shipped_recipes

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", default="small")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, each recipe")
    parser.add_argument("--brain", nargs=3, default=["120", "120", "78"], help="voxels of the brains")
    parser.add_argument("--only", nargs="*", default=None, help="recipes; default: all")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    manifests = data(arguments.out, arguments.brain)
    lines = ["| recipe | steps | ms a step, all counted | waiting for data | peak, GiB | loss, first → last epoch |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    device = arguments.device
    for recipe in arguments.only or sorted(shipped_recipes()):
        kind = "mouse" if "photo" in load_recipe(recipe, scale=arguments.scale).inputs else "brain"
        folder = arguments.out / arguments.scale / recipe
        if not (folder / "took.json").exists():
            words = [recipe, manifests[kind], folder, arguments.scale, arguments.device, arguments.minutes]
            done = subprocess.run([sys.executable, __file__, "one", *map(str, words)])
            if done.returncode:
                lines.append(f"| `{recipe}` | failed | | | | |")
                continue
        device = json.loads((folder / "took.json").read_text(encoding="utf-8"))["device"]
        lines.append(row(recipe, folder))
    lines = [f"{device}, scale {arguments.scale}, {arguments.minutes:g} minutes each", "", *lines, ""]
    (arguments.out / "table.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    one(*sys.argv[2:]) if sys.argv[1:2] == ["one"] else main()
