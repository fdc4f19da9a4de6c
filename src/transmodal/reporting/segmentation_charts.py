"""Charts of a segmentation: what becomes of each subject's lesions over its visits, for light and for dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from transmodal.reporting.charts import Chart, Theme, bare_axis, for_both_themes
from transmodal.reporting.figures import plain_number

_ACROSS = 4


@dataclass(frozen=True)
class Growth:
    """The volumes of one subject's lesions.

    Attributes:
        subject: whose.
        sessions: names of the visits, in order.
        places: where they stand on the axis.
        truth, predicted: volume at each visit.
    """

    subject: str
    sessions: Sequence[str]
    places: Sequence[float]
    truth: Sequence[float]
    predicted: Sequence[float]


def growth_chart(subjects: Sequence[Growth], *, axis_label: str, most: int = 24) -> Chart:
    """Draw true (rings, dashed) and predicted volumes (dots, drawn through) of each subject on an axis of its own.

    Args:
        subjects: in order; of more than `most` the first are drawn.
        axis_label: the volume with its unit.
        most: subjects.
    """
    shown = list(subjects)[:most]
    across = min(_ACROSS, len(shown))
    down = -(-len(shown) // across)
    marks = {place: name for each in shown for place, name in zip(each.places, each.sessions, strict=True)}
    highest = max((max(*each.truth, *each.predicted) for each in shown), default=1.0) or 1.0

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8.6, 0.4 + 1.75 * down), dpi=120)
        for number, each in enumerate(shown):
            axis = bare_axis(figure, theme, (down, across, number + 1))
            axis.plot(
                each.places, each.truth, color=theme.text, linewidth=1.1, linestyle=(0, (4, 3)), marker="o",
                markersize=5.5, markerfacecolor="none",
            )  # fmt: skip
            axis.plot(each.places, each.predicted, color=theme.colours[0], linewidth=1.6, marker="o", markersize=3.5)
            axis.set_ylim(0, 1.08 * highest)
            axis.set_xticks(sorted(marks), [marks[place] for place in sorted(marks)], size=7)
            axis.set_title(each.subject, color=theme.text, size=9, loc="left", parse_math=False)
            axis.grid(axis="y", color=theme.rule, linewidth=0.7)
            axis.yaxis.set_major_formatter(lambda value, _: plain_number(value))
            axis.locator_params(axis="y", nbins=4)
            if number % across == 0:
                axis.set_ylabel(axis_label, color=theme.faint, size=7.5)
        return figure

    return for_both_themes(draw)
