"""`transmodal score`."""

import shlex
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer

EXAMPLES = """
[bold]Examples[/bold]

  transmodal score predicted/ truth/ --range 0 65535

  transmodal score ours=made/ truth/ --against pix2pix=others/ --range -1024 3000 --mask bodies/ --out scored

  transmodal score sct/ ct/ --mask bodies/ --convention synthrad2023

  transmodal score made/ truth/ --range 0 255 --metrics psnr,ssim,fnsd --groups manifest.csv:coat,weight@20,25

  transmodal score masks/ true-masks/ --metrics dice,hd95 --labels 1,2

  transmodal score t2-made/ t2/ --scale percentile --mask-foreground --dimension 2 --slice-pixels 2000
"""

_FILE: Any = {"show_default": False, "metavar": "FILE"}


def score(
    context: typer.Context,
    predicted: Annotated[str, typer.Argument(help="A folder of images, or one image; NAME=DIR names it.")],
    truth: Annotated[Path, typer.Argument(help="A folder with images of the same names, or one image.")],
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="A further system, scored on the same cases; can be repeated."),
    ] = None,
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", metavar="LO HI", help="Range of the values. Needed, but for --scale percentile."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Masks of the same names (non-zero inside), or one mask.")] = None,
    mask_foreground: Annotated[
        bool, typer.Option("--mask-foreground", help="Compare only where the truth is above 0.")
    ] = False,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Names with commas between, also fnsd, fid and kid of whole sets. Default: mse,mae,nrmse,psnr,ssim.",
            show_default=False,
        ),
    ] = None,
    convention: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Metrics as a challenge fixed them, for example synthrad2023."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="1,2", help="Labels that dice and hd95 score apart. Default: all as one.")
    ] = None,
    match_by: Annotated[
        Path | None,
        typer.Option(
            "--match", help="CSV: predicted, truth, perhaps case, subject, mask; paths below the folders.", **_FILE
        ),
    ] = None,
    lesions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Maps of lesions, which are scored apart as well; a case may have none."),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE:COL,COL",
            help="Group by a manifest's columns: COL,COL crosses them, COL@20,25 cuts at edges; --groups given again "
            "makes a table of its own. The manifest's subjects count.",
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="physical, or percentile: each image by its own percentiles to 0–1 (MRI).")
    ] = "physical",
    percentiles_of: Annotated[
        str, typer.Option(help="With --scale percentile: each, by its own; truth, both by the truth's.")
    ] = "each",
    clip: Annotated[bool, typer.Option("--clip", help="Clip both images to the range first.")] = False,
    dimension: Annotated[int | None, typer.Option(min=2, max=3, help="2 scores volumes slice by slice.")] = None,
    slice_axis: Annotated[int, typer.Option(min=0, max=2, help="Array axis of the slices.")] = 2,
    slice_pixels: Annotated[
        int, typer.Option(min=0, metavar="N", help="With --dimension 2: only slices with more pixels of the mask.")
    ] = 0,
    nrmse: Annotated[str, typer.Option(help="Denominator of NRMSE: euclidean, min-max or mean.")] = "euclidean",
    nmae: Annotated[str, typer.Option(help="Denominator of NMAE: max-min, max or mean-magnitude.")] = "max-min",
    fid_weights: Annotated[
        Path | None, typer.Option(help="Inception weights (pt_inception-2015-12-05), for fid and kid.", **_FILE)
    ] = None,
    niqe_model: Annotated[
        Path | None, typer.Option(help="Pristine model for niqe: the published .npz, or one of yours.", **_FILE)
    ] = None,
    niqe_fit: Annotated[
        Path | None,
        typer.Option(help="Instead, sharp real images to fit it on.", show_default=False, metavar="DIR"),
    ] = None,
    lpips_weights: Annotated[Path | None, typer.Option(help="Weights of the network of lpips.", **_FILE)] = None,
    lpips_linear: Annotated[
        Path | None, typer.Option(help="Its learnt weights of channels, where they are a file apart.", **_FILE)
    ] = None,
    subject_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Takes the subject out of a name, for example '(?P<subject>.+)_pose'."),
    ] = None,
    waem: Annotated[
        Path | None, typer.Option(metavar="FILE", help="WAEM weights fitted to readers. Default: equal weights.")
    ] = None,
    waem_weights: Annotated[
        str | None,
        typer.Option(metavar="A,B,C,D,E", help="Instead: raw weights, of 1/MSE, 1/NRMSE, PSNR, SSIM and 1/FID."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for report.html, cases.csv, groups.csv and summary.json."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many images at a time. Default: number of cores.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON, and nothing else.")] = False,
) -> None:
    """Score images made by any program: two folders matched by name, or two files.

    A folder without images is matched by the folders in it: one DICOM
    series, or one image, in each.

    Cases that cannot be scored are listed and stand in no average;
    the exit status is then 2.
    """
    from transmodal.evaluation.parallel import cores, is_large_folder, start_early

    if (workers or cores()) > 1 and is_large_folder(truth):
        start_early()
    from transmodal.cli.chosen_metrics import named_metrics, named_weights
    from transmodal.cli.progress import Progress
    from transmodal.errors import UserError
    from transmodal.evaluation.case_table import CaseTable
    from transmodal.evaluation.failures import failures_in_words
    from transmodal.evaluation.folders import score_matched
    from transmodal.evaluation.groups import check_cells, check_grouping, choose_groupings, group_table, with_cuts
    from transmodal.evaluation.matching import match, match_by_table, subject_in_name, with_lesions
    from transmodal.evaluation.scores import for_json

    if mask is not None and mask_foreground:
        raise UserError("--mask and --mask-foreground are two masks; give one")
    of_images, of_sets = named_metrics(metrics, convention or [])
    policy = _policy(
        metrics=of_images,
        sets=of_sets,
        labels=_numbers(labels),
        range=limits,
        scale=scale,
        percentiles_of=percentiles_of,
        lesions=None if lesions is None else "lesions",
        clip=clip or None,
        mask="foreground" if mask_foreground else "mask" if mask else "none",
        dimension=dimension,
        slice_axis=slice_axis,
        slice_pixels=slice_pixels,
        nrmse=nrmse,
        nmae=nmae,
    )
    if of_sets and limits is None and scale == "physical":
        raise UserError(f"{of_sets[0]} needs the range of the values; give --range LOW HIGH")
    subject_of = None if subject_pattern is None else subject_in_name(subject_pattern)
    systems = _systems(predicted, against or [])
    weights = named_weights(waem, waem_weights)
    if weights is not None and len(systems) < 2:
        raise UserError("WAEM scores systems against each other; add one with --against, or leave --waem out")
    matched = match_by_table(match_by, systems, truth, mask) if match_by else match(systems, truth, mask)
    if lesions is not None:
        matched = with_lesions(matched, lesions)
    file, groupings = _groups(groups or [])
    table_factors = sorted({name for case in matched.cases for name in case.factors})
    table = None if file is None else CaseTable(file)
    for grouping in groupings:  # a column misspelt is told before rows that are missing
        check_grouping(table_factors + (table.factors if table else []), grouping)
    if table is not None:
        matched = table.told_of(matched)
    check_cells((case.factors for case in matched.cases), groupings)
    resources = _resources(policy, matched, fid_weights, niqe_model, niqe_fit, lpips_weights, lpips_linear)
    if (workers or cores()) > 1:  # what prints and draws takes a second to load; workers need not wait for it
        Thread(target=import_module, args=("transmodal.cli.scores",), daemon=True).start()
    doubts: list[str] = []
    with Progress("scoring") as progress:
        scores = score_matched(
            matched,
            policy,
            subject_of=subject_of,
            resources=resources,
            workers=workers or cores(),
            processes=True,
            on_progress=lambda done, total: progress.show("scoring", done, total),
            on_doubt=doubts.append,
        )
    if niqe_fit is not None and "niqe" in of_images and niqe_fit.resolve() == truth.resolve():
        doubts.append(f"NIQE's model is fitted on {niqe_fit}, the truths it is to judge; fit it on training images")
    for doubt in doubts:
        typer.echo(f"warning: {doubt}", err=True)
    _tell_of_subjects(matched, subject_of)
    scores = with_cuts(scores, groupings)
    chosen = groupings or choose_groupings(scores)
    table_of_groups = group_table(scores, chosen)
    comparison = None
    if len(scores.systems) > 1:
        from transmodal.evaluation.system_comparison import compare_systems
        from transmodal.evaluation.waem import Waem

        fitted = Waem.load(weights) if isinstance(weights, Path) else weights
        comparison = compare_systems(scores, waem=fitted)
    more: dict[str, Any] = {"groups": for_json(table_of_groups.to_dict("records")), "warnings": doubts}
    more["folders"] = {
        "predicted": {name: str(folder) for name, folder in systems.items()},
        "truth": str(truth),
        "mask": None if mask is None else str(mask),
    }
    if comparison is not None:
        more["comparison"] = comparison.to_json()
    title = f"{predicted} against {truth}"
    report = None
    if out is not None:
        from transmodal.evaluation.score_report import score_page, write_scores

        page = score_page(
            scores, table_of_groups, title=title, command=_command(context), comparison=comparison, warnings=doubts
        )
        report = write_scores(out, scores, table_of_groups, page, more)
    if as_json:
        from transmodal.evaluation.files import to_text

        typer.echo(to_text(scores.to_json() | more), nl=False)
    else:
        from transmodal.cli.scores import print_scores  # with what draws charts; long enough to wait for, if last

        print_scores(scores, title=title, comparison=comparison)
        _print_groups(scores, table_of_groups)
        if report is not None:
            typer.echo(f"Report: {report}")
    for line in failures_in_words(scores.failed):
        typer.echo(f"not scored: {line}", err=True)
    if scores.failed:
        all_cases = len(scores.failed) + len(scores.cases)
        raise UserError(f"{len(scores.failed)} of {all_cases} cases were not scored, listed above; mend or remove them")


