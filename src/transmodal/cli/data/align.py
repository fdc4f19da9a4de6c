"""`transmodal data align`: bring the images of each pair, or the volumes of each case, on one grid."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transmodal.cli.data.output import counted, print_json, print_list, print_table, progress_bar, words
from transmodal.errors import UserError

if TYPE_CHECKING:
    from transmodal.datasets.alignment import AlignmentReport

_VOLUMES: dict[str, Any] = {"rich_help_panel": "Volumes (--to)"}


def align(
    manifest: Annotated[Path, typer.Argument(metavar="CSV", help="The manifest.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to fill.")],
    moving: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="The modality to move, or several, as T1,T2; with --to all others."),
    ] = None,
    fixed: Annotated[str | None, typer.Option(metavar="NAME", help="The modality whose grid the others take.")] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="fiducials or mutual-information; default fiducials when they are given."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            "--transform",
            metavar="NAME",
            help="rigid, similarity, affine or homography; default affine, with --to rigid.",
        ),
    ] = None,
    fiducials: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Points marked in both images: columns subject, session, modality, point and "
            "x_mm, y_mm, z_mm or row, column, slice. A blank subject means all.",
        ),
    ] = None,
    max_error_mm: Annotated[float, typer.Option(min=0, help="List pairs with a larger mean error at fiducials.")] = 1.0,
    max_displacement_mm: Annotated[
        float, typer.Option(min=0, help="Without fiducials: list images that were moved further.")
    ] = 10.0,
    moving_spacing: Annotated[float | None, typer.Option(help="Pixel size in mm, for files that say none.")] = None,
    fixed_spacing: Annotated[float | None, typer.Option(help="Pixel size in mm, for files that say none.")] = None,
    nearest: Annotated[bool, typer.Option("--nearest", help="Do not interpolate: for label maps.")] = False,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    to: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Volumes: align every modality of a case to this one.", **_VOLUMES),
    ] = None,
    spacing: Annotated[
        float | None, typer.Option(min=0, help="A common isotropic grid of this voxel size in mm.", **_VOLUMES)
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Label maps, carried along without interpolation; default those named seg, lesion, mask, labels …; "
            "none for none.",
            **_VOLUMES,
        ),
    ] = None,
    labels_of: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="On which image a label map was drawn, as seg=T1; default the one of --to.", **_VOLUMES
        ),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(metavar="NAME", help="linear or cubic; default linear.", **_VOLUMES)
    ] = None,
    bias_correction: Annotated[
        bool, typer.Option("--bias-correction", help="First divide MR images by their bias field (N4).", **_VOLUMES)
    ] = False,
    region: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The brain or body: nonzero, otsu, or (default) auto by the background.", **_VOLUMES
        ),
    ] = None,
    mask_modality: Annotated[
        str | None, typer.Option(metavar="NAME", help="A label map that is the region instead.", **_VOLUMES)
    ] = None,
    write_mask: Annotated[
        bool,
        typer.Option("--write-mask", help="Write the region that all images reach as modality mask.", **_VOLUMES),
    ] = False,
    max_shift_mm: Annotated[
        float | None, typer.Option(min=0, help="List volumes whose middle was moved further; default 30.", **_VOLUMES)
    ] = None,
    max_rotation_degrees: Annotated[
        float | None, typer.Option(min=0, help="List volumes that were turned by more; default 15.", **_VOLUMES)
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bring the images of each pair, or the volumes of each case (--to), on one grid, and measure how well.

    Writes the images, a transform file each, alignment.csv, montage.png (or overlays/) to look at, and a new
    manifest whose column alignment says ok, over threshold, not judged or failed. What is finished is not done again.

    \b
    Examples:
      transmodal data align manifest.csv --moving photo --fixed xray -o aligned
          --fiducials points.csv --kind homography
      transmodal data align manifest.csv --to FLAIR -o aligned --bias-correction --write-mask
      transmodal data align manifest.csv --to T1 -o aligned --transform affine --spacing 1
    """
    volume_options = {
        "spacing": spacing,
        "labels": labels,
        "labels_of": labels_of,
        "interpolation": interpolation,
        "bias_correction": bias_correction or None,
        "region": region,
        "mask_modality": mask_modality,
        "write_mask": write_mask or None,
        "max_shift_mm": max_shift_mm,
        "max_rotation_degrees": max_rotation_degrees,
    }
    pair_options = {
        "fixed": fixed,
        "method": method,
        "fiducials": fiducials,
        "moving_spacing": moving_spacing,
        "fixed_spacing": fixed_spacing,
        "nearest": nearest or None,
    }
    _refuse_mixed(to, pair_options if to else volume_options)
    if to:
        from transmodal.cli.data.align_volumes import align_cases

        options = volume_options | {"to": to, "moving": moving, "kind": kind, "seed": seed}
        align_cases(manifest, out, options, workers=workers, as_json=as_json)
        return
    if not moving or not fixed:
        raise UserError("Say what to align: --to FLAIR for the volumes of each case, or --moving and --fixed for pairs")
    from transmodal.datasets.alignment import AlignmentSettings, align_manifest
    from transmodal.datasets.alignment_montage import picture_alignments
    from transmodal.datasets.fiducials import Fiducials
    from transmodal.datasets.manifest import Manifest

    table = Manifest.read(manifest)
    settings = AlignmentSettings(
        moving=tuple(words("--moving", moving)),
        fixed=fixed,
        method=method or ("fiducials" if fiducials else "mutual-information"),
        kind=kind or "affine",
        max_error_mm=max_error_mm,
        max_displacement_mm=max_displacement_mm,
        moving_spacing=moving_spacing,
        fixed_spacing=fixed_spacing,
        nearest=nearest,
        seed=seed,
    )
    points = Fiducials.read(fiducials) if fiducials else None
    with progress_bar("Aligning pairs") as on_progress:
        report = align_manifest(table, settings, out, fiducials=points, workers=workers, on_progress=on_progress)
    pictured = picture_alignments(report, table, settings, out / "montage.png")
    if as_json:
        print_json(_summary(report, out))
    else:
        _print(report, out, pictured)
    if all(alignment.status == "failed" for alignment in report.alignments):
        raise typer.Exit(2)


