"""Frames in the order of their times, and those since the injection."""

from dataclasses import replace

import numpy as np

from transmodal.errors import UserError
from transmodal.images.nuclear.series import NuclearSeries


def in_time_order(series: NuclearSeries) -> NuclearSeries:
    """Return the frames sorted by their beginning, with a line that says so; unchanged where they are."""
    if series.starts is None or not (np.diff(series.starts) < 0).any():
        return series
    order = np.argsort(series.starts, kind="stable")
    durations = None if series.durations is None else series.durations[order]
    line = f"{series.name}: the frames were not in the order of their times; they were sorted"
    return replace(
        series,
        frames=series.frames[order],
        starts=series.starts[order],
        durations=durations,
        said=(*series.said, line),
    )


def since_injection(series: NuclearSeries) -> NuclearSeries:
    """Return the frames that begin at or after the injection.

    Raises:
        UserError: there are none.
    """
    if series.starts is None or not (series.starts < 0).any():
        return series
    after = series.starts >= 0
    if not after.any():
        raise UserError(
            f"all frames of {series.name} lie before the injection (they begin {series.starts.min():g} to "
            f"{series.starts.max():g} s after it); mend the clock or the sign of start_s, in s after the injection"
        )
    durations = None if series.durations is None else series.durations[after]
    return replace(series, frames=series.frames[after], starts=series.starts[after], durations=durations)
