"""A volume's error as a total over its slices and as a mean a slice, over the same slices, with their number.

Papers report one or the other, sometimes over different slices (A. Avula et al.: a total MAE of 4.39 and a mean of
.0514 make 85 slices, the MSE beside it 95). Here total = slices × mean always holds, for each volume and metric.
"""

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.evaluation.intervals import FEWEST_SUBJECTS, block_interval
from transmodal.evaluation.pairs import POINTWISE
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.wording import bare_title, counted, titled
from transmodal.reporting.figures import plain_number
from transmodal.reporting.html import Block, Cell, Table, Text

_MOST_VOLUMES = 200
# Errors add up over slices; logarithms (PSNR) and roots (NRMSE) of them do not.
_SUMMED = ("mse", "mae", "nmae")


def slice_totals(scores: Scores) -> pandas.DataFrame:
    """Return what the slices of volumes have in pointwise metrics, one row a system and volume.

    Returns:
        system, case, subject, and for each pointwise metric `_slices`, how many slices have a finite value, `_total`,
        the sum over them (of MSE, MAE and NMAE alone: sums of PSNR or NRMSE mean nothing), and `_mean`. Empty where no
        volume was scored by slices.
    """
    kept = scores.slices[scores.slices["metric"].isin(POINTWISE)]
    metrics = [metric for metric in scores.columns if metric in set(kept["metric"])]
    rows = []
    for (system, case, subject), part in kept.groupby(["system", "case", "subject"], sort=False):
        row = {"system": system, "case": case, "subject": subject}
        for _, each in part.iterrows():
            name = each["metric"]
            row |= {f"{name}_{what}": each[what] for what in _columns_of(name)}
        rows.append(row)
    columns = ["system", "case", "subject"]
    columns += [f"{metric}_{what}" for metric in metrics for what in _columns_of(metric)]
    return pandas.DataFrame(rows, columns=columns)


def slice_intervals(scores: Scores) -> pandas.DataFrame:
    """Return each volume's mean over slices with its interval, and how much the first system differs, slice by slice.

    Returns:
        One row a metric, volume and system: metric, case, subject, system, slices, mean, low, high (95 % over blocks of
        slices), and difference, difference_low, difference_high: of the system under test minus this one, slice by
        slice. Empty where no volume was scored by slices.
    """
    first, rows = scores.systems[0], []
    subjects = dict(zip(scores.table["case"], scores.table["subject"], strict=True))
    for metric in scores.columns:
        for (system, case, name), values in scores.slice_values.items():
            if name != metric:
                continue
            finite = values[np.isfinite(values)]
            row = {"metric": metric, "case": case, "subject": subjects.get(case, ""), "system": system}
            row |= _interval("", values, scores.seed) | {"slices": finite.size}
            own = scores.slice_values.get((first, case, metric))
            if system != first and own is not None:
                with np.errstate(invalid="ignore"):
                    row |= _interval("difference", own - values, scores.seed)
            rows.append(row)
    columns = ["metric", "case", "subject", "system", "slices", "mean", "low", "high"]
    return pandas.DataFrame(rows, columns=[*columns, "difference", "difference_low", "difference_high"])


def _interval(name: str, values: npt.NDArray[np.float64], seed: int) -> dict[str, float | None]:
    finite = values[np.isfinite(values)]
    low, high = block_interval(finite, seed=seed)
    mean = float(finite.mean()) if finite.size else None
    return {name or "mean": mean, f"{name}_low".strip("_"): low, f"{name}_high".strip("_"): high}


def slice_intervals_in_words(scores: Scores) -> list[str]:
    """Return, where subjects are too few for intervals, what can be said over the slices of each volume.

    Of PSNR and SSIM: the system under test with its interval, and its differences from each other one.
    """
    if scores.subjects >= FEWEST_SUBJECTS or not scores.slice_values:
        return []
    table, lines = slice_intervals(scores), []
    for (metric, case), part in table[table["metric"].isin(["psnr", "ssim"])].groupby(["metric", "case"], sort=False):
        rows = {str(row["system"]): row for _, row in part.iterrows()}
        mine = rows.get(scores.systems[0])
        if mine is None or pandas.isna(mine["low"]):
            continue
        line = f"{case}, {bare_title(str(metric))} over {mine['slices']} slices: {_told(mine, '')}"
        others = [
            f"{system} {'+' if row['difference'] > 0 else ''}{_told(row, 'difference')}"
            for system, row in rows.items()
            if system != scores.systems[0] and not pandas.isna(row["difference_low"])
        ]
        lines.append(line + (f"; minus {', '.join(others)}" if others else ""))
    return lines


def slice_interval_blocks(scores: Scores) -> list[Block]:
    """Return the same for a report, with what such intervals do not say."""
    lines = slice_intervals_in_words(scores)
    if not lines:
        return []
    note = (
        "Intervals over slices (95 %, bootstrap of blocks of √n slices, neighbours being alike): they say how far "
        "other places of the same volume might lie, and nothing about other subjects."
    )
    return [Text(note, "note"), *(Text(line) for line in lines)]


def _told(row: pandas.Series, name: str) -> str:
    mean, low, high = (plain_number(float(row[key.strip("_")])) for key in (name or "mean", f"{name}_low",
                                                                           f"{name}_high"))  # fmt: skip
    return f"{mean} ({low} to {high})"


def _columns_of(metric: str) -> tuple[str, ...]:
    return ("slices", "total", "mean") if metric in _SUMMED else ("slices", "mean")


def slices_table(scores: Scores) -> Table | None:
    """Return the totals and means a slice of each volume of the system under test; None without volumes by slices."""
    system = scores.systems[0]
    kept = slice_totals(scores)
    if kept.empty:
        return None
    kept = kept[kept["system"] == system]
    metrics = [metric for metric in scores.columns if f"{metric}_mean" in kept]
    rows: list[list[Cell | str]] = []
    for _, volume in kept.head(_MOST_VOLUMES).iterrows():
        row: list[Cell | str] = [str(volume["case"])]
        for metric in metrics:
            mean, number = volume[f"{metric}_mean"], int(volume[f"{metric}_slices"])
            if not number:
                row.append(Cell("—", "no slice"))
            elif metric in _SUMMED:
                total = plain_number(volume[f"{metric}_total"])
                row.append(Cell(total, f"{plain_number(mean)} × {counted(number, 'slice')}"))
            else:
                row.append(Cell(plain_number(mean), f"mean of {counted(number, 'slice')}"))
        rows.append(row)
    more = f" The first {_MOST_VOLUMES} of {len(kept)} volumes." if len(kept) > _MOST_VOLUMES else ""
    caption = (
        f"{system}: of MSE, MAE and NMAE the total over a volume's slices; small: the mean a slice × the slices that "
        "both are over. PSNR and NRMSE do not add up: the mean alone. Slices outside the mask, and those without a "
        f"finite value (PSNR of equal ones), are in neither.{more}"
    )
    return Table(["volume", *(titled(metric, scores) for metric in metrics)], rows, caption)
