"""Points that somebody marked in an X-ray and a nuclear image of the empty device: simulated, with marking errors."""

import csv
import io

import numpy as np

from transmodal.images.transform import Transform

# mm in the X-ray's world: a source in each corner of the bed and one beside its middle, on no line together
_PLACES = ((12.0, 7.0), (88.0, 8.0), (86.0, 42.0), (13.0, 43.0), (52.0, 5.0))
COLUMNS = ("subject", "session", "modality", "point", "x_mm", "y_mm", "synthetic")


def fiducial_table(transform: Transform, noise: float, rng: np.random.Generator) -> str:
    """Return a table that `datasets.fiducials.Fiducials.read` reads, of five points that hold for every animal.

    Arguments: `transform`, the true map from the nuclear image's world to the X-ray's; `noise`, standard deviation of
    marking along each axis of the nuclear image, mm (a quarter of it in the X-ray, which is sharper).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    places = np.array(_PLACES)
    marked = {
        "xray": places + rng.normal(0.0, noise / 4.0, places.shape),
        "nuclear": transform.inverse().apply(places) + rng.normal(0.0, noise, places.shape),
    }
    for modality, points in marked.items():
        for number, (x, y) in enumerate(points, start=1):
            writer.writerow(("", "", modality, f"source{number}", f"{x:.4f}", f"{y:.4f}", "yes"))
    return text.getvalue()
