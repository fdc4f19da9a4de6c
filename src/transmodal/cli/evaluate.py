"""`transmodal evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

  transmodal evaluate runs/first

  transmodal evaluate runs/first --split validation --group-by coat,bed

  transmodal evaluate runs/first --group-by weight@20,25

  transmodal evaluate runs/cross-entropy runs/wasserstein --out compared

  transmodal evaluate runs/cross-entropy runs/wasserstein runs/mse --waem waem.json

  transmodal evaluate runs/any-to-any --given T1,T2 --lesions lesions

  transmodal evaluate runs/any-to-any --combinations

  transmodal evaluate runs/t1-to-t2 --segment lesion

  transmodal evaluate runs/lung --data elsewhere/manifest.csv   # other people's data

  transmodal evaluate runs/sparse-view --beside TV        # beside a TV reconstruction of the same data

  transmodal evaluate runs/t1-to-t2 --slice-pixels 0      # coarse volumes

  transmodal evaluate runs/first --json > scores.json
"""


def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs; several are compared.")],
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Score this manifest instead: its test split, or all of it where it has none. Into RUN/other-data.",
            show_default=False,
        ),
    ] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B",
            help="Factors to group by, crossed; weight@20,25 cuts a measure. Can be repeated. Default: what fits.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Names with commas between, instead of the recipe's.", show_default=False),
    ] = None,
    convention: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Metrics as a challenge fixed them, for example synthrad2023."),
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Give the translator only these of its inputs.", show_default=False),
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Score the images of these modalities as baselines, for example TV.",
            show_default=False,
        ),
    ] = None,
    combinations: Annotated[
        bool, typer.Option("--combinations", help="Score each combination of inputs as well: missing modalities.")
    ] = False,
    slice_pixels: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Score slices with more than N pixels of the mask; 0: all. Default: the recipe's.",
            show_default=False,
        ),
    ] = None,
    lesions: Annotated[
        str | None,
        typer.Option(
            metavar="MODALITY",
            help="Score lesions apart, by the masks of this modality; none: do not.",
            show_default=False,
        ),
    ] = None,
    segment: Annotated[
        str | None,
        typer.Option(
            metavar="MODALITY",
            help="Compare a segmenter's Dice on synthetic and real targets, by these label maps.",
            show_default=False,
        ),
    ] = None,
    segment_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of its training. Default: 400.", show_default=False)
    ] = None,
    areas: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Label maps: edges in mm² between sizes of lesions. Default: the recipe's, 50,100.",
            show_default=False,
        ),
    ] = None,
    fid_weights: Annotated[
        Path | None,
        typer.Option(help="Inception weights (pt_inception-2015-12-05) for FID and KID.", show_default=False),
    ] = None,
    niqe_model: Annotated[
        Path | None,
        typer.Option(help="Pristine model for NIQE. Default: fitted on the training targets.", show_default=False),
    ] = None,
    lpips_weights: Annotated[
        Path | None, typer.Option(help="Weights of the network of LPIPS.", show_default=False)
    ] = None,
    lpips_linear: Annotated[
        Path | None,
        typer.Option(help="Its learnt weights of channels, where they are a file apart.", show_default=False),
    ] = None,
    waem: Annotated[
        Path | None,
        typer.Option(help="WAEM weights fitted to readers. Default: equal weights.", show_default=False),
    ] = None,
    waem_weights: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C,D,E",
            help="Instead: five raw weights, of 1/MSE, 1/NRMSE, PSNR, SSIM and 1/FID.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of a comparison or of other data's scores. Default: RUN/comparison of the first.",
        ),
    ] = None,
    flips: Annotated[
        str | None,
        typer.Option(
            metavar="AXES", help="As 'translate': mirrored along these axes too, or none.", show_default=False
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=P|folds",
            help="As 'translate', as tumour=0.3. folds: for each fold those with the best Dice on the other folds.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="As 'translate': fp32 or bf16.")] = "fp32",
    window: Annotated[
        str | None,
        typer.Option(metavar="X,Y,Z", help="As 'translate': volumes in windows, or whole.", show_default=False),
    ] = None,
    blend: Annotated[
        str, typer.Option(help="As 'translate': join windows by gaussian weights, or by their plain mean.")
    ] = "gaussian",
    memory: Annotated[
        float | None,
        typer.Option(metavar="GB", min=0.01, help="As 'translate': memory to use.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and score.")] = 2,
    device: Annotated[
        str,
        typer.Option(help="Where it works: auto (a CUDA GPU where there is one, else the CPU), cpu, cuda or mps."),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON, and nothing else.")] = False,
) -> None:
    """Score a run per case and per group, beside baselines, with intervals; write its report.

    Writes RUN/report.html and, in RUN/evaluation/, cases.csv, groups.csv
    and summary.json.

    The folder of 'train --folds' is scored as one: every subject with the
    translator that did not see it.

    Several runs are scored under the policy of the first and compared:
    paired differences with tests, ranks and how firm they are, WAEM.
    What is written of each lies in the comparison's folder, in
    runs/NAME/; its own evaluation and report stay as they are.

    Cases that cannot be scored are listed and stand in no average;
    the exit status is then 2.
    """
    from dataclasses import replace

    from transmodal.cli.chosen_metrics import chosen_policy, named_weights
    from transmodal.cli.progress import Progress
    from transmodal.cli.scores import print_combinations, print_scores
    from transmodal.cli.translate import thresholds_in, translation_options
    from transmodal.errors import UserError
    from transmodal.evaluation.comparison import compare
    from transmodal.evaluation.files import taken_away_in_words, to_text
    from transmodal.evaluation.groups import parse_grouping
    from transmodal.evaluation.run import FOLDS, evaluate_run, recipe_of
    from transmodal.evaluation.run_report import baseline_warnings, scored_cases
    from transmodal.evaluation.scores import for_json
    from transmodal.evaluation.segmentation_report import describe_segmentation
    from transmodal.evaluation.segmenter import describe_tables
    from transmodal.evaluation.thresholds import describe_thresholds

    groupings = [parse_grouping(names) for names in group_by or []]
    weights = named_weights(waem, waem_weights)
    if weights is not None and len(runs) < 2:
        raise UserError("WAEM scores systems against each other; name two runs or more, or leave --waem out")
    own = recipe_of(runs[0])
    translation = translation_options(flips, precision, window, memory, blend=blend, spatial_dims=own.spatial_dims)
    translation = replace(translation, thresholds=thresholds_in(None if threshold == FOLDS else threshold))
    evaluations = []
    policy = chosen_policy(
        own.evaluation,
        metrics,
        convention or [],
        slice_pixels=slice_pixels,
        lesions=lesions,
        areas=areas,
        makes_labels=bool(own.label_maps),
    )
    names = [name.strip() for name in given.split(",") if name.strip()] if given is not None else None
    compared = out or runs[0] / "comparison"
    alone = out if data is not None else None
    kept: list[Path | None] = [*_kept_in(compared, runs)] if len(runs) > 1 else [alone]
    for folder, into in zip(runs, kept, strict=True):
        with Progress(folder.name) as progress:
            evaluation = evaluate_run(
                folder,
                split=split,
                policy=policy,
                fid_weights=fid_weights,
                niqe_model=niqe_model,
                lpips_weights=lpips_weights,
                lpips_linear=lpips_linear,
                groupings=groupings,
                given=names,
                combinations=combinations,
                segment=segment,
                segment_steps=segment_steps,
                workers=workers,
                device=device,
                translation=translation,
                thresholds_by_folds=threshold == FOLDS,
                beside=[name.strip() for name in (beside or "").split(",") if name.strip()],
                on_progress=progress.show,
                into=into,
                data=data,
            )
        if len(evaluation.scores) == 1:
            policy = next(iter(evaluation.scores.values())).policy
        evaluations.append(evaluation)
    for warning in dict.fromkeys(
        line for each in evaluations for part in each.scores.values() if part.not_in_baselines
        for line in baseline_warnings(part)
    ):  # fmt: skip
        typer.echo(f"warning: {warning}", err=True)
    scores, report = evaluations[0].scores, evaluations[0].report
    systems = {}
    if len(runs) > 1:
        comparison = compare(evaluations, compared, waem=weights)
        scores, systems, report = comparison.scores, comparison.systems, comparison.report
    if as_json:
        content = {target: part.to_json() for target, part in scores.items()}
        for target, system in systems.items():
            content[target]["comparison"] = system.to_json()
        first = next(iter(content.values()))
        for target, told in evaluations[0].downstream.items():
            content[target]["downstream"] = for_json(told.to_dict("records"))
        for target, details in evaluations[0].segmentations.items():
            content[target]["segmentation"] = for_json(details.to_json(scores[target].policy))
        if (table := evaluations[0].combinations) is not None:
            first["combinations"] = for_json(table.table.to_dict("records"))
        if evaluations[0].skipped:
            first["not_evaluated"] = dict(evaluations[0].skipped)
        typer.echo(to_text(first if len(content) == 1 else {**first, "targets": content}), nl=False)
    else:
        for target, part in scores.items():
            which = scored_cases(evaluations[0], split)
            print_scores(part, title=f"{target}, {which}", comparison=systems.get(target))
        for evaluation in evaluations:
            for target, details in evaluation.segmentations.items():
                for line in describe_segmentation(details, evaluation.scores[target]):
                    typer.echo(f"{evaluation.run.name}: {line}")
            for line in describe_thresholds(evaluation.thresholds):
                typer.echo(f"{evaluation.run.name}: {line}")
            for line in describe_tables(evaluation.downstream):
                typer.echo(f"{evaluation.run.name}: {line}")
            if evaluation.combinations is not None:
                print_combinations(evaluation.combinations, title=f"{evaluation.run.name}: combinations of inputs")
    for evaluation in evaluations:
        if evaluation.taken_away:
            typer.echo(taken_away_in_words(evaluation.taken_away, evaluation.run.evaluation), err=True)
        for target, reason in evaluation.skipped.items():
            typer.echo(f"not evaluated: {evaluation.run.name}, {target}: {reason}", err=True)
    failed = dict.fromkeys(failure for part in scores.values() for failure in part.failed)
    for case, reason in failed:
        typer.echo(f"not scored: {case}: {reason}", err=True)
    if not as_json:
        typer.echo(f"Report: {report}")
    if failed:
        raise typer.Exit(2)


def _kept_in(compared: Path, runs: list[Path]) -> list[Path]:
    """Return where the evaluation of each of several runs lies; of one name, those after the first are numbered."""
    names: list[str] = []
    for folder in runs:
        name, number = folder.resolve().name, 1
        while name in names:
            number += 1
            name = f"{folder.resolve().name}-{number}"
        names.append(name)
    return [compared / "runs" / name for name in names]
