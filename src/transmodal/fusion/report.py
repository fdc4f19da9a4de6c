"""The report of a nuclear study over anatomy: one self-contained HTML file with pictures, curves and six answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import transmodal
from transmodal.fusion.answers import COUNTS_ALONE, Answers
from transmodal.fusion.curve_models import OF_SEVERAL
from transmodal.fusion.curves import TimeActivity
from transmodal.fusion.estimates import DASH, Estimate, time_text
from transmodal.fusion.fit_quantities import LONGEST
from transmodal.fusion.kinetic_fit import KineticFit
from transmodal.fusion.misfit import WITHHELD, misfit, misfit_note
from transmodal.fusion.regions import Regions
from transmodal.fusion.report_pictures import curves_chart, regions_picture, unit_of
from transmodal.images.files import write_text
from transmodal.images.image import Image
from transmodal.reporting.figures import plain_number
from transmodal.reporting.html import (
    Block,
    Cell,
    Commands,
    Details,
    Headline,
    Headlines,
    Picture,
    Report,
    Section,
    Table,
    Text,
    render,
)

NOTICE = "Research only, not for diagnosis."
_ESTIMATES = {
    "peak": "peak",
    "peak_time": "peak time",
    "half_left_time": "half of it left at",
    "uptake_half_time": "uptake half-time",
    "clearance_half_time": "biological half-life, or slowest of a sum",
    "fast_clearance_half_time": "quicker biological half-life",
    "effective_half_life": "effective half-life",
}
_AREAS = {"observed": "observed", "tail": "tail", "total": "total", "decaying": "with decay"}
LIMITS = (
    "Planar images add up everything along the ray. What lies over or under an organ is in its counts; the background "
    "takes off only what is as much beside it as over and under it. Organs that overlap cannot be told apart.",
    "Tissue weakens radiation: single photons by what lies over an organ, annihilation photons by the whole thickness "
    "of the body there. Without that number the activity is too low; with it, it is as right as the number. The blur "
    "of the camera moves counts of small organs out of their outlines and those of bright neighbours in.",
    "Per cent of the injected activity is given for each region, not for each gram: a planar image knows no volume.",
    "Intervals are those of the counts. Sensitivity, syringe, outlines and registration are the same in all frames; "
    "their errors shift or scale whole curves and are in no interval. Half-times and peak times do not depend on "
    "sensitivity and syringe.",
)


@dataclass(frozen=True, eq=False)
class Study:
    """All that a report shows.

    Attributes:
        curves: of all regions.
        fits: by region; see `answers.fit_all`.
        answers: None where no region is the target.
        regions, anatomy: for the picture of the regions; None leaves it out.
        pictures: overlays and others, in order.
        title: the heading.
        registration: how the two fields were brought together, with the error in mm, in words.
        settings: more facts, name → value.
        commands: that repeat it.
        label: of the overlay: whether anatomy or activity is synthetic; "" where both were acquired.
    """

    curves: TimeActivity
    fits: Mapping[str, KineticFit]
    answers: Answers | None = None
    regions: Regions | None = None
    anatomy: Image | None = None
    pictures: Sequence[Picture] = ()
    title: str = "Activity over anatomy"
    registration: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()
    label: str = ""


def write_report(study: Study, path: str | Path) -> Path:
    """Write the report as HTML; return the path.

    Raises:
        UserError: the file cannot be written.
    """
    return write_text(path, render(page_of(study)))


def page_of(study: Study) -> Report:
    """Return the page."""
    sections = []
    if study.answers is not None:
        sections.append(Section("Answers", _answers(study.answers, study.fits)))
    elif study.curves.doubts:
        sections.append(Section("Read first", [Text(line, "warning") for line in study.curves.doubts]))
    if study.pictures:
        sections.append(Section("Activity over anatomy", list(study.pictures)))
    regions = _regions(study)
    if regions:
        sections.append(Section("Regions", regions))
    sections += [
        Section("Curves", _curves(study)),
        Section("Fits", _fits(study)),
        Section("Limits of planar images", [Text(line) for line in LIMITS]),
        Section("How it was made", _method(study)),
    ]
    if study.commands:
        sections.append(Section("Repeat it", [Commands(list(study.commands))]))
    facts = study.curves.facts
    return Report(
        title=study.title,
        kicker="Planar nuclear study",
        facts=(
            *(facts[name] for name in ("agent", "isotope", "injected") if name in facts),
            f"{study.curves.counts.shape[1]} frames, {len(study.curves.names)} regions",
            f"made {datetime.now(UTC).strftime('%Y-%m-%d %H:%M UTC')}",
        ),
        notice=f"{study.label[0].upper()}{study.label[1:]}. Research only." if study.label else NOTICE,
        sections=sections,
        footer=f"Made by transmodal {transmodal.__version__}. This file holds everything it shows and loads nothing.",
    )


def _answers(answers: Answers, fits: Mapping[str, KineticFit]) -> list[Block]:
    own = fits.get(answers.target, KineticFit())
    stays = "Slowest half-life of the sum" if own.model in OF_SEVERAL else "Biological half-life"
    shown = (("Peak", "peak"), ("Peak time", "peak_time"), (stays, "clearance_half_time"))
    items = []
    for label, name in shown:
        estimate = own.estimates.get(name)
        if estimate is not None:
            interval = f"95 %, counts alone: {estimate.interval()}" if estimate.interval() else ""
            value = estimate.text() if estimate.value is not None else estimate.text().removeprefix("not determined: ")
            doubt = misfit_note(own)
            note = estimate.note if estimate.note.endswith(doubt) else "; ".join(filter(None, [estimate.note, doubt]))
            items.append(Headline(label, value, interval, note, False if doubt else None))
    rows: list[list[Cell | str]] = [[each.question, Cell(each.answer, each.remark)] for each in answers.answers]
    blocks: list[Block] = [Text(line, "warning") for line in answers.doubts]
    if items:
        words = f"{COUNTS_ALONE[0].upper()}{COUNTS_ALONE[1:]}."
        blocks += [Headlines(items), Text(words, "note")]
    blocks.append(Table(["question", "answer"], rows, words=2))
    numbers: list[Block] = [
        Table(["number", "value"], [list(pair) for pair in each.numbers], each.question, words=2)
        for each in answers.answers
        if each.numbers
    ]
    return [*blocks, Details("The numbers behind the answers", numbers)]


def _regions(study: Study) -> list[Block]:
    blocks: list[Block] = []
    if study.regions is None:
        return blocks
    if study.anatomy is not None:
        words = "Drawn through: regions; thick: the target; dashed and thick: the background."
        picture = regions_picture(study.regions, study.anatomy)
        blocks.append(Picture(picture, "Outlines of the regions over the anatomy", words))
    pixels = dict(zip(study.curves.names, study.curves.pixels, strict=True))
    rows: list[list[Cell | str]] = [
        [name, role or DASH, source, plain_number(float(pixels[name]))]
        for name, role, source in zip(study.regions.names, study.regions.roles, study.regions.sources, strict=True)
        if name in pixels
    ]
    return [*blocks, Table(["region", "role", "from", "nuclear pixels"], rows, words=3)]


def _curves(study: Study) -> list[Block]:
    curves = study.curves
    target = "" if study.answers is None else study.answers.target
    unit = unit_of(curves)
    corrected = "" if curves.scale is None else ", decay-corrected to the injection"
    unit = "Net counts a second" if corrected and unit != "%ID" else unit
    caption = (
        f"{unit}{corrected}, with 95 % Poisson intervals and, where a model fits, its curve. Bars along: the frames."
    )
    picture = Picture(curves_chart(curves, study.fits, target=target), "Curves of all regions over time", caption)
    said: list[Block] = [Text(line, "note") for line in curves.said]
    tables: list[Block] = [_frames_table(curves, place) for place in range(len(curves.names))]
    return [picture, *said, Details("Every frame", tables)]


def _frames_table(curves: TimeActivity, place: int) -> Table:
    scale = curves.scale if curves.percent_id is None else None
    columns = {
        "counts": curves.counts,
        "background": curves.background,
        "net": curves.net,
        "± (sd)": curves.net_sd,
        "Bq": curves.activity,
        "%ID": curves.percent_id,
        "± %ID (sd)": curves.percent_id_sd,
        "net/s, decay-corrected": None if scale is None else scale.values,
        "± (sd) of it": None if scale is None else scale.deviations,
        "to background": curves.target_to_background,
    }
    known = {name: values for name, values in columns.items() if values is not None}
    rows: list[list[Cell | str]] = []
    for frame in range(curves.counts.shape[1]):
        when = DASH if curves.starts is None else time_text(float(curves.starts[frame]))
        long = DASH if curves.durations is None else time_text(float(curves.durations[frame]))
        rows.append([str(frame + 1), when, long, *(plain_number(float(own[place, frame])) for own in known.values())])
    return Table(["frame", "begins", "lasts", *known], rows, curves.names[place], words=3)


def _fits(study: Study) -> list[Block]:
    fits = {region: fitted for region, fitted in study.fits.items() if fitted.model}
    if not fits:
        return [Text("No curve was fitted.", "note"), *_unfitted(study)]
    lines = [Text(f"{region}: {' '.join(fitted.said)}", "note") for region, fitted in fits.items()]
    return [
        _estimates_table(fits),
        _areas_table(fits),
        *_notes(fits),
        Details("How each model was chosen", lines),
        *_unfitted(study),
    ]


def _estimates_table(fits: Mapping[str, KineticFit]) -> Table:
    used = [name for name in _ESTIMATES if any(name in fitted.estimates for fitted in fits.values())]
    rows: list[list[Cell | str]] = []
    for region, fitted in fits.items():
        chi2 = f"χ²/ν {misfit(fitted):.3g} (χ² {plain_number(round(fitted.chi2, 1))}, ν {fitted.freedom})"
        rows.append([region, Cell(fitted.model, chi2), *(_cell(fitted.estimates.get(name)) for name in used)])
    titles = ["region", "model", *(_ESTIMATES[name] for name in used)]
    return Table(titles, rows, "95 % intervals, of the counts alone, below each value", words=2)


def _areas_table(fits: Mapping[str, KineticFit]) -> Table:
    rows: list[list[Cell | str]] = []
    for region, fitted in fits.items():
        area = fitted.area
        if area is None:
            continue
        share = f"{100 * area.tail_share:.0f} %" if area.tail_share == area.tail_share else DASH
        observed, tail, total, decaying = (_cell(getattr(area, name)) for name in _AREAS)
        rows.append([region, observed, plain_number(area.trapezoid), tail, total, share, decaying])
    head = [
        "region",
        _AREAS["observed"],
        "trapezoid",
        _AREAS["tail"],
        _AREAS["total"],
        "tail's share",
        _AREAS["decaying"],
    ]
    units = {f"{fitted.unit}·h" for fitted in fits.values()}
    caption = f"Area under the curve, {', '.join(units)}, decay-corrected; the last column with the isotope's decay"
    return Table(head, rows, caption)


def _notes(fits: Mapping[str, KineticFit]) -> list[Block]:
    """Return what limits the numbers of both tables, a line each, folded away; nothing where nothing does."""
    lines = []
    for region, fitted in fits.items():
        shown = [(words, fitted.estimates.get(name)) for name, words in _ESTIMATES.items()]
        if fitted.area is not None:
            shown += [(words, getattr(fitted.area, name)) for name, words in _AREAS.items()]
        lines += [f"{region}, {words}: {each.note}" for words, each in shown if each is not None and each.note]
    return [Details("Notes to the numbers", [Text(line, "note") for line in dict.fromkeys(lines)])] if lines else []


def _unfitted(study: Study) -> list[Block]:
    return [Text(f"{name}: {' '.join(own.said)}", "note") for name, own in study.fits.items() if not own.model]


def _cell(estimate: Estimate | None) -> Cell | str:
    if estimate is None:
        return DASH
    text = estimate.text()
    if text.startswith("not determined"):
        bound = text.removeprefix("not determined: ")
        return Cell(bound, "not determined" if bound != text else estimate.note)
    return Cell(text, estimate.interval() if estimate.low != estimate.high else estimate.note)


def _method(study: Study) -> list[Block]:
    facts = {**study.curves.facts, **({"registration": study.registration} if study.registration else {})}
    rows: list[list[Cell | str]] = [[name, value] for name, value in {**facts, **study.settings}.items()]
    if study.regions is not None:
        rows += [["said of the regions", line] for line in study.regions.said]
    words = (
        "Counts are taken on the nuclear grid, each pixel by the share of its area inside the outline; they are never "
        "interpolated. Net counts are those of the region less those of the background over the same area; negative "
        "net counts are kept. %ID is net counts by sensitivity, duration and injected activity, brought back to the "
        "injection by the decay of each frame. Where sensitivity or injected activity are not known, curves are net "
        "counts a second, brought back likewise: half-times and peak times are the same.",
        "Curves are sums of exponentials, averaged over each frame in closed form with the isotope's decay in it, "
        "fitted by weighted least squares with the variances of the fitted curve. Of the models the one with the "
        "fewest parameters within 3 of the least AIC is taken. Intervals hold 95 % by profile likelihood; where the "
        f"frames scatter more than counts do, they are wider; beyond χ²/ν = {WITHHELD:g}, where the typical frame lies "
        "three of its errors off the curve, the model does not hold and none is given. Half-times longer than "
        f"{LONGEST:g} times the observation are not given as numbers.",
    )
    return [Table(["fact", "value"], rows, words=2), *(Text(line, "note") for line in words)]