def _numbers(labels: str | None) -> tuple[int, ...]:
    from transmodal.errors import UserError

    try:
        return tuple(int(label) for label in labels.split(",")) if labels else ()
    except ValueError as error:
        raise UserError(f"--labels {labels!r}: write whole numbers with commas between, for example 1,2") from error


def _systems(predicted: str, against: list[str]) -> dict[str, Path]:
    """Return name → folder of each system, the one under test first."""
    from transmodal.errors import UserError
    from transmodal.evaluation.folders import SYSTEM
    from transmodal.evaluation.sets import TRUTH

    systems: dict[str, Path] = {}
    for text in (predicted, *against):
        name, equals, folder = text.partition("=")
        if not equals or Path(text).exists():
            name, folder = (Path(text).resolve().name if systems else SYSTEM), text
        if not name or name in (TRUTH, *systems):
            raise UserError(f"A system needs a name of its own, not {name!r}; write --against NAME={folder}")
        systems[name] = Path(folder)
    return systems


def _groups(texts: list[str]) -> tuple[Path | None, list[tuple[str, ...]]]:
    """Return the table and the groupings of `FILE:COL,COL`; without columns what fits is chosen."""
    from transmodal.errors import UserError
    from transmodal.evaluation.groups import parse_grouping

    files: dict[str, None] = {}
    groupings = []
    for text in texts:
        file, colon, columns = text.rpartition(":")
        if not colon or Path(text).exists():
            file, columns = text, ""
        files[file] = None
        if columns:
            groupings.append(parse_grouping(columns))
    if len(files) > 1:
        raise UserError(f"--groups names two tables, {' and '.join(list(files)[:2])}; join them in one")
    return (Path(next(iter(files))) if files else None), groupings


