"""`transmodal translate`."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

  transmodal translate -m runs/first -i photo.png -o xray.png

  transmodal translate -m runs/first/model -i photos/ -o xrays/

  transmodal translate -m runs/mri -i patients/ -o t2/ --pattern '*T1.nii.gz'

  transmodal translate -m runs/first -i photos/ -o xrays/ --spacing 0.0977 0.0977 --seed 7
"""


def translate(
    model: Annotated[Path, typer.Option("--model", "-m", help="A run, or its model folder.")],
    given: Annotated[Path, typer.Option("--input", "-i", help="A file, a folder, or a manifest.csv.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="A file (for one input file) or a folder.")],
    pattern: Annotated[
        str, typer.Option(help="Files of an input folder that are of the input modality; all others are left out.")
    ] = "*",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Draw the noise (dropout) from this seed. Default: no noise.")
    ] = None,
    spacing: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="ROW COLUMN", help="Pixel size in mm of pictures that have none."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Translate images: same size, same pixel size, marked as synthetic. Done files are skipped on a rerun."""
    import json

    from rich.console import Console
    from rich.progress import Progress

    from transmodal.errors import UserError
    from transmodal.translation.apply import apply_translator, find_jobs
    from transmodal.translation.translator import load_translator

    translator = load_translator(model, device=device)
    preparation = translator.card.preparation
    volumes = preparation.slices is not None or preparation.spatial_dims == 3
    jobs = find_jobs(given, list(translator.card.inputs), volumes=volumes, out=out, pattern=pattern)
    single_file = given.is_file() and given.suffix.lower() != ".csv" and bool(out.suffix) and not out.is_dir()
    if single_file and len(translator.card.targets) > 1:
        raise UserError(f"The model writes {', '.join(translator.card.targets)}; give a folder with -o")
    if not single_file and out.is_file():
        raise UserError(f"{out} is a file; give a folder with -o")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=as_json or not console.is_terminal) as progress:
        task = progress.add_task("translating", total=len(jobs))
        results = apply_translator(
            translator,
            jobs,
            out,
            single_file=single_file,
            seed=seed,
            spacing=spacing,
            model_folder=model,
            on_job=lambda job, outcome: progress.advance(task),
        )
    if as_json:
        listed = {
            "notice": translator.card.notice,
            "written": [str(path) for _, path in results.written],
            "skipped": [str(path) for _, path in results.skipped],
            "failed": [{"case": name, "reason": reason} for name, reason in results.failed],
        }
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
    else:
        for name, reason in results.failed:
            console.print(f"failed: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
        counts = f"{len(results.written)} written, {len(results.skipped)} done before, {len(results.failed)} failed"
        typer.echo(f"{counts}. {translator.card.notice}")
        typer.echo(f"Output: {out}")
    if results.failed:
        raise typer.Exit(2)
