"""`transmodal demo`: the whole story on simulated mice."""

import csv
import math
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

  transmodal demo

  transmodal demo --out somewhere --minutes 10 --animals 60
"""

README_STEPS, README_MINUTES, README_SCALE = 4700, 4, "small"  # on two free cores; measured: 4727
_FAR_BELOW = 0.5


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to fill; a rerun goes on where it was.")] = Path(
        "transmodal-demo"
    ),
    animals: Annotated[int, typer.Option(min=6, help="Simulated mice.")] = 36,
    poses: Annotated[int, typer.Option(min=1, help="Poses of each.")] = 3,
    minutes: Annotated[float, typer.Option(min=0.05, help="Training time.")] = 4.0,
    scale: Annotated[str, typer.Option(help="Scale of the recipe: smoke, small or paper.")] = "small",
    seed: Annotated[int, typer.Option(min=0, help="Of mice, split and training.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Simulate mice, train photograph to X-ray, prove it on held-out animals, translate their photographs."""
    from rich.console import Console

    from transmodal.cli.progress import Progress
    from transmodal.cli.scores import print_scores
    from transmodal.datasets.manifest import Manifest
    from transmodal.datasets.splits import split_by_subject
    from transmodal.errors import UserError
    from transmodal.evaluation.run import evaluate_run
    from transmodal.simulation.mouse import simulate_dataset
    from transmodal.training.recipe_loading import load_recipe
    from transmodal.training.run import Run
    from transmodal.training.train import train
    from transmodal.translation.apply import Job, apply_translator
    from transmodal.translation.model_folder import load_translator

    console = Console(stderr=True)

    def step(number: int, what: str) -> None:
        console.print(f"\n[bold cyan]{number}/4[/] [bold]{what}[/]", highlight=False)

    step(1, f"Simulating {animals} mice in {poses} poses: photograph and X-ray of the same body, 50×100 mm")
    with Progress("mice") as progress:
        manifest_file = simulate_dataset(
            out / "data",
            animals=animals,
            poses=poses,
            seed=seed,
            progress=lambda done, total: progress.show("simulating", done, total),
        )
    manifest = split_by_subject(Manifest.read(manifest_file), seed=seed, stratify=("coat",))

    step(2, f"Training pix2pix on {len(manifest.cases(split='train'))} pairs for {minutes:g} minutes")
    recipe = load_recipe(
        "photo-to-xray", scale=scale, overrides={"train.max_minutes": minutes, "train.epochs": 100000,
                                                 "train.seed": seed}
    )  # fmt: skip
    folder = out / "run"
    again = (folder / "recipe.yaml").exists()
    if again and Run.open(folder).recipe != recipe:
        raise UserError(f"{out} holds a demo of other settings; choose another --out, or delete {folder}")
    run = train(recipe, manifest, folder, resume=again, device=device)
    steps = _steps_of(run.log)
    console.print(f"{steps} steps in {minutes:g} minutes", highlight=False)

    step(3, "Scoring on animals that were never seen, beside two baselines")
    with Progress("evaluation") as progress:
        evaluation = evaluate_run(run.folder, on_progress=progress.show, workers=2)
    for target, scores in evaluation.scores.items():
        print_scores(scores, title=f"{target}, held-out animals")
    doubt = unfinished(steps, minutes, scale, folder)
    if doubt:
        console.print(f"\n{doubt}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    step(4, "Translating their photographs")
    cases = Run.open(folder).manifest.cases(("photo",), split="test")
    jobs = [Job(case.id, {"photo": case.files["photo"]}) for case in cases]
    results = apply_translator(load_translator(run.model), jobs, out / "xrays", model_folder=run.model)
    pictures = out / "pictures"
    pictures.mkdir(exist_ok=True)
    for drawn in next(iter(evaluation.pictures.values())):
        (pictures / f"{drawn.rank}_{drawn.case}.png").write_bytes(drawn.png)
    typer.echo(f"Synthetic X-rays: {out / 'xrays'} ({len(results.written) + len(results.skipped)} files)")
    typer.echo(f"Pictures: {pictures} (photograph, synthetic X-ray, true X-ray, error)")
    typer.echo(f"Report: {evaluation.report}")


def unfinished(steps: int, minutes: float, scale: str, folder: Path) -> str:
    """Say that a training took far fewer steps than that of the README's picture, and what helps; "" where it did not.

    Args:
        steps: of the training.
        minutes: that it was given.
        scale: of the recipe; steps of different scales cannot be compared.
        folder: of the run, which stands in the way of a longer one.
    """
    if scale != README_SCALE or steps >= _FAR_BELOW * README_STEPS:
        return ""
    slow = steps / minutes < _FAR_BELOW * README_STEPS / README_MINUTES
    enough = math.ceil(minutes * README_STEPS / max(1, steps))
    return (
        f"Only {steps} steps in {minutes:g} minutes: these scores and pictures are of a training broken off early. The "
        f"README's picture took about {README_STEPS} steps, in {README_MINUTES} minutes on two free cores. Delete "
        f"{folder} and run it again{' when the machine is free, or' if slow else ''} with --minutes {enough}."
    )


def _steps_of(log: Path) -> int:
    with log.open(newline="", encoding="utf-8") as stream:
        return max((int(row["step"]) for row in csv.DictReader(stream)), default=0)
