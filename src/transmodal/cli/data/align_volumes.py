"""`transmodal data align --to …`: the volumes of each case, settings and what is said of the result."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from transmodal.cli.data.output import counted, print_json, print_list, print_table, progress_bar, words
from transmodal.errors import UserError

if TYPE_CHECKING:
    from transmodal.datasets.volume_alignment import VolumeAlignment, VolumeAlignmentReport

_MOST_ROWS = 40


def align_cases(
    manifest: Path, out: Path, options: dict[str, Any], *, workers: int | None = None, as_json: bool = False
) -> None:
    """Align every case, print the result, and leave with status 2 when nothing could be aligned.

    Args:
        manifest: the CSV.
        out: the folder to fill.
        options: fields of VolumeAlignmentSettings as the command line gives them; None means the default.
        workers: processes.
        as_json: print JSON.

    Raises:
        UserError: no case has the modality to align to, or the settings are unfit.
    """
    from transmodal.datasets.manifest import Manifest
    from transmodal.datasets.volume_alignment import VolumeAlignmentSettings, align_volumes

    settings = VolumeAlignmentSettings(**_settings(options))
    table = Manifest.read(manifest)
    with progress_bar("Aligning cases") as on_progress:
        report = align_volumes(table, settings, out, workers=workers, on_progress=on_progress)
    if as_json:
        print_json(_summary(report, out))
    else:
        _print(report, out, settings.to)
    if report.all_failed:
        raise typer.Exit(2)


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings in their own types."""
    given = {name: value for name, value in options.items() if value is not None}
    if "moving" in given:
        given["moving"] = tuple(words("--moving", given["moving"]))
    if "labels" in given:
        given["labels"] = () if given["labels"] == "none" else tuple(words("--labels", given["labels"]))
    if "labels_of" in given:
        pairs = [part.partition("=") for part in words("--labels-of", given["labels_of"])]
        if not all(label and image for label, _, image in pairs):
            raise UserError(f"--labels-of {given['labels_of']!r} is not LABEL=IMAGE; write it as seg=T1,lesion=FLAIR")
        given["labels_of"] = {label.strip(): image.strip() for label, _, image in pairs}
    return given


def _summary(report: "VolumeAlignmentReport", out: Path) -> dict[str, Any]:
    return {
        "manifest": str(out / "manifest.csv"),
        "counts": Counter(row.status for row in report.alignments),
        "reused": report.reused,
        "volumes": [asdict(row) for row in report.alignments],
        "incomplete": report.incomplete,
    }


def _print(report: "VolumeAlignmentReport", out: Path, to: str) -> None:
    images = [row for row in report.alignments if row.role == "image" and row.status != "failed"]
    heading = ["case", "image", "information", "after", "moved mm", "turned °", "covered", "status"]
    if images:
        print_table(heading, [_row(row) for row in images[:_MOST_ROWS]], title=f"Mutual information with {to}")
    if len(images) > _MOST_ROWS:
        typer.echo(f"… and {len(images) - _MOST_ROWS} more in {out / 'alignment.csv'}")
    for status in ("over threshold", "not judged", "failed"):
        of_status = [row for row in report.alignments if row.status == status]
        print_list(
            f"{counted(len(of_status), 'volume')} {status}",
            [f"{row.case} {row.modality}: {row.problem}" for row in of_status],
        )
    print_list(f"{counted(len(report.incomplete), 'case')} without {to}", report.incomplete)
    if report.reused:
        typer.echo(f"{counted(report.reused, 'case')} had been aligned before.")
    if images:
        typer.echo(f"Look at {out / 'overlays'}: a picture a case, before and after.")
    counts = Counter(row.status for row in report.alignments)
    said = ", ".join(f"{number} {status}" for status, number in counts.items())
    typer.echo(f"{out / 'manifest.csv'}: {counted(len(report.alignments), 'volume')}: {said}")


def _row(row: "VolumeAlignment") -> list[Any]:
    numbers = (f"{row.nmi_before:.4f}", f"{row.nmi_after:.4f}", f"{row.moved_mm:.2f}", f"{row.rotation_degrees:.2f}")
    return [row.case, row.modality, *numbers, f"{row.covered:.0%}", row.status]
