"""`transmodal data split`: give every subject one side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from transmodal.cli.data.output import counted, print_json, print_table, words
from transmodal.errors import UserError


def split(
    manifest: Annotated[Path, typer.Argument(metavar="CSV", help="The manifest.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="CSV", help="Where to write; default: the manifest itself.")
    ] = None,
    fractions: Annotated[
        tuple[float, float, float],
        typer.Option(metavar="TRAIN VALIDATION TEST", help="Shares of the subjects, adding up to 1."),
    ] = (0.7, 0.15, 0.15),
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    stratify: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Factors to spread evenly, as coat,bed; default coat where there is one."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, metavar="K", help="Set the test share aside and deal the rest into folds 1 to K."),
    ] = None,
    train: Annotated[str | None, typer.Option(metavar="LIST", help="Subjects for training, by name.")] = None,
    validation: Annotated[str | None, typer.Option(metavar="LIST", help="Subjects for validation, by name.")] = None,
    test: Annotated[str | None, typer.Option(metavar="LIST", help="Subjects for the test, by name.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a split that is already there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Split by subject, never by image, and write the column `split` (and `fold`).

    The same manifest and seed give the same split, whatever the order of the rows.

    \b
    Examples:
      transmodal data split manifest.csv
      transmodal data split manifest.csv --fractions 0.5 0.5 0 --seed 3
      transmodal data split manifest.csv --stratify coat,bed --folds 5
      transmodal data split manifest.csv --train patient07 --validation patient19
    """
    from transmodal.datasets.manifest import Manifest
    from transmodal.datasets.splits import count_by_split, split_by_subject

    table = Manifest.read(manifest)
    if not force and "split" in table.table and (table.table["split"] != "").any():
        raise UserError(f"{manifest} is split already; say --force to replace the split")
    named = {"train": words("--train", train), "validation": words("--validation", validation)}
    named["test"] = words("--test", test)
    explicit = named if any(named.values()) else None
    if explicit and folds:
        raise UserError("Subjects by name and --folds do not go together; choose one of them")
    factors = words("--stratify", stratify) or None
    divided = split_by_subject(table, fractions=fractions, explicit=explicit, seed=seed, stratify=factors, folds=folds)
    written = divided.write(out or manifest)
    counts = count_by_split(divided, factors or [factor for factor in ("coat",) if factor in divided.factors])
    counts = counts.fillna(0).astype(int)
    if as_json:
        by_split: dict[str, Any] = {str(name): row for name, row in counts.to_dict("index").items()}
        print_json({"manifest": str(written), "seed": seed, "counts": by_split})
        return
    rows = [[str(name), *row] for name, row in zip(counts.index, counts.values.tolist(), strict=True)]
    print_table(["fold" if folds else "split", *counts.columns], rows)
    if folds:
        typer.echo("Fold 1 is written as validation and the other folds as train.")
    typer.echo(f"{written}: {counted(len(divided.subjects), 'subject')} split")
