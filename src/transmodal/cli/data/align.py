"""`transmodal data align`: bring the images of each pair on one grid."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transmodal.cli.data.output import counted, print_json, print_list, print_table, progress_bar, words

if TYPE_CHECKING:
    from transmodal.datasets.alignment import AlignmentReport


def align(
    manifest: Annotated[Path, typer.Argument(metavar="CSV", help="The manifest.")],
    moving: Annotated[str, typer.Option(metavar="LIST", help="The modality to move, or several, as T1,T2.")],
    fixed: Annotated[str, typer.Option(metavar="NAME", help="The modality whose grid the others take.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to fill.")],
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="fiducials or mutual-information; default fiducials when they are given."),
    ] = None,
    kind: Annotated[str, typer.Option(metavar="NAME", help="rigid, similarity, affine or homography.")] = "affine",
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
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bring the moving image of each pair onto the grid of the fixed one, and measure how well.

    Writes the images, a transform file a pair, alignment.csv, montage.png to look at, and a new manifest
    whose column alignment says ok, over threshold, not judged or failed. Finished pairs are not done again.

    \b
    Examples:
      transmodal data align manifest.csv --moving photo --fixed xray -o aligned
          --fiducials points.csv --kind homography
      transmodal data align manifest.csv --moving T1,T2 --fixed FLAIR -o aligned --kind rigid
    """
    from transmodal.datasets.alignment import AlignmentSettings, align_manifest
    from transmodal.datasets.alignment_montage import picture_alignments
    from transmodal.datasets.fiducials import Fiducials
    from transmodal.datasets.manifest import Manifest

    table = Manifest.read(manifest)
    settings = AlignmentSettings(
        moving=tuple(words("--moving", moving)),
        fixed=fixed,
        method=method or ("fiducials" if fiducials else "mutual-information"),
        kind=kind,
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
