"""What is true of a simulated acquisition, as JSON and as a table, for those who measure how well it is recovered."""

import csv
import io
import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from transmodal.images.note import NOTICE
from transmodal.simulation.nuclear.acquisition import NuclearMouse
from transmodal.simulation.nuclear.sources import LABELS_OF

COLUMNS = (
    "organ",
    "frame",
    "start_s",
    "duration_s",
    "percent_id",
    "percent_id_at_middle",
    "expected_counts",
    "synthetic",
)


def truth_of(mouse: NuclearMouse) -> dict[str, Any]:
    """Return the truth for JSON: agent, injection, camera, frames, and of every organ its curve.

    An organ's curve is the sum of amplitude x exp(-rate t) in %ID, decay-corrected to the injection; half-times are
    None where it has none of its own (bladder and bowels, which organs fill) or where nothing clears. `seen_share` is
    the share of its counts that attenuation and the field's border leave, wherever they fall.
    """
    scan, schedule = mouse.scan, mouse.scan.schedule
    camera = {name: value for name, value in asdict(scan.camera).items() if name != "off"}
    return {
        "synthetic": True,
        "notice": f"{NOTICE} Simulated by transmodal; the agent's numbers are invented.",
        "animal": mouse.pair.meta,
        "agent": scan.agent,
        "isotope": scan.isotope.name,
        "half_life_s": scan.isotope.half_life,
        "injected_MBq": scan.activity / 1e6,
        "blood_half_time_s": mouse.agent.blood,
        "tumour": asdict(mouse.tumour) if mouse.tumour else None,
        "camera": {"kind": type(scan.camera).__name__, **camera, "off_the_xray": asdict(scan.camera.off)},
        "background_cps_per_pixel": scan.camera.background * scan.camera.pixel**2,
        "frames": {
            "start_s": list(schedule.starts),
            "duration_s": list(schedule.durations),
            "middle_s": _middles(mouse).tolist(),
        },
        "organs": [_organ(mouse, place) for place in scan.projections],
        "left_the_body": {
            "percent_id_at_middle": mouse.agent.curves()["left"].at(_middles(mouse)).tolist(),
        },
    }


def truth_text(mouse: NuclearMouse) -> str:
    """Return `truth_of` as the text of a file."""
    return json.dumps(truth_of(mouse), indent=1, allow_nan=False) + "\n"


def truth_table(mouse: NuclearMouse) -> str:
    """Return a CSV with a row for every organ and frame.

    `percent_id` is the mean over the frame, decay-corrected to the injection, as its decays weigh it: what a camera
    without noise, blur and attenuation would measure. `expected_counts` are those in the whole nuclear field.
    """
    scan, schedule = mouse.scan, mouse.scan.schedule
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place, projection in scan.projections.items():
        means = scan.curves[place].frame_means(schedule.starts, schedule.durations, scan.decay)
        middles = scan.curves[place].at(_middles(mouse))
        counts = scan.decays(place) * projection.sum()
        for frame in range(len(schedule)):
            numbers = (schedule.starts[frame], schedule.durations[frame], means[frame], middles[frame], counts[frame])
            writer.writerow((place, frame + 1, *(f"{number:.10g}" for number in numbers), "yes"))
    return text.getvalue()


def _organ(mouse: NuclearMouse, place: str) -> dict[str, Any]:
    scan = mouse.scan
    curve = scan.curves[place]
    uptake, clearance = mouse.agent.half_times(place)
    peak = curve.peak_time()
    return {
        "name": place,
        "labels": list(LABELS_OF[place]),
        "rates_per_s": list(curve.rates),
        "amplitudes_percent_id": list(curve.amplitudes),
        "uptake_half_time_s": uptake,
        "clearance_half_time_s": clearance,
        "peak_time_s": peak if math.isfinite(peak) else None,
        "share_of_blood": mouse.agent.blood_in.get(place, 0.0),
        "percent_id_at_middle": curve.at(_middles(mouse)).tolist(),
        "seen_share": scan.seen_share(place),
    }


def _middles(mouse: NuclearMouse) -> "np.ndarray[Any, np.dtype[np.float64]]":
    schedule = mouse.scan.schedule
    return np.array(schedule.starts) + np.array(schedule.durations) / 2