def _refuse_mixed(to: str | None, options: dict[str, Any]) -> None:
    """Raise a UserError when an option of the other kind of alignment was given."""
    for name, value in options.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            remedy = "leave out one of them" if to else "name the modality that stays by --to"
            raise UserError(f"{option} {'does not go with --to' if to else 'is for volumes'}; {remedy}")


def _summary(report: "AlignmentReport", out: Path) -> dict[str, Any]:
    pairs = [asdict(alignment) for alignment in report.alignments]
    for pair in pairs:
        del pair["stamp"]
    return {
        "manifest": str(out / "manifest.csv"),
        "counts": Counter(alignment.status for alignment in report.alignments),
        "reused": report.reused,
        "pairs": pairs,
        "incomplete": [{"case": case, "missing": missing} for case, missing in report.incomplete],
    }


def _print(report: "AlignmentReport", out: Path, pictured: list[str]) -> None:
    aligned = [alignment for alignment in report.alignments if alignment.status != "failed"]
    measures = {
        "error mm (leave-one-out or independent)": [a.error_mm for a in aligned],
        "residual of the fit, mm": [a.residual_mm for a in aligned],
        "mutual information before": [a.nmi_before for a in aligned],
        "mutual information after": [a.nmi_after for a in aligned],
        "moved by, mm": [a.displacement_mm for a in aligned],
        "share of the field covered": [a.covered for a in aligned],
    }
    rows = []
    for name, values in measures.items():
        if known := sorted(value for value in values if value is not None):
            rows.append((name, len(known), known[len(known) // 2], known[0], known[-1]))
    if rows:
        print_table(["measure", "pairs", "median", "least", "most"], rows)
    for status in ("over threshold", "not judged", "failed"):
        of_status = [alignment for alignment in report.alignments if alignment.status == status]
        print_list(
            f"{counted(len(of_status), 'pair')} {status}", [f"{a.case} {a.modality}: {a.problem}" for a in of_status]
        )
    print_list(
        f"{counted(len(report.incomplete), 'case')} without a partner",
        [f"{case} lacks {', '.join(missing)}" for case, missing in report.incomplete],
    )
    if report.reused:
        typer.echo(f"{counted(report.reused, 'pair')} had been aligned before.")
    if pictured:
        typer.echo(f"Look at {out / 'montage.png'}: {counted(len(pictured), 'pair')}, the doubtful first.")
    counts = Counter(alignment.status for alignment in report.alignments)
    said = ", ".join(f"{number} {status}" for status, number in counts.items())
    typer.echo(f"{out / 'manifest.csv'}: {counted(len(report.alignments), 'pair')}: {said}")