def _resources(
    policy: Any,
    matched: Any,
    fid_weights: Path | None,
    niqe_model: Path | None,
    niqe_fit: Path | None,
    lpips_weights: Path | None,
    lpips_linear: Path | None,
) -> Any:
    from transmodal.errors import UserError
    from transmodal.evaluation.folders import completed_policy
    from transmodal.evaluation.matching import images_of
    from transmodal.evaluation.resources import fit_pristine_model, open_resources

    model: Any = niqe_model
    if niqe_fit is not None and "niqe" in policy.metrics:
        if niqe_model is not None:
            raise UserError("--niqe-model and --niqe-fit are two pristine models; give one")
        if not niqe_fit.is_dir():
            raise UserError(f"There is no folder {niqe_fit}; name one with sharp real images")
        files = [Path(file) for file in images_of(niqe_fit).values()]
        model = fit_pristine_model(files, completed_policy(policy, matched), str(niqe_fit))
    return open_resources(
        policy,
        fid_weights=fid_weights,
        niqe_model=model,
        lpips_weights=lpips_weights,
        lpips_linear=lpips_linear,
    )


def _tell_of_subjects(matched: Any, subject_of: Any) -> None:
    """Say on standard error, once, that intervals are over images where nobody said whose they are."""
    if subject_of is None and len(matched.cases) > 1 and not any(case.subject for case in matched.cases):
        typer.echo(
            "Every image counts as a subject of its own, which makes intervals too narrow where several are of one; "
            "name subjects with --subject-pattern or --groups FILE",
            err=True,
        )


