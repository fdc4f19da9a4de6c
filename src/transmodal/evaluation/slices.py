"""A volume's error as a total over its slices and as a mean a slice, over the same slices, with their number.

Papers report one or the other, sometimes over different slices (A. Avula et al.: a total MAE of 4.39 and a mean of
.0514 make 85 slices, the MSE beside it 95). Here total = slices × mean always holds, for each volume and metric.
"""

import pandas

from transmodal.evaluation.pairs import POINTWISE
from transmodal.evaluation.report import counted, titled
from transmodal.evaluation.scores import Scores
from transmodal.reporting.figures import plain_number
from transmodal.reporting.html import Cell, Table

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
