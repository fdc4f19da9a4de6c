"""`transmodal train`."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

  transmodal train photo-to-xray --data manifest.csv --out runs/first

  transmodal train photo-to-xray --data manifest.csv --out runs/short --max-minutes 12

  transmodal train my-recipe.yaml --data manifest.csv --out runs/gp --set pix2pix.adversarial=wgan-gp --seed 1

  transmodal train photo-to-xray --data manifest.csv --out runs/fold-2 --fold 2

  transmodal train t1-to-t2 --data manifest.csv --out runs/five-fold --folds 5

  transmodal train --resume --out runs/first

  transmodal train photo-to-xray --scale paper --print-recipe
"""


def train(
    recipe: Annotated[str | None, typer.Argument(help="A recipe file, or the name of a shipped recipe.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="The manifest (CSV).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; new, or a run with --resume.")] = None,
    scale: Annotated[str | None, typer.Option(help="smoke, small or paper. Default: small.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; can be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=0, help="Short for --set train.epochs=N.")] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Minutes of training steps and of the validations between them; the schedule is fitted to the time. "
            "Reading and preparing images before, and the last validation and writing the model after, come on top.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Short for --set train.seed=N.")] = None,
    fold: Annotated[
        int | None, typer.Option(min=1, help="Validate on this fold of 'data split --folds', train on the others.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Cross-validate by subject: so many runs in --out; the limit of minutes is of each."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, one a device (DDP).")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared images. Default: the user's cache.")] = None,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print the recipe with every default, and leave.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train a translator: a recipe on a manifest, into a run's folder.

    With --folds, every subject is a test subject of exactly one run;
    'transmodal evaluate' on the folder of all runs pools them.
    """
    from transmodal.errors import UserError
    from transmodal.training.recipe_loading import load_recipe, shipped_recipes
    from transmodal.training.run import Run

    changes = list(settings or [])
    shortcuts = {"train.epochs": epochs, "train.max_minutes": max_minutes, "train.seed": seed}
    changes += [f"{key}={value}" for key, value in shortcuts.items() if value is not None]
    resumed = None
    goes_on_with_folds = False
    if resume and out is not None:
        goes_on_with_folds = (out / "folds.json").exists()
        if goes_on_with_folds:
            from transmodal.training.cross_validation import CrossValidation

            resumed = CrossValidation.open(out).recipe
        elif (out / "recipe.yaml").exists():
            resumed = Run.open(out).recipe
            if folds is not None:
                raise UserError(f"--resume goes on with the one run in {out}; leave --folds out")
    if fold is not None and (folds is not None or goes_on_with_folds):
        raise UserError("--fold trains one round and --folds trains all; give one")
    if (folds is not None or goes_on_with_folds) and devices > 1:
        raise UserError("--folds trains in one process; leave --devices out, or train each round with --fold")
    if resumed is not None and fold is not None:
        raise UserError(f"--resume goes on with the split in {out}; leave --fold out")
    if recipe is not None:
        loaded = load_recipe(recipe, scale=scale, overrides=changes)
        if resumed is not None and loaded != resumed:
            raise UserError(
                f"--resume goes on with the recipe in {out}, and the one given differs; leave RECIPE, --set, --scale, "
                "--epochs, --max-minutes and --seed out, or choose another --out"
            )
    elif resume and out is not None and resumed is None:
        raise UserError(f"There is no run in {out} to resume; check --out, or name a recipe to begin one")
    elif resumed is None:
        raise UserError(f"Name a recipe: a file, or one of {', '.join(shipped_recipes())}")
    elif changes or scale:
        raise UserError(f"--resume goes on with the recipe in {out}; leave out --set, --scale, --epochs, --seed")
    else:
        loaded = resumed
    if print_recipe:
        typer.echo(loaded.to_yaml(), nl=False)
        return
    if out is None or (data is None and resumed is None and not (out / "recipe.yaml").exists()):
        raise UserError("Training needs --data manifest.csv and --out RUN; see 'transmodal train --help'")

    if folds is not None or goes_on_with_folds:
        from transmodal.training.cross_validation import train_folds

        def say(line: str) -> None:
            if not quiet:
                typer.echo(line, err=True)

        whole = train_folds(
            loaded, data, out, folds, resume=resume, say=say, device=device, cache=cache, quiet=quiet
        )  # fmt: skip
        typer.echo(f"Runs: {whole.folder}")
        return
    from transmodal.datasets.manifest import Manifest
    from transmodal.training.train import train as run_training

    table = data or out / "manifest.csv"
    manifest = table if fold is None else Manifest.read(table).with_fold(fold)
    run = run_training(loaded, manifest, out, resume=resume, device=device, devices=devices, cache=cache, quiet=quiet)
    typer.echo(f"Run: {run.folder}")
