"""What the report of a segmentation says beside its scores: by size, lesion by lesion, and visit by visit."""

from typing import Any

from transmodal.evaluation.growth import growth_blocks, growth_of
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.segmentation_scores import ALL, CRITERION, NONE, SegmentationDetails
from transmodal.evaluation.target import TRANSLATOR
from transmodal.evaluation.wording import DASH, counted, in_words, is_absent, signed
from transmodal.reporting.html import Block, Cell, Section, Table, Text


def segmentation_sections(details: SegmentationDetails, scores: Scores, of: str = "") -> list[Section]:
    """Return the sections of one target; `of` ends their titles where there are several."""
    parts = {
        "Images with a lesion": image_blocks,
        "Sizes": size_blocks,
        "Lesions": lesion_blocks,
        "Volumes": volume_blocks,
    }
    return [Section(f"{title}{of}", blocks(details, scores)) for title, blocks in parts.items()]


def image_blocks(details: SegmentationDetails, scores: Scores) -> list[Block]:
    """Return the table of Dice over the images that show a lesion, beside that over all."""
    table, blocks = details.by_image(scores.policy, scores.seed), list[Block]()
    if table.empty:
        return [Text("No image was measured.", "note")]
    for name, part in table.groupby("class", sort=False):
        rows: list[list[Cell | str]] = [
            [str(found["system"]), str(found["images"]), str(found["subjects"]),
             Cell(in_words(found["dice"]), _interval(found, "dice")), str(found["without"]),
             str(found["predicted_without"]), Cell(in_words(found["dice_of_all"]), _interval(found, "dice_of_all"))]
            for found in part.to_dict("records")
        ]  # fmt: skip
        columns = ["", f"images with {name}", "subjects", f"Dice of {name} in these ↑", f"images without {name}",
                   "of these with some predicted", "Dice over all ↑"]  # fmt: skip
        caption = (
            f"In the mean over all images, as in the scores above, an image without {name} counts 0 where some was "
            "predicted, and not at all where none was."
        )
        blocks.append(Table(columns, rows, caption, words=1))
    return blocks


def size_blocks(details: SegmentationDetails, scores: Scores) -> list[Block]:
    """Return the table of Dice and error of area by the size of the lesion in its slice."""
    table, unit = details.by_area(scores.policy, scores.seed), _squared(details)
    if table.empty:
        return [Text("No slice holds a lesion, true or predicted.", "note")]
    blocks: list[Block] = []
    for name, part in table.groupby("class", sort=False):
        rows: list[list[Cell | str]] = []
        for found in part.to_dict("records"):
            if found["size"] == NONE or (found["system"] != TRANSLATOR and found["size"] != ALL):
                continue
            spread = "" if is_absent(found["dice_sd"]) else f"sd {in_words(found['dice_sd'])}"
            rows.append(
                [
                    str(found["system"]),
                    str(found["size"]),
                    str(found["slices"]),
                    str(found["subjects"]),
                    Cell(in_words(found["dice"]), _interval(found, "dice") or spread),
                    Cell(signed(found["area_error"]), _interval(found, "area_error")),
                ]
            )
        columns = ["", f"area of {name} ({unit})", "slices", "subjects", f"Dice of {name} ↑", f"area error ({unit})"]
        caption = (
            f"Slices by the true area of {name} in them. Means as of the scores, over slices instead of cases; area "
            "error: predicted − true. Small: the 95 % interval over subjects, else the standard deviation."
        )
        blocks.append(Table(columns, rows, caption, words=2))
        invented = part[(part["size"] == NONE) & (part["system"] == TRANSLATOR)]["slices"].sum()
        blocks.append(Text(f"{counted(int(invented), 'slice')} without {name} had some predicted.", "note"))
    return blocks


