"""Counts in regions, all frames together: a table, a picture, and a file that says how the numbers were made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transmodal.fusion.activity import chosen_frames
from transmodal.fusion.background import Background
from transmodal.fusion.biodistribution import counted_span, frames_of, in_words, write_regions_picture
from transmodal.fusion.curves import TimeActivity, time_activity
from transmodal.fusion.outputs import COUNTED, is_made_in, require_new_results
from transmodal.fusion.regions import Regions
from transmodal.fusion.registration import Registration
from transmodal.fusion.registration_doubts import explained_by
from transmodal.images.files import write_text
from transmodal.images.image import Image
from transmodal.images.nuclear.frame_order import in_time_order, since_injection
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.synthetic import mark_of


@dataclass(frozen=True, eq=False)
class Counted:
    """What was counted.

    Attributes:
        curves: of one frame, the sum of those that were counted.
        content: of counted.json: regions, roles, facts, counted (from when to when), registration, synthetic, said.
    """

    curves: TimeActivity
    content: Mapping[str, Any]


def count_regions(
    anatomy: Image,
    series: NuclearSeries,
    registration: Registration,
    regions: Regions,
    folder: Path,
    *,
    background: Background | None = None,
    between: tuple[float, float] | None = None,
    said: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Counted:
    """Count all frames together in each region, and write regions.csv, counted.json, regions.png, registration.json.

    Args:
        anatomy: the picture.
        series: frames of counts; those before the injection are left out where there are others.
        registration: of the nuclear field to the anatomy.
        regions: over the anatomy.
        folder: to write into; it holds no input.
        background: how background is found; None takes none off.
        between: (from, to) s after the injection: frames whose middle lies there; None for all.
        said: further lines that put the numbers in doubt, such as what models warned of.
        facts: further facts, name → value.
        overwrite: write over the results of an earlier run.

    Raises:
        UserError: the folder holds an input, or results without `overwrite`; a region lies outside the field, no frame
            in that time, or as `time_activity` says.
    """
    inputs = [image.source.path for image in (anatomy, series) if not is_made_in(folder, image.source.path)]
    require_new_results(folder, COUNTED, inputs, overwrite=overwrite)
    series = in_time_order(series)
    chosen = frames_of(series, chosen_frames(series, None, between))
    with explained_by(registration.said):
        weights = regions.on(chosen, registration.transform)
    curves = time_activity(chosen, weights, background, together=True)
    table = curves.table().drop(columns="frame")
    content = {
        "regions": table.astype(object).where(table.notna(), None).to_dict("records"),
        "roles": dict(zip(curves.names, curves.roles, strict=True)),
        "facts": {**(facts or {}), **curves.facts},
        "counted": counted_span(since_injection(chosen)),
        "registration": in_words(registration),
        "synthetic": mark_of(anatomy) or mark_of(series.frame(0)),
        "said": list(dict.fromkeys([*curves.said, *registration.said, *said])),
    }
    curves.write_csv(folder / "regions.csv")
    write_regions_picture(regions, anatomy, folder / "regions.png")
    registration.write(folder / "registration.json")
    write_text(folder / "counted.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return Counted(curves, content)
