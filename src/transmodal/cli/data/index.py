"""`transmodal data index`: from a folder to a manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transmodal.cli.data.output import counted, print_json, print_list, print_table, progress_bar, words
from transmodal.errors import UserError

if TYPE_CHECKING:
    from transmodal.datasets.layouts import Indexed


def index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that holds the images.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CSV", help="The manifest to write.")] = Path(
        "manifest.csv"
    ),
    layout: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto, open-ms, brats, bids, synthrad, ct, dicom, pairs, tree or side-by-side; "
            "auto looks at the folder.",
        ),
    ] = "auto",
    modalities: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Which modalities, as photo,xray; or renamed from the folder's words, as photo=opt,xray=rx; "
            "* is anything, as T1=*mprage*.",
        ),
    ] = None,
    subject_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Takes the subject out of a stem; groups subject, session and factors."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="For tree: where names stand in paths, as {subject}/{modality}.nii.gz; "
            "* is anything, **/ any folders.",
        ),
    ] = None,
    direction: Annotated[
        str, typer.Option(metavar="WAY", help="For side-by-side: horizontal (A left) or vertical (A on top).")
    ] = "horizontal",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a manifest that has been split or edited.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Make a manifest of a folder: a table with one row an image.

    \b
    Examples:
      transmodal data index brains -o manifest.csv
      transmodal data index mice --modalities photo=opt,xray=rx
          --subject-pattern '(?P<subject>.+?)_(?P<session>.+)'
      transmodal data index scans -o sorted/manifest.csv --layout dicom --modalities 'T1=*mprage*,T2=t2_tse*'
      transmodal data index brains --pattern '{subject}/{session}/*_{modality}.nii.gz'
      transmodal data index facades -o cut/manifest.csv --layout side-by-side --modalities photo,labels
    """
    from transmodal.datasets.layouts import Options, index_folder

    with progress_bar("Indexing images") as on_progress:
        options = Options(
            modalities=_modalities(modalities),
            subject_pattern=subject_pattern,
            pattern=pattern,
            direction=direction,
            out=out.absolute().parent,
            on_progress=on_progress,
        )
        indexed = index_folder(folder, layout, options)
    _keep_edits(out, indexed, force)
    indexed.manifest.write(out)
    summary = _summary(indexed, out)
    if as_json:
        print_json(summary)
    else:
        _print(indexed, summary)


def _modalities(text: str | None) -> dict[str, str]:
    """Read photo=opt,xray=rx, or photo,xray."""
    named = {}
    for part in words("--modalities", text):
        modality, _, word = (side.strip() for side in part.partition("="))
        if not modality or modality in named or ("=" in part and not word):
            raise UserError(f"--modalities {text!r} is not clear at {part!r}; write photo=opt,xray=rx or photo,xray")
        named[modality] = word or modality
    return named


def _keep_edits(out: Path, indexed: "Indexed", force: bool) -> None:
    """Refuse to write over a manifest that holds what a new index would lose."""
    from transmodal.datasets.manifest import Manifest

    if force or not out.exists():
        return
    try:
        lost = [str(column) for column in Manifest.read(out).table if column not in indexed.manifest.table]
    except UserError as error:
        raise UserError(f"{out} exists and is no manifest; choose another name or say --force") from error
    if lost:
        raise UserError(
            f"{out} exists and has the column{'s' if len(lost) > 1 else ''} {', '.join(lost)}, which a new index would "
            "lose; choose another name or say --force"
        )


def _summary(indexed: "Indexed", out: Path) -> dict[str, Any]:
    manifest = indexed.manifest
    cases = manifest.cases()
    return {
        "manifest": str(out),
        "layout": indexed.layout,
        "reason": indexed.reason,
        "images": len(manifest.table),
        "subjects": len(manifest.subjects),
        "cases": len(cases),
        "modalities": {name: int((manifest.table["modality"] == name).sum()) for name in manifest.modalities},
        "incomplete": [
            {"case": case, "missing": missing} for case, missing in manifest.incomplete(manifest.modalities)
        ],
        "skipped": [{"path": path, "reason": reason} for path, reason in indexed.skipped],
        "others": [str(path) for path in indexed.others],
        "notes": indexed.notes,
    }


def _print(indexed: "Indexed", summary: dict[str, Any]) -> None:
    if indexed.reason:
        typer.echo(f"Layout {indexed.layout}: {indexed.reason} (say --layout when that is wrong)")
    print_table(["modality", "images"], summary["modalities"].items())
    table = indexed.manifest.table.copy()
    prefix = f"{indexed.manifest.folder}/"
    table["path"] = table["path"].str.removeprefix(prefix)
    print_table(list(table.columns), table.head(6).values.tolist(), title="First rows")
    incomplete = [f"{row['case']} lacks {', '.join(row['missing'])}" for row in summary["incomplete"]]
    print_list(f"{counted(len(incomplete), 'case')} without all modalities", incomplete)
    skipped = [f"{row['path']}: {row['reason']}" for row in summary["skipped"]]
    print_list(f"{counted(len(skipped), 'image')} not taken", skipped)
    print_list(
        f"{counted(len(summary['others']), 'file')} no images", [Path(other).name for other in indexed.others], limit=5
    )
    for note in summary["notes"]:
        typer.echo(f"Note: {note}")
    typer.echo(
        f"{summary['manifest']}: {counted(summary['images'], 'image')}, {counted(summary['cases'], 'case')}, "
        f"{counted(summary['subjects'], 'subject')}"
    )