def lesion_blocks(details: SegmentationDetails, scores: Scores) -> list[Block]:
    """Return the table of lesions found, missed and invented."""
    table, rows = details.by_lesion(scores.policy, scores.seed), list[list[Cell | str]]()
    for found in table.to_dict("records"):
        if found["system"] != TRANSLATOR and found["size"] != ALL:
            continue
        share = found["found_share"]
        per_cent = DASH if is_absent(share) else f"{100 * share:.0f} %"
        low, high = found["found_share_low"], found["found_share_high"]
        between = "" if is_absent(low) else f"{100 * low:.0f} to {100 * high:.0f} %"
        rows.append(
            [str(found["system"]), f"{found['class']}, {found['size']}", str(found["lesions"]), str(found["found"]),
             str(found["missed"]), Cell(per_cent, between), str(found["false"]), in_words(found["false_per_case"])]
        )  # fmt: skip
    columns = [
        "",
        f"lesions by area ({_squared(details)})",
        "true",
        "found",
        "missed",
        "found",
        "false",
        "false a case",
    ]
    return [Table(columns, rows, CRITERION + " False pieces stand with those of their own size.", words=2)]


def volume_blocks(details: SegmentationDetails, scores: Scores) -> list[Block]:
    """Return errors of volume, and where subjects came more than once, what becomes of their lesions over visits."""
    unit = f"{details.unit}³" if details.unit == "mm" else details.unit
    rows: list[list[Cell | str]] = [
        [
            str(found["system"]),
            str(found["class"]),
            str(found["cases"]),
            in_words(found["volume_true"]),
            Cell(signed(found["error"]), _interval(found, "error")),
            Cell(signed(found["error_percent"]), _interval(found, "error_percent")),
        ]
        for found in details.by_volume(scores.policy, scores.seed).to_dict("records")
    ]
    columns = ["", "class", "cases", f"true volume ({unit})", f"error ({unit})", "error (%)"]
    caption = "Predicted − true volume, of pictures area; the error in per cent is of cases that have the class."
    blocks: list[Block] = [Table(columns, rows, caption, words=2)]
    for name in details.lesion_classes:
        growth = growth_of(details.volumes, name)
        if growth:
            blocks += growth_blocks(growth, name, unit)
    return blocks


def describe_segmentation(details: SegmentationDetails, scores: Scores) -> list[str]:
    """Return lines for a terminal: Dice by size and what became of the lesions, of the translator."""
    unit, lines = _squared(details), []
    areas = details.by_area(scores.policy, scores.seed)
    lines += [
        f"Dice of {found['class']} over {counted(found['images'], 'image')} with it: {in_words(found['dice'])}; over "
        f"all, {in_words(found['dice_of_all'])} ({found['predicted_without']} of {found['without']} without it had "
        "some predicted)"
        for found in details.by_image(scores.policy, scores.seed).to_dict("records")
        if found["system"] == TRANSLATOR
    ]
    for name in details.lesion_classes:
        part = areas[(areas["class"] == name) & (areas["system"] == TRANSLATOR)] if len(areas) else areas
        told = [
            f"{found['size']}: {in_words(found['dice'])} ({counted(found['slices'], 'slice')})"
            for found in part.to_dict("records")
            if found["size"] not in (ALL, NONE)
        ]
        if told:
            lines.append(f"Dice of {name} by its area in a slice ({unit}): {', '.join(told)}")
    return lines + [
        f"{found['class']}: {found['found']} of {found['lesions']} lesions found, {found['missed']} missed, "
        f"{counted(found['false'], 'false piece')}"
        for found in details.by_lesion(scores.policy, scores.seed).to_dict("records")
        if found["size"] == ALL and found["system"] == TRANSLATOR
    ]


def _squared(details: SegmentationDetails) -> str:
    return f"{details.unit}²" if details.unit == "mm" else details.unit


def _interval(found: dict[Any, Any], name: str) -> str:
    low, high = found[f"{name}_low"], found[f"{name}_high"]
    return "" if is_absent(low) else f"{in_words(low)} to {in_words(high)}"
