"""What readers answered, joined with what they were not told: the table between a study and its analysis."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas

Kind = Literal["real-or-synthetic", "which-is-real", "preference", "rating"]

REAL = "real"  # the name of the system that made the true images
TIE = "tie"

# Columns of every kind.
SHARED = ("reader", "trial", "repeat", "case", "subject", "seconds")
# What is beyond them, kind by kind; see `Answers`.
COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "real-or-synthetic": (*SHARED, "system", "answer"),
    "which-is-real": (*SHARED, "system", "real_side", "answer"),
    "preference": (*SHARED, "first", "second", "left", "answer"),
    "rating": (*SHARED, "system", "criterion", "answer"),
}


@dataclass(frozen=True)
class Answers:
    """All answers of one study.

    Attributes:
        title: of the study.
        kind: "real-or-synthetic": one image, answered "real" or "synthetic". "which-is-real": a real and a synthetic
            image side by side (two-alternative forced choice), answered "left" or "right". "preference": images of
            two systems side by side, answered by a system's name or "tie". "rating": one image, rated 1 (worst) to
            `points` (best) on each criterion (Likert).
        table: one row an answer, with the columns `COLUMNS[kind]`: `reader` a name; `trial` its place in the reader's
            own order, from 0; `repeat` 0 where the item was shown to this reader for the first time, 1 for the second;
            `case` and `subject`; `seconds` the answer took; `system` that made the image (in "which-is-real" the
            synthetic one), "real" for a true image; `real_side` "left" or "right"; `first` and `second` the two
            systems in alphabetical order and `left` the one that was shown on the left; `answer`.
        systems: all systems of the study, "real" among them where true images were shown.
        criteria: of a rating, in the order of the page; else empty.
        points: of a rating's scale; else 0.
        simulated: readers that a program played.
        unanswered: reader → how many of his trials have no answer yet.
        about: facts for the report, such as the range and grid of the images.
    """

    title: str
    kind: Kind
    table: pandas.DataFrame
    systems: tuple[str, ...]
    criteria: tuple[str, ...] = ()
    points: int = 0
    simulated: tuple[str, ...] = ()
    unanswered: Mapping[str, int] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