def _command(context: typer.Context) -> str:
    """Return the command line with everything that was said, for the report."""
    words = ["transmodal", "score"]
    options = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif value in (None, (), []) or value == parameter.get_default(context):
            continue
        elif value is True:
            options.append(parameter.opts[0])
        elif parameter.multiple:
            options += [word for each in value for word in (parameter.opts[0], str(each))]
        else:
            options += [parameter.opts[0], *map(str, value if isinstance(value, tuple | list) else [value])]
    return shlex.join(words + options)


def _print_groups(scores: Any, table: Any) -> None:
    """Print the means of each group, of every system."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from transmodal.evaluation.wording import titled
    from transmodal.reporting.figures import plain_number

    console = Console(highlight=False)
    console.width = max(console.width, 100)
    for name, part in table.groupby("group_by", sort=False):
        shown = Table(box=None, pad_edge=False)
        several = ["system"] if len(scores.systems) > 1 else []
        for heading in (str(name), *several, "subjects", "cases"):
            shown.add_column(Text(heading), no_wrap=True, justify="left" if heading in (name, "system") else "right")
        for column in scores.columns:
            shown.add_column(Text(titled(column, scores)), justify="right", no_wrap=True)
        for _, group in part.iterrows():
            cells = [str(group[key]) for key in ("group", *several, "subjects", "cases")]
            values = [group[column] for column in scores.columns]
            cells += ["—" if value is None or value != value else plain_number(float(value)) for value in values]
            shown.add_row(*map(Text, cells))
        console.print()
        console.print(shown)


def _policy(**settings: Any) -> Any:
    from pydantic import ValidationError

    from transmodal.errors import UserError
    from transmodal.metrics.policy import Policy

    try:
        return Policy(**settings)
    except ValidationError as error:
        problem = error.errors()[0]
        option = "--" + ".".join(str(part) for part in problem["loc"] if isinstance(part, str)).replace("_", "-")
        message = problem["msg"].removeprefix("Value error, ")
        told = f"{option}: {message}" if problem["loc"] else f"--{message}"
        raise UserError(f"{told}; see 'transmodal score --help'") from error
