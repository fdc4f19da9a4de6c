"""`transmodal translate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transmodal.translation.jobs import Job
    from transmodal.translation.options import Blend, Options
    from transmodal.translation.translator import Translator

EXAMPLES = """
[bold]Examples[/bold]

  transmodal translate -m runs/first -i photo.png -o xray.png

  transmodal translate -m runs/first/model -i photos/ -o xrays/

  transmodal translate -m runs/mri -i patients/ -o t2/ --pattern '*T1.nii.gz'

  transmodal translate -m runs/first -i photos/ -o xrays/ --spacing 0.0977 0.0977 --seed 7

  transmodal translate -m runs/any -i scans/ -o made/ --modality T1 --targets T2,FLAIR --flips 1 --precision bf16

  transmodal translate -m runs/liver -i scans/ -o masks/ --format dicom-seg --largest-component liver

  transmodal translate -m runs/seed0 -m runs/seed1 -m runs/seed2 -i t1/ -o t2/      # an ensemble: mean and T2_sd
"""

NAMED = 5  # cases, in a line that counts them


def translate(
    model: Annotated[
        list[Path],
        typer.Option("--model", "-m", help="A run, or its model folder; several make an ensemble, see --uncertainty."),
    ],
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
    modality: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Which input these files are, where the model takes several; of a manifest: use only these.",
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="What to make, each of all that is there but itself. Default: all that is not given."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="A mask of the region (brain, body), or a folder of them, named like the inputs."),
    ] = None,
    uncertainty: Annotated[
        int,
        typer.Option(
            metavar="PASSES",
            min=0,
            help="Write the mean of so many passes with dropout, and their standard deviation as NAME_sd; with several "
            "models theirs, without this.",
        ),
    ] = 0,
    flips: Annotated[
        str | None,
        typer.Option(
            metavar="AXES",
            help="Translate mirrored along these axes too, and average: 1, or 0,1; none: along none. Default: as the "
            "model says, which is none but of some segmentations.",
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    window: Annotated[
        str | None,
        typer.Option(metavar="X,Y,Z", help="Volumes: windows of this size, or whole. Default: as trained, by memory."),
    ] = None,
    overlap: Annotated[
        float, typer.Option(min=0, max=0.9, help="Volumes: share of a window that neighbours have in common.")
    ] = 0.5,
    blend: Annotated[
        str, typer.Option(help="Volumes: join windows by gaussian weights, or by their plain mean.")
    ] = "gaussian",
    memory: Annotated[
        float | None,
        typer.Option(metavar="GB", min=0.01, help="Memory to use; windows shrink to it. Default: what is free."),
    ] = None,
    largest_component: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Label maps: keep one connected piece of these classes; none: of none. Default: as trained.",
        ),
    ] = None,
    fill_holes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Label maps: fill holes of these classes; none: of none. Default: as trained."
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=P",
            help="Label maps: the probability from which a pixel has a class, as tumour=0.3. Default: as trained, 0.5.",
        ),
    ] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="dicom-seg: write label maps as DICOM segmentations.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto (a CUDA GPU where there is one, else the CPU), cpu, cuda or mps.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Translate images: same size, same pixel size, marked as synthetic. Done files are skipped on a rerun."""
    import json
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import Progress

    from transmodal.errors import UserError
    from transmodal.images.synthetic import require_replaceable

    single_file = given.is_file() and given.suffix.lower() != ".csv" and bool(out.suffix) and not out.is_dir()
    if single_file:
        require_replaceable(out, [given])  # before the seconds that the rest takes to import
    from transmodal.translation.apply import SEGMENTS, apply_translator, find_jobs
    from transmodal.translation.devices import choose_device
    from transmodal.translation.jobs import cases_without_input, chosen_inputs
    from transmodal.translation.model_folder import load_translator

    device = choose_device(device)
    translator, *others = [load_translator(each, device=device) for each in model]
    if file_format not in (None, SEGMENTS):
        raise UserError(f"--format {file_format}: take {SEGMENTS}; other formats follow from the input's, or from -o")
    if uncertainty == 1:
        raise UserError("--uncertainty 1: one pass has no spread; take 8 or more")
    for other in others:
        if (other.card.inputs, other.card.targets) != (translator.card.inputs, translator.card.targets):
            raise UserError(f"{translator.card.name} and {other.card.name} have other modalities and are no ensemble")
    preparation = translator.card.preparation
    volumes = preparation.slices is not None or preparation.spatial_dims == 3
    region = preparation.region
    modalities = _names(modality)
    jobs = find_jobs(
        given,
        list(translator.card.inputs),
        volumes=volumes,
        out=out,
        pattern=pattern,
        modalities=modalities,
        mask_modality=region.modality if region is not None else None,
        masks=mask,
        may_miss=translator.card.missing_inputs,
    )
    wanted = _names(targets)
    made = _what_is_made(translator, jobs, wanted)
    if single_file and len(made) > 1:
        raise UserError(f"The model writes {', '.join(made)}; give a folder with -o, or choose with --targets")
    if not single_file and out.is_file():
        raise UserError(f"{out} is a file; give a folder with -o")
    console = Console(stderr=True)
    options = replace(
        translation_options(
            flips, precision, window, memory, overlap, blend=blend, spatial_dims=preparation.spatial_dims
        ),
        largest_component=_classes(largest_component),
        fill_holes=_classes(fill_holes),
        thresholds=thresholds_in(threshold),
        say=None if as_json else lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
    )
    with Progress(console=console, transient=True, disable=as_json or not console.is_terminal) as progress:
        task = progress.add_task("translating", total=len(jobs))
        results = apply_translator(
            translator,
            jobs,
            out,
            single_file=single_file,
            seed=seed,
            spacing=spacing,
            model_folder=model[0],
            targets=wanted,
            options=options,
            passes=uncertainty,
            ensemble=others,
            as_segments=file_format == SEGMENTS,
            on_job=lambda job, outcome: progress.advance(task),
        )
    used = chosen_inputs(list(translator.card.inputs), modalities)
    without = cases_without_input(given, used)
    if as_json:
        listed = {
            "notice": translator.card.notice,
            "written": [str(path) for _, path in results.written],
            "skipped": [str(path) for _, path in results.skipped],
            "failed": [{"case": name, "reason": reason} for name, reason in results.failed],
            "without_input": without,
            "warnings": [{"case": name, "warning": line} for name, line in results.warnings],
        }
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
    else:
        for name, line in results.warnings:
            console.print(f"warning: {name}: {line}", markup=False, highlight=False, soft_wrap=True)
        for name, reason in results.failed:
            console.print(f"failed: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
        counts = f"{len(results.written)} written, {len(results.skipped)} done before, {len(results.failed)} failed"
        typer.echo(f"{counts}. {translator.card.notice}")
        if without:
            named = ", ".join(without[:NAMED]) + (f" and {len(without) - NAMED} more" if len(without) > NAMED else "")
            cases = "1 case has" if len(without) == 1 else f"{len(without)} cases have"
            typer.echo(f"{cases} no {' or '.join(used)}, so nothing was made: {named}")
        if results.written or results.skipped:
            typer.echo(f"Output: {out}")
    if results.failed:
        raise typer.Exit(2)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def _classes(text: str | None) -> tuple[str, ...] | None:
    """Return the classes that an option names; None where it was not given."""
    return None if text is None else () if text == "none" else tuple(_names(text) or ())


def thresholds_in(text: str | None) -> tuple[tuple[str, float], ...]:
    """Return (class, probability) as "liver=0.4,tumour=0.3" gives them.

    Raises:
        UserError: it is written otherwise.
    """
    from transmodal.errors import UserError

    found = {}
    for part in _names(text) or []:
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError as error:
            raise UserError(f"--threshold {text}: write class=probability, as tumour=0.3") from error
    return tuple(found.items())


def _what_is_made(translator: "Translator", jobs: "Sequence[Job]", wanted: list[str] | None) -> list[str]:
    """Return what is made of the first job of which anything can be.

    Raises:
        UserError: nothing can be made of any.
    """
    from transmodal.errors import UserError
    from transmodal.translation.apply import parts_of

    problem = UserError("There is nothing to translate; check the input")
    for number, job in enumerate(jobs):
        try:
            return [target for _, targets in parts_of(translator, job, wanted) for target in targets]
        except UserError as error:
            problem = problem if number else error
    raise problem


def translation_options(
    flips: str | None,
    precision: str,
    window: str | None,
    memory: float | None,
    overlap: float = 0.5,
    *,
    blend: str = "gaussian",
    spatial_dims: int = 3,
) -> "Options":
    """Return how a network is run, from words of the command line; memory in GB.

    Raises:
        UserError: a word that is none of these, or axes to flip that samples of so many dimensions lack.
    """
    from transmodal.errors import UserError
    from transmodal.translation.options import Options

    axes = None if flips is None else () if flips == "none" else _whole_numbers(flips, "--flips")
    if any(axis >= spatial_dims for axis in axes or ()):
        raise UserError(f"--flips {flips}: samples have the axes 0 to {spatial_dims - 1}")
    return Options(
        flips=axes,
        precision=_precision(precision),
        window="whole" if window == "whole" else (_whole_numbers(window, "--window") or None) if window else None,
        overlap=overlap,
        blend=_blend(blend),
        memory=None if memory is None else memory * 1e9,
    )


def _whole_numbers(text: str, option: str) -> tuple[int, ...]:
    from transmodal.errors import UserError

    try:
        numbers = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = (-1,)
    if any(number < 0 for number in numbers):
        raise UserError(f"{option} {text}: write whole numbers with commas, as 0,1")
    return numbers


def _blend(text: str) -> "Blend":
    from transmodal.errors import UserError
    from transmodal.translation.options import BLENDS

    for known in BLENDS:
        if text == known:
            return known
    raise UserError(f"--blend {text}: take {' or '.join(BLENDS)}")


def _precision(text: str) -> Literal["fp32", "bf16"]:
    from transmodal.errors import UserError

    known: dict[str, Literal["fp32", "bf16"]] = {"fp32": "fp32", "bf16": "bf16"}
    if text not in known:
        raise UserError(f"--precision {text}: take fp32 or bf16")
    return known[text]
